//! A damaged `telemetry.db`: a new one is begun at once, so that nothing waits, and what can be read of the old one is brought into
//! it, some pages at a time between two commits. What a page held that cannot be read is known from the index, which says of each
//! block whose it is, from when to when, and of how many rows.
//!
//! Meanwhile the old one is called `telemetry.db.rescued`. How far it has come is written in the same transaction as what came: a kill
//! costs nothing and doubles nothing. In the end it is put aside.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tracing::{info, warn};

use super::{
    carve::{Carver, Cell, Column},
    error::{Access, File, StoreError},
    packed::tally::{Calendar, Span, Tally},
    packer, patrol, quarantine, rollup, samples,
    shortage::{self, Missing},
    sum,
};

const RESCUED: &str = "telemetry.db.rescued";
/// Pages of one step; takes some milliseconds. Three times as long it rests then.
const STEP_PAGES: u32 = 64;
/// `rescue.pages` once all of it is done.
const ALL: i64 = i64::MAX;
const HOUR_MS: i64 = 3_600_000;

/// The damaged file gives up its name. False if an earlier one is still being read: then this one is only put aside.
///
/// # Errors
/// `Io` if it cannot be moved.
pub(super) fn begin(dir: &Path) -> Result<bool, StoreError> {
    let (path, rescued) = (dir.join(File::Telemetry.name()), dir.join(RESCUED));
    if rescued.exists() {
        quarantine::put_aside(dir, File::Telemetry, &path)?;
        return Ok(false);
    }
    quarantine::rename(&path, &rescued)?;
    Ok(true)
}

pub(super) struct Rescue {
    path: PathBuf,
    carver: Carver,
    calendar: Calendar,
    facts: Facts,
    /// By what they were called in the old file.
    series_now: HashMap<i64, i64>,
    pass: Pass,
    /// The next page of the pass.
    next: u32,
    /// What stands from this page on stays where it is.
    until: u32,
    /// When the next step is due.
    pub at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// What there is.
    Survey,
    /// Whose it is.
    Names,
    Bring,
    /// The tail, and what is lost.
    End,
}

/// What the pages say that can be read.
#[derive(Default)]
struct Facts {
    series: HashMap<i64, Named>,
    /// Up to which slot of the tail all is in blocks.
    packed: Option<i64>,
    /// With its `seq`.
    slots: BTreeMap<i64, (i64, Vec<u8>)>,
    /// Blocks, by id, as the index and they themselves list them.
    listed: HashMap<i64, Listed>,
    /// On which page those are that are whole.
    whole: HashMap<i64, u32>,
    /// Hours that begin a day, and on which page they are: a day whose readings are all of its first hour looks the same.
    first_hours: HashMap<(i64, i64), u32>,
}

struct Named {
    device: String,
    /// JSON, as it stood.
    points: String,
    codec: i64,
}

#[derive(Clone, Copy)]
struct Listed {
    series: i64,
    from_ms: i64,
    to_ms: i64,
    /// An older index does not say.
    rows: Option<i64>,
}

impl Rescue {
    /// The rescue that is to go on in `conn`, if one is.
    ///
    /// # Errors
    /// `Io` if the damaged file cannot be opened; what SQLite says of the new one.
    pub fn found(dir: &Path, conn: &Connection, calendar: &Calendar) -> Result<Option<Self>, StoreError> {
        let sql = StoreError::sql(File::Telemetry);
        let path = dir.join(RESCUED);
        let done = conn.query_row("SELECT pages FROM rescue", [], |row| row.get::<_, i64>(0)).optional();
        let done = done.map_err(sql)?;
        if done == Some(ALL) && path.exists() {
            quarantine::put_aside(dir, File::Telemetry, &path)?;
        }
        if !path.exists() {
            if done.is_some() {
                conn.execute("DELETE FROM rescue", []).map_err(sql)?;
            }
            return Ok(None);
        }
        let carver =
            Carver::open(&path).map_err(|source| StoreError::io("read", &path, Access::Read, source))?;
        Ok(Some(Self {
            path,
            until: carver.pages() + 1,
            carver,
            calendar: calendar.clone(),
            facts: Facts::default(),
            series_now: HashMap::new(),
            pass: Pass::Survey,
            next: 1,
            at: Instant::now(),
        }))
    }

    /// There is no room for more of it: what is not there yet is lost.
    pub fn cut_off(&mut self) {
        if self.pass == Pass::Bring {
            warn!("There is no room for more of the damaged telemetry.db: the rest of it stays where it is.");
            self.until = self.next;
        }
    }

    /// One step. True once it is at the end; after an error the same step is tried again.
    ///
    /// # Errors
    /// As SQLite gives them.
    pub fn step(&mut self, conn: &mut Connection) -> rusqlite::Result<bool> {
        let begun = Instant::now();
        let ended = match self.pass {
            Pass::Survey => self.survey(),
            Pass::Names => self.name(conn)?,
            Pass::Bring => self.bring(conn)?,
            Pass::End => self.end(conn)?,
        };
        self.at = Instant::now() + (begun.elapsed() * 3).max(Duration::from_millis(2));
        Ok(ended)
    }

    /// After [`Self::step`] said that it is at the end.
    ///
    /// # Errors
    /// `Io` if the damaged file cannot be moved; the next start tries again.
    pub fn put_aside(self, dir: &Path) -> Result<(), StoreError> {
        quarantine::put_aside(dir, File::Telemetry, &self.path).map(drop)
    }

    fn survey(&mut self) -> bool {
        let end = self.next.saturating_add(STEP_PAGES).min(self.until);
        for page in self.next..end {
            for cell in self.carver.on_page(page) {
                self.facts.note(&cell, page, &self.calendar);
            }
        }
        self.next = end;
        if self.next == self.until {
            self.pass = Pass::Names;
        }
        false
    }

    fn name(&mut self, conn: &mut Connection) -> rusqlite::Result<bool> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut series_now = HashMap::new();
        for (id, Named { device, points, codec }) in &self.facts.series {
            let key = params![device, points, codec];
            tx.prepare_cached("INSERT OR IGNORE INTO series (device, points, codec) VALUES (?1, ?2, ?3)")?
                .execute(key)?;
            let now = tx
                .prepare_cached("SELECT id FROM series WHERE device = ?1 AND points = ?2 AND codec = ?3")?
                .query_row(key, |row| row.get(0))?;
            series_now.insert(*id, now);
        }
        tx.execute("INSERT OR IGNORE INTO rescue (only, pages) VALUES (1, 0)", [])?;
        let done: i64 = tx.query_row("SELECT pages FROM rescue", [], |row| row.get(0))?;
        tx.commit()?;
        self.series_now = series_now;
        self.next = u32::try_from(done).unwrap_or(0).saturating_add(1).min(self.until);
        self.pass = Pass::Bring;
        Ok(false)
    }

    fn bring(&mut self, conn: &mut Connection) -> rusqlite::Result<bool> {
        let end = self.next.saturating_add(STEP_PAGES).min(self.until);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for page in self.next..end {
            for cell in self.carver.on_page(page) {
                self.bring_one(&tx, &cell, page)?;
            }
        }
        tx.execute("UPDATE rescue SET pages = ?1", [end - 1])?;
        tx.commit()?;
        self.next = end;
        if self.next >= self.until {
            self.pass = Pass::End;
        }
        Ok(false)
    }

    fn bring_one(&self, tx: &Transaction, cell: &Cell, page: u32) -> rusqlite::Result<()> {
        use Column::{Blob, Integer, Null, Text};
        match (cell.rowid, &cell.columns[..]) {
            (
                Some(id),
                [Null, Integer(series), Integer(from), Integer(to), Integer(rows), Blob(bytes), ..],
            ) if self.facts.whole.get(&id) == Some(&page) => {
                let Some(series) = self.series_now.get(series) else { return Ok(()) };
                tx.prepare_cached(
                    "INSERT OR IGNORE INTO block (id, series, from_ms, to_ms, rows, bytes, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![self.facts.id_now(id), series, from, to, rows, bytes, sum::of(bytes)])
                .map(drop)
            }
            (
                Some(_),
                [Integer(from), Integer(series), Blob(a), Blob(b), Blob(c), Blob(d), Blob(e), Blob(f)],
            ) => {
                let Some(now) = self.series_now.get(series) else { return Ok(()) };
                let Ok(tallies) = rollup::from_columns(*from, [a, b, c, d, e, f]) else { return Ok(()) };
                let span = self.facts.span(*from, *series, &tallies, page);
                rollup::fold(tx, span, *now, *from, &tallies)
            }
            (Some(seq), [Null, Integer(at), Integer(series), Blob(row)]) if samples::decode(row).is_ok() => {
                let Some(series) = self.series_now.get(series) else { return Ok(()) };
                tx.prepare_cached(
                    "INSERT OR IGNORE INTO row (seq, at_ms, series, samples) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![seq, at, series, row])
                .map(drop)
            }
            // flash; `rescue` has the number 1
            (Some(day @ 2..), [Null, Integer(bytes)]) => tx
                .prepare_cached("INSERT OR IGNORE INTO flash (day_ms, bytes) VALUES (?1, ?2)")?
                .execute(params![day, bytes])
                .map(drop),
            (
                Some(_),
                [
                    Null,
                    Text(device),
                    from @ (Integer(_) | Null),
                    to @ (Integer(_) | Null),
                    Integer(rows),
                    Integer(exact),
                ],
            ) => shortage::write(
                tx,
                &Missing {
                    device: device.clone(),
                    from_ms: integer(from),
                    to_ms: integer(to),
                    rows: *rows,
                    exact: *exact == 1,
                },
            ),
            _ => Ok(()),
        }
    }

    fn end(&mut self, conn: &mut Connection) -> rusqlite::Result<bool> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let facts = &self.facts;
        let packed = facts.packed.unwrap_or(i64::MAX);
        let slots = facts.slots.values().filter(|(seq, _)| *seq > packed);
        let slots: Vec<Vec<u8>> = slots.map(|(_, bytes)| bytes.clone()).collect();
        let damage =
            packer::pack_slots(&tx, &slots, &self.calendar, |series| self.series_now.get(&series).copied())?;
        let mut missing = facts.missing(self.until);
        // Where the tail began nobody knows: it may be in blocks already.
        let tail = u64::from(facts.packed.is_none() && !facts.slots.is_empty());
        let unnamed = damage.frames + damage.rows + tail;
        if unnamed > 0 || facts.is_nothing() {
            missing.push(Missing::of_nobody(i64::try_from(unnamed.max(1)).unwrap_or(i64::MAX)));
        }
        missing.iter().try_for_each(|missing| shortage::write(&tx, missing))?;
        tx.execute("UPDATE rescue SET pages = ?1", [ALL])?;
        tx.commit()?;
        let lost: i64 = missing.iter().map(|missing| missing.rows).sum();
        info!(
            blocks = facts.whole.values().filter(|page| **page < self.until).count(),
            lost,
            devices = missing.len(),
            "What could be read of the damaged telemetry.db is in the new one."
        );
        Ok(true)
    }
}

impl Facts {
    fn note(&mut self, cell: &Cell, page: u32, calendar: &Calendar) {
        use Column::{Blob, Integer, Null, Text};
        match (cell.rowid, &cell.columns[..]) {
            (Some(id), [Null, Text(device), Text(points), Integer(codec)]) => {
                let named = Named { device: device.clone(), points: points.clone(), codec: *codec };
                self.series.insert(id, named);
            }
            (Some(1), [Integer(seq)]) => self.packed = self.packed.max(Some(*seq)),
            (Some(slot), [Null, Integer(seq), Blob(bytes)]) => {
                self.slots.insert(slot, (*seq, bytes.clone()));
            }
            // the index of schema 4, and the one before
            (None, [Integer(from), Integer(series), Integer(to), Integer(rows), Integer(id)]) => {
                self.list(*id, *series, (*from, *to), Some(*rows));
            }
            (None, [Integer(from), Integer(series), Integer(to), Integer(id)]) => {
                self.list(*id, *series, (*from, *to), None);
            }
            (
                Some(id),
                [Null, Integer(series), Integer(from), Integer(to), Integer(rows), Blob(bytes), sum @ ..],
            ) => {
                self.list(id, *series, (*from, *to), Some(*rows));
                if patrol::is_whole(sum.first().and_then(integer), bytes) {
                    self.whole.entry(id).or_insert(page);
                }
            }
            (
                Some(_),
                [Integer(from), Integer(series), Blob(a), Blob(b), Blob(c), Blob(d), Blob(e), Blob(f)],
            ) => {
                let short = rollup::from_columns(*from, [a, b, c, d, e, f])
                    .is_ok_and(|tallies| !is_longer_than_an_hour(*from, &tallies));
                if short && calendar.around(Span::Day, *from).start == *from {
                    self.first_hours.entry((*from, *series)).or_insert(page);
                }
            }
            _ => {}
        }
    }

    fn list(&mut self, id: i64, series: i64, (from_ms, to_ms): (i64, i64), rows: Option<i64>) {
        let listed = self.listed.entry(id).or_insert(Listed { series, from_ms, to_ms, rows });
        listed.rows = listed.rows.or(rows);
    }

    /// Before all that is packed meanwhile, in the order they had: so they are the first to go when there is no room.
    fn id_now(&self, id: i64) -> i64 {
        let latest = self.listed.keys().max().copied().unwrap_or(0);
        id.saturating_sub(latest).saturating_sub(1)
    }

    fn span(&self, from_ms: i64, series: i64, tallies: &[Tally], page: u32) -> Span {
        let first = self.first_hours.get(&(from_ms, series));
        if is_longer_than_an_hour(from_ms, tallies) || first.is_some_and(|first| *first != page) {
            Span::Day
        } else {
            Span::Hour
        }
    }

    /// Of each device what is listed and not whole, or stands from page `until` on.
    fn missing(&self, until: u32) -> Vec<Missing> {
        // What is older than the oldest there is was deleted, and stands in a page that was never used again.
        let oldest = self.whole.keys().min().copied().unwrap_or(i64::MIN);
        let mut missing: BTreeMap<&str, Missing> = BTreeMap::new();
        for (id, listed) in &self.listed {
            if *id < oldest || self.whole.get(id).is_some_and(|page| *page < until) {
                continue;
            }
            let device = self.series.get(&listed.series).map_or("", |named| &named.device);
            missing
                .entry(device)
                .or_insert_with(|| Missing::of(device))
                .add((listed.from_ms, listed.to_ms), listed.rows);
        }
        missing.into_values().collect()
    }

    fn is_nothing(&self) -> bool {
        self.series.is_empty() && self.listed.is_empty()
    }
}

fn is_longer_than_an_hour(from_ms: i64, tallies: &[Tally]) -> bool {
    tallies.iter().any(|tally| tally.count > 0 && tally.last_ms.saturating_sub(from_ms) >= HOUR_MS)
}

fn integer(column: &Column) -> Option<i64> {
    if let Column::Integer(integer) = column { Some(*integer) } else { None }
}
