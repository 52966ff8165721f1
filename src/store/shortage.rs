//! Rows of `telemetry.db` that are lost: written down in the transaction that gives them up, until a loss_report tells of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{losses::Untold, patrol};
use crate::domain::{Loss, LossClass, LossReason};

/// So many are told in one report.
const REPORTED: i64 = 200;

/// Of one device, or of nobody knows whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Empty: nobody knows.
    pub device: String,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub rows: i64,
    /// Else so many at least.
    pub exact: bool,
}

impl Missing {
    pub fn of(device: &str) -> Self {
        Self { device: device.to_owned(), from_ms: None, to_ms: None, rows: 0, exact: true }
    }

    /// So many at least, of anybody.
    pub fn of_nobody(rows: i64) -> Self {
        Self { rows, exact: false, ..Self::of("") }
    }

    /// A block, which has one row at least.
    pub fn add(&mut self, (from_ms, to_ms): (i64, i64), rows: Option<i64>) {
        self.from_ms = Some(self.from_ms.map_or(from_ms, |known| known.min(from_ms)));
        self.to_ms = Some(self.to_ms.map_or(to_ms, |known| known.max(to_ms)));
        self.rows = self.rows.saturating_add(rows.unwrap_or(1));
        self.exact &= rows.is_some();
    }
}

pub(super) fn write(conn: &Connection, missing: &Missing) -> rusqlite::Result<()> {
    let Missing { device, from_ms, to_ms, rows, exact } = missing;
    conn.prepare_cached("INSERT INTO lost (device, from_ms, to_ms, rows, exact) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![device, from_ms, to_ms, rows, exact])
        .map(drop)
}

/// The oldest that nobody was told of.
pub(super) fn untold(conn: &Connection) -> rusqlite::Result<Vec<Untold>> {
    conn.prepare_cached(
        "SELECT number, device, from_ms, to_ms, rows, exact FROM lost ORDER BY number LIMIT ?1",
    )?
    .query_map([REPORTED], |row| {
        let moment = |at| row.get::<_, Option<i64>>(at).map(|ms| Timestamp::from_millisecond(ms?).ok());
        let device: String = row.get(1)?;
        let loss = Loss {
            subject: Some(device).filter(|device| !device.is_empty()),
            count: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
            at_least: !row.get::<_, bool>(5)?,
            from: moment(2)?,
            to: moment(3)?,
            ..Loss::of(LossClass::Readings, LossReason::Damaged)
        };
        Ok(Untold { number: row.get(0)?, loss })
    })?
    .collect()
}

pub(super) fn told(conn: &Connection, numbers: &[i64]) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    for number in numbers {
        tx.prepare_cached("DELETE FROM lost WHERE number = ?1")?.execute([number])?;
    }
    tx.commit()
}

/// Lets go of blocks that are damaged indeed. How many rows.
pub(super) fn give_up(conn: &mut Connection, blocks: &[i64]) -> rusqlite::Result<u64> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut missing: BTreeMap<String, Missing> = BTreeMap::new();
    for id in blocks {
        let found = tx
            .prepare_cached(
                "SELECT ifnull((SELECT device FROM series WHERE series.id = block.series), ''), from_ms, to_ms, rows, sum, bytes
                 FROM block WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let whole = patrol::is_whole(row.get(4)?, row.get_ref(5)?.as_blob()?);
                Ok((row.get::<_, String>(0)?, (row.get(1)?, row.get(2)?), row.get(3)?, whole))
            })
            .optional()?;
        let Some((device, span, rows, false)) = found else { continue };
        missing.entry(device).or_insert_with_key(|device| Missing::of(device)).add(span, Some(rows));
        tx.prepare_cached("DELETE FROM block WHERE id = ?1")?.execute([id])?;
    }
    missing.values().try_for_each(|missing| write(&tx, missing))?;
    tx.commit()?;
    Ok(missing.values().map(|missing| u64::try_from(missing.rows).unwrap_or(0)).sum())
}
