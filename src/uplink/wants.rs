//! What an endpoint is for and what it may know. Default deny: nothing leaves that is not named.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{ClassName, DataClass, EndpointId, Loss, LossClass, Priority};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    SafetyInspection,
    PublicSecurity,
    Medical,
    Property,
    CityPlatform,
    Service,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wants {
    pub classes: Vec<ClassName>,
    pub priorities: Vec<Priority>,
    /// Data classes this endpoint may see; all other fields are left out.
    pub data: Vec<DataClass>,
    /// Telemetry too, in batches.
    pub readings: bool,
}

impl Wants {
    /// Whether `endpoint`, which wants this, is told of a loss: of its own letters, of events if it is told of any, of readings
    /// if it gets them.
    pub fn misses(&self, endpoint: &EndpointId, loss: &Loss) -> bool {
        match (&loss.endpoint, loss.class) {
            (Some(whose), _) => whose == endpoint,
            (None, LossClass::Alarms) => !self.classes.is_empty() && !self.priorities.is_empty(),
            (None, LossClass::Readings) => self.readings,
        }
    }
}
