//! The writing side of `telemetry.db`: batches in, old rows out, and a file that is not believed after it failed.

use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};
use tracing::{error, info};

use super::{
    Catalogue, CatalogueEntry, Settings,
    columns::Json,
    error::{File, StoreError},
    open::{self, Synchronous},
    quarantine,
    retention::{self, Retention},
    samples::CODEC,
};
use crate::domain::{DeviceIx, Receipt};

/// What a power cut may take: commits are on the disk itself only after the next checkpoint.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
/// Rarely, because a page from which some rows go is written whole.
const EVICT_EVERY: Duration = Duration::from_secs(60);
/// Should 30 s of readings ever be more than this (16 MiB), a checkpoint comes earlier.
const WAL_MAX_PAGES: i64 = 4096;
/// How often one batch may ask older rows to make room for it.
const MAKE_ROOM_TRIES: usize = 8;

/// A row on its way, already in the bytes that are stored.
pub(super) struct Entry {
    pub device: DeviceIx,
    pub at_ms: i64,
    pub samples: Vec<u8>,
    pub receipt: Option<Receipt>,
}

impl Entry {
    /// Else it is only a receipt that waits for the rows before it.
    pub(super) fn is_row(&self) -> bool {
        !self.samples.is_empty()
    }
}

pub(super) struct Ledger {
    settings: Settings,
    catalogue: Catalogue,
    book: Option<Book>,
    pub(super) evicted: u64,
    /// Damaged files that were put aside.
    pub(super) put_aside: u64,
}

/// The file, open.
struct Book {
    conn: Connection,
    /// By `DeviceIx`.
    series: Vec<i64>,
    retention: Retention,
    newest_ms: Option<i64>,
    /// Since when the WAL holds what the file does not.
    dirty_since: Option<Instant>,
    evict_at: Instant,
    crowded: bool,
}

impl Ledger {
    /// A damaged file is put aside and a new one begun: alarms do not live here.
    pub(super) fn open(settings: &Settings, catalogue: Catalogue) -> Result<Self, StoreError> {
        let mut ledger =
            Ledger { settings: settings.clone(), catalogue, book: None, evicted: 0, put_aside: 0 };
        if let Err(StoreError::Damaged { what, .. }) = ledger.book() {
            ledger.put_aside(&what)?;
        }
        ledger.book()?;
        Ok(ledger)
    }

    fn book(&mut self) -> Result<&mut Book, StoreError> {
        let book = match self.book.take() {
            Some(book) => book,
            None => Book::open(&self.settings, &self.catalogue)?,
        };
        Ok(self.book.insert(book))
    }

    /// All of `entries`, or none and the reason. A file that turns out damaged is put aside and they go into a new one;
    /// after any other failure but want of room it is opened anew with the next batch.
    pub(super) fn write(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        match self.book()?.write_making_room(entries) {
            Err(StoreError::Damaged { what, .. }) => {
                self.put_aside(&what)?;
                self.book()?.write_making_room(entries)
            }
            Err(StoreError::Full { file }) => Err(StoreError::Full { file }),
            Err(error) => {
                self.book = None;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn put_aside(&mut self, what: &str) -> Result<(), StoreError> {
        self.book = None;
        let dir = &self.settings.dir;
        quarantine::put_aside(dir, File::Telemetry, &dir.join(File::Telemetry.name()))?;
        self.put_aside += 1;
        error!(dir = %dir.display(), what, "telemetry.db was damaged: it is put aside and a new one begun.");
        Ok(())
    }

    /// When [`Self::housekeep`] has something to do next.
    pub(super) fn next_chore(&self) -> Option<Instant> {
        let book = self.book.as_ref()?;
        let checkpoint = book.dirty_since.map(|since| since + CHECKPOINT_EVERY)?;
        Some(checkpoint.min(book.evict_at))
    }

    /// A checkpoint if one is due, one step of eviction if one is due.
    pub(super) fn housekeep(&mut self, now: Instant) {
        let Some(book) = &mut self.book else { return };
        match book.chores(now) {
            Ok(gone) => self.evicted += gone,
            Err(error) => {
                let error = StoreError::sql(File::Telemetry)(error);
                error!(%error, "Housekeeping of telemetry.db failed.");
                self.book = None; // the next batch finds out how bad it is
            }
        }
    }

    #[cfg(test)]
    pub(super) fn checkpoint(&mut self) {
        self.book().unwrap().checkpoint().unwrap();
    }

    pub(super) fn close(self) -> Result<(), StoreError> {
        let Some(book) = self.book else { return Ok(()) };
        open::checkpoint_all(&book.conn)
            .and_then(|()| book.conn.close().map_err(|(_, error)| error))
            .map_err(StoreError::sql(File::Telemetry))
    }
}

impl Book {
    fn open(settings: &Settings, catalogue: &[CatalogueEntry]) -> Result<Self, StoreError> {
        let mut conn =
            open::writer(&settings.dir, File::Telemetry, Synchronous::Normal, settings.telemetry_max)?;
        let sql = StoreError::sql(File::Telemetry);
        conn.pragma_update(None, "wal_autocheckpoint", WAL_MAX_PAGES).map_err(sql)?;
        let series = register(&mut conn, catalogue).map_err(sql)?;
        let now = Instant::now();
        Ok(Book {
            conn,
            series,
            retention: Retention::new(settings, now),
            newest_ms: None,
            dirty_since: None,
            evict_at: now + EVICT_EVERY,
            crowded: false,
        })
    }

    fn write_making_room(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let sql = StoreError::sql(File::Telemetry);
        for _ in 0..MAKE_ROOM_TRIES {
            match self.write(entries).map_err(sql) {
                Err(StoreError::Full { .. }) => {
                    if retention::delete_oldest(&self.conn).map_err(sql)? == 0 {
                        break;
                    }
                }
                outcome => return outcome,
            }
        }
        Err(StoreError::Full { file: File::Telemetry })
    }

    fn write(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert =
                tx.prepare_cached("INSERT INTO row (at_ms, series, samples) VALUES (?1, ?2, ?3)")?;
            for entry in entries.iter().filter(|entry| entry.is_row()) {
                let series = self.series[entry.device.0 as usize];
                insert.execute(params![entry.at_ms, series, entry.samples])?;
            }
        }
        crash_point!("telemetry.written");
        tx.commit()?;
        crash_point!("telemetry.done");
        let rows = entries.iter().filter(|entry| entry.is_row());
        self.newest_ms = rows.map(|entry| entry.at_ms).max().or(self.newest_ms);
        self.dirty_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// How many rows went.
    fn chores(&mut self, now: Instant) -> rusqlite::Result<u64> {
        let mut gone = 0;
        if now >= self.evict_at
            && let Some(newest_ms) = self.newest_ms
        {
            let step = self.retention.step(&self.conn, newest_ms, now)?;
            gone = (step.aged + step.crowded) as u64;
            if step.crowded > 0 && !self.crowded {
                info!("telemetry.db is at its size limit: the oldest readings make room for new ones.");
            }
            self.crowded = step.crowded > 0 || self.crowded;
            self.evict_at = if step.more { now } else { now + EVICT_EVERY };
        }
        if self.dirty_since.is_some_and(|since| now >= since + CHECKPOINT_EVERY) {
            self.checkpoint()?;
        }
        Ok(gone)
    }

    /// As much as readers allow; what they hold back comes with the next.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        self.dirty_since = None;
        Ok(())
    }
}

/// A series for every device with its present points; those that were there already are used again.
fn register(conn: &mut Connection, catalogue: &[CatalogueEntry]) -> rusqlite::Result<Vec<i64>> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let series = catalogue.iter().map(|entry| series_of(&tx, entry)).collect::<rusqlite::Result<_>>()?;
    tx.commit()?;
    Ok(series)
}

fn series_of(conn: &Connection, entry: &CatalogueEntry) -> rusqlite::Result<i64> {
    let key = params![entry.device.as_str(), Json(&entry.points), CODEC];
    conn.prepare_cached("INSERT OR IGNORE INTO series (device, points, codec) VALUES (?1, ?2, ?3)")?
        .execute(key)?;
    conn.prepare_cached("SELECT id FROM series WHERE device = ?1 AND points = ?2 AND codec = ?3")?
        .query_row(key, |row| row.get(0))
}
