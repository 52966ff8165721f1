//! What people ask of the gateway: everything goes in by one door, to the pipeline.

use std::time::Duration;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{AlarmState, CommandName, DeviceId, Ending, EndpointId, OccurrenceId, RescueStep, Text, Value};
use crate::text;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A named person takes on the occurrence `alarm`.
    Acknowledge { alarm: OccurrenceId, by: String, note: Option<String>, from: String },
    /// A named person leaves word with the occurrence `alarm`, and takes nothing on by it.
    Note { alarm: OccurrenceId, by: String, note: String, from: String },
    /// A named person decides something else of an alarm.
    Alarm(Order),
    /// A device is told to do something.
    Operate(Operate),
    /// Letters that were set aside are offered again: all of the endpoint, or the one of that number.
    Retry { endpoint: EndpointId, letter: Option<i64>, by: String, from: String },
    /// All that was not delivered to an endpoint is given up.
    Discard { endpoint: EndpointId, by: String, note: Option<String>, from: String },
    /// What a device's counter and what was credited differ by is looked into: the books begin anew without it.
    Settle { device: DeviceId, by: String, note: String, from: String },
}

/// What a named person decides of an alarm, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// An occurrence, an alarm (`device/alarm`), or a device where that makes sense.
    pub subject: String,
    pub act: Act,
    pub by: String,
    pub note: Option<String>,
    pub from: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Not announced for so long.
    Shelve {
        length: Duration,
    },
    Unshelve,
    /// Out of service for so long at most; `life_safety`: also what is a matter of life.
    TakeOut {
        length: Duration,
        life_safety: bool,
    },
    PutBack,
    Close,
    Rescue {
        step: RescueStep,
    },
}

impl Act {
    /// As the audit has it.
    pub fn word(&self) -> &'static str {
        match self {
            Act::Shelve { .. } => "shelve",
            Act::Unshelve => "unshelve",
            Act::TakeOut { .. } => "take out of service",
            Act::PutBack => "put back in service",
            Act::Close => "close",
            Act::Rescue { step: RescueStep::Dispatched } => "rescue dispatched",
            Act::Rescue { step: RescueStep::Arrived } => "rescue arrived",
            Act::Rescue { step: RescueStep::Released } => "rescue released",
        }
    }

    /// Whether it takes a reason.
    pub fn wants_a_reason(&self) -> bool {
        match self {
            Act::Shelve { .. } | Act::TakeOut { .. } | Act::Close => true,
            Act::Unshelve | Act::PutBack | Act::Rescue { .. } => false,
        }
    }
}

/// A device is told `command` with `value`: once, whatever comes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operate {
    pub device: DeviceId,
    pub command: CommandName,
    pub value: Value,
    pub by: String,
    pub from: String,
    pub note: Option<String>,
    /// A schedule asks. Nobody at the door can claim to be one.
    #[serde(skip)]
    pub firing: Option<Firing>,
}

/// A schedule's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    pub schedule: String,
    /// The day of the site's calendar that it is for: once a day is enough.
    pub day: Date,
    pub attempt: Attempt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    First,
    /// Nothing went out the last time: now only if the device is heard of.
    NotSent,
    /// It was told, and nobody knows whether it was done: only if the device shows, after that, that it was not.
    Doubtful,
}

/// What became of a command, said only after it is on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The note stands in the audit.
    Noted {
        alarm: OccurrenceId,
    },
    /// It was done to `alarms` of them. Of one: its state after it; `until`: when it ends by itself.
    Ordered {
        alarms: usize,
        state: Option<AlarmState>,
        until: Option<Timestamp>,
    },
    /// Nothing came of it, and why.
    TurnedDown {
        no_such: bool,
        why: Text,
        /// When somebody did it before, or until when it goes on.
        at: Option<Timestamp>,
    },
    NoSuchDevice {
        device: DeviceId,
    },
    NoSuchCommand {
        device: DeviceId,
        known: Vec<CommandName>,
    },
    /// The device was told, or there was a reason not to. `value`: as it will really be set.
    Operated {
        device: DeviceId,
        command: CommandName,
        value: Value,
        ending: Ending,
    },
    Retried {
        endpoint: EndpointId,
        letters: u64,
    },
    Discarded {
        endpoint: EndpointId,
        letters: u64,
    },
    /// By how many grams the books differed; 0: they did not.
    Settled {
        device: DeviceId,
        difference_g: i64,
    },
    NotStored {
        why: String,
    },
}

/// Longest name, note and origin accepted, in characters.
const NAME_MAX: usize = 64;
const NOTE_MAX: usize = 500;
const FROM_MAX: usize = 128;

impl Command {
    /// Who asks.
    pub fn by(&self) -> &str {
        match self {
            Command::Acknowledge { by, .. }
            | Command::Note { by, .. }
            | Command::Alarm(Order { by, .. })
            | Command::Operate(Operate { by, .. })
            | Command::Retry { by, .. }
            | Command::Discard { by, .. }
            | Command::Settle { by, .. } => by,
        }
    }

    /// Where from.
    pub fn from(&self) -> &str {
        match self {
            Command::Acknowledge { from, .. }
            | Command::Note { from, .. }
            | Command::Alarm(Order { from, .. })
            | Command::Operate(Operate { from, .. })
            | Command::Retry { from, .. }
            | Command::Discard { from, .. }
            | Command::Settle { from, .. } => from,
        }
    }

    /// What makes it no command that a person could have meant; whoever asks, by whichever way.
    pub fn fault(&self) -> Option<Text> {
        match self {
            Command::Acknowledge { alarm, by, note, from } => {
                person_fault(by, note.as_deref()).or_else(|| {
                    let named = plain(alarm, NAME_MAX) && plain(from, FROM_MAX);
                    (!named).then(|| text!("编号不对", "this is no alarm's number"))
                })
            }
            Command::Note { alarm, by, note, from } => person_fault(by, Some(note))
                .or_else(|| {
                    let named = plain(alarm, NAME_MAX) && plain(from, FROM_MAX);
                    (!named).then(|| text!("编号不对", "this is no alarm's number"))
                })
                .or_else(|| note.trim().is_empty().then(|| text!("备注是空的", "a note says something"))),
            Command::Alarm(order) => order.fault(),
            Command::Operate(asked) => asked.fault(),
            Command::Retry { endpoint, by, from, .. } => {
                person_fault(by, None).or_else(|| endpoint_fault(endpoint, from))
            }
            Command::Discard { endpoint, by, note, from } => {
                person_fault(by, note.as_deref()).or_else(|| endpoint_fault(endpoint, from))
            }
            Command::Settle { device, by, note, from } => person_fault(by, Some(note)).or_else(|| {
                let named = plain(device, NAME_MAX) && plain(from, FROM_MAX);
                match (named, note.trim().is_empty()) {
                    (false, _) => Some(text!("名称不对", "this names no device")),
                    (true, true) => Some(text!("要写查明的原因（-m）", "it takes what was found (-m)")),
                    (true, false) => None,
                }
            }),
        }
    }
}

impl Order {
    fn fault(&self) -> Option<Text> {
        let reason = self.note.as_deref().is_some_and(|note| !note.trim().is_empty());
        person_fault(&self.by, self.note.as_deref())
            .or_else(|| {
                let named = !self.subject.is_empty() && plain(&self.subject, 2 * NAME_MAX);
                (!(named && plain(&self.from, FROM_MAX)))
                    .then(|| text!("名称不对", "this names no alarm or device"))
            })
            .or_else(|| {
                (self.act.wants_a_reason() && !reason)
                    .then(|| text!("要写原因（--reason）", "it takes a reason (--reason)"))
            })
    }
}

impl Operate {
    fn fault(&self) -> Option<Text> {
        if self.firing.is_some() {
            return None;
        }
        let word = match &self.value {
            Value::Text(word) => plain(word, NAME_MAX),
            Value::Flag(_) | Value::Number(_) => true,
        };
        let named = word
            && plain(&self.from, FROM_MAX)
            && [&*self.device, &*self.command].iter().all(|name| plain(name, NAME_MAX));
        person_fault(&self.by, self.note.as_deref())
            .or_else(|| (!named).then(|| text!("名称不对", "this names no device, command or value")))
    }
}

/// What makes a name no person's, or a note no note.
pub fn person_fault(by: &str, note: Option<&str>) -> Option<Text> {
    if by.trim().is_empty() || !plain(by, NAME_MAX) {
        return Some(text!(
            "要写操作人姓名，最多 {NAME_MAX} 个字",
            "it takes a person's name of {NAME_MAX} characters at most"
        ));
    }
    note.is_some_and(|note| !plain(note, NOTE_MAX)).then(|| {
        text!("备注最多 {NOTE_MAX} 个字，不换行", "a note is one line of {NOTE_MAX} characters at most")
    })
}

fn endpoint_fault(endpoint: &EndpointId, from: &str) -> Option<Text> {
    let named = plain(endpoint, NAME_MAX) && plain(from, FROM_MAX);
    (!named).then(|| text!("名称不对", "this names no endpoint"))
}

fn plain(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_could_mean_is_a_command() {
        let acknowledge = |alarm: &str, by: &str, note: Option<&str>, from: &str| Command::Acknowledge {
            alarm: alarm.into(),
            by: by.to_owned(),
            note: note.map(str::to_owned),
            from: from.to_owned(),
        };
        let operate = |device: &str, by: &str, value: Value| {
            Command::Operate(Operate {
                device: device.into(),
                command: "set_dimming".into(),
                value,
                by: by.to_owned(),
                from: "cli".to_owned(),
                note: None,
                firing: None,
            })
        };
        let note = |alarm: &str, note: &str| Command::Note {
            alarm: alarm.into(),
            by: "张伟".to_owned(),
            note: note.to_owned(),
            from: "cli".to_owned(),
        };
        let long = "长".repeat(501);
        let facts = [
            (acknowledge("9c1e-1", "张伟", Some("已通知维保"), "cli"), true),
            (acknowledge("9c1e-1", "  ", None, "cli"), false),
            (acknowledge("9c1e-1", "张\u{1b}[31m伟", None, "cli"), false),
            (acknowledge("9c1e-1", &long, None, "cli"), false),
            (acknowledge("9c1e-1", "张伟", Some(&long), "cli"), false),
            (acknowledge("9c1e-1", "张伟", Some("one\ntwo"), "cli"), false),
            (acknowledge(&long, "张伟", None, "cli"), false),
            (acknowledge("9c1e-1", "张伟", None, "\r\n"), false),
            (note("9c1e-1", "门锁已报修"), true),
            (note("9c1e-1", " "), false),
            (note("9c1e-1", &long), false),
            (note(&long, "门锁已报修"), false),
            (operate("lamp-3", "张伟", 40.0.into()), true),
            (operate("lamp-3", "", 40.0.into()), false),
            (operate("lamp\n3", "张伟", 40.0.into()), false),
            (operate("lamp-3", "张伟", long.as_str().into()), false),
        ];
        for (command, good) in facts {
            assert_eq!(command.fault().is_none(), good, "{command:?}");
        }
    }

    #[test]
    fn what_takes_a_reason_is_not_done_without_one() {
        let order = |subject: &str, act: Act, note: Option<&str>| {
            Command::Alarm(Order {
                subject: subject.to_owned(),
                act,
                by: "张伟".to_owned(),
                note: note.map(str::to_owned),
                from: "cli".to_owned(),
            })
        };
        let (length, life_safety) = (Duration::from_secs(60), false);
        for act in [Act::Shelve { length }, Act::TakeOut { length, life_safety }, Act::Close] {
            for (note, good) in [(Some("维修"), true), (Some("  "), false), (None, false)] {
                let command = order("gate-1/tamper", act.clone(), note);
                assert_eq!(command.fault().is_none(), good, "{command:?}");
            }
        }
        for act in [Act::Unshelve, Act::PutBack, Act::Rescue { step: RescueStep::Arrived }] {
            assert_eq!(order("gate-1/tamper", act.clone(), None).fault(), None, "{act:?}");
            for subject in ["", "gate\n1", &"长".repeat(129)] {
                assert!(order(subject, act.clone(), None).fault().is_some(), "{subject}");
            }
        }
    }

    #[test]
    fn nobody_at_the_door_can_claim_to_be_a_schedule() {
        let line = r#"{"operate":{"device":"lamp-3","command":"set_lamp","value":true,"by":"张伟","from":"cli","note":null}}"#;
        let command: Command = serde_json::from_str(line).unwrap();
        assert!(matches!(command, Command::Operate(Operate { firing: None, value: Value::Flag(true), .. })));
        let claim = line.replace(
            "\"note\":null",
            "\"note\":null,\"firing\":{\"schedule\":\"on\",\"day\":\"2026-11-25\"}",
        );
        assert!(serde_json::from_str::<Command>(&claim).is_err());
    }
}
