//! `[bus.mqtt]` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::SecretFile;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MqttBroker")]
pub struct Settings {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// The broker keeps our session under this name.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<SecretFile>,
    /// Authorities that may vouch for the broker; given, no others are trusted.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for mutual TLS: both or neither.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Also listen for devices that the site does not know, where the topics of its profiles allow it: `status` lists them. On a broker
    /// shared with others these may be more than is ours to see.
    #[serde(default)]
    pub discover: bool,
}
