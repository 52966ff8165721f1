//! What the running gateway knows about itself right now.

use std::{collections::BTreeMap, ops::AddAssign};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BusId, ClassName, DeviceId, Diagnosis, EndpointId, Hindrance, PointName, ProfileId, ReadingFact, Text,
    TimeQuality,
};

/// Whether a device answers, as its last exchange showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    Online,
    Lost,
    /// Not heard of since the start.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    pub id: DeviceId,
    pub name: String,
    pub class: ClassName,
    pub profile: String,
    pub bus: BusId,
    pub link: LinkState,
    pub answered_at: Option<Timestamp>,
    /// What is wrong with it, if anything is.
    #[serde(default)]
    pub diagnosis: Option<Diagnosis>,
}

/// What the points of a device showed last; none that was not read since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestReadings {
    pub device: DeviceId,
    pub readings: BTreeMap<PointName, ReadingFact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusStatus {
    pub id: BusId,
    pub requests: u64,
    pub answers: u64,
    pub silences: u64,
    pub garbled: u64,
    pub refusals: u64,
    pub unasked: u64,
    /// Of them: frames of nobody whom the site knows.
    #[serde(default)]
    pub strangers: u64,
    pub reconnects: u64,
    /// Questions that missed a whole beat before it was their turn.
    #[serde(default)]
    pub late: u64,
    /// How much of its time the line was busy lately, in thousandths.
    #[serde(default)]
    pub busy_permille: u64,
    /// Where devices speak by messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<MessageStatus>,
}

/// What became of the messages of a bus that did not become good readings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageStatus {
    /// What their content showed.
    pub counts: MessageCounts,
    /// Longer than what is let through: left out.
    pub oversize: u64,
    /// On topics that are no device's.
    pub unknown: u64,
    /// Why nothing is heard right now.
    pub trouble: Option<Text>,
    pub unknown_devices: Vec<UnknownDevice>,
}

/// What the content of messages showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageCounts {
    /// Came again: dropped.
    pub duplicates: u64,
    /// True, but too old to act upon: kept by the broker, replayed, or late.
    pub stale: u64,
    /// Could not be read.
    pub malformed: u64,
}

impl AddAssign for MessageCounts {
    fn add_assign(&mut self, more: Self) {
        self.duplicates += more.duplicates;
        self.stale += more.stale;
        self.malformed += more.malformed;
    }
}

/// Somebody who speaks where devices of a profile speak, and is none of the site's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownDevice {
    pub address: String,
    /// The profiles it would fit, by its topic.
    pub profiles: Vec<ProfileId>,
    pub topic: String,
    pub first_heard: Timestamp,
    pub last_heard: Timestamp,
    pub messages: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    pub id: EndpointId,
    pub failing: Option<Failing>,
}

/// Letters wait: since when, why, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    pub since: Option<Timestamp>,
    pub why: Hindrance,
    /// How many alarms have a letter that was refused; 0: nothing goes, whatever the letter.
    pub alarms: usize,
    pub next_try: Option<Timestamp>,
}

/// In bytes, by the days of the site's calendar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlashStatus {
    pub written_today: u64,
    /// Of the latest whole days.
    pub written_per_day: Option<f64>,
    /// What may be written in a day, as the site says.
    pub budget_per_day: Option<u64>,
    /// At this pace, if the site says what the flash endures.
    pub years_left: Option<f64>,
}

impl FlashStatus {
    pub fn beyond_budget(&self) -> bool {
        self.budget_per_day.is_some_and(|budget| self.written_today > budget)
    }
}

/// Somebody set the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStep {
    /// Forward, or back.
    pub by_ms: i64,
    /// By the time since boot.
    pub ago_s: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub version: String,
    pub started_at: Timestamp,
    pub demo: bool,
    pub time_quality: TimeQuality,
    /// The last time that the clock was set since the start, if it was.
    #[serde(default)]
    pub clock_step: Option<ClockStep>,
    pub readings_lost: u64,
    /// Why alarms cannot be stored, if they cannot.
    #[serde(default)]
    pub storage: Option<String>,
    /// What the gateway writes to its flash, where that is counted.
    #[serde(default)]
    pub flash: Option<FlashStatus>,
    pub devices: Vec<DeviceStatus>,
    pub buses: Vec<BusStatus>,
    pub endpoints: Vec<EndpointStatus>,
}
