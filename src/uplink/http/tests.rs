//! The endpoint against a real socket: what it sends, and what no reply can make it do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Credentials, HttpEndpoint, Login, Receiver, Reread, SigningKeys,
    config::AcceptSettings,
    peer::{Answer, Peer, reply},
};
use crate::{
    domain::{DataClass, Hindrance, HindranceKind, Letter, ManualClock, Priority},
    store::{Commit, EventStore, Settings},
    text,
    uplink::{Bell, Courier, Endpoint, Router, Verdict, Wants, sample},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = r#"{"id":"0b6f","title":"电梯困人"}"#.as_bytes();

/// As main does; another test may have been first.
pub fn install_provider() {
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().unwrap_or(());
}

pub fn receiver(url: &str) -> Receiver {
    install_provider();
    Receiver {
        ack_reply: None,
        url: url.parse().unwrap(),
        credentials: Credentials::default(),
        reread: None,
        template: None,
        accept: AcceptSettings::default(),
        timeout: Duration::from_secs(10),
    }
}

pub fn having(url: &str, credentials: Credentials) -> Receiver {
    Receiver { credentials, ..receiver(url) }
}

pub fn letter() -> Letter {
    let key = sample::raised().key();
    let event_id = "0b6f5a3e9c1d47288f00aa11bb22cc33".to_owned();
    let (endpoint, priority) = ("inspection".into(), Priority::Critical);
    Letter {
        row: 1,
        endpoint,
        event_id,
        seq: 5512,
        key,
        priority,
        attempts: 2,
        body: BODY.into(),
        content_type: None,
        provisional: false,
    }
}

pub async fn deliver(receiver: Receiver) -> Verdict {
    deliver_by(ManualClock::new(), receiver).await
}

pub async fn deliver_by(clock: ManualClock, receiver: Receiver) -> Verdict {
    let endpoint = HttpEndpoint::new(receiver, Arc::new(clock)).unwrap();
    endpoint.deliver(&letter()).await
}

fn no_reply(limit: &str) -> Verdict {
    let said = text!("{limit} 内没有应答", "no reply within {limit}");
    Verdict::TryAgain { why: Hindrance::new(HindranceKind::NoReply, said), after: None }
}

async fn answered(answer: Answer) -> Verdict {
    deliver(receiver(&Peer::answering(answer).await.url())).await
}

#[tokio::test]
async fn a_request_is_what_the_contract_says() {
    let mut peer = Peer::answering(reply(202, "", "got it")).await;
    let with_secret =
        having(&peer.url(), Credentials { secret: Some(SECRET.into()), ..Credentials::default() });
    let verdict = deliver(with_secret).await;
    assert_eq!(verdict, Verdict::Accepted { status: 202, said: "got it".to_owned() });

    let (head, body) = peer.request().await;
    assert_eq!(body, BODY);
    assert_eq!(head[0], "POST /api/alarms HTTP/1.1");
    let mut headers = head[1..].to_vec();
    headers.sort();
    let id = "0b6f5a3e9c1d47288f00aa11bb22cc33";
    let signature = SigningKeys::parse(SECRET).unwrap().sign(id, 1_795_413_600, BODY);
    let expected = [
        "accept: */*".to_owned(),
        format!("content-length: {}", BODY.len()),
        "content-type: application/cloudevents+json".to_owned(),
        "gatehouse-attempt: 3".to_owned(),
        format!("host: {}", peer.address),
        format!("idempotency-key: {id}"),
        format!("user-agent: gatehouse/{}", env!("CARGO_PKG_VERSION")),
        format!("webhook-id: {id}"),
        format!("webhook-signature: {signature}"),
        "webhook-timestamp: 1795413600".to_owned(),
    ];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn a_login_is_sent_as_it_was_configured() {
    let basic = Login::Basic { username: "gate".to_owned(), password: "小区".into() };
    let facts = [
        (Login::Bearer("t0ken".into()), "authorization: Bearer t0ken"),
        (basic, "authorization: Basic Z2F0ZTrlsI/ljLo="),
    ];
    for (login, expected) in facts {
        let mut peer = Peer::answering(reply(204, "", "")).await;
        deliver(having(&peer.url(), Credentials { login: Some(login), ..Credentials::default() })).await;
        let (head, _) = peer.request().await;
        assert!(head.iter().any(|line| line == expected), "{expected} in {head:?}");
        assert!(!head.iter().any(|line| line.starts_with("webhook-signature")), "no secret, no signature");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let mut inside = Peer::answering(reply(200, "", "")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}\r\n", inside.url());
        let peer = Peer::answering(reply(status, &location, "")).await;
        let login = Some(Login::Bearer("t0ken".into()));
        let credentials = Credentials { login, ..Credentials::default() };
        let Verdict::TryAgain { why, after } = deliver(having(&peer.url(), credentials)).await else {
            panic!("{status} is no receipt");
        };
        assert_eq!(why.kind, HindranceKind::Redirected);
        assert_eq!(after, Some(Duration::from_secs(30)), "{status}");
    }
    assert!(inside.requests.try_recv().is_err(), "nothing reached the redirect's target");
}

#[tokio::test]
async fn an_endless_reply_is_cut_off() {
    let started = Instant::now();
    let Verdict::Accepted { status: 200, said } = answered(Answer::Endless).await else {
        panic!("the status alone decides");
    };
    assert_eq!(said.len(), 1024);
    let peer = Peer::answering(Answer::Endless).await;
    let accept = AcceptSettings { body: Some("true".to_owned()), ..AcceptSettings::default() };
    let verdict = deliver(Receiver { accept, ..receiver(&peer.url()) }).await;
    assert!(
        matches!(&verdict, Verdict::TryAgain { why, .. } if why.said.en.contains("cut off")),
        "{verdict:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5), "read on and on");
}

#[tokio::test]
async fn a_slow_receiver_cannot_hold_us() {
    let slow_head =
        b"HTTP/1.1 200 OK\r\nx-y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n\r\n".to_vec();
    for (fact, answer) in [("silence", Answer::Silence), ("one byte at a time", Answer::Drip(slow_head))] {
        let peer = Peer::answering(answer).await;
        let started = Instant::now();
        let verdict =
            deliver(Receiver { timeout: Duration::from_millis(300), ..receiver(&peer.url()) }).await;
        assert_eq!(verdict, no_reply("300ms"), "{fact}");
        assert!(started.elapsed() < Duration::from_secs(5), "{fact}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn no_exchange_takes_longer_than_twenty_seconds() {
    let peer = Peer::answering(Answer::Silence).await;
    let started = tokio::time::Instant::now();
    let verdict = deliver(Receiver { timeout: Duration::from_secs(3600), ..receiver(&peer.url()) }).await;
    assert_eq!(verdict, no_reply("20s"));
    assert_eq!(started.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn a_failure_in_the_body_is_never_a_receipt() {
    let failing = r#"{"ResponseStatusObject":{"StatusCode":3}}"#;
    let facts: [(&str, Answer, bool); 5] = [
        ("a success", reply(200, "", r#"{"ResponseStatusObject":{"StatusCode":0}}"#), true),
        ("200 with a failure body", reply(200, "", failing), false),
        ("an empty body", reply(200, "", ""), false),
        ("a captive portal", reply(200, "content-type: text/html\r\n", "<html>log in</html>"), false),
        ("gzip that nobody asked for", reply(200, "content-encoding: gzip\r\n", "\u{1f}\u{8b}"), false),
    ];
    for (fact, answer, accepted) in facts {
        let peer = Peer::answering(answer).await;
        let body = Some("ResponseStatusObject.StatusCode == 0".to_owned());
        let accept = AcceptSettings { status: vec![200], body };
        let verdict = deliver(Receiver { accept, ..receiver(&peer.url()) }).await;
        assert_eq!(matches!(verdict, Verdict::Accepted { .. }), accepted, "{fact}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_login_portal_is_no_receiver_even_without_a_rule() {
    let facts = [
        ("a page", reply(200, "content-type: text/html; charset=utf-8\r\n", "<html>please log in</html>")),
        ("by its body", reply(200, "", "\u{feff}\r\n <!DOCTYPE html><title>log in</title>")),
        ("another 2xx", reply(201, "", "<HTML><body>")),
    ];
    for (fact, answer) in facts {
        let verdict = answered(answer).await;
        let Verdict::TryAgain { why, after: None } = &verdict else { panic!("{fact}: {verdict:?}") };
        assert_eq!(why.kind, HindranceKind::NoReceipt, "{fact}");
        assert!(why.said.en.contains("a web page answered: a login portal?"), "{fact}: {why:?}");
    }
    let json = answered(reply(200, "content-type: application/json\r\n", "{}")).await;
    assert_eq!(json, Verdict::Accepted { status: 200, said: "{}".to_owned() });
    let plain = answered(reply(200, "content-type: text/html\r\n", "ok")).await;
    assert_eq!(plain, Verdict::Accepted { status: 200, said: "ok".to_owned() });
}

#[tokio::test]
async fn retry_after_is_heard_and_clamped() {
    let facts =
        [("0", Some(1)), ("-1", Some(1)), ("30", Some(30)), ("1000000000", Some(900)), ("soon", None)];
    for (text, seconds) in facts {
        for status in [429, 503] {
            let verdict = answered(reply(status, &format!("retry-after: {text}\r\n"), "busy")).await;
            let said = text!("应答 {status}：busy", "answered {status}: busy");
            let why = Hindrance::new(HindranceKind::Busy, said);
            assert_eq!(verdict, Verdict::TryAgain { why, after: seconds.map(Duration::from_secs) }, "{text}");
        }
    }
}

#[tokio::test]
async fn what_is_no_reply_is_tried_again() {
    let facts = [
        ("closed without a word", Answer::Close),
        ("another protocol", Answer::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("half a status line", Answer::Bytes(b"HTTP/1.".to_vec())),
    ];
    for (fact, answer) in facts {
        let verdict = answered(answer).await;
        assert!(matches!(&verdict, Verdict::TryAgain { after: None, .. }), "{fact}: {verdict:?}");
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let Verdict::TryAgain { why, after: None } = deliver(receiver(&format!("http://{gone}/"))).await else {
        panic!("nobody listens there");
    };
    assert_eq!(why.kind, HindranceKind::Unreachable);
    assert!(why.said.en.starts_with("no connection ("), "{why:?}");
}

#[tokio::test]
async fn a_reply_that_breaks_off_counts_by_its_status_alone() {
    let broken = Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec());
    assert_eq!(answered(broken).await, Verdict::Accepted { status: 200, said: "half".to_owned() });
}

#[tokio::test]
async fn what_cannot_be_used_is_a_trouble_of_its_own() {
    let facts = [
        ("secret", Credentials { secret: Some("whsec_*".into()), ..Credentials::default() }),
        (
            "ca_file",
            Credentials {
                authorities: Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec()),
                ..Credentials::default()
            },
        ),
        ("cert_file", Credentials { identity: Some(b"no pem".to_vec().into()), ..Credentials::default() }),
    ];
    for (named, credentials) in facts {
        let Verdict::TryAgain { why, after: None } = deliver(having("https://a.example/", credentials)).await
        else {
            panic!("{named}: nothing can be sent");
        };
        assert_eq!(why.kind, HindranceKind::Unusable);
        assert!(why.said.en.contains(named), "{named}: {why:?}");
    }
}

#[tokio::test]
async fn a_new_secret_counts_without_a_restart() {
    let mut peer = Peer::answering(reply(200, "", "")).await;
    let file = Arc::new(std::sync::Mutex::new(Ok("old")));
    let named = file.clone();
    let read = move || {
        let token = (*named.lock().unwrap()).map_err(|()| text!("没有", "gone"))?;
        Ok(Credentials { login: Some(Login::Bearer(token.into())), ..Credentials::default() })
    };
    let reread = Some(Reread::by(read.clone()));
    let receiver = Receiver { credentials: read().unwrap(), reread, ..receiver(&peer.url()) };
    let endpoint = Arc::new(HttpEndpoint::new(receiver, Arc::new(ManualClock::new())).unwrap());
    let (bell, stop) = (Bell::default(), CancellationToken::new());
    tokio::time::pause();
    let (attended, rings, over) = (endpoint.clone(), bell.clone(), stop.clone());
    let task = tokio::spawn(async move { attended.attend(rings, over).await });
    let mut shown = Vec::new();
    for content in [Ok("old"), Err(()), Ok("new")] {
        *file.lock().unwrap() = content;
        let changes = content == Ok("new");
        // a look each ten seconds; only what changed rings
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), bell.rung()).await.is_ok(), changes);
        tokio::time::resume();
        assert!(matches!(endpoint.deliver(&letter()).await, Verdict::Accepted { .. }));
        tokio::time::pause();
        let (head, _) = peer.request().await;
        shown.extend(head.into_iter().filter(|line| line.starts_with("authorization")));
    }
    assert_eq!(shown, ["old", "old", "new"].map(|token| format!("authorization: Bearer {token}")));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_committed_alarm_reaches_a_real_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::of_a_test(dir.path());
    let (store, _) = EventStore::open(&settings).unwrap();
    let sealed = sample::sealed(sample::raised());
    let wants = Wants {
        classes: vec!["elevator".into()],
        priorities: vec![Priority::Critical],
        data: vec![DataClass::Operational],
        readings: false,
        ..Wants::default()
    };
    let router = Router::new(TimeZone::UTC, vec![("inspection".into(), wants)]);
    let letters = router.address(&sealed);
    let expected = letters[0].body.clone();
    store.commit(Commit { letters, ..Commit::default() }).await.unwrap();

    let mut peer = Peer::answering(reply(200, "", "")).await;
    let clock = Arc::new(ManualClock::new());
    let endpoint = HttpEndpoint::new(receiver(&peer.url()), clock.clone()).unwrap();
    let (courier, _) =
        Courier::new("inspection".into(), endpoint, store.clone(), clock, || 0.5, Arc::new(Notify::new()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(courier.run(stop.clone()));
    let (_, body) = peer.request().await;
    assert_eq!(body, *expected);
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(store.claim(&"inspection".into(), vec![]).await.unwrap(), None, "it is marked as delivered");
}
