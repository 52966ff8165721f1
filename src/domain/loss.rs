//! What was given up for want of room or of a sound disk: never silently.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::EndpointId;

/// What it was that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossClass {
    Alarms,
    Readings,
}

/// Why it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// Room was needed: of an alarm that is not urgent the first raise and the latest state are left.
    Coalesced,
    /// Room was needed: delivered records made it, the oldest first. Nobody misses a delivery.
    Retired,
    /// It stood in a damaged file where it could not be read any more.
    Damaged,
    /// The store that held it is gone or was replaced by an older one.
    StoreGone,
    /// The disk could not take it and the memory could not hold it.
    NotStored,
    /// A person gave it up.
    Discarded,
}

/// One kind of loss, of one endpoint or of nobody in particular.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Who should have had it; `None`: whoever is told of such things at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    pub class: LossClass,
    pub reason: LossReason,
    /// `device/alarm`, if it was all of one alarm; of readings the device, if it was all of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Of the events, within their epoch; 0 for readings.
    pub first_seq: u64,
    pub last_seq: u64,
    pub count: u64,
    /// So many at least: nobody knows how many there were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Of readings, as far as anybody knows: the first and the last that may be among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl Loss {
    /// Of nobody in particular, and nothing yet.
    pub fn of(class: LossClass, reason: LossReason) -> Self {
        Self {
            endpoint: None,
            class,
            reason,
            subject: None,
            first_seq: 0,
            last_seq: 0,
            count: 0,
            at_least: false,
            from: None,
            to: None,
        }
    }
}

impl LossClass {
    pub const ALL: [LossClass; 2] = [LossClass::Alarms, LossClass::Readings];

    pub fn word(self) -> &'static str {
        match self {
            LossClass::Alarms => "alarms",
            LossClass::Readings => "readings",
        }
    }
}

impl LossReason {
    pub const ALL: [LossReason; 6] = [
        LossReason::Coalesced,
        LossReason::Retired,
        LossReason::Damaged,
        LossReason::StoreGone,
        LossReason::NotStored,
        LossReason::Discarded,
    ];

    pub fn word(self) -> &'static str {
        match self {
            LossReason::Coalesced => "coalesced",
            LossReason::Retired => "retired",
            LossReason::Damaged => "damaged",
            LossReason::StoreGone => "store_gone",
            LossReason::NotStored => "not_stored",
            LossReason::Discarded => "discarded",
        }
    }
}
