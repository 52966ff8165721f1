//! What an alarm remembers besides its state: when it was raised lately, and what its rule has seen over time. Durable with its state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Mono, OnDelay, Value};

/// When an alarm was raised lately, in the boot `boot_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raises {
    pub boot_id: String,
    /// Oldest first; no more than it takes to call it chattering.
    pub at: Vec<Mono>,
}

impl Raises {
    /// With one more at `now`, without those that are older than `within` or of another boot; the latest `most` of them.
    pub fn with(before: Option<&Self>, now: Mono, boot_id: &str, within: Duration, most: usize) -> Self {
        let lately = before.filter(|before| before.boot_id == boot_id);
        let recent = lately.into_iter().flat_map(|before| &before.at).copied();
        let mut at: Vec<Mono> = recent.filter(|then| now.since(*then) <= within).collect();
        at.push(now);
        at.drain(..at.len().saturating_sub(most));
        Self { boot_id: boot_id.to_owned(), at }
    }
}

/// What a rule has seen that looks at more than the moment, in the boot `boot_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub boot_id: String,
    pub seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// When its condition became true.
    Counted { at: Vec<Mono> },
    /// Which value has not changed, and for how long.
    Still { value: Value, lasted: OnDelay },
}
