//! What goes from `telemetry.db`, and when: by age, by size, in small steps, never the newest.

use std::time::Instant;

use rusqlite::{Connection, params};

use super::{
    Settings, open,
    packed::tally::{Calendar, Span, Tallies},
    rollup, samples,
};
use crate::domain::Period;

/// One step of deleting; takes some milliseconds.
const STEP_ROWS: i64 = 2000;
const STEP_BLOCKS: i64 = 32;
const STEP_SPANS: i64 = 200;
/// A lowered limit gives pages back by this many at a time.
const STEP_PAGES: i64 = 256;
/// On a partition that wants for room this part of what the file may have is left of the readings: the latest are worth as much as ever.
const LEFT_WHEN_LOW: i64 = 8;
/// Calendar age deletes at most a day of readings a day, so a clock that jumps to 2038 erases nothing to speak of.
const ALLOWANCE_MAX_MS: i64 = 86_400_000;
/// Want of room takes hours and days only once less than this is left of the readings themselves.
const READINGS_FIRST_MS: i64 = 86_400_000;

pub(super) struct Retention {
    readings: Age,
    hours: Age,
    days: Age,
    max_pages: i64,
    calendar: Calendar,
}

/// How old something may grow.
struct Age {
    keep_ms: i64,
    /// How long one is: it goes whole, so it goes when its end is old enough and as much time has passed.
    length_ms: i64,
    /// How much recorded time age may still delete, and since when that was counted.
    allowance_ms: i64,
    counted: Instant,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    /// Rows.
    pub aged: usize,
    pub crowded: usize,
    pub more: bool,
}

impl Age {
    fn new(keep: Period, length_ms: i64, counted: Instant) -> Self {
        let keep_ms = i64::try_from(keep.0.as_millis()).unwrap_or(i64::MAX);
        Self { keep_ms, length_ms, allowance_ms: 0, counted }
    }

    /// What is older than this may go, if anything may.
    fn before(&mut self, oldest: Option<i64>, newest_ms: i64, now: Instant) -> Option<i64> {
        let elapsed =
            i64::try_from(now.saturating_duration_since(self.counted).as_millis()).unwrap_or(i64::MAX);
        self.allowance_ms = self.allowance_ms.saturating_add(elapsed).min(ALLOWANCE_MAX_MS);
        self.counted = now;
        let oldest = oldest?;
        let old = newest_ms.saturating_sub(self.keep_ms).saturating_sub(self.length_ms - 1);
        let whole = self.allowance_ms / self.length_ms * self.length_ms;
        let before = old.min(oldest.saturating_add(whole));
        (oldest < before).then_some(before)
    }

    fn used(&mut self, oldest: Option<i64>, now_oldest: Option<i64>, before: i64) {
        let reached = now_oldest.unwrap_or(before).min(before);
        self.allowance_ms -= reached.saturating_sub(oldest.unwrap_or(reached)).max(0);
    }
}

impl Retention {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            readings: Age::new(settings.telemetry_keep, 1, now),
            hours: Age::new(settings.hourly_keep, 3_600_000, now),
            days: Age::new(settings.daily_keep, 86_400_000, now),
            max_pages: open::pages(settings.telemetry_max),
            calendar: Calendar(settings.timezone.clone()),
        }
    }

    /// `newest_ms` is what the latest row is labelled: age is told by the readings themselves. While the partition `is_low` readings give
    /// room back, before alarms want for it.
    pub(super) fn step(
        &mut self,
        conn: &Connection,
        newest_ms: i64,
        is_low: bool,
        now: Instant,
    ) -> rusqlite::Result<Evicted> {
        let (aged, mut more) = self.by_age(conn, newest_ms, now)?;
        more |= spans_by_age(conn, Span::Hour, &mut self.hours, newest_ms, now)?;
        more |= spans_by_age(conn, Span::Day, &mut self.days, newest_ms, now)?;
        let most = if is_low { self.max_pages / LEFT_WHEN_LOW } else { self.comfortable() };
        let crowded = if used_pages(conn)? > most { delete_oldest(conn)? } else { 0 };
        let shrinks = self.shrink(conn, is_low)?;
        Ok(Evicted { aged, crowded, more: more || crowded > 0 || shrinks })
    }

    /// A tenth stays free: what is written between two steps finds room.
    fn comfortable(&self) -> i64 {
        self.max_pages - self.max_pages / 10
    }

    /// How many rows went, and whether there are more.
    fn by_age(&mut self, conn: &Connection, newest_ms: i64, now: Instant) -> rusqlite::Result<(usize, bool)> {
        let oldest = oldest_ms(conn)?;
        let Some(before) = self.readings.before(oldest, newest_ms, now) else { return Ok((0, false)) };
        let tx = conn.unchecked_transaction()?;
        sum_up_rows(conn, &self.calendar, before)?;
        let rows = conn
            .prepare_cached(
                "DELETE FROM row WHERE seq IN (SELECT seq FROM row WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
            )?
            .execute(params![before, STEP_ROWS])?;
        let old = "SELECT id FROM block WHERE from_ms < ?1 AND to_ms < ?1 ORDER BY from_ms LIMIT ?2";
        let (blocks, packed) = delete_blocks(conn, old, &[&before, &STEP_BLOCKS])?;
        tx.commit()?;
        self.readings.used(oldest, oldest_ms(conn)?, before);
        Ok((rows + packed, rows == STEP_ROWS as usize || blocks == STEP_BLOCKS as usize))
    }

    /// Free pages are used again, not given back: moving the newest rows into them would write everything twice.
    /// Only a file beyond its limit (which was lowered) shrinks, and one on a partition that wants for room.
    fn shrink(&self, conn: &Connection, is_low: bool) -> rusqlite::Result<bool> {
        let free = pragma(conn, "freelist_count")?;
        if free == 0 || !is_low && pragma(conn, "page_count")? <= self.max_pages {
            return Ok(false);
        }
        let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
        let mut pages = statement.query([])?;
        while pages.next()?.is_some() {}
        Ok(true)
    }
}

/// Rows of schema 1 were summed up by nobody yet; those that go next are, in the same transaction.
fn sum_up_rows(conn: &Connection, calendar: &Calendar, before: i64) -> rusqlite::Result<()> {
    let mut statement = conn
        .prepare_cached("SELECT at_ms, series, samples FROM row WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2")?;
    let mut rows = statement.query(params![before, STEP_ROWS])?;
    let mut by_series = std::collections::BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (at_ms, series): (i64, i64) = (row.get(0)?, row.get(1)?);
        let [hours, days] = by_series
            .entry(series)
            .or_insert_with(|| [Span::Hour, Span::Day].map(|span| Tallies::new(calendar.clone(), span)));
        for (point, sample) in samples::decode(row.get_ref(2)?.as_blob()?).unwrap_or_default() {
            hours.add(at_ms, point, &sample);
            days.add(at_ms, point, &sample);
        }
    }
    for (series, [mut hours, mut days]) in by_series {
        for (span, tallies) in [(Span::Hour, hours.take()), (Span::Day, days.take())] {
            for (from_ms, tallies) in tallies {
                rollup::fold(conn, span, series, from_ms, &tallies)?;
            }
        }
    }
    Ok(())
}

fn spans_by_age(
    conn: &Connection,
    span: Span,
    age: &mut Age,
    newest_ms: i64,
    now: Instant,
) -> rusqlite::Result<bool> {
    let table = rollup::table(span);
    let oldest =
        || conn.prepare_cached(&format!("SELECT min(from_ms) FROM {table}"))?.query_row([], |row| row.get(0));
    let was: Option<i64> = oldest()?;
    let Some(before) = age.before(was, newest_ms, now) else { return Ok(false) };
    let sql = format!(
        "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE from_ms < ?1 ORDER BY from_ms LIMIT ?2)"
    );
    let gone = conn.prepare_cached(&sql)?.execute(params![before, STEP_SPANS])?;
    age.used(was, oldest()?, before);
    Ok(gone == STEP_SPANS as usize)
}

/// By the order in which they were stored, whatever the clock said then: rows of schema 1 (which nobody sums up now: that would need
/// room), then blocks. Hours and days go only
/// when hardly any readings are left. How many rows went; of hours and days, how many of them.
pub(super) fn delete_oldest(conn: &Connection) -> rusqlite::Result<usize> {
    let rows = conn
        .prepare_cached("DELETE FROM row WHERE seq IN (SELECT seq FROM row ORDER BY seq LIMIT ?1)")?
        .execute([STEP_ROWS])?;
    if rows > 0 {
        return Ok(rows);
    }
    if readings_span(conn)? < READINGS_FIRST_MS {
        for span in [Span::Hour, Span::Day] {
            let table = rollup::table(span);
            let sql = format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY from_ms LIMIT ?1)
                 AND (SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT ?2)) = ?2"
            );
            // The latest stay: they are written over and over, and are few.
            let gone = conn.prepare_cached(&sql)?.execute(params![STEP_SPANS, 10 * STEP_SPANS])?;
            if gone > 0 {
                return Ok(gone);
            }
        }
    }
    let (_, packed) = delete_blocks(conn, "SELECT id FROM block ORDER BY id LIMIT ?1", &[&STEP_BLOCKS])?;
    Ok(packed)
}

/// How many blocks went, and how many rows with them.
fn delete_blocks(
    conn: &Connection,
    which: &str,
    params: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<(usize, usize)> {
    let rows: Vec<i64> = conn
        .prepare_cached(&format!("DELETE FROM block WHERE id IN ({which}) RETURNING rows"))?
        .query_map(params, |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok((rows.len(), rows.iter().sum::<i64>() as usize))
}

fn readings_span(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(
        "SELECT ifnull((SELECT max(from_ms) FROM block) - (SELECT min(from_ms) FROM block), 0)",
    )?
    .query_row([], |row| row.get(0))
}

fn oldest_ms(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let oldest = |table: &str, column: &str| {
        conn.prepare_cached(&format!("SELECT min({column}) FROM {table}"))?
            .query_row([], |row| row.get::<_, Option<i64>>(0))
    };
    Ok([oldest("row", "at_ms")?, oldest("block", "from_ms")?].into_iter().flatten().min())
}

fn used_pages(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(pragma(conn, "page_count")? - pragma(conn, "freelist_count")?)
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}
