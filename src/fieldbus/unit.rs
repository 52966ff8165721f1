//! The units of one bus and what the schedule's slots stand for.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use super::{
    bus::BusDevice,
    cost::LineCost,
    health::UnitHealth,
    plan::{self, Request},
    schedule::{Beat, Lane},
};
use crate::{
    domain::{DeviceIx, PointIx, Raw},
    profile::{Link, ModbusLink, Profile},
};

/// One device on the bus, with what the bus remembers of it.
pub(super) struct Unit {
    pub device: BusDevice,
    pub health: UnitHealth,
    /// Every point of its profile.
    pub all: Arc<[PointIx]>,
    /// Its slots in the schedule.
    pub slots: Vec<usize>,
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
    /// Nothing any more: paused until it is needed for something else.
    Free,
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

    /// How many of its questions may be under way at once, where the line can do that.
    pub fn pipeline(&self) -> usize {
        match &self.device.profile.link {
            Link::Modbus(link) => usize::from(link.pipeline),
            Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_) => 1,
        }
    }

    /// How to speak to it at first: with the patience that its answers taught. Declared frames say nothing of when they end.
    pub fn link(&self) -> Cow<'_, Link> {
        match &self.device.profile.link {
            Link::Modbus(link) => {
                let timeout = self.health.patience(link.timeout);
                Cow::Owned(Link::Modbus(ModbusLink { timeout, ..link.clone() }))
            }
            link @ (Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_)) => Cow::Borrowed(link),
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
#[derive(Default)]
pub(super) struct Layout {
    pub units: Vec<Unit>,
    pub slots: Vec<Slot>,
    pub by_device: HashMap<DeviceIx, usize>,
    /// The beats of each unit's slots.
    pub beats: Vec<Vec<Beat>>,
}

/// What is asked of a device of one product, worked out once for all of them.
struct Questions {
    requests: Vec<(Request, Lane)>,
    all: Arc<[PointIx]>,
    frames: Vec<Arc<[PointIx]>>,
}

impl Layout {
    pub fn new(devices: Vec<BusDevice>, line: &LineCost) -> Self {
        let mut products: HashMap<*const Profile, Questions> = HashMap::new();
        let mut layout = Layout::default();
        for device in devices {
            let product = Arc::as_ptr(&device.profile);
            let questions = products.entry(product).or_insert_with(|| Questions::of(&device.profile, line));
            layout.add(device, questions, line);
        }
        layout
    }

    fn add(&mut self, device: BusDevice, questions: &Questions, line: &LineCost) {
        let unit = self.units.len();
        let from = self.slots.len();
        let requests = &questions.requests;
        let link = &device.profile.link;
        let cheapest = (0..requests.len()).min_by_key(|&n| line.silence(&requests[n].0.ask, link));
        let probe_period = cheapest.map_or(Duration::ZERO, |n| requests[n].0.every);
        let mut beats = Vec::new();
        for (request, lane) in requests {
            beats.push(Beat { period: request.every, lane: *lane });
            self.slots.push(Slot::Ask { unit, request: request.clone() });
        }
        if let (None, Some(heartbeat)) = (cheapest, heartbeat(&device.profile.link)) {
            beats.push(Beat { period: heartbeat, lane: Lane::Alarms });
            self.slots.push(Slot::Watch { unit, heartbeat });
        }
        self.by_device.insert(device.ix, unit);
        self.beats.push(beats);
        self.units.push(Unit {
            health: UnitHealth::new(probe_period),
            all: questions.all.clone(),
            slots: (from..self.slots.len()).collect(),
            probe: cheapest.map(|n| from + n),
            frames: questions.frames.clone(),
            device,
        });
    }
}

impl Questions {
    fn of(profile: &Profile, line: &LineCost) -> Self {
        let watched = plan::watched(profile);
        let lane = |request: &Request| match plan::is_for_alarms(profile, request, &watched) {
            true => Lane::Alarms,
            false => Lane::Rest,
        };
        let requests = plan::requests(profile, line).into_iter();
        Self {
            requests: requests
                .map(|request| {
                    let lane = lane(&request);
                    (request, lane)
                })
                .collect(),
            all: plan::all_points(profile),
            frames: plan::frames(profile),
        }
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
