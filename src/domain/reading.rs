//! A value with its quality. A failure is never a number.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Flag(bool),
    Number(f64),
    /// A choice's word or a text.
    Text(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    Good,
    /// A true value that is too old to act upon.
    Stale,
    /// The device said "no value".
    Absent,
    OutOfRange,
    CommFail,
    DecodeError,
}

impl Quality {
    pub const ALL: [Quality; 6] = [
        Quality::Good,
        Quality::Stale,
        Quality::Absent,
        Quality::OutOfRange,
        Quality::CommFail,
        Quality::DecodeError,
    ];

    /// The word of the contract: `good`, `stale`, `absent`, `out_of_range`, `comm_fail`, `decode_error`.
    pub fn word(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Stale => "stale",
            Quality::Absent => "absent",
            Quality::OutOfRange => "out_of_range",
            Quality::CommFail => "comm_fail",
            Quality::DecodeError => "decode_error",
        }
    }
}

/// What one look at a point gave. Only `good` and `stale` carry a value, by construction.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    value: Option<Value>,
    quality: Quality,
}

impl Sample {
    pub fn good(value: Value) -> Self {
        Self { value: Some(value), quality: Quality::Good }
    }

    pub fn stale(value: Value) -> Self {
        Self { value: Some(value), quality: Quality::Stale }
    }

    /// A look that gave no value. `quality` is neither good nor stale.
    pub fn without_value(quality: Quality) -> Self {
        debug_assert!(!matches!(quality, Quality::Good | Quality::Stale));
        Self { value: None, quality }
    }

    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// The number, if it is one and good.
    #[inline]
    pub fn good_number(&self) -> Option<f64> {
        let Some(Value::Number(number)) = &self.value else { return None };
        self.is_good().then_some(*number)
    }

    /// To put another good number in its place.
    #[inline]
    pub fn good_number_mut(&mut self) -> Option<&mut f64> {
        let is_good = self.is_good();
        let Some(Value::Number(number)) = &mut self.value else { return None };
        is_good.then_some(number)
    }

    pub fn quality(&self) -> Quality {
        self.quality
    }

    pub fn is_good(&self) -> bool {
        self.quality == Quality::Good
    }

    /// The same value, too old to act upon.
    pub fn aged(self) -> Self {
        match self.value {
            Some(value) => Self::stale(value),
            None => self,
        }
    }
}

/// As people read it: `40`, `true`, a word.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}
