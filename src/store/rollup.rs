//! Hours and days: what the readings of a span came to, kept long after the readings themselves.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use tracing::warn;

use super::{
    packed::tally::{Span, Tally},
    samples,
};
use crate::domain::{PointIx, PointName, Sample, Value};

/// What the good readings of one point came to in one hour or day.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollup {
    pub device: Arc<str>,
    pub point: PointName,
    /// Where the hour or day begins.
    pub from: Timestamp,
    /// Good readings: nothing else counts.
    pub count: u64,
    /// Of numbers only.
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
    /// Of flags: which part of the readings was true.
    pub share: Option<f64>,
    pub last: Option<Value>,
    pub unit: Arc<str>,
}

impl Rollup {
    pub(super) fn of(
        tally: Tally,
        device: Arc<str>,
        point: PointName,
        from: Timestamp,
        unit: Arc<str>,
    ) -> Self {
        let average = tally.total.map(|total| total / tally.count as f64);
        let is_number = tally.range.is_some();
        Self {
            device,
            point,
            from,
            count: tally.count,
            min: tally.range.map(|(low, _)| low),
            max: tally.range.map(|(_, high)| high),
            mean: average.filter(|_| is_number),
            share: average.filter(|_| !is_number),
            last: tally.last,
            unit,
        }
    }
}

pub(super) fn table(span: Span) -> &'static str {
    match span {
        Span::Hour => "hour",
        Span::Day => "day",
    }
}

/// Adds to what is there already.
pub(super) fn fold(
    conn: &Connection,
    span: Span,
    series: i64,
    from_ms: i64,
    more: &[Tally],
) -> rusqlite::Result<()> {
    let mut tallies = match read(conn, span, series, from_ms) {
        // What nobody can read is written anew: else nothing of this hour could ever be packed.
        Err(rusqlite::Error::FromSqlConversionFailure(..)) => {
            warn!(series, from_ms, "What the readings of a span came to was damaged, and begins anew.");
            BTreeMap::new()
        }
        found => found?,
    };
    for (point, tally) in (0..).zip(more).filter(|(_, tally)| tally.count > 0) {
        tallies.entry(point).or_default().merge(tally);
    }
    if tallies.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO {} (from_ms, series, count, low, high, total, last, last_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (from_ms, series) DO UPDATE SET count = excluded.count, low = excluded.low, high = excluded.high,
         total = excluded.total, last = excluded.last, last_at = excluded.last_at",
        table(span)
    );
    let number = |number: f64| Some(Value::Number(number));
    conn.prepare_cached(&sql)?.execute(params![
        from_ms,
        series,
        column(&tallies, |tally| number(tally.count as f64)),
        column(&tallies, |tally| number(tally.range?.0)),
        column(&tallies, |tally| number(tally.range?.1)),
        column(&tallies, |tally| number(tally.total?)),
        column(&tallies, |tally| tally.last.clone()),
        column(&tallies, |tally| number((tally.last_ms - from_ms) as f64)),
    ])?;
    Ok(())
}

fn column(tallies: &BTreeMap<u16, Tally>, value: impl Fn(&Tally) -> Option<Value>) -> Vec<u8> {
    let samples: Vec<_> = tallies
        .iter()
        .filter_map(|(point, tally)| Some((PointIx(*point), Sample::good(value(tally)?))))
        .collect();
    samples::encode(&samples)
}

/// What stands there for `series`, by point.
pub(super) fn read(
    conn: &Connection,
    span: Span,
    series: i64,
    from_ms: i64,
) -> rusqlite::Result<BTreeMap<u16, Tally>> {
    let sql = format!(
        "SELECT count, low, high, total, last, last_at FROM {} WHERE from_ms = ?1 AND series = ?2",
        table(span)
    );
    let found = conn
        .prepare_cached(&sql)?
        .query_row(params![from_ms, series], |row| tallies(row, from_ms))
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn tallies(row: &Row, from_ms: i64) -> rusqlite::Result<BTreeMap<u16, Tally>> {
    let mut tallies = BTreeMap::new();
    for (column, set) in (0..).zip(SETTERS) {
        let blob = row.get_ref(column)?.as_blob()?;
        add_column(&mut tallies, from_ms, blob, set)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, error.into()))?;
    }
    Ok(tallies)
}

/// The same of a row's six columns of blobs; by point, from 0 on without a gap.
///
/// # Errors
/// `Unreadable` if one of them is not what [`fold`] writes.
pub(super) fn from_columns(from_ms: i64, columns: [&[u8]; 6]) -> Result<Vec<Tally>, samples::Unreadable> {
    let mut tallies = BTreeMap::new();
    for (blob, set) in columns.into_iter().zip(SETTERS) {
        add_column(&mut tallies, from_ms, blob, set)?;
    }
    let points = tallies.keys().next_back().map_or(0, |last| usize::from(*last) + 1);
    let mut all = vec![Tally::default(); points];
    tallies.into_iter().for_each(|(point, tally)| all[usize::from(point)] = tally);
    Ok(all)
}

fn add_column(
    tallies: &mut BTreeMap<u16, Tally>,
    from_ms: i64,
    blob: &[u8],
    set: Setter,
) -> Result<(), samples::Unreadable> {
    for (point, sample) in samples::decode(blob)? {
        if let Some(value) = sample.value() {
            set(tallies.entry(point.0).or_default(), value, from_ms);
        }
    }
    Ok(())
}

type Setter = fn(&mut Tally, &Value, i64);
/// In the order of the columns.
const SETTERS: [Setter; 6] = [
    |tally, value, _| tally.count = number(value) as u64,
    |tally, value, _| tally.range = Some((number(value), f64::NEG_INFINITY)),
    |tally, value, _| tally.range = tally.range.map(|(low, _)| (low, number(value))),
    |tally, value, _| tally.total = Some(number(value)),
    |tally, value, _| tally.last = Some(value.clone()),
    |tally, value, from_ms| tally.last_ms = from_ms.saturating_add(number(value) as i64),
];

fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Flag(_) | Value::Text(_) => 0.0,
    }
}
