//! Messages of a broker from their tape.

use std::sync::Arc;

use super::Stage;
use crate::{
    domain::{DeviceIx, PointIx, Raw, Stamp, Text},
    fieldbus::{
        BusDevice,
        mqtt::codec::{self, Routes},
        plan,
    },
    profile::{Address, Link},
    text,
};

pub struct Broker {
    routes: Routes,
    devices: Vec<(DeviceIx, Arc<[PointIx]>)>,
}

impl Broker {
    pub fn new(devices: &[BusDevice]) -> Result<Self, Text> {
        let mut routes = Routes::default();
        for (member, device) in devices.iter().enumerate() {
            let (Link::Mqtt(link), Address::Text(address)) = (&device.profile.link, &device.address) else {
                continue;
            };
            let filter =
                codec::filter(&link.topic, address).map_err(|error| text!("{error}", "failed to {error}"))?;
            routes.add(filter, member);
        }
        let known = devices.iter().map(|device| (device.ix, plan::all_points(&device.profile))).collect();
        Ok(Self { routes, devices: known })
    }

    pub fn heard(&self, topic: &str, payload: &[u8], retained: bool, at: Stamp, stage: &mut Stage<'_>) {
        let members = self.routes.of(topic);
        if members.is_empty() {
            stage.unknown(at, payload, text!("主题 {topic} 不属于任何设备", "topic {topic} is no device's"));
        }
        for member in members {
            let (device, points) = &self.devices[member];
            let raw = Raw::Payload { bytes: payload.to_vec().into(), retained };
            stage.answered(*device, points.clone(), raw, at);
        }
    }
}
