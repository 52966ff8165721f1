//! What the chain knows of the time: which moments of which boot the clock was believed at.

use jiff::Timestamp;
use rusqlite::Connection;

use super::fact::{Record, When};
use crate::domain::ClockSet;

/// When the clock was set, or found to be right at a start; in their order.
pub(crate) fn clock_sets(conn: &Connection) -> rusqlite::Result<Vec<ClockSet>> {
    let mut rows =
        conn.prepare_cached("SELECT record FROM link WHERE kind IN ('clock', 'start') ORDER BY n")?;
    let records =
        rows.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(records.iter().filter_map(|record| moment(record)).filter(|set| set.quality.is_believed()).collect())
}

/// When the latest row was written that a believed clock was looked at for. Latest by its place: a clock that ran years ahead and was
/// put right again counts for nothing.
pub(crate) fn newest(conn: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    // in the words of people a quote is written otherwise
    let mut rows = conn.prepare_cached(
        "SELECT record FROM link
         WHERE kind <> 'event' AND (instr(record, CAST('\"clock\":\"synced\"' AS BLOB))
                                    OR instr(record, CAST('\"clock\":\"holdover\"' AS BLOB)))
         ORDER BY n DESC LIMIT 1",
    )?;
    let record = rows.query_map([], |row| row.get::<_, Vec<u8>>(0))?.next().transpose()?;
    Ok(record.and_then(|record| moment(&record)).map(|set| set.at))
}

fn moment(record: &[u8]) -> Option<ClockSet> {
    let When { at, boot, mono_ms, clock: quality } = serde_json::from_slice::<Record>(record).ok()?.when?;
    Some(ClockSet { boot, mono_ms, at: at.parse().ok()?, quality })
}
