//! Alarms in the words of ISA-18.2 / IEC 62682.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AlarmName, DeviceId, FloodMemory, Mono, OccurrenceId, Overlay, Raises, Watch};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Critical,
    High,
    Medium,
    Low,
}

/// Who says so: the device itself, or a rule of ours that concluded it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    #[default]
    Reported,
    Inferred,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    ActiveUnacknowledged,
    ActiveAcknowledged,
    ReturnedUnacknowledged,
    Closed,
}

/// What an alarm's step is called when it leaves the box: `gatehouse.alarm.<word>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    Raised,
    Acknowledged,
    Returned,
    Closed,
    /// A person keeps it from being announced for a while; that is over.
    Shelved,
    Unshelved,
    /// So does the plant's own state, by design.
    Suppressed,
    Unsuppressed,
    /// It, or its device, is taken out of service; and is back.
    OutOfService,
    InService,
    /// Nobody acknowledged it: announced anew, to the next contact.
    Escalated,
    /// A step of the rescue, or that it is late.
    Rescue,
    /// It comes and goes too often to be told each time: told once; and that it is calm again.
    Chattering,
    Calmed,
    /// No alarm's step, but what was told of many while there were too many to tell each: `gatehouse.summary`.
    Summary,
    /// No alarm's step, but a test of the way that they take: `gatehouse.drill`.
    Drill,
    /// No alarm's step, but points that somebody is given: `gatehouse.kiosk.credit`.
    Credit,
}

impl TransitionKind {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            TransitionKind::Raised => "raised",
            TransitionKind::Acknowledged => "acknowledged",
            TransitionKind::Returned => "returned",
            TransitionKind::Closed => "closed",
            TransitionKind::Shelved => "shelved",
            TransitionKind::Unshelved => "unshelved",
            TransitionKind::Suppressed => "suppressed",
            TransitionKind::Unsuppressed => "unsuppressed",
            TransitionKind::OutOfService => "out_of_service",
            TransitionKind::InService => "in_service",
            TransitionKind::Escalated => "escalated",
            TransitionKind::Rescue => "rescue",
            TransitionKind::Chattering => "chattering",
            TransitionKind::Calmed => "calmed",
            TransitionKind::Summary => "summary",
            TransitionKind::Drill => "drill",
            TransitionKind::Credit => "credit",
        }
    }
}

/// One alarm of one device: everything of it is ordered, nothing across two of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlarmKey {
    pub device: DeviceId,
    pub alarm: AlarmName,
}

impl fmt::Display for AlarmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.alarm)
    }
}

/// A named person's word: took it on, shelved it, arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub by: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where from: `cli`, `api:<token>(<role>)@<address>`, `mqtt:<endpoint>`, `http:<endpoint>`.
    pub from: String,
}

/// Who says that it was this person: nobody has proven it to the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Voucher {
    /// Whoever may log in to the box.
    LocalCommandLine,
    /// Whoever was given the token.
    ApiToken,
    /// The platform at the other end of the endpoint, by a topic or in its reply.
    MqttEndpoint,
    HttpReply,
    /// The gateway's own doing, or a way that is not known here.
    Gateway,
}

impl Acknowledgement {
    pub fn vouched_by(&self) -> Voucher {
        Voucher::of(&self.from)
    }
}

impl Voucher {
    /// By where a word came from.
    pub fn of(from: &str) -> Self {
        match from.split_once(':').map_or(from, |(way, _)| way) {
            "cli" => Voucher::LocalCommandLine,
            "api" => Voucher::ApiToken,
            "mqtt" => Voucher::MqttEndpoint,
            "http" => Voucher::HttpReply,
            _ => Voucher::Gateway,
        }
    }
}

/// A delay that is running: the condition has been seen to hold for `credited` as of `seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDelay {
    pub credited: Duration,
    /// When the condition was last known to hold.
    pub seen: Mono,
}

/// All that is known of one alarm, as it stands on disk. `state: None` = normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmMemory {
    pub key: AlarmKey,
    pub state: Option<AlarmState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<OccurrenceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// The on-delay (while normal or returned) or off-delay (while active) that is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<OnDelay>,
    /// The boot that `delay.seen` counts in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    #[serde(default, skip_serializing_if = "Overlay::is_plain")]
    pub overlay: Overlay,
    /// When it was raised lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raises: Option<Box<Raises>>,
    /// What its rule has seen so far, if it looks at more than the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Box<Watch>>,
    /// Of no alarm's rule: how it stands with a flood of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<Box<FloodMemory>>,
}

impl AlarmMemory {
    /// Nothing is known of it but that nothing is wrong.
    pub fn normal(key: AlarmKey) -> Self {
        Self {
            key,
            state: None,
            occurrence: None,
            raised_at: None,
            returned_at: None,
            acknowledged: None,
            delay: None,
            boot_id: String::new(),
            overlay: Overlay::default(),
            raises: None,
            watch: None,
            flood: None,
        }
    }

    /// Normal, and nothing is under way: not worth a row.
    pub fn is_nothing(&self) -> bool {
        self.state.is_none()
            && self.delay.is_none()
            && self.overlay.is_plain()
            && self.raises.is_none()
            && self.watch.is_none()
            && self.flood.is_none()
    }
}

impl AlarmState {
    /// Whether a person has to take it on.
    pub fn is_unacknowledged(self) -> bool {
        match self {
            AlarmState::ActiveUnacknowledged | AlarmState::ReturnedUnacknowledged => true,
            AlarmState::ActiveAcknowledged | AlarmState::Closed => false,
        }
    }
}
