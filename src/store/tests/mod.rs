//! Real files in real directories.

mod chain;
mod crash;
mod credits;
mod damage;
mod events;
mod faults;
mod freeze;
mod measure;
mod packing;
mod readers;
mod rescue;
mod ring;
mod salvage;
mod suites;
mod telemetry;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Catalogue, CatalogueEntry, Commit, Recovered, Row, Settings,
    evidence::{self, Hash, Sealed},
    packed::batch::Batch,
};
use crate::domain::*;

pub fn settings(dir: &Path) -> Settings {
    Settings::of_a_test(dir.join("store"))
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What a pipeline does with the chain.
pub struct Chain {
    pub epoch: String,
    pub seq: u64,
    pub hash: Hash,
    /// What the next event is hashed with.
    pub alg: Suite,
}

impl Chain {
    pub fn from(recovered: &Recovered) -> Self {
        let Recovered { epoch, last_seq: seq, last_hash: hash, .. } = recovered;
        Self { epoch: epoch.clone(), seq: *seq, hash: *hash, alg: Suite::default() }
    }

    /// The next event, of `device`/`alarm`, sealed.
    pub fn next(&mut self, key: &AlarmKey, kind: TransitionKind, priority: Priority) -> Sealed {
        self.seq += 1;
        let event = Event { alg: self.alg, ..event(&self.epoch, self.seq, key, kind, priority) };
        let sealed = evidence::seal(event, self.hash).unwrap();
        self.hash = sealed.hash;
        sealed
    }
}

pub fn key(device: &str, alarm: &str) -> AlarmKey {
    AlarmKey { device: device.into(), alarm: alarm.into() }
}

pub fn state_after(kind: TransitionKind) -> AlarmState {
    match kind {
        TransitionKind::Raised => AlarmState::ActiveUnacknowledged,
        TransitionKind::Acknowledged => AlarmState::ActiveAcknowledged,
        TransitionKind::Returned => AlarmState::ReturnedUnacknowledged,
        TransitionKind::Closed | TransitionKind::Drill | TransitionKind::Credit => AlarmState::Closed,
        TransitionKind::Shelved
        | TransitionKind::Unshelved
        | TransitionKind::Suppressed
        | TransitionKind::Unsuppressed
        | TransitionKind::OutOfService
        | TransitionKind::InService
        | TransitionKind::Escalated
        | TransitionKind::Chattering
        | TransitionKind::Calmed
        | TransitionKind::Summary
        | TransitionKind::Rescue => AlarmState::ActiveUnacknowledged,
    }
}

/// Alarms in these tests have one occurrence each, named after them.
pub fn occurrence(key: &AlarmKey) -> OccurrenceId {
    OccurrenceId::new(format!("occurrence of {key}"))
}

fn event(epoch: &str, seq: u64, key: &AlarmKey, kind: TransitionKind, priority: Priority) -> Event {
    let now = at("2026-11-23T06:00:00Z") + Duration::from_secs(seq);
    Event {
        id: EventId::random().to_string(),
        seq,
        epoch: epoch.to_owned(),
        kind,
        at: now,
        site: SiteFacts { id: "site".to_owned(), name: "冶矿路社区".to_owned() },
        device: DeviceFacts {
            id: key.device.clone(),
            name: format!("{}号", key.device),
            class: "elevator".into(),
            profile: "elevator/monarch-nice3000@1".to_owned(),
            tags: BTreeMap::new(),
        },
        alarm: AlarmFacts {
            name: key.alarm.clone(),
            occurrence: occurrence(key),
            priority,
            state: state_after(kind),
            title: Text::new("困人", "passenger trapped"),
            origin: Origin::Reported,
            raised_at: at("2026-11-23T06:00:00Z"),
            returned_at: None,
            acknowledged: None,
            reason: None,
            overlay: Overlay::default(),
            done: None,
            withheld: false,
            announced: false,
            chattered: None,
            summarised: false,
        },
        readings: BTreeMap::new(),
        time_quality: TimeQuality::Synced,
        boot_id: "boot".to_owned(),
        mono_ms: seq,
        demo: false,
        losses: Vec::new(),
        summary: Vec::new(),
        more: 0,
        credit: None,
        head: None,
        alg: Suite::default(),
    }
}

pub fn letter(sealed: &Sealed, endpoint: &str) -> Letter {
    Letter {
        row: 0,
        endpoint: endpoint.into(),
        event_id: sealed.event.id.clone(),
        seq: sealed.event.seq,
        key: sealed.event.key(),
        priority: sealed.event.alarm.priority,
        attempts: 0,
        content_type: None,
        provisional: false,
        body: Arc::from(&sealed.record[..]),
    }
}

pub fn memory(key: &AlarmKey, state: Option<AlarmState>) -> AlarmMemory {
    AlarmMemory {
        raises: None,
        watch: None,
        flood: None,
        key: key.clone(),
        state,
        occurrence: state.map(|_| occurrence(key)),
        raised_at: state.map(|_| at("2026-11-23T06:00:00Z")),
        returned_at: None,
        acknowledged: None,
        delay: None,
        boot_id: String::new(),
        overlay: Overlay::default(),
    }
}

/// One transition with a letter to each of `endpoints` and the alarm's memory after it.
pub fn transition(
    chain: &mut Chain,
    key: &AlarmKey,
    kind: TransitionKind,
    priority: Priority,
    endpoints: &[&str],
) -> Commit {
    let sealed = chain.next(key, kind, priority);
    let state = Some(state_after(kind)).filter(|state| *state != AlarmState::Closed);
    Commit {
        letters: endpoints.iter().map(|endpoint| letter(&sealed, endpoint)).collect(),
        alarms: vec![memory(key, state)],
        events: vec![sealed],
        ..Commit::default()
    }
}

/// `devices` alike, named `device-0` on, with the given points.
pub fn catalogue(devices: u32, points: &[(&str, &str)]) -> Catalogue {
    let points: Vec<_> =
        points.iter().map(|(name, unit)| (PointName::from(*name), (*unit).to_owned())).collect();
    (0..devices)
        .map(|n| CatalogueEntry { device: format!("device-{n}").into(), points: points.clone() })
        .collect()
}

/// A row for the ledger.
pub struct Entry {
    pub device: DeviceIx,
    pub at_ms: i64,
    pub samples: Vec<(PointIx, Sample)>,
}

pub fn batch(entries: &[Entry]) -> Batch {
    let mut batch = Batch::default();
    entries.iter().for_each(|entry| batch.push(entry.device.0, entry.at_ms, &entry.samples));
    batch
}

/// A row of good numbers, for the device's first points.
pub fn numbers(device: u32, at: Timestamp, values: &[f64]) -> Row {
    let sample = |(ix, value): (u16, &f64)| (PointIx(ix), Sample::good(Value::Number(*value)));
    Row { device: DeviceIx(device), at, samples: (0..).zip(values).map(sample).collect(), receipt: None }
}
