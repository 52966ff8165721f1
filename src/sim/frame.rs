//! How a simulated device finishes a serial frame: its address, its length, its checksum.
//!
//! Written apart from the field bus's own codec: the same code on both ends would hide its mistakes.

use crc::{CRC_16_ARC, CRC_16_MODBUS, CRC_16_SPI_FUJITSU, Crc};

use crate::profile::{Checksum, ChecksumKind, FrameLength, FrameShape};

/// The whole frame of `body`, which has everything but its checksum; address and length field are put in here.
pub(super) fn finish(shape: &FrameShape, mut body: Vec<u8>, address: u8) -> Vec<u8> {
    if let Some((at, mask)) = shape.address
        && let Some(byte) = body.get_mut(at)
    {
        *byte = (*byte & !mask) | (address & mask);
    }
    let sum_len = shape.checksum.as_ref().map_or(0, width);
    let whole = body.len() + sum_len;
    if let FrameLength::Field { at, size, little, adds } = shape.length {
        let count = (whole as i64 - adds).to_be_bytes();
        let field = body.iter_mut().skip(at).take(size);
        let lowest_last = count[8 - size.min(8)..].iter();
        match little {
            true => field.zip(lowest_last.rev()).for_each(|(to, byte)| *to = *byte),
            false => field.zip(lowest_last).for_each(|(to, byte)| *to = *byte),
        }
    }
    if let Some(sum) = &shape.checksum {
        let end = if sum.to < 0 { whole as i64 + sum.to } else { sum.to };
        let end = usize::try_from(end).unwrap_or(0).min(body.len());
        let bytes = checksum(sum, &body[sum.from.min(end)..end]);
        body.splice(end..end, bytes);
    }
    body
}

fn width(sum: &Checksum) -> usize {
    checksum(sum, &[]).len()
}

fn checksum(sum: &Checksum, over: &[u8]) -> Vec<u8> {
    let total = over.iter().copied().fold(0, u8::wrapping_add);
    let two = |crc: u16| if sum.little { crc.to_le_bytes().to_vec() } else { crc.to_be_bytes().to_vec() };
    let bytes = match sum.kind {
        ChecksumKind::Sum8 => vec![total],
        ChecksumKind::Twos8 => vec![total.wrapping_neg()],
        ChecksumKind::Xor8 => vec![over.iter().fold(0, |all, byte| all ^ byte)],
        ChecksumKind::Lrc8 if sum.hex => vec![spelled(over).fold(0, u8::wrapping_add).wrapping_neg()],
        ChecksumKind::Lrc8 => vec![total.wrapping_neg()],
        ChecksumKind::Crc16Modbus => two(Crc::<u16>::new(&CRC_16_MODBUS).checksum(over)),
        ChecksumKind::Crc16Osdp => two(Crc::<u16>::new(&CRC_16_SPI_FUJITSU).checksum(over)),
        ChecksumKind::Crc16Arc => two(Crc::<u16>::new(&CRC_16_ARC).checksum(over)),
    };
    match sum.hex {
        true => bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into_bytes(),
        false => bytes,
    }
}

/// The bytes that pairs of hex digits spell (Modbus over Serial Line 1.02, 2.5.2.2).
fn spelled(digits: &[u8]) -> impl Iterator<Item = u8> {
    digits.chunks(2).map(|pair| {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
        pair.iter().fold(0, |byte, d| (byte << 4) | digit(d))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_as_captured_from_a_reader_at_0x65() {
        let osdp = FrameShape {
            start: vec![0x53],
            length: FrameLength::Field { at: 2, size: 2, little: true, adds: 0 },
            max: 128,
            checksum: Some(Checksum {
                kind: ChecksumKind::Crc16Osdp,
                from: 0,
                to: -2,
                little: true,
                hex: false,
            }),
            address: Some((1, 0x7F)),
        };
        let frames: [(&str, &[u8], &[u8]); 3] = [
            ("LSTATR", &[0x53, 0x80, 0, 0, 4, 0x48, 1, 0], &[0x53, 0xE5, 0x0A, 0, 4, 0x48, 1, 0, 0xA2, 0x48]),
            ("ACK", &[0x53, 0x80, 0, 0, 4, 0x40], &[0x53, 0xE5, 8, 0, 4, 0x40, 0xD2, 0x96]),
            ("NAK", &[0x53, 0x80, 0, 0, 4, 0x41, 3], &[0x53, 0xE5, 9, 0, 4, 0x41, 3, 0x7C, 0x98]),
        ];
        for (name, body, whole) in frames {
            assert_eq!(finish(&osdp, body.to_vec(), 0x65), whole, "{name}");
        }
    }
}
