//! What the tests of the buses that are not asked registers share: products without points, and what they are heard with.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{BusCounters, BusDevice, BusParts};
use crate::{
    domain::{DeviceIx, Heard, ManualClock, Medium, Table},
    profile::{
        Address, Dialect, FrameLength, FrameShape, Link, ModbusLink, Profile, Read, SerialEvent, SerialLink,
        SerialRequest,
    },
};

/// A product that is spoken to by `link`.
pub fn product(link: Link) -> Arc<Profile> {
    Arc::new(Profile::bare(link, []))
}

/// The parts of a bus with these devices, and the other end of its channel.
pub fn parts(devices: &[(&str, Arc<Profile>)]) -> (BusParts, mpsc::Receiver<Heard>) {
    let (sender, heard) = mpsc::channel(256);
    let devices = (0u32..).zip(devices).map(|(ix, (address, profile))| BusDevice {
        ix: DeviceIx(ix),
        id: format!("device-{address}").into(),
        address: Address::Text((*address).to_owned()),
        medium: Medium::Serial,
        profile: profile.clone(),
    });
    let parts = BusParts {
        id: "test".into(),
        devices: devices.collect(),
        own: None,
        sender,
        clock: Arc::new(ManualClock::new()),
        counters: Arc::new(BusCounters::default()),
        inbox: super::counter().1,
        tape: Arc::new(super::record::Tape::new(0, Arc::new(ManualClock::new()))),
        seed: 7,
    };
    (parts, heard)
}

/// What is heard next; a test that waits longer than this has failed.
pub async fn next(heard: &mut mpsc::Receiver<Heard>) -> Heard {
    timeout(Duration::from_secs(20), heard.recv()).await.expect("heard in time").expect("the bus goes on")
}

/// A Modbus product that answers at once, if at all.
pub fn modbus_link() -> ModbusLink {
    ModbusLink {
        dialect: Dialect::Standard,
        max_registers: 64,
        max_gap: 0,
        align: 1,
        timeout: Duration::from_millis(300),
        retries: 1,
        turnaround: Duration::ZERO,
        pipeline: 1,
    }
}

/// A serial product with so many requests, asked each second, and events.
pub fn serial_link(requests: u16, events: u16) -> SerialLink {
    SerialLink {
        frame: FrameShape {
            start: vec![],
            length: FrameLength::Fixed(4),
            max: 4,
            checksum: None,
            address: None,
        },
        requests: (0..requests)
            .map(|n| SerialRequest {
                name: format!("request-{n}"),
                send: vec![],
                every: Duration::from_secs(1),
                matches: vec![],
                reply: 4,
            })
            .collect(),
        events: (0..events)
            .map(|n| SerialEvent { name: format!("event-{n}"), matches: vec![], answers: vec![] })
            .collect(),
        timeout: Duration::from_millis(300),
        retries: 1,
        turnaround: Duration::ZERO,
        heartbeat: None,
    }
}

/// A Modbus product with a holding register at each of these addresses, and how often it is read.
pub fn registers(link: ModbusLink, points: &[(u16, Duration)]) -> Arc<Profile> {
    let reads = points
        .iter()
        .map(|&(address, every)| (Read::Modbus { table: Table::Holding, address, span: 1 }, every));
    Arc::new(Profile::bare(Link::Modbus(link), reads))
}
