//! A signed end of the chain of evidence: whoever holds one can tell whether what lies before it was changed since.

use serde::{Deserialize, Serialize};

use super::Suite;

/// How far the chain went, and the box's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// [`HeadStatement`] as JSON: the bytes that were signed.
    pub signed: String,
    /// Base64: Ed25519 as it is, SM2 as DER (GM/T 0009).
    pub signature: String,
    /// The first 16 hex digits of the hash of the public key.
    pub key: String,
}

/// What is signed. Hashes are hex, `at` has the site's offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadStatement {
    pub gatehouse_head: u32,
    pub epoch: String,
    /// The latest event and its hash.
    pub seq: u64,
    pub hash: String,
    /// The latest row of the one chain and its hash.
    pub link: u64,
    pub link_hash: String,
    pub at: String,
    pub boot_id: String,
    pub mono_ms: u64,
    pub time_quality: super::TimeQuality,
    /// What the rows before are hashed with, and this is signed with.
    #[serde(default, skip_serializing_if = "Suite::is_international")]
    pub alg: Suite,
    /// Who signs from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextKey>,
}

/// Whom the key that signs this hands over to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextKey {
    pub alg: Suite,
    /// Base64.
    pub public_key: String,
}

pub const HEAD_VERSION: u32 = 1;

impl SignedHead {
    /// `None` if it is not one that this program knows.
    pub fn statement(&self) -> Option<HeadStatement> {
        Self::read(&self.signed)
    }

    /// The same, of the bytes that were signed.
    pub fn read(signed: &str) -> Option<HeadStatement> {
        let statement: HeadStatement = serde_json::from_str(signed).ok()?;
        (statement.gatehouse_head == HEAD_VERSION).then_some(statement)
    }
}
