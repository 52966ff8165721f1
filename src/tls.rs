//! TLS towards whoever an authority vouches for that the site itself names (`ca_file`). Who is trusted is webpki's decision. But for
//! one thing: while this box's own clock is known to have lost the time, "not valid yet" says nothing about a certificate. Then the
//! earliest moment counts at which all of its chain is valid, and everything else must hold at that moment.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use jiff::Timestamp;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};
use tracing::warn;

use crate::domain::{Clock, TimeQuality};

/// More certificates are in no chain.
const LONGEST_CHAIN: usize = 8;

/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read the certificates or the key: {0}")]
    Pem(#[from] pem::Error),
    #[error("find a certificate in what was given")]
    NoCertificate,
    #[error("use the certificates: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("use the authorities: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

/// Who we are, for mutual TLS: PEM, our certificate first.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub certificates: &'a [u8],
    pub key: &'a [u8],
}

/// Trusts `authorities` (PEM) and no other.
///
/// # Errors
/// If they or the identity cannot be used.
pub fn pinned(
    authorities: &[u8],
    identity: Option<Identity<'_>>,
    clock: &Arc<dyn Clock>,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let webpki =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let verifier = Verifier { webpki, clock: Arc::clone(clock), told: AtomicBool::new(false) };
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let verified = versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match identity {
        None => verified.with_no_client_auth(),
        Some(Identity { certificates: chain, key }) => {
            let key = PrivateKeyDer::from_pem_slice(key)?;
            verified.with_client_auth_cert(certificates(chain)?, key)?
        }
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(TlsError::NoCertificate) } else { Ok(certificates) }
}

struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    clock: Arc<dyn Clock>,
    told: AtomicBool,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("webpki", &self.webpki).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at =
            |now| self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if self.clock.quality() != TimeQuality::Unset {
            return at(now);
        }
        // no earlier than this it is, whatever the clock says: what has expired by then has
        let now = now.max(unix_time(self.clock.floor()));
        let verdict = at_the_earliest(at, now);
        if verdict.is_ok() && at(now).is_err() && !self.told.swap(true, Relaxed) {
            warn!(
                server = ?server_name,
                "The clock is not set: a certificate is trusted that is not valid yet by it, because an authority of ca_file vouches for it."
            );
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The verdict as of the earliest moment, from `now` on, at which no certificate of the chain is not valid yet.
fn at_the_earliest<T>(verdict: impl Fn(UnixTime) -> Result<T, Error>, mut now: UnixTime) -> Result<T, Error> {
    for _ in 0..LONGEST_CHAIN {
        match verdict(now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                if not_before > now =>
            {
                now = not_before;
            }
            verdict => return verdict,
        }
    }
    verdict(now)
}

fn unix_time(at: Timestamp) -> UnixTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
