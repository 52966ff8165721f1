//! One courier per endpoint: claim, deliver, then settle, put off or set aside. As many letters on their way as the endpoint
//! can stand, strictly in order within an alarm; what is not settled is delivered again, so a crash may double the letters
//! that were on their way and never loses one.

mod flights;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    select,
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::flights::{Flights, Landed};
use super::{
    Bell, Endpoint, Refusal, Verdict,
    pace::Pace,
    refusals::{Next, Refusals, UNREADABLE},
};
use crate::{
    domain::{
        AlarmKey, Clock, EndpointId, Hindrance, HindranceKind, Letter, TimeQuality,
        drill::Drilled,
        status::{EndpointStatus, Failing},
    },
    store::{EventStore, Receipted, StoreError},
    text,
};

/// How long a stop waits for the answers to what is on its way: less than the whole gateway has for its tasks, so that
/// there is time to mark the letters.
const FINISH: Duration = Duration::from_secs(5);
/// How long an endpoint has to let go of what lived between letters.
const PART: Duration = Duration::from_millis(300);
/// How soon a mark that found no room on the disk is tried again.
const ROOM: Duration = Duration::from_secs(1);

/// What a window on the deliveries shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Delivering,
    /// Some letters were refused and are offered again later, each on its own; all others go on.
    Refusing {
        alarms: usize,
        why: Hindrance,
    },
    /// Nothing goes, whatever the letter.
    Failing {
        since: Timestamp,
        why: Hindrance,
        next_try: Timestamp,
    },
}

#[derive(Clone)]
pub struct EndpointGauge {
    pub id: EndpointId,
    pub state: watch::Receiver<EndpointState>,
    try_out: TryOut,
}

/// One attempt outside of the queue.
type TryOut = Arc<dyn Fn(Letter) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

impl fmt::Debug for EndpointGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointGauge")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl EndpointGauge {
    pub fn read(&self) -> EndpointStatus {
        let failing = match &*self.state.borrow() {
            EndpointState::Delivering => None,
            EndpointState::Refusing { alarms, why } => {
                Some(Failing { since: None, why: why.clone(), alarms: *alarms, next_try: None })
            }
            EndpointState::Failing { since, why, next_try } => {
                Some(Failing { since: Some(*since), why: why.clone(), alarms: 0, next_try: Some(*next_try) })
            }
        };
        EndpointStatus { id: self.id.clone(), failing }
    }

    /// Delivers a letter that is in no outbox, at once, whatever waits.
    pub async fn try_out(&self, letter: Letter) -> Drilled {
        let event = letter.event_id.clone();
        (self.try_out)(letter).await.drilled(event)
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
    endpoint: Arc<E>,
    store: EventStore,
    clock: Arc<dyn Clock>,
    /// Draws from 0..1, for the jitter.
    chance: fn() -> f64,
    wake: Arc<Notify>,
    bell: Bell,
    state: watch::Sender<EndpointState>,
    pace: Pace,
    refusals: Refusals,
    flights: Flights,
    /// Whether the clock was not set at the last look.
    unset: bool,
}

/// What is written about an attempt.
enum Mark {
    Settled(Receipted),
    PutOff { why: Hindrance, at: Timestamp, next_at: Timestamp },
    SetAside { why: Hindrance, at: Timestamp },
}

impl<E> fmt::Debug for Courier<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("id", &self.id).finish_non_exhaustive()
    }
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
        let (endpoint, bell) = (Arc::new(endpoint), Bell::default());
        let try_out = try_out(&endpoint, &bell);
        let gauge = EndpointGauge { id: id.clone(), state: watched, try_out };
        let terms = endpoint.terms();
        let courier = Self {
            id,
            endpoint,
            store,
            clock,
            chance,
            wake,
            bell,
            state,
            pace: Pace::at_start(terms.gap),
            refusals: Refusals::default(),
            flights: Flights::of(terms.window),
            unset: false,
        };
        (courier, gauge)
    }

    /// Runs until `stop`, then ends within some 5 s: what is on its way is finished and marked, nothing new is begun.
    ///
    /// # Errors
    /// If the store fails for good; a full disk is waited out.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), CourierError> {
        let mut attendance = JoinSet::new();
        let over = CancellationToken::new();
        let (endpoint, bell, parting) = (Arc::clone(&self.endpoint), self.bell.clone(), over.clone());
        attendance.spawn(async move { endpoint.attend(bell, parting).await });
        let ended = self.deliver_all(&stop).await;
        over.cancel();
        select! {
            _ = attendance.join_next() => {}
            () = tokio::time::sleep(PART) => warn!(endpoint = %self.id, "Endpoint does not let go in time."),
        }
        ended.map_err(|source| CourierError::Store { endpoint: self.id, source })
    }

    async fn deliver_all(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            let until = self.send_off().await?;
            if let Some(landed) = self.next_happening(until, stop).await {
                self.conclude(landed, stop).await?;
            }
        }
        let until = Instant::now() + FINISH;
        while let Some(landed) = self.flights.next_before(until).await {
            self.conclude(landed, stop).await?;
        }
        Ok(())
    }

    /// What was refused or failed while the clock was not set may have been so for that.
    fn look_at_the_clock(&mut self) {
        let unset = self.clock.quality() == TimeQuality::Unset;
        if std::mem::replace(&mut self.unset, unset) && !unset {
            self.pace.mended();
            self.refusals.hasten(Instant::now());
        }
    }

    /// Sends off what may go now. Gives when the next may, if that is known.
    async fn send_off(&mut self) -> Result<Option<Instant>, StoreError> {
        self.look_at_the_clock();
        loop {
            let now = Instant::now();
            // while it fails, one probe at a time
            if self.flights.is_full(self.pace.outage_since().is_some()) {
                return Ok(None);
            }
            let Some(letter) = self.store.claim(&self.id, self.held_back(now)).await? else {
                if self.flights.is_empty() {
                    self.caught_up(now);
                }
                return Ok(self.refusals.next_due(now));
            };
            let due = self.pace.due(letter.priority, now);
            if due > now {
                // claimed anew after the rest: by then a more urgent letter may have come
                return Ok(Some(due));
            }
            crash_point!("courier.claimed");
            let letter = self.store.freeze(letter).await?;
            self.pace.attempted(letter.attempts == 0, now);
            self.flights.begin(&self.endpoint, letter, now);
        }
    }

    /// The alarms of which nothing may go: a letter is on its way, or was refused and waits.
    fn held_back(&self, now: Instant) -> Vec<AlarmKey> {
        self.flights.alarms().chain(self.refusals.waiting(now)).cloned().collect()
    }

    /// Until an attempt ends, until `until` (none: for ever), a new letter, a call of the endpoint, or the stop.
    async fn next_happening(&mut self, until: Option<Instant>, stop: &CancellationToken) -> Option<Landed> {
        select! {
            landed = self.flights.next() => return Some(landed),
            () = self.bell.rung() => self.pace.mended(),
            () = at(until) => {}
            () = self.wake.notified() => {}
            () = stop.cancelled() => {}
        }
        None
    }

    async fn conclude(&mut self, landed: Landed, stop: &CancellationToken) -> Result<(), StoreError> {
        let row = landed.letter.row;
        let mark = self.judge(landed);
        crash_point!("courier.judged");
        self.write(row, mark, stop).await?;
        crash_point!("courier.marked");
        Ok(())
    }

    /// What the verdict means for the letter (the mark), for the endpoint (the pace) and for those who watch.
    fn judge(&mut self, landed: Landed) -> Mark {
        let Landed { letter, begun, verdict } = landed;
        match verdict {
            Verdict::Accepted { status, said } => {
                self.well();
                self.pace.delivered();
                self.refusals.taken(&letter.key);
                self.show();
                Mark::Settled(Receipted { at: self.clock.now().wall, status, said })
            }
            Verdict::Refused { why, how } => self.refused(&letter, why, how, begun),
            Verdict::TryAgain { why, after } => self.failed(&letter, why, after, begun),
        }
    }

    fn refused(&mut self, letter: &Letter, why: Hindrance, how: Refusal, begun: Instant) -> Mark {
        let now = Instant::now();
        let hurried = self.pace.afford();
        match self.refusals.note(letter, &why, how, hurried, now) {
            Next::Again { times, until } => {
                self.well();
                self.show();
                if times == 1 {
                    let Letter { key, event_id: event, .. } = letter;
                    warn!(endpoint = %self.id, alarm = %key, event, why = why.said.en, "Endpoint refuses a letter; it is offered again.");
                } else if times == UNREADABLE {
                    self.call_somebody(letter, &why);
                }
                Mark::PutOff { why, at: self.clock.now().wall, next_at: self.label(until) }
            }
            Next::NothingIsTaken { .. } => {
                let (zh, en) = (&why.said.zh, &why.said.en);
                let all = text!("接连拒收：{zh}", "it refuses one letter after the other: {en}");
                self.failed(letter, Hindrance::new(HindranceKind::RefusesAll, all), None, begun)
            }
            // who checks our times refuses whatever we write: no letter is given up for that
            Next::SetAside { .. } if self.unset => {
                let (zh, en) = (&why.said.zh, &why.said.en);
                let told = text!(
                    "{zh}（本机时钟还没有设定，对方可能因此拒收；设定后会再送）",
                    "{en} (this box's clock is not set, which may be why: it is offered again until it is)"
                );
                self.failed(letter, Hindrance::new(why.kind, told), None, begun)
            }
            Next::SetAside { times } => {
                self.well();
                self.show();
                self.tell_set_aside(letter, &why, times);
                Mark::SetAside { why, at: self.clock.now().wall }
            }
        }
    }

    fn call_somebody(&self, letter: &Letter, why: &Hindrance) {
        let Letter { key, event_id: event, .. } = letter;
        error!(
            endpoint = %self.id, alarm = %key, event, why = why.said.en,
            "Endpoint keeps refusing a letter. It is offered again for some hours and then set aside; what comes later of this \
             alarm waits behind it, all else goes on. Have the receiver take it, or correct `accept` of this endpoint in the \
             site file."
        );
    }

    fn tell_set_aside(&self, letter: &Letter, why: &Hindrance, times: u32) {
        let Letter { key, event_id: event, row, .. } = letter;
        error!(
            endpoint = %self.id, alarm = %key, event, letter = row, why = why.said.en, times,
            "A letter is set aside: its receiver refuses it. It is kept, what comes later goes on. When the receiver can \
             take it, or `accept` is corrected: `gatehouse delivery retry`."
        );
    }

    fn failed(&mut self, letter: &Letter, why: Hindrance, after: Option<Duration>, begun: Instant) -> Mark {
        let (now, wall) = (Instant::now(), self.clock.now().wall);
        self.tell_failing(&why);
        self.pace.failed(begun, now, wall, after, (self.chance)());
        let next_at = self.label(self.pace.due(letter.priority, now));
        let since = self.pace.outage_since().unwrap_or(wall);
        self.state.send_replace(EndpointState::Failing { since, why: why.clone(), next_try: next_at });
        Mark::PutOff { why, at: wall, next_at }
    }

    /// Once an outage, and once for each kind of trouble that follows the other.
    fn tell_failing(&self, why: &Hindrance) {
        if let EndpointState::Failing { why: before, .. } = &*self.state.borrow()
            && (before.kind == why.kind || !why.kind.needs_somebody())
        {
            return;
        }
        let (kind, said) = (why.kind.word(), &why.said.en);
        match why.kind.needs_somebody() {
            true => {
                let advice = why.kind.advice().en;
                error!(endpoint = %self.id, kind, why = said, advice, "Endpoint takes nothing until somebody mends this.");
            }
            false => warn!(endpoint = %self.id, kind, why = said, "Endpoint is failing."),
        }
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
            Some((alarms, why)) => EndpointState::Refusing { alarms, why: why.clone() },
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
                    select! {
                        () = at(Some(Instant::now() + ROOM)) => {}
                        () = stop.cancelled() => {}
                    }
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
            Mark::PutOff { why, at, next_at } => self.store.put_off(row, why.clone(), *at, *next_at).await,
            Mark::SetAside { why, at } => self.store.set_aside(row, why.clone(), *at).await,
        }
    }

    /// The wall clock's label for a moment to come.
    fn label(&self, at: Instant) -> Timestamp {
        let wall = self.clock.now().wall;
        wall.checked_add(at.saturating_duration_since(Instant::now())).unwrap_or(wall)
    }
}

/// What a drill shows holds for letters too: if it got through, they need not wait any longer.
fn try_out<E: Endpoint>(endpoint: &Arc<E>, bell: &Bell) -> TryOut {
    let (endpoint, bell) = (Arc::clone(endpoint), bell.clone());
    Arc::new(move |letter| {
        let (endpoint, bell) = (Arc::clone(&endpoint), bell.clone());
        Box::pin(async move {
            let verdict = endpoint.deliver(&letter).await;
            if matches!(verdict, Verdict::Accepted { .. }) {
                bell.ring();
            }
            verdict
        })
    })
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
