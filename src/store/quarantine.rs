//! Damaged files are kept for whoever wants to know what happened: the last two, with what lies beside them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::error::{Access, File, StoreError};

/// Its log and the log's index go where it goes.
pub(super) const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];
const KEPT: u64 = 2;

/// Renames `from` (a file of the store under whatever name) to `<file>.damaged-<n>`, and lets go of the oldest beyond two.
///
/// # Errors
/// `Io` if it cannot be moved.
pub(super) fn put_aside(dir: &Path, file: File, from: &Path) -> Result<PathBuf, StoreError> {
    let numbers = numbers(dir, file);
    let next = numbers.last().map_or(1, |last| last + 1);
    let to = dir.join(format!("{file}.damaged-{next}"));
    rename(from, &to)?;
    for old in numbers.iter().filter(|old| **old + KEPT <= next) {
        remove(&dir.join(format!("{file}.damaged-{old}")));
    }
    Ok(to)
}

/// Moves a file with what lies beside it.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    for ending in ENDINGS {
        let (from, to) = (with(from, ending), with(to, ending));
        if from.exists() {
            fs::rename(&from, &to)
                .map_err(|source| StoreError::io("put aside", &from, Access::Write, source))?;
        }
    }
    Ok(())
}

/// Removes a file with what lies beside it; what is not there is gone already.
pub(super) fn remove(path: &Path) {
    for ending in ENDINGS {
        let path = with(path, ending);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "A file that is not needed any more cannot be removed.");
        }
    }
}

/// The oldest damaged file goes: room is needed. False if there is none.
pub(super) fn give_up_oldest(dir: &Path) -> bool {
    let oldest = [File::Telemetry, File::Events]
        .into_iter()
        .find_map(|file| Some((file, *numbers(dir, file).first()?)));
    if let Some((file, n)) = oldest {
        remove(&dir.join(format!("{file}.damaged-{n}")));
    }
    oldest.is_some()
}

pub(super) fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Of those that are there, in order.
fn numbers(dir: &Path, file: File) -> Vec<u64> {
    let prefix = format!("{file}.damaged-");
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut numbers: Vec<u64> =
        names.filter_map(|name| name.to_str()?.strip_prefix(&prefix)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.db");
        for round in 1..=4 {
            for ending in ENDINGS {
                fs::write(with(&path, ending), round.to_string()).unwrap();
            }
            put_aside(dir.path(), File::Events, &path).unwrap();
        }
        assert_eq!(numbers(dir.path(), File::Events), [3, 4]);
        let wal = dir.path().join("events.db.damaged-4-wal");
        assert_eq!(fs::read_to_string(wal).unwrap(), "4");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
        assert!(give_up_oldest(dir.path()) && give_up_oldest(dir.path()) && !give_up_oldest(dir.path()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
