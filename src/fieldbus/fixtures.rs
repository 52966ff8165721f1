//! What the tests of the buses that are not asked registers share: products without points, and what they are heard with.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{BusCounters, BusDevice, BusParts};
use crate::{
    domain::{DeviceIx, Heard, ManualClock},
    profile::{Address, Class, Link, Profile},
};

/// A product that is spoken to by `link`.
pub fn product(link: Link) -> Arc<Profile> {
    let class = Class { name: "test".into(), title: Default::default(), points: vec![], alarms: vec![] };
    Arc::new(Profile {
        id: "test/maker-model".into(),
        revision: 1,
        title: Default::default(),
        products: vec![],
        source: String::new(),
        class: Arc::new(class),
        points: vec![],
        link,
    })
}

/// The parts of a bus with these devices, and the other end of its channel.
pub fn parts(devices: &[(&str, Arc<Profile>)]) -> (BusParts, mpsc::Receiver<Heard>) {
    let (sender, heard) = mpsc::channel(256);
    let devices = (0u32..).zip(devices).map(|(ix, (address, profile))| BusDevice {
        ix: DeviceIx(ix),
        id: format!("device-{address}").into(),
        address: Address::Text((*address).to_owned()),
        profile: profile.clone(),
    });
    let parts = BusParts {
        id: "test".into(),
        devices: devices.collect(),
        sender,
        clock: Arc::new(ManualClock::new()),
        counters: Arc::new(BusCounters::default()),
        seed: 7,
    };
    (parts, heard)
}

/// What is heard next; a test that waits longer than this has failed.
pub async fn next(heard: &mut mpsc::Receiver<Heard>) -> Heard {
    timeout(Duration::from_secs(20), heard.recv()).await.expect("heard in time").expect("the bus goes on")
}
