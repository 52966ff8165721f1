//! Points that were given, once for each delivery, and the books of each device.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{
    Reader,
    columns::{Count, Json, Millis},
    error::{File, StoreError},
    events::EventStore,
};
use crate::domain::{
    DeviceId, Event, EventId,
    credit::{Account, Credit},
};

/// So many are known again: far more than a kiosk repeats, and no more than some tens of megabytes.
const MOST_KEPT: i64 = 100_000;

/// A credit as it is stored: what is of a person is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditRow {
    pub id: EventId,
    pub device: DeviceId,
    /// Of its event.
    pub seq: u64,
    pub credit: Credit,
}

/// # Errors
/// Also if its transaction was credited before.
pub(super) fn add(tx: &Transaction, row: &CreditRow) -> rusqlite::Result<()> {
    let CreditRow { id, device, seq, credit } = row;
    let n = tx
        .prepare_cached("INSERT INTO credit (id, device, at_ms, seq, record) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .insert(params![id.0, device.as_str(), Millis(credit.at), Count(*seq), Json(credit)])?;
    tx.prepare_cached("DELETE FROM credit WHERE row <= ?1")?.execute([n - MOST_KEPT]).map(drop)
}

pub(super) fn enter(conn: &Connection, device: &DeviceId, account: &Account) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO account (device, memory) VALUES (?1, ?2)")?
        .execute(params![device.as_str(), Json(account)])
        .map(drop)
}

/// Takes back the credits whose events come after `seq`, and what their devices' books say of them.
pub(super) fn undo_after(conn: &Connection, seq: u64) -> rusqlite::Result<()> {
    let credits: Vec<(String, Json<Credit>)> = conn
        .prepare_cached("SELECT device, record FROM credit WHERE seq > ?1")?
        .query_map([Count(seq)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut books = accounts(conn)?;
    for (device, Json(credit)) in credits {
        let device = DeviceId::from(device);
        if let Some(account) = books.get_mut(&device) {
            account.take_back(&credit);
            enter(conn, &device, account)?;
        }
    }
    conn.execute("DELETE FROM credit WHERE seq > ?1", [Count(seq)]).map(drop)
}

fn accounts(conn: &Connection) -> rusqlite::Result<BTreeMap<DeviceId, Account>> {
    let account = |row: &Row| Ok((row.get::<_, String>(0)?.into(), row.get::<_, Json<Account>>(1)?.0));
    conn.prepare_cached("SELECT device, memory FROM account")?.query_map([], account)?.collect()
}

/// By the event where a damaged file lost the rest.
fn weight_of(conn: &Connection, id: EventId) -> rusqlite::Result<Option<i64>> {
    let credit: Option<Credit> = conn
        .prepare_cached("SELECT record FROM credit WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0).map(|Json(credit)| credit))
        .optional()?;
    if let Some(credit) = credit {
        return Ok(Some(credit.weight_g));
    }
    let event: Option<Event> = conn
        .prepare_cached("SELECT record FROM event WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0).map(|Json(event)| event))
        .optional()?;
    Ok(event.and_then(|event| event.credit).map(|credit| credit.weight_g))
}

impl EventStore {
    /// The books of every device that has some.
    ///
    /// # Errors
    /// `Away`, or as SQLite gives them.
    pub async fn accounts(&self) -> Result<BTreeMap<DeviceId, Account>, StoreError> {
        self.read(|conn| accounts(conn).map_err(StoreError::sql(File::Events))).await
    }

    /// Which of `ids` were credited, and what they weighed.
    ///
    /// # Errors
    /// `Away`, or as SQLite gives them.
    pub async fn credited(&self, ids: Vec<EventId>) -> Result<BTreeMap<EventId, i64>, StoreError> {
        let look = move |conn: &Connection| {
            let mut known = BTreeMap::new();
            for id in ids {
                if let Some(weight_g) = weight_of(conn, id)? {
                    known.insert(id, weight_g);
                }
            }
            Ok(known)
        };
        self.read(move |conn| look(conn).map_err(StoreError::sql(File::Events))).await
    }
}

impl Reader {
    /// The books of `device`; `None`: it never claimed anything.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn account(&self, device: &str) -> Result<Option<Account>, StoreError> {
        self.conn
            .query_row("SELECT memory FROM account WHERE device = ?1", [device], |row| {
                row.get(0).map(|Json(account)| account)
            })
            .optional()
            .map_err(StoreError::sql(File::Events))
    }

    /// The credits of `device` from a moment until before another, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn credits(
        &self,
        device: &str,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Vec<CreditRow>, StoreError> {
        let credit = |row: &Row| {
            Ok(CreditRow {
                id: EventId(row.get(0)?),
                device: row.get::<_, String>(1)?.into(),
                seq: row.get::<_, Count>(2)?.0,
                credit: row.get::<_, Json<Credit>>(3)?.0,
            })
        };
        let look = || {
            self.conn
                .prepare_cached(
                    "SELECT id, device, seq, record FROM credit
                     WHERE device = ?1 AND at_ms >= ?2 AND at_ms < ?3 ORDER BY at_ms, row",
                )?
                .query_map(params![device, Millis(from), Millis(before)], credit)?
                .collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Events))
    }
}
