//! What the evidence is hashed and signed with.

use serde::{Deserialize, Serialize};

/// A hash and a signature that go together. In what is kept it is named as `alg`; what bears no name is of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Suite {
    /// SHA-256 and Ed25519: all that older versions had.
    #[default]
    #[serde(rename = "ed25519-sha256")]
    International,
    /// 国密: SM2 (GM/T 0003) and SM3 (GM/T 0004).
    #[serde(rename = "sm2-sm3")]
    Guomi,
}

impl Suite {
    pub const ALL: [Suite; 2] = [Suite::International, Suite::Guomi];

    pub fn word(self) -> &'static str {
        match self {
            Suite::International => "ed25519-sha256",
            Suite::Guomi => "sm2-sm3",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.word() == word)
    }

    /// What it hashes with, as people call it.
    pub fn hash(self) -> &'static str {
        match self {
            Suite::International => "SHA-256",
            Suite::Guomi => "SM3",
        }
    }

    /// What it signs with.
    pub fn signature(self) -> &'static str {
        match self {
            Suite::International => "Ed25519",
            Suite::Guomi => "SM2",
        }
    }

    /// Then its name is left out.
    pub fn is_international(&self) -> bool {
        *self == Suite::International
    }
}
