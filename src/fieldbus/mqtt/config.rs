//! `[bus.mqtt]` as written, and as checked.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::{SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

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

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// Why a broker's URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    #[error("read it as a URL")]
    NotAUrl,
    #[error("use a scheme other than mqtt or mqtts")]
    Scheme,
    #[error("find a host in it")]
    NoHost,
    #[error("use a user, password, path or query in it")]
    Extra,
}

impl Settings {
    /// # Errors
    /// If `url` is not `mqtt[s]://host[:port]`.
    pub fn address(&self) -> Result<BrokerAddress, BrokerUrlError> {
        let url = Url::parse(&self.url).map_err(|_unread| BrokerUrlError::NotAUrl)?;
        let (tls, default_port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _other => return Err(BrokerUrlError::Scheme),
        };
        let bare = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        if !bare {
            return Err(BrokerUrlError::Extra);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BrokerUrlError::NoHost)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(BrokerAddress { host, port: url.port().unwrap_or(default_port), tls })
    }
}

/// A broker as checked: address understood, secrets and certificates read.
#[derive(Debug)]
pub struct Broker {
    pub address: BrokerAddress,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM; given, no other authority is trusted.
    pub authorities: Option<Vec<u8>>,
    pub identity: Option<ClientIdentity>,
    pub discover: bool,
}

/// Who we are, for mutual TLS.
#[derive(Debug)]
pub struct ClientIdentity {
    /// PEM, our certificate first.
    pub certificates: Vec<u8>,
    /// PEM.
    pub key: SecretSlice<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_urls() {
        let address = |host: &str, port, tls| Ok(BrokerAddress { host: host.to_owned(), port, tls });
        for (url, expected) in [
            ("mqtt://127.0.0.1:1883", address("127.0.0.1", 1883, false)),
            ("mqtt://broker", address("broker", 1883, false)),
            ("mqtts://broker.example", address("broker.example", 8883, true)),
            ("mqtts://[::1]:9", address("::1", 9, true)),
            ("mqtt://broker/", address("broker", 1883, false)),
            ("tcp://broker", Err(BrokerUrlError::Scheme)),
            ("broker:1883", Err(BrokerUrlError::Scheme)),
            ("broker", Err(BrokerUrlError::NotAUrl)),
            ("", Err(BrokerUrlError::NotAUrl)),
            ("mqtt://", Err(BrokerUrlError::NoHost)),
            ("mqtt://broker:99999", Err(BrokerUrlError::NotAUrl)),
            ("mqtt://me:pw@broker", Err(BrokerUrlError::Extra)),
            ("mqtt://broker/topic", Err(BrokerUrlError::Extra)),
        ] {
            let settings = Settings {
                url: url.to_owned(),
                client_id: "gatehouse".to_owned(),
                username: None,
                password: None,
                ca_file: None,
                cert_file: None,
                key_file: None,
                discover: false,
            };
            assert_eq!(settings.address(), expected, "{url}");
        }
    }
}
