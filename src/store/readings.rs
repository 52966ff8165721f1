//! A read-only window on `telemetry.db`: what a device gave, oldest first, a page at a time.

use std::{collections::HashMap, fmt, path::Path, sync::Arc, vec};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    columns::{Json, Millis},
    error::{File, StoreError},
    open,
    samples::{self, CODEC},
};
use crate::domain::{PointName, Quality, Sample, Value};

/// Rows in one look. Between two looks nothing is held, so whoever reads slowly does not hold up the checkpoints.
const LOOK_ROWS: i64 = 500;
/// The stretch of time one look searches, so that a look among many other devices' rows stays short too.
const LOOK_MS: i64 = 3_600_000;

pub struct TelemetryReader {
    conn: Connection,
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
        Ok(Self { conn: open::reader(dir, File::Telemetry)? })
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
    /// asked, in constant memory, and sees rows that are stored meanwhile.
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
        let series = self.series(device).map_err(StoreError::sql(File::Telemetry))?;
        Ok(Readings {
            conn: &self.conn,
            device: Arc::from(device),
            wanted: point.map(PointName::from),
            series: series.into_iter().map(|series| (series.id, series.points)).collect(),
            after: Place { at_ms: from.as_millisecond().saturating_sub(1), series: i64::MAX, seq: i64::MAX },
            to_ms: to.as_millisecond(),
            page: Vec::new().into_iter(),
            ended: false,
        })
    }

    /// The latest first.
    fn series(&self, device: &str) -> rusqlite::Result<Vec<Series>> {
        self.conn
            .prepare("SELECT id, points FROM series WHERE device = ?1 AND codec = ?2 ORDER BY id DESC")?
            .query_map(params![device, CODEC], |row| {
                let Json(points) = row.get(1)?;
                Ok(Series { id: row.get(0)?, points })
            })?
            .collect()
    }
}

type Points = Vec<(PointName, Arc<str>)>;

struct Series {
    id: i64,
    points: Points,
}

/// Readings as they come from the file.
pub struct Readings<'a> {
    conn: &'a Connection,
    device: Arc<str>,
    wanted: Option<PointName>,
    series: HashMap<i64, Points>,
    after: Place,
    to_ms: i64,
    page: vec::IntoIter<StoredReading>,
    ended: bool,
}

/// Where the last look ended, in the order of the index.
#[derive(Clone, Copy)]
struct Place {
    at_ms: i64,
    series: i64,
    seq: i64,
}

impl Iterator for Readings<'_> {
    type Item = Result<StoredReading, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(reading) = self.page.next() {
                return Some(Ok(reading));
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

const LOOK: &str = "
    SELECT at_ms, series, seq, samples FROM row
    WHERE (at_ms, series, seq) > (?1, ?2, ?3) AND at_ms <= ?4 AND series IN (SELECT id FROM series WHERE device = ?5)
    ORDER BY at_ms, series, seq LIMIT ?6";

impl Readings<'_> {
    /// One short query; then the next stretch of time that has rows at all, or the end.
    fn look(&mut self) -> rusqlite::Result<()> {
        let Place { at_ms, series, seq } = self.after;
        let end = at_ms.saturating_add(LOOK_MS).min(self.to_ms);
        let mut statement = self.conn.prepare_cached(LOOK)?;
        let mut rows = statement.query(params![at_ms, series, seq, end, &*self.device, LOOK_ROWS])?;
        let (mut page, mut count) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            self.after = Place { at_ms: row.get(0)?, series: row.get(1)?, seq: row.get(2)? };
            let blob = row.get_ref(3)?.as_blob()?;
            let samples = samples::decode(blob).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Blob, error.into())
            })?;
            let Millis(at) = row.get(0)?;
            samples.into_iter().for_each(|(point, sample)| self.add(&mut page, at, point.0.into(), sample));
            count += 1;
        }
        self.page = page.into_iter();
        if count < LOOK_ROWS {
            self.skip_to_rows_after(end)?;
        }
        Ok(())
    }

    fn add(&self, page: &mut Vec<StoredReading>, at: Timestamp, point: usize, sample: Sample) {
        let named = self.series.get(&self.after.series).and_then(|points| points.get(point));
        let Some((name, unit)) = named else { return };
        if self.wanted.as_ref().is_none_or(|wanted| wanted == name) {
            page.push(StoredReading {
                device: self.device.clone(),
                point: name.clone(),
                at,
                value: sample.value().cloned(),
                unit: unit.clone(),
                quality: sample.quality(),
            });
        }
    }

    fn skip_to_rows_after(&mut self, ms: i64) -> rusqlite::Result<()> {
        let next: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(at_ms) FROM row WHERE at_ms > ?1")?
            .query_row([ms], |row| row.get(0))?;
        match next.filter(|next| *next <= self.to_ms) {
            Some(next) => self.after = Place { at_ms: next - 1, series: i64::MAX, seq: i64::MAX },
            None => self.ended = true,
        }
        Ok(())
    }
}
