//! The record page by page, by sequence numbers: for those who come back for more.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::{
    AlarmRow, Reader,
    alarms::alarm_row,
    columns::{Count, Json, Millis},
    error::{File, StoreError},
};
use crate::domain::Event;

/// Occurrences, the latest first; each stands where its latest event does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<AlarmRow>,
    /// Where the next page begins, if there is one.
    pub before: Option<u64>,
}

/// What a person left word of, besides what changed the alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    pub at: Timestamp,
    pub who: String,
    pub from: String,
    pub note: String,
}

impl Reader {
    /// At most `limit` occurrences whose latest event has a number below `before`, of `device` or of all.
    ///
    /// # Errors
    /// What SQLite says; a record that is not an event.
    pub fn alarms_before(
        &self,
        before: Option<u64>,
        device: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let look = || {
            self.conn
                .prepare_cached(
                    "SELECT record, seq FROM event e
                     WHERE seq < ?1 AND seq = (SELECT max(seq) FROM event WHERE occurrence = e.occurrence)
                       AND kind NOT IN ('drill', 'loss_report', 'summary', 'credit') AND occurrence NOT LIKE 'over:%'
                       AND device = coalesce(?2, device) ORDER BY seq DESC LIMIT ?3",
                )?
                .query_map(params![before, device, one_more], |row| {
                    Ok((row.get::<_, Count>(1)?.0, alarm_row(row)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut found = look().map_err(StoreError::sql(File::Events))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let before = found.last().map(|(seq, _)| *seq).filter(|_| more);
        Ok(Page { rows: found.into_iter().map(|(_, row)| row).collect(), before })
    }

    /// Events after `seq`, oldest first, at most `limit`, and the last number there is.
    ///
    /// # Errors
    /// What SQLite says; a record that is not an event.
    pub fn events_after(&self, seq: u64, limit: u64) -> Result<(Vec<Event>, u64), StoreError> {
        let event = |row: &Row| row.get(0).map(|Json(event)| event);
        let seq = seq.min(i64::MAX as u64);
        let look = || {
            let last = self.conn.query_row("SELECT last_seq FROM meta", [], |row| row.get::<_, Count>(0))?;
            let events = self
                .conn
                .prepare_cached("SELECT record FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
                .query_map(params![Count(seq), Count(limit)], event)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((events, last.0))
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// What people left word of with one occurrence: notes, and who took it on after somebody else had.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn notes(&self, occurrence: &str) -> Result<Vec<Noted>, StoreError> {
        let noted = |row: &Row| {
            let Millis(at) = row.get(0)?;
            Ok(Noted { at, who: row.get(1)?, from: row.get(2)?, note: row.get(3)? })
        };
        let look = || {
            self.conn
                .prepare_cached(
                    "SELECT at_ms, who, origin, outcome FROM audit WHERE object = ?1
                     AND (action = 'note' OR (action = 'acknowledge' AND outcome LIKE 'already acknowledged%'))
                     ORDER BY number",
                )?
                .query_map([occurrence], noted)?
                .collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// Which file of events this is: 128 random bits as hex, others after it was made anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn epoch(&self) -> Result<String, StoreError> {
        let epoch = self.conn.query_row("SELECT epoch FROM meta", [], |row| row.get(0));
        epoch.map_err(StoreError::sql(File::Events))
    }
}
