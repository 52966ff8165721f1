//! Alarms as they stand and as they went, for those who only look.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    Reader,
    columns::{Count, Json, Millis},
    error::{File, StoreError},
};
use crate::domain::{
    Acknowledgement, AlarmKey, AlarmMemory, AlarmState, Announcement, Event, OccurrenceId, Overlay, Priority,
    Text, TransitionKind,
};

/// Which alarms to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmFilter {
    /// Closed ones too.
    pub closed: bool,
    pub device: Option<String>,
    pub limit: usize,
}

impl Default for AlarmFilter {
    /// What is open now, of every device.
    fn default() -> Self {
        Self { closed: false, device: None, limit: 1000 }
    }
}

/// Alarms as listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    pub rows: Vec<AlarmRow>,
    /// How many more there are, beyond the filter's limit.
    pub left_out: u64,
}

/// One occurrence as its latest event has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    pub occurrence: String,
    pub device: String,
    pub device_name: String,
    pub alarm: String,
    pub title: Text,
    pub priority: Priority,
    pub state: AlarmState,
    pub raised_at: Timestamp,
    pub returned_at: Option<Timestamp>,
    pub acknowledged: Option<Acknowledgement>,
    /// Why it was closed.
    pub reason: Option<String>,
    /// As it is now, if the alarm is open or held back; else as it was.
    pub overlay: Overlay,
    /// It happened in a simulated compound.
    pub demo: bool,
}

impl Reader {
    /// Open alarms, the most urgent and then the oldest first; with `closed` all occurrences, the latest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn alarms(&self, filter: &AlarmFilter) -> Result<Alarms, StoreError> {
        let look = || if filter.closed { self.every_alarm(filter) } else { self.open_alarms(filter) };
        look().map_err(StoreError::sql(File::Events))
    }

    /// All are read and the most urgent kept: priority stands in the record, and a limit before it would hide the newest.
    fn open_alarms(&self, filter: &AlarmFilter) -> rusqlite::Result<Alarms> {
        let mut known =
            self.conn.prepare_cached("SELECT memory FROM alarm WHERE device = coalesce(?1, device)")?;
        let memories = known.query_map([&filter.device], |row| row.get(0).map(|Json(memory)| memory))?;
        let mut rows = Vec::new();
        for memory in memories {
            let memory: AlarmMemory = memory?;
            if let Some(occurrence) = told_as(&memory)
                && let Some((seq, row)) = self.latest(occurrence)?
            {
                rows.push((seq, AlarmRow { overlay: memory.overlay, ..row }));
            }
        }
        rows.sort_by_key(|(seq, row)| (row.overlay.is_held(), row.priority, row.raised_at, *seq));
        let mut rows: Vec<AlarmRow> = rows.into_iter().map(|(_, row)| row).collect();
        let left_out = rows.len().saturating_sub(filter.limit) as u64;
        rows.truncate(filter.limit);
        Ok(Alarms { rows, left_out })
    }

    fn latest(&self, occurrence: &OccurrenceId) -> rusqlite::Result<Option<(u64, AlarmRow)>> {
        self.conn
            .prepare_cached("SELECT record, seq FROM event WHERE occurrence = ?1 ORDER BY seq DESC LIMIT 1")?
            .query_row([occurrence.as_str()], |row| Ok((row.get::<_, Count>(1)?.0, alarm_row(row)?)))
            .optional()
    }

    /// Every event of one alarm, oldest first: by its occurrence, or by `device/alarm` of the one that is open, or held back.
    ///
    /// # Errors
    /// What SQLite says; a record that is not an event.
    pub fn history(&self, id: &str) -> Result<Vec<Event>, StoreError> {
        let look = || {
            let (device, alarm) = id.split_once('/').unwrap_or_default();
            let memory: Option<AlarmMemory> = self
                .conn
                .prepare_cached("SELECT memory FROM alarm WHERE device = ?1 AND alarm = ?2")?
                .query_row([device, alarm], |row| row.get(0).map(|Json(memory)| memory))
                .optional()?;
            let open = memory.as_ref().and_then(told_as).map_or(id, OccurrenceId::as_str);
            self.conn
                .prepare_cached("SELECT record FROM event WHERE occurrence = ?1 ORDER BY seq")?
                .query_map([open], |row| row.get(0).map(|Json(event)| event))?
                .collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// Every alarm that was announced from `since` until `until`, and when the record begins: nothing is known of before.
    ///
    /// # Errors
    /// What SQLite says; a record that is not an event.
    pub fn announced(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<(Vec<Announcement>, Option<Timestamp>), StoreError> {
        let look = || {
            let begins =
                self.conn.query_row("SELECT at_ms FROM event ORDER BY seq LIMIT 1", [], |row| row.get(0));
            let begins = begins.optional()?.map(|Millis(at)| at);
            let mut said = Vec::new();
            let mut events = self.conn.prepare_cached(
                "SELECT record FROM event WHERE at_ms >= ?1 AND at_ms < ?2
                 AND kind IN ('raised', 'unshelved', 'unsuppressed', 'in_service', 'calmed') ORDER BY seq",
            )?;
            for event in
                events.query_map([Millis(since), Millis(until)], |row| row.get(0).map(|Json(event)| event))?
            {
                said.extend(announcement(event?));
            }
            Ok((said, begins))
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// What lies over an alarm now.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn overlay(&self, key: &AlarmKey) -> Result<Option<Overlay>, StoreError> {
        let look = || {
            self.conn
                .prepare_cached("SELECT memory FROM alarm WHERE device = ?1 AND alarm = ?2")?
                .query_row([key.device.as_str(), key.alarm.as_str()], |row| {
                    row.get(0).map(|Json(memory): Json<AlarmMemory>| memory.overlay)
                })
                .optional()
        };
        look().map_err(StoreError::sql(File::Events))
    }

    fn every_alarm(&self, filter: &AlarmFilter) -> rusqlite::Result<Alarms> {
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let rows: Vec<AlarmRow> = self
            .conn
            .prepare_cached(
                "SELECT record FROM event e
                 WHERE seq = (SELECT max(seq) FROM event WHERE occurrence = e.occurrence)
                   AND kind NOT IN ('drill', 'loss_report', 'summary', 'credit') AND occurrence NOT LIKE 'over:%'
                   AND device = coalesce(?1, device) ORDER BY seq DESC LIMIT ?2",
            )?
            .query_map(params![filter.device, limit], alarm_row)?
            .collect::<rusqlite::Result<_>>()?;
        let left_out = match rows.len() < filter.limit {
            true => 0,
            false => self.occurrences(filter)?.saturating_sub(rows.len() as u64),
        };
        Ok(Alarms { rows, left_out })
    }

    fn occurrences(&self, filter: &AlarmFilter) -> rusqlite::Result<u64> {
        let sql = "SELECT count(DISTINCT occurrence) FROM event
                   WHERE kind NOT IN ('drill', 'loss_report', 'summary', 'credit') AND occurrence NOT LIKE 'over:%'
                     AND device = coalesce(?1, device)";
        self.conn.query_row(sql, [&filter.device], |row| row.get::<_, Count>(0)).map(|Count(count)| count)
    }
}

/// `None`: nobody was told, or they knew.
fn announcement(event: Event) -> Option<Announcement> {
    let Event { kind, at, alarm, .. } = &event;
    let first = (*kind == TransitionKind::Raised && !alarm.withheld) || alarm.announced;
    first.then(|| Announcement {
        at: *at,
        key: event.key(),
        priority: alarm.priority,
        title: alarm.title.clone(),
    })
}

/// Under which occurrence an alarm is told that is open, or that a person holds back. A whole device's is told once.
fn told_as(memory: &AlarmMemory) -> Option<&OccurrenceId> {
    let Overlay { shelf, out_of_service, chattering, .. } = &memory.overlay;
    let out = out_of_service.as_ref().filter(|hold| !hold.quiet);
    let open = memory.occurrence.as_ref().filter(|_| memory.state.is_some());
    let held = || shelf.as_ref().or(out).map(|hold| &hold.told_as);
    open.or_else(held).or_else(|| chattering.as_ref().map(|chattering| &chattering.told_as))
}

pub(super) fn alarm_row(row: &Row) -> rusqlite::Result<AlarmRow> {
    let Json::<Event>(event) = row.get(0)?;
    Ok(AlarmRow {
        occurrence: event.alarm.occurrence.to_string(),
        device: event.device.id.to_string(),
        device_name: event.device.name,
        alarm: event.alarm.name.to_string(),
        title: event.alarm.title,
        priority: event.alarm.priority,
        state: event.alarm.state,
        raised_at: event.alarm.raised_at,
        returned_at: event.alarm.returned_at,
        acknowledged: event.alarm.acknowledged,
        reason: event.alarm.reason,
        overlay: event.alarm.overlay,
        demo: event.demo,
    })
}
