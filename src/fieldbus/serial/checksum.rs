//! The checksums of serial frames.

use crc::{CRC_16_ARC, CRC_16_MODBUS, CRC_16_SPI_FUJITSU, Crc};

use crate::profile::{Checksum, ChecksumKind, FrameShape};

const MODBUS: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
const ARC: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);
/// Poly 0x1021, init 0x1D0F, not reflected: IEC 60839-11-5, as libosdp computes it.
const OSDP: Crc<u16> = Crc::<u16>::new(&CRC_16_SPI_FUJITSU);

/// How many bytes of the frame it takes.
pub fn width(sum: &Checksum) -> usize {
    let bytes = match sum.kind {
        ChecksumKind::Sum8 | ChecksumKind::Twos8 | ChecksumKind::Xor8 | ChecksumKind::Lrc8 => 1,
        ChecksumKind::Crc16Modbus | ChecksumKind::Crc16Osdp | ChecksumKind::Crc16Arc => 2,
    };
    if sum.hex { 2 * bytes } else { bytes }
}

/// Where `to` stands in a frame of `len` bytes; `None`: before its beginning.
pub fn place(to: i64, len: usize) -> Option<usize> {
    match usize::try_from(to) {
        Ok(at) => Some(at),
        Err(_) => usize::try_from(to.unsigned_abs()).ok().and_then(|back| len.checked_sub(back)),
    }
}

/// Whether `frame` carries the right checksum (or the shape has none).
pub fn holds(shape: &FrameShape, frame: &[u8]) -> bool {
    let Some(sum) = &shape.checksum else { return true };
    let Some(at) = place(sum.to, frame.len()) else { return false };
    let Some(over) = frame.get(sum.from..at) else { return false };
    let Some(there) = frame.get(at..at + width(sum)) else { return false };
    if sum.hex { there.eq_ignore_ascii_case(&written(sum, over)) } else { there == written(sum, over) }
}

/// The checksum over `bytes`, as it stands in a frame.
pub fn written(sum: &Checksum, bytes: &[u8]) -> Vec<u8> {
    let total = || bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let word = |crc: u16| if sum.little { crc.to_le_bytes().to_vec() } else { crc.to_be_bytes().to_vec() };
    let binary = match sum.kind {
        ChecksumKind::Sum8 => vec![total()],
        ChecksumKind::Twos8 => vec![total().wrapping_neg()],
        ChecksumKind::Xor8 => vec![bytes.iter().fold(0, |sum, byte| sum ^ byte)],
        ChecksumKind::Lrc8 => vec![lrc(bytes, sum.hex)],
        ChecksumKind::Crc16Modbus => word(MODBUS.checksum(bytes)),
        ChecksumKind::Crc16Osdp => word(OSDP.checksum(bytes)),
        ChecksumKind::Crc16Arc => word(ARC.checksum(bytes)),
    };
    if sum.hex { binary.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect() } else { binary }
}

/// Modbus over serial line V1.02, 2.5.2.2: over the bytes that the hex digits spell, not over the digits.
fn lrc(bytes: &[u8], hex: bool) -> u8 {
    let digit = |byte: u8| char::from(byte).to_digit(16).map_or(0, |d| d as u8);
    let total = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if !hex {
        return total(bytes).wrapping_neg();
    }
    let pairs = bytes.chunks(2).map(|pair| pair.iter().fold(0u8, |byte, d| (byte << 4) | digit(*d)));
    pairs.fold(0u8, u8::wrapping_add).wrapping_neg()
}
