//! What a point can be, and who may know it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;
use crate::text;

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

impl DataClass {
    pub const ALL: [DataClass; 5] = [
        DataClass::Public,
        DataClass::Operational,
        DataClass::Security,
        DataClass::Personal,
        DataClass::Health,
    ];

    /// Of a person: not for everybody's eyes, whatever it is for.
    pub fn is_private(self) -> bool {
        match self {
            DataClass::Personal | DataClass::Health => true,
            DataClass::Public | DataClass::Operational | DataClass::Security => false,
        }
    }

    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            DataClass::Public => "public",
            DataClass::Operational => "operational",
            DataClass::Security => "security",
            DataClass::Personal => "personal",
            DataClass::Health => "health",
        }
    }

    pub fn title(self) -> Text {
        match self {
            DataClass::Public => text!("公开", "public"),
            DataClass::Operational => text!("运行", "operational"),
            DataClass::Security => text!("安防", "security"),
            DataClass::Personal => text!("个人", "personal"),
            DataClass::Health => text!("健康", "health"),
        }
    }
}
