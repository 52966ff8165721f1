//! `telemetry.db`: readings, many to a commit.
//!
//! Whoever has a row leaves it in the inbox and goes on; one thread owns the file, and comes for what has gathered when
//! the group is due. It is woken about once a second, not once a row.

use std::{
    fmt, mem,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::{debug, error, info};

use super::{
    Catalogue, Row, Settings,
    error::{File, StoreError},
    flash::FlashUse,
    ledger::Ledger,
    losses::Untold,
    open,
    packed::batch::Batch,
    packer::Damage,
    patrol::{self, Found},
};
use crate::domain::{DeviceIx, PointIx, Receipt, Sample};

/// A group is committed when its first row has waited this long …
const GROUP_WAIT: Duration = Duration::from_secs(2);
/// … or this long if somebody waits for a receipt …
const RECEIPT_WAIT: Duration = Duration::from_millis(100);
/// … or when its rows take this much memory.
const GROUP_BYTES: usize = 2 << 20;
/// What waits for a slow disk. Beyond it a row is dropped and counted: polling never stands still for telemetry.
const WAITING_MAX_BYTES: usize = 16 << 20;

/// From the half on whoever hands rows over should do so more slowly, by each eighth more.
const EIGHTH_BYTES: usize = WAITING_MAX_BYTES / 8;

/// What became of a row that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Kept {
    Queued,
    /// Dropped, and counted: the disk is too slow or gone.
    Full,
}

/// The way to the writer; cheap to clone.
#[derive(Clone)]
pub struct TelemetryStore(Arc<Door>);

struct Door {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    patrol: Mutex<Option<JoinHandle<()>>>,
    devices: usize,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    /// Rings when the store is being closed.
    last_bell: Condvar,
    pressure: AtomicU8,
    dropped: AtomicU64,
    stored: AtomicU64,
    flash: Mutex<FlashUse>,
}

/// What became of a row that was handed over.
enum Taken {
    Yes,
    /// There is no room for it.
    No(Option<Receipt>),
    /// The store is being closed.
    Closing,
}

#[derive(Default)]
struct Inbox {
    batch: Batch,
    receipts: Vec<Receipt>,
    /// When they are to be committed.
    due: Option<Instant>,
    /// They are enough for a commit: it is due.
    full: bool,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// By the patrol, for the writer to mend.
    found: Vec<Found>,
    /// Losses of which nobody was told; and those that were told, which the writer does not know yet.
    lost: Vec<Untold>,
    told: Vec<i64>,
    closing: bool,
    gone: bool,
    /// There never was a file.
    absent: bool,
}

impl fmt::Debug for TelemetryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TelemetryStore")
    }
}

impl TelemetryStore {
    /// Opens or creates `telemetry.db`. The directory must be held already: open the [`super::EventStore`] first.
    /// In the place of a damaged file a new one is begun, and what can be read of it follows. Damage is also looked for beside
    /// the writer, at the start and once a day.
    ///
    /// # Errors
    /// `SqliteTooOld`, `Newer`, `Io`, `Migration`, or what SQLite says.
    pub fn open(settings: &Settings, catalogue: Catalogue) -> Result<Self, StoreError> {
        open::directory(&settings.dir)?;
        let devices = catalogue.len();
        let ledger = Ledger::open(settings, catalogue)?;
        let shared = Arc::new(Shared::default());
        let writer = Leaving(shared.clone());
        let thread = spawn("telemetry.db", settings, move || serve(&writer.0, ledger))?;
        let (beside, dir) = (shared.clone(), settings.dir.clone());
        let patrol = spawn("telemetry.look", settings, move || patrol(&beside, &dir))?;
        let (thread, patrol) = (Mutex::new(Some(thread)), Mutex::new(Some(patrol)));
        Ok(Self(Arc::new(Door { shared, thread, patrol, devices })))
    }

    /// In the place of one that cannot be opened: every row is lost and counted, and the alarms go on.
    pub fn absent(devices: usize) -> Self {
        let shared = Arc::new(Shared::default());
        shared.inbox().absent = true;
        Self(Arc::new(Door { shared, thread: Mutex::new(None), patrol: Mutex::new(None), devices }))
    }

    /// Of which nobody takes what is handed over.
    #[cfg(test)]
    pub fn without_writer(devices: usize) -> Self {
        Self(Arc::new(Door {
            shared: Arc::default(),
            thread: Mutex::new(None),
            patrol: Mutex::new(None),
            devices,
        }))
    }

    /// Hands a row over; never blocks on the disk. One without samples is not stored, its receipt only waits its turn. Its receipt is sent once it is committed, or lost and counted:
    /// a broker that is kept waiting holds back everything behind it, alarms too.
    pub fn keep(&self, row: Row) -> Kept {
        self.keep_lent(row.device, row.at, &row.samples, row.receipt)
    }

    /// The same of a row whose samples are needed again.
    pub fn keep_lent(
        &self,
        device: DeviceIx,
        at: Timestamp,
        samples: &[(PointIx, Sample)],
        receipt: Option<Receipt>,
    ) -> Kept {
        let (known, is_row) = ((device.0 as usize) < self.0.devices, !samples.is_empty());
        debug_assert!(known, "a device of the catalogue");
        let taken = match known {
            true => self.0.shared.take_in(device, at, samples, receipt),
            false => Taken::No(receipt),
        };
        match taken {
            Taken::Yes => return Kept::Queued,
            Taken::No(receipt) => {
                acknowledge(receipt);
                if !is_row {
                    return Kept::Queued;
                }
            }
            // Not acknowledged: its broker sends it again when the gateway is back.
            Taken::Closing => {}
        }
        self.0.shared.dropped.fetch_add(1, Ordering::Relaxed);
        Kept::Full
    }

    /// Returns once everything handed over before is committed, or lost and counted.
    ///
    /// # Errors
    /// `Full` or `Failed` if what was still waiting could not be committed; `Closed`.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut inbox = self.0.shared.inbox();
            if inbox.absent {
                return Ok(());
            }
            if inbox.closing {
                return Err(closed());
            }
            inbox.flushes.push(reply);
        }
        self.0.shared.bell.notify_one();
        answer.await.map_err(|_| closed())?
    }

    /// How far the writer is behind: 0 while less than half of what may wait does; 4 and more: hardly a row has room any more.
    pub fn pressure(&self) -> u8 {
        self.0.shared.pressure.load(Ordering::Relaxed)
    }

    /// Rows lost since the start: dropped at the door, or in a commit that failed.
    pub fn dropped(&self) -> u64 {
        self.0.shared.dropped.load(Ordering::Relaxed)
    }

    /// Readings that were lost to damage, and of which nobody was told.
    pub fn lost(&self) -> Vec<Untold> {
        self.0.shared.inbox().lost.clone()
    }

    /// A report that is on its way tells of these losses.
    pub fn told(&self, numbers: Vec<i64>) {
        {
            let mut inbox = self.0.shared.inbox();
            inbox.lost.retain(|lost| !numbers.contains(&lost.number));
            inbox.told.extend(numbers);
        }
        self.0.shared.bell.notify_one();
    }

    /// Rows committed since the start.
    pub fn stored(&self) -> u64 {
        self.0.shared.stored.load(Ordering::Relaxed)
    }

    /// What has been written to the flash, as it was half a minute ago at most.
    pub fn flash(&self) -> FlashUse {
        *self.0.shared.flash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what is there, brings the WAL into the file and ends the thread.
    ///
    /// # Errors
    /// `Closed` if it was; what the last checkpoint met.
    pub async fn close(self) -> Result<(), StoreError> {
        let flushed = self.flush().await;
        if self.0.shared.inbox().absent {
            return Ok(());
        }
        self.0.shared.shut();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let patrol = self.0.patrol.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(thread), Some(patrol)) = (thread, patrol) else { return Err(closed()) };
        let both = move || {
            if patrol.join().is_err() {
                error!("The patrol of telemetry.db panicked.");
            }
            thread.join()
        };
        let ended = tokio::task::spawn_blocking(both).await;
        match ended {
            Ok(Ok(outcome)) => flushed.and(outcome),
            Ok(Err(_)) | Err(_) => {
                error!("The writer of telemetry.db panicked.");
                Err(closed())
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.shut();
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    settings: &Settings,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StoreError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|source| StoreError::Io {
        doing: "start a thread for",
        path: settings.dir.clone(),
        source,
    })
}

fn closed() -> StoreError {
    StoreError::Closed { file: File::Telemetry }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut(&self) {
        self.inbox().closing = true;
        self.bell.notify_one();
        self.last_bell.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.inbox().closing
    }

    /// The patrol has found something.
    fn report(&self, found: Found) {
        self.inbox().found.push(found);
        self.bell.notify_one();
    }

    /// Whether the store is being closed, at most `wait` from now.
    fn closes_within(&self, wait: Duration) -> bool {
        let waited = self.last_bell.wait_timeout_while(self.inbox(), wait, |inbox| !inbox.closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    /// What nobody was told of, as it stands in the file now.
    fn note_lost(&self, lost: Vec<Untold>) {
        let mut inbox = self.inbox();
        let told = mem::take(&mut inbox.told);
        inbox.lost = lost;
        inbox.lost.retain(|lost| !told.contains(&lost.number));
        inbox.told = told;
    }

    /// The writer is woken only if it has to come earlier than it meant to.
    fn take_in(
        &self,
        device: DeviceIx,
        at: Timestamp,
        samples: &[(PointIx, Sample)],
        receipt: Option<Receipt>,
    ) -> Taken {
        let mut inbox = self.inbox();
        if inbox.absent {
            return Taken::No(receipt);
        }
        if inbox.closing || inbox.gone {
            return Taken::Closing;
        }
        if inbox.bytes() >= WAITING_MAX_BYTES {
            return Taken::No(receipt);
        }
        if !samples.is_empty() {
            inbox.batch.push(device.0, at.as_millisecond(), samples);
        }
        let is_awaited = receipt.is_some();
        inbox.receipts.extend(receipt);
        self.pressure.store(inbox.pressure(), Ordering::Relaxed);
        let filled = !inbox.full && inbox.bytes() >= GROUP_BYTES;
        inbox.full |= filled;
        // Most rows come while a group is open, and need no look at the clock.
        if inbox.due.is_none() || filled || is_awaited {
            let wait = match (filled, is_awaited) {
                (true, _) => Duration::ZERO,
                (false, true) => RECEIPT_WAIT,
                (false, false) => GROUP_WAIT,
            };
            let due = Instant::now() + wait;
            if inbox.due.is_none_or(|known| due < known) {
                inbox.due = Some(due);
                self.bell.notify_one();
            }
        }
        Taken::Yes
    }

    /// Waits until a group is due, somebody flushes or closes, or `chore` has come. What is to be written then is in `batch`, which is
    /// empty before.
    fn wait(&self, chore: Option<Instant>, batch: &mut Batch) -> Turn {
        let mut inbox = self.inbox();
        loop {
            let now = Instant::now();
            let wake = [inbox.due, chore].into_iter().flatten().min();
            let asked = inbox.closing
                || !inbox.flushes.is_empty()
                || !inbox.found.is_empty()
                || !inbox.told.is_empty();
            if asked || wake.is_some_and(|wake| wake <= now) {
                let turn = inbox.turn(now, batch);
                self.pressure.store(inbox.pressure(), Ordering::Relaxed);
                return turn;
            }
            inbox = match wake {
                Some(wake) => {
                    self.bell.wait_timeout(inbox, wake - now).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait(inbox).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// What the writer takes with it, beside the rows.
struct Turn {
    receipts: Vec<Receipt>,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    found: Vec<Found>,
    told: Vec<i64>,
    closing: bool,
}

impl Inbox {
    fn bytes(&self) -> usize {
        self.batch.bytes() + self.receipts.len() * mem::size_of::<Receipt>()
    }

    fn pressure(&self) -> u8 {
        u8::try_from(self.bytes() / EIGHTH_BYTES).unwrap_or(u8::MAX).saturating_sub(3)
    }

    fn turn(&mut self, now: Instant, batch: &mut Batch) -> Turn {
        debug_assert!(batch.is_empty());
        let flushes = mem::take(&mut self.flushes);
        let take = self.closing || !flushes.is_empty() || self.due.is_some_and(|due| due <= now);
        let mut receipts = Vec::new();
        if take {
            // the two change places again and again, so that neither asks for memory anew
            mem::swap(&mut self.batch, batch);
            receipts = mem::take(&mut self.receipts);
            (self.full, self.due) = (false, None);
        }
        let (found, told) = (mem::take(&mut self.found), mem::take(&mut self.told));
        Turn { receipts, flushes, found, told, closing: self.closing }
    }
}

/// However the thread ends, nobody waits for it any more.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox();
        inbox.gone = true;
        inbox.closing = true;
        inbox.flushes.clear();
        self.0.last_bell.notify_all();
    }
}

/// The other thread.
fn patrol(shared: &Arc<Shared>, dir: &Path) {
    loop {
        let beside = Arc::clone(shared);
        match patrol::look(dir, move || beside.is_closing()) {
            Ok(None) => debug!("telemetry.db is sound."),
            Ok(Some(found)) => shared.report(found),
            Err(error) => debug!(%error, "telemetry.db was not looked at to its end."),
        }
        if shared.closes_within(patrol::EVERY) {
            return;
        }
    }
}

/// The thread.
fn serve(shared: &Shared, mut ledger: Ledger) -> Result<(), StoreError> {
    let mut failing = false;
    let mut batch = Batch::default();
    loop {
        let turn = shared.wait(ledger.next_chore(), &mut batch);
        let rows = batch.rows();
        let outcome = if rows == 0 { Ok(()) } else { ledger.write(&batch) };
        batch.clear();
        report(&outcome, &mut failing, rows);
        let counter = if outcome.is_ok() { &shared.stored } else { &shared.dropped };
        counter.fetch_add(rows as u64, Ordering::Relaxed);
        acknowledge(turn.receipts);
        for flush in turn.flushes {
            if flush.send(echo(&outcome)).is_err() {
                debug!("Nobody waited for a flush of telemetry.db.");
            }
        }
        turn.found.into_iter().for_each(|found| ledger.mend(found));
        ledger.told(&turn.told);
        if turn.closing {
            return ledger.close();
        }
        let now = Instant::now();
        ledger.housekeep(now);
        // A frame that is damaged had at least one row.
        let Damage { frames, rows } = mem::take(&mut ledger.damage);
        shared.dropped.fetch_add(frames + rows, Ordering::Relaxed);
        if ledger.lost_more {
            shared.note_lost(ledger.untold());
        }
        if let Some(known) = ledger.look_at_flash(now) {
            *shared.flash.lock().unwrap_or_else(PoisonError::into_inner) = known;
        }
    }
}

/// Only now may a broker forget these messages.
fn acknowledge(receipts: impl IntoIterator<Item = Receipt>) {
    for receipt in receipts {
        if receipt.send(()).is_err() {
            debug!("Nobody waited for the receipt of a stored row.");
        }
    }
}

/// Says it once when it begins and once when it is over.
fn report(outcome: &Result<(), StoreError>, failing: &mut bool, rows: usize) {
    match outcome {
        Err(error) => {
            if !mem::replace(failing, true) {
                error!(%error, rows, "Readings are being lost: telemetry.db cannot be written.");
            }
        }
        Ok(()) => {
            if rows > 0 && mem::replace(failing, false) {
                info!("Readings are being stored again.");
            }
        }
    }
}

/// The same outcome, for one more who asks.
fn echo(outcome: &Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(StoreError::Full { file }) => Err(StoreError::Full { file: *file }),
        Err(error) => Err(StoreError::Failed { file: File::Telemetry, why: error.to_string() }),
    }
}
