//! What the gateway says of its endpoints, as of devices that speak by themselves: so that who would not be told is an alarm
//! like any other, seen where people look and told to whoever else wants to hear of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Ended;
use crate::{
    domain::{BusId, Clock, DeviceId, DeviceIx, EndpointId, Heard, Raw},
    profile::{Address, Device, Profile},
    store::{Backlog, EventStore},
    uplink::{EndpointGauge, EndpointState},
};

/// Well within the heartbeat that `endpoint/gatehouse-endpoint` promises.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How soon a change is told.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Each endpoint, as a device. No device of a site can be called so: its id has a colon.
pub fn devices<'a>(ids: impl Iterator<Item = &'a EndpointId>, profile: &Arc<Profile>) -> Vec<Device> {
    let device = |id: &EndpointId| {
        let own = format!("endpoint:{id}");
        Device {
            id: DeviceId::from(own.as_str()),
            name: id.to_string(),
            profile: Arc::clone(profile),
            bus: BusId::from(own.as_str()),
            address: Address::Text(id.to_string()),
            tags: BTreeMap::new(),
        }
    };
    ids.map(device).collect()
}

pub struct Herald {
    pub devices: Arc<[Device]>,
    pub gauges: Vec<EndpointGauge>,
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
}

/// What of a report is news when it changes.
type Topic = (&'static str, Option<&'static str>, u64);

impl Report {
    fn topic(&self) -> Topic {
        (self.state, self.trouble, self.set_aside)
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
            for gauge in &self.gauges {
                let standing = backlog.get(&gauge.id).copied().unwrap_or_default();
                let report = report(&gauge.state.borrow(), standing);
                let (topic, now) = (report.topic(), Instant::now());
                let news =
                    told.get(&gauge.id).is_none_or(|(last, at)| *last != topic || now - *at >= REPORT_EVERY);
                let Some(heard) = self.heard(gauge, &report).filter(|_| news) else { continue };
                told.insert(&gauge.id, (topic, now));
                tokio::select! {
                    sent = self.sender.send(heard) => if sent.is_err() {
                        return Ok("herald");
                    },
                    () = stop.cancelled() => return Ok("herald"),
                }
            }
        }
    }

    fn heard(&self, gauge: &EndpointGauge, report: &Report) -> Option<Heard> {
        let own =
            self.devices.iter().position(|device| device.is_own_endpoint() && *device.name == *gauge.id)?;
        let bytes = serde_json::to_vec(report).expect("numbers and texts");
        Some(Heard {
            device: DeviceIx(own as u32),
            at: self.clock.now(),
            points: self.devices[own].profile.all_points().collect(),
            outcome: Ok(Raw::Payload { bytes: Bytes::from(bytes), retained: false }),
            receipt: None,
        })
    }
}

fn report(state: &EndpointState, Backlog { queued, set_aside }: Backlog) -> Report {
    let (state, why) = match state {
        EndpointState::Delivering => ("delivering", None),
        EndpointState::Refusing { why, .. } => ("refusing", Some(why)),
        EndpointState::Failing { why, .. } if why.kind.needs_somebody() => ("rejecting", Some(why)),
        EndpointState::Failing { why, .. } => ("failing", Some(why)),
    };
    Report {
        state,
        trouble: why.map(|why| why.kind.word()),
        why: why.map(|why| format!("{} / {}", why.said.zh, why.said.en)),
        queued,
        set_aside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Hindrance, HindranceKind},
        text,
    };
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
            let report = report(&state, Backlog { queued: 1, set_aside: 2 });
            assert_eq!((report.state, report.queued, report.set_aside), (expected, 1, 2));
            assert_eq!(report.why.is_some(), expected != "delivering");
        }
    }
}
