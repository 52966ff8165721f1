//! `[bus.mqtt]` as checked.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

#[derive(Clone, Debug)]
pub struct Settings {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: Url,
    /// The broker keeps the session, and what came in meanwhile, under this name.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM files, absolute; read at every connection, so that renewed ones are taken up.
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}
