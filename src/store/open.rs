//! How a file is opened: the directory, its lock, and the settings that the promise stands on.

use std::{
    fs::{self, DirBuilder, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, ffi::SQLITE_READONLY_DIRECTORY};
use rustix::{fs::access, io::Errno};

use super::error::{Access, File, StoreError};
use crate::domain::Size;

/// Earlier versions can corrupt a WAL file when a checkpoint meets a write (sqlite.org/wal.html#walresetbug).
const SQLITE_NEEDED: (i32, &str) = (3_051_003, "3.51.3");
const PAGE_BYTES: u64 = 4096;
/// A WAL that grew while a reader held it is cut back to this, where [`let_log_grow`] says nothing else.
const WAL_KEEPS_BYTES: i64 = 4 << 20;
/// Only a checkpoint ever waits for a reader, and readers hold a page for well under this.
const BUSY: Duration = Duration::from_secs(2);

/// When a commit is on the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synchronous {
    /// Before it returns.
    Full,
    /// At the next checkpoint, or with a later commit of [`waiting_for_disk`]; a process that dies loses nothing, a box without power what
    /// came since.
    Normal,
}

impl Synchronous {
    fn word(self) -> &'static str {
        match self {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        }
    }
}

/// The store's directory belongs to whoever holds this. The kernel gives it back when the process ends, however it ends.
pub(super) struct DirLock {
    file: fs::File,
}

impl DirLock {
    /// Whether it is the lock of what is at `dir` now.
    pub fn holds(&self, dir: &Path) -> bool {
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::metadata(dir.join(LOCK)).map(place);
        there.is_ok_and(|there| self.file.metadata().is_ok_and(|held| place(held) == there))
    }
}

const LOCK: &str = "gatehouse.lock";

/// # Errors
/// `InUse` at once if another process holds it; `NotPermitted`; `Io`.
pub(super) fn lock(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join(LOCK);
    let io = |doing| {
        let path = path.clone();
        move |source| StoreError::io(doing, &path, Access::Write, source)
    };
    let writing = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    // What cannot be written can be locked all the same.
    let reading = |error: std::io::Error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem => fs::File::open(&path),
        _ => Err(error),
    };
    let mut file = writing.or_else(reading).map_err(io("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(StoreError::InUse { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
    }
    // The lock is what counts; the number in it only helps a person. A full disk must not keep the gateway from starting.
    if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
        tracing::debug!(%error, "The lock file does not say whose it is.");
    }
    Ok(DirLock { file })
}

/// Makes the directory (0750) and sees to it that a power cut does not take it away again.
pub(super) fn directory(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let io = |doing| move |source| StoreError::io(doing, dir, Access::Write, source);
    DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(io("create"))?;
    for level in [Some(dir), dir.parent()].into_iter().flatten() {
        fs::File::open(level).and_then(|level| level.sync_all()).map_err(io("sync"))?;
    }
    Ok(())
}

/// The one writing connection of a file.
pub(super) fn writer(
    dir: &Path,
    file: File,
    synchronous: Synchronous,
    max: Size,
) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_NEEDED.0 {
        return Err(StoreError::SqliteTooOld {
            found: rusqlite::version().to_owned(),
            needed: SQLITE_NEEDED.1,
        });
    }
    writer_at(&dir.join(file.name()), file, synchronous, max)
}

/// As [`writer`], for a file that is to get its name later.
pub(super) fn writer_at(
    path: &Path,
    file: File,
    synchronous: Synchronous,
    max: Size,
) -> Result<Connection, StoreError> {
    let mut conn = Connection::open(path).map_err(StoreError::sql(file))?;
    settle(&conn, synchronous, max).map_err(StoreError::sql(file))?;
    super::migrate::to_latest(&mut conn, path, file)?;
    Ok(conn)
}

fn settle(conn: &Connection, synchronous: Synchronous, max: Size) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    // Must come before the first table, or it never takes effect.
    if synchronous == Synchronous::Normal {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    conn.pragma_update(None, "synchronous", synchronous.word())?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_KEEPS_BYTES, |row| row.get::<_, i64>(0))?;
    limit(conn, pages(max))?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// What `commit` commits is on the disk itself when this returns, and so is all that was committed before: the log is written in order.
pub(super) fn waiting_for_disk<T>(
    conn: &mut Connection,
    commit: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    conn.pragma_update(None, "synchronous", Synchronous::Full.word())?;
    let committed = commit(conn);
    let calmed = conn.pragma_update(None, "synchronous", Synchronous::Normal.word());
    committed.and_then(|committed| calmed.map(|()| committed))
}

/// To so many pages, before what is in it goes into the file; and it keeps the room of so many.
pub(super) fn let_log_grow(conn: &Connection, pages: i64) -> rusqlite::Result<()> {
    const HEAD: i64 = 32;
    const FRAME_HEAD: i64 = 24;
    let pages = pages.max(1);
    conn.pragma_update(None, "wal_autocheckpoint", pages)?;
    let bytes = HEAD + pages * (FRAME_HEAD + PAGE_BYTES as i64);
    conn.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))
}

/// `max` in pages, as far as SQLite can count them.
pub(super) fn pages(max: Size) -> i64 {
    i64::try_from(max.0 / PAGE_BYTES).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX - 1))
}

/// From now on the file grows to `pages` at most; one that is larger stays as it is.
pub(super) fn limit(conn: &Connection, pages: i64) -> rusqlite::Result<()> {
    conn.pragma_update_and_check(None, "max_page_count", pages.max(1), |_| Ok(()))
}

/// `closely`: its indexes too, which takes several times as long.
///
/// # Errors
/// `Damaged` with the first thing found.
pub(super) fn check(conn: &Connection, file: File, closely: bool) -> Result<(), StoreError> {
    let check = if closely { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let said: String = conn.query_row(check, [], |row| row.get(0)).map_err(StoreError::sql(file))?;
    if said == "ok" { Ok(()) } else { Err(StoreError::Damaged { file, what: said }) }
}

/// A connection that can only read, beside a running daemon.
///
/// # Errors
/// `Missing` if nothing was ever stored, `NotPermitted` if that cannot be known, `Newer` if this program is too old for the file.
pub(super) fn reader(dir: &Path, file: File) -> Result<Connection, StoreError> {
    let path = dir.join(file.name());
    // Not by opening it: closing a second handle would give up the locks of a writer in this very process.
    match access(&path, rustix::fs::Access::READ_OK) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Err(StoreError::Missing { path }),
        Err(errno) => return Err(StoreError::io("read", &path, Access::Read, errno.into())),
    }
    let conn = match connect(&path, OpenFlags::empty(), file) {
        Err(StoreError::Sqlite { source, .. }) if wants_a_log(&source) => {
            // No writer is there and no log: what the file says is all. `immutable` has SQLite believe that.
            connect(&immutable(&path), OpenFlags::SQLITE_OPEN_URI, file)
        }
        opened => opened,
    };
    conn?.ok_or(StoreError::Missing { path })
}

/// `None` if the file has no schema yet.
fn connect(path: &Path, more: OpenFlags, file: File) -> Result<Option<Connection>, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let conn = Connection::open_with_flags(path, flags).map_err(StoreError::sql(file))?;
    conn.busy_timeout(BUSY).map_err(StoreError::sql(file))?;
    Ok((super::migrate::version(&conn, file)? > 0).then_some(conn))
}

/// SQLite would make the log that a WAL file has beside it, in a directory that this user may only read: so there is none,
/// and no writer, who would have made it.
fn wants_a_log(error: &rusqlite::Error) -> bool {
    error.sqlite_extended_error_code() == Some(SQLITE_READONLY_DIRECTORY)
}

fn immutable(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    PathBuf::from(uri + "?immutable=1")
}

/// Everything in the WAL goes into the file, and the WAL to nothing. A reader that stays on only leaves some of it for
/// the next opening.
pub(super) fn checkpoint_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root may write everywhere, so the way in that needs no log is gone here whoever tests.
    #[test]
    fn a_file_without_its_log_is_read_whatever_its_path_is_called() {
        for name in ["plain", "with blank", "50% ?#&", "存储"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let made = Connection::open(&path).unwrap();
            made.execute_batch("PRAGMA journal_mode = WAL; PRAGMA user_version = 1; CREATE TABLE t (a)")
                .unwrap();
            drop(made);
            let conn = connect(&immutable(&path), OpenFlags::SQLITE_OPEN_URI, File::Events).unwrap().unwrap();
            let tables: i64 =
                conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
            assert_eq!(tables, 1, "{name}");
            assert_eq!(
                std::fs::read_dir(dir.path()).unwrap().count(),
                1,
                "{name}: nothing is left beside it"
            );
        }
    }
}
