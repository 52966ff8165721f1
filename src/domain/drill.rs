//! What came of a drill: a letter that practises.

use serde::{Deserialize, Serialize};

use super::{Hindrance, Text};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drilled {
    /// It has a receipt. `event`: the id under which the receiver got it.
    Accepted {
        event: String,
        status: u16,
        said: String,
    },
    Hindered {
        event: String,
        why: Hindrance,
    },
    /// The endpoint's body template cannot tell of a drill.
    NoWords {
        why: Text,
    },
    NoSuchEndpoint,
}
