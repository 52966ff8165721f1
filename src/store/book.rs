//! The file under the writer's hands: open, or shut and why; where it lies; and how large it may grow.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Instant};

use rusqlite::{Connection, config::DbConfig};
use tracing::warn;

use super::{
    Commit, Settings,
    condition::StoreState,
    error::{File, StoreError},
    evidence::Sealed,
    open,
};
use crate::domain::Priority;

/// The file, as far as it can be used.
pub(super) enum Book {
    Open(Pages),
    Shut(Shut),
}

pub(super) struct Pages {
    pub conn: Connection,
    /// The file and its log as they were opened: device and inode.
    files: [Option<(u64, u64)>; 2],
}

pub(super) struct Shut {
    pub state: StoreState,
    pub why: String,
    pub again_at: Instant,
    /// Nothing was read of it at the start: once it can be, everything starts anew.
    pub blind: bool,
    /// What is undelivered in it is still delivered, if it can be read.
    pub reader: Option<Connection>,
}

/// Closed without a last checkpoint, which would write by the handle that failed.
pub(super) fn abandon(conn: Connection) {
    if let Err(error) = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        warn!(%error, "A connection that failed may write once more at its end.");
    }
    drop(conn);
}

impl Shut {
    pub fn error(&self) -> StoreError {
        let (file, why) = (File::Events, self.why.clone());
        match self.state {
            StoreState::Leaving => StoreError::Failed { file, why },
            StoreState::Sound
            | StoreState::Full
            | StoreState::ReadOnly
            | StoreState::Away
            | StoreState::Salvaging
            | StoreState::Failing => StoreError::Away { file, why },
        }
    }
}

impl Pages {
    pub fn of(conn: Connection, settings: &Settings) -> Self {
        let mut pages = Self { conn, files: [None; 2] };
        pages.files = places(settings);
        pages
    }

    /// The log may come into being after the opening.
    pub fn is_in_place(&mut self, settings: &Settings) -> bool {
        let now = places(settings);
        if self.files[1].is_none() {
            self.files[1] = now[1];
        }
        self.files == now
    }
}

fn places(settings: &Settings) -> [Option<(u64, u64)>; 2] {
    ["events.db", "events.db-wal"].map(|name| {
        let path: PathBuf = settings.dir.join(name);
        fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
    })
}

/// How many pages the file may have, and who may use the last of them. If new events took them all, no delivered mark
/// could be written any more, and so no room be made, ever.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub pages: i64,
    pub reserve: i64,
}

impl Room {
    pub fn of(settings: &Settings) -> Self {
        let pages = open::pages(settings.events_max);
        Room { pages, reserve: (pages / 32).max(16) }
    }

    /// Critical and high events may go further than the others; the last reserve is for marks.
    pub fn for_commit(self, commit: &Commit) -> i64 {
        let pressing = |event: &Sealed| match event.event.alarm.priority {
            Priority::Critical | Priority::High => true,
            Priority::Medium | Priority::Low => false,
        };
        let urgent = commit.events.is_empty() || commit.events.iter().any(pressing);
        self.pages - if urgent { self.reserve } else { 2 * self.reserve }
    }
}
