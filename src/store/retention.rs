//! What goes from `telemetry.db`, and when: by age, by size, in small steps, never the newest.

use std::time::Instant;

use rusqlite::{Connection, params};

use super::{Settings, open};

/// One step of deleting; takes some milliseconds.
const STEP_ROWS: i64 = 2000;
/// A lowered limit gives pages back by this many at a time.
const STEP_PAGES: i64 = 256;
/// Calendar age deletes at most a day of readings a day, so a clock that jumps to 2038 erases nothing to speak of.
const ALLOWANCE_MAX_MS: i64 = 86_400_000;

pub(super) struct Retention {
    keep_ms: i64,
    max_pages: i64,
    /// How much recorded time age may still delete, and since when that was counted.
    allowance_ms: i64,
    counted: Instant,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    pub aged: usize,
    pub crowded: usize,
    pub more: bool,
}

impl Retention {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            keep_ms: i64::try_from(settings.telemetry_keep.0.as_millis()).unwrap_or(i64::MAX),
            max_pages: open::pages(settings.telemetry_max),
            allowance_ms: 0,
            counted: now,
        }
    }

    /// `newest_ms` is what the latest row is labelled: age is told by the readings themselves.
    pub(super) fn step(
        &mut self,
        conn: &Connection,
        newest_ms: i64,
        now: Instant,
    ) -> rusqlite::Result<Evicted> {
        let aged = self.by_age(conn, newest_ms, now)?;
        let crowded = if used_pages(conn)? > self.comfortable() { delete_oldest(conn)? } else { 0 };
        let shrinks = self.shrink(conn)?;
        let more = aged == STEP_ROWS as usize || crowded > 0 || shrinks;
        Ok(Evicted { aged, crowded, more })
    }

    /// A tenth stays free: what is written between two steps finds room.
    fn comfortable(&self) -> i64 {
        self.max_pages - self.max_pages / 10
    }

    fn by_age(&mut self, conn: &Connection, newest_ms: i64, now: Instant) -> rusqlite::Result<usize> {
        let elapsed = i64::try_from(now.duration_since(self.counted).as_millis()).unwrap_or(i64::MAX);
        self.allowance_ms = self.allowance_ms.saturating_add(elapsed).min(ALLOWANCE_MAX_MS);
        self.counted = now;
        let Some(oldest) = oldest_ms(conn)? else { return Ok(0) };
        let before = newest_ms.saturating_sub(self.keep_ms).min(oldest.saturating_add(self.allowance_ms));
        if oldest >= before {
            return Ok(0);
        }
        let gone = conn
            .prepare_cached(
                "DELETE FROM row WHERE seq IN (SELECT seq FROM row WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)
                 AND seq < (SELECT max(seq) FROM row)",
            )?
            .execute(params![before, STEP_ROWS])?;
        let reached = oldest_ms(conn)?.unwrap_or(before).min(before);
        self.allowance_ms -= reached - oldest;
        Ok(gone)
    }

    /// Free pages are used again, not given back: moving the newest rows into them would write everything twice.
    /// Only a file beyond its limit (which was lowered) shrinks.
    fn shrink(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let free = pragma(conn, "freelist_count")?;
        if pragma(conn, "page_count")? <= self.max_pages || free == 0 {
            return Ok(false);
        }
        let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
        let mut pages = statement.query([])?;
        while pages.next()?.is_some() {}
        Ok(true)
    }
}

/// By the order in which they were stored, whatever the clock said then. The newest row stays, so that `seq` never
/// starts anew.
pub(super) fn delete_oldest(conn: &Connection) -> rusqlite::Result<usize> {
    conn.prepare_cached(
        "DELETE FROM row WHERE seq IN (SELECT seq FROM row ORDER BY seq LIMIT ?1)
         AND seq < (SELECT max(seq) FROM row)",
    )?
    .execute([STEP_ROWS])
}

fn oldest_ms(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT min(at_ms) FROM row")?.query_row([], |row| row.get(0))
}

fn used_pages(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(pragma(conn, "page_count")? - pragma(conn, "freelist_count")?)
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}
