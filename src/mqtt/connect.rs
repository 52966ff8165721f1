//! How a broker is reached: address, credentials, TLS, and the sieve in between.

use std::{sync::Arc, time::Duration};

use rumqttc::{
    AckMode, ConfigError, MqttOptions, TlsConfiguration, TlsError, default_socket_connect,
    tokio_rustls::TlsConnector,
};
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    broker::{Broker, ClientIdentity},
    sieve::{MAX_PACKET, Mark, Sieved},
};
use crate::{
    domain::Clock,
    tls::{Identity, TlsError as Certificates, pinned},
};

/// Silence of the broker is noticed after about twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A field bus sends subscriptions and acknowledgements only, an endpoint letters and batches of readings.
const MAX_SENT: usize = 512 * 1024;
/// Packets that the library reads before it hands on the first.
const PACKETS_AT_ONCE: usize = 8;

/// Settings that reach no broker.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("keep a session: {0}")]
    Session(#[from] ConfigError),
    #[error("get random bits: {0}")]
    Random(#[from] getrandom::Error),
    #[error("check a certificate for {host}: {fault}")]
    Host { host: String, fault: InvalidDnsNameError },
    #[error(transparent)]
    Tls(#[from] Certificates),
    #[error("use the authorities of the system: {0}")]
    System(#[from] TlsError),
    #[error("show a certificate of our own without ca_file, the authority that vouches for the broker")]
    IdentityWithoutAuthorities,
}

/// The library's options for this broker, which keeps a session for us; payloads that are too long come as `mark`.
///
/// # Errors
/// If no session can be kept under the client id, or the certificates cannot be used.
pub fn options(broker: &Broker, mark: Mark, clock: &Arc<dyn Clock>) -> Result<MqttOptions, SettingsError> {
    let mut options = common(broker, &broker.client_id, mark, clock)?;
    options.try_set_clean_session(false)?;
    options.set_ack_mode(AckMode::Manual);
    Ok(options)
}

/// The same broker, for a second connection for which it keeps nothing.
///
/// # Errors
/// As [`options`].
pub fn passing_options(
    broker: &Broker,
    mark: Mark,
    clock: &Arc<dyn Clock>,
) -> Result<MqttOptions, SettingsError> {
    common(broker, &format!("{}-discover", broker.client_id), mark, clock)
}

fn common(
    broker: &Broker,
    client_id: &str,
    mark: Mark,
    clock: &Arc<dyn Clock>,
) -> Result<MqttOptions, SettingsError> {
    let address = &broker.address;
    let tls = if address.tls { Some((tls(broker, clock)?, server_name(&address.host)?)) } else { None };
    // the library joins host and port with a colon
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    let mut options = MqttOptions::new(client_id, (host, address.port));
    options.set_keep_alive(KEEP_ALIVE.as_secs() as u16);
    options.set_max_packet_size(MAX_PACKET, MAX_SENT);
    options.set_read_batch_size(PACKETS_AT_ONCE);
    match (&broker.username, &broker.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user, password.expose_secret().to_owned());
        }
        (Some(user), None) => {
            options.set_username(user);
        }
        (None, _) => {}
    }
    // TLS is made here, not by the library: the sieve has to see what comes out of it
    options.set_socket_connector(move |address, network| {
        let tls = tls.clone();
        async move {
            let stream = default_socket_connect(address, network).await?;
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some((connector, server)) => Box::new(connector.connect(server, stream).await?),
            };
            Ok(Sieved::new(stream, mark))
        }
    });
    Ok(options)
}

/// Plain or encrypted.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

fn server_name(host: &str) -> Result<ServerName<'static>, SettingsError> {
    ServerName::try_from(host.to_owned())
        .map_err(|fault| SettingsError::Host { host: host.to_owned(), fault })
}

/// Without authorities of the site's own, those that the system trusts.
fn tls(broker: &Broker, clock: &Arc<dyn Clock>) -> Result<TlsConnector, SettingsError> {
    let config = match (&broker.authorities, &broker.identity) {
        (Some(authorities), identity) => {
            let identity = identity.as_ref().map(|ClientIdentity { certificates, key }| Identity {
                certificates,
                key: key.expose_secret(),
            });
            Arc::new(pinned(authorities, identity, clock)?)
        }
        (None, Some(_)) => return Err(SettingsError::IdentityWithoutAuthorities),
        (None, None) => match TlsConfiguration::try_default_rustls()? {
            TlsConfiguration::Rustls(config) => config,
            TlsConfiguration::Simple { ca, .. } => Arc::new(pinned(&ca, None, clock)?),
        },
    };
    Ok(TlsConnector::from(config))
}
