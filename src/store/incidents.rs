//! `events.incidents`: how often the disk failed lately, across starts. A gateway that starts anew after each failure helps
//! a disk that failed once; on one that keeps failing it stays up and goes on from memory.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tracing::debug;

const WITHIN: Duration = Duration::from_secs(3600);
/// After more than so many failures in an hour it stays up.
const MOST: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Reading, writing or fsync failed.
    Disk,
    /// The file turned out damaged while it was in use; the next start looks closely.
    Damage,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Seconds since the machine started, which no clock step changes; another boot's say nothing.
    boot: String,
    at: Vec<(u64, Kind)>,
}

pub(super) struct Incidents {
    path: PathBuf,
    record: Record,
}

impl Incidents {
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("events.incidents");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let found = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let record = found.filter(|record| record.boot == boot.trim());
        let record = record.unwrap_or_else(|| Record { boot: boot.trim().to_owned(), at: Vec::new() });
        Self { path, record }
    }

    /// Whether the file was found damaged in use and not been looked at since.
    pub fn suspects_damage(&self) -> bool {
        self.record.at.last().is_some_and(|(_, kind)| *kind == Kind::Damage)
    }

    /// Looked at: what was suspected is not suspected any more.
    pub fn looked_at(&mut self) {
        if self.suspects_damage() {
            for (_, kind) in &mut self.record.at {
                *kind = Kind::Disk;
            }
            self.write();
        }
    }

    /// One more. Whether to stay up all the same: it happens too often, or nobody would know how often.
    pub fn note(&mut self, kind: Kind) -> bool {
        let now = now();
        self.record.at.retain(|(at, _)| now.saturating_sub(*at) < WITHIN.as_secs());
        self.record.at.push((now, kind));
        let too_often = self.record.at.len() > MOST;
        !self.write() || too_often
    }

    fn write(&self) -> bool {
        let written = serde_json::to_vec(&self.record)
            .map_err(Into::into)
            .and_then(|bytes| fs::write(&self.path, bytes));
        if let Err(error) = &written {
            debug!(%error, "The record of disk failures cannot be written.");
        }
        written.is_ok()
    }
}

fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_failure_within_an_hour_is_one_too_many_whoever_counts() {
        let dir = tempfile::tempdir().unwrap();
        for stays in [false, false, false, true] {
            assert_eq!(Incidents::open(dir.path()).note(Kind::Disk), stays);
        }
        let mut long_ago = Incidents::open(dir.path());
        for (at, _) in &mut long_ago.record.at {
            *at = at.saturating_sub(WITHIN.as_secs());
        }
        assert_eq!(long_ago.note(Kind::Disk), now() < WITHIN.as_secs());
        assert!(Incidents::open(Path::new("/nonexistent")).note(Kind::Disk), "nobody can count: it stays up");
    }

    #[test]
    fn damage_is_suspected_until_somebody_looked() {
        let dir = tempfile::tempdir().unwrap();
        let mut incidents = Incidents::open(dir.path());
        incidents.note(Kind::Damage);
        assert!(Incidents::open(dir.path()).suspects_damage());
        incidents.looked_at();
        assert!(!Incidents::open(dir.path()).suspects_damage());
    }
}
