//! `[evidence]`: by which algorithms the site's evidence is made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Suite;

/// How what happened is proved later.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Evidence")]
pub struct EvidenceTable {
    /// What the chain is hashed with and its end signed with. A change is a row of the chain; what was written before stays as it is.
    pub algorithms: Algorithms,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithms {
    /// SHA-256 and Ed25519.
    #[default]
    International,
    /// 国密: SM3 and SM2.
    Guomi,
}

impl From<Algorithms> for Suite {
    fn from(algorithms: Algorithms) -> Suite {
        match algorithms {
            Algorithms::International => Suite::International,
            Algorithms::Guomi => Suite::Guomi,
        }
    }
}
