//! `[[alarm]]` as written: what a site changes of a class's rule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{AlarmName, ClassName, DeviceId, Period, Priority};

/// Overrides a class's rule, for a class or for one device; only what differs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AlarmOverride")]
pub struct AlarmTable {
    pub class: Option<ClassName>,
    pub device: Option<DeviceId>,
    pub name: AlarmName,
    pub on_delay: Option<Period>,
    pub off_delay: Option<Period>,
    pub priority: Option<Priority>,
    pub latching: Option<bool>,
    pub enabled: Option<bool>,
    /// Of a rule that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<CountChange>,
    /// Of a rule that watches how fast a number changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateChange>,
    /// Of a rule that watches whether a value is stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StuckChange>,
    /// Of an entrapment: within this, help must have arrived.
    pub rescue_within: Option<Period>,
}

/// How often, within how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CountOverride")]
pub struct CountChange {
    #[schemars(range(min = 2, max = 1000))]
    pub times: Option<u32>,
    pub within: Option<Period>,
}

/// By how much, in the point's unit, within how long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateOverride")]
pub struct RateChange {
    pub rise: Option<f64>,
    pub fall: Option<f64>,
    pub within: Option<Period>,
}

/// For how long, and which steps are none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StuckOverride")]
pub struct StuckChange {
    #[serde(rename = "for")]
    pub lasting: Option<Period>,
    pub deadband: Option<f64>,
}
