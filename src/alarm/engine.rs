//! Watches every device: `observe` what was read, `decide` what follows, `apply` it once it is on disk.
//!
//! Alarm memory follows the disk, never leads it: a decision that was not committed is simply made again.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Latest, Rule, Truth, WorkedOut,
    delay::Delay,
    lifecycle::{self, Input},
};
use crate::domain::{
    Acknowledgement, AlarmKey, AlarmMemory, AlarmState, DeviceId, DeviceIx, Failure, Mono, OccurrenceId,
    PointIx, Sample, Stamp, TransitionKind,
};

/// A delay shorter than this is not worth a write; a restart simply starts it again.
const KEEP_AFTER: Duration = Duration::from_secs(1);
/// A running delay is written again this often, well within what a restart may bridge.
const KEEP_EVERY: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Engine {
    devices: Vec<Watched>,
    /// Devices with a delay running: they are looked at again without a reading.
    waiting: BTreeSet<DeviceIx>,
    boot_id: String,
}

#[derive(Debug)]
struct Watched {
    id: DeviceId,
    latest: Latest,
    alarms: Vec<Slot>,
    /// Nothing has changed since the last look, and nothing is running.
    settled: bool,
}

#[derive(Debug)]
struct Slot {
    rule: Rule,
    worked_out: WorkedOut,
    memory: AlarmMemory,
    running: Option<Delay>,
    /// When the running delay was last written.
    kept: Option<Mono>,
    /// Decided but not on disk yet: it stands, whatever comes after, until it is.
    decided: Option<Change>,
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub kind: TransitionKind,
    pub at: Stamp,
    input: Input,
}

/// What an acknowledgement comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Acknowledged {
    Change(Box<Change>),
    Already { by: String },
    NoSuchAlarm,
}

impl Engine {
    /// Watches `devices` (in the site's order), each with its rules, from where `recovered` left off.
    /// Gives back the memories of alarms that no rule watches any more.
    pub fn new(
        devices: Vec<(DeviceId, Latest, Vec<Rule>)>,
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
            Watched { id, latest, alarms, settled: false }
        });
        let devices = devices.collect();
        let mut orphans: Vec<_> = recovered.into_values().filter(|memory| memory.state.is_some()).collect();
        orphans.sort_by(|a, b| a.key.cmp(&b.key));
        (Self { devices, waiting: BTreeSet::new(), boot_id: boot_id.to_owned() }, orphans)
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
        if watched.settled {
            return Vec::new();
        }
        let Watched { latest, alarms, .. } = watched;
        let looks = alarms.iter_mut().enumerate();
        let changes: Vec<Change> =
            looks.filter_map(|(slot, alarm)| alarm.look(device, slot, latest, now, &self.boot_id)).collect();
        let running = alarms.iter().any(|alarm| alarm.running.is_some());
        watched.settled = !running && changes.is_empty();
        if running {
            self.waiting.insert(device);
        } else {
            self.waiting.remove(&device);
        }
        changes
    }

    /// Devices to be looked at again though nothing was read, and when the next one is due at the latest.
    pub fn due(&self, now: Mono) -> (Vec<DeviceIx>, Option<Mono>) {
        let mut due = Vec::new();
        let mut next = None::<Mono>;
        for device in &self.waiting {
            let Some(deadline) = self.devices[device.0 as usize].deadline() else { continue };
            if deadline <= now {
                due.push(*device);
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
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
                    return alarm.acknowledge(DeviceIx(ix as u32), slot, who, at);
                }
            }
        }
        Acknowledged::NoSuchAlarm
    }

    /// What was decided is on disk now.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            let watched = &mut self.devices[change.device.0 as usize];
            let alarm = &mut watched.alarms[change.slot];
            // A person's acknowledgement does not touch the condition: what is running goes on.
            if matches!(change.step, Some(Step { input: Input::Raise | Input::Return, .. })) {
                alarm.running = None;
            }
            alarm.decided = None;
            alarm.memory = change.stored();
            alarm.kept = alarm.memory.delay.map(|delay| delay.seen);
            watched.settled = false;
        }
    }

    /// The alarms of all devices that are not normal.
    pub fn standing(&self) -> impl Iterator<Item = &AlarmMemory> {
        let alarms = self.devices.iter().flat_map(|watched| &watched.alarms);
        alarms.map(|alarm| &alarm.memory).filter(|memory| memory.state.is_some())
    }
}

impl Change {
    /// What stands on disk afterwards: an alarm that closed is normal again.
    pub fn stored(&self) -> AlarmMemory {
        match self.memory.state {
            Some(AlarmState::Closed) => AlarmMemory::normal(self.memory.key.clone()),
            None
            | Some(
                AlarmState::ActiveUnacknowledged
                | AlarmState::ActiveAcknowledged
                | AlarmState::ReturnedUnacknowledged,
            ) => self.memory.clone(),
        }
    }
}

impl Watched {
    fn deadline(&self) -> Option<Mono> {
        self.alarms.iter().filter_map(Slot::deadline).min()
    }
}

impl Slot {
    fn restore(rule: Rule, memory: AlarmMemory, boot_id: &str) -> Self {
        // Another boot's monotonic time says nothing in this one.
        let same_boot = memory.boot_id == boot_id;
        let running = memory.delay.filter(|_| same_boot).map(Delay::restored);
        let kept = memory.delay.map(|delay| delay.seen);
        Self { rule, worked_out: WorkedOut::default(), memory, running, kept, decided: None }
    }

    /// The truth that the running delay waits for, how long, and what then happens.
    fn awaits(&self) -> (Truth, Duration, Input) {
        if lifecycle::is_active(self.memory.state) {
            (Truth::False, self.rule.alarm.off_delay, Input::Return)
        } else {
            (Truth::True, self.rule.alarm.on_delay, Input::Raise)
        }
    }

    fn look(
        &mut self,
        device: DeviceIx,
        slot: usize,
        latest: &Latest,
        now: Stamp,
        boot_id: &str,
    ) -> Option<Change> {
        if let Some(decided) = &self.decided {
            return Some(decided.clone());
        }
        let (wanted, limit, input) = self.awaits();
        let truth = self.rule.truth(latest, now.mono, &mut self.worked_out);
        self.running = Delay::observe(self.running, truth, wanted, limit, now.mono);
        if self.running.is_some_and(|delay| delay.is_over(limit)) {
            let (state, kind) = lifecycle::next(self.memory.state, input, self.rule.alarm.latching)?;
            let memory = self.after(state, kind, now);
            self.decided = Some(Change { device, slot, step: Some(Step { kind, at: now, input }), memory });
            return self.decided.clone();
        }
        let delay = self.running.map(|delay| delay.since);
        let keep = match (delay, self.kept) {
            (None, kept) => kept.is_some(),
            (Some(delay), None) => delay.credited >= KEEP_AFTER,
            (Some(delay), Some(kept)) => delay.seen.since(kept) >= KEEP_EVERY,
        };
        keep.then(|| {
            let memory = AlarmMemory { delay, boot_id: boot_id.to_owned(), ..self.memory.clone() };
            Change { device, slot, step: None, memory }
        })
    }

    fn deadline(&self) -> Option<Mono> {
        let (_, limit, _) = self.awaits();
        let running = self.running?;
        let over = running.deadline(limit)?;
        let keep = match self.kept {
            None => running.since.seen + KEEP_AFTER.saturating_sub(running.since.credited),
            Some(kept) => kept + KEEP_EVERY,
        };
        Some(over.min(keep))
    }

    fn after(&self, state: AlarmState, kind: TransitionKind, at: Stamp) -> AlarmMemory {
        let mut memory = AlarmMemory { state: Some(state), delay: None, ..self.memory.clone() };
        match kind {
            TransitionKind::Raised => {
                memory.raised_at = Some(memory.raised_at.unwrap_or(at.wall));
                memory.returned_at = None;
                memory.acknowledged = None;
            }
            TransitionKind::Returned | TransitionKind::Closed if memory.returned_at.is_none() => {
                memory.returned_at = Some(at.wall);
            }
            TransitionKind::Returned
            | TransitionKind::Closed
            | TransitionKind::Acknowledged
            | TransitionKind::Drill => {}
        }
        memory
    }

    fn acknowledge(&self, device: DeviceIx, slot: usize, who: Acknowledgement, at: Stamp) -> Acknowledged {
        match lifecycle::next(self.memory.state, Input::Acknowledge, self.rule.alarm.latching) {
            Some((state, kind)) => {
                let mut memory = self.after(state, kind, at);
                memory.acknowledged = Some(who);
                memory.delay = self.memory.delay;
                let step = Step { kind, at, input: Input::Acknowledge };
                Acknowledged::Change(Box::new(Change { device, slot, step: Some(step), memory }))
            }
            None => match &self.memory.acknowledged {
                Some(first) => Acknowledged::Already { by: first.by.clone() },
                None => Acknowledged::NoSuchAlarm,
            },
        }
    }
}

#[cfg(test)]
mod tests;
