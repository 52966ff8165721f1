//! What the gateway says of its endpoints, as of devices that speak by themselves: so that who would not be told is an alarm
//! like any other, seen where people look and told to whoever else wants to hear of it.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Ended, drills::DrillStanding, own, upward::WayOut};
use crate::{
    domain::{Clock, DeviceIx, EndpointId, Heard, Hindrance},
    profile::Device,
    store::{Backlog, EventStore},
    uplink::EndpointState,
};

/// Well within the heartbeat that `endpoint/gatehouse-endpoint` promises.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How soon a change is told.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub struct Herald {
    pub devices: Arc<[Device]>,
    pub ways: Arc<[WayOut]>,
    pub zone: TimeZone,
    pub store: EventStore,
    pub clock: Arc<dyn Clock>,
    pub sender: mpsc::Sender<Heard>,
}

/// As `endpoint/gatehouse-endpoint` reads it.
#[derive(Debug, Serialize)]
struct Report {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    queued: u64,
    set_aside: u64,
    drill: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    drill_at: Option<String>,
    contested: bool,
}

/// What of a report is news when it changes.
#[derive(Debug, PartialEq)]
struct Topic {
    state: &'static str,
    trouble: Option<&'static str>,
    set_aside: u64,
    drill: &'static str,
    drill_at: Option<String>,
    contested: bool,
}

impl Report {
    fn topic(&self) -> Topic {
        let &Self { state, trouble, set_aside, drill, contested, .. } = self;
        Topic { state, trouble, set_aside, drill, drill_at: self.drill_at.clone(), contested }
    }
}

impl Herald {
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: HashMap<&EndpointId, (Topic, Instant)> = HashMap::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return Ok("herald"),
            }
            let backlog = match self.store.backlog().await {
                Ok(backlog) => backlog,
                Err(error) => {
                    debug!(%error, "The backlog is not known now.");
                    continue;
                }
            };
            for way in self.ways.iter() {
                let report = self.report(way, backlog.get(&way.id).copied().unwrap_or_default());
                let (topic, now) = (report.topic(), Instant::now());
                let news =
                    told.get(&way.id).is_none_or(|(last, at)| *last != topic || now - *at >= REPORT_EVERY);
                let Some(heard) = self.heard(&way.id, &report).filter(|_| news) else { continue };
                told.insert(&way.id, (topic, now));
                tokio::select! {
                    sent = self.sender.send(heard) => if sent.is_err() {
                        return Ok("herald");
                    },
                    () = stop.cancelled() => return Ok("herald"),
                }
            }
        }
    }

    fn report(&self, way: &WayOut, Backlog { queued, set_aside }: Backlog) -> Report {
        let (state, why) = match &way.gauge {
            Ok(gauge) => state_of(&gauge.state.borrow()),
            Err(why) => ("rejecting", Some(why.clone())),
        };
        let DrillStanding { heard, at } = *way.drills.borrow();
        let drill_at =
            at.map(|at| at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
        Report {
            state,
            trouble: why.as_ref().map(|why| why.kind.word()),
            why: why.map(|why| format!("{} / {}", why.said.zh, why.said.en)),
            queued,
            set_aside,
            drill: heard.word(),
            drill_at,
            contested: way.contested.load(Relaxed),
        }
    }

    fn heard(&self, endpoint: &EndpointId, report: &Report) -> Option<Heard> {
        let own = self.devices.iter().position(|device| device.stands_for(endpoint))?;
        Some(own::report(DeviceIx(own as u32), &self.devices[own].profile, self.clock.now(), report))
    }
}

/// As a word, and why.
fn state_of(state: &EndpointState) -> (&'static str, Option<Hindrance>) {
    match state {
        EndpointState::Delivering => ("delivering", None),
        EndpointState::Refusing { why, .. } => ("refusing", Some(why.clone())),
        EndpointState::Failing { why, .. } if why.kind.needs_somebody() => ("rejecting", Some(why.clone())),
        EndpointState::Failing { why, .. } => ("failing", Some(why.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::HindranceKind, text};
    use jiff::Timestamp;

    #[test]
    fn what_needs_somebody_is_a_state_of_its_own() {
        let failing = |kind| EndpointState::Failing {
            since: Timestamp::UNIX_EPOCH,
            why: Hindrance::new(kind, text!("原因", "why")),
            next_try: Timestamp::UNIX_EPOCH,
        };
        for (state, expected) in [
            (EndpointState::Delivering, "delivering"),
            (failing(HindranceKind::Unreachable), "failing"),
            (failing(HindranceKind::Busy), "failing"),
            (failing(HindranceKind::Unauthorised), "rejecting"),
            (failing(HindranceKind::CertificateExpired), "rejecting"),
            (failing(HindranceKind::Redirected), "rejecting"),
        ] {
            let (word, why) = state_of(&state);
            assert_eq!((word, why.is_some()), (expected, expected != "delivering"));
        }
    }
}
