//! What people ask of the gateway: everything goes in by one door, to the pipeline.

use serde::{Deserialize, Serialize};

use super::{AlarmState, OccurrenceId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A named person takes on the occurrence `alarm`.
    Acknowledge { alarm: OccurrenceId, by: String, note: Option<String>, from: String },
}

/// What became of a command, said only after it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    Acknowledged {
        alarm: OccurrenceId,
        state: AlarmState,
    },
    /// Somebody was first: the note is kept, nothing else changes.
    AlreadyAcknowledged {
        alarm: OccurrenceId,
        by: String,
    },
    NoSuchAlarm {
        alarm: OccurrenceId,
    },
    NotStored {
        why: String,
    },
}
