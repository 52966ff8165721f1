//! What this process writes to the flash: counted by the kernel, kept by the days of the site's calendar.

use std::{fs, ops::Range};

use rusqlite::{Connection, params};

use super::{
    Settings,
    packed::tally::{Calendar, Span},
};

/// A pace is told from so many of the latest whole days.
const PACE_DAYS: i64 = 30;
const DAYS_A_YEAR: f64 = 365.25;

/// How much was written, and how much may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlashUse {
    /// Bytes since midnight.
    pub today: u64,
    /// Bytes a day, of the latest whole days; `None` before the first is over.
    pub pace: Option<f64>,
    /// Bytes since counting began.
    pub total: u64,
    pub per_day: Option<u64>,
    pub endurance: Option<u64>,
}

impl FlashUse {
    /// How long the flash lasts at this pace, if its endurance is stated.
    pub fn years_left(&self) -> Option<f64> {
        let left = self.endurance?.saturating_sub(self.total) as f64;
        let pace = self.pace.filter(|pace| *pace > 0.0)?;
        Some(left / pace / DAYS_A_YEAR)
    }
}

/// Counts on; the file learns of it when something else is written anyway.
pub(super) struct Meter {
    calendar: Calendar,
    counted: Option<u64>,
    /// Not in the file yet.
    unsaved: u64,
    day: Range<i64>,
    known: FlashUse,
}

impl Meter {
    pub(super) fn new(settings: &Settings) -> Self {
        let [per_day, endurance] =
            [settings.flash_per_day, settings.flash_endurance].map(|size| size.map(|size| size.0));
        Self {
            calendar: Calendar(settings.timezone.clone()),
            counted: written(),
            unsaved: 0,
            day: 0..0,
            known: FlashUse { per_day, endurance, ..FlashUse::default() },
        }
    }

    /// `now_ms` is what the latest row is labelled.
    pub(super) fn look(&mut self, conn: &Connection, now_ms: i64) -> rusqlite::Result<FlashUse> {
        if !self.day.contains(&now_ms) {
            self.save(conn)?;
            self.day = self.calendar.around(Span::Day, now_ms);
            self.recall(conn)?;
        }
        let written = written();
        let more = written.zip(self.counted).map_or(0, |(now, then)| now.saturating_sub(then));
        self.counted = written.or(self.counted);
        self.unsaved += more;
        self.known.today += more;
        self.known.total += more;
        Ok(self.known)
    }

    /// With what is written at this moment anyway.
    pub(super) fn save(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if self.unsaved > 0 && !self.day.is_empty() {
            conn.prepare_cached(
                "INSERT INTO flash (day_ms, bytes) VALUES (?1, ?2)
                 ON CONFLICT (day_ms) DO UPDATE SET bytes = bytes + excluded.bytes",
            )?
            .execute(params![self.day.start, i64::try_from(self.unsaved).unwrap_or(i64::MAX)])?;
            self.unsaved = 0;
        }
        Ok(())
    }

    fn recall(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let bytes = |row: &rusqlite::Row| Ok(row.get::<_, i64>(0)?.unsigned_abs());
        let today = self.day.start;
        self.known.today =
            conn.query_row("SELECT ifnull(sum(bytes), 0) FROM flash WHERE day_ms = ?1", [today], bytes)?
                + self.unsaved;
        self.known.total =
            conn.query_row("SELECT ifnull(sum(bytes), 0) FROM flash", [], bytes)? + self.unsaved;
        self.known.pace = conn.query_row(
            "SELECT avg(bytes) FROM (SELECT bytes FROM flash WHERE day_ms < ?1 ORDER BY day_ms DESC LIMIT ?2)",
            params![today, PACE_DAYS],
            |row| row.get(0),
        )?;
        Ok(())
    }
}

/// What the kernel has counted for this process; `None` where it does not count.
fn written() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}
