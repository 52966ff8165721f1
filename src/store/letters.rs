//! Letters one by one: as people see them, and what people do with those that do not go.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{
    AuditEntry, Backlog,
    chain::Pen,
    columns::{Count, Millis, Rank},
    commit::add_audit,
    error::{File, StoreError},
    losses, outbox,
};
use crate::domain::{EndpointId, Loss, LossClass, LossReason, Priority, Text};

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    Queued,
    Delivered,
    SetAside,
}

impl LetterState {
    pub fn word(self) -> &'static str {
        match self {
            LetterState::Queued => "queued",
            LetterState::Delivered => "delivered",
            LetterState::SetAside => "set_aside",
        }
    }

    fn of(word: &str) -> rusqlite::Result<Self> {
        match word {
            "queued" => Ok(LetterState::Queued),
            "delivered" => Ok(LetterState::Delivered),
            "set_aside" => Ok(LetterState::SetAside),
            other => Err(rusqlite::Error::InvalidColumnName(other.to_owned())),
        }
    }
}

/// Which letters to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    pub endpoint: Option<String>,
    /// None: what is not delivered.
    pub state: Option<LetterState>,
    /// All states.
    pub all: bool,
    /// Of this event alone, whatever its state.
    pub event: Option<String>,
    pub limit: usize,
}

/// One event for one endpoint, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRow {
    pub number: i64,
    pub endpoint: String,
    pub event_id: String,
    pub seq: u64,
    pub device: String,
    pub alarm: String,
    /// `raised` and so on; none if the event is gone.
    pub kind: Option<String>,
    /// When it happened.
    pub at: Option<Timestamp>,
    pub priority: Priority,
    pub state: LetterState,
    pub attempts: u32,
    pub tried_at: Option<Timestamp>,
    pub next_at: Option<Timestamp>,
    /// The kind of trouble, as a word.
    pub hindrance: Option<String>,
    pub last_error: Option<Text>,
    pub delivered_at: Option<Timestamp>,
    pub receipt_status: Option<u16>,
    pub receipt_said: Option<String>,
}

const COLUMNS: &str =
    "o.row, o.endpoint, o.event_id, o.seq, o.device, o.alarm, e.kind, e.at_ms, o.priority, o.state,
    o.attempts, o.tried_at_ms, o.next_at_ms, o.hindrance, o.last_error, o.last_error_zh, o.delivered_at_ms,
    o.receipt_status, o.receipt_said";

/// The latest first.
pub(super) fn list(conn: &Connection, filter: &LetterFilter) -> rusqlite::Result<Vec<LetterRow>> {
    let state = match (&filter.event, filter.all, filter.state) {
        (Some(_), _, _) | (None, true, _) => "1",
        (None, false, None) => "o.state IN ('queued', 'set_aside')",
        (None, false, Some(LetterState::Queued)) => "o.state = 'queued'",
        (None, false, Some(LetterState::Delivered)) => "o.state = 'delivered'",
        (None, false, Some(LetterState::SetAside)) => "o.state = 'set_aside'",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox o LEFT JOIN event e ON e.seq = o.seq
         WHERE {state} AND o.endpoint = coalesce(?1, o.endpoint) AND o.event_id = coalesce(?2, o.event_id)
         ORDER BY o.row DESC LIMIT ?3"
    );
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    conn.prepare_cached(&sql)?.query_map(params![filter.endpoint, filter.event, limit], letter_row)?.collect()
}

fn letter_row(row: &Row) -> rusqlite::Result<LetterRow> {
    let moment = |at| row.get::<_, Option<Millis>>(at).map(|found| found.map(|Millis(at)| at));
    let en: Option<String> = row.get(14)?;
    let zh: Option<String> = row.get(15)?;
    Ok(LetterRow {
        number: row.get(0)?,
        endpoint: row.get(1)?,
        event_id: row.get(2)?,
        seq: row.get::<_, Count>(3)?.0,
        device: row.get(4)?,
        alarm: row.get(5)?,
        kind: row.get(6)?,
        at: moment(7)?,
        priority: row.get::<_, Rank>(8)?.0,
        state: LetterState::of(&row.get::<_, String>(9)?)?,
        attempts: row.get(10)?,
        tried_at: moment(11)?,
        next_at: moment(12)?,
        hindrance: row.get(13)?,
        last_error: both(en, zh),
        delivered_at: moment(16)?,
        receipt_status: row.get(17)?,
        receipt_said: row.get(18)?,
    })
}

/// What an older version wrote has no Chinese.
pub(super) fn both(en: Option<String>, zh: Option<String>) -> Option<Text> {
    en.map(|en| Text { zh: zh.unwrap_or_else(|| en.clone()), en })
}

/// Which letters a person means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub endpoint: EndpointId,
    /// One of them; none: all that are set aside.
    pub number: Option<i64>,
}

/// Puts letters that were set aside back to where they stood; together with the audit entry, which says how many.
pub(super) fn retry(
    conn: &mut Connection,
    wanted: &Wanted,
    audit: &AuditEntry,
    pen: &Pen,
) -> Result<u64, StoreError> {
    let sql = StoreError::sql(File::Events);
    let again = "UPDATE outbox SET state = 'queued', next_at_ms = NULL, link = NULL
                 WHERE state = 'set_aside' AND endpoint = ?1 AND row = coalesce(?2, row)";
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let changed = tx.execute(again, params![wanted.endpoint.as_str(), wanted.number]).map_err(sql)? as u64;
    finish(tx, audit, changed, pen).map_err(sql)?;
    Ok(changed)
}

/// What was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    pub letters: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// Gives up all that was not delivered to an endpoint; together with the audit entry, which says how much.
pub(super) fn discard(
    conn: &mut Connection,
    endpoint: &EndpointId,
    audit: &AuditEntry,
    pen: &Pen,
) -> Result<Option<Discarded>, StoreError> {
    let sql = StoreError::sql(File::Events);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let discarded = tx
        .query_row(
            "SELECT count(*), min(seq), max(seq) FROM outbox WHERE endpoint = ?1 AND state <> 'delivered' HAVING count(*) > 0",
            [endpoint.as_str()],
            |row| {
                Ok(Discarded {
                    letters: row.get::<_, Count>(0)?.0,
                    first_seq: row.get::<_, Count>(1)?.0,
                    last_seq: row.get::<_, Count>(2)?.0,
                })
            },
        )
        .optional()
        .map_err(sql)?;
    let gone = "(SELECT row FROM outbox WHERE endpoint = ?1 AND state <> 'delivered')";
    tx.execute(&format!("DELETE FROM body WHERE row IN {gone}"), [endpoint.as_str()]).map_err(sql)?;
    tx.execute("DELETE FROM outbox WHERE endpoint = ?1 AND state <> 'delivered'", [endpoint.as_str()])
        .map_err(sql)?;
    if let Some(Discarded { letters, first_seq, last_seq }) = discarded {
        let loss = Loss {
            // Not told to the endpoint itself, which is gone: to all who hear of losses.
            subject: Some(format!("endpoint:{endpoint}")),
            first_seq,
            last_seq,
            count: letters,
            ..Loss::of(LossClass::Alarms, LossReason::Discarded)
        };
        losses::write(&tx, &loss).map_err(sql)?;
    }
    finish(tx, audit, discarded.map_or(0, |discarded| discarded.letters), pen).map_err(sql)?;
    Ok(discarded)
}

fn finish(tx: Transaction, audit: &AuditEntry, letters: u64, pen: &Pen) -> rusqlite::Result<()> {
    let outcome = format!("{letters} letters{}", audit.outcome);
    add_audit(&tx, &AuditEntry { outcome, ..audit.clone() }, pen)?;
    tx.commit()
}

/// How many letters are set aside, by endpoint.
fn aside(conn: &Connection) -> rusqlite::Result<Vec<(EndpointId, u64)>> {
    let tally = |row: &Row| Ok((row.get::<_, String>(0)?.into(), row.get::<_, Count>(1)?.0));
    let sql = "SELECT endpoint, count(*) FROM outbox WHERE state = 'set_aside' GROUP BY endpoint";
    conn.prepare_cached(sql)?.query_map([], tally)?.collect()
}

/// How many letters wait and how many are set aside, by endpoint.
pub(super) fn backlog(conn: &Connection) -> rusqlite::Result<HashMap<EndpointId, Backlog>> {
    let mut backlog: HashMap<EndpointId, Backlog> = HashMap::new();
    for (endpoint, queued) in outbox::queued(conn)? {
        backlog.entry(endpoint).or_default().queued = queued;
    }
    for (endpoint, set_aside) in aside(conn)? {
        backlog.entry(endpoint).or_default().set_aside = set_aside;
    }
    Ok(backlog)
}
