//! A point's way from raw bytes to a value, worked out once when its profile is loaded.
//!
//! Whole numbers are compared (`absent`, `values`) as bit patterns of their width, so 0xFFFF means the same to `u16` and
//! `i16`; signs, BCD digits and scale come after.

use std::sync::Arc;

use serde_json::Value as Json;

use super::ByteMatch;

#[derive(Debug)]
pub(super) struct Plan {
    pub take: Take,
    pub absent: Absent,
    pub turn: Turn,
}

/// How the raw value is got out of what was heard.
#[derive(Debug)]
pub(super) enum Take {
    /// A coil or a discrete input.
    Bit,
    /// Registers: `bytes_swapped` within each, `words_reversed` among them.
    Words { wire: Wire, bytes_swapped: bool, words_reversed: bool },
    /// `len` bytes of a frame or payload; a negative `at` counts from its end.
    Bytes { at: i32, len: usize, wire: Wire, little: bool, when: Option<ByteMatch> },
    /// The value at a JSON pointer (its unescaped steps), or `missing` when nothing stands there.
    Pointer { steps: Box<[String]>, word: Word, missing: Option<Json> },
    /// The whole payload as text.
    WholeText(Word),
}

/// What bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Whole {
        pick: Pick,
        form: Form,
    },
    Float32,
    Float64,
    /// UTF-8; trailing NUL and blanks are cut.
    Text,
    /// Bytes as upper-case hex digits.
    Hex,
    /// An ASCII number with sign, blanks and leading zeros.
    Decimal,
}

/// What a JSON value or a text payload means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Flag,
    Number,
    /// A whole number of which these bits count.
    Bits(Pick),
    Text,
}

/// `width` bits (1..=64) from bit `shift` on, 0 = least significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub shift: u8,
    pub width: u8,
}

impl Pick {
    pub fn all(width: u8) -> Self {
        Self { shift: 0, width }
    }

    pub fn mask(self) -> u64 {
        u64::MAX >> 64u8.saturating_sub(self.width).min(63)
    }

    pub fn of(self, bits: u64) -> u64 {
        (bits >> self.shift.min(63)) & self.mask()
    }
}

/// How a bit pattern is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Unsigned,
    /// Two's complement.
    Signed,
    /// The top bit is the sign, the others the magnitude.
    SignMagnitude,
    /// Four bits a decimal digit.
    Bcd,
    /// The top bit is the sign, the others are four bits a decimal digit.
    SignedBcd,
    /// Any bit set is 1.
    Truth,
}

/// Raw values that mean "no value".
#[derive(Debug, Default)]
pub(super) struct Absent {
    pub patterns: Box<[u64]>,
    pub numbers: Box<[f64]>,
    pub texts: Box<[String]>,
}

/// What the raw value becomes.
#[derive(Debug)]
pub(super) enum Turn {
    Number {
        scale: Scale,
        offset: f64,
        range: Option<[f64; 2]>,
    },
    /// Without a dictionary: anything but 0 is true.
    Flag(Option<Dictionary<bool>>),
    Choice(Dictionary<Arc<str>>),
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Times(f64),
    /// 2201 / 10 is 220.1; 2201 × 0.1 is 220.10000000000002.
    Over(f64),
}

impl Scale {
    pub fn new(factor: f64) -> Self {
        let whole = (1.0 / factor).round();
        if whole >= 2.0 && 1.0 / whole == factor { Scale::Over(whole) } else { Scale::Times(factor) }
    }

    #[inline(always)]
    pub fn apply(self, raw: f64) -> f64 {
        match self {
            Scale::Times(factor) => raw * factor,
            Scale::Over(divisor) => raw / divisor,
        }
    }
}

/// Raw values and what they mean; few enough to look through.
#[derive(Debug)]
pub(super) enum Dictionary<T> {
    Patterns(Box<[(u64, T)]>),
    Numbers(Box<[(f64, T)]>),
    Texts(Box<[(String, T)]>),
}

/// A raw value as it was seen on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen<'a> {
    /// `number` is NaN where the pattern is none (BCD with a digit above 9).
    Whole {
        pattern: u64,
        number: f64,
    },
    Float(f64),
    Text(&'a str),
}

impl<T> Dictionary<T> {
    pub fn meaning(&self, seen: Seen<'_>) -> Option<&T> {
        match (self, seen) {
            (Dictionary::Patterns(all), Seen::Whole { pattern, .. }) => look_up(all, |raw| *raw == pattern),
            (Dictionary::Numbers(all), Seen::Float(number)) => look_up(all, |raw| *raw == number),
            (Dictionary::Texts(all), Seen::Text(text)) => look_up(all, |raw| raw == text),
            (Dictionary::Patterns(_) | Dictionary::Numbers(_) | Dictionary::Texts(_), _) => None,
        }
    }
}

fn look_up<R, T>(all: &[(R, T)], is: impl Fn(&R) -> bool) -> Option<&T> {
    all.iter().find(|(raw, _)| is(raw)).map(|(_, meaning)| meaning)
}

impl Form {
    /// The number that `pattern`, `width` bits wide, stands for; `None` if it stands for none.
    #[inline]
    pub fn number(self, pattern: u64, width: u8) -> Option<f64> {
        match self {
            Form::Unsigned => Some(pattern as f64),
            Form::Signed => {
                let unused = 64u32.saturating_sub(u32::from(width)).min(63);
                Some(((pattern << unused) as i64 >> unused) as f64)
            }
            Form::SignMagnitude => {
                let sign = 1u64 << (width.clamp(1, 64) - 1);
                let magnitude = (pattern & !sign) as f64;
                Some(if pattern & sign == 0 { magnitude } else { 0.0 - magnitude })
            }
            Form::Bcd => from_bcd(pattern),
            Form::SignedBcd => {
                let sign = 1u64 << (width.clamp(1, 64) - 1);
                let magnitude = from_bcd(pattern & !sign)?;
                Some(if pattern & sign == 0 { magnitude } else { 0.0 - magnitude })
            }
            Form::Truth => Some(if pattern == 0 { 0.0 } else { 1.0 }),
        }
    }

    /// The pattern, `width` bits wide, that people mean by `number` in `absent` and `values`: the number as this form
    /// reads it, or else the pattern itself (0xFFFF for an `i16`). `None` if it does not fit.
    pub fn pattern(self, number: i128, width: u8) -> Option<u64> {
        let limit = 1i128 << width.min(64);
        let plain = || (0..limit).contains(&number).then_some(number as u64);
        match self {
            Form::Unsigned => plain(),
            Form::Truth => (0..=1).contains(&number).then_some(number as u64),
            Form::Signed if (-(limit / 2)..0).contains(&number) => Some((limit + number) as u64),
            Form::Signed => plain(),
            Form::SignMagnitude if (1 - limit / 2..0).contains(&number) => Some((limit / 2 - number) as u64),
            Form::SignMagnitude => plain(),
            Form::Bcd => as_bcd(number).filter(|&pattern| i128::from(pattern) < limit).or_else(plain),
            Form::SignedBcd => {
                let digits = as_bcd(number.abs()).filter(|&pattern| i128::from(pattern) < limit / 2);
                let sign = if number < 0 { (limit / 2) as u64 } else { 0 };
                digits.map(|digits| digits | sign).or_else(plain)
            }
        }
    }
}

fn from_bcd(pattern: u64) -> Option<f64> {
    let mut digits = (0..16).rev().map(|at| (pattern >> (4 * at)) & 0xF);
    let number = digits.try_fold(0u64, |so_far, digit| (digit < 10).then_some(so_far * 10 + digit))?;
    Some(number as f64)
}

fn as_bcd(number: i128) -> Option<u64> {
    if !(0..10i128.pow(16)).contains(&number) {
        return None;
    }
    let digits = (0..16u32).map(|at| ((number / 10i128.pow(at)) % 10) as u64);
    Some(digits.zip(0u32..).map(|(digit, at)| digit << (4 * at)).sum())
}
