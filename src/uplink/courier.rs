//! One courier per endpoint: claim, deliver, then settle or put off. One letter at a time, strictly in order within an
//! alarm; what is not settled is delivered again, so a crash may double a letter and never loses one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Endpoint, Verdict, pace::Pace, refusals::Refusals};
use crate::{
    domain::{
        Clock, EndpointId, Letter,
        status::{EndpointStatus, Failing},
    },
    store::{EventStore, Receipted, StoreError},
};

/// How long a stop waits for the answer to the request in hand: less than the whole gateway has for its tasks, so that
/// there is time to mark the letter.
const FINISH: Duration = Duration::from_secs(5);
/// How soon a mark that found no room on the disk is tried again.
const ROOM: Duration = Duration::from_secs(1);
/// At this refusal of one letter somebody must come: what passes by itself has passed by then.
const CALL_SOMEBODY: u32 = 3;

/// What a window on the deliveries shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Delivering,
    /// Some letters were refused and are offered again later, each on its own; all others go on.
    Refusing {
        alarms: usize,
        why: String,
    },
    /// Nothing goes, whatever the letter.
    Failing {
        since: Timestamp,
        why: String,
        next_try: Timestamp,
    },
}

#[derive(Clone, Debug)]
pub struct EndpointGauge {
    pub id: EndpointId,
    pub state: watch::Receiver<EndpointState>,
}

impl EndpointGauge {
    pub fn read(&self) -> EndpointStatus {
        let failing = match &*self.state.borrow() {
            EndpointState::Delivering => None,
            EndpointState::Refusing { alarms, why } => {
                Some(Failing { since: None, why: format!("{alarms} alarms refused: {why}"), next_try: None })
            }
            EndpointState::Failing { since, why, next_try } => {
                Some(Failing { since: Some(*since), why: why.clone(), next_try: Some(*next_try) })
            }
        };
        EndpointStatus { id: self.id.clone(), failing }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The letters are safe or lost with the store; without it nothing can be marked as delivered.
    #[error("deliver to {endpoint}: {source}")]
    Store { endpoint: EndpointId, source: StoreError },
}

pub struct Courier<E> {
    id: EndpointId,
    endpoint: E,
    store: EventStore,
    clock: Arc<dyn Clock>,
    /// Draws from 0..1, for the jitter.
    chance: fn() -> f64,
    wake: Arc<Notify>,
    state: watch::Sender<EndpointState>,
    pace: Pace,
    refusals: Refusals,
}

/// What is written about an attempt.
enum Mark {
    Settled(Receipted),
    PutOff { why: String, next_at: Timestamp },
}

impl<E: Endpoint> Courier<E> {
    /// `wake` is notified (`notify_one`) after each commit that has letters for `id`.
    pub fn new(
        id: EndpointId,
        endpoint: E,
        store: EventStore,
        clock: Arc<dyn Clock>,
        chance: fn() -> f64,
        wake: Arc<Notify>,
    ) -> (Self, EndpointGauge) {
        let (state, watched) = watch::channel(EndpointState::Delivering);
        let gauge = EndpointGauge { id: id.clone(), state: watched };
        let (pace, refusals) = (Pace::at_start(), Refusals::default());
        (Self { id, endpoint, store, clock, chance, wake, state, pace, refusals }, gauge)
    }

    /// Runs until `stop`, then ends within some 5 s: the request in hand is finished and marked, nothing new is begun.
    ///
    /// # Errors
    /// If the store fails for good; a full disk is waited out.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), CourierError> {
        self.deliver_all(&stop).await.map_err(|source| CourierError::Store { endpoint: self.id, source })
    }

    async fn deliver_all(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            let now = Instant::now();
            let Some(letter) = self.store.claim(&self.id, self.refusals.waiting(now)).await? else {
                self.caught_up(now);
                self.rest(self.refusals.next_due(now), stop).await;
                continue;
            };
            let due = self.pace.due(letter.priority, now);
            if due > now {
                // claimed anew after the rest: by then a more urgent letter may have come
                self.rest(Some(due), stop).await;
                continue;
            }
            crash_point!("courier.claimed");
            self.pace.attempted(now);
            let verdict = self.attempt(&letter, stop).await;
            let mark = self.judge(&letter, verdict);
            crash_point!("courier.judged");
            self.write(letter.row, mark, stop).await?;
            crash_point!("courier.marked");
        }
        Ok(())
    }

    async fn attempt(&self, letter: &Letter, stop: &CancellationToken) -> Verdict {
        let delivery = self.endpoint.deliver(letter);
        tokio::pin!(delivery);
        select! {
            verdict = &mut delivery => verdict,
            () = stop.cancelled() => timeout(FINISH, delivery).await.unwrap_or_else(|_elapsed| Verdict::TryAgain {
                why: "gatehouse stopped before an answer came".to_owned(),
                after: None,
            }),
        }
    }

    /// What the verdict means for the letter (the mark), for the endpoint (the pace) and for those who watch.
    fn judge(&mut self, letter: &Letter, verdict: Verdict) -> Mark {
        match verdict {
            Verdict::Accepted { status, said } => {
                self.well();
                self.pace.delivered();
                self.refusals.forget(&letter.key);
                self.show();
                Mark::Settled(Receipted { at: self.clock.now().wall, status, said })
            }
            Verdict::Refused { why } => {
                self.well();
                self.refused(letter, why)
            }
            Verdict::TryAgain { why, after } => self.failed(letter, why, after),
        }
    }

    fn refused(&mut self, letter: &Letter, why: String) -> Mark {
        let now = Instant::now();
        let (times, until) = self.refusals.note(letter, &why, now);
        self.tell_refusal(letter, &why, times);
        self.show();
        Mark::PutOff { why, next_at: self.label(until) }
    }

    /// Once as odd, and once as what somebody has to see to: a refused letter holds up its alarm at this endpoint for ever.
    fn tell_refusal(&self, letter: &Letter, why: &str, times: u32) {
        let Letter { key, event_id: event, .. } = letter;
        if times == 1 {
            warn!(endpoint = %self.id, alarm = %key, event, why, "Endpoint refuses a letter; it is offered again.");
        } else if times == CALL_SOMEBODY {
            error!(
                endpoint = %self.id, alarm = %key, event, why, times,
                "Endpoint keeps refusing a letter. It is offered again until it is taken, and what comes later of this \
                 alarm waits behind it; all else goes on. Have the receiver take it, or correct `accept` of this \
                 endpoint in the site file."
            );
        }
    }

    fn failed(&mut self, letter: &Letter, why: String, after: Option<Duration>) -> Mark {
        let (now, wall) = (Instant::now(), self.clock.now().wall);
        if self.pace.failed(now, wall, after, (self.chance)()) {
            warn!(endpoint = %self.id, why, "Endpoint is failing.");
        }
        let next_at = self.label(self.pace.due(letter.priority, now));
        let since = self.pace.outage_since().unwrap_or(wall);
        self.state.send_replace(EndpointState::Failing { since, why: why.clone(), next_try: next_at });
        Mark::PutOff { why, next_at }
    }

    /// The endpoint gave an answer about a letter: whatever was wrong with it is over.
    fn well(&mut self) {
        if let Some(outage) = self.pace.answered() {
            info!(endpoint = %self.id, since = %outage.since, failures = outage.failures, "Endpoint answers again.");
        }
    }

    /// Shows the endpoint as it is when it does not fail.
    fn show(&self) {
        let next = match self.refusals.summary() {
            Some((alarms, why)) => EndpointState::Refusing { alarms, why: why.to_owned() },
            None => EndpointState::Delivering,
        };
        if *self.state.borrow() != next {
            self.state.send_replace(next);
        }
    }

    /// Nothing may go now.
    fn caught_up(&mut self, now: Instant) {
        self.refusals.forget_due(now);
        if self.pace.outage_since().is_none() {
            self.show();
        }
        if let Some(delivered) = self.pace.caught_up() {
            info!(endpoint = %self.id, delivered, "Backlog is delivered.");
        }
    }

    /// A full disk passes: the mark is kept and written later, and nothing is sent twice meanwhile.
    async fn write(&self, row: i64, mark: Mark, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut said = false;
        loop {
            match self.write_once(row, &mark).await {
                Err(StoreError::Full { .. }) if !stop.is_cancelled() => {
                    if !said {
                        error!(endpoint = %self.id, row, "No room to mark a letter; nothing goes until there is.");
                        said = true;
                    }
                    self.rest(Some(Instant::now() + ROOM), stop).await;
                }
                Err(StoreError::NoSuchLetter { .. }) => {
                    warn!(endpoint = %self.id, row, "A letter was withdrawn while it was being delivered.");
                    return Ok(());
                }
                outcome => return outcome,
            }
        }
    }

    async fn write_once(&self, row: i64, mark: &Mark) -> Result<(), StoreError> {
        match mark {
            Mark::Settled(receipt) => self.store.settle(row, receipt.clone()).await,
            Mark::PutOff { why, next_at } => self.store.put_off(row, why.clone(), *next_at).await,
        }
    }

    /// Until `until` (none: for ever), a new letter, or the stop.
    async fn rest(&self, until: Option<Instant>, stop: &CancellationToken) {
        let due = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        select! {
            () = due => {}
            () = self.wake.notified() => {}
            () = stop.cancelled() => {}
        }
    }

    /// The wall clock's label for a moment to come.
    fn label(&self, at: Instant) -> Timestamp {
        let wall = self.clock.now().wall;
        wall.checked_add(at.saturating_duration_since(Instant::now())).unwrap_or(wall)
    }
}

#[cfg(test)]
mod tests;
