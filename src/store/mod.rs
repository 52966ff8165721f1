//! Keeps: `events.db` (alarms, outbox, audit; every commit on disk before it is believed) and `telemetry.db` (readings).
//! The only room that speaks SQL. One writer per file.

mod alarms;
mod ballast;
mod book;
mod carve;
pub mod chain;
mod columns;
mod commit;
mod condition;
mod credits;
mod desk;
mod error;
mod events;
mod evict;
pub mod evidence;
mod flash;
mod freeze;
mod incidents;
mod ledger;
mod letters;
mod losses;
mod mend;
mod migrate;
mod open;
mod operations;
mod outbox;
pub mod packed;
mod packer;
mod pages;
mod patrol;
pub mod privacy;
mod pseudonym;
mod quarantine;
mod reader;
mod readings;
mod remake;
mod rescue;
mod retention;
mod ring;
mod rollup;
mod salvage;
pub mod samples;
mod shortage;
mod spool;
mod start;
mod stretch;
mod sum;
mod telemetry;
#[cfg(test)]
mod tests;
mod uploads;
mod watermark;

pub use alarms::{AlarmFilter, AlarmRow, Alarms};
pub use ballast::{Instead, TooLarge};
pub use chain::{Broken, Verified, Writing};
pub use condition::{Condition, StoreState};
pub use credits::CreditRow;
pub use error::{Access, File, StoreError};
pub use events::EventStore;
pub use flash::FlashUse;
pub use letters::{Discarded, LetterFilter, LetterRow, LetterState, Wanted};
pub use losses::Untold;
pub use operations::{Fired, OpenOperation, OperationStep};
pub use outbox::Told;
pub use packed::tally::Span;
pub use pages::{Noted, Page};
pub use pseudonym::Pseudonyms;
pub use reader::{Delivery, Reader};
pub use readings::{Readings, StoredReading, TelemetryReader};
pub use remake::Scribe;
pub use rollup::Rollup;
pub use telemetry::{Kept, TelemetryStore};
pub use uploads::UploadCursor;

use std::{path::PathBuf, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::domain::{
    AlarmMemory, DeviceId, DeviceIx, EndpointId, Letter, OccurrenceId, Period, PointIx, PointName, Receipt,
    Sample, Size, Suite, credit::Account,
};

/// `[store]` as checked: `dir` is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub dir: PathBuf,
    pub events_max: Size,
    pub telemetry_max: Size,
    pub telemetry_keep: Period,
    /// What the readings of an hour and of a day came to is kept longer.
    pub hourly_keep: Period,
    pub daily_keep: Period,
    /// Bytes a day that may be written to the flash, and how many it can take in all.
    pub flash_per_day: Option<Size>,
    pub flash_endurance: Option<Size>,
    /// Whose days they are.
    pub timezone: TimeZone,
    /// What stays free on the partition for whatever else must go on there; `None`: 64 MiB, less on a small one.
    pub reserve: Option<Size>,
    /// What the evidence is hashed and signed with from now on.
    pub suite: Suite,
}

#[cfg(test)]
impl Settings {
    /// For a test's store in `dir`.
    pub fn of_a_test(dir: impl Into<PathBuf>) -> Self {
        let keep = |text: &str| text.parse().expect("a period");
        Self {
            dir: dir.into(),
            events_max: Size(64 << 20),
            telemetry_max: Size(64 << 20),
            telemetry_keep: keep("90d"),
            hourly_keep: keep("400d"),
            daily_keep: keep("3650d"),
            flash_per_day: None,
            flash_endurance: None,
            timezone: TimeZone::UTC,
            reserve: None,
            suite: Suite::default(),
        }
    }
}

/// What must be true together, committed together.
#[derive(Debug, Default)]
pub struct Commit {
    pub events: Vec<evidence::Sealed>,
    pub letters: Vec<Letter>,
    /// The engine's memory after these events, and delays that began or ended.
    pub alarms: Vec<AlarmMemory>,
    pub audit: Vec<AuditEntry>,
    /// What devices are told, and what came of it.
    pub operations: Vec<OperationStep>,
    /// Points that are given, with the events that tell of them, and the books with them entered.
    pub credits: Vec<CreditRow>,
    pub accounts: Vec<(DeviceId, Account)>,
    /// Losses (`Condition::losses`) of which these events tell.
    pub told_losses: Vec<i64>,
}

/// Who did what, when: kept even when nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub who: String,
    pub from: String,
    pub action: &'static str,
    pub object: String,
    pub outcome: String,
}

/// A letter was delivered: when, and what the receiver said to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipted {
    pub at: Timestamp,
    /// As HTTP has it.
    pub status: u16,
    /// The reply's body; what goes beyond 1 KiB is cut off when it is stored.
    pub said: String,
}

/// What was not delivered to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub queued: u64,
    pub set_aside: u64,
}

/// What stood on disk when the store was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Made anew when the file was: 128 random bits as hex.
    pub epoch: String,
    pub last_seq: u64,
    pub last_hash: evidence::Hash,
    pub alarms: Vec<AlarmMemory>,
    /// Who was written to about each occurrence that is not closed.
    pub told: Vec<(OccurrenceId, EndpointId)>,
    /// What a device was told and whose outcome nobody wrote down.
    pub operations: Vec<OpenOperation>,
    pub fired: Vec<Fired>,
    /// Open once, and raised anew under another name by a run that could not read the file: nobody was told of their end.
    pub superseded: Vec<OccurrenceId>,
    /// When the latest of it was written, as far as a clock was believed that said so.
    pub newest: Option<Timestamp>,
}

/// When anything in `dir` was written last, by the clock of that time. `None`: nothing was, or nobody knows.
pub fn last_written(dir: &std::path::Path) -> Option<Timestamp> {
    let files = ["telemetry.db", "telemetry.db-wal", "events.db", "events.db-wal"];
    let written = files.iter().filter_map(|name| std::fs::metadata(dir.join(name)).ok()?.modified().ok());
    written.max().and_then(|at| Timestamp::try_from(at).ok())
}

impl Recovered {
    /// Where nothing can be read.
    pub(crate) fn nothing() -> Self {
        Self {
            epoch: String::new(),
            last_seq: 0,
            last_hash: evidence::Hash::default(),
            alarms: Vec::new(),
            told: Vec::new(),
            operations: Vec::new(),
            fired: Vec::new(),
            superseded: Vec::new(),
            newest: None,
        }
    }
}

/// One row for `telemetry.db`: what was read together.
#[derive(Debug)]
pub struct Row {
    pub device: DeviceIx,
    pub at: Timestamp,
    pub samples: Vec<(PointIx, Sample)>,
    /// Told once the row is committed, or lost and counted.
    pub receipt: Option<Receipt>,
}

/// The names behind `DeviceIx` and `PointIx`, so that the file speaks names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    pub device: DeviceId,
    /// Name and unit, in the profile's order.
    pub points: Vec<(PointName, String)>,
}

pub type Catalogue = Arc<[CatalogueEntry]>;
