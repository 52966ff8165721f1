//! Who a meter is on its line.

use std::fmt;

/// A pair of digits that stands for any.
const ANY: u8 = 0xAA;
/// To all meters at once; none answers.
const BROADCAST: u8 = 0x99;
const ADDRESS: usize = 6;

/// A meter's address (通信地址), as it goes over the wire: low byte first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Station([u8; ADDRESS]);

impl Station {
    /// Up to twelve digits as they are printed on the meter, leading zeros left out or not; `AA` for a pair of digits stands for any, which
    /// only an installer with one meter on the line may ask.
    pub fn of(printed: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || byte.eq_ignore_ascii_case(&b'A');
        if printed.is_empty() || printed.len() > 2 * ADDRESS || !printed.bytes().all(digit) {
            return None;
        }
        let number = u64::from_str_radix(printed, 16).ok()?;
        let [bytes @ .., _, _] = number.to_le_bytes();
        let is_pair = |byte: &u8| *byte == ANY || (byte >> 4 < 10 && byte & 0xF < 10);
        bytes.iter().all(is_pair).then_some(Self(bytes))
    }

    pub(super) fn from_wire(bytes: [u8; ADDRESS]) -> Self {
        Self(bytes)
    }

    pub(super) fn on_wire(self) -> [u8; ADDRESS] {
        self.0
    }

    /// One meter and no other: neither a broadcast nor an address with pairs left open.
    pub fn is_one_meter(self) -> bool {
        self.0 != [BROADCAST; ADDRESS] && !self.0.contains(&ANY)
    }

    /// Whether a frame from `other` may be its answer.
    pub(super) fn takes(self, other: Self) -> bool {
        self.0.iter().zip(&other.0).all(|(own, other)| *own == ANY || own == other)
    }
}

/// As printed on the meter.
impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_as_printed_goes_over_the_wire_low_byte_first() {
        for (printed, wire, shown) in [
            ("123456781012", [0x12, 0x10, 0x78, 0x56, 0x34, 0x12], "123456781012"),
            ("202208310002", [0x02, 0x00, 0x31, 0x08, 0x22, 0x20], "202208310002"),
            ("000000000007", [7, 0, 0, 0, 0, 0], "000000000007"),
            ("7", [7, 0, 0, 0, 0, 0], "000000000007"),
            ("1234567", [0x67, 0x45, 0x23, 1, 0, 0], "000001234567"),
            ("aaaaaaaaaaaa", [0xAA; 6], "AAAAAAAAAAAA"),
        ] {
            let station = Station::of(printed).unwrap_or_else(|| panic!("{printed} is a number"));
            assert_eq!((station.on_wire(), station.to_string().as_str()), (wire, shown), "{printed}");
        }
        for printed in ["", "1234567890123", "12 34", "0x12", "-1", "+1", "12345678901B", "A1", "１２", "A"]
        {
            assert!(Station::of(printed).is_none(), "{printed:?}");
        }
    }

    #[test]
    fn a_device_is_one_meter() {
        for (printed, is) in [
            ("123456781012", true),
            ("0", true),
            ("999999999999", false),
            ("999999999998", true),
            ("AAAAAAAAAAAA", false),
            ("AA1012", false),
        ] {
            assert_eq!(Station::of(printed).map(Station::is_one_meter), Some(is), "{printed}");
        }
    }

    #[test]
    fn open_pairs_take_any_meter() {
        let of = |printed| Station::of(printed).unwrap();
        assert!(of("AAAAAAAAAAAA").takes(of("123456781012")));
        assert!(of("AAAAAAAA1012").takes(of("123456781012")));
        assert!(!of("AAAAAAAA1013").takes(of("123456781012")));
        assert!(!of("123456781012").takes(of("AAAAAAAAAAAA")), "no meter is called so");
    }
}
