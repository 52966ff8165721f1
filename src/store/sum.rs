//! What stands beside a blob so that damage within a sound page is known.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

const SUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

pub(super) fn of(bytes: &[u8]) -> i64 {
    i64::from(SUM.checksum(bytes))
}
