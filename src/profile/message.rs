//! MQTT messages: JSON, text or bytes, bounded in size and depth.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    Profile,
    decode::Decoded,
    plan::{Form, Plan, Take, Wire, Word},
    take::truth,
    value::broken,
};
use crate::domain::{PointIx, Quality, Sample};

/// Longer payloads are not looked at.
pub(super) const MAX_PAYLOAD: usize = 128 * 1024;

/// What a message of the profile looks like.
#[derive(Debug)]
pub(super) enum Message {
    Json {
        /// Where a base64 text with the device's own bytes stands.
        bytes: Option<Path>,
        only: Box<[(Path, Json)]>,
        time: Option<Path>,
        sequence: Option<Path>,
    },
    Text,
    Bytes,
}

/// The unescaped steps of a JSON pointer (RFC 6901).
pub(super) type Path = Box<[String]>;

impl Profile {
    pub(super) fn message(&self, shape: &Message, payload: &[u8], about: &[PointIx]) -> Decoded {
        if payload.len() > MAX_PAYLOAD {
            let why = format!("{} bytes are more than {MAX_PAYLOAD}", payload.len());
            return Decoded { malformed: Some(why), ..Decoded::default() };
        }
        match shape {
            Message::Bytes => {
                Decoded { samples: self.each(about, |plan| plan.of_bytes(payload)), ..Decoded::default() }
            }
            Message::Text => match str::from_utf8(payload) {
                Ok(text) => {
                    let samples = self.each(about, |plan| plan.of_whole_text(text.trim()));
                    Decoded { samples, ..Decoded::default() }
                }
                Err(error) => malformed(&error),
            },
            Message::Json { bytes, only, time, sequence } => match serde_json::from_slice::<Json>(payload) {
                Ok(json)
                    if !only
                        .iter()
                        .all(|(path, wanted)| at(&json, path).is_some_and(|is| same(is, wanted))) =>
                {
                    Decoded::default()
                }
                Ok(json) => Decoded {
                    source_time: time.as_ref().and_then(|path| moment(at(&json, path)?)),
                    sequence: sequence.as_ref().and_then(|path| number_of(at(&json, path)?)),
                    ..self.json(&json, bytes.as_ref(), about)
                },
                Err(error) => malformed(&error),
            },
        }
    }

    fn json(&self, json: &Json, bytes: Option<&Path>, about: &[PointIx]) -> Decoded {
        let (inner, why) = match bytes.and_then(|path| at(json, path)).map(inner_bytes) {
            Some(Ok(inner)) => (Some(inner), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let samples = self.each(about, |plan| match &plan.take {
            Take::Pointer { steps, word, missing } => {
                plan.of_json(*word, at(json, steps).or(missing.as_ref())?)
            }
            Take::Bytes { .. } => plan.of_bytes(inner.as_deref()?),
            Take::Bit | Take::Words { .. } | Take::WholeText(_) => None,
        });
        Decoded { samples, malformed: why, ..Decoded::default() }
    }
}

impl Plan {
    fn of_whole_text(&self, text: &str) -> Option<Sample> {
        let Take::WholeText(word) = self.take else { return None };
        Some(self.of_text(word, text))
    }

    fn of_json(&self, word: Word, json: &Json) -> Option<Sample> {
        Some(match json {
            Json::Null => Sample::without_value(Quality::Absent),
            Json::String(text) => self.of_text(word, text),
            Json::Bool(is) if word == Word::Flag => self.sample(truth(*is)),
            Json::Number(number) => self.of_json_number(word, number),
            Json::Bool(_) | Json::Array(_) | Json::Object(_) => broken(),
        })
    }

    fn of_json_number(&self, word: Word, json: &serde_json::Number) -> Sample {
        let Some(number) = json.as_f64() else { return broken() };
        match word {
            Word::Number => self.sample(super::plan::Seen::Float(number)),
            Word::Flag if number == 0.0 || number == 1.0 => self.sample(truth(number == 1.0)),
            Word::Bits(pick) => match whole(json) {
                Some(whole) => self.sample(Wire::Whole { pick, form: Form::Unsigned }.number(whole)),
                None => broken(),
            },
            Word::Flag | Word::Text => broken(),
        }
    }
}

fn malformed(error: &dyn std::error::Error) -> Decoded {
    Decoded { malformed: Some(error.to_string()), ..Decoded::default() }
}

/// The value at `path`, without allocating.
pub(super) fn at<'a>(json: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(json, |json, step| match json {
        Json::Object(members) => members.get(step),
        Json::Array(items) => index(step).and_then(|at| items.get(at)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    })
}

/// RFC 6901: no sign, no leading zero.
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    step.parse().ok().filter(|_| plain)
}

/// Equal as JSON, numbers by value: 1 and 1.0 are the same.
fn same(left: &Json, right: &Json) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

pub(super) fn inner_bytes(json: &Json) -> Result<Vec<u8>, String> {
    let text = json.as_str().ok_or("the bytes are not a base64 text")?;
    STANDARD.decode(text).map_err(|error| format!("the bytes are not base64: {error}"))
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    let float = || number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..MAX_EXACT).contains(n));
    number.as_u64().or_else(|| float().map(|n| n as u64))
}

/// 2^53: below it every whole number is a double of its own.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn number_of(json: &Json) -> Option<u64> {
    match json {
        Json::Number(number) => whole(number),
        Json::String(text) => text.parse().ok(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Seconds above this would be in the year 5138; milliseconds below it in 1973.
const FIRST_MILLISECOND: f64 = 1e11;

/// RFC 3339 text, or Unix seconds or milliseconds as a number.
fn moment(json: &Json) -> Option<Timestamp> {
    let number = match json {
        Json::String(text) => match text.parse() {
            Ok(moment) => return Some(moment),
            Err(_) => text.parse().ok()?,
        },
        Json::Number(number) => number.as_f64()?,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    if !number.is_finite() {
        return None;
    }
    let milliseconds = if number.abs() < FIRST_MILLISECOND { number * 1000.0 } else { number };
    Timestamp::from_millisecond(milliseconds.round() as i64).ok()
}
