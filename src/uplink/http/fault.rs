//! Why a request did not come to a reply, in words a person can act upon.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

use super::{dns::PointsHere, reply::UNTIL_MENDED};
use crate::uplink::Verdict;

/// The verdict on a request that got no reply. A fault of trust is retried slowly, everything else by the usual back-off.
pub fn verdict(error: &reqwest::Error) -> Verdict {
    if let Some(tls) = find::<rustls::Error>(error) {
        return Verdict::TryAgain { why: format!("TLS: {}", of_tls(tls)), after: Some(UNTIL_MENDED) };
    }
    if let Some(here) = find::<PointsHere>(error) {
        return Verdict::TryAgain { why: here.to_string(), after: Some(UNTIL_MENDED) };
    }
    Verdict::TryAgain { why: of_transport(error), after: None }
}

fn of_transport(error: &reqwest::Error) -> String {
    let what = if error.is_dns() {
        "its name has no address"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke before the reply"
    };
    format!("{what} ({})", innermost(error))
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(flaw) => of_certificate(flaw),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure,
        ) => format!("it does not accept our certificate ({error})"),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => {
            format!("it speaks no version of TLS that is still safe ({error})")
        }
        rustls::Error::InvalidMessage(_) => format!("what answers there is not TLS ({error})"),
        other => other.to_string(),
    }
}

fn of_certificate(flaw: &CertificateError) -> String {
    use CertificateError as Flaw;
    let what = match flaw {
        Flaw::Expired | Flaw::ExpiredContext { .. } => "its certificate has expired, or our clock is wrong",
        Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or our clock is wrong"
        }
        Flaw::NotValidForName | Flaw::NotValidForNameContext { .. } => "its certificate is for another name",
        Flaw::UnknownIssuer => "its certificate is by an issuer we do not trust; ca_file may be missing",
        Flaw::Revoked => "its certificate was revoked",
        Flaw::BadSignature => "its certificate is not signed by who it says",
        _ => "its certificate is not acceptable",
    };
    format!("{what} ({flaw})")
}

/// The first cause of type `E`; an `io::Error` hides its own cause from `source()`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = inner(error);
    }
    None
}

fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(hidden) => Some(hidden),
        None => error.source(),
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = inner(last) {
        last = cause;
    }
    last.to_string()
}
