//! The gateway's own parts as devices: its store, its clock, its endpoints, its lines. A line with several devices reports on itself, so that its loss is one alarm and not one for each
//! of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    config::{Bus, Endpoint, Site},
    domain::{BusId, ClassName, DeviceId, DeviceIx, Heard, Medium, Raw, Stamp},
    profile::{Address, Device, Profile},
    uplink::own_device,
};

/// A line with one device needs no report: its loss is that device's.
const SEVERAL: usize = 2;
/// So many characters of an event name the devices that are meant.
const NAMED: usize = 400;

/// All that is the gateway's own, as devices.
pub fn all(site: &Site) -> Vec<Device> {
    let lines = devices(&site.buses, &site.devices, &site.own.line);
    let endpoints = endpoints(&site.endpoints, &site.own.endpoint);
    let whole = [store(&site.own.store), alarms(&site.own.alarms), clock(&site.own.clock)];
    lines.into_iter().chain(endpoints).chain(whole).chain(site.own.flash.iter().map(flash)).collect()
}

/// Every line that reports on itself, as a device.
fn devices(buses: &[Bus], devices: &[Device], profile: &Arc<Profile>) -> Vec<Device> {
    let own = buses.iter().filter_map(|bus| {
        let on_it: Vec<&str> = on(&bus.id, devices).map(|device| device.id.as_str()).collect();
        (on_it.len() >= SEVERAL).then(|| Device {
            id: id(&bus.id),
            name: bus.id.to_string(),
            profile: Arc::clone(profile),
            bus: bus.id.clone(),
            medium: Medium::Inside,
            address: Address::Text(bus.id.to_string()),
            tags: BTreeMap::from([
                ("bus".to_owned(), bus.id.to_string()),
                ("devices".to_owned(), named(&on_it)),
            ]),
        })
    });
    own.collect()
}

/// The gateway's flash, as a device: where the site has set a budget for it.
fn flash(profile: &Arc<Profile>) -> Device {
    Device {
        id: "gateway:flash".into(),
        name: "网关闪存".to_owned(),
        profile: Arc::clone(profile),
        bus: "gateway:flash".into(),
        medium: Medium::Inside,
        address: Address::Text("flash".to_owned()),
        tags: BTreeMap::new(),
    }
}

/// The gateway's own store, as a device.
fn store(profile: &Arc<Profile>) -> Device {
    Device {
        id: store_id(),
        name: "网关存储".to_owned(),
        profile: Arc::clone(profile),
        bus: "gateway:store".into(),
        medium: Medium::Inside,
        address: Address::Text("store".to_owned()),
        tags: BTreeMap::new(),
    }
}

/// The site's alarms as a whole, as a device.
fn alarms(profile: &Arc<Profile>) -> Device {
    Device {
        id: alarms_id(),
        name: "网关报警总况".to_owned(),
        profile: Arc::clone(profile),
        bus: "gateway:alarms".into(),
        medium: Medium::Inside,
        address: Address::Text("alarms".to_owned()),
        tags: BTreeMap::new(),
    }
}

/// The gateway's clock, as a device.
fn clock(profile: &Arc<Profile>) -> Device {
    Device {
        id: clock_id(),
        name: "网关时钟".to_owned(),
        profile: Arc::clone(profile),
        bus: "gateway:clock".into(),
        medium: Medium::Inside,
        address: Address::Text("clock".to_owned()),
        tags: BTreeMap::new(),
    }
}

fn clock_id() -> DeviceId {
    "gateway:clock".into()
}

fn alarms_id() -> DeviceId {
    "gateway:alarms".into()
}

fn store_id() -> DeviceId {
    "gateway:store".into()
}

/// What one of them says of itself, as from a device that speaks by itself.
pub fn report(own: DeviceIx, profile: &Profile, at: Stamp, said: &impl Serialize) -> Heard {
    let bytes = serde_json::to_vec(said).expect("texts, flags and finite numbers");
    Heard {
        device: own,
        at,
        points: profile.all_points().collect(),
        outcome: Ok(Raw::Payload { bytes: Bytes::from(bytes), retained: false }),
        receipt: None,
    }
}

/// No device of a site can be called so: its id has a colon.
pub fn id(bus: &BusId) -> DeviceId {
    format!("bus:{bus}").into()
}

/// The classes of the devices on each line: whoever wants to hear of one of them wants to hear that its line is down. And of all
/// devices: whoever wants to hear of any wants to hear of the store's trouble.
pub fn classes(buses: &[Bus], devices: &[Device]) -> HashMap<DeviceId, BTreeSet<ClassName>> {
    let classes = |bus: &Bus| on(&bus.id, devices).map(|device| device.profile.class.name.clone()).collect();
    let lines = buses.iter().map(|bus| (id(&bus.id), classes(bus)));
    // Without a sound store no alarm of any class is safe, and without the time none is told with a time.
    let all: BTreeSet<ClassName> = devices.iter().map(|device| device.profile.class.name.clone()).collect();
    lines.chain([(store_id(), all.clone()), (alarms_id(), all.clone()), (clock_id(), all)]).collect()
}

/// Every endpoint, as a device: that somebody would not be told is an alarm like any other.
fn endpoints(endpoints: &[Endpoint], profile: &Arc<Profile>) -> Vec<Device> {
    let own = endpoints.iter().map(|endpoint| Device {
        id: own_device(&endpoint.id),
        name: format!("{} {}", endpoint.purpose.title().zh, endpoint.id),
        profile: Arc::clone(profile),
        bus: BusId::from(own_device(&endpoint.id).as_str()),
        medium: Medium::Inside,
        address: Address::Text(endpoint.id.to_string()),
        tags: BTreeMap::from([("endpoint".to_owned(), endpoint.id.to_string())]),
    });
    own.collect()
}

fn on<'a>(bus: &'a BusId, devices: &'a [Device]) -> impl Iterator<Item = &'a Device> {
    devices.iter().filter(move |device| device.bus == *bus)
}

fn named(devices: &[&str]) -> String {
    let mut named = String::new();
    for (n, device) in devices.iter().enumerate() {
        if named.len() + device.len() > NAMED {
            return format!("{named} … +{}", devices.len() - n);
        }
        named.push_str(if n == 0 { "" } else { ", " });
        named.push_str(device);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_of_names_says_how_many_more_there_are() {
        let names: Vec<String> = (0..200).map(|n| format!("lift-{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(named(&all[..2]), "lift-0, lift-1");
        let told = named(&all);
        assert!(told.len() < NAMED + 20 && told.starts_with("lift-0, ") && told.contains(" … +"), "{told}");
    }
}
