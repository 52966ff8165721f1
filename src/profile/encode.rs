//! The way back: what a device would have to hold or send so that a point has a given value.
//!
//! For simulated devices and for tests of the way there. What is given is what [`Profile::decode`] turns into the value
//! again; a number the wire cannot hold exactly becomes the nearest it can.

use std::ops::{BitAnd, BitOr, Not};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    Profile, Read,
    decode::Decoder,
    message::{Message, Path},
    plan::{Dictionary, Form, Pick, Plan, Scale, Seen, Take, Turn, Wire, Word},
};
use crate::domain::{PointIx, Table, Value};

/// Where a point's raw value goes, and what it is there.
#[derive(Clone, Debug, PartialEq)]
pub enum RawWrite {
    /// Registers from `address` on.
    Words { table: Table, address: u16, words: Vec<Bits<u16>> },
    /// A coil or a discrete input.
    Bit { table: Table, address: u16, on: bool },
    /// Bytes of a serial frame, or (`frame: None`) of the block that an MQTT message carries.
    Bytes { frame: Option<u16>, patches: Vec<Patch> },
    /// A value in a JSON message, at these steps of a JSON pointer.
    Json { steps: Box<[String]>, json: Json },
    /// The whole message as text.
    Text(String),
}

/// `bits` where `mask` is set; the rest belongs to other points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits<T> {
    pub mask: T,
    pub bits: T,
}

/// Bytes from `at` on; a negative `at` counts from the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub at: i32,
    pub bytes: Vec<Bits<u8>>,
}

impl<T> Bits<T>
where
    T: Copy + BitAnd<Output = T> + BitOr<Output = T> + Not<Output = T>,
{
    /// `old` with these bits in place.
    pub fn over(self, old: T) -> T {
        (old & !self.mask) | (self.bits & self.mask)
    }
}

/// A raw value before it has a place: the owned counterpart of [`Seen`].
enum Raw {
    Pattern(u64),
    Number(f64),
    Text(String),
}

impl Profile {
    /// What makes `point` read `value`; `None` if no raw value does: a number outside its range, a word it does not
    /// know, another kind of value, or bits of a JSON number, which cannot be written without the rest of it.
    pub fn encode(&self, point: PointIx, value: &Value) -> Option<RawWrite> {
        let point = self.points.get(usize::from(point.0))?;
        let plan = &point.plan;
        match (&plan.take, &point.read) {
            (Take::Bit, &Read::Modbus { table, address, .. }) => {
                Some(RawWrite::Bit { table, address, on: plan.bit(value)? })
            }
            (Take::Words { .. }, &Read::Modbus { table, address, span }) => {
                Some(RawWrite::Words { table, address, words: plan.words(span, value)? })
            }
            (Take::Bytes { at, len, wire, little, when }, read) => {
                let mut bytes = plan.bytes(*wire, *len, value)?;
                if *little && is_number(*wire) {
                    bytes.reverse();
                }
                let mut patches = vec![Patch { at: *at, bytes }];
                if let Some(when) = when {
                    let bytes = when.bytes.iter().map(|&bits| Bits { mask: u8::MAX, bits }).collect();
                    patches.push(Patch { at: i32::try_from(when.at).ok()?, bytes });
                }
                let frame = match read {
                    Read::Serial { frame } => Some(*frame),
                    Read::Mqtt | Read::Reckoned | Read::Modbus { .. } => None,
                };
                Some(RawWrite::Bytes { frame, patches })
            }
            (Take::Pointer { steps, word, .. }, _) => {
                let json = match (plan.raw(None, value)?, word) {
                    (_, Word::Bits(_)) => return None,
                    (Raw::Pattern(bit), Word::Flag) => Json::Bool(bit != 0),
                    (Raw::Pattern(bit), Word::Number | Word::Text) => Json::from(bit),
                    (Raw::Number(number), _) => number_json(number)?,
                    (Raw::Text(text), _) => Json::String(text),
                };
                Some(RawWrite::Json { steps: steps.clone(), json })
            }
            (Take::WholeText(_), _) => Some(RawWrite::Text(match plan.raw(None, value)? {
                Raw::Pattern(bit) => bit.to_string(),
                Raw::Number(number) => number.to_string(),
                Raw::Text(text) => text,
            })),
            (Take::Bit | Take::Words { .. }, Read::Serial { .. } | Read::Mqtt | Read::Reckoned) => None,
        }
    }

    /// The message that carries `json` and the device's own `block` of bytes, marked, timed and numbered the way this
    /// profile looks for it. `None` if the profile speaks no JSON and no bytes over MQTT.
    pub fn message_of(&self, mut json: Json, block: &[u8], at: Timestamp, number: u64) -> Option<Vec<u8>> {
        let Decoder::Message(shape) = &self.decoder else { return None };
        match shape {
            Message::Text => None,
            Message::Bytes => Some(block.to_vec()),
            Message::Json { bytes, only, time, sequence } => {
                let mut put = |path: &Path, value: Json| put_json(&mut json, path, value);
                only.iter().for_each(|(path, mark)| put(path, mark.clone()));
                if let Some(path) = bytes {
                    put(path, Json::String(BASE64_STANDARD.encode(block)));
                }
                if let Some(path) = time {
                    put(path, Json::String(at.to_string()));
                }
                if let Some(path) = sequence {
                    put(path, Json::from(number));
                }
                serde_json::to_vec(&json).ok()
            }
        }
    }
}

/// Puts `value` at `path`; what stands in the way and is no object is replaced by one.
pub fn put_json(json: &mut Json, path: &[String], value: Json) {
    let mut place = json;
    for step in path {
        if !place.is_object() {
            *place = Json::Object(serde_json::Map::new());
        }
        place = &mut place[step.as_str()];
    }
    *place = value;
}

impl Plan {
    /// The bit of a coil that reads as `value`.
    pub(super) fn bit(&self, value: &Value) -> Option<bool> {
        match self.raw(None, value)? {
            Raw::Pattern(bit) => Some(bit != 0),
            Raw::Number(_) | Raw::Text(_) => None,
        }
    }

    /// `span` registers that read as `value`; bits that are not the point's stay masked out.
    pub(super) fn words(&self, span: u16, value: &Value) -> Option<Vec<Bits<u16>>> {
        let Take::Words { wire, bytes_swapped, words_reversed } = &self.take else { return None };
        let mut bytes = self.bytes(*wire, 2 * usize::from(span), value)?;
        if *words_reversed {
            bytes = bytes.chunks(2).rev().flatten().copied().collect();
        }
        Some(bytes.chunks_exact(2).map(|pair| word(pair, *bytes_swapped)).collect())
    }

    /// The raw value that decodes to `value`; `whole` is how a wire of whole numbers writes them.
    fn raw(&self, whole: Option<(Form, Pick)>, value: &Value) -> Option<Raw> {
        let raw = match (&self.turn, value) {
            (Turn::Number { scale, offset, .. }, Value::Number(number)) => {
                let unscaled = scale.undo(number - offset);
                match whole {
                    Some((form, pick)) => Raw::Pattern(pattern(form, pick, unscaled.round())?),
                    None => Raw::Number(unscaled),
                }
            }
            (Turn::Flag(None), Value::Flag(flag)) => Raw::Pattern(u64::from(*flag)),
            (Turn::Flag(Some(dictionary)), Value::Flag(flag)) => {
                dictionary.raw_of(|meaning| meaning == flag)?
            }
            (Turn::Choice(dictionary), Value::Text(word)) => dictionary.raw_of(|meaning| meaning == word)?,
            (Turn::Text, Value::Text(text)) => Raw::Text(text.to_string()),
            (Turn::Number { .. } | Turn::Flag(_) | Turn::Choice(_) | Turn::Text, _) => return None,
        };
        let seen = match &raw {
            Raw::Pattern(pattern) => match whole {
                Some((form, pick)) => Wire::Whole { pick: Pick::all(pick.width), form }.number(*pattern),
                None => Wire::Whole { pick: Pick::all(1), form: Form::Truth }.number(*pattern),
            },
            Raw::Number(number) => Seen::Float(*number),
            Raw::Text(text) => Seen::Text(text),
        };
        // Absent, out of range: the device cannot say it.
        self.sample(seen).is_good().then_some(raw)
    }

    /// `len` bytes, big end first, that read as `value`; bits that are not the point's stay masked out.
    fn bytes(&self, wire: Wire, len: usize, value: &Value) -> Option<Vec<Bits<u8>>> {
        let all = |bytes: &[u8]| bytes.iter().map(|&bits| Bits { mask: u8::MAX, bits }).collect();
        match (wire, self.raw(whole(wire), value)?) {
            (Wire::Whole { pick, .. }, Raw::Pattern(pattern)) => {
                let shift = pick.shift.min(63);
                let mask = (pick.mask() << shift).to_be_bytes();
                let bits = (pattern << shift).to_be_bytes();
                let from = 8usize.checked_sub(len)?;
                Some(
                    mask[from..]
                        .iter()
                        .zip(&bits[from..])
                        .map(|(&mask, &bits)| Bits { mask, bits })
                        .collect(),
                )
            }
            (Wire::Float32, Raw::Number(number)) => Some(all(&(number as f32).to_bits().to_be_bytes())),
            (Wire::Float64, Raw::Number(number)) => Some(all(&number.to_bits().to_be_bytes())),
            (Wire::Decimal, Raw::Number(number)) => decimal(number, len).map(|text| all(text.as_bytes())),
            (Wire::Text, Raw::Text(text)) => filled(&text, len).map(|text| all(&text)),
            (Wire::Hex, Raw::Text(digits)) => {
                let bytes: Option<Vec<u8>> = (0..digits.len().div_ceil(2))
                    .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
                    .collect();
                bytes.filter(|bytes| bytes.len() == len).map(|bytes| all(&bytes))
            }
            // A flag or a choice read from a number that is no whole one.
            (Wire::Float32, Raw::Pattern(bit)) => Some(all(&(bit as f32).to_bits().to_be_bytes())),
            (Wire::Float64, Raw::Pattern(bit)) => Some(all(&(bit as f64).to_bits().to_be_bytes())),
            (Wire::Decimal, Raw::Pattern(bit)) => filled(&format!("{bit:>len$}"), len).map(|text| all(&text)),
            (Wire::Whole { .. } | Wire::Text | Wire::Hex, _) | (_, Raw::Text(_)) => None,
        }
    }
}

impl<T> Dictionary<T> {
    fn raw_of(&self, means: impl Fn(&T) -> bool) -> Option<Raw> {
        match self {
            Dictionary::Patterns(all) => look_up(all, means).map(|raw| Raw::Pattern(*raw)),
            Dictionary::Numbers(all) => look_up(all, means).map(|raw| Raw::Number(*raw)),
            Dictionary::Texts(all) => look_up(all, means).map(|raw| Raw::Text(raw.clone())),
        }
    }
}

fn look_up<R, T>(all: &[(R, T)], means: impl Fn(&T) -> bool) -> Option<&R> {
    all.iter().find(|(_, meaning)| means(meaning)).map(|(raw, _)| raw)
}

impl Scale {
    fn undo(self, value: f64) -> f64 {
        match self {
            Scale::Times(factor) => value / factor,
            Scale::Over(divisor) => value * divisor,
        }
    }
}

fn whole(wire: Wire) -> Option<(Form, Pick)> {
    match wire {
        Wire::Whole { pick, form } => Some((form, pick)),
        Wire::Float32 | Wire::Float64 | Wire::Text | Wire::Hex | Wire::Decimal => None,
    }
}

fn is_number(wire: Wire) -> bool {
    match wire {
        Wire::Whole { .. } | Wire::Float32 | Wire::Float64 => true,
        Wire::Text | Wire::Hex | Wire::Decimal => false,
    }
}

/// The pattern that `form` reads as `number`.
fn pattern(form: Form, pick: Pick, number: f64) -> Option<u64> {
    /// Every pattern has at most 64 bits; beyond this a double is no exact whole number anyway.
    const MOST: f64 = 18_446_744_073_709_551_616.0;
    if !(-MOST..MOST).contains(&number) {
        return None;
    }
    let pattern = form.pattern(number as i128, pick.width)?;
    (form.number(pattern, pick.width) == Some(number)).then_some(pattern)
}

/// `number` in `len` characters, blanks in front: exactly if that fits, else with as many decimals as do.
fn decimal(number: f64, len: usize) -> Option<String> {
    let exact = format!("{number:>len$}");
    let shorter = (0..=len).rev().map(|decimals| format!("{number:>len$.decimals$}"));
    std::iter::once(exact).chain(shorter).find(|text| text.len() == len)
}

/// Exactly `len` bytes of text, blanks at its end.
fn filled(text: &str, len: usize) -> Option<Vec<u8>> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(len.max(bytes.len()), b' ');
    (bytes.len() == len).then_some(bytes)
}

fn word(pair: &[Bits<u8>], bytes_swapped: bool) -> Bits<u16> {
    let (high, low) = if bytes_swapped { (pair[1], pair[0]) } else { (pair[0], pair[1]) };
    Bits { mask: u16::from_be_bytes([high.mask, low.mask]), bits: u16::from_be_bytes([high.bits, low.bits]) }
}

fn number_json(number: f64) -> Option<Json> {
    /// 2⁵³: whole numbers below it are written without a fraction.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Some(Json::from(number as i64));
    }
    serde_json::Number::from_f64(number).map(Json::Number)
}
