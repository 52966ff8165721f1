//! The first half of a point's way: from registers, bytes and text to the raw value.

use super::{
    plan::{Form, Plan, Seen, Take, Wire, Word},
    value::broken,
};
use crate::domain::{Quality, Sample};

impl Plan {
    /// `words` are exactly the point's registers.
    #[inline(always)]
    pub(super) fn of_words(&self, words: &[u16]) -> Option<Sample> {
        let Take::Words { wire, bytes_swapped, words_reversed } = &self.take else { return None };
        let in_order = |word: u16| if *bytes_swapped { word.swap_bytes() } else { word };
        if wire.is_number() {
            let join = |so_far: u64, word: &u16| so_far << 16 | u64::from(in_order(*word));
            let raw = match words_reversed {
                true => words.iter().rev().fold(0, join),
                false => words.iter().fold(0, join),
            };
            return Some(self.sample(wire.number(raw)));
        }
        let bytes: Vec<u8> = words.iter().flat_map(|&word| in_order(word).to_be_bytes()).collect();
        Some(self.of_text_bytes(*wire, &bytes))
    }

    pub(super) fn of_bit(&self, bit: bool) -> Option<Sample> {
        matches!(self.take, Take::Bit).then(|| self.sample(truth(bit)))
    }

    /// `None` if the frame does not speak of the point.
    pub(super) fn of_bytes(&self, all: &[u8]) -> Option<Sample> {
        let Take::Bytes { at, len, wire, little, when } = &self.take else { return None };
        if when.as_ref().is_some_and(|when| !when.holds(all)) {
            return None;
        }
        let Some(bytes) = cut(all, *at, *len) else { return Some(broken()) };
        if !wire.is_number() {
            return Some(self.of_text_bytes(*wire, bytes));
        }
        let join = |so_far: u64, byte: &u8| so_far << 8 | u64::from(*byte);
        let raw = if *little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) };
        Some(self.sample(wire.number(raw)))
    }

    fn of_text_bytes(&self, wire: Wire, bytes: &[u8]) -> Sample {
        if wire == Wire::Hex {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            return self.sample(Seen::Text(&digits));
        }
        let Some(text) = readable(bytes) else { return broken() };
        if wire == Wire::Decimal {
            return self.number_written(text.trim_start(), decimal);
        }
        self.sample(Seen::Text(text))
    }

    /// A number written as text; the texts of `absent` come first.
    pub(super) fn number_written(&self, text: &str, read: impl Fn(&str) -> Option<f64>) -> Sample {
        if self.absent.lists_text(text) {
            return Sample::without_value(Quality::Absent);
        }
        read(text).map_or_else(broken, |number| self.sample(Seen::Float(number)))
    }

    /// The text as this word reads it.
    pub(super) fn of_text(&self, word: Word, text: &str) -> Sample {
        match word {
            Word::Text => self.sample(Seen::Text(text)),
            Word::Flag if self.absent.lists_text(text) => Sample::without_value(Quality::Absent),
            Word::Flag => match text {
                "1" | "true" => self.sample(truth(true)),
                "0" | "false" => self.sample(truth(false)),
                _ => broken(),
            },
            Word::Number => self.number_written(text, |text| text.parse().ok()),
            Word::Bits(pick) => match text.parse::<u64>() {
                Ok(whole) => self.sample(Wire::Whole { pick, form: Form::Unsigned }.number(whole)),
                Err(_) => self.number_written(text, |_| None),
            },
        }
    }
}

impl Wire {
    #[inline]
    fn is_number(self) -> bool {
        match self {
            Wire::Whole { .. } | Wire::Float32 | Wire::Float64 => true,
            Wire::Text | Wire::Hex | Wire::Decimal => false,
        }
    }

    /// `raw` is the big-endian joining of the bytes.
    #[inline(always)]
    pub(super) fn number(self, raw: u64) -> Seen<'static> {
        match self {
            Wire::Whole { pick, form: Form::Truth } => truth(pick.of(raw) != 0),
            Wire::Whole { pick, form } => {
                let pattern = pick.of(raw);
                Seen::Whole { pattern, number: form.number(pattern, pick.width).unwrap_or(f64::NAN) }
            }
            Wire::Float32 => Seen::Float(f64::from(f32::from_bits(raw as u32))),
            Wire::Float64 => Seen::Float(f64::from_bits(raw)),
            Wire::Text | Wire::Hex | Wire::Decimal => Seen::Float(f64::NAN),
        }
    }
}

pub(super) fn truth(is: bool) -> Seen<'static> {
    Seen::Whole { pattern: u64::from(is), number: f64::from(u8::from(is)) }
}

/// `len` bytes from `at` on; a negative `at` counts from the end.
pub(super) fn cut(all: &[u8], at: i32, len: usize) -> Option<&[u8]> {
    let from = match usize::try_from(at) {
        Ok(from) => from,
        Err(_) => all.len().checked_sub(usize::try_from(at.unsigned_abs()).ok()?)?,
    };
    all.get(from..from.checked_add(len)?)
}

/// Text without the NULs and blanks that fill it up; `None` if it is not UTF-8 or has control characters inside.
fn readable(bytes: &[u8]) -> Option<&str> {
    let filled = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n'));
    let text = str::from_utf8(&bytes[..filled.map_or(0, |last| last + 1)]).ok()?;
    (!text.contains(char::is_control)).then_some(text)
}

/// The longest number a scale writes, with room.
const MAX_DIGITS: usize = 32;

/// Sign, blanks, digits with at most one point: `+00012.345`, `-  7.16`.
fn decimal(text: &str) -> Option<f64> {
    let (negative, rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = rest.trim_matches([' ', '\t']);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !plain || digits.len() > MAX_DIGITS {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    Some(if negative { 0.0 - number } else { number })
}
