//! Where a secret is kept. Site files never hold the secret itself.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `{ file = "…" }`: relative to the systemd credentials directory, then to the site file's directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct SecretFile {
    pub file: PathBuf,
}
