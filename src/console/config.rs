//! `[console]` as checked.

use std::{net::SocketAddr, path::PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Names by which it may be called, besides IP addresses and localhost.
    pub hosts: Vec<String>,
    /// Without it everything travels in the clear.
    pub tls: Option<TlsFiles>,
}

/// Both PEM; the certificate's chain after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}
