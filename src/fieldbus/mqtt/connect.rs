//! How a broker is reached: address, credentials, TLS, and the sieve in between.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rumqttc::{
    AckMode, Broker, ConfigError, MqttOptions, TlsConfiguration, default_socket_connect,
    tokio_rustls::TlsConnector,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use secrecy::ExposeSecret;

use super::{
    config::Settings,
    sieve::{MAX_PACKET, Mark, Sieved},
};

/// Silence of the broker is noticed after about twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// We send subscriptions and acknowledgements only.
const MAX_SENT: usize = 64 * 1024;

/// Settings that reach no broker.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("find a host in {url}")]
    Host { url: String },
    #[error("speak to {url}: only mqtt:// and mqtts:// are spoken")]
    Scheme { url: String },
    #[error("keep a session: {0}")]
    Session(#[from] ConfigError),
    #[error("get random bits: {0}")]
    Random(#[from] getrandom::Error),
}

/// What the TLS handshake needs.
#[derive(Clone, Debug)]
struct Tls {
    server: String,
    ca_file: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

/// The library's options for this broker; payloads that are too long come as `mark`.
///
/// # Errors
/// If the settings name no broker or no session can be kept under the client id.
pub fn options(settings: &Settings, mark: Mark) -> Result<MqttOptions, SettingsError> {
    let url = &settings.url;
    let host = url.host_str().ok_or_else(|| SettingsError::Host { url: url.to_string() })?;
    let (tls, default_port) = match url.scheme() {
        "mqtt" => (None, 1883),
        "mqtts" => (Some(tls(settings, host)), 8883),
        _ => return Err(SettingsError::Scheme { url: url.to_string() }),
    };
    let broker = Broker::tcp(host, url.port().unwrap_or(default_port));
    let mut options = MqttOptions::new(&settings.client_id, broker);
    options.try_set_clean_session(false)?;
    options.set_keep_alive(KEEP_ALIVE.as_secs() as u16);
    options.set_ack_mode(AckMode::Manual);
    // the mark is longer than some payloads: what the sieve writes must pass as well
    options.set_max_packet_size(MAX_PACKET, MAX_SENT);
    match (&settings.username, &settings.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user, password.expose_secret().to_owned());
        }
        (Some(user), None) => {
            options.set_username(user);
        }
        (None, _) => {}
    }
    // TLS is made here, not by the library: the sieve has to see what came out of it
    options.set_socket_connector(move |address, mut network| {
        let tls = tls.clone();
        async move {
            network.set_tcp_nodelay(true);
            let stream = default_socket_connect(address, network).await?;
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => {
                    let server = ServerName::try_from(tls.server.clone()).map_err(io::Error::other)?;
                    let config = tls.config().await?;
                    Box::new(TlsConnector::from(config).connect(server, stream).await?)
                }
            };
            Ok(Sieved::new(stream, mark))
        }
    });
    Ok(options)
}

/// Plain or encrypted.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin> Stream for T {}

fn tls(settings: &Settings, host: &str) -> Tls {
    Tls {
        // an IPv6 address stands in brackets in a URL, not in a certificate
        server: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        ca_file: settings.ca_file.clone(),
        identity: settings.cert_file.clone().zip(settings.key_file.clone()),
    }
}

impl Tls {
    /// The files as they are now; without an authority of the site's own, those that the system trusts.
    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let Some(ca_file) = &self.ca_file else { return self.system_config() };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca_file).await? {
            roots.add(certificate).map_err(|error| unusable(ca_file, error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let verified = versions.map_err(io::Error::other)?.with_root_certificates(roots);
        let config = match &self.identity {
            None => verified.with_no_client_auth(),
            Some((cert_file, key_file)) => {
                let chain = certificates(cert_file).await?;
                let key = PrivateKeyDer::from_pem_slice(&read(key_file).await?);
                let key = key.map_err(|error| unusable(key_file, error))?;
                let config = verified.with_client_auth_cert(chain, key);
                config.map_err(|error| unusable(cert_file, error))?
            }
        };
        Ok(Arc::new(config))
    }

    fn system_config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some((cert_file, _)) = &self.identity {
            return Err(unusable(cert_file, "a certificate of our own needs the broker's ca_file beside it"));
        }
        match TlsConfiguration::try_default_rustls().map_err(io::Error::other)? {
            TlsConfiguration::Rustls(config) => Ok(config),
            TlsConfiguration::Simple { .. } => Err(io::Error::other("no TLS configuration of the system")),
        }
    }
}

async fn read(file: &Path) -> io::Result<Vec<u8>> {
    tokio::fs::read(file)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

async fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(file).await?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(file, error))?;
    if certificates.is_empty() { Err(unusable(file, "no certificate in it")) } else { Ok(certificates) }
}

fn unusable(file: &Path, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()))
}
