//! Looks for damage in `telemetry.db` beside its writer, who goes on meanwhile: at the start and then once a day, over a connection
//! that only reads, and at a quarter of the speed that the disk would allow. What it finds the writer mends.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

use super::{
    error::{File, StoreError},
    open,
    packed::block::Block,
    samples::Unreadable,
    sum,
};

pub(super) const EVERY: Duration = Duration::from_secs(86_400);
/// After so many pages or steps of a statement it makes way.
const BETWEEN_RESTS: i32 = 200;
const LONGEST_REST: Duration = Duration::from_millis(200);
/// Blocks that one statement looks at.
const STEP_BLOCKS: i64 = 64;

/// Device and inode: another file may have come into its place meanwhile.
pub(super) type Place = (u64, u64);

pub(super) fn place(dir: &Path) -> Option<Place> {
    fs::metadata(dir.join(File::Telemetry.name())).ok().map(|found| (found.dev(), found.ino()))
}

/// What is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The file itself: what SQLite says of it, and which it was.
    File { what: String, place: Option<Place> },
    /// Blocks in a sound file, by id.
    Blocks(Vec<i64>),
}

/// # Errors
/// `Unreadable` if it is not what was packed.
pub(super) fn open_block(known: Option<i64>, bytes: &[u8]) -> Result<Block<'_>, Unreadable> {
    if known.is_some_and(|known| known != sum::of(bytes)) {
        return Err(Unreadable { at: 0 });
    }
    Block::open(bytes)
}

/// One that is older than its sum must make sense from one end to the other.
pub(super) fn is_whole(known: Option<i64>, bytes: &[u8]) -> bool {
    let opened = open_block(known, bytes);
    match known {
        Some(_) => opened.is_ok(),
        None => opened
            .and_then(|block| block.read(|_| true, (i64::MIN, i64::MAX), |_at_ms, _point, _sample| {}))
            .is_ok(),
    }
}

/// One look at the whole file. `None`: it is sound.
///
/// # Errors
/// What SQLite says; that it was interrupted, when `is_over`.
pub(super) fn look(
    dir: &Path,
    is_over: impl Fn() -> bool + Send + 'static,
) -> Result<Option<Found>, StoreError> {
    let place = place(dir);
    match look_closely(dir, is_over) {
        Err(StoreError::Damaged { what, .. }) => Ok(Some(Found::File { what, place })),
        Ok(blocks) if blocks.is_empty() => Ok(None),
        Ok(blocks) => Ok(Some(Found::Blocks(blocks))),
        Err(error) => Err(error),
    }
}

fn look_closely(dir: &Path, is_over: impl Fn() -> bool + Send + 'static) -> Result<Vec<i64>, StoreError> {
    let sql = StoreError::sql(File::Telemetry);
    let conn = open::reader(dir, File::Telemetry)?;
    let mut rested = Instant::now();
    let make_way = move || {
        thread::sleep((rested.elapsed() * 3).min(LONGEST_REST));
        rested = Instant::now();
        is_over()
    };
    conn.progress_handler(BETWEEN_RESTS, Some(make_way)).map_err(sql)?;
    open::check(&conn, File::Telemetry, true)?;
    damaged_blocks(&conn).map_err(sql)
}

/// A statement for some of them, so that no checkpoint waits long.
fn damaged_blocks(conn: &Connection) -> rusqlite::Result<Vec<i64>> {
    let (mut damaged, mut after) = (Vec::new(), i64::MIN);
    let mut some = conn.prepare("SELECT id, sum, bytes FROM block WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    loop {
        let mut blocks = some.query(params![after, STEP_BLOCKS])?;
        let before = after;
        while let Some(block) = blocks.next()? {
            after = block.get(0)?;
            if !is_whole(block.get(1)?, block.get_ref(2)?.as_blob()?) {
                damaged.push(after);
            }
        }
        if after == before {
            return Ok(damaged);
        }
    }
}
