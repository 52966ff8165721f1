//! `telemetry.db`: readings, many to a commit.
//!
//! Whoever has a row leaves it in the inbox and goes on; one thread owns the file, and comes for what has gathered when
//! the group is due. It is woken about once a second, not once a row.

use std::{
    fmt, mem,
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
    open,
    packed::batch::Batch,
    packer::Damage,
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
    devices: usize,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    pressure: AtomicU8,
    dropped: AtomicU64,
    stored: AtomicU64,
    flash: Mutex<FlashUse>,
    put_aside: AtomicU64,
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
    /// A damaged file is put aside and a new one begun.
    ///
    /// # Errors
    /// `SqliteTooOld`, `Newer`, `Io`, `Migration`, or what SQLite says.
    pub fn open(settings: &Settings, catalogue: Catalogue) -> Result<Self, StoreError> {
        open::directory(&settings.dir)?;
        let devices = catalogue.len();
        let ledger = Ledger::open(settings, catalogue)?;
        let shared = Arc::new(Shared::default());
        shared.put_aside.store(ledger.put_aside, Ordering::Relaxed);
        let writer = Leaving(shared.clone());
        let thread = thread::Builder::new()
            .name("telemetry.db".to_owned())
            .spawn(move || serve(&writer.0, ledger))
            .map_err(|source| StoreError::Io {
                doing: "start the writer of",
                path: settings.dir.clone(),
                source,
            })?;
        Ok(Self(Arc::new(Door { shared, thread: Mutex::new(Some(thread)), devices })))
    }

    /// In the place of one that cannot be opened: every row is lost and counted, and the alarms go on.
    pub fn absent(devices: usize) -> Self {
        let shared = Arc::new(Shared::default());
        shared.inbox().absent = true;
        Self(Arc::new(Door { shared, thread: Mutex::new(None), devices }))
    }

    /// Of which nobody takes what is handed over.
    #[cfg(test)]
    pub fn without_writer(devices: usize) -> Self {
        Self(Arc::new(Door { shared: Arc::default(), thread: Mutex::new(None), devices }))
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

    /// Damaged files put aside since the start: what stood in them is lost.
    pub fn put_aside(&self) -> u64 {
        self.0.shared.put_aside.load(Ordering::Relaxed)
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
        let Some(thread) = thread else { return Err(closed()) };
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
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
            if inbox.closing || !inbox.flushes.is_empty() || wake.is_some_and(|wake| wake <= now) {
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
        Turn { receipts, flushes, closing: self.closing }
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
        shared.put_aside.store(ledger.put_aside, Ordering::Relaxed);
        let counter = if outcome.is_ok() { &shared.stored } else { &shared.dropped };
        counter.fetch_add(rows as u64, Ordering::Relaxed);
        acknowledge(turn.receipts);
        for flush in turn.flushes {
            if flush.send(echo(&outcome)).is_err() {
                debug!("Nobody waited for a flush of telemetry.db.");
            }
        }
        if turn.closing {
            return ledger.close();
        }
        let now = Instant::now();
        ledger.housekeep(now);
        // A frame that is damaged had at least one row.
        let Damage { frames, rows } = mem::take(&mut ledger.damage);
        shared.dropped.fetch_add(frames + rows, Ordering::Relaxed);
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
