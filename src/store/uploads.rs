//! How far each endpoint has the readings.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::Count,
    error::{File, StoreError},
    events::EventStore,
};
use crate::domain::EndpointId;

/// As the endpoint confirmed it, in milliseconds since 1970: everything up to `since`, and of the window that ends at
/// `until` all devices before `device`, and that one up to `at`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadCursor {
    pub since: i64,
    pub until: i64,
    pub device: String,
    pub at: i64,
    /// Of the last batch.
    pub number: u64,
}

impl EventStore {
    /// `None` if nothing was ever uploaded to it.
    ///
    /// # Errors
    /// As SQLite gives them.
    pub async fn upload_cursor(&self, endpoint: &EndpointId) -> Result<Option<UploadCursor>, StoreError> {
        let endpoint = endpoint.clone();
        self.read(move |conn| cursor(conn, &endpoint).map_err(StoreError::sql(File::Events))).await
    }

    /// What is confirmed is not sent again after this returns.
    ///
    /// # Errors
    /// `Full`, or as SQLite gives them.
    pub async fn set_upload_cursor(
        &self,
        endpoint: &EndpointId,
        cursor: UploadCursor,
    ) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.write(move |conn| set_cursor(conn, &endpoint, &cursor).map_err(StoreError::sql(File::Events)))
            .await
    }
}

fn cursor(conn: &Connection, endpoint: &EndpointId) -> rusqlite::Result<Option<UploadCursor>> {
    conn.prepare_cached("SELECT since_ms, until_ms, device, at_ms, number FROM upload WHERE endpoint = ?1")?
        .query_row([endpoint.as_str()], |row| {
            Ok(UploadCursor {
                since: row.get(0)?,
                until: row.get(1)?,
                device: row.get(2)?,
                at: row.get(3)?,
                number: row.get::<_, Count>(4)?.0,
            })
        })
        .optional()
}

fn set_cursor(conn: &Connection, endpoint: &EndpointId, cursor: &UploadCursor) -> rusqlite::Result<()> {
    let UploadCursor { since, until, device, at, number } = cursor;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO upload (endpoint, since_ms, until_ms, device, at_ms, number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![endpoint.as_str(), since, until, device, at, Count(*number)])
    .map(drop)
}
