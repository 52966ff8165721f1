//! An alarm's transition with everything an inspector needs, and the letters that carry it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Acknowledgement, AlarmKey, AlarmName, AlarmState, Chattering, ClassName, DataClass, DeviceId, EndpointId,
    Loss, OccurrenceId, Origin, Overlay, PointName, Priority, Quality, SignedHead, Suite, Summarised, Text,
    TimeQuality, TransitionKind, Value, credit::Credit,
};

/// How the occurrences begin under which it is told what lies over an alarm that is normal: `over:device/alarm`.
pub const OVER_NORMAL: &str = "over:";

/// What is told of an alarm that is normal is told under this name.
pub fn of_no_occurrence(key: &AlarmKey) -> OccurrenceId {
    format!("{OVER_NORMAL}{key}").into()
}

/// 128 random bits, made once for an event; every retry to every endpoint carries it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// # Panics
    /// If the kernel has no randomness to give, which ends nothing less than the machine.
    pub fn random() -> Self {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).expect("the kernel gives random bits");
        Self(bits)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteFacts {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    pub id: DeviceId,
    pub name: String,
    pub class: ClassName,
    /// `elevator/monarch-nice3000@1`
    pub profile: String,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmFacts {
    pub name: AlarmName,
    pub occurrence: OccurrenceId,
    pub priority: Priority,
    pub state: AlarmState,
    pub title: Text,
    pub origin: Origin,
    pub raised_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// Why it was closed: `rule_removed`, `superseded`, or a person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Overlay::is_plain")]
    pub overlay: Overlay,
    /// Who took this step, if a person did and it is no acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Acknowledgement>,
    /// It stands in the record and nobody outside is told: the alarm is held back.
    #[serde(default, skip_serializing_if = "is_not")]
    pub withheld: bool,
    /// It is open, and whoever wants to be told hears of it for the first time: what held it back from its beginning has ended.
    #[serde(default, skip_serializing_if = "is_not")]
    pub announced: bool,
    /// How it chattered, if it is calm now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chattered: Option<Box<Chattering>>,
    /// There were too many alarms to tell each: it is told in a summary.
    #[serde(default, skip_serializing_if = "is_not")]
    pub summarised: bool,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadingFact {
    pub value: Option<Value>,
    pub unit: String,
    pub quality: Quality,
    pub at: Timestamp,
    /// Decides which endpoints see it; not sent.
    pub data: DataClass,
    /// Whose points it is about: nobody but the service that keeps them sees it as it is.
    #[serde(default, skip_serializing_if = "is_not")]
    pub card: bool,
}

/// One transition, whole: what the store keeps, before any endpoint's filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    /// Strictly +1 within an epoch.
    pub seq: u64,
    pub epoch: String,
    pub kind: TransitionKind,
    pub at: Timestamp,
    pub site: SiteFacts,
    pub device: DeviceFacts,
    pub alarm: AlarmFacts,
    pub readings: BTreeMap<PointName, ReadingFact>,
    pub time_quality: TimeQuality,
    pub boot_id: String,
    pub mono_ms: u64,
    pub demo: bool,
    /// What was given up, if this is a report of it and no step of an alarm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// What is told together, if this is a summary and no step of an alarm; and of how many steps more it says nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Summarised>,
    #[serde(default, skip_serializing_if = "is_none_more")]
    pub more: u64,
    /// The points that are given, if that is what it tells of and no step of an alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<Box<Credit>>,
    /// The latest signed end of the chain that was known then; it is delivered with the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<SignedHead>,
    /// What it is hashed with.
    #[serde(default, skip_serializing_if = "Suite::is_international")]
    pub alg: Suite,
}

fn is_none_more(more: &u64) -> bool {
    *more == 0
}

impl Event {
    pub fn is_loss_report(&self) -> bool {
        !self.losses.is_empty()
    }

    pub fn key(&self) -> AlarmKey {
        AlarmKey { device: self.device.id.clone(), alarm: self.alarm.name.clone() }
    }
}

/// One event for one endpoint: the body is frozen when the event is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The outbox row; 0 until it is stored.
    pub row: i64,
    pub endpoint: EndpointId,
    pub event_id: String,
    pub seq: u64,
    pub key: AlarmKey,
    pub priority: Priority,
    /// Attempts made so far.
    pub attempts: u32,
    pub body: Arc<[u8]>,
    /// What the body is, where it is not the CloudEvents object.
    pub content_type: Option<String>,
    /// It was written while the clock was not set, and nobody has tried to deliver it: its times may still be put right.
    pub provisional: bool,
}
