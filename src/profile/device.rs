//! One polled thing of the site, with the profile it speaks.

use std::{collections::BTreeMap, sync::Arc};

use super::Profile;
use crate::domain::{BusId, DeviceFacts, DeviceId, Diagnosis, EndpointId, Failure, Medium};

#[derive(Debug)]
pub struct Device {
    pub id: DeviceId,
    pub name: String,
    pub profile: Arc<Profile>,
    pub bus: BusId,
    pub medium: Medium,
    pub address: Address,
    pub tags: BTreeMap<String, String>,
}

/// Who it is on its bus.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Modbus unit id.
    Unit(u8),
    /// Serial and MQTT: as the profile puts it into topics and frames.
    Text(String),
}

/// The profile by which the gateway's own lines are read.
pub const OWN_LINE: &str = "field-bus/gatehouse-line";
/// And the one by which it reads its own store.
pub const OWN_STORE: &str = "gateway-store/gatehouse-store";

/// And the one by which it reads what it writes to its flash.
pub const OWN_FLASH: &str = "gateway-flash/gatehouse-flash";

/// And the one by which it reads its alarms as a whole.
pub const OWN_ALARMS: &str = "gateway-alarms/gatehouse-alarms";

/// And the one by which it reads its clock.
pub const OWN_CLOCK: &str = "gateway-clock/gatehouse-clock";

/// The profile by which the gateway's own endpoints are read.
pub const OWN_ENDPOINT: &str = "endpoint/gatehouse-endpoint";

impl Device {
    /// One of the gateway's own endpoints, and no device of the site.
    pub fn is_own_endpoint(&self) -> bool {
        self.profile.id.as_str() == OWN_ENDPOINT
    }

    /// A part of the gateway itself, and no device of the site.
    pub fn is_own(&self) -> bool {
        self.is_own_line()
            || self.is_own_endpoint()
            || self.is_own_store()
            || self.is_own_flash()
            || self.is_own_alarms()
            || self.is_own_clock()
    }

    /// How the gateway sees this endpoint.
    pub fn stands_for(&self, endpoint: &EndpointId) -> bool {
        self.is_own_endpoint() && self.address == Address::Text(endpoint.to_string())
    }

    /// One of the gateway's own lines, and no device of the site.
    pub fn is_own_line(&self) -> bool {
        self.profile.id.as_str() == OWN_LINE
    }

    pub fn is_own_flash(&self) -> bool {
        self.profile.id.as_str() == OWN_FLASH
    }

    /// The gateway's alarms as a whole.
    pub fn is_own_alarms(&self) -> bool {
        self.profile.id.as_str() == OWN_ALARMS
    }

    pub fn is_own_clock(&self) -> bool {
        self.profile.id.as_str() == OWN_CLOCK
    }

    /// The gateway's own store.
    pub fn is_own_store(&self) -> bool {
        self.profile.id.as_str() == OWN_STORE
    }

    /// A failure in words. `None` where nothing is wrong yet.
    pub fn diagnose(&self, failure: &Failure) -> Option<Diagnosis> {
        self.profile.link.diagnose(failure, self.medium)
    }

    pub fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            id: self.id.clone(),
            name: self.name.clone(),
            class: self.profile.class.name.clone(),
            profile: format!("{}@{}", self.profile.id, self.profile.revision),
            tags: self.tags.clone(),
        }
    }
}
