//! More alarms than anybody can take in: an alarm of the gateway's own says so once, critical ones go singly, of the others a summary
//! goes now and then.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tracing::warn;

use super::{Pipeline, drill::OwnWord};
use crate::{
    alarm::{Change, Flood, is_summarised},
    domain::{
        AlarmKey, AlarmMemory, DeviceIx, Event, FloodMemory, Heard, Mono, Priority, Raw, Summarised,
        TransitionKind,
    },
    profile::Device,
    store::{Commit, StoreError},
    text,
};

/// Well within the heartbeat that `gateway-alarms/gatehouse-alarms` promises.
const REPORT_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
/// What is kept of a flood stands under this alarm's name, which is nobody's rule.
const SUMMARY: &str = "summary";

/// A site's flood, and what was reported of it last.
#[derive(Debug)]
pub struct Tide {
    own: Option<DeviceIx>,
    pub(super) flood: Flood,
    report: Option<(bool, Mono)>,
}

impl Tide {
    /// `own`: as whom it is reported; without it nothing is ever summarised.
    pub fn new(own: Option<DeviceIx>, flood: Flood) -> Self {
        Self { own, flood, report: None }
    }

    /// Under which key it is kept.
    pub fn key(own: &Device) -> AlarmKey {
        AlarmKey { device: own.id.clone(), alarm: SUMMARY.into() }
    }
}

/// As `gateway-alarms/gatehouse-alarms` reads it.
#[derive(Serialize)]
struct Report {
    flood: bool,
    raises: usize,
    summarised: u64,
}

impl Pipeline {
    /// Counts what is announced, and puts off what is told together. `event` is not sealed yet.
    pub(super) fn note_in_flood(&self, flood: &mut Flood, change: &Change, event: &mut Event) {
        let device = &self.devices[change.device.0 as usize];
        if self.tide.own.is_none() || device.is_own() {
            return; // what is wrong with the gateway itself explains the others
        }
        let announced =
            (event.kind == TransitionKind::Raised && !event.alarm.withheld) || event.alarm.announced;
        if let (true, Some(step)) = (announced, &change.step) {
            flood.raised(step.at);
        }
        if !flood.is_under_way() || !is_summarised(event, self.engine.rule(change).alarm.life_safety) {
            return;
        }
        event.alarm.summarised = true;
        flood.take(Summarised {
            key: event.key(),
            class: event.device.class.clone(),
            title: event.alarm.title.clone(),
            priority: event.alarm.priority,
            occurrence: event.alarm.occurrence.clone(),
            state: event.alarm.state,
            kind: event.kind,
            steps: 1,
            first_seq: event.seq,
            last_seq: event.seq,
            at: event.at,
            cause: self.cause(device, &event.key()),
        });
    }

    /// The alarm that explains the others of this device, if one does: its line's, or that it does not answer.
    fn cause(&self, device: &Device, of: &AlarmKey) -> Option<AlarmKey> {
        let line = self.devices.iter().find(|one| one.is_own_line() && one.bus == device.bus);
        let of_line = line.and_then(|line| self.engine.active_of(&line.id));
        let lost = AlarmKey { device: device.id.clone(), alarm: "comm_loss".into() };
        of_line.or_else(|| (self.engine.is_active(&lost) && lost != *of).then_some(lost))
    }

    /// What is to be kept of a flood, in the commit that changes it.
    pub(super) fn flood_memory(&self, flood: &Flood) -> Option<AlarmMemory> {
        let own = &self.devices[self.tide.own?.0 as usize];
        let kept = flood.to_keep()?;
        let kept = (*kept != FloodMemory::default()).then(|| Box::new(kept.clone()));
        Some(AlarmMemory { flood: kept, ..AlarmMemory::normal(Tide::key(own)) })
    }

    /// A summary that is due goes; whether there is a flood is told when that changes, and now and then.
    ///
    /// # Errors
    /// What ends the gateway anyway.
    pub(super) async fn look_after_the_flood(&mut self) -> Result<(), StoreError> {
        let Some(own) = self.tide.own else { return Ok(()) };
        let now = self.clock.now();
        if !self.resting() && self.tide.flood.is_to_be_told(now.mono) {
            self.tell_summary(own, now.mono).await?;
        }
        let flood = self.tide.flood.is_under_way();
        let due =
            self.tide.report.is_none_or(|(told, at)| told != flood || now.mono.since(at) >= REPORT_EVERY);
        if !due {
            return Ok(());
        }
        self.tide.report = Some((flood, now.mono));
        let report =
            Report { flood, raises: self.tide.flood.raises(), summarised: self.tide.flood.summarised() };
        let bytes = serde_json::to_vec(&report).expect("numbers and a flag");
        let heard = Heard {
            device: own,
            at: now,
            points: self.devices[own.0 as usize].profile.all_points().collect(),
            outcome: Ok(Raw::Payload { bytes: Bytes::from(bytes), retained: false }),
            receipt: None,
        };
        self.carry(&mut vec![heard]).await
    }

    /// An event of its own, with a letter to each who wants any of what it tells of.
    async fn tell_summary(&mut self, own: DeviceIx, now: Mono) -> Result<(), StoreError> {
        let mut flood = self.tide.flood.clone();
        let (summary, more) = flood.tell(now);
        let mut ledger = self.ledger.clone();
        let (mut events, mut letters) = (Vec::new(), Vec::new());
        if !summary.is_empty() {
            let sealed = self.ledger.seal(self.summary_event(own, summary, more), &self.private);
            letters = (self.address)(&sealed);
            ledger.advance(&sealed);
            events.push(sealed);
        }
        let alarms = self.flood_memory(&flood).into_iter().collect();
        let commit = Arc::new(Commit { events, letters, alarms, ..Commit::default() });
        match self.events.commit(Arc::clone(&commit)).await {
            Ok(()) => {}
            Err(error) => {
                self.note_storage(Some(&error));
                if !Self::goes_all_the_same(&error, &commit) {
                    // it waits, and is told later
                    return self.survive(error);
                }
                self.hold(commit).await?;
                self.survive(error)?;
            }
        }
        flood.is_kept();
        (self.ledger, self.tide.flood) = (ledger, flood);
        self.wake.iter().for_each(|courier| courier.notify_one());
        Ok(())
    }

    fn summary_event(&self, own: DeviceIx, summary: Vec<Summarised>, more: u64) -> Event {
        let (seq, epoch) = (self.ledger.next_seq(), self.ledger.epoch());
        let priority = summary.iter().map(|one| one.priority).min().unwrap_or(Priority::Low);
        let word = OwnWord {
            kind: TransitionKind::Summary,
            name: SUMMARY,
            occurrence: format!("summary-{}-{seq}", epoch.get(..4).unwrap_or("0")).into(),
            priority,
            title: text!("报警汇总", "summary of alarms"),
        };
        warn!(alarms = summary.len(), more, "More alarms than are told singly: a summary goes.");
        Event { summary, more, ..self.own_event(&self.devices[own.0 as usize], word) }
    }
}
