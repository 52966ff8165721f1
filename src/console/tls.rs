//! What the console shows to whoever wants to know that it is the gateway.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error("read the certificate: {0}")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    #[error("read the key: {0}")]
    Key(#[source] rustls::pki_types::pem::Error),
    #[error("use the certificate with the key: {0}")]
    Pair(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 with this certificate (its chain after it) and its key, both as PEM.
///
/// # Errors
/// If one cannot be read, or they do not belong together.
pub fn server(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsFault> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(TlsFault::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsFault::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
