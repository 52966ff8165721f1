//! What a point can be, and who may know it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What values a point of a class takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Number,
    Flag,
    Choice,
    Text,
}

/// Who may know a value: an endpoint sees only the data classes it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataClass {
    Public,
    #[default]
    Operational,
    Security,
    Personal,
    Health,
}
