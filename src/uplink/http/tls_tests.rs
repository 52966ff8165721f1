//! Who is trusted, over real handshakes: nothing of a letter leaves before the other side has proved who it is.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::{
    Credentials, Receiver,
    test_certs::{
        AUTHORITY, CLIENT, EARLY, EARLY_BELOW, EARLY_OTHER_NAME, EXPIRED, GOOD, NEVER, OTHER_NAME,
        SECOND_AUTHORITY, STRANGER,
    },
    tests::{deliver, deliver_by, having, install_provider},
};
use crate::{
    domain::{Clock, HindranceKind, ManualClock, TimeQuality},
    uplink::Verdict,
};

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn server(identity: &str, asks_client: bool) -> ServerConfig {
    install_provider();
    let key = PrivateKeyDer::from_pem_slice(identity.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(AUTHORITY));
    let config = ServerConfig::builder();
    let config = if asks_client {
        config.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
    } else {
        config.with_no_client_auth()
    };
    config.with_single_cert(certificates(identity), key).unwrap()
}

/// Serves one connection; the thread gives what it read of the request, decrypted.
fn serve(config: ServerConfig) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = Stream::new(&mut session, &mut socket);
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).unwrap_or(0);
        request.truncate(read);
        if read > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
        request
    });
    (address, served)
}

fn trusting(address: SocketAddr) -> Receiver {
    having(
        &format!("https://{address}/"),
        Credentials { authorities: Some(AUTHORITY.into()), ..Credentials::default() },
    )
}

#[tokio::test]
async fn a_certificate_by_the_configured_authority_is_trusted() {
    let (address, served) = serve(server(GOOD, false));
    assert_eq!(deliver(trusting(address)).await, Verdict::Accepted { status: 200, said: String::new() });
    assert!(served.join().unwrap().starts_with(b"POST / HTTP/1.1"));
}

#[tokio::test]
async fn each_fault_of_trust_is_named_and_nothing_is_sent() {
    // (fact, the server's certificate, what we say)
    let facts = [
        ("expired", EXPIRED, HindranceKind::CertificateExpired),
        ("not valid yet", EARLY, HindranceKind::CertificateNotYetValid),
        ("for another name", OTHER_NAME, HindranceKind::CertificateOtherName),
        ("signed by itself", STRANGER, HindranceKind::CertificateUnknownIssuer),
    ];
    for (fact, identity, expected) in facts {
        let (address, served) = serve(server(identity, false));
        let Verdict::TryAgain { why, after } = deliver(trusting(address)).await else {
            panic!("{fact}: not trusted");
        };
        assert_eq!(why.kind, expected, "{fact}: {why:?}");
        assert!(why.said.en.starts_with("TLS: ") && why.said.zh.starts_with("TLS："), "{fact}: {why:?}");
        assert_eq!(after, Some(Duration::from_secs(30)), "{fact}");
        assert_eq!(served.join().unwrap(), b"", "{fact}: nothing is sent");
    }
}

/// By a clock that is worth this, and cannot stand before `floor`.
async fn said_by(quality: TimeQuality, floor: &str, identity: &str) -> Result<(), HindranceKind> {
    let clock = ManualClock::new();
    clock.be(quality);
    clock.raise_floor(floor.parse().unwrap());
    let (address, served) = serve(server(identity, false));
    let mut receiver = trusting(address);
    receiver.credentials.authorities = Some([AUTHORITY, SECOND_AUTHORITY].concat().into());
    let verdict = deliver_by(clock, receiver).await;
    let sent = !served.join().unwrap().is_empty();
    match verdict {
        Verdict::Accepted { .. } => {
            assert!(sent);
            Ok(())
        }
        Verdict::TryAgain { why, .. } => {
            assert!(!sent, "nothing is sent: {why:?}");
            Err(why.kind)
        }
        Verdict::Refused { why, .. } => panic!("{why:?}"),
    }
}

#[tokio::test]
async fn a_clock_that_is_not_set_forgives_not_valid_yet_and_nothing_else() {
    use HindranceKind::*;
    let (past, future) = ("2026-11-01T00:00:00Z", "2119-10-01T00:00:00Z");
    // (fact, the server's certificate, the clock's floor, what we say)
    for (fact, identity, floor, expected) in [
        ("valid", GOOD, past, Ok(())),
        ("not valid yet", EARLY, past, Ok(())),
        ("valid, as far as is known", EARLY, future, Ok(())),
        ("nor is the one that signed it", EARLY_BELOW, past, Ok(())),
        ("the one that signed it has expired by now", EARLY_BELOW, future, Err(CertificateExpired)),
        ("over before the one that signed it begins", NEVER, past, Err(CertificateExpired)),
        ("expired", EXPIRED, past, Err(CertificateExpired)),
        ("not valid yet, and for another name", EARLY_OTHER_NAME, past, Err(CertificateOtherName)),
        ("for another name", OTHER_NAME, past, Err(CertificateOtherName)),
        ("signed by itself", STRANGER, past, Err(CertificateUnknownIssuer)),
    ] {
        assert_eq!(said_by(TimeQuality::Unset, floor, identity).await, expected, "{fact}");
    }
    for quality in [TimeQuality::Restored, TimeQuality::Holdover, TimeQuality::Synced] {
        let said = said_by(quality, past, EARLY).await;
        assert_eq!(said, Err(CertificateNotYetValid), "{quality:?}: this clock is taken at its word");
    }
}

#[tokio::test]
async fn a_receiver_that_asks_who_we_are_is_told() {
    let (address, served) = serve(server(GOOD, true));
    let mut known = trusting(address);
    known.credentials.identity = Some(CLIENT.as_bytes().to_vec().into());
    assert_eq!(deliver(known).await, Verdict::Accepted { status: 200, said: String::new() });
    assert!(!served.join().unwrap().is_empty());

    let (address, served) = serve(server(GOOD, true));
    let verdict = deliver(trusting(address)).await;
    assert!(matches!(verdict, Verdict::TryAgain { .. }), "{verdict:?}");
    assert_eq!(served.join().unwrap(), b"", "it never gets to read the letter");
}

#[tokio::test]
async fn plain_http_behind_an_https_url_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let Verdict::TryAgain { why, .. } = deliver(trusting(address)).await else { panic!("it is no TLS") };
    assert_eq!(why.kind, HindranceKind::NotTls, "{why:?}");
    served.join().unwrap();
}
