//! The second half of a point's way: from the raw value as seen to a reading.

use super::plan::{Absent, Plan, Seen, Turn};
use crate::domain::{Quality, Sample, Value};

impl Plan {
    /// What `seen` means: absent before anything else, then the value, then its range.
    #[inline(always)]
    pub(super) fn sample(&self, seen: Seen<'_>) -> Sample {
        if self.absent.lists(seen) {
            return Sample::without_value(Quality::Absent);
        }
        match &self.turn {
            Turn::Number { scale, offset, range } => {
                let number = seen.number().map(|raw| scale.apply(raw) + offset).filter(|n| n.is_finite());
                match (number, range) {
                    (Some(number), Some([low, high])) if number < *low || number > *high => {
                        Sample::without_value(Quality::OutOfRange)
                    }
                    (number, _) => number.map_or_else(broken, |number| Sample::good(Value::Number(number))),
                }
            }
            Turn::Flag(_) | Turn::Choice(_) | Turn::Text => self.word(seen),
        }
    }

    /// What is no number.
    fn word(&self, seen: Seen<'_>) -> Sample {
        let value = match &self.turn {
            Turn::Number { .. } => None,
            Turn::Flag(None) => seen.number().map(|raw| Value::Flag(raw != 0.0)),
            Turn::Flag(Some(dictionary)) => dictionary.meaning(seen).map(|&flag| Value::Flag(flag)),
            Turn::Choice(dictionary) => dictionary.meaning(seen).map(|word| Value::Text(word.clone())),
            Turn::Text => seen.text().map(|text| Value::Text(text.into())),
        };
        value.map_or_else(broken, Sample::good)
    }
}

/// What was heard cannot be this point's value.
pub(super) fn broken() -> Sample {
    Sample::without_value(Quality::DecodeError)
}

impl Absent {
    #[inline(always)]
    pub(super) fn lists(&self, seen: Seen<'_>) -> bool {
        match seen {
            Seen::Whole { pattern, .. } => self.patterns.contains(&pattern),
            Seen::Float(number) => {
                self.numbers.iter().any(|absent| *absent == number || (absent.is_nan() && number.is_nan()))
            }
            Seen::Text(text) => self.lists_text(text),
        }
    }

    pub(super) fn lists_text(&self, text: &str) -> bool {
        self.texts.iter().any(|absent| absent == text)
    }
}

impl<'a> Seen<'a> {
    fn number(self) -> Option<f64> {
        match self {
            Seen::Whole { number, .. } | Seen::Float(number) => Some(number).filter(|n| n.is_finite()),
            Seen::Text(_) => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        match self {
            Seen::Text(text) => Some(text),
            Seen::Whole { .. } | Seen::Float(_) => None,
        }
    }
}
