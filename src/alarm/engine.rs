//! Watches every device: `observe` what was read, `decide` what follows, `apply` it once it is on disk.
//!
//! Alarm memory follows the disk, never leads it: a decision that was not committed is simply made again.

mod orders;
mod slot;
mod waiting;

use std::{collections::BTreeSet, time::Duration};

pub use self::orders::TurnedDown;
use self::slot::Slot;
use super::{Customs, Latest, OnDevice, Rule, lifecycle};
use crate::domain::{
    Acknowledgement, AlarmKey, AlarmMemory, AlarmState, Chattering, DeviceId, DeviceIx, Failure, Mono,
    OccurrenceId, PointIx, Sample, Stamp, TransitionKind,
};

#[derive(Debug)]
pub struct Engine {
    devices: Vec<Watched>,
    /// Devices with a delay running, or a point held: they are looked at again without a reading.
    waiting: BTreeSet<DeviceIx>,
    /// Devices with a shelf, an escalation or a rescue that goes by time.
    timed: BTreeSet<DeviceIx>,
    customs: Customs,
    boot_id: String,
}

#[derive(Debug)]
struct Watched {
    id: DeviceId,
    latest: Latest,
    alarms: Vec<Slot>,
    /// Nothing has changed since the last look, and nothing is running.
    settled: bool,
    /// It is looked at then all the same.
    timer: Mono,
}

/// No timer runs.
const NEVER: Mono = Mono(Duration::MAX);
/// Something is left to be looked at.
const AT_ONCE: Mono = Mono(Duration::ZERO);

/// What is to be committed, then applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub device: DeviceIx,
    slot: usize,
    /// The transition; `None` if only a delay is to be kept.
    pub step: Option<Step>,
    /// The alarm after it. `state` is `Closed` for one that ends here; a new occurrence has no id yet.
    pub memory: AlarmMemory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub kind: TransitionKind,
    pub at: Stamp,
    /// A person's step that is no acknowledgement.
    pub done: Option<Acknowledgement>,
    /// Nobody outside is told.
    pub withheld: bool,
    /// It is open, and they hear of it for the first time.
    pub announced: bool,
    /// How it chattered, if it is calm now.
    pub chattered: Option<Box<Chattering>>,
}

/// One look at an alarm: of which, when, by which customs.
struct Look<'a> {
    device: DeviceIx,
    slot: usize,
    now: Stamp,
    boot_id: &'a str,
    customs: &'a Customs,
}

/// What an acknowledgement comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Acknowledged {
    Change(Box<Change>),
    /// `alarm`: the occurrence, however it was named.
    Already {
        alarm: Option<OccurrenceId>,
        by: String,
    },
    NoSuchAlarm,
}

impl Engine {
    /// Watches `devices` (in the site's order), each with its rules, from where `recovered` left off.
    /// Gives back the memories of alarms that no rule watches any more.
    pub fn new(
        devices: Vec<(DeviceId, Latest, OnDevice)>,
        recovered: Vec<AlarmMemory>,
        boot_id: &str,
    ) -> (Self, Vec<AlarmMemory>) {
        let mut recovered: std::collections::HashMap<AlarmKey, AlarmMemory> =
            recovered.into_iter().map(|memory| (memory.key.clone(), memory)).collect();
        let devices = devices.into_iter().map(|(id, latest, rules)| {
            let alarms = rules.into_iter().map(|rule| {
                let key = AlarmKey { device: id.clone(), alarm: rule.alarm.name.clone() };
                Slot::restore(
                    rule,
                    recovered.remove(&key).unwrap_or_else(|| AlarmMemory::normal(key)),
                    boot_id,
                )
            });
            let alarms = alarms.collect();
            Watched { id, latest, alarms, settled: false, timer: NEVER }
        });
        let devices = devices.collect();
        let customs = Customs::default();
        let (waiting, timed) = (BTreeSet::new(), BTreeSet::new());
        let mut engine = Self { devices, waiting, timed, customs, boot_id: boot_id.to_owned() };
        engine.set_timers();
        let mut orphans: Vec<_> = recovered
            .into_values()
            .filter(|memory| memory.state.is_some() || !memory.overlay.is_plain())
            .collect();
        orphans.sort_by(|a, b| a.key.cmp(&b.key));
        (engine, orphans)
    }

    /// By this site's customs.
    pub fn with_customs(mut self, customs: Customs) -> Self {
        self.customs = customs;
        self.set_timers();
        self
    }

    fn set_timers(&mut self) {
        for place in 0..self.devices.len() {
            self.set_timer(DeviceIx(place as u32));
        }
    }

    /// Looks for the next of a device's timers.
    fn set_timer(&mut self, device: DeviceIx) {
        let watched = &mut self.devices[device.0 as usize];
        let alarms = watched.alarms.iter();
        let next = alarms.filter_map(|alarm| alarm.next_timer(&self.customs, &self.boot_id));
        watched.timer = next.min().unwrap_or(NEVER);
        if watched.timer == NEVER {
            self.timed.remove(&device);
        } else {
            self.timed.insert(device);
        }
    }

    pub fn device(&self, device: DeviceIx) -> (&DeviceId, &Latest) {
        let watched = &self.devices[device.0 as usize];
        (&watched.id, &watched.latest)
    }

    pub fn rule(&self, change: &Change) -> &Rule {
        &self.devices[change.device.0 as usize].alarms[change.slot].rule
    }

    /// The device spoke.
    pub fn heard(&mut self, device: DeviceIx, samples: &[(PointIx, Sample)], at: Stamp) {
        let watched = &mut self.devices[device.0 as usize];
        watched.settled &= !watched.latest.heard(samples, at);
    }

    /// The broker gave back what the device said once: values of an unknown age, and no sign of life.
    pub fn recalled(&mut self, device: DeviceIx, samples: &[(PointIx, Sample)], at: Stamp) {
        let watched = &mut self.devices[device.0 as usize];
        watched.settled &= !watched.latest.recalled(samples, at);
    }

    /// The device spoke, and nobody can tell what it said.
    pub fn garbled(&mut self, device: DeviceIx, points: &[PointIx], at: Stamp) {
        let watched = &mut self.devices[device.0 as usize];
        watched.settled &= !watched.latest.garbled(points, at);
    }

    /// There was nothing to decode.
    pub fn failed(&mut self, device: DeviceIx, points: &[PointIx], why: &Failure, at: Stamp) {
        let watched = &mut self.devices[device.0 as usize];
        watched.settled &= !watched.latest.failed(points, why, at);
    }

    /// The gateway itself stood still (frozen, starved) until `now`: delays wait for fresh readings.
    pub fn stood_still(&mut self, now: Mono) {
        for watched in &mut self.devices {
            watched.latest.stood_still(now);
            watched.settled = false;
        }
    }

    /// What follows from all that is known of `device` at `now`. Changes no alarm: see [`Engine::apply`].
    pub fn decide(&mut self, device: DeviceIx, now: Stamp) -> Vec<Change> {
        let watched = &mut self.devices[device.0 as usize];
        watched.settled &= !watched.latest.pass(now.mono);
        if watched.settled && now.mono < watched.timer {
            return Vec::new();
        }
        let Watched { latest, alarms, .. } = watched;
        let looks = alarms.iter_mut().enumerate();
        let look = |slot| Look { device, slot, now, boot_id: &self.boot_id, customs: &self.customs };
        let changes: Vec<Change> =
            looks.filter_map(|(slot, alarm)| alarm.look(latest, &look(slot))).collect();
        let running = alarms.iter().any(Slot::runs) || latest.held_until().is_some();
        // what is seen over a time is seen reading by reading
        let observes = alarms.iter().any(|alarm| alarm.history.is_some());
        watched.settled = !running && !observes && changes.is_empty();
        if running {
            self.waiting.insert(device);
        } else {
            self.waiting.remove(&device);
        }
        if !changes.is_empty() {
            // Until it is on disk and applied, it is decided again.
            watched.timer = AT_ONCE;
            self.timed.insert(device);
        } else if now.mono >= watched.timer {
            self.set_timer(device);
        }
        changes
    }

    /// Devices to be looked at again though nothing was read, and when the next one is due at the latest.
    pub fn due(&self, now: Mono) -> (Vec<DeviceIx>, Option<Mono>) {
        let mut due = Vec::new();
        let mut next = None::<Mono>;
        let mut note = |device: DeviceIx, at: Mono| {
            if at <= now {
                due.push(device);
            } else if at != NEVER {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        for device in &self.waiting {
            let watched = &self.devices[device.0 as usize];
            note(*device, watched.deadline().map_or(watched.timer, |delay| delay.min(watched.timer)));
        }
        for device in self.timed.iter().filter(|device| !self.waiting.contains(device)) {
            note(*device, self.devices[device.0 as usize].timer);
        }
        (due, next)
    }

    /// A person takes on `occurrence`, or the one that is open of the alarm `device/name`.
    pub fn acknowledge(&self, occurrence: &OccurrenceId, who: Acknowledgement, at: Stamp) -> Acknowledged {
        let is_meant = |memory: &AlarmMemory| {
            let open = memory.occurrence.as_ref();
            open.is_some_and(|open| open == occurrence || memory.key.to_string() == occurrence.as_str())
        };
        for (ix, watched) in self.devices.iter().enumerate() {
            for (slot, alarm) in watched.alarms.iter().enumerate() {
                if is_meant(&alarm.memory) {
                    return alarm.acknowledge(&self.look(DeviceIx(ix as u32), slot, at), who);
                }
            }
        }
        Acknowledged::NoSuchAlarm
    }

    fn look(&self, device: DeviceIx, slot: usize, now: Stamp) -> Look<'_> {
        Look { device, slot, now, boot_id: &self.boot_id, customs: &self.customs }
    }

    /// What was decided is on disk now.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            let watched = &mut self.devices[change.device.0 as usize];
            let alarm = &mut watched.alarms[change.slot];
            if change.ends_the_delay(alarm.memory.state) {
                alarm.running = None;
            }
            alarm.decided = None;
            alarm.rests = false;
            *alarm.memory = change.stored();
            alarm.kept = alarm.memory.delay.map(|delay| delay.seen);
            alarm.watch_is_kept();
            watched.settled = false;
            // What else is due is looked at in the next turn: one step of an alarm at a time.
            watched.timer = AT_ONCE;
            self.timed.insert(change.device);
        }
    }

    /// Whether an alarm's condition counts as present.
    pub fn is_active(&self, key: &AlarmKey) -> bool {
        let mut of_device = self.devices.iter().filter(|watched| watched.id == key.device);
        of_device.any(|watched| {
            let mut alarms = watched.alarms.iter().map(|alarm| &alarm.memory);
            alarms.any(|memory| memory.key.alarm == key.alarm && lifecycle::is_active(memory.state))
        })
    }

    /// An alarm of this device that is active.
    pub fn active_of(&self, device: &DeviceId) -> Option<AlarmKey> {
        let watched = self.devices.iter().find(|watched| watched.id == *device)?;
        let mut memories = watched.alarms.iter().map(|alarm| &alarm.memory);
        memories.find(|memory| lifecycle::is_active(memory.state)).map(|memory| memory.key.clone())
    }

    /// The alarms of all devices that are not normal, or that something lies over.
    pub fn standing(&self) -> impl Iterator<Item = &AlarmMemory> {
        let alarms = self.devices.iter().flat_map(|watched| &watched.alarms);
        let memories = alarms.map(|alarm| &*alarm.memory);
        memories.filter(|memory| memory.state.is_some() || !memory.overlay.is_plain())
    }
}

impl Change {
    /// What stands on disk afterwards: an alarm that closed is normal again.
    pub fn stored(&self) -> AlarmMemory {
        match self.memory.state {
            Some(AlarmState::Closed) => AlarmMemory {
                overlay: self.memory.overlay.of_the_next(),
                raises: self.memory.raises.clone(),
                watch: self.memory.watch.clone(),
                ..AlarmMemory::normal(self.memory.key.clone())
            },
            None
            | Some(
                AlarmState::ActiveUnacknowledged
                | AlarmState::ActiveAcknowledged
                | AlarmState::ReturnedUnacknowledged,
            ) => self.memory.clone(),
        }
    }

    /// A delay waits for the opposite of what is; what a person does but closing does not touch the condition, and what is running
    /// goes on.
    fn ends_the_delay(&self, before: Option<AlarmState>) -> bool {
        self.step.is_some() && lifecycle::is_active(before) != lifecycle::is_active(self.memory.state)
    }
}

impl Watched {
    fn deadline(&self) -> Option<Mono> {
        let delays = self.alarms.iter().filter_map(Slot::deadline);
        delays.chain(self.latest.held_until()).min()
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod over_time_tests;
#[cfg(test)]
mod tests;
