//! One polled thing of the site, with the profile it speaks.

use std::{collections::BTreeMap, sync::Arc};

use super::Profile;
use crate::domain::{BusId, DeviceFacts, DeviceId, EndpointId};

#[derive(Debug)]
pub struct Device {
    pub id: DeviceId,
    pub name: String,
    pub profile: Arc<Profile>,
    pub bus: BusId,
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

/// The profile by which the gateway's own ways out are read.
pub const OWN_ENDPOINT: &str = "uplink/gatehouse-endpoint";

impl Device {
    /// Something of the gateway's own, and no device of the site.
    pub fn is_own(&self) -> bool {
        self.is_own_line() || self.profile.id.as_str() == OWN_ENDPOINT
    }

    /// One of the gateway's own lines, and no device of the site.
    pub fn is_own_line(&self) -> bool {
        self.profile.id.as_str() == OWN_LINE
    }

    /// The way out to this endpoint.
    pub fn is_drilled_as(&self, endpoint: &EndpointId) -> bool {
        self.profile.id.as_str() == OWN_ENDPOINT && self.address == Address::Text(endpoint.to_string())
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
