//! `[bus.mqtt]` as checked.

use secrecy::{SecretSlice, SecretString};

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// A broker as checked: address understood, secrets and certificates read.
#[derive(Debug)]
pub struct Broker {
    pub address: BrokerAddress,
    /// The broker keeps the session, and what came in meanwhile, under this name.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM; given, no other authority is trusted.
    pub authorities: Option<Vec<u8>>,
    pub identity: Option<ClientIdentity>,
}

/// Who we are, for mutual TLS.
#[derive(Debug)]
pub struct ClientIdentity {
    /// PEM, our certificate first.
    pub certificates: Vec<u8>,
    /// PEM.
    pub key: SecretSlice<u8>,
}
