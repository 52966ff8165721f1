//! A drill is an event like every alarm's: numbered, linked into the chain, written to the endpoint that it tests, delivered
//! by the same way. So it proves the way, and stands in the evidence.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Pipeline;
use crate::{
    domain::{
        AlarmFacts, AlarmState, EndpointId, Event, EventId, OccurrenceId, Origin, Overlay, Priority, Text,
        TransitionKind,
    },
    profile::Device,
    store::{Commit, StoreError},
    text,
};

/// What became of a drill that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillFiled {
    /// It is on disk and on its way.
    Gone {
        at: Timestamp,
    },
    NotStored {
        why: String,
    },
    NoSuchEndpoint,
}

/// What the gateway says of itself, and what it is called.
pub(super) struct OwnWord {
    pub kind: TransitionKind,
    pub name: &'static str,
    pub occurrence: OccurrenceId,
    pub priority: Priority,
    pub title: Text,
}

impl Pipeline {
    pub(super) async fn drill(&mut self, endpoint: EndpointId) -> (DrillFiled, Option<StoreError>) {
        let Some(event) = self.drill_event(&endpoint) else { return (DrillFiled::NoSuchEndpoint, None) };
        let at = event.at;
        let mut ledger = self.ledger.clone();
        let sealed = ledger.seal(event, &self.private);
        ledger.advance(&sealed);
        let letters = (self.address)(&sealed);
        let commit = Commit { events: vec![sealed], letters, ..Commit::default() };
        match self.events.commit(commit).await {
            Ok(()) => {
                self.ledger = ledger;
                self.wake.iter().for_each(|courier| courier.notify_one());
                (DrillFiled::Gone { at }, None)
            }
            Err(error) => {
                let filed = DrillFiled::NotStored { why: error.to_string() };
                (filed, self.survive(error).err())
            }
        }
    }

    fn drill_event(&self, endpoint: &EndpointId) -> Option<Event> {
        let own = self.devices.iter().find(|device| device.stands_for(endpoint))?;
        let word = OwnWord {
            kind: TransitionKind::Drill,
            name: "drill",
            occurrence: occurrence(endpoint),
            priority: Priority::Medium,
            title: text!("演练，不是真的报警", "a drill, no real alarm"),
        };
        Some(self.own_event(own, word))
    }

    /// An event that is no alarm's step, as the next of the chain.
    pub(super) fn own_event(&self, own: &Device, word: OwnWord) -> Event {
        let at = self.clock.now();
        let OwnWord { kind, name, occurrence, priority, title } = word;
        Event {
            id: EventId::random().to_string(),
            seq: self.ledger.next_seq(),
            epoch: self.ledger.epoch().to_owned(),
            kind,
            at: at.wall,
            site: self.site.clone(),
            device: own.facts(),
            alarm: AlarmFacts {
                name: name.into(),
                occurrence,
                priority,
                state: AlarmState::Closed,
                title,
                origin: Origin::Reported,
                raised_at: at.wall,
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
            time_quality: self.clock.quality(),
            boot_id: self.clock.boot_id().to_owned(),
            mono_ms: at.mono.0.as_millis() as u64,
            demo: self.demo,
            losses: Vec::new(),
            summary: Vec::new(),
            more: 0,
            credit: None,
            head: self.events.head(),
            alg: self.ledger.suite(),
        }
    }
}

/// All drills of one endpoint are told under one name.
pub fn occurrence(endpoint: &EndpointId) -> OccurrenceId {
    format!("drill:{endpoint}").into()
}
