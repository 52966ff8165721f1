//! What goes from `events.db` when it fills, in this order: delivered records, the oldest first; then, of each alarm that is not
//! urgent, the letters between its first and its latest. Never: undelivered letters of critical and high alarms or of points that
//! were given, audit.
//! Each step writes down what it took, in the same transaction.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{
    chain::{self, Pen},
    columns::Count,
    losses, open,
};
use crate::domain::{Loss, LossClass, LossReason, credit};

/// In percent of the limit: from here on room is made, and until here.
const CROWDED: f64 = 95.0;
const COMFORTABLE: f64 = 90.0;
/// Events that one step looks at; takes some tens of milliseconds.
const STEP_EVENTS: u64 = 500;
/// Alarms whose letters one step coalesces.
const STEP_ALARMS: i64 = 100;

/// In percent of `pages`.
pub(super) fn used_percent(conn: &Connection, pages: i64) -> rusqlite::Result<f64> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let used = pragma("page_count")? - pragma("freelist_count")?;
    Ok(used as f64 * 100.0 / pages.max(1) as f64)
}

/// Whether room is being made, with hysteresis.
pub(super) fn is_crowded(was: bool, used_percent: f64) -> bool {
    used_percent >= if was { COMFORTABLE } else { CROWDED }
}

/// Takes the next that may go. False if nothing may.
pub(super) fn step(conn: &mut Connection, pages: i64, pen: &Pen) -> rusqlite::Result<bool> {
    // making room takes a little: the last pages are for this
    open::limit(conn, pages)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let took = retire(&tx, pen)? || coalesce(&tx)?;
    tx.commit()?;
    Ok(took)
}

/// Still to be delivered to somebody, or part of an alarm that is not over.
const NEEDED: &str = "
    EXISTS (SELECT 1 FROM alarm a WHERE a.occurrence = e.occurrence)
    OR EXISTS (SELECT 1 FROM addressee CROSS JOIN outbox o
               WHERE o.endpoint = addressee.endpoint AND o.seq = e.seq AND o.state <> 'delivered')";
/// Leaps from endpoint to endpoint.
const ADDRESSEES: &str = "
    WITH RECURSIVE addressee (endpoint) AS (
      SELECT min(endpoint) FROM outbox
      UNION ALL
      SELECT (SELECT min(endpoint) FROM outbox WHERE endpoint > addressee.endpoint)
      FROM addressee WHERE endpoint IS NOT NULL)";

/// The chain begins behind the oldest events from now on; those that are needed stay as they are, before its beginning.
fn retire(tx: &Transaction, pen: &Pen) -> rusqlite::Result<bool> {
    let (base, last): (u64, u64) = tx.query_row("SELECT base_seq, last_seq FROM meta", [], |row| {
        Ok((row.get::<_, Count>(0)?.0, row.get::<_, Count>(1)?.0))
    })?;
    let mut until = base;
    while until + 1 < last {
        until = (until + STEP_EVENTS).min(last - 1);
        let sql = format!(
            "{ADDRESSEES} SELECT seq FROM event e WHERE seq <= ?1 AND NOT ({NEEDED}) ORDER BY seq LIMIT ?2"
        );
        let seqs = tx
            .prepare_cached(&sql)?
            .query_map(params![Count(until), Count(STEP_EVENTS)], |row| {
                row.get::<_, Count>(0).map(|seq| seq.0)
            })?
            .collect::<rusqlite::Result<Vec<u64>>>()?;
        if seqs.is_empty() {
            continue;
        }
        tx.prepare_cached(
            "UPDATE meta SET base_seq = ?1, base_hash = (SELECT hash FROM event WHERE seq = ?1)
             WHERE base_seq < ?1 AND EXISTS (SELECT 1 FROM event WHERE seq = ?1)",
        )?
        .execute([Count(until)])?;
        seqs.iter().try_for_each(|seq| forget(tx, *seq))?;
        let loss = Loss {
            first_seq: seqs[0],
            last_seq: seqs[seqs.len() - 1],
            count: seqs.len() as u64,
            ..Loss::of(LossClass::Alarms, LossReason::Retired)
        };
        losses::write(tx, &loss)?;
        chain::retire(tx, pen, until)?;
        return Ok(true);
    }
    Ok(false)
}

fn forget(tx: &Transaction, seq: u64) -> rusqlite::Result<()> {
    let of_it = format!(
        "{ADDRESSEES} SELECT o.row FROM addressee CROSS JOIN outbox o WHERE o.endpoint = addressee.endpoint AND o.seq = ?1"
    );
    let rows = tx
        .prepare_cached(&of_it)?
        .query_map([Count(seq)], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    rows.into_iter().try_for_each(|row| drop_letter(tx, row))?;
    tx.prepare_cached("DELETE FROM event WHERE seq = ?1")?.execute([Count(seq)]).map(drop)
}

fn drop_letter(tx: &Transaction, row: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM body WHERE row = ?1")?.execute([row])?;
    tx.prepare_cached("DELETE FROM outbox WHERE row = ?1")?.execute([row]).map(drop)
}

/// One alarm's undelivered letters to one endpoint.
struct Queue {
    endpoint: String,
    device: String,
    alarm: String,
    first: i64,
    latest: i64,
}

fn coalesce(tx: &Transaction) -> rusqlite::Result<bool> {
    let queues = tx
        .prepare_cached(
            "SELECT endpoint, device, alarm, min(row), max(row) FROM outbox
             WHERE state = 'queued' AND priority >= 2 AND alarm <> ?2
             GROUP BY endpoint, device, alarm HAVING count(*) > 2 LIMIT ?1",
        )?
        .query_map(params![STEP_ALARMS, credit::EVENT], |row| {
            let (endpoint, device, alarm) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Queue { endpoint, device, alarm, first: row.get(3)?, latest: row.get(4)? })
        })?
        .collect::<rusqlite::Result<Vec<Queue>>>()?;
    queues.iter().try_for_each(|queue| coalesce_one(tx, queue))?;
    Ok(!queues.is_empty())
}

fn coalesce_one(tx: &Transaction, queue: &Queue) -> rusqlite::Result<()> {
    let Queue { endpoint, device, alarm, first, latest } = queue;
    let between = tx
        .prepare_cached(
            "SELECT row, seq FROM outbox WHERE state = 'queued' AND endpoint = ?1 AND device = ?2 AND alarm = ?3
               AND row > ?4 AND row < ?5 AND priority >= 2 ORDER BY row",
        )?
        .query_map(params![endpoint, device, alarm, first, latest], |row| {
            Ok((row.get(0)?, row.get::<_, Count>(1)?.0))
        })?
        .collect::<rusqlite::Result<Vec<(i64, u64)>>>()?;
    let (Some((_, first_seq)), Some((_, last_seq))) = (between.first(), between.last()) else {
        return Ok(());
    };
    let loss = Loss {
        endpoint: Some(endpoint.as_str().into()),
        subject: Some(format!("{device}/{alarm}")),
        first_seq: *first_seq,
        last_seq: *last_seq,
        count: between.len() as u64,
        ..Loss::of(LossClass::Alarms, LossReason::Coalesced)
    };
    losses::write(tx, &loss)?;
    between.iter().try_for_each(|(row, _)| drop_letter(tx, *row))
}
