//! A decision becomes an event: numbered, linked into the chain, with everything known of the device at that moment.

use std::collections::BTreeMap;

use tracing::warn;

use super::{Pipeline, Private};
use crate::{
    alarm::{Change, Flood, Latest, Step},
    domain::{
        AlarmFacts, AlarmMemory, AlarmState, Event, EventId, Mono, OccurrenceId, PointIx, PointName,
        ReadingFact, Suite, TransitionKind, event::of_no_occurrence,
    },
    store::{
        Commit, Recovered, StoreError,
        evidence::{Hash, Sealed, seal},
    },
};

/// Where the next event goes in the chain.
#[derive(Clone, Debug)]
pub struct Ledger {
    epoch: String,
    last_seq: u64,
    last_hash: Hash,
    /// What the next one is hashed with.
    suite: Suite,
}

impl Ledger {
    pub fn new(recovered: &Recovered, suite: Suite) -> Self {
        let Recovered { epoch, last_seq, last_hash, .. } = recovered;
        Self { epoch: epoch.clone(), last_seq: *last_seq, last_hash: *last_hash, suite }
    }
}

impl Ledger {
    pub(super) fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    pub(super) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// `private`: what of it is not stored as it is.
    pub(super) fn seal(&self, event: Event, private: &Private) -> Sealed {
        let linked =
            |event| seal(event, self.last_hash).expect("readings are finite, everything else is text");
        match private.stored(&event) {
            Some(stored) => Sealed { event, ..linked(stored) },
            None => linked(event),
        }
    }

    pub(super) fn advance(&mut self, sealed: &Sealed) {
        self.last_seq = sealed.event.seq;
        self.last_hash = sealed.hash;
    }
}

/// Why nothing watches an alarm any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphaned {
    /// Its device or rule is gone from the site.
    RuleRemoved,
    /// It was raised anew while what is stored could not be read.
    Superseded,
}

impl Orphaned {
    fn word(self) -> &'static str {
        match self {
            Orphaned::RuleRemoved => "rule_removed",
            Orphaned::Superseded => "superseded",
        }
    }
}

impl Pipeline {
    /// Gives each transition its event, its number and its link in the chain.
    pub(super) fn seal(&self, changes: &mut [Change]) -> (Vec<Sealed>, Ledger, Flood) {
        let (mut ledger, mut flood) = (self.ledger.clone(), self.tide.flood.clone());
        let mut events = Vec::new();
        for change in changes {
            let Some(step) = change.step.clone() else { continue };
            let seq = ledger.last_seq + 1;
            let fresh = || OccurrenceId::from(format!("{}-{seq}", ledger.epoch.get(..4).unwrap_or("0")));
            let occurrence = match change.memory.state {
                Some(_) => change.memory.occurrence.get_or_insert_with(fresh).clone(),
                None => of_no_occurrence(&change.memory.key),
            };
            let mut event = self.event(change, step, seq, occurrence);
            self.note_in_flood(&mut flood, change, &mut event);
            let sealed = ledger.seal(event, &self.private);
            ledger.advance(&sealed);
            events.push(sealed);
        }
        (events, ledger, flood)
    }

    fn event(
        &self,
        change: &Change,
        Step { kind, at, done, withheld, announced, chattered }: Step,
        seq: u64,
        occurrence: OccurrenceId,
    ) -> Event {
        let rule = self.engine.rule(change);
        let (_, latest) = self.engine.device(change.device);
        let memory = &change.memory;
        Event {
            id: EventId::random().to_string(),
            seq,
            epoch: self.ledger.epoch.clone(),
            kind,
            at: at.wall,
            site: self.site.clone(),
            device: self.devices[change.device.0 as usize].facts(),
            alarm: AlarmFacts {
                name: rule.alarm.name.clone(),
                occurrence,
                priority: rule.alarm.priority,
                // Nothing is open: a shelf over an alarm that is normal.
                state: memory.state.unwrap_or(AlarmState::Closed),
                title: rule.alarm.title.clone(),
                origin: rule.alarm.origin,
                raised_at: memory.raised_at.unwrap_or(at.wall),
                returned_at: memory.returned_at,
                acknowledged: memory.acknowledged.clone(),
                reason: done
                    .as_ref()
                    .filter(|_| kind == TransitionKind::Closed)
                    .and_then(|done| done.note.clone()),
                overlay: memory.overlay.clone(),
                done,
                withheld,
                announced,
                chattered,
                summarised: false,
            },
            readings: facts(latest, at.mono),
            time_quality: self.clock.quality(),
            boot_id: self.clock.boot_id().to_owned(),
            mono_ms: at.mono.0.as_millis() as u64,
            demo: self.demo,
            losses: Vec::new(),
            summary: Vec::new(),
            more: 0,
            credit: None,
            head: self.events.head(),
            alg: self.ledger.suite,
        }
    }

    /// Ends alarms that nothing watches any more, so that nobody waits for their end. `last`: the latest event of each.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn close_orphans(&mut self, last: Vec<Event>, why: Orphaned) -> Result<(), StoreError> {
        for last in last {
            let last = self.private.opened(last);
            let at = self.clock.now();
            let key = last.key();
            let seq = self.ledger.last_seq + 1;
            let event = Event {
                id: EventId::random().to_string(),
                seq,
                epoch: self.ledger.epoch.clone(),
                kind: TransitionKind::Closed,
                at: at.wall,
                alarm: AlarmFacts {
                    state: AlarmState::Closed,
                    reason: Some(why.word().to_owned()),
                    done: None,
                    withheld: last.alarm.overlay.untold,
                    announced: false,
                    chattered: None,
                    summarised: false,
                    ..last.alarm
                },
                time_quality: self.clock.quality(),
                boot_id: self.clock.boot_id().to_owned(),
                mono_ms: at.mono.0.as_millis() as u64,
                demo: self.demo,
                head: self.events.head(),
                alg: self.ledger.suite,
                ..last
            };
            let sealed = self.ledger.seal(event, &self.private);
            warn!(alarm = %key, why = why.word(), "Nothing watches this alarm any more; it is closed.");
            let letters = (self.address)(&sealed);
            let alarms = match why {
                Orphaned::RuleRemoved => vec![AlarmMemory::normal(key)],
                // The present occurrence of it is another one's business.
                Orphaned::Superseded => Vec::new(),
            };
            self.ledger.advance(&sealed);
            self.events.commit(Commit { events: vec![sealed], letters, alarms, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

/// Everything known of the device at that moment, under the class's names.
fn facts(latest: &Latest, now: Mono) -> BTreeMap<PointName, ReadingFact> {
    let profile = latest.profile();
    let points = (0..profile.points.len()).map(|at| PointIx(at as u16));
    let known = points.filter_map(|point| Some((point, latest.sample(point, now)?)));
    known
        .map(|(point, (sample, at))| {
            let class = profile.class_point(point);
            let fact = ReadingFact {
                value: sample.value().cloned(),
                unit: class.unit.clone(),
                quality: sample.quality(),
                at: at.wall,
                data: class.data,
                card: class.card,
            };
            (class.name.clone(), fact)
        })
        .collect()
}
