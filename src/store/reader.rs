//! Read-only windows on `events.db`, beside a running daemon. Every look is short: a reader that stays holds the WAL.

use std::{fmt, path::Path};

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    columns::{Count, Json, Millis},
    error::{File, StoreError},
    evidence::{Durability, Sealed},
    letters::{self, LetterFilter, LetterRow, both},
    open,
    privacy::{self, OuterKey, Privacy},
};
use crate::domain::Text;

pub struct Reader {
    pub(super) conn: Connection,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// How one endpoint's letters stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub endpoint: String,
    pub queued: u64,
    /// When the event of the oldest queued letter was.
    pub oldest: Option<Timestamp>,
    pub delivered: u64,
    pub last_delivered: Option<Timestamp>,
    pub set_aside: u64,
    /// Of what is queued: of critical alarms.
    pub critical: u64,
    /// Of what is not delivered: the kind of trouble, as a word, and what it was.
    pub hindrance: Option<String>,
    pub last_error: Option<Text>,
    pub next_at: Option<Timestamp>,
}

impl Reader {
    /// # Errors
    /// `Missing` if nothing was ever stored in `dir`; `NotPermitted`; `Newer`; what SQLite says.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { conn: open::reader(dir, File::Events)? })
    }

    #[cfg(test)]
    pub(super) fn over(conn: Connection) -> Self {
        Self { conn }
    }

    #[cfg(test)]
    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Events after `seq`, oldest first, at most `limit`, each exactly as stored.
    ///
    /// # Errors
    /// What SQLite says; a record that is not an event.
    pub fn events(&self, after: u64, limit: u64) -> Result<Vec<Sealed>, StoreError> {
        let look = || {
            self.conn
                .prepare_cached(
                    "SELECT record, hash, prev_hash FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
                )?
                .query_map(params![Count(after), Count(limit)], sealed)?
                .collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// The keys of what is of persons, as far as they lie under this outer one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn privacy(&self, outer: OuterKey) -> Result<Privacy, StoreError> {
        privacy::read_keys(&self.conn, outer).map_err(StoreError::sql(File::Events))
    }

    /// How every endpoint's letters stand, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn deliveries(&self) -> Result<Vec<Delivery>, StoreError> {
        let moment = |row: &Row, at| row.get::<_, Option<Millis>>(at).map(|found| found.map(|Millis(at)| at));
        let delivery = |row: &Row| {
            Ok(Delivery {
                endpoint: row.get(0)?,
                queued: row.get::<_, Count>(1)?.0,
                oldest: moment(row, 2)?,
                delivered: row.get::<_, Count>(3)?.0,
                last_delivered: moment(row, 4)?,
                set_aside: row.get::<_, Count>(5)?.0,
                last_error: both(row.get(6)?, row.get(8)?),
                next_at: moment(row, 7)?,
                hindrance: row.get(9)?,
                critical: row.get::<_, Count>(10)?.0,
            })
        };
        let look = || {
            self.conn.prepare_cached(DELIVERIES)?.query_map([], delivery)?.collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// Letters one by one, the latest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn letters(&self, filter: &LetterFilter) -> Result<Vec<LetterRow>, StoreError> {
        letters::list(&self.conn, filter).map_err(StoreError::sql(File::Events))
    }
}

const DELIVERIES: &str = "
    WITH tally AS (
      SELECT endpoint,
             count(*) FILTER (WHERE state = 'queued') AS queued,
             min(seq) FILTER (WHERE state = 'queued') AS oldest,
             count(*) FILTER (WHERE state = 'delivered') AS delivered,
             max(delivered_at_ms) AS last_delivered,
             count(*) FILTER (WHERE state = 'set_aside') AS set_aside,
             min(next_at_ms) AS next_at,
             count(*) FILTER (WHERE state = 'queued' AND priority = 0) AS critical
      FROM outbox GROUP BY endpoint),
    latest AS (
      SELECT tally.*, (SELECT row FROM outbox u
            WHERE u.endpoint = tally.endpoint AND u.state <> 'delivered' AND u.last_error IS NOT NULL
            ORDER BY u.next_at_ms DESC, u.row DESC LIMIT 1) AS hindered
      FROM tally)
    SELECT latest.endpoint, queued, (SELECT at_ms FROM event WHERE seq = oldest), delivered, last_delivered, set_aside,
           h.last_error, next_at, h.last_error_zh, h.hindrance, critical
    FROM latest LEFT JOIN outbox h ON h.row = hindered ORDER BY latest.endpoint";

/// Of the columns record, hash and prev_hash.
pub(super) fn sealed(row: &Row) -> rusqlite::Result<Sealed> {
    let record: Vec<u8> = row.get(0)?;
    let Json(event) = row.get(0)?;
    let (hash, prev_hash) = (row.get(1)?, row.get(2)?);
    Ok(Sealed { event, record, hash, prev_hash, durability: Durability::Committed, put_right: None })
}
