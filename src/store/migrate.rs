//! Brings a file to the present schema, and refuses one from the future.

use std::{fs, path::Path};

use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::{M, Migrations};

use super::error::{File, StoreError};

/// A step is never changed once released; a new schema is a new step at the end.
const EVENTS: &[M] = &[
    M::up(include_str!("events_v1.sql")),
    M::up(include_str!("events_v2.sql")),
    M::up(include_str!("events_v3.sql")),
    M::up(include_str!("events_v4.sql")),
    M::up(include_str!("events_v5.sql")),
    M::up(include_str!("events_v6.sql")),
    M::up(include_str!("events_v7.sql")),
    M::up(include_str!("events_v8.sql")),
];
const TELEMETRY: &[M] = &[
    M::up(include_str!("telemetry_v1.sql")),
    M::up(include_str!("telemetry_v2.sql")),
    M::up(include_str!("telemetry_v3.sql")),
    M::up(include_str!("telemetry_v4.sql")),
];

pub(super) fn to_latest(conn: &mut Connection, path: &Path, file: File) -> Result<(), StoreError> {
    migrate(conn, path, file, steps(file))
}

/// For readers, which change nothing: an older file is theirs to read only once the daemon has brought it up.
pub(super) fn version(conn: &Connection, file: File) -> Result<i64, StoreError> {
    let known = steps(file).len() as i64;
    let found =
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(StoreError::sql(file))?;
    if found > known { Err(StoreError::Newer { file, found, known }) } else { Ok(found) }
}

fn steps(file: File) -> &'static [M<'static>] {
    match file {
        File::Events => EVENTS,
        File::Telemetry => TELEMETRY,
    }
}

pub(super) fn migrate(conn: &mut Connection, path: &Path, file: File, steps: &[M]) -> Result<(), StoreError> {
    let known = steps.len() as i64;
    let found: i64 =
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(StoreError::sql(file))?;
    if found > known {
        return Err(StoreError::Newer { file, found, known });
    }
    // Readings may be a GiB, and no step of theirs has touched what was there: they are not written twice for it.
    if file == File::Events && 0 < found && found < known {
        keep_copy(conn, path, file, found)?;
    }
    Migrations::from_slice(steps).to_latest(conn).map_err(|source| match source {
        rusqlite_migration::Error::RusqliteError { err, .. } if is_damage(&err) => StoreError::sql(file)(err),
        source => StoreError::Migration { file, source },
    })
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The way back, should the step prove wrong: `events.db.v1` beside the file.
fn keep_copy(conn: &Connection, path: &Path, file: File, found: i64) -> Result<(), StoreError> {
    let copy = path.with_extension(format!("db.v{found}"));
    if copy.exists() {
        fs::remove_file(&copy).map_err(|source| StoreError::Io {
            doing: "remove",
            path: copy.clone(),
            source,
        })?;
    }
    conn.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(StoreError::sql(file))?;
    Ok(())
}

#[cfg(test)]
pub(super) fn validate(file: File) -> rusqlite_migration::Result<()> {
    Migrations::from_slice(steps(file)).validate()
}
