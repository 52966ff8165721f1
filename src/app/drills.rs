//! Each endpoint as a device of the gateway's own: it is drilled when it is time, and reports whether it would have heard an
//! alarm, so that silence becomes an alarm by the same rules as everything else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Ended;
use crate::{
    domain::{Clock, DeviceIx, EndpointId, Heard, PointIx, Raw, TimeQuality},
    pipeline::{Asked, Drilled, drill_occurrence},
    store::{EventStore, Told},
    uplink::{
        Drill,
        drill::{self, Gone},
    },
};

const TICK: Duration = Duration::from_secs(1);
/// Well within the heartbeat that `uplink/gatehouse-endpoint` promises.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// A drill that found no room on the disk is tried again.
const ROOM: Duration = Duration::from_secs(10);

pub struct Watch {
    pub endpoint: EndpointId,
    pub drill: Option<Drill>,
    /// Set while somebody else seems to use the endpoint's client id.
    pub contested: Arc<AtomicBool>,
    pub own: (DeviceIx, Arc<[PointIx]>),
    pub store: EventStore,
    pub to_answer: mpsc::Sender<Asked>,
    pub heard: mpsc::Sender<Heard>,
    pub clock: Arc<dyn Clock>,
    pub zone: TimeZone,
}

/// The latest drill.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Timestamp,
    /// It went out at this moment, or in another run and was so old at that.
    since: Instant,
    age: Duration,
    told: Told,
}

impl Last {
    fn gone(self, now: Instant) -> Gone {
        Gone {
            at: self.at,
            ago: self.age + now.duration_since(self.since),
            answered: self.told == Told::Delivered,
        }
    }
}

/// The report, as `uplink/gatehouse-endpoint` reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    drill: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    drill_at: Option<String>,
    contested: bool,
}

impl Watch {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let mut last = self.recall().await;
        let mut heard = drill::Heard::None;
        let mut told: Option<(Report, Instant)> = None;
        let mut rest_until = Instant::now();
        loop {
            select! {
                () = stop.cancelled() => return Ok("drills"),
                () = sleep(TICK) => {}
            }
            let now = Instant::now();
            if let Some(known) = last.as_mut().filter(|last| last.told != Told::Delivered) {
                known.told = self.told(known.at).await.unwrap_or(known.told);
            }
            if self.is_due(last, now) && now >= rest_until {
                match self.go().await {
                    Some(Drilled::Gone { at }) => {
                        last = Some(Last { at, since: now, age: Duration::ZERO, told: Told::Waiting });
                    }
                    Some(Drilled::NotStored { why }) => {
                        warn!(endpoint = %self.endpoint, why, "A drill could not be stored; it is tried again.");
                        rest_until = now + ROOM;
                    }
                    Some(Drilled::NoSuchEndpoint) | None => rest_until = now + ROOM,
                }
            }
            heard = self.judge(last, heard, now);
            let report = self.report(last, heard);
            let due = told.as_ref().is_none_or(|(known, at)| *known != report || now >= *at + REPORT_EVERY);
            if due {
                if self.tell(&report).await.is_none() {
                    return Ok("drills");
                }
                told = Some((report, now));
            }
        }
    }

    /// What an earlier run did.
    async fn recall(&self) -> Option<Last> {
        let (at, told) = self.look().await?;
        let age = self.clock.now().wall.duration_since(at);
        Some(Last { at, since: Instant::now(), age: age.try_into().unwrap_or_default(), told })
    }

    /// How the letter of the drill at `at` stands; `None` if it is not the latest.
    async fn told(&self, at: Timestamp) -> Option<Told> {
        let (found, told) = self.look().await?;
        // to the millisecond: that is how the store has it
        (found.as_millisecond() == at.as_millisecond()).then_some(told)
    }

    /// The latest drill as it is stored. Who needs the store for more than this says what is wrong with it.
    async fn look(&self) -> Option<(Timestamp, Told)> {
        match self.store.latest_told(&drill_occurrence(&self.endpoint), &self.endpoint).await {
            Ok(found) => found,
            Err(error) => {
                debug!(endpoint = %self.endpoint, %error, "Nobody knows what became of the drill.");
                None
            }
        }
    }

    /// While nobody knows what day it is, a drill by the clock waits; and there is never more than one that waits to be heard.
    fn is_due(&self, last: Option<Last>, now: Instant) -> bool {
        let Some(drill) = self.drill else { return false };
        if last.is_some_and(|last| last.told == Told::Waiting) {
            return false;
        }
        let by_clock = matches!(drill.turns, drill::Turns::Daily(_));
        if by_clock && self.clock.quality() == TimeQuality::Unset {
            return false;
        }
        drill.is_due(last.map(|last| last.gone(now)), self.clock.now().wall, &self.zone)
    }

    fn judge(&self, last: Option<Last>, before: drill::Heard, now: Instant) -> drill::Heard {
        let Some(drill) = self.drill else { return drill::Heard::None };
        let heard = drill.heard(last.map(|last| last.gone(now)), before);
        if heard != before {
            match heard {
                drill::Heard::Heard if before == drill::Heard::Unheard => {
                    info!(endpoint = %self.endpoint, "The drill was answered.");
                }
                drill::Heard::Unheard => warn!(
                    endpoint = %self.endpoint,
                    "The drill was not answered in its time: this endpoint would not have heard an alarm."
                ),
                drill::Heard::None | drill::Heard::Waiting | drill::Heard::Heard => {}
            }
        }
        heard
    }

    /// The drill, on disk; `None` while the gateway is stopping.
    async fn go(&self) -> Option<Drilled> {
        let (reply, drilled) = oneshot::channel();
        self.to_answer.send(Asked::Drill(self.endpoint.clone(), reply)).await.ok()?;
        drilled.await.ok()
    }

    fn report(&self, last: Option<Last>, heard: drill::Heard) -> Report {
        let drill_at = last.filter(|_| self.drill.is_some());
        let drill_at = drill_at
            .map(|last| last.at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
        Report { drill: heard.word(), drill_at, contested: self.contested.load(Relaxed) }
    }

    /// `None` if nobody listens any more.
    async fn tell(&self, report: &Report) -> Option<()> {
        let bytes = serde_json::to_vec(report).expect("texts and a flag");
        let (device, points) = (self.own.0, Arc::clone(&self.own.1));
        let outcome = Ok(Raw::Payload { bytes: Bytes::from(bytes), retained: false });
        let heard = Heard { device, at: self.clock.now(), points, outcome, receipt: None };
        self.heard.send(heard).await.ok()
    }
}
