//! Samples and raw values in the words of a table or a log.

use super::{
    Profile, Read,
    message::{Message, at, inner_bytes},
    plan::{Dictionary, Take, Turn},
    take::cut,
};
use crate::{
    domain::{PointIx, Raw, Sample, Text, Value},
    profile::decode::Decoder,
    text,
};

/// A sample in one word: its value, or why there is none.
pub fn shown(sample: &Sample) -> String {
    match sample.value() {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Flag(flag)) => flag.to_string(),
        Some(Value::Text(text)) => format!("\"{text}\""),
        None => sample.quality().word().to_owned(),
    }
}

impl Profile {
    /// The part of `raw` that `point` is read from: registers as hex words, bytes as hex, JSON as it stands. `None` if it
    /// is not in there.
    pub fn raw_shown(&self, point: PointIx, raw: &Raw) -> Option<String> {
        let point = self.points.get(usize::from(point.0))?;
        match (raw, &point.read) {
            (Raw::Registers { first, words, .. }, Read::Modbus { address, span, .. }) => {
                let from = usize::from(address.checked_sub(*first)?);
                let words = words.get(from..from + usize::from(*span))?;
                Some(words.iter().map(|word| format!("{word:04X}")).collect::<Vec<_>>().join(" "))
            }
            (Raw::Bits { first, bits, .. }, Read::Modbus { address, .. }) => {
                bits.get(usize::from(address.checked_sub(*first)?)).map(|bit| u8::from(*bit).to_string())
            }
            (Raw::Frame { bytes, .. }, Read::Serial { .. }) => hex_of(&point.plan.take, bytes),
            (Raw::Payload { bytes, .. }, Read::Mqtt) => self.payload_shown(&point.plan.take, bytes),
            (Raw::Registers { .. } | Raw::Bits { .. } | Raw::Frame { .. } | Raw::Payload { .. }, _) => None,
        }
    }

    /// What `point` takes, for somebody who holds another raw value in hands; `None` where anything is taken.
    pub fn takes(&self, point: PointIx) -> Option<Text> {
        let point = self.points.get(usize::from(point.0))?;
        let known = match &point.plan.turn {
            Turn::Number { range: Some([low, high]), .. } => {
                return Some(text!("允许 {low} 到 {high}", "{low} to {high} are possible"));
            }
            Turn::Number { range: None, .. } | Turn::Flag(None) | Turn::Text => return None,
            Turn::Flag(Some(dictionary)) => dictionary.listed(ToString::to_string),
            Turn::Choice(dictionary) => dictionary.listed(ToString::to_string),
        };
        Some(text!("允许 {known}", "it is one of {known}"))
    }

    fn payload_shown(&self, take: &Take, payload: &[u8]) -> Option<String> {
        match (take, &self.decoder) {
            (Take::WholeText(_), _) => str::from_utf8(payload).ok().map(|text| text.trim().to_owned()),
            (Take::Pointer { steps, .. }, _) => {
                let json = serde_json::from_slice(payload).ok()?;
                at(&json, steps).map(ToString::to_string)
            }
            (Take::Bytes { .. }, Decoder::Message(Message::Json { bytes: Some(path), .. })) => {
                let json = serde_json::from_slice(payload).ok()?;
                hex_of(take, &inner_bytes(at(&json, path)?).ok()?)
            }
            (Take::Bytes { .. }, _) => hex_of(take, payload),
            (Take::Bit | Take::Words { .. }, _) => None,
        }
    }
}

impl<T> Dictionary<T> {
    /// `0 closed, 1 open`.
    fn listed(&self, word: impl Fn(&T) -> String) -> String {
        let list: Vec<String> = match self {
            Dictionary::Patterns(all) => all.iter().map(|(raw, is)| format!("{raw} {}", word(is))).collect(),
            Dictionary::Numbers(all) => all.iter().map(|(raw, is)| format!("{raw} {}", word(is))).collect(),
            Dictionary::Texts(all) => all.iter().map(|(raw, is)| format!("\"{raw}\" {}", word(is))).collect(),
        };
        list.join(", ")
    }
}

fn hex_of(take: &Take, bytes: &[u8]) -> Option<String> {
    let Take::Bytes { at, len, .. } = take else { return None };
    let bytes = cut(bytes, *at, *len)?;
    Some(bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" "))
}
