//! What a row of the chain says: JSON, stored as written. Hashes are hex; times carry the site's offset.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{NextKey, Suite, Text, TimeQuality},
    store::evidence::{Hash, digest, hex, unhex},
};

/// A digest in hex that stands under the name of its hash, such as `sha256` or `sm3`.
macro_rules! named_digest {
    ($(#[$doc:meta])* $name:ident, $sha256:literal, $sm3:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            #[serde(rename = $sha256)]
            Sha256(String),
            #[serde(rename = $sm3)]
            Sm3(String),
        }

        impl $name {
            pub fn named(suite: Suite, hex: String) -> Self {
                match suite {
                    Suite::International => $name::Sha256(hex),
                    Suite::Guomi => $name::Sm3(hex),
                }
            }

            pub fn suite(&self) -> Suite {
                match self {
                    $name::Sha256(_) => Suite::International,
                    $name::Sm3(_) => Suite::Guomi,
                }
            }
        }
    };
}

named_digest!(
    /// Of a file.
    FileDigest, "sha256", "sm3"
);
named_digest!(
    /// Of what a receiver said.
    SaidDigest, "said_sha256", "said_sm3"
);

/// Of the audit up to some entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditDigest {
    /// Of all of it at once, as older versions wrote it.
    #[serde(rename = "audit_sha256")]
    Sha256(String),
    /// Entry by entry, each over the one before: what is added costs nothing of what was there.
    #[serde(rename = "audit_folded_sha256")]
    FoldedSha256(String),
    #[serde(rename = "audit_folded_sm3")]
    FoldedSm3(String),
}

impl AuditDigest {
    pub fn folded(suite: Suite, sum: &Hash) -> Self {
        match suite {
            Suite::International => AuditDigest::FoldedSha256(hex(sum)),
            Suite::Guomi => AuditDigest::FoldedSm3(hex(sum)),
        }
    }

    /// If it can be gone on from.
    pub fn fold(&self, suite: Suite) -> Option<Hash> {
        match (self, suite) {
            (AuditDigest::FoldedSha256(sum), Suite::International)
            | (AuditDigest::FoldedSm3(sum), Suite::Guomi) => unhex(sum),
            (AuditDigest::Sha256(_) | AuditDigest::FoldedSha256(_) | AuditDigest::FoldedSm3(_), _) => None,
        }
    }
}

impl FileDigest {
    pub fn of(suite: Suite, bytes: &[u8]) -> Self {
        Self::named(suite, hex(&digest(suite, bytes)))
    }

    pub fn is_of(&self, bytes: &[u8]) -> bool {
        *self == Self::of(self.suite(), bytes)
    }
}

impl SaidDigest {
    /// Silence is the digest of nothing.
    pub fn of(suite: Suite, said: Option<&str>) -> Self {
        Self::named(suite, hex(&digest(suite, said.unwrap_or_default().as_bytes())))
    }
}

/// A row of the chain: what it says, and when that was written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    #[serde(flatten)]
    pub fact: Fact,
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What this row is hashed with.
    #[serde(default, skip_serializing_if = "Suite::is_international")]
    pub alg: Suite,
}

impl Record {
    /// What the row after it is hashed with.
    pub fn alg_after(&self) -> Suite {
        let Fact::Switch { next, .. } = &self.fact else { return self.alg };
        next.alg
    }
}

/// Wall time, time since boot, which boot (its first 8 digits; the whole is in the row of kind `start`) and what the clock was worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    pub at: String,
    pub boot: String,
    pub mono_ms: u64,
    pub clock: TimeQuality,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// What lies before is told here once and for all.
    Base(Base),
    /// An event's own hash covers its record.
    Event {
        seq: u64,
        hash: String,
        occurrence: String,
        /// What the event is hashed with; one that waited in memory was sealed before a switch.
        #[serde(default, skip_serializing_if = "Suite::is_international")]
        event_alg: Suite,
    },
    /// Somebody did something, or asked for it.
    Audit {
        number: i64,
        at_ms: i64,
        who: String,
        origin: String,
        action: String,
        object: String,
        outcome: String,
    },
    /// A letter came to its end.
    Receipt(ReceiptFact),
    /// The gateway began to run.
    Start { version: String, boot_id: String, timezone: String, configuration: Configuration },
    /// The wall clock was set, or is worth more or less than before.
    Clock { from: TimeQuality, to: TimeQuality, stepped_ms: i64 },
    /// The end of the chain before this row, signed; `configuration`: the digest of [`Configuration::text`].
    Head { signed: String, signature: String, public_key: String, configuration: String },
    /// From the next row on others hash and sign. What is signed is the end of the chain before this row, and `next`.
    Switch { next: NextKey, signed: String, signature: String, public_key: String },
    /// Raw frames and readings around a critical alarm, in a file beside the store.
    Capture(Capture),
    /// A capture was given up: its room was needed.
    Dropped {
        file: String,
        #[serde(flatten)]
        digest: FileDigest,
    },
}

impl Configuration {
    /// The bytes that are hashed.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Fact {
    pub fn word(&self) -> &'static str {
        match self {
            Fact::Base(_) => "base",
            Fact::Event { .. } => "event",
            Fact::Audit { .. } => "audit",
            Fact::Receipt(_) => "receipt",
            Fact::Start { .. } => "start",
            Fact::Clock { .. } => "clock",
            Fact::Head { .. } => "head",
            Fact::Switch { .. } => "switch",
            Fact::Capture(_) => "capture",
            Fact::Dropped { .. } => "dropped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    pub why: Why,
    pub epoch: String,
    /// The last row of the chain that is not here any more; its hash is what the next one follows.
    pub link: u64,
    pub link_hash: String,
    /// The last event before the chain's beginning; for `retired`, of those that are gone.
    pub seq: u64,
    pub hash: String,
    /// The audit up to this number has no rows here.
    pub audit: i64,
    #[serde(flatten)]
    pub audit_digest: AuditDigest,
    /// Letters up to this one may have come to their end without a row here.
    pub letter: i64,
}

/// Why the chain begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Begun,
    /// By an older version, which had no chain but that of the events.
    Upgraded,
    /// The oldest made room.
    Retired,
    /// The file was damaged: this is what could be read.
    Salvaged,
    /// Events are missing, or were taken back before anybody was told.
    Gap,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFact {
    pub row: i64,
    pub endpoint: String,
    pub event: String,
    pub seq: u64,
    /// `delivered` or `set_aside`.
    pub outcome: String,
    pub at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of what the receiver said, as it is kept in the outbox.
    #[serde(flatten)]
    pub said: SaidDigest,
}

/// The site file with every default, and the profiles of its devices, each by its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub site: String,
    pub profiles: std::collections::BTreeMap<String, String>,
    /// What they are digested with.
    #[serde(default, skip_serializing_if = "Suite::is_international")]
    pub alg: Suite,
}

/// A text that was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    /// `gatehouse.toml`, or a profile with its revision.
    pub name: String,
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    pub occurrence: String,
    pub event: String,
    pub bus: String,
    /// Its name in `captures/`.
    pub file: String,
    #[serde(flatten)]
    pub digest: FileDigest,
    pub bytes: u64,
    pub from: String,
    pub to: String,
    pub frames: u64,
    pub readings: u64,
    /// Of the time wanted, what is not in it, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Gap>,
}

/// Something that a capture should have and has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub what: Text,
    pub why: Text,
}
