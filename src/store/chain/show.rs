//! What of the chain and of what it speaks of is shown to people, and put into a bundle.

use rusqlite::{OptionalExtension, params};

use super::{
    fact::{Capture, Fact, Record},
    key::{key_id, suite_of_key},
    verify,
    walk::{Content, Row},
};
use crate::{
    domain::Suite,
    store::{
        LetterFilter, LetterRow, Reader,
        columns::Count,
        error::{File, StoreError},
        evidence::{Hash, Sealed},
        reader::sealed,
    },
};

/// The key with which the latest end was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub suite: Suite,
    pub id: String,
    /// Base64.
    pub public: String,
}

impl PublicKey {
    /// `None` if it is none.
    pub fn of(public: String) -> Option<Self> {
        Some(Self { suite: suite_of_key(&public)?, id: key_id(&public)?, public })
    }
}

impl Reader {
    /// `None`: nothing was ever signed.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn public_key(&self) -> Result<Option<PublicKey>, StoreError> {
        let look = || {
            self.conn
                .prepare_cached("SELECT record FROM link WHERE kind = 'head' ORDER BY n DESC LIMIT 1")?
                .query_row([], |row| row.get::<_, Vec<u8>>(0))
                .optional()
        };
        let record = if self.has_chain()? { look().map_err(StoreError::sql(File::Events))? } else { None };
        Ok(record.and_then(|record| match serde_json::from_slice::<Record>(&record).ok()?.fact {
            Fact::Head { public_key, .. } => PublicKey::of(public_key),
            _ => None,
        }))
    }

    /// What the next row of the chain is hashed with.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn alg(&self) -> Result<Suite, StoreError> {
        verify::alg(&self.conn).map_err(StoreError::sql(File::Events))
    }

    /// Whether the daemon has brought the file so far.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn has_chain(&self) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'link'")
            .and_then(|mut found| found.exists([]))
            .map_err(StoreError::sql(File::Events))
    }

    /// Of one occurrence, or all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn captures(&self, occurrence: Option<&str>) -> Result<Vec<Capture>, StoreError> {
        let look = || {
            self.conn
                .prepare_cached("SELECT record FROM link WHERE kind = 'capture' ORDER BY n")?
                .query_map([], |row| row.get::<_, Vec<u8>>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let records = look().map_err(StoreError::sql(File::Events))?;
        let captures = records.into_iter().filter_map(|record| {
            match serde_json::from_slice::<Record>(&record).ok()?.fact {
                Fact::Capture(capture) => Some(capture),
                _ => None,
            }
        });
        Ok(captures.filter(|one| occurrence.is_none_or(|wanted| wanted == one.occurrence)).collect())
    }

    /// The same, but for those that made room.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn kept_captures(&self, occurrence: Option<&str>) -> Result<Vec<Capture>, StoreError> {
        let look = || {
            self.conn
                .prepare_cached("SELECT record FROM link WHERE kind = 'dropped'")?
                .query_map([], |row| row.get::<_, Vec<u8>>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let records = look().map_err(StoreError::sql(File::Events))?;
        let gone: Vec<String> = records
            .into_iter()
            .filter_map(|record| match serde_json::from_slice::<Record>(&record).ok()?.fact {
                Fact::Dropped { file, .. } => Some(file),
                _ => None,
            })
            .collect();
        let mut captures = self.captures(occurrence)?;
        captures.retain(|capture| !gone.contains(&capture.file));
        Ok(captures)
    }

    /// Every event of an occurrence, exactly as stored, oldest first.
    ///
    /// # Errors
    /// What SQLite says; a record that is not an event.
    pub fn sealed_history(&self, occurrence: &str) -> Result<Vec<Sealed>, StoreError> {
        let look = || {
            self.conn
                .prepare_cached(
                    "SELECT record, hash, prev_hash FROM event WHERE occurrence = ?1 ORDER BY seq",
                )?
                .query_map([occurrence], sealed)?
                .collect::<rusqlite::Result<_>>()
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// The row of the chain that vouches for event `seq`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn link_of(&self, seq: u64) -> Result<Option<u64>, StoreError> {
        let look = || {
            self.conn
                .query_row("SELECT n FROM link WHERE kind = 'event' AND seq = ?1", [Count(seq)], |row| {
                    row.get::<_, Count>(0)
                })
                .optional()
        };
        Ok(look().map_err(StoreError::sql(File::Events))?.map(|n| n.0))
    }

    /// The rows behind `after` up to `until`, and the hash that the first of them follows.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn links(&self, after: u64, until: u64) -> Result<(Hash, Vec<Row>), StoreError> {
        let look = || {
            let before = self
                .conn
                .query_row("SELECT hash FROM link WHERE n = ?1", [Count(after)], |row| row.get(0))
                .optional()?;
            let before = match before {
                Some(before) => before,
                None => self.conn.query_row("SELECT link_base_hash FROM meta", [], |row| row.get(0))?,
            };
            let rows = self
                .conn
                .prepare("SELECT n, record, hash FROM link WHERE n > ?1 AND n <= ?2 ORDER BY n")?
                .query_map(params![Count(after), Count(until)], |row| {
                    Ok(Row {
                        n: row.get::<_, Count>(0)?.0,
                        content: Content::Record(row.get(1)?),
                        hash: row.get(2)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok((before, rows))
        };
        look().map_err(StoreError::sql(File::Events))
    }

    /// The rows up to `until` in which a key hands over to the next, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn switches(&self, until: u64) -> Result<Vec<Fact>, StoreError> {
        let look = || {
            self.conn
                .prepare("SELECT record FROM link WHERE kind = 'switch' AND n <= ?1 ORDER BY n")?
                .query_map([Count(until)], |row| row.get::<_, Vec<u8>>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let records = look().map_err(StoreError::sql(File::Events))?;
        let read = |record: Vec<u8>| serde_json::from_slice::<Record>(&record).ok().map(|read| read.fact);
        Ok(records.into_iter().filter_map(read).collect())
    }

    /// A text that was in force, by its digest: its name and body.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn writing(&self, digest: &Hash) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        self.conn
            .query_row("SELECT name, body FROM writing WHERE digest = ?1", [digest], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(StoreError::sql(File::Events))
    }

    /// What was in force when row `n` was written: the latest row of kind start before it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn start_before(&self, n: u64) -> Result<Option<Record>, StoreError> {
        let look = || {
            self.conn
                .query_row(
                    "SELECT record FROM link WHERE kind = 'start' AND n <= ?1 ORDER BY n DESC LIMIT 1",
                    [Count(n)],
                    |row| row.get::<_, Vec<u8>>(0),
                )
                .optional()
        };
        let record = look().map_err(StoreError::sql(File::Events))?;
        Ok(record.and_then(|record| serde_json::from_slice(&record).ok()))
    }

    /// How the letters of one event stand.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn letters_of(&self, event_id: &str) -> Result<Vec<LetterRow>, StoreError> {
        self.letters(&LetterFilter {
            event: Some(event_id.to_owned()),
            limit: 1000,
            ..LetterFilter::default()
        })
    }
}
