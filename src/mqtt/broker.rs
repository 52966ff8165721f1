//! A broker as a site file names it, and as checked.

use secrecy::{SecretSlice, SecretString};
use url::Url;

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

impl BrokerAddress {
    /// # Errors
    /// If `text` is not `mqtt[s]://host[:port]`.
    pub fn of(text: &str) -> Result<Self, BrokerUrlError> {
        let url = Url::parse(text).map_err(|_unread| BrokerUrlError::NotAUrl)?;
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

/// A broker as checked, and as whom we log in: address understood, secrets and certificates read.
#[derive(Debug)]
pub struct Broker {
    pub address: BrokerAddress,
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
            assert_eq!(BrokerAddress::of(url), expected, "{url}");
        }
    }
}
