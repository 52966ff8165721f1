//! What was given up, written down in the transaction that gives it up, until a loss_report tells of it.

use rusqlite::{Connection, Row, Transaction, params};

use super::columns::Count;
use crate::domain::{Loss, LossClass, LossReason};

/// So many are told in one report.
const REPORTED: i64 = 200;

/// A loss that nobody was told of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    pub number: i64,
    pub loss: Loss,
}

pub(super) fn write(conn: &Connection, loss: &Loss) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO loss (endpoint, class, reason, subject, first_seq, last_seq, count)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        loss.endpoint.as_ref().map_or("", |endpoint| endpoint.as_str()),
        loss.class.word(),
        loss.reason.word(),
        loss.subject.as_deref().unwrap_or_default(),
        Count(loss.first_seq),
        Count(loss.last_seq),
        Count(loss.count),
    ])
    .map(drop)
}

/// The oldest that nobody was told of.
pub(super) fn untold(conn: &Connection) -> rusqlite::Result<Vec<Untold>> {
    conn.prepare_cached(
        "SELECT number, endpoint, class, reason, subject, first_seq, last_seq, count FROM loss ORDER BY number LIMIT ?1",
    )?
    .query_map([REPORTED], read)?
    .collect()
}

fn read(row: &Row) -> rusqlite::Result<Untold> {
    let text = |at| row.get::<_, String>(at).map(|text| Some(text).filter(|text| !text.is_empty()));
    let (class, reason) = (row.get::<_, String>(2)?, row.get::<_, String>(3)?);
    let class = LossClass::ALL.into_iter().find(|known| known.word() == class);
    let reason = LossReason::ALL.into_iter().find(|known| known.word() == reason);
    let loss = Loss {
        endpoint: text(1)?.map(Into::into),
        subject: text(4)?,
        first_seq: row.get::<_, Count>(5)?.0,
        last_seq: row.get::<_, Count>(6)?.0,
        count: row.get::<_, Count>(7)?.0,
        ..Loss::of(class.unwrap_or(LossClass::Alarms), reason.unwrap_or(LossReason::NotStored))
    };
    Ok(Untold { number: row.get(0)?, loss })
}

pub(super) fn told(tx: &Transaction, numbers: &[i64]) -> rusqlite::Result<()> {
    let mut gone = tx.prepare_cached("DELETE FROM loss WHERE number = ?1")?;
    numbers.iter().try_for_each(|number| gone.execute([number]).map(drop))
}
