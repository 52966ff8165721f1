//! An alarm as a bundle that can be checked anywhere: a tar of JSON lines, raw frames, what was in force, and a page to print.
//!
//! `chain.jsonl` has the rows of the one chain from the alarm's first event to a signature that covers its last; rows about other
//! alarms' people and frames are shown by their digest alone. Everything else in the bundle is vouched for by a row of it, but for
//! `handover.jsonl`: earlier rows in which a key hands over to the next, for those who have only an old key on record.

mod check;
mod page;
mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::domain::{Suite, Text};

pub use self::{
    check::{Checked, check},
    read::{Bundle, read},
    write::{Made, make},
};

/// The first has no `alg` anywhere, and the audit before a chain's beginning digested at once.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const EVENTS: &str = "events.jsonl";
pub(super) const CHAIN: &str = "chain.jsonl";
pub(super) const HANDOVER: &str = "handover.jsonl";
pub(super) const RECEIPTS: &str = "receipts.jsonl";
pub(super) const CONFIGURATION: &str = "configuration.json";
pub(super) const PUBLIC_KEY: &str = "public-key.txt";
pub(super) const PAGE: &str = "index.html";
pub(super) const CAPTURES: &str = "captures/";
pub(super) const WRITINGS: &str = "configuration/";

/// What the bundle is of. Nobody vouches for this but the rest of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub gatehouse_bundle: u32,
    pub site: String,
    pub occurrence: String,
    pub made_at: String,
    pub made_by: String,
    /// Each file's digest: what was damaged on the way is known.
    pub files: std::collections::BTreeMap<String, String>,
    /// What they are digested with.
    #[serde(default, skip_serializing_if = "Suite::is_international")]
    pub alg: Suite,
    /// What should be here and is not.
    pub lacks: Vec<Text>,
}

/// A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    pub seq: u64,
    pub record: String,
    pub hash: String,
    pub prev_hash: String,
}

/// A line of `chain.jsonl`; the first has only `n` and `hash`, of the row before, and what the row after it is hashed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLine {
    pub n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Of the record, by the row's own hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub hash: String,
    #[serde(default, skip_serializing_if = "Suite::is_international")]
    pub alg: Suite,
}

/// A line of `receipts.jsonl`: a letter, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    pub row: i64,
    pub endpoint: String,
    pub event: String,
    pub seq: u64,
    pub state: String,
    pub attempts: u32,
    pub at: Option<String>,
    pub status: Option<u16>,
    pub said: Option<String>,
}
