//! What the pipeline would have made of what was heard: readings and alarm transitions, in virtual time.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use crate::{
    alarm::{Change, Engine, Latest, Override, RuleBook},
    cli::alarms::{local, priority_word, state_word},
    domain::{
        AlarmName, AlarmState, BusId, DeviceId, DeviceIx, Failure, Heard, Lang, PointIx, Priority, Quality,
        Raw, Sample, Stamp, Text, TransitionKind,
    },
    fieldbus::replay::Replayed,
    profile::{Device, shown},
    say,
};

/// A deadline that is looked at and still stands is looked at again after this: time goes on.
const TICK: Duration = Duration::from_millis(10);

pub struct Theatre {
    devices: Vec<Device>,
    engine: Engine,
    zone: TimeZone,
    now: Option<Stamp>,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub readings: usize,
    pub transitions: usize,
    pub unknown: usize,
}

/// One line of a replay.
pub enum Said {
    Reading {
        device: DeviceIx,
        id: DeviceId,
        point: PointIx,
        at: Timestamp,
        sample: Sample,
    },
    Alarm {
        device: DeviceId,
        alarm: AlarmName,
        title: Text,
        priority: Priority,
        at: Timestamp,
        kind: TransitionKind,
        state: AlarmState,
    },
    Unknown {
        bus: BusId,
        at: Timestamp,
        bytes: Vec<u8>,
        what: Text,
    },
}

impl Said {
    pub fn device(&self) -> Option<&str> {
        match self {
            Said::Reading { id, .. } => Some(id),
            Said::Alarm { device, .. } => Some(device),
            Said::Unknown { .. } => None,
        }
    }

    pub fn is_alarm(&self) -> bool {
        matches!(self, Said::Alarm { .. })
    }
}

impl Theatre {
    /// # Errors
    /// If a rule is not valid.
    pub fn new(devices: Vec<Device>, overrides: &[Override], zone: TimeZone) -> anyhow::Result<Self> {
        let mut book = RuleBook::new(overrides);
        let watched = devices.iter().map(|device| {
            let rules = book.of(&device.id, &device.profile)?;
            anyhow::Ok((device.id.clone(), Latest::new(Arc::clone(&device.profile), false), rules.on))
        });
        let watched = watched.collect::<anyhow::Result<_>>()?;
        let (engine, _nothing_recovered) = Engine::new(watched, Vec::new(), "replay");
        Ok(Self { devices, engine, zone, now: None, counts: Counts::default() })
    }

    /// Lets delays run out on the way to `until`.
    pub fn pass_time(&mut self, until: Stamp, told: &mut Vec<Said>) {
        let mut now = self.now.unwrap_or(until);
        while now.mono < until.mono {
            let (due, next) = self.engine.due(now.mono);
            for device in &due {
                self.decide(*device, now, told);
            }
            let next = match (due.is_empty(), next) {
                (false, _) => now.mono + TICK,
                (true, Some(next)) => next,
                (true, None) => until.mono,
            };
            let step = next.min(until.mono).since(now.mono);
            now = Stamp { mono: now.mono + step, wall: now.wall.checked_add(step).unwrap_or(now.wall) };
        }
        self.now = Some(until);
        let (due, _) = self.engine.due(until.mono);
        due.into_iter().for_each(|device| self.decide(device, until, told));
    }

    pub fn hear(&mut self, bus: &BusId, replayed: Replayed, told: &mut Vec<Said>) {
        match replayed {
            Replayed::Heard(heard) => {
                let (device, at) = (heard.device, heard.at);
                self.take_in(heard, told);
                self.decide(device, at, told);
            }
            Replayed::Unknown { at, bytes, what } => {
                self.counts.unknown += 1;
                told.push(Said::Unknown { bus: bus.clone(), at: at.wall, bytes, what });
            }
        }
    }

    /// As the pipeline does it, without a store.
    fn take_in(&mut self, heard: Heard, told: &mut Vec<Said>) {
        let Heard { device, mut at, points, outcome, receipt: _ } = heard;
        let raw = match outcome {
            Ok(raw) => raw,
            Err(why) => {
                self.engine.failed(device, &points, &why, at);
                if why != Failure::NotHeardYet {
                    self.readings(device, without_value(&points, Quality::CommFail), at, told);
                }
                return;
            }
        };
        let Some(profile) = self.devices.get(device.0 as usize).map(|device| Arc::clone(&device.profile))
        else {
            return;
        };
        let decoded = profile.decode(&raw, &points);
        at.wall = decoded.source_time.unwrap_or(at.wall);
        let retained = matches!(raw, Raw::Payload { retained: true, .. });
        let samples = match (decoded.malformed.is_some(), retained) {
            (false, false) => {
                self.engine.heard(device, &decoded.samples, at);
                decoded.samples
            }
            (false, true) => {
                self.engine.recalled(device, &decoded.samples, at);
                decoded.samples
            }
            (true, false) => {
                self.engine.garbled(device, &points, at);
                without_value(&points, Quality::DecodeError)
            }
            (true, true) => decoded.samples,
        };
        self.readings(device, samples, at, told);
    }

    fn readings(
        &mut self,
        device: DeviceIx,
        samples: Vec<(PointIx, Sample)>,
        at: Stamp,
        told: &mut Vec<Said>,
    ) {
        let Some(known) = self.devices.get(device.0 as usize) else { return };
        self.counts.readings += samples.len();
        told.extend(samples.into_iter().map(|(point, sample)| Said::Reading {
            device,
            id: known.id.clone(),
            point,
            at: at.wall,
            sample,
        }));
    }

    /// Decided, and at once as good as on disk.
    fn decide(&mut self, device: DeviceIx, now: Stamp, told: &mut Vec<Said>) {
        let changes = self.engine.decide(device, now);
        let steps: Vec<Said> = changes.iter().filter_map(|change| self.transition(change)).collect();
        self.counts.transitions += steps.len();
        told.extend(steps);
        self.engine.apply(changes);
    }

    fn transition(&self, change: &Change) -> Option<Said> {
        let step = change.step.as_ref()?;
        let rule = &self.engine.rule(change).alarm;
        Some(Said::Alarm {
            device: self.devices.get(change.device.0 as usize)?.id.clone(),
            alarm: rule.name.clone(),
            title: rule.title.clone(),
            priority: rule.priority,
            at: step.at.wall,
            kind: step.kind,
            state: change.memory.state?,
        })
    }

    /// As `readings` and `alarms list` write them.
    pub fn record(&self, said: &Said) -> serde_json::Value {
        let local = |at: &Timestamp| local(*at, &self.zone);
        match said {
            Said::Reading { device, id, point, at, sample } => {
                let class = self.devices[device.0 as usize].profile.class_point(*point);
                json!({
                    "device": id, "point": class.name, "at": local(at), "value": sample.value(), "unit": class.unit,
                    "quality": sample.quality(),
                })
            }
            Said::Alarm { device, alarm, priority, at, kind, state, .. } => json!({
                "device": device, "alarm": alarm, "at": local(at), "kind": kind, "state": state, "priority": priority,
            }),
            Said::Unknown { bus, at, bytes, what } => {
                json!({ "bus": bus, "at": local(at), "unknown": hex(bytes), "why": what })
            }
        }
    }

    pub fn line(&self, said: &Said, lang: Lang) -> String {
        let clock = |at: &Timestamp| at.to_zoned(self.zone.clone()).strftime("%H:%M:%S%.3f").to_string();
        match said {
            Said::Reading { device, id, point, at, sample } => {
                let class = self.devices[device.0 as usize].profile.class_point(*point);
                let (at, name, value, unit) = (clock(at), &class.name, shown(sample), &class.unit);
                format!("{at}  {id}  {name} = {value} {unit}").trim_end().to_owned()
            }
            Said::Alarm { device, alarm, title, priority, at, state, .. } => {
                let (at, title) = (clock(at), title.get(lang));
                let (priority, state) = (priority_word(*priority, lang), state_word(*state, lang));
                format!("{at}  {device}  {priority}  {title} ({alarm})  {state}")
            }
            Said::Unknown { bus, at, bytes, what } => {
                let (at, what, bytes) = (clock(at), what.get(lang), hex(bytes));
                say!(
                    lang,
                    "{at}  {bus}  未知帧：{what}  {bytes}",
                    "{at}  {bus}  unknown frame: {what}  {bytes}"
                )
            }
        }
    }
}

fn without_value(points: &[PointIx], quality: Quality) -> Vec<(PointIx, Sample)> {
    points.iter().map(|point| (*point, Sample::without_value(quality))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}
