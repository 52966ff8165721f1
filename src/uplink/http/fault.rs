//! Why a request did not come to a reply, in words a person can act upon.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

use super::{dns::PointsHere, reply::UNTIL_MENDED};
use crate::{
    domain::{Hindrance, HindranceKind, Text},
    text,
    uplink::Verdict,
};

/// The verdict on a request that got no reply. What a person has to mend is retried slowly, everything else by the usual
/// back-off.
pub fn verdict(error: &reqwest::Error) -> Verdict {
    let why = hindrance(error);
    let after = why.kind.needs_somebody().then_some(UNTIL_MENDED);
    Verdict::TryAgain { why, after }
}

fn hindrance(error: &reqwest::Error) -> Hindrance {
    if let Some(tls) = find::<rustls::Error>(error) {
        let kind = of_tls(tls);
        let Text { zh, en } = kind.title();
        return Hindrance::new(kind, text!("TLS：{zh}（{tls}）", "TLS: {en} ({tls})"));
    }
    if let Some(here) = find::<PointsHere>(error) {
        let name = &here.name;
        return Hindrance::new(HindranceKind::PointsHere, text!("域名 {name} 指向本机", "{here}"));
    }
    of_transport(error)
}

fn of_transport(error: &reqwest::Error) -> Hindrance {
    let cause = innermost(error);
    let (kind, said) = if error.is_dns() {
        (
            HindranceKind::Unreachable,
            text!("域名解析不到地址（{cause}）", "its name has no address ({cause})"),
        )
    } else if error.is_connect() {
        (HindranceKind::Unreachable, text!("连接不上（{cause}）", "no connection ({cause})"))
    } else {
        let said = text!("应答之前连接断开（{cause}）", "the connection broke before the reply ({cause})");
        (HindranceKind::NoReply, said)
    };
    Hindrance::new(kind, said)
}

fn of_tls(error: &rustls::Error) -> HindranceKind {
    match error {
        rustls::Error::InvalidCertificate(flaw) => of_certificate(flaw),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure,
        ) => HindranceKind::OwnCertificateRefused,
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => HindranceKind::OldTls,
        rustls::Error::InvalidMessage(_) => HindranceKind::NotTls,
        // rustls may add to its errors: whatever it is, no letter went
        _ => HindranceKind::CertificateUnacceptable,
    }
}

fn of_certificate(flaw: &CertificateError) -> HindranceKind {
    use CertificateError as Flaw;
    match flaw {
        Flaw::Expired | Flaw::ExpiredContext { .. } => HindranceKind::CertificateExpired,
        Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => HindranceKind::CertificateNotYetValid,
        Flaw::NotValidForName | Flaw::NotValidForNameContext { .. } => HindranceKind::CertificateOtherName,
        Flaw::UnknownIssuer => HindranceKind::CertificateUnknownIssuer,
        // revoked, badly signed, of a purpose that is not a server's, and whatever rustls may add
        _ => HindranceKind::CertificateUnacceptable,
    }
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
