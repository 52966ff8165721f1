//! A line heard again from its tape: the same codecs, the same points, and the times of then. Nothing is opened, nobody waits.

mod broker;
mod frames;
mod modbus;

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{BusDevice, cost::LineCost, plan, serial::config::Framing};
use crate::{
    domain::{
        BusId, DeviceIx, Failure, Heard, LineFault, PointIx, Raw, Stamp, Text,
        tape::{Piece, What},
    },
    profile::{Profile, Read},
    text,
};

const USUAL_BAUD: u32 = 9600;
/// A unit that missed so many exchanges in a row is lost: all its points are.
const LOST_AFTER: u32 = 3;

/// What a piece of the tape came to.
#[derive(Debug)]
pub enum Replayed {
    Heard(Heard),
    /// A whole frame, or bytes, that no device of the site stands behind.
    Unknown {
        at: Stamp,
        bytes: Vec<u8>,
        what: Text,
    },
}

/// One bus, played again.
pub struct Player {
    devices: HashMap<DeviceIx, Known>,
    kind: Kind,
    /// Its devices were told that it is down, and nothing was heard since.
    told_down: bool,
}

enum Kind {
    Rtu(modbus::Rtu),
    Tcp(modbus::Tcp),
    Serial(Box<frames::Serial>),
    Mqtt(broker::Broker),
}

/// What is known of a device while it is played.
struct Known {
    profile: Arc<Profile>,
    requests: Vec<plan::Request>,
    all: Arc<[PointIx]>,
    missed: u32,
}

impl Player {
    /// The player of a bus of this `kind` (its table's name in the site file).
    ///
    /// # Errors
    /// Why such a line cannot be played.
    pub fn new(bus: &BusId, kind: &str, devices: Vec<BusDevice>) -> Result<Self, Text> {
        // which of several plans the line had is not on the tape: what fits none of this one's requests is taken by its registers
        let line = match kind {
            "modbus_tcp" => LineCost::tcp(),
            _ => LineCost::behind_server(USUAL_BAUD, Framing::default(), Duration::ZERO),
        };
        let known = |device: &BusDevice| {
            let (profile, all) = (Arc::clone(&device.profile), plan::all_points(&device.profile));
            (device.ix, Known { requests: plan::requests(&profile, &line), profile, all, missed: 0 })
        };
        let known = devices.iter().map(known).collect();
        let kind = match kind {
            // ASCII and modems are recorded without their clothes
            "modbus_rtu" | "modbus_rtu_tcp" | "modbus_ascii" | "modbus_dtu" => {
                Kind::Rtu(modbus::Rtu::new(&devices))
            }
            "modbus_tcp" => Kind::Tcp(modbus::Tcp::new(&devices)),
            "serial" => Kind::Serial(Box::new(frames::Serial::new(bus, &devices)?)),
            "mqtt" => Kind::Mqtt(broker::Broker::new(&devices)?),
            other => {
                return Err(text!(
                    "\"{other}\" 这种总线不能回放",
                    "a bus of kind \"{other}\" cannot be played"
                ));
            }
        };
        Ok(Self { devices: known, kind, told_down: false })
    }

    /// Plays one piece; what follows from it is added to `into`.
    pub fn play(&mut self, piece: &Piece, at: Stamp, into: &mut Vec<Replayed>) {
        let mut stage = Stage { devices: &mut self.devices, told_down: &mut self.told_down, into };
        if matches!(piece.what, What::Lost) {
            self.kind.end(at, &mut stage);
            stage.line_down(at);
            return;
        }
        match (&mut self.kind, &piece.what) {
            (Kind::Rtu(rtu), What::Out { hex }) => rtu.sent(hex, at, &mut stage),
            (Kind::Rtu(rtu), What::In { hex }) => rtu.heard(hex, at, &mut stage),
            (Kind::Tcp(tcp), What::Out { hex }) => tcp.sent(hex, at, &mut stage),
            (Kind::Tcp(tcp), What::In { hex }) => tcp.heard(hex, at, &mut stage),
            (Kind::Tcp(tcp), What::Opened) => tcp.opened(at, &mut stage),
            (Kind::Serial(serial), What::Out { hex }) => serial.sent(hex, at, &mut stage),
            (Kind::Serial(serial), What::In { hex }) => serial.heard(hex, at, &mut stage),
            (Kind::Mqtt(broker), What::Message { topic, hex, retained }) => {
                broker.heard(topic, hex, *retained, at, &mut stage);
            }
            (Kind::Rtu(_) | Kind::Tcp(_) | Kind::Serial(_) | Kind::Mqtt(_), _) => {}
        }
    }

    /// The tape is over: what waited for its next piece is told.
    pub fn end(&mut self, at: Stamp, into: &mut Vec<Replayed>) {
        let mut stage = Stage { devices: &mut self.devices, told_down: &mut self.told_down, into };
        self.kind.end(at, &mut stage);
    }
}

impl Kind {
    fn end(&mut self, at: Stamp, stage: &mut Stage<'_>) {
        match self {
            Kind::Rtu(rtu) => rtu.end(stage),
            Kind::Tcp(tcp) => tcp.end(at, stage),
            Kind::Serial(_) | Kind::Mqtt(_) => {}
        }
    }
}

/// Where the players of all kinds put what they hear.
struct Stage<'a> {
    devices: &'a mut HashMap<DeviceIx, Known>,
    told_down: &'a mut bool,
    into: &'a mut Vec<Replayed>,
}

impl Stage<'_> {
    fn unknown(&mut self, at: Stamp, bytes: &[u8], what: Text) {
        self.into.push(Replayed::Unknown { at, bytes: bytes.to_vec(), what });
    }

    fn answered(&mut self, device: DeviceIx, points: Arc<[PointIx]>, raw: Raw, at: Stamp) {
        if let Some(known) = self.devices.get_mut(&device) {
            known.missed = 0;
        }
        *self.told_down = false;
        self.into.push(Replayed::Heard(Heard { device, at, points, outcome: Ok(raw), receipt: None }));
    }

    fn failed(&mut self, device: DeviceIx, points: Arc<[PointIx]>, why: Failure, at: Stamp) {
        let Some(known) = self.devices.get_mut(&device) else { return };
        known.missed = if why.device_answered() { 0 } else { known.missed + 1 };
        let points = if known.missed >= LOST_AFTER { known.all.clone() } else { points };
        self.into.push(Replayed::Heard(Heard { device, at, points, outcome: Err(why), receipt: None }));
    }

    fn line_down(&mut self, at: Stamp) {
        if std::mem::replace(self.told_down, true) {
            return;
        }
        let mut all: Vec<(DeviceIx, Arc<[PointIx]>)> =
            self.devices.iter().map(|(device, known)| (*device, known.all.clone())).collect();
        all.sort_by_key(|(device, _)| *device);
        for (device, points) in all {
            let fault = LineFault::down(text!("录制时如此", "as recorded"));
            let outcome = Err(Failure::LineDown { fault });
            self.into.push(Replayed::Heard(Heard { device, at, points, outcome, receipt: None }));
        }
    }

    /// The points that an answer to `ask` speaks of: those of the very request, else those that lie wholly in it.
    fn points_in(&self, device: DeviceIx, ask: &plan::Ask) -> Arc<[PointIx]> {
        let Some(known) = self.devices.get(&device) else { return Arc::default() };
        if let Some(request) = known.requests.iter().find(|request| request.ask == *ask) {
            return request.points.clone();
        }
        let &plan::Ask::Block { table: asked, first, count } = ask else { return Arc::default() };
        let end = u32::from(first) + u32::from(count);
        let inside = known.profile.all_points().filter(|point| {
            let read = &known.profile.points[usize::from(point.0)].read;
            matches!(read, &Read::Modbus { table, address, span }
                if table == asked && address >= first && u32::from(address) + u32::from(span) <= end)
        });
        inside.collect()
    }

    /// The points that are missing when `ask` has no answer.
    fn points_about(&self, device: DeviceIx, ask: &plan::Ask) -> Arc<[PointIx]> {
        let Some(known) = self.devices.get(&device) else { return Arc::default() };
        let begins = |request: &&plan::Request| match (&request.ask, ask) {
            (plan::Ask::Block { table, first, .. }, plan::Ask::Block { table: its, first: from, .. }) => {
                (table, first) == (its, from)
            }
            (one, other) => one == other,
        };
        let exact = known.requests.iter().find(|request| request.ask == *ask);
        let request = exact.or_else(|| known.requests.iter().find(begins));
        request.map_or_else(|| self.points_in(device, ask), |request| request.points.clone())
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
