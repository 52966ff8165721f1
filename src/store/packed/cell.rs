//! A sample as a kind and a whole number, exact to the bit: so that the difference to the one before is small.
//!
//! Meters that speak in floats mostly mean decimals: 230.2 V goes over the wire as 43 66 33 33. Such a float is kept as its decimal,
//! if that gives back the same bits. The number of any other float or double is its bit pattern: neighbours have neighbouring patterns,
//! so their difference is small for the same reason for which others take the exclusive or, and one code serves all kinds.

use std::sync::Arc;

use crate::domain::{Quality, Sample, Value};

/// Of [`Kind`]: 0–6 a number ÷ 10ᵏ, 7–12 a number × 10⁶⁻ᵏ, as in [`super::super::samples`]; 21–26 the float next to a number ÷ 10ᵏ⁻²⁰.
const DIVIDED: usize = 7;
const DECIMALS: u8 = 13;
const SINGLE: u8 = 13;
const DOUBLE: u8 = 14;
const FLAG: u8 = 15;
const TEXT: u8 = 16;
const MISSING: u8 = 17;
/// The first that files of schema 2 do not have.
const SINGLE_DECIMAL: u8 = 21;
const KINDS: u8 = 27;
/// A float with more digits than this is no decimal but chance: there are sixteen times as many floats as such decimals.
const SINGLE_DECIMAL_MAX: i64 = 1_000_000;
const STALE: u8 = 0x20;
const POWERS: [f64; DIVIDED] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
const SCALES: [f64; 6] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6];
const NO_VALUE: [Quality; 4] =
    [Quality::Absent, Quality::OutOfRange, Quality::CommFail, Quality::DecodeError];

/// What a cell's number means. Six bits; every [`Kind`] is one of those that [`Kind::checked`] lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u8);

pub const KIND_BITS: u32 = 6;

/// What a kind's numbers are to arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Number,
    Flag,
    Text,
    Missing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub kind: Kind,
    /// Of a text: its place among the words, which whoever has the cell knows.
    pub number: i64,
}

impl Default for Kind {
    fn default() -> Self {
        Kind::WHOLE
    }
}

impl Kind {
    const WHOLE: Kind = Kind(0);

    pub fn bits(self) -> u64 {
        self.0.into()
    }

    /// `None` if no kind has these bits.
    pub fn checked(bits: u64) -> Option<Kind> {
        let bits = u8::try_from(bits).ok()?;
        let (form, stale) = (bits & !STALE, bits & STALE != 0);
        (form < KINDS && !(stale && is_missing(form))).then_some(Kind(bits))
    }

    #[inline]
    fn code(self) -> u8 {
        self.0 & !STALE
    }

    #[inline]
    pub fn is_good(self) -> bool {
        self.0 & STALE == 0 && !is_missing(self.0)
    }

    #[inline]
    pub fn is_text(self) -> bool {
        self.code() == TEXT
    }

    pub fn form(self) -> Form {
        match self.code() {
            FLAG => Form::Flag,
            TEXT => Form::Text,
            MISSING..SINGLE_DECIMAL => Form::Missing,
            0..=DOUBLE | SINGLE_DECIMAL.. => Form::Number,
        }
    }
}

impl Cell {
    /// As it came: every number by the bits of its double. A text comes without its number.
    #[inline]
    pub fn plain(sample: &Sample) -> (Cell, Option<&Arc<str>>) {
        let stale = if sample.quality() == Quality::Stale { STALE } else { 0 };
        let (code, number, text) = match sample.value() {
            Some(Value::Number(value)) => (DOUBLE, value.to_bits() as i64, None),
            Some(Value::Flag(flag)) => (FLAG, i64::from(*flag), None),
            Some(Value::Text(text)) => (TEXT, 0, Some(text)),
            None => return (Cell { kind: missing(sample.quality()), number: 0 }, None),
        };
        (Cell { kind: Kind(code | stale), number }, text)
    }

    /// The same from [`Self::plain`], in the shortest form. `usual` is tried first: 230.0 among tenths stays 2300 tenths.
    #[inline]
    pub fn shortened(self, usual: Kind) -> Cell {
        if self.kind.code() != DOUBLE {
            return self;
        }
        let (code, number) = number_of(f64::from_bits(self.number as u64), usual.code());
        Cell { kind: Kind(code | self.kind.0 & STALE), number }
    }

    /// `word` is the text, if it is one.
    pub fn sample(self, word: impl FnOnce() -> Option<Arc<str>>) -> Option<Sample> {
        let value = match self.kind.form() {
            Form::Number => Value::Number(self.value()?),
            Form::Flag => Value::Flag(match self.number {
                0 => false,
                1 => true,
                _ => return None,
            }),
            Form::Text => Value::Text(word()?),
            Form::Missing => {
                let which = usize::from(self.kind.code() - MISSING);
                return NO_VALUE.get(which).map(|quality| Sample::without_value(*quality));
            }
        };
        Some(if self.kind.0 & STALE == 0 { Sample::good(value) } else { Sample::stale(value) })
    }

    /// If it is a number.
    #[inline]
    pub fn value(self) -> Option<f64> {
        value_of(self.kind.code(), self.number)
    }
}

#[inline]
fn is_missing(code: u8) -> bool {
    (MISSING..SINGLE_DECIMAL).contains(&code)
}

fn missing(quality: Quality) -> Kind {
    let which = NO_VALUE.iter().position(|known| *known == quality).unwrap_or(0);
    Kind(MISSING + which as u8)
}

#[inline]
fn number_of(value: f64, usual: u8) -> (u8, i64) {
    if let Some(number) = as_decimal(value, usual) {
        return (usual, number);
    }
    // Floats and doubles stay what they are once a column has them: a decimal among them is chance.
    let single = value as f32;
    let is_single = f64::from(single).to_bits() == value.to_bits();
    match usual {
        SINGLE if is_single => (SINGLE, ordered(single)),
        DOUBLE => (DOUBLE, value.to_bits() as i64),
        _ => found_anew(value),
    }
}

/// `value` as a whole number of `code`, if that gives back exactly the same bits.
#[inline]
fn as_decimal(value: f64, code: u8) -> Option<i64> {
    if code == 0 {
        let number = value as i64;
        return ((number as f64).to_bits() == value.to_bits()).then_some(number);
    }
    let power = match code {
        0..DECIMALS if usize::from(code) < DIVIDED => POWERS[usize::from(code)],
        0..DECIMALS => POWERS[usize::from(code) - DIVIDED + 1],
        SINGLE_DECIMAL.. => *POWERS.get(usize::from(code - SINGLE_DECIMAL) + 1)?,
        DECIMALS..SINGLE_DECIMAL => return None,
    };
    let scaled = value * power;
    let number = (scaled + 0.5f64.copysign(scaled)) as i64;
    if code >= SINGLE_DECIMAL && number.unsigned_abs() > SINGLE_DECIMAL_MAX as u64 {
        return None;
    }
    value_of(code, number).is_some_and(|back| back.to_bits() == value.to_bits()).then_some(number)
}

#[cold]
fn found_anew(value: f64) -> (u8, i64) {
    let decimal = |code| Some((code, as_decimal(value, code)?));
    let single = value as f32;
    let is_single = f64::from(single).to_bits() == value.to_bits();
    let found = (0..DECIMALS).find_map(decimal);
    let found = found.or_else(|| (SINGLE_DECIMAL..KINDS).filter(|_| is_single).find_map(decimal));
    found.unwrap_or(if is_single { (SINGLE, ordered(single)) } else { (DOUBLE, value.to_bits() as i64) })
}

fn ordered(single: f32) -> i64 {
    single.to_bits().into()
}

#[inline]
fn value_of(code: u8, number: i64) -> Option<f64> {
    match usize::from(code) {
        0 => Some(number as f64),
        code @ 1..DIVIDED => Some(number as f64 / POWERS[code]),
        code if code < usize::from(DECIMALS) => Some(number as f64 * SCALES[code - DIVIDED]),
        _ => match code {
            SINGLE => Some(f32::from_bits(u32::try_from(number).ok()?).into()),
            DOUBLE => Some(f64::from_bits(number as u64)),
            SINGLE_DECIMAL..KINDS => {
                let power = POWERS[usize::from(code - SINGLE_DECIMAL) + 1];
                Some(((number as f64 / power) as f32).into())
            }
            _ => None,
        },
    }
}
