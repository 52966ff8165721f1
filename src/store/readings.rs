//! A read-only window on `telemetry.db`: what a device gave, oldest first, a stretch of time at a time.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Range, RangeInclusive},
    path::Path,
    sync::Arc,
    vec,
};

use jiff::{Timestamp, tz::TimeZone};
use rusqlite::{Connection, params};

use super::{
    columns::Json,
    error::{File, StoreError},
    migrate, open,
    packed::{
        self,
        tally::{Calendar, Span, Tallies, Tally},
    },
    rollup::{self, Rollup},
    samples,
    stretch::{Found, Picking, Survey, each_unpacked, unreadable},
};
use crate::domain::{PointIx, PointName, Quality, Value};

/// Hours or days in one look.
const LOOK_SPANS: i64 = 200;

pub struct TelemetryReader {
    conn: Connection,
    /// A file of schema 1 has neither tail nor blocks.
    packed: bool,
    /// One before schema 4 has blocks without sums.
    summed: bool,
}

impl fmt::Debug for TelemetryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TelemetryReader")
    }
}

/// What one look at one point gave.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReading {
    pub device: Arc<str>,
    pub point: PointName,
    pub at: Timestamp,
    /// Present if the quality is good or stale.
    pub value: Option<Value>,
    pub unit: Arc<str>,
    pub quality: Quality,
}

impl TelemetryReader {
    /// # Errors
    /// `Missing` if nothing was ever stored in `dir`; `NotPermitted`; `Newer`; what SQLite says.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let conn = open::reader(dir, File::Telemetry)?;
        let version = migrate::version(&conn, File::Telemetry)?;
        Ok(Self { conn, packed: version > 1, summed: version > 3 })
    }

    #[cfg(test)]
    pub(super) fn series_count(&self) -> i64 {
        self.conn.query_row("SELECT count(*) FROM series", [], |row| row.get(0)).unwrap()
    }

    /// Every device that ever had a series, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn devices(&self) -> Result<Vec<String>, StoreError> {
        let look = || {
            self.conn
                .prepare("SELECT DISTINCT device FROM series ORDER BY device")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Telemetry))
    }

    /// The points `device` has or had, the present profile's first; empty if the device is unknown.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn points(&self, device: &str) -> Result<Vec<PointName>, StoreError> {
        let mut names = Vec::new();
        for series in self.series(device).map_err(StoreError::sql(File::Telemetry))? {
            for (name, _) in series.points {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// What `device` gave from `from` to `to` inclusive, oldest first; of one point, or of all. It reads as it is
    /// asked, in bounded memory, and sees rows that are stored meanwhile.
    ///
    /// # Errors
    /// What SQLite says; each item may be one too, after which there is no further.
    pub fn readings(
        &self,
        device: &str,
        point: Option<&str>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Readings<'_>, StoreError> {
        let series = self.wanted(device, point).map_err(StoreError::sql(File::Telemetry))?;
        Ok(Readings {
            conn: &self.conn,
            packed: self.packed,
            summed: self.summed,
            device: Arc::from(device),
            series,
            next_ms: from.as_millisecond(),
            to_ms: to.as_millisecond(),
            page: Vec::new().into_iter(),
            ended: false,
        })
    }

    /// What the good readings of `device` came to in each hour or day that begins between `from` and `to` inclusive, oldest first.
    /// Those that are in no block yet count too. `zone` is the site's.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn rollups(
        &self,
        device: &str,
        point: Option<&str>,
        span: Span,
        (from, to): (Timestamp, Timestamp),
        zone: &TimeZone,
    ) -> Result<Vec<Rollup>, StoreError> {
        let look = || {
            let series = self.wanted(device, point)?;
            let calendar = Calendar(zone.clone());
            let (mut from_ms, to_ms) =
                (calendar.around(span, from.as_millisecond()).start, to.as_millisecond());
            let mut found = Vec::new();
            while let Some(last) =
                self.look_at_spans(device, &series, span, &calendar, from_ms..=to_ms, &mut found)?
            {
                from_ms = last + 1;
            }
            Ok(found)
        };
        look().map_err(StoreError::sql(File::Telemetry))
    }

    /// One short look; where it ended, if there may be more.
    fn look_at_spans(
        &self,
        device: &str,
        series: &[Series],
        span: Span,
        calendar: &Calendar,
        within: RangeInclusive<i64>,
        found: &mut Vec<Rollup>,
    ) -> rusqlite::Result<Option<i64>> {
        let tx = self.conn.unchecked_transaction()?;
        let stored = self.spans(span, &within)?;
        let end = if stored.len() < LOOK_SPANS as usize { None } else { stored.last().copied() };
        let until = end.unwrap_or(*within.end());
        let mut sums: BTreeMap<i64, BTreeMap<PointName, (Tally, Arc<str>)>> = BTreeMap::new();
        for series in series {
            let until_ms = calendar.around(span, until).end;
            let mut by_span = self.unpacked(series.id, span, calendar, *within.start()..until_ms)?;
            by_span.retain(|from_ms, _| within.contains(from_ms) && *from_ms <= until);
            for from_ms in &stored {
                for (point, tally) in rollup::read(&self.conn, span, series.id, *from_ms)? {
                    let tallies = by_span.entry(*from_ms).or_default();
                    tallies.resize_with(tallies.len().max(usize::from(point) + 1), Tally::default);
                    tallies[usize::from(point)].merge(&tally);
                }
            }
            for (from_ms, tallies) in by_span {
                for (point, tally) in tallies.into_iter().enumerate().filter(|(_, tally)| tally.count > 0) {
                    let Some((name, unit)) = series.wanted(point) else { continue };
                    let sum = sums.entry(from_ms).or_default().entry(name.clone());
                    sum.or_insert_with(|| (Tally::default(), unit.clone())).0.merge(&tally);
                }
            }
        }
        tx.commit()?;
        let device: Arc<str> = device.into();
        for (from_ms, points) in sums {
            let Ok(from) = Timestamp::from_millisecond(from_ms) else { continue };
            found.extend(
                points
                    .into_iter()
                    .map(|(point, (tally, unit))| Rollup::of(tally, Arc::clone(&device), point, from, unit)),
            );
        }
        Ok(end)
    }

    /// The spans that are stored, of any device.
    fn spans(&self, span: Span, within: &RangeInclusive<i64>) -> rusqlite::Result<Vec<i64>> {
        if !self.packed {
            return Ok(Vec::new());
        }
        let table = rollup::table(span);
        let sql = format!(
            "SELECT DISTINCT from_ms FROM {table} WHERE from_ms BETWEEN ?1 AND ?2 ORDER BY from_ms LIMIT ?3"
        );
        self.conn
            .prepare_cached(&sql)?
            .query_map(params![within.start(), within.end(), LOOK_SPANS], |row| row.get(0))?
            .collect()
    }

    /// What stands in the tail, and in rows of schema 1: nobody has summed that up yet.
    fn unpacked(
        &self,
        series: i64,
        span: Span,
        calendar: &Calendar,
        within: Range<i64>,
    ) -> rusqlite::Result<BTreeMap<i64, Vec<Tally>>> {
        let mut tallies = Tallies::new(calendar.clone(), span);
        if self.packed {
            each_unpacked(&self.conn, series, &mut tallies)?;
        }
        let mut statement = self.conn.prepare_cached(
            "SELECT at_ms, samples FROM row WHERE at_ms >= ?1 AND at_ms < ?2 AND series = ?3 ORDER BY at_ms",
        )?;
        let mut rows = statement.query([within.start, within.end, series])?;
        while let Some(row) = rows.next()? {
            let at_ms = row.get(0)?;
            for (point, sample) in samples::decode(row.get_ref(1)?.as_blob()?).map_err(unreadable(1))? {
                tallies.add(at_ms, point, &sample);
            }
        }
        Ok(tallies.take())
    }

    fn wanted(&self, device: &str, point: Option<&str>) -> rusqlite::Result<Vec<Series>> {
        let mut series = self.series(device)?;
        for series in &mut series {
            series.only = point.map(PointName::from);
        }
        Ok(series)
    }

    /// The latest first.
    fn series(&self, device: &str) -> rusqlite::Result<Vec<Series>> {
        self.conn
            .prepare(
                "SELECT id, points FROM series WHERE device = ?1 AND codec IN (?2, ?3) ORDER BY id DESC",
            )?
            .query_map(params![device, samples::CODEC, packed::CODEC], |row| {
                let Json(points) = row.get(1)?;
                Ok(Series { id: row.get(0)?, points, only: None })
            })?
            .collect()
    }
}

pub(super) type Points = Vec<(PointName, Arc<str>)>;

pub(super) struct Series {
    pub id: i64,
    pub points: Points,
    only: Option<PointName>,
}

impl Series {
    pub fn is_asked(&self, name: &PointName) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }

    /// Name and unit of a point that is asked for.
    fn wanted(&self, point: usize) -> Option<&(PointName, Arc<str>)> {
        self.points.get(point).filter(|(name, _)| self.is_asked(name))
    }

    pub fn wants(&self, point: PointIx) -> bool {
        self.wanted(point.0.into()).is_some()
    }
}

/// Readings as they come from the file.
pub struct Readings<'a> {
    conn: &'a Connection,
    packed: bool,
    summed: bool,
    device: Arc<str>,
    series: Vec<Series>,
    /// Where the next look begins.
    next_ms: i64,
    to_ms: i64,
    page: vec::IntoIter<Found>,
    ended: bool,
}

impl Iterator for Readings<'_> {
    type Item = Result<StoredReading, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.page.next() {
                match self.named(found) {
                    Some(reading) => return Some(Ok(reading)),
                    None => continue,
                }
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.look() {
                self.ended = true;
                return Some(Err(StoreError::sql(File::Telemetry)(error)));
            }
        }
    }
}

impl Readings<'_> {
    fn named(&self, found: Found) -> Option<StoredReading> {
        let (name, unit) = self.series.get(found.series)?.points.get(usize::from(found.point.0))?;
        Some(StoredReading {
            device: self.device.clone(),
            point: name.clone(),
            at: Timestamp::from_millisecond(found.at_ms).ok()?,
            value: found.sample.value().cloned(),
            unit: unit.clone(),
            quality: found.sample.quality(),
        })
    }

    /// One stretch of time in one transaction, in which a row stands in a block or in the tail, never in both; or a leap to the next
    /// stretch that has anything.
    fn look(&mut self) -> rusqlite::Result<()> {
        let tx = self.conn.unchecked_transaction()?;
        let mut survey = Survey::new(self.next_ms);
        self.survey(&mut survey)?;
        let next_ms = match survey.stretch() {
            Some(length_ms) => {
                let until_ms = self.next_ms.saturating_add(length_ms - 1).min(self.to_ms);
                self.page = self.stretch(until_ms)?.into_iter();
                until_ms.saturating_add(1)
            }
            None => survey.first_beyond.unwrap_or(i64::MAX),
        };
        tx.commit()?;
        self.ended = next_ms > self.to_ms || next_ms <= self.next_ms;
        self.next_ms = next_ms;
        Ok(())
    }

    fn stretch(&self, until_ms: i64) -> rusqlite::Result<Vec<Found>> {
        let mut page = Vec::new();
        for (at, series) in self.series.iter().enumerate() {
            let mut pick = Picking {
                series: at,
                of: series,
                from_ms: self.next_ms,
                until_ms,
                at_ms: 0,
                page: &mut page,
            };
            pick.rows(self.conn)?;
            if self.packed {
                pick.blocks(self.conn, self.summed)?;
                each_unpacked(self.conn, series.id, &mut pick)?;
            }
        }
        page.sort_by_key(|found| (found.at_ms, std::cmp::Reverse(found.series)));
        Ok(page)
    }

    fn survey(&self, survey: &mut Survey) -> rusqlite::Result<()> {
        for series in &self.series {
            survey.points = series.points.iter().filter(|(name, _)| series.is_asked(name)).count() as i64;
            survey.rows(self.conn, series.id)?;
            if self.packed {
                survey.blocks(self.conn, series.id)?;
                each_unpacked(self.conn, series.id, survey)?;
            }
        }
        Ok(())
    }
}
