//! What people ask of the gateway: everything goes in by one door, to the pipeline.

use serde::{Deserialize, Serialize};

use super::{AlarmState, OccurrenceId, Text};
use crate::text;

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

/// Longest name, note and origin accepted, in characters.
const NAME_MAX: usize = 64;
const NOTE_MAX: usize = 500;

impl Command {
    /// What makes it no command that a person could have meant; whoever asks, by whichever way.
    pub fn fault(&self) -> Option<Text> {
        let Command::Acknowledge { alarm, by, note, from } = self;
        let plain = |text: &str, max| text.chars().count() <= max && !text.chars().any(char::is_control);
        if by.trim().is_empty() || !plain(by, NAME_MAX) {
            return Some(text!(
                "确认人要写姓名，最多 {NAME_MAX} 个字",
                "an acknowledgement needs a person's name of {NAME_MAX} characters at most"
            ));
        }
        if note.as_ref().is_some_and(|note| !plain(note, NOTE_MAX)) {
            return Some(text!(
                "备注最多 {NOTE_MAX} 个字，不换行",
                "a note is one line of {NOTE_MAX} characters at most"
            ));
        }
        if !plain(alarm, NAME_MAX) || !plain(from, NAME_MAX) {
            return Some(text!("编号不对", "this is no alarm's number"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_could_mean_is_a_command() {
        let command = |alarm: &str, by: &str, note: Option<&str>, from: &str| Command::Acknowledge {
            alarm: alarm.into(),
            by: by.to_owned(),
            note: note.map(str::to_owned),
            from: from.to_owned(),
        };
        let long = "长".repeat(501);
        let facts = [
            (command("9c1e-1", "张伟", Some("已通知维保"), "cli"), true),
            (command("9c1e-1", "  ", None, "cli"), false),
            (command("9c1e-1", "张\u{1b}[31m伟", None, "cli"), false),
            (command("9c1e-1", &long, None, "cli"), false),
            (command("9c1e-1", "张伟", Some(&long), "cli"), false),
            (command("9c1e-1", "张伟", Some("one\ntwo"), "cli"), false),
            (command(&long, "张伟", None, "cli"), false),
            (command("9c1e-1", "张伟", None, "\r\n"), false),
        ];
        for (command, good) in facts {
            assert_eq!(command.fault().is_none(), good, "{command:?}");
        }
    }
}
