//! The writing side of `telemetry.db`: batches into the tail, the tail into blocks, old ones out, and a file that is not
//! believed after it failed. One that is damaged is replaced by a new one at once; what can be read of it follows ([`super::rescue`]).

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use tracing::{debug, error, info};

use super::{
    Catalogue, CatalogueEntry, Settings, ballast,
    columns::Json,
    error::{File, StoreError},
    flash::{FlashUse, Meter},
    losses::Untold,
    open::{self, Synchronous},
    packed::{
        CODEC,
        batch::Batch,
        tail::{Slot, Tail},
        tally::Calendar,
    },
    packer::{self, Damage},
    patrol::{self, Found},
    rescue::{self, Rescue},
    retention::{self, Retention},
    shortage::{self, Missing},
};

/// What a power cut may take: a commit is on the disk itself once a later one was that waited for the disk …
const SYNC_EVERY: Duration = Duration::from_secs(25);
/// … or, if none came, after a checkpoint.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(30);
const LOOK_AT_FLASH_EVERY: Duration = Duration::from_secs(30);
/// The tail becomes blocks when it is this old …
const PACK_EVERY: Duration = Duration::from_secs(3600);
/// … or has so many slots (2 MiB): the longer a block, the smaller its readings; but readers read the tail from its beginning …
const PACK_SLOTS: i64 = 512;
/// … or so many times that, if by its labels it is younger than this (a clock that steps is early or late by no more): each packing sums up
/// hours and days anew for every device, however little it has …
const PACK_SLOTS_TIMES: i64 = 4;
const PACK_NOT_BEFORE_MS: i64 = 60_000;
/// … or this part of what the file may have.
const PACK_SHARE: i64 = 64;
/// When there was no room for blocks, it is tried again after this.
const PACK_AGAIN: Duration = Duration::from_secs(10);
/// Rarely, because a page from which some rows go is written whole.
const EVICT_EVERY: Duration = Duration::from_secs(60);
/// With so many pages (15 MiB, which `ballast` counts on) the log goes into the file. The tail's pages are written over and over: the longer
/// the log, the more often that is done in it alone.
const WAL_MAX_PAGES: i64 = 3840;
/// A small file has a log of this part of it.
const WAL_SHARE: i64 = 16;
/// How often one batch may ask older rows to make room for it.
const MAKE_ROOM_TRIES: usize = 8;

pub(super) struct Ledger {
    settings: Settings,
    catalogue: Catalogue,
    book: Option<Book>,
    meter: Meter,
    look_at: Instant,
    pub(super) evicted: u64,
    /// What was to be packed and could not be read again.
    pub(super) damage: Damage,
    /// A damaged file of which what can be read is being brought into this one.
    rescue: Option<Rescue>,
    /// One of which nothing is, and nobody was told.
    unsaved: bool,
    /// `lost` is not as it was told last.
    pub(super) lost_more: bool,
}

/// The file, open.
struct Book {
    conn: Connection,
    /// By `DeviceIx`.
    series: Vec<i64>,
    tail: Tail,
    calendar: Calendar,
    pack_slots: i64,
    pack_at: Instant,
    /// What the first rows of the tail are labelled, as far as this process has seen them.
    begun_ms: Option<i64>,
    retention: Retention,
    newest_ms: Option<i64>,
    /// Since when there is something that a power cut would take.
    unsynced_since: Option<Instant>,
    /// Since when the log has something that the file has not.
    logged_since: Option<Instant>,
    evict_at: Instant,
    crowded: bool,
}

impl Ledger {
    /// A damaged file is put aside and a new one begun: alarms do not live here.
    pub(super) fn open(settings: &Settings, catalogue: Catalogue) -> Result<Self, StoreError> {
        let mut ledger = Ledger {
            settings: settings.clone(),
            catalogue,
            book: None,
            meter: Meter::new(settings),
            look_at: Instant::now(),
            evicted: 0,
            damage: Damage::default(),
            rescue: None,
            unsaved: false,
            lost_more: false,
        };
        if let Err(StoreError::Damaged { what, .. }) = ledger.book() {
            ledger.put_aside(&what)?;
        }
        ledger.book()?;
        Ok(ledger)
    }

    fn book(&mut self) -> Result<&mut Book, StoreError> {
        let book = match self.book.take() {
            Some(book) => book,
            None => self.open_book()?,
        };
        Ok(self.book.insert(book))
    }

    fn open_book(&mut self) -> Result<Book, StoreError> {
        let book = Book::open(&self.settings, &self.catalogue)?;
        if self.unsaved {
            shortage::write(&book.conn, &Missing::of_nobody(1)).map_err(sql)?;
            self.unsaved = false;
        }
        if self.rescue.is_none() {
            self.rescue = Rescue::found(&self.settings.dir, &book.conn, &book.calendar)?;
        }
        self.lost_more = true;
        Ok(book)
    }

    /// All of `batch`, or none and the reason. A file that turns out damaged is put aside and they go into a new one;
    /// after any other failure but want of room it is opened anew with the next batch.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        match self.book()?.write_making_room(batch) {
            Err(StoreError::Damaged { what, .. }) => {
                self.put_aside(&what)?;
                self.book()?.write_making_room(batch)
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
        (self.book, self.rescue) = (None, None);
        let dir = &self.settings.dir;
        self.unsaved = !rescue::begin(dir)?;
        error!(dir = %dir.display(), what, "telemetry.db was damaged: a new one is begun, and what can be read of it is brought there.");
        Ok(())
    }

    /// What the patrol found damaged goes; what can be read of it is kept.
    pub(super) fn mend(&mut self, found: Found) {
        let outcome = match found {
            Found::File { place, .. } if place != patrol::place(&self.settings.dir) => Ok(()), // it was replaced already
            Found::File { what, .. } => self.put_aside(&what).and_then(|()| self.book().map(drop)),
            Found::Blocks(blocks) => self.give_up(&blocks),
        };
        if let Err(error) = outcome {
            error!(%error, "The damage in telemetry.db cannot be mended now; the next look finds it again.");
        }
    }

    fn give_up(&mut self, blocks: &[i64]) -> Result<(), StoreError> {
        let rows = self.book()?.making_room(|conn| shortage::give_up(conn, blocks))?;
        if rows > 0 {
            self.lost_more = true;
            error!(blocks = blocks.len(), rows, "Readings were damaged on disk and are lost.");
        }
        Ok(())
    }

    /// Losses that nobody was told of.
    pub(super) fn untold(&mut self) -> Vec<Untold> {
        self.lost_more = false;
        let found = self.book.as_ref().map(|book| shortage::untold(&book.conn));
        found.and_then(Result::ok).unwrap_or_default()
    }

    /// A report tells of these losses now.
    pub(super) fn told(&mut self, numbers: &[i64]) {
        let Some(book) = self.book.as_ref().filter(|_| !numbers.is_empty()) else { return };
        if let Err(error) = shortage::told(&book.conn, numbers) {
            debug!(%error, "Losses of readings that were told will be told again.");
        }
        self.lost_more = true;
    }

    /// One step, if one is due.
    fn go_on_rescuing(&mut self, now: Instant) -> Result<(), StoreError> {
        let (Some(book), Some(rescue)) = (&mut self.book, &mut self.rescue) else { return Ok(()) };
        if now < rescue.at {
            return Ok(());
        }
        if ballast::is_low(&self.settings) {
            rescue.cut_off();
        }
        let ended = match book.making_room(|conn| rescue.step(conn)) {
            Err(StoreError::Full { .. }) => {
                rescue.cut_off();
                rescue.at = now + PACK_AGAIN;
                return Ok(());
            }
            ended => ended?,
        };
        book.logged(now);
        if ended && let Some(rescue) = self.rescue.take() {
            book.checkpoint().map_err(sql)?; // what was brought is on the disk before the old file goes away
            rescue.put_aside(&self.settings.dir)?;
            self.lost_more = true;
        }
        Ok(())
    }

    /// When [`Self::housekeep`] has something to do next.
    pub(super) fn next_chore(&self) -> Option<Instant> {
        let book = self.book.as_ref()?;
        let rescue = self.rescue.as_ref().map(|rescue| rescue.at);
        let chores =
            book.unsynced_since.map(|since| (since + CHECKPOINT_AFTER).min(book.evict_at).min(book.pack_at));
        [rescue, chores].into_iter().flatten().min()
    }

    /// A checkpoint if one is due, one step of eviction if one is due.
    pub(super) fn housekeep(&mut self, now: Instant) {
        if let Err(error) = self.go_on_rescuing(now) {
            error!(%error, "What is in the damaged telemetry.db cannot be saved now.");
            (self.book, self.rescue) = (None, None); // the next batch goes on with it
        }
        let Some(book) = &mut self.book else { return };
        let packed = book.pack_if_due(now, &mut self.meter);
        let chores = packed.and_then(|damage| {
            self.damage += damage;
            book.chores(now, ballast::is_low(&self.settings)).map_err(sql)
        });
        match chores {
            Ok(gone) => self.evicted += gone,
            Err(error) => {
                error!(%error, "Housekeeping of telemetry.db failed.");
                self.book = None; // the next batch finds out how bad it is
            }
        }
    }

    /// How much has been written to the flash, if it is time to look.
    pub(super) fn look_at_flash(&mut self, now: Instant) -> Option<FlashUse> {
        let book = self.book.as_ref()?;
        let newest_ms = book.newest_ms.filter(|_| now >= self.look_at)?;
        self.look_at = now + LOOK_AT_FLASH_EVERY;
        match self.meter.look(&book.conn, newest_ms) {
            Ok(known) => Some(known),
            Err(error) => {
                debug!(%error, "What was written to the flash is not known.");
                None
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_rescuing(&self) -> bool {
        self.rescue.is_some()
    }

    #[cfg(test)]
    pub(super) fn checkpoint(&mut self) {
        self.book().unwrap().checkpoint().unwrap();
    }

    #[cfg(test)]
    pub(super) fn pack(&mut self) {
        let Some(book) = &mut self.book else { panic!("it is open") };
        self.damage += book.pack(&mut self.meter).unwrap();
    }

    pub(super) fn close(mut self) -> Result<(), StoreError> {
        let Some(book) = self.book else { return Ok(()) };
        let saved = book.newest_ms.map_or(Ok(()), |newest_ms| {
            self.meter.look(&book.conn, newest_ms)?;
            self.meter.save(&book.conn)
        });
        if let Err(error) = saved {
            debug!(%error, "What was written to the flash is not written down.");
        }
        open::checkpoint_all(&book.conn)
            .and_then(|()| book.conn.close().map_err(|(_, error)| error))
            .map_err(sql)
    }
}

impl Book {
    fn open(settings: &Settings, catalogue: &[CatalogueEntry]) -> Result<Self, StoreError> {
        let mut conn =
            open::writer(&settings.dir, File::Telemetry, Synchronous::Normal, settings.telemetry_max)?;
        clear_log(&conn).map_err(sql)?;
        open::let_log_grow(&conn, WAL_MAX_PAGES.min(open::pages(settings.telemetry_max) / WAL_SHARE))
            .map_err(sql)?;
        let series = register(&mut conn, catalogue).map_err(sql)?;
        let tail = tail(&conn, catalogue.len()).map_err(sql)?;
        let now = Instant::now();
        Ok(Book {
            conn,
            series,
            tail,
            calendar: Calendar(settings.timezone.clone()),
            pack_slots: PACK_SLOTS.min(open::pages(settings.telemetry_max) / PACK_SHARE).max(1),
            pack_at: now + PACK_EVERY,
            begun_ms: None,
            retention: Retention::new(settings, now),
            newest_ms: None,
            unsynced_since: None,
            logged_since: None,
            evict_at: now + EVICT_EVERY,
            crowded: false,
        })
    }

    fn write_making_room(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let slots = self.tail.put(batch, &self.series);
        let waits = is_due(self.unsynced_since, SYNC_EVERY, Instant::now());
        let outcome = self.making_room(|conn| match waits {
            false => write(conn, &slots),
            true => open::waiting_for_disk(conn, |conn| write(conn, &slots)),
        });
        match outcome {
            Ok(()) => self.written(batch, slots, waits),
            Err(_) => self.tail.lost(),
        }
        outcome
    }

    fn making_room<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        for tries in 0..=MAKE_ROOM_TRIES {
            match attempt(&mut self.conn).map_err(sql) {
                // To delete takes room too: that of the log, which begins anew once it is in the file.
                Err(StoreError::Full { .. }) if tries == 0 => self.checkpoint().map_err(sql)?,
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

    fn written(&mut self, batch: &Batch, slots: Vec<Slot>, waited: bool) {
        let (now, newest_ms) = (Instant::now(), batch.newest_ms());
        if self.tail.slots() == 0 {
            (self.begun_ms, self.pack_at) = (None, now + PACK_EVERY);
        }
        self.tail.kept(slots);
        self.begun_ms = self.begun_ms.or(newest_ms);
        let young = newest_ms < self.begun_ms.map(|begun| begun.saturating_add(PACK_NOT_BEFORE_MS));
        let enough = self.pack_slots * if young { PACK_SLOTS_TIMES } else { 1 };
        if self.tail.slots() >= enough && self.pack_at > now + PACK_AGAIN {
            self.pack_at = now;
        }
        self.newest_ms = newest_ms.or(self.newest_ms);
        self.logged(now);
        if waited {
            self.unsynced_since = None;
        }
    }

    /// Something was committed.
    fn logged(&mut self, now: Instant) {
        self.unsynced_since.get_or_insert(now);
        self.logged_since.get_or_insert(now);
    }

    /// The tail into blocks, if there is one.
    fn pack(&mut self, meter: &mut Meter) -> Result<Damage, StoreError> {
        if self.tail.slots() == 0 {
            return Ok(Damage::default());
        }
        let calendar = self.calendar.clone();
        let damage = self.making_room(|conn| packer::pack(conn, &calendar))?;
        self.tail.packed();
        meter.save(&self.conn).map_err(sql)?;
        Ok(damage)
    }

    /// Want of room is no reason to forget the file: the tail keeps what it has, and there is room again once older readings went.
    fn pack_if_due(&mut self, now: Instant, meter: &mut Meter) -> Result<Damage, StoreError> {
        if now < self.pack_at {
            return Ok(Damage::default());
        }
        let outcome = self.pack(meter);
        self.pack_at = now + if outcome.is_ok() { PACK_EVERY } else { PACK_AGAIN };
        match outcome {
            Err(StoreError::Full { .. }) => Ok(Damage::default()),
            outcome => outcome,
        }
    }

    /// How many rows went.
    fn chores(&mut self, now: Instant, is_low: bool) -> rusqlite::Result<u64> {
        let mut gone = 0;
        if (is_low || now >= self.evict_at)
            && let Some(newest_ms) = self.newest_ms
        {
            let step = self.retention.step(&self.conn, newest_ms, is_low, now)?;
            gone = (step.aged + step.crowded) as u64;
            if step.crowded > 0 && !self.crowded {
                info!(
                    is_low,
                    "telemetry.db is at its size limit, or the partition wants for room: the oldest readings give way."
                );
            }
            self.crowded = step.crowded > 0 || self.crowded;
            self.evict_at = if step.more { now } else { now + EVICT_EVERY };
            if is_low && step.more {
                self.checkpoint()?; // only then the room is given back
            }
        }
        // with little room left the log does not take it from the alarms
        let logged_since = self.logged_since.filter(|_| is_low);
        if [self.unsynced_since, logged_since].into_iter().any(|since| is_due(since, CHECKPOINT_AFTER, now)) {
            self.checkpoint()?;
        }
        Ok(gone)
    }

    /// As much as readers allow; what they hold back is tried again after as long.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        let left = if clear_log(&self.conn)? { None } else { Some(Instant::now()) };
        (self.unsynced_since, self.logged_since) = (left, left);
        Ok(())
    }
}

fn is_due(since: Option<Instant>, after: Duration, now: Instant) -> bool {
    since.is_some_and(|since| now >= since + after)
}

/// Brings what the log has into the file, and both to the disk. Whether that is all of it: a reader may hold some back.
/// A disk without room for it is no fault of the file.
fn clear_log(conn: &Connection) -> rusqlite::Result<bool> {
    let cleared = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
    });
    match cleared {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(false),
        cleared => cleared,
    }
}

/// A value of another type than was written, or none where there is always one, is damage too.
fn sql(source: rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, InvalidColumnType, QueryReturnedNoRows};
    let nonsense =
        matches!(source, FromSqlConversionFailure(..) | InvalidColumnType(..) | QueryReturnedNoRows);
    match nonsense {
        true => StoreError::Damaged { file: File::Telemetry, what: source.to_string() },
        false => StoreError::sql(File::Telemetry)(source),
    }
}

fn write(conn: &mut Connection, slots: &[Slot]) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut put = tx.prepare_cached(
            "INSERT INTO tail (slot, seq, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (slot) DO UPDATE SET seq = excluded.seq, bytes = excluded.bytes",
        )?;
        for slot in slots {
            put.execute(params![slot.slot, slot.seq, slot.padded()])?;
        }
    }
    crash_point!("telemetry.written");
    tx.commit()?;
    crash_point!("telemetry.done");
    Ok(())
}

/// Goes on after what is there.
fn tail(conn: &Connection, devices: usize) -> rusqlite::Result<Tail> {
    let [last_slot, last_seq, packed] = conn.query_row(
        "SELECT ifnull((SELECT max(slot) FROM tail WHERE seq > packed.seq), 0),
                max(packed.seq, ifnull((SELECT max(seq) FROM tail), 0)), packed.seq FROM packed",
        [],
        |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]),
    )?;
    debug_assert!(packed <= last_seq);
    Ok(Tail::after(devices, last_slot, last_seq))
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
