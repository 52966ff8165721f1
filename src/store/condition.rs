//! How the store is, for those who watch it: what its own alarms are decided from.

use super::losses::Untold;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// What is committed is on the disk.
    Sound,
    /// No room; urgent alarms go from memory.
    Full,
    /// The file system cannot be written.
    ReadOnly,
    /// The file cannot be reached.
    Away,
    /// It was damaged; what can be read of it is being brought into a new one.
    Salvaging,
    /// The disk failed: the gateway ends, and starts anew.
    Leaving,
    /// The disk failed too often: the gateway stays up, and tries now and then.
    Failing,
}

impl StoreState {
    pub fn word(self) -> &'static str {
        match self {
            StoreState::Sound => "sound",
            StoreState::Full => "full",
            StoreState::ReadOnly => "read_only",
            StoreState::Away => "away",
            StoreState::Salvaging => "salvaging",
            StoreState::Leaving | StoreState::Failing => "failing",
        }
    }
}

/// What was found out about the file since the start; it does not change by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// It was damaged, gone, replaced or older than it should be.
    pub broken: bool,
    /// Undelivered letters saved from a damaged file.
    pub salvaged: u64,
    /// Undelivered letters that could not be read any more.
    pub unreadable: u64,
    /// Events that were sent or stored once, and are in no file now.
    pub missing: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub state: StoreState,
    pub why: String,
    /// Of the limit of events.db, in percent.
    pub used_percent: f64,
    /// On the partition, in bytes; `None` if nobody knows.
    pub free: Option<u64>,
    /// Less than what is to stay free.
    pub is_low: bool,
    /// The larger of the two logs, in bytes.
    pub log: u64,
    /// Letters that go from memory.
    pub volatile: usize,
    pub findings: Findings,
    /// Nobody was told of them yet.
    pub losses: Vec<Untold>,
}
