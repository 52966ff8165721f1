//! What the running gateway knows about itself right now.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BusId, ClassName, DeviceId, Diagnosis, EndpointId, TimeQuality};

/// Whether a device answers, as its last exchange showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub why: String,
    pub next_try: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub version: String,
    pub started_at: Timestamp,
    pub demo: bool,
    pub time_quality: TimeQuality,
    pub readings_lost: u64,
    /// Why alarms cannot be stored, if they cannot.
    #[serde(default)]
    pub storage: Option<String>,
    pub devices: Vec<DeviceStatus>,
    pub buses: Vec<BusStatus>,
    pub endpoints: Vec<EndpointStatus>,
}
