//! What is of persons is sealed before it is stored, under keys that are thrown away when its time is over.
//!
//! A new key is made each day. They lie in `events.db`, each sealed under the one key that lies outside: a file that belongs
//! to the gateway alone, or a systemd credential. Whoever has only the databases reads nothing; when a day's key is deleted,
//! all that it sealed is gone, in either file and in every copy of them that has not the keys, and the hash chain still holds.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use jiff::Timestamp;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    error::{File, StoreError},
    events::EventStore,
    pseudonym::Pseudonyms,
};
use crate::domain::{Period, Value};

const KEY_BYTES: usize = 32;
/// Texts of persons are cut here, so that sealed they still fit where values go.
const TEXT_MAX_BYTES: usize = 600;
/// What a sealed value begins with; `<id>:<base64>` follows.
const MARK: &str = "sealed:1:";
/// The first byte of a sealed body; JSON never begins so.
const BODY_MARK: u8 = 1;
const DAY_MS: i64 = 86_400_000;
/// What keys are wrapped for.
const WRAPPED: &[u8] = b"gatehouse private_key";

/// Why the outer key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("read the key of the store: {0}")]
    Unreadable(#[source] io::Error),
    #[error("make the key of the store: {0}")]
    Unmade(#[source] io::Error),
    #[error("use the key of the store: it is not 32 bytes in base64")]
    NotAKey,
}

/// The one key that lies outside of the databases.
#[derive(Clone)]
pub struct OuterKey {
    key: Arc<LessSafeKey>,
    /// None: it is no key of the site.
    pseudonyms: Option<Pseudonyms>,
}

impl fmt::Debug for OuterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OuterKey")
    }
}

impl OuterKey {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        Self { key: Arc::new(aead(key)), pseudonyms: Some(Pseudonyms::under(key)) }
    }

    /// The key in the file at `path`; made there, for the gateway alone, if there is none.
    ///
    /// # Errors
    /// If it can neither be read nor made.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyFileError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(KeyFileError::Unreadable(error)),
        }
    }

    /// # Errors
    /// If it cannot be read, or is none.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        Self::parse(&fs::read_to_string(path).map_err(KeyFileError::Unreadable)?)
    }

    /// On the disk, name and all, before anything is sealed under it.
    fn make(path: &Path) -> Result<Self, KeyFileError> {
        let key = random::<KEY_BYTES>();
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", BASE64.encode(key))?;
            file.sync_all()?;
            match path.parent() {
                Some(dir) => fs::File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(KeyFileError::Unmade)?;
        Ok(Self::of(&key))
    }

    fn parse(text: &str) -> Result<Self, KeyFileError> {
        let bytes = BASE64.decode(text.trim().trim_end_matches('=')).map_err(|_| KeyFileError::NotAKey)?;
        let key: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| KeyFileError::NotAKey)?;
        Ok(Self::of(&key))
    }
}

/// The keys of the days, as far as they are not thrown away.
pub struct Privacy {
    outer: OuterKey,
    keys: Mutex<BTreeMap<i64, Arc<LessSafeKey>>>,
}

impl fmt::Debug for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Privacy")
    }
}

impl Privacy {
    pub fn new(outer: OuterKey) -> Self {
        Self { outer, keys: Mutex::default() }
    }

    /// Seals and opens nothing: there is no key to be had.
    pub fn shut() -> Self {
        Self::new(OuterKey { key: Arc::new(aead(&random())), pseudonyms: None })
    }

    /// Names for cards, under the key that lies outside.
    pub fn pseudonyms(&self) -> Option<Pseudonyms> {
        self.outer.pseudonyms.clone()
    }

    /// Under the newest key. `None` while there is none: then nothing may be stored.
    pub fn seal(&self, value: &Value) -> Option<Value> {
        let (id, key) = self.newest()?;
        let cut = match value {
            Value::Text(text) if text.len() > TEXT_MAX_BYTES => {
                Value::from(&text[..text.floor_char_boundary(TEXT_MAX_BYTES)])
            }
            Value::Text(_) | Value::Flag(_) | Value::Number(_) => value.clone(),
        };
        let plain = serde_json::to_vec(&cut).expect("finite numbers and text are JSON");
        let sealed = BASE64.encode(lock(&key, plain, &id.to_be_bytes()));
        Some(Value::Text(format!("{MARK}{id}:{sealed}").into()))
    }

    /// `None` if its key is gone, or never was this one's.
    pub fn open(&self, value: &Value) -> Option<Value> {
        let Value::Text(text) = value else { return None };
        let (id, sealed) = text.strip_prefix(MARK)?.split_once(':')?;
        let id: i64 = id.parse().ok()?;
        let key = self.keys().get(&id).cloned()?;
        let plain = unlock(&key, BASE64.decode(sealed).ok()?, &id.to_be_bytes())?;
        serde_json::from_slice(&plain).ok()
    }

    /// A letter's body, with fields of persons in it.
    pub fn seal_body(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (id, key) = self.newest()?;
        let mut out = vec![BODY_MARK];
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&lock(&key, body.to_vec(), &id.to_be_bytes()));
        Some(out)
    }

    /// `None` if its key is gone.
    pub fn open_body(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let rest = sealed.strip_prefix(&[BODY_MARK])?;
        let (id, sealed) = rest.split_first_chunk::<8>()?;
        let key = self.keys().get(&i64::from_be_bytes(*id)).cloned()?;
        unlock(&key, sealed.to_vec(), id)
    }

    fn newest(&self) -> Option<(i64, Arc<LessSafeKey>)> {
        self.keys().last_key_value().map(|(id, key)| (*id, Arc::clone(key)))
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<i64, Arc<LessSafeKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, found: Vec<(i64, Vec<u8>)>) -> usize {
        let mut lost = 0;
        let mut keys = BTreeMap::new();
        for (id, wrapped) in found {
            let plain = unlock(&self.outer.key, wrapped, &wrapped_for(id));
            match plain.and_then(|plain| <[u8; KEY_BYTES]>::try_from(plain).ok()) {
                Some(key) => drop(keys.insert(id, Arc::new(aead(&key)))),
                None => lost += 1,
            }
        }
        *self.keys() = keys;
        lost
    }
}

/// Whether a stored value is a sealed one.
pub fn is_sealed(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.starts_with(MARK))
}

pub fn is_sealed_body(body: &[u8]) -> bool {
    body.first() == Some(&BODY_MARK)
}

/// What became of the keys when they were looked after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tended {
    pub thrown_away: usize,
    /// Sealed under another outer key: what they sealed cannot be read.
    pub lost: usize,
}

impl EventStore {
    /// Sees to it that there is a key of today, throws away at most one whose time is over, and has `privacy` know those that
    /// are left. `now`: the wall clock if it can be believed; without it nothing is thrown away. One an hour may go: a clock
    /// that jumps to 2038 does not erase everything at once.
    ///
    /// # Errors
    /// `Full`, or as SQLite gives them; nothing is sealed under a key that is not on the disk.
    pub async fn tend_private_keys(
        &self,
        privacy: &Arc<Privacy>,
        now: Option<Timestamp>,
        keep: Period,
    ) -> Result<Tended, StoreError> {
        let privacy = Arc::clone(privacy);
        let keep_ms = i64::try_from(keep.0.as_millis()).unwrap_or(i64::MAX);
        let now_ms = now.map(Timestamp::as_millisecond);
        let (found, thrown_away) = {
            let outer = privacy.outer.clone();
            self.write(move |conn| tend(conn, &outer, now_ms, keep_ms).map_err(StoreError::sql(File::Events)))
                .await?
        };
        Ok(Tended { thrown_away, lost: privacy.learn(found) })
    }
}

type Found = (Vec<(i64, Vec<u8>)>, usize);

fn tend(conn: &Connection, outer: &OuterKey, now: Option<i64>, keep: i64) -> rusqlite::Result<Found> {
    if let Some(now) = now {
        conn.execute("UPDATE private_key SET created_ms = ?1 WHERE created_ms IS NULL", [now])?;
    }
    let newest: Option<(Option<i64>, Vec<u8>, i64)> = conn
        .query_row("SELECT created_ms, wrapped, id FROM private_key ORDER BY id DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let is_good = newest.is_some_and(|(created, wrapped, id)| {
        let ours = unlock(&outer.key, wrapped, &wrapped_for(id)).is_some();
        let of_today = match (created, now) {
            (Some(created), Some(now)) => now.saturating_sub(created) < DAY_MS,
            (None, _) | (_, None) => true,
        };
        ours && of_today
    });
    if !is_good {
        add(conn, outer, now)?;
    }
    let thrown_away = match now {
        Some(now) => throw_away(conn, now.saturating_sub(keep).saturating_sub(DAY_MS))?,
        None => 0,
    };
    let keys = conn
        .prepare("SELECT id, wrapped FROM private_key ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok((keys, thrown_away))
}

fn add(conn: &Connection, outer: &OuterKey, now: Option<i64>) -> rusqlite::Result<()> {
    let last: i64 = conn
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'private_key'", [], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let id = last + 1;
    let wrapped = lock(&outer.key, random::<KEY_BYTES>().to_vec(), &wrapped_for(id));
    conn.execute(
        "INSERT INTO private_key (id, created_ms, wrapped) VALUES (?1, ?2, ?3)",
        params![id, now, wrapped],
    )
    .map(drop)
}

/// The oldest, if it was made before `before`: overwritten where it lies, then deleted. Never the newest.
fn throw_away(conn: &Connection, before: i64) -> rusqlite::Result<usize> {
    let due: Option<i64> = conn
        .query_row(
            "SELECT min(id) FROM private_key WHERE created_ms < ?1 AND id < (SELECT max(id) FROM private_key)",
            [before],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    let Some(id) = due else { return Ok(0) };
    conn.execute("UPDATE private_key SET wrapped = zeroblob(length(wrapped)) WHERE id = ?1", [id])?;
    conn.execute("DELETE FROM private_key WHERE id = ?1", [id])
}

/// For whoever only reads: the keys as they stand in `events.db`.
pub(super) fn read_keys(conn: &Connection, outer: OuterKey) -> rusqlite::Result<Privacy> {
    let privacy = Privacy::new(outer);
    let keys = conn
        .prepare("SELECT id, wrapped FROM private_key ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    // those of another outer key stay shut
    privacy.learn(keys);
    Ok(privacy)
}

fn wrapped_for(id: i64) -> Vec<u8> {
    [WRAPPED, &id.to_be_bytes()].concat()
}

fn aead(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes"))
}

/// A nonce of its own, then what is sealed.
fn lock(key: &LessSafeKey, mut plain: Vec<u8>, about: &[u8]) -> Vec<u8> {
    let nonce = random::<NONCE_LEN>();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), &mut plain)
        .expect("far below the longest that can be sealed");
    [&nonce[..], &plain].concat()
}

fn unlock(key: &LessSafeKey, sealed: Vec<u8>, about: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut rest = rest.to_vec();
    let plain = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(about), &mut rest).ok()?;
    Some(plain.to_vec())
}

/// # Panics
/// If the kernel has no randomness to give.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bits");
    bytes
}

#[cfg(test)]
#[path = "tests/privacy.rs"]
mod tests;
