//! Readings for one endpoint that wants them: a batch at a time, from where the last confirmed one ended, beside the letters
//! and never in their way.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{select, sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Endpoint, EndpointState, Refusal, Verdict, backoff,
    readings::{self, Cursor, Cut, Origin, Visible, moment, readings_key},
};
use crate::{
    domain::{Clock, EndpointId, Letter, Priority, TimeQuality},
    store::{
        EventStore, StoreError, StoredReading, TelemetryReader, UploadCursor,
        privacy::{Privacy, is_sealed},
    },
};

/// What was read this long ago is stored by now.
const SETTLED: Duration = Duration::from_secs(10);
/// Older than this it is told as a backfill.
const LATE: Duration = Duration::from_secs(120);
/// No window is longer, so that readings of all devices go side by side.
const WINDOW: Duration = Duration::from_secs(600);
/// About so many bytes a batch.
const MOST_BYTES: usize = 64 * 1024;
/// A receiver that finds even this too long is not helped by shorter ones.
const LEAST_BYTES: usize = 2 * 1024;
/// So often a batch is offered that its receiver cannot read.
const TRIES: u32 = 3;
/// While alarms do not go, readings wait.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub struct Uploader<E> {
    pub id: EndpointId,
    pub endpoint: Arc<E>,
    pub store: EventStore,
    /// Where `telemetry.db` is.
    pub dir: PathBuf,
    /// Sorted by device.
    pub devices: Arc<[Visible]>,
    pub every: Duration,
    pub origin: Origin,
    /// Opens what is of persons, where the endpoint may have it.
    pub privacy: Option<Arc<Privacy>>,
    pub clock: Arc<dyn Clock>,
    /// Draws from 0..1, for the jitter.
    pub chance: fn() -> f64,
    /// How the letters fare.
    pub state: watch::Receiver<EndpointState>,
}

/// What a batch came to.
enum Outcome {
    Confirmed,
    /// Shorter ones may be read.
    TooMuch,
    /// Given up, and said so.
    GivenUp,
    Stopped,
}

impl<E: Endpoint> Uploader<E> {
    /// Until `stop`; the batch in hand is given up then, and goes again at the next start.
    pub async fn run(self, stop: CancellationToken) {
        let Some(mut cursor) = self.begin(&stop).await else { return };
        let mut most = MOST_BYTES;
        let mut failing = false;
        while !stop.is_cancelled() {
            let Some(timely) = self.wait_for_the_time(cursor, &stop).await else { break };
            cursor = timely;
            if !cursor.is_within_window() {
                cursor = self.open_window(cursor);
                if !cursor.is_within_window() {
                    self.rest(self.until_due(&cursor), &stop).await;
                    continue;
                }
                let Some(found) = self.overtaken(&cursor, &stop).await else { break };
                cursor = found;
            }
            let cut = match self.cut(cursor.clone(), most).await {
                Ok(cut) => cut,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(endpoint = %self.id, %error, "Readings cannot be taken from the store to be uploaded.");
                    }
                    self.rest(LOOK_AGAIN, &stop).await;
                    continue;
                }
            };
            failing = false;
            if cut.is_empty() {
                cursor = self.past_the_gap(cut.next).await;
                continue;
            }
            let backfill = self.age(cursor.until) > LATE;
            let batch = self.origin.batch(&cut, backfill);
            match self.offer(batch, &cut.next, most > LEAST_BYTES, &stop).await {
                Outcome::Confirmed | Outcome::GivenUp => {
                    self.remember(&cut.next, &stop).await;
                    cursor = cut.next;
                    most = MOST_BYTES.min(most.saturating_mul(2));
                }
                Outcome::TooMuch => most = (most / 4).max(LEAST_BYTES),
                Outcome::Stopped => break,
            }
        }
    }

    /// Where the last run stood; whoever is new begins with what is read from now on. `None` at the stop.
    async fn begin(&self, stop: &CancellationToken) -> Option<Cursor> {
        while !stop.is_cancelled() {
            match self.store.upload_cursor(&self.id).await {
                Ok(Some(known)) => return Some(known.into()),
                // from now on: when that is, nobody knows
                Ok(None) if self.clock.quality() == TimeQuality::Unset => self.rest(LOOK_AGAIN, stop).await,
                Ok(None) => {
                    let cursor = Cursor::stands_at(self.clock.now().wall.as_millisecond(), 0);
                    self.remember(&cursor, stop).await;
                    return Some(cursor);
                }
                Err(error) => {
                    debug!(endpoint = %self.id, %error, "Nobody knows how far the readings went.");
                    self.rest(LOOK_AGAIN, stop).await;
                }
            }
        }
        None
    }

    /// While nobody knows what time it is, readings have no time that is worth anything elsewhere: they stay here, and it is told
    /// which. `None` at the stop.
    async fn wait_for_the_time(&self, cursor: Cursor, stop: &CancellationToken) -> Option<Cursor> {
        if self.clock.quality() != TimeQuality::Unset {
            return Some(cursor);
        }
        warn!(endpoint = %self.id, "The clock is not set: readings stay here until it is.");
        let from = self.clock.now().wall;
        let mut to = from;
        loop {
            self.rest(LOOK_AGAIN, stop).await;
            let now = self.clock.now().wall;
            if stop.is_cancelled() {
                return None;
            }
            if self.clock.quality() != TimeQuality::Unset {
                break;
            }
            to = now;
        }
        let next = Cursor { number: cursor.number + 1, ..cursor };
        match self.offer(self.origin.loss("clock_unset", (from, to), next.number), &next, false, stop).await {
            Outcome::Stopped => return None,
            Outcome::Confirmed | Outcome::GivenUp | Outcome::TooMuch => self.remember(&next, stop).await,
        }
        Some(next)
    }

    /// A clock that leapt ahead leaves a time of which there are no readings: it is passed in one step.
    async fn past_the_gap(&self, cursor: Cursor) -> Cursor {
        if self.age(cursor.since) <= LATE {
            return cursor;
        }
        let settled = self.clock.now().wall.as_millisecond().saturating_sub(ms(SETTLED));
        let Some(first) = self.first_from(moment(cursor.since.saturating_add(1))).await else {
            return cursor;
        };
        let before = first.map_or(settled, |first| first.saturating_sub(1)).min(settled);
        if before > cursor.since { Cursor::stands_at(before, cursor.number) } else { cursor }
    }

    /// The next stretch of time whose readings are all stored. Where the clock was put back, from there on: twice is better
    /// than never.
    fn open_window(&self, cursor: Cursor) -> Cursor {
        let now = self.clock.now().wall.as_millisecond();
        if now.saturating_add(ms(LATE)) < cursor.since {
            warn!(endpoint = %self.id, "The clock was put back; readings are uploaded from its present time on.");
            return Cursor::stands_at(now, cursor.number);
        }
        let settled = now.saturating_sub(ms(SETTLED));
        if settled.saturating_sub(cursor.since) < ms(self.every) {
            return cursor;
        }
        let until = settled.min(cursor.since.saturating_add(ms(WINDOW.max(self.every))));
        Cursor { until, ..Cursor::stands_at(cursor.since, cursor.number) }
    }

    /// How long until the next window is worth a batch.
    fn until_due(&self, cursor: &Cursor) -> Duration {
        const LEAST: Duration = Duration::from_secs(1);
        let now = self.clock.now().wall.as_millisecond();
        let waited = now.saturating_sub(ms(SETTLED)).saturating_sub(cursor.since).max(0);
        let left = ms(self.every).saturating_sub(waited);
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).clamp(LEAST, self.every.max(LEAST))
    }

    fn age(&self, at: i64) -> Duration {
        let now = self.clock.now().wall.as_millisecond();
        Duration::from_millis(u64::try_from(now.saturating_sub(at)).unwrap_or(0))
    }

    /// Retention may have taken what did not go yet: that is reported before anything goes on. `None` at the stop.
    async fn overtaken(&self, cursor: &Cursor, stop: &CancellationToken) -> Option<Cursor> {
        let late = self.age(cursor.since) > LATE;
        let oldest = if late { self.oldest().await } else { None };
        // what it had before is the newest that may be gone; who never had any begins with what there is
        let had = if cursor.number > 0 { cursor.since } else { cursor.until };
        let Some(oldest) = oldest.filter(|oldest| *oldest > had) else {
            return Some(cursor.clone());
        };
        let (from, to) = (moment(cursor.since), moment(oldest));
        error!(
            endpoint = %self.id, %from, %to,
            "Readings were given up before this endpoint could have them; it is told so."
        );
        let next = Cursor::stands_at(oldest.saturating_sub(1), cursor.number + 1);
        let report = self.origin.loss("retention", (from, to), next.number);
        match self.offer(report, &next, false, stop).await {
            Outcome::Stopped => return None,
            Outcome::Confirmed | Outcome::GivenUp | Outcome::TooMuch => self.remember(&next, stop).await,
        }
        Some(next)
    }

    /// When the oldest reading is from that is still stored, of the devices that go.
    async fn oldest(&self) -> Option<i64> {
        self.first_from(Timestamp::UNIX_EPOCH).await?
    }

    /// When the first of them is from, not before `from`, if there is one. `None`: that is not known now.
    async fn first_from(&self, from: Timestamp) -> Option<Option<i64>> {
        let (dir, devices) = (self.dir.clone(), Arc::clone(&self.devices));
        let now = self.clock.now().wall;
        let look = move || -> Result<Option<i64>, StoreError> {
            let reader = TelemetryReader::open(&dir)?;
            let mut oldest = None;
            for visible in devices.iter() {
                let first = reader.readings(&visible.device, None, from, now)?.next();
                let at = first.transpose()?.map(|reading| reading.at.as_millisecond());
                oldest = [oldest, at].into_iter().flatten().min();
            }
            Ok(oldest)
        };
        spawn_blocking(look).await.ok()?.ok()
    }

    async fn cut(&self, cursor: Cursor, most: usize) -> Result<Cut, StoreError> {
        let (dir, devices) = (self.dir.clone(), Arc::clone(&self.devices));
        let privacy = self.privacy.clone();
        let work = move || {
            let reader = TelemetryReader::open(&dir)?;
            let read = |device: &str, from, to| {
                let stored = reader.readings(device, None, from, to)?;
                Ok(stored.filter_map(|reading| opened(reading, privacy.as_deref())))
            };
            readings::cut(read, &devices, &cursor, most)
        };
        spawn_blocking(work).await.unwrap_or_else(|broken| {
            error!(%broken, "Taking readings from the store broke off by a mistake in gatehouse.");
            Err(StoreError::Closed { file: crate::store::File::Telemetry })
        })
    }

    /// Offers a batch until it is confirmed, or its receiver says that it never will be. `shorter`: it could be cut shorter.
    async fn offer(
        &self,
        (event_id, body): (String, Vec<u8>),
        next: &Cursor,
        shorter: bool,
        stop: &CancellationToken,
    ) -> Outcome {
        let mut letter = Letter {
            row: 0,
            endpoint: self.id.clone(),
            event_id,
            seq: next.number,
            key: readings_key(),
            priority: Priority::Low,
            attempts: 0,
            body: body.into(),
            content_type: None,
            provisional: false,
        };
        let mut refused = 0;
        loop {
            while matches!(*self.state.borrow(), EndpointState::Failing { .. }) && !stop.is_cancelled() {
                self.rest(LOOK_AGAIN, stop).await;
            }
            let verdict = select! {
                verdict = self.endpoint.deliver(&letter) => verdict,
                () = stop.cancelled() => return Outcome::Stopped,
            };
            letter.attempts = letter.attempts.saturating_add(1);
            let failures = letter.attempts;
            let wait = match verdict {
                Verdict::Accepted { .. } => {
                    if failures > 1 {
                        info!(endpoint = %self.id, failures, "Readings go again.");
                    }
                    return Outcome::Confirmed;
                }
                Verdict::TryAgain { after, .. } => after,
                Verdict::Refused { why, how: Refusal::Unreadable } => {
                    refused += 1;
                    if shorter {
                        return Outcome::TooMuch;
                    }
                    if refused >= TRIES {
                        error!(
                            endpoint = %self.id, batch = letter.event_id, why = why.said.en,
                            "The endpoint cannot read a batch of readings; it is given up, the next ones go on."
                        );
                        return Outcome::GivenUp;
                    }
                    None
                }
                Verdict::Refused { .. } => None,
            };
            if failures == 1 {
                warn!(endpoint = %self.id, "Readings do not go now; they are kept and go later.");
            }
            let wait =
                wait.unwrap_or_else(|| backoff::after_failures(failures, Priority::Low, (self.chance)()));
            self.rest(wait, stop).await;
            if stop.is_cancelled() {
                return Outcome::Stopped;
            }
        }
    }

    /// A full disk passes; until then nothing more goes, or all of it would go twice after a crash.
    async fn remember(&self, cursor: &Cursor, stop: &CancellationToken) {
        let mut said = false;
        while let Err(error) = self.store.set_upload_cursor(&self.id, cursor.into()).await {
            if !std::mem::replace(&mut said, true) {
                warn!(endpoint = %self.id, %error, "Nobody can note how far the readings went; nothing more goes until then.");
            }
            if stop.is_cancelled() {
                return;
            }
            self.rest(LOOK_AGAIN, stop).await;
        }
    }

    async fn rest(&self, wait: Duration, stop: &CancellationToken) {
        select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// `None` if it lies under a key that is gone.
fn opened(
    reading: Result<StoredReading, StoreError>,
    privacy: Option<&Privacy>,
) -> Option<Result<StoredReading, StoreError>> {
    match reading {
        Ok(mut reading) if reading.value.as_ref().is_some_and(is_sealed) => {
            reading.value = reading.value.as_ref().and_then(|value| privacy?.open(value));
            reading.value.is_some().then_some(Ok(reading))
        }
        other => Some(other),
    }
}

fn ms(period: Duration) -> i64 {
    i64::try_from(period.as_millis()).unwrap_or(i64::MAX)
}

impl From<UploadCursor> for Cursor {
    fn from(stored: UploadCursor) -> Self {
        let UploadCursor { since, until, device, at, number } = stored;
        Self { since, until, device, at, number }
    }
}

impl From<&Cursor> for UploadCursor {
    fn from(cursor: &Cursor) -> Self {
        let Cursor { since, until, device, at, number } = cursor.clone();
        Self { since, until, device, at, number }
    }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
