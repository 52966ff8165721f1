//! Room on the partition: what the limits need of it, what stays free, and eight megabytes that are given back when
//! somebody else has taken all of it. (In WAL mode a full disk cannot even delete: making room needs room.)

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{info, warn};

use super::{Settings, error::StoreError, quarantine};
use crate::domain::Size;

const RESERVE: u64 = 64 << 20;
const BALLAST: u64 = 8 << 20;
/// What the logs beside the two files may take when nobody holds them back: 4 MiB (`open`) and 15 MiB (`ledger`), and the end of a large commit.
const LOGS: u64 = 20 << 20;

/// With less room than this an error of the disk is want of room.
pub(super) const NO_ROOM: u64 = 256 << 10;

/// How the partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub size: u64,
    /// For this user.
    pub free: u64,
}

/// `None` if it cannot be asked.
pub(super) fn partition(dir: &Path) -> Option<Partition> {
    let stat = statvfs(dir).ok()?;
    Some(Partition {
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

/// A file system that took itself out of service may still call itself writable: whether it takes a file says more.
pub(super) fn is_read_only(dir: &Path) -> bool {
    let probe = dir.join("events.probe");
    let made = OpenOptions::new().write(true).create(true).truncate(true).open(&probe);
    let refused = made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
    if made.is_ok()
        && let Err(error) = fs::remove_file(&probe)
    {
        return error.kind() == io::ErrorKind::ReadOnlyFilesystem;
    }
    refused
}

/// What is to stay free: as the site says, or 64 MiB and on a small partition an eighth.
pub(super) fn reserve(settings: &Settings, partition: Partition) -> u64 {
    settings.reserve.map_or_else(|| RESERVE.min(partition.size / 8), |size| size.0)
}

/// Whether less than that is free.
pub(super) fn is_low(settings: &Settings) -> bool {
    partition(&settings.dir).is_some_and(|partition| partition.free < reserve(settings, partition))
}

fn ballast(partition: Partition) -> u64 {
    BALLAST.min(partition.size / 64)
}

/// # Errors
/// `TooLarge` if the limits are more than the partition holds, whoever else may use it. One that cannot be asked fits.
pub(super) fn check_fit(settings: &Settings) -> Result<(), StoreError> {
    // Before the first start the directory is not there: what counts is where it will be.
    match settings.dir.ancestors().find_map(partition) {
        Some(partition) => fit(settings, partition),
        None => Ok(()),
    }
}

/// What the limits make in all.
fn wanted(settings: &Settings, partition: Partition) -> u64 {
    let (events, telemetry) = (settings.events_max.0, settings.telemetry_max.0);
    let logs = LOGS.min((events + telemetry) / 8);
    events + telemetry + logs + ballast(partition) + reserve(settings, partition)
}

fn fit(settings: &Settings, partition: Partition) -> Result<(), StoreError> {
    let wanted = wanted(settings, partition);
    if wanted <= partition.size {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        dir: settings.dir.clone(),
        wanted: Size(wanted),
        holds: Size(partition.size),
        events_max: settings.events_max,
        telemetry_max: settings.telemetry_max,
    })
}

/// Limits that the partition does not hold, and some that it would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Where the store will be, as far as that is there already.
    pub dir: PathBuf,
    pub wanted: Size,
    pub holds: Size,
    pub reserve: Size,
    pub ballast: Size,
    /// `None`: the partition is too small for any.
    pub instead: Option<Instead>,
}

/// `events_max` is lowered only where `telemetry_max` alone does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instead {
    pub events_max: Size,
    pub telemetry_max: Size,
}

impl Settings {
    /// Whether these limits fit the partition that `dir` is on; one that cannot be asked holds everything. None of either is below `least`.
    pub fn too_large(&self, least: Size) -> Option<TooLarge> {
        let (dir, partition) = self.dir.ancestors().find_map(|dir| Some((dir, partition(dir)?)))?;
        self.too_large_for(dir, partition, least)
    }

    fn too_large_for(&self, dir: &Path, partition: Partition, least: Size) -> Option<TooLarge> {
        let wanted = wanted(self, partition);
        (wanted > partition.size).then(|| TooLarge {
            dir: dir.to_owned(),
            wanted: Size(wanted),
            holds: Size(partition.size),
            reserve: Size(reserve(self, partition)),
            ballast: Size(ballast(partition)),
            instead: instead(self, partition, least),
        })
    }
}

/// Whole MiB, and a tenth of the partition for whoever else is on it.
fn instead(settings: &Settings, partition: Partition, least: Size) -> Option<Instead> {
    let kept = ballast(partition) + reserve(settings, partition) + partition.size / 10;
    let both = partition.size.checked_sub(kept)? * 8 / 9;
    let mib = |bytes: u64| Size(bytes >> 20 << 20);
    let events_max = settings.events_max.min(mib(both / 2).max(least));
    let telemetry_max = settings.telemetry_max.min(mib(both.checked_sub(events_max.0)?));
    (telemetry_max >= least).then_some(Instead { events_max, telemetry_max })
}

/// On a full disk: one more of the files that nobody needs to go on is given up, damaged ones that were kept, then the ballast.
/// False if the disk is not full, or nothing is left to give.
pub(super) fn give_way(dir: &Path) -> bool {
    let full = partition(dir).is_some_and(|partition| partition.free < NO_ROOM);
    full && (quarantine::give_up_oldest(dir) || Ballast::of(dir).release())
}

/// The file that is given up.
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub fn of(dir: &Path) -> Self {
        Self { path: dir.join("ballast") }
    }

    /// Gives its room back. False if it was given back before.
    pub fn release(&self) -> bool {
        let released = fs::remove_file(&self.path).is_ok();
        if released {
            warn!("The disk is full: the ballast is given up.");
        }
        released
    }

    /// Makes it again once there is room for it and the reserve.
    pub fn remake(&self, partition: Partition, reserve: u64) {
        let bytes = ballast(partition);
        let whole = fs::metadata(&self.path).is_ok_and(|found| found.len() >= bytes);
        if bytes == 0 || whole || partition.free < reserve + bytes {
            return;
        }
        match self.fill(bytes) {
            Ok(()) => info!(bytes, "The ballast is in place."),
            Err(error) => {
                warn!(%error, "The ballast cannot be made.");
                self.release();
            }
        }
    }

    fn fill(&self, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
        if fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
            // a file system that cannot set room aside takes zeros
            let zeros = [0; 1 << 16];
            for _ in 0..bytes.div_ceil(zeros.len() as u64) {
                file.write_all(&zeros)?;
            }
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn settings(events: u64, telemetry: u64, reserve: Option<u64>) -> Settings {
        let (events_max, telemetry_max) = (Size(events * MIB), Size(telemetry * MIB));
        let reserve = reserve.map(|mib| Size(mib * MIB));
        Settings { events_max, telemetry_max, reserve, ..Settings::of_a_test("/s") }
    }

    #[test]
    fn limits_that_the_partition_does_not_hold_are_refused() {
        for (fact, settings, size, fits) in [
            ("the defaults on an 8 GB card", settings(512, 1024, None), 7400, true),
            ("the defaults on 1 GiB", settings(512, 1024, None), 1024, false),
            ("a small partition, small limits", settings(16, 16, None), 64, true),
            ("its reserve is an eighth", settings(24, 16, None), 56, true),
            ("no room for the reserve that is asked for", settings(16, 16, Some(32)), 64, false),
            ("a reserve that fits", settings(16, 16, Some(8)), 64, true),
        ] {
            let partition = Partition { size: size * MIB, free: 0 };
            let outcome = fit(&settings, partition);
            assert_eq!(outcome.is_ok(), fits, "{fact}: {outcome:?}");
        }
    }

    #[test]
    fn what_is_proposed_instead_fits() {
        let least = Size(8 * MIB);
        let proposed = |settings: &Settings, size: u64| {
            let partition = Partition { size: size * MIB, free: 0 };
            let told = settings.too_large_for(Path::new("/s"), partition, least)?;
            if let Some(Instead { events_max, telemetry_max }) = told.instead {
                let lowered = Settings { events_max, telemetry_max, ..settings.clone() };
                assert_eq!(fit(&lowered, partition).ok(), Some(()), "{told:?}");
                assert!(events_max >= least && telemetry_max >= least);
            }
            Some(told.instead.map(|it| [it.events_max, it.telemetry_max].map(|size| size.0 / MIB)))
        };
        let defaults = settings(512, 1024, None);
        assert_eq!(proposed(&defaults, 7400), None, "they fit");
        assert_eq!(proposed(&defaults, 1024), Some(Some([377, 378])));
        assert_eq!(
            proposed(&settings(16, 1024, None), 1024),
            Some(Some([16, 739])),
            "events.db keeps what it has"
        );
        assert_eq!(proposed(&settings(16, 16, Some(60)), 64), Some(None), "the reserve takes it all");
    }

    #[test]
    fn the_ballast_is_given_up_once_and_made_again_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::of(dir.path());
        let bytes = || fs::metadata(dir.path().join("ballast")).map(|found| found.len()).ok();
        let partition = |free| Partition { size: 64 * MIB, free };
        ballast.remake(partition(9 * MIB - 1), 8 * MIB);
        assert_eq!(bytes(), None, "not from the reserve");
        ballast.remake(partition(9 * MIB), 8 * MIB);
        assert_eq!(bytes(), Some(MIB));
        assert!(ballast.release() && !ballast.release());
        assert_eq!(bytes(), None);
    }
}
