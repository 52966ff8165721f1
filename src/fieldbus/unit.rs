//! The units of one bus and what the schedule's slots stand for.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use super::{
    bus::BusDevice,
    health::UnitHealth,
    plan::{self, Request},
};
use crate::{
    domain::{DeviceIx, PointIx, Raw},
    profile::Link,
};

/// One device on the bus, with what the bus remembers of it.
pub(super) struct Unit {
    pub device: BusDevice,
    pub health: UnitHealth,
    /// Every point of its profile.
    pub all: Arc<[PointIx]>,
    /// Its slots in the schedule.
    pub slots: Range<usize>,
    /// The slot with the cheapest of its questions: asked while it is lost.
    pub probe: Option<usize>,
    /// The points of each serial frame.
    frames: Vec<Arc<[PointIx]>>,
}

/// What is to be done when a slot is due.
#[derive(Clone)]
pub(super) enum Slot {
    Ask {
        unit: usize,
        request: Request,
    },
    /// The device speaks by itself and should have been heard by now.
    Watch {
        unit: usize,
        heartbeat: Duration,
    },
}

impl Slot {
    fn period(&self) -> Duration {
        match self {
            Slot::Ask { request, .. } => request.every,
            Slot::Watch { heartbeat, .. } => *heartbeat,
        }
    }
}

impl Unit {
    /// How often a failed exchange is tried again while the unit is online.
    pub fn retries(&self) -> u8 {
        match &self.device.profile.link {
            Link::Modbus(link) => link.retries,
            Link::Serial(link) => link.retries,
            Link::Dlt645(link) => link.retries,
            Link::Mqtt(_) => 0,
        }
    }

    /// The points that `raw` may speak of, when `asked` are what the question was about.
    pub fn points_of(&self, raw: &Raw, asked: Option<&Arc<[PointIx]>>) -> Arc<[PointIx]> {
        match raw {
            // an event may end the wait for a reply: then it is the event's points that were heard
            Raw::Frame { frame, .. } => self.frames.get(usize::from(*frame)).unwrap_or(&self.all).clone(),
            Raw::Registers { .. } | Raw::Bits { .. } | Raw::Payload { .. } => {
                asked.unwrap_or(&self.all).clone()
            }
        }
    }
}

/// The units of a bus, their slots in schedule order, and where each device stands.
pub(super) struct Layout {
    pub units: Vec<Unit>,
    pub slots: Vec<Slot>,
    pub by_device: HashMap<DeviceIx, usize>,
}

impl Layout {
    pub fn new(devices: Vec<BusDevice>) -> Self {
        let mut layout = Layout { units: Vec::new(), slots: Vec::new(), by_device: HashMap::new() };
        for device in devices {
            layout.add(device);
        }
        layout
    }

    /// The periods of each unit's slots.
    pub fn periods(&self) -> Vec<Vec<Duration>> {
        self.units
            .iter()
            .map(|unit| self.slots[unit.slots.clone()].iter().map(Slot::period).collect())
            .collect()
    }

    fn add(&mut self, device: BusDevice) {
        let unit = self.units.len();
        let from = self.slots.len();
        let requests = plan::requests(&device.profile);
        let cheapest = (0..requests.len()).min_by_key(|&n| requests[n].ask.weight());
        let probe_period = cheapest.map_or(Duration::ZERO, |n| requests[n].every);
        self.slots.extend(requests.into_iter().map(|request| Slot::Ask { unit, request }));
        if let (None, Some(heartbeat)) = (cheapest, heartbeat(&device.profile.link)) {
            self.slots.push(Slot::Watch { unit, heartbeat });
        }
        self.by_device.insert(device.ix, unit);
        self.units.push(Unit {
            health: UnitHealth::new(probe_period),
            all: plan::all_points(&device.profile),
            slots: from..self.slots.len(),
            probe: cheapest.map(|n| from + n),
            frames: plan::frames(&device.profile),
            device,
        });
    }
}

/// How long a device that speaks by itself may be silent.
fn heartbeat(link: &Link) -> Option<Duration> {
    match link {
        Link::Modbus(_) | Link::Dlt645(_) => None,
        Link::Serial(link) => link.heartbeat,
        Link::Mqtt(link) => link.heartbeat,
    }
}
