//! An endpoint that is drilled when it is time: what came of it is told with all else that the gateway says of the endpoint, so
//! that silence becomes an alarm by the same rules as everything else.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use tokio::{
    select,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    app::Ended,
    domain::{Clock, EndpointId, TimeQuality},
    pipeline::{Asked, DrillFiled, drill_occurrence},
    store::{EventStore, Told},
    uplink::{
        DrillTurns, Turns,
        turns::{Gone, Heard},
    },
};

const TICK: Duration = Duration::from_secs(1);
/// A drill that found no room on the disk is tried again.
const ROOM: Duration = Duration::from_secs(10);

pub struct Watch {
    pub endpoint: EndpointId,
    pub turns: DrillTurns,
    pub standing: watch::Sender<DrillStanding>,
    pub store: EventStore,
    pub to_answer: mpsc::Sender<Asked>,
    pub clock: Arc<dyn Clock>,
    pub zone: TimeZone,
}

/// How the drills of an endpoint stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillStanding {
    pub heard: Heard,
    /// When the latest went out.
    pub at: Option<Timestamp>,
}

impl DrillStanding {
    pub const NONE: Self = Self { heard: Heard::None, at: None };
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

impl Watch {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let mut last = self.recall().await;
        let mut heard = Heard::None;
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
                    Some(DrillFiled::Gone { at }) => {
                        last = Some(Last { at, since: now, age: Duration::ZERO, told: Told::Waiting });
                    }
                    Some(DrillFiled::NotStored { why }) => {
                        warn!(endpoint = %self.endpoint, why, "A drill could not be stored; it is tried again.");
                        rest_until = now + ROOM;
                    }
                    Some(DrillFiled::NoSuchEndpoint) | None => rest_until = now + ROOM,
                }
            }
            heard = self.judge(last, heard, now);
            let standing = DrillStanding { heard, at: last.map(|last| last.at) };
            self.standing.send_if_modified(|known| std::mem::replace(known, standing) != standing);
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
        if last.is_some_and(|last| last.told == Told::Waiting) {
            return false;
        }
        let by_clock = matches!(self.turns.turns, Turns::Daily(_));
        if by_clock && self.clock.quality() == TimeQuality::Unset {
            return false;
        }
        self.turns.is_due(last.map(|last| last.gone(now)), self.clock.now().wall, &self.zone)
    }

    fn judge(&self, last: Option<Last>, before: Heard, now: Instant) -> Heard {
        let heard = self.turns.heard(last.map(|last| last.gone(now)), before);
        if heard != before {
            match heard {
                Heard::Heard if before == Heard::Unheard => {
                    info!(endpoint = %self.endpoint, "The drill was answered.");
                }
                Heard::Unheard => warn!(
                    endpoint = %self.endpoint,
                    "The drill was not answered in its time: this endpoint would not have heard an alarm."
                ),
                Heard::None | Heard::Waiting | Heard::Heard => {}
            }
        }
        heard
    }

    /// The drill, on disk; `None` while the gateway is stopping.
    async fn go(&self) -> Option<DrillFiled> {
        let (reply, drilled) = oneshot::channel();
        self.to_answer.send(Asked::Drill(self.endpoint.clone(), reply)).await.ok()?;
        drilled.await.ok()
    }
}
