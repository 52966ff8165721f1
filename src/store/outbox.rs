//! The outbox: which letter is next, and what became of it.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::IgnoredAny;

use super::{
    Receipted,
    chain::{self, Pen},
    columns::{Count, Millis, Rank},
    error::{File, StoreError},
    sum,
};
use crate::domain::{AlarmKey, EndpointId, Hindrance, Letter, OccurrenceId};

/// What is kept of a receiver's or a failure's words.
const SAID_MAX_BYTES: usize = 1024;

/// A letter as it stands in the file.
pub(super) struct Stored {
    pub letter: Letter,
    /// `None`: of an earlier schema.
    pub sum: Option<i64>,
}

impl Stored {
    /// Whether its body is what was written. Without a sum: what is sent as JSON is JSON.
    pub fn is_whole(&self) -> bool {
        let Letter { body, content_type, .. } = &self.letter;
        let is_json = content_type.as_ref().is_none_or(|content_type| content_type.contains("json"));
        match self.sum {
            Some(sum) => sum == sum::of(body),
            None => !is_json || !body.starts_with(b"{") || serde_json::from_slice::<IgnoredAny>(body).is_ok(),
        }
    }
}

/// The oldest undelivered letter of each alarm; those of critical alarms that are still active first. It leaps in the
/// index from alarm to alarm, so a month of undelivered letters costs no more than the alarms they are of. (Two leaps:
/// SQLite would walk through the whole alarm it stands on for `(device, alarm) > (…)`.)
const HEADS: &str = "
    WITH RECURSIVE head (row, device, alarm) AS (
      SELECT * FROM (
        SELECT row, device, alarm FROM outbox
        WHERE endpoint = ?1 AND state = 'queued' ORDER BY device, alarm, row LIMIT 1)
      UNION ALL
      SELECT o.row, o.device, o.alarm FROM head JOIN outbox o ON o.row = coalesce(
        (SELECT row FROM outbox
         WHERE endpoint = ?1 AND state = 'queued' AND device = head.device AND alarm > head.alarm
         ORDER BY alarm, row LIMIT 1),
        (SELECT row FROM outbox
         WHERE endpoint = ?1 AND state = 'queued' AND device > head.device
         ORDER BY device, alarm, row LIMIT 1)))
    SELECT o.row, o.device, o.alarm
    FROM head JOIN outbox o USING (row) LEFT JOIN alarm a ON a.device = o.device AND a.alarm = o.alarm
    ORDER BY (o.priority = 0 AND coalesce(a.state IN ('active_unacknowledged', 'active_acknowledged'), 0)) DESC,
             o.priority, o.seq";

pub(super) fn claim(
    conn: &Connection,
    endpoint: &EndpointId,
    skip: &[AlarmKey],
) -> rusqlite::Result<Option<Stored>> {
    let mut heads = conn.prepare_cached(HEADS)?;
    let mut heads = heads.query([endpoint.as_str()])?;
    while let Some(head) = heads.next()? {
        let key = alarm_key(head, 1)?;
        if !skip.contains(&key) {
            return letter(conn, head.get(0)?, endpoint, key);
        }
    }
    Ok(None)
}

/// The oldest undelivered letter of one alarm, but for rows that are `done` without saying so yet.
pub(super) fn next_of(
    conn: &Connection,
    endpoint: &EndpointId,
    key: &AlarmKey,
    done: impl Fn(i64) -> bool,
) -> rusqlite::Result<Option<Stored>> {
    let mut rows = conn.prepare_cached(
        "SELECT row FROM outbox WHERE state = 'queued' AND endpoint = ?1 AND device = ?2 AND alarm = ?3 ORDER BY row",
    )?;
    let mut rows = rows.query([endpoint.as_str(), key.device.as_str(), key.alarm.as_str()])?;
    while let Some(row) = rows.next()? {
        let row = row.get(0)?;
        if !done(row) {
            return letter(conn, row, endpoint, key.clone());
        }
    }
    Ok(None)
}

/// Leaps from endpoint to endpoint, then asks for each open occurrence by its seqs: a long outbox costs no more.
const TOLD: &str = "
    WITH RECURSIVE addressee (endpoint) AS (
      SELECT min(endpoint) FROM outbox
      UNION ALL
      SELECT (SELECT min(endpoint) FROM outbox WHERE endpoint > addressee.endpoint)
      FROM addressee WHERE endpoint IS NOT NULL)
    SELECT a.occurrence, addressee.endpoint FROM alarm a CROSS JOIN addressee
    WHERE a.state <> 'closed' AND EXISTS (
      SELECT 1 FROM event e CROSS JOIN outbox o
      WHERE e.occurrence = a.occurrence AND o.endpoint = addressee.endpoint AND o.seq = e.seq)
    ORDER BY a.occurrence, addressee.endpoint";

/// Who was written to about each occurrence that is not closed.
pub(super) fn told(conn: &Connection) -> rusqlite::Result<Vec<(OccurrenceId, EndpointId)>> {
    let pair = |row: &Row| Ok((row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into()));
    conn.prepare(TOLD)?.query_map([], pair)?.collect()
}

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is offered until it is taken.
    Waiting,
    Delivered,
    /// The receiver will not have it, or it was never written.
    Not,
}

/// When the latest event of `occurrence` was, and how its letter to `endpoint` stands.
pub(super) fn latest_told(
    conn: &Connection,
    occurrence: &OccurrenceId,
    endpoint: &EndpointId,
) -> rusqlite::Result<Option<(Timestamp, Told)>> {
    conn.prepare_cached(
        "SELECT e.at_ms, o.state
         FROM event e LEFT JOIN outbox o ON o.endpoint = ?2 AND o.seq = e.seq
         WHERE e.occurrence = ?1 ORDER BY e.seq DESC LIMIT 1",
    )?
    .query_row([occurrence.as_str(), endpoint.as_str()], |row| {
        let told = match row.get::<_, Option<String>>(1)?.as_deref() {
            Some("queued") => Told::Waiting,
            Some("delivered") => Told::Delivered,
            Some(_) | None => Told::Not,
        };
        Ok((row.get::<_, Millis>(0)?.0, told))
    })
    .optional()
}

/// How many letters wait, by endpoint.
pub(super) fn queued(conn: &Connection) -> rusqlite::Result<Vec<(EndpointId, u64)>> {
    let tally = |row: &Row| Ok((row.get::<_, String>(0)?.into(), row.get::<_, Count>(1)?.0));
    let sql =
        "SELECT endpoint, count(*) FROM outbox WHERE state = 'queued' GROUP BY endpoint ORDER BY endpoint";
    conn.prepare(sql)?.query_map([], tally)?.collect()
}

fn alarm_key(row: &Row, first: usize) -> rusqlite::Result<AlarmKey> {
    Ok(AlarmKey {
        device: row.get::<_, String>(first)?.into(),
        alarm: row.get::<_, String>(first + 1)?.into(),
    })
}

fn letter(
    conn: &Connection,
    row: i64,
    endpoint: &EndpointId,
    key: AlarmKey,
) -> rusqlite::Result<Option<Stored>> {
    conn.prepare_cached(
        // the quality is no text of anybody's: in those a quote is written otherwise
        "SELECT event_id, seq, priority, attempts, body, content_type, sum,
                attempts = 0 AND tried_at_ms IS NULL AND EXISTS (
                  SELECT 1 FROM event e WHERE e.seq = outbox.seq AND e.id = outbox.event_id
                    AND (instr(e.record, CAST('\"time_quality\":\"unset\"' AS BLOB))
                         OR instr(e.record, CAST('\"time_quality\":\"restored\"' AS BLOB))))
         FROM outbox JOIN body USING (row) WHERE row = ?1",
    )?
    .query_row([row], |found| {
        let letter = Letter {
            row,
            endpoint: endpoint.clone(),
            event_id: found.get(0)?,
            seq: found.get::<_, Count>(1)?.0,
            key,
            priority: found.get::<_, Rank>(2)?.0,
            attempts: found.get(3)?,
            body: Arc::from(found.get::<_, Vec<u8>>(4)?),
            content_type: found.get(5)?,
            provisional: found.get(7)?,
        };
        Ok(Stored { letter, sum: found.get(6)? })
    })
    .optional()
}

pub(super) fn settle(conn: &Connection, row: i64, receipt: &Receipted, pen: &Pen) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET state = 'delivered', attempts = attempts + 1, next_at_ms = NULL,
               delivered_at_ms = ?2, tried_at_ms = ?2, receipt_status = ?3, receipt_said = ?4 WHERE row = ?1 AND state = 'queued'";
    let said = cut(&receipt.said, SAID_MAX_BYTES);
    one_letter(conn, row, sql, params![row, Millis(receipt.at), receipt.status, said])?;
    chain::receipt(conn, pen, row).map_err(StoreError::sql(File::Events))
}

/// `at`: when it was tried; `next_at`: when it is tried again.
pub(super) fn put_off(
    conn: &Connection,
    row: i64,
    why: &Hindrance,
    at: Timestamp,
    next_at: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE outbox SET attempts = attempts + 1, hindrance = ?2, last_error = ?3, last_error_zh = ?4,
               tried_at_ms = ?5, next_at_ms = ?6 WHERE row = ?1 AND state = 'queued'";
    let (kind, en, zh) = words(why);
    one_letter(conn, row, sql, params![row, kind, en, zh, Millis(at), Millis(next_at)])
}

pub(super) fn set_aside(
    conn: &Connection,
    row: i64,
    why: &Hindrance,
    at: Timestamp,
    pen: &Pen,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE outbox SET state = 'set_aside', attempts = attempts + 1, hindrance = ?2, last_error = ?3,
               last_error_zh = ?4, tried_at_ms = ?5, next_at_ms = NULL WHERE row = ?1 AND state = 'queued'";
    let (kind, en, zh) = words(why);
    one_letter(conn, row, sql, params![row, kind, en, zh, Millis(at)])?;
    chain::receipt(conn, pen, row).map_err(StoreError::sql(File::Events))
}

/// As they are kept: the kind, English, Chinese.
fn words(why: &Hindrance) -> (&'static str, &str, &str) {
    (why.kind.word(), cut(&why.said.en, SAID_MAX_BYTES), cut(&why.said.zh, SAID_MAX_BYTES))
}

fn one_letter(
    conn: &Connection,
    row: i64,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<(), StoreError> {
    let changed = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map_err(StoreError::sql(File::Events))?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NoSuchLetter { row }) }
}

/// At most `bytes` of `text`, never half a character.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
