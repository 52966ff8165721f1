//! `[console]` as checked.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Names by which it may be called, besides IP addresses and localhost.
    pub hosts: Vec<String>,
    /// Whose word on where a caller is (`X-Forwarded-For`) is believed.
    pub proxies: Vec<IpAddr>,
    /// Without it everything travels in the clear.
    pub tls: Option<TlsFiles>,
}

/// Both PEM; the certificate's chain after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}
