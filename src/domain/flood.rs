//! More alarms than anybody can take in: what is told of them together. Durable, so that a restart loses none of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AlarmKey, AlarmState, ClassName, Mono, OccurrenceId, Passing, Priority, Text, TransitionKind};

/// How it stands with a site's flood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FloodMemory {
    /// The boot that `raises` counts in.
    pub boot_id: String,
    /// When alarms were announced lately; no more of them than it takes to call it a flood.
    pub raises: Vec<Mono>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<UnderWay>,
    /// What waits for the next summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Summarised>,
    /// Steps of alarms that are not in `waiting`, because it is full.
    #[serde(default)]
    pub more: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderWay {
    pub since: Timestamp,
    /// Since the last summary, or since it began.
    pub passing: Passing,
    /// Steps that were told together so far.
    pub summarised: u64,
}

/// One alarm that was not told by itself, as it stands by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summarised {
    pub key: AlarmKey,
    pub class: ClassName,
    pub title: Text,
    pub priority: Priority,
    pub occurrence: OccurrenceId,
    pub state: AlarmState,
    /// Its latest step, and how many there were.
    pub kind: TransitionKind,
    pub steps: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub at: Timestamp,
    /// An alarm that explains it: its line is down, its device does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<AlarmKey>,
}
