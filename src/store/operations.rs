//! What devices were told: what is not known to be done yet, and for which day each schedule told them last.

use jiff::{Timestamp, civil::Date};
use rusqlite::{Connection, Transaction, params};

use super::columns::Millis;
use crate::domain::{CommandName, DeviceId, command::Firing};

/// A change of what is open and what was fired, committed with the audit rows that tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationStep {
    /// On disk before the device is told.
    Asked(OpenOperation),
    Ended {
        id: String,
    },
    Fired {
        firing: Firing,
        device: DeviceId,
        command: CommandName,
        settled: bool,
    },
    /// Nothing went out after all.
    Unfired {
        schedule: String,
        device: DeviceId,
    },
    /// A person told the device: what schedules still wanted of it is over until they fire next.
    Overruled {
        device: DeviceId,
        command: CommandName,
    },
}

/// A device was told, and nobody knows yet what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOperation {
    pub id: String,
    pub at: Timestamp,
    pub device: DeviceId,
    pub command: CommandName,
    pub who: String,
    pub from: String,
}

/// For which day a schedule told a device last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    pub schedule: String,
    pub device: DeviceId,
    pub day: Date,
    pub settled: bool,
}

pub(super) fn step(tx: &Transaction, step: &OperationStep) -> rusqlite::Result<()> {
    let changed = match step {
        OperationStep::Asked(OpenOperation { id, at, device, command, who, from }) => tx
            .prepare_cached(
                "INSERT INTO operation (id, at_ms, device, command, who, origin) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![id, Millis(*at), device.as_str(), command.as_str(), who, from]),
        OperationStep::Ended { id } => {
            tx.prepare_cached("DELETE FROM operation WHERE id = ?1")?.execute([id])
        }
        OperationStep::Fired { firing, device, command, settled } => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO firing (schedule, device, command, day, settled) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                firing.schedule,
                device.as_str(),
                command.as_str(),
                firing.day.to_string(),
                settled
            ]),
        OperationStep::Unfired { schedule, device } => tx
            .prepare_cached("DELETE FROM firing WHERE schedule = ?1 AND device = ?2")?
            .execute([schedule.as_str(), device.as_str()]),
        OperationStep::Overruled { device, command } => tx
            .prepare_cached("UPDATE firing SET settled = 1 WHERE device = ?1 AND command = ?2")?
            .execute([device.as_str(), command.as_str()]),
    };
    changed.map(drop)
}

pub(super) fn open(conn: &Connection) -> rusqlite::Result<Vec<OpenOperation>> {
    conn.prepare("SELECT id, at_ms, device, command, who, origin FROM operation ORDER BY at_ms, id")?
        .query_map([], |row| {
            Ok(OpenOperation {
                id: row.get(0)?,
                at: row.get::<_, Millis>(1)?.0,
                device: row.get::<_, String>(2)?.into(),
                command: row.get::<_, String>(3)?.into(),
                who: row.get(4)?,
                from: row.get(5)?,
            })
        })?
        .collect()
}

/// A day that cannot be read counts as never fired.
pub(super) fn fired(conn: &Connection) -> rusqlite::Result<Vec<Fired>> {
    let rows = conn
        .prepare("SELECT schedule, device, day, settled FROM firing")?
        .query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let fired = rows.into_iter().filter_map(|(schedule, device, day, settled)| {
        Some(Fired { schedule, device: device.into(), day: day.parse().ok()?, settled })
    });
    Ok(fired.collect())
}
