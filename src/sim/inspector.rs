//! Receivers that stand for the offices an alarm goes to: they check each signature, keep what came, and give a receipt.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

/// Deliveries kept; the oldest go first.
const KEPT: usize = 1000;
/// How far a request's time may be from ours (Standard Webhooks 1.0 leaves it to the receiver; its libraries take 5 min).
const TOLERANCE: Duration = Duration::from_secs(300);

/// An office: where it is reached below the receiver's address, and the key its requests are signed with.
#[derive(Clone, Debug)]
pub struct Office {
    pub path: String,
    pub key: Vec<u8>,
}

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("find the webhook headers")]
    Missing,
    #[error("believe the request's time")]
    Time,
    #[error("verify the signature")]
    Wrong,
}

/// One event as an office has it: the first request that brought it, after its signature held.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub office: String,
    pub id: String,
    /// `gatehouse.alarm.raised` …
    pub kind: String,
    /// `<device>/<alarm>`
    pub subject: String,
    pub seq: u64,
    pub occurrence: String,
    /// The office's own number for it, given back in the reply.
    pub receipt: String,
    /// The whole CloudEvents object.
    pub event: Value,
    /// How many requests brought it.
    pub requests: u32,
}

/// A running receiver.
#[derive(Clone, Debug)]
pub struct Inspector {
    address: SocketAddr,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    offices: Vec<Office>,
    ledger: Mutex<Ledger>,
    /// How many deliveries so far; told after the ledger has them.
    arrived: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// By office and event id.
    known: BTreeMap<(String, String), u64>,
    deliveries: BTreeMap<u64, Delivery>,
    count: u64,
    deliveries_to: BTreeMap<String, u64>,
    refused: u64,
}

impl Inspector {
    /// A receiver for `offices` on a free port of 127.0.0.1; it answers once [`Inspector::serve`] runs.
    ///
    /// # Errors
    /// If there is no loopback.
    pub async fn bind(offices: Vec<Office>) -> io::Result<(Self, TcpListener)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let desk = Desk { offices, ledger: Mutex::default(), arrived: watch::Sender::new(0) };
        Ok((Self { address, desk: Arc::new(desk) }, listener))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop.
    ///
    /// # Errors
    /// If no connection can be accepted any more.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let router = Router::new().route("/{office}", post(receive)).with_state(self.desk);
        tokio::select! {
            ended = axum::serve(listener, router).into_future() => ended,
            () = stop.cancelled() => Ok(()),
        }
    }

    /// What came so far, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.desk.ledger().deliveries.values().cloned().collect()
    }

    /// Requests that were not believed.
    pub fn refused(&self) -> u64 {
        self.desk.ledger().refused
    }

    /// The first delivery for which `wanted` holds, as soon as there is one; `None` after `patience`.
    pub async fn delivery(&self, patience: Duration, wanted: impl Fn(&Delivery) -> bool) -> Option<Delivery> {
        let mut arrived = self.desk.arrived.subscribe();
        let search = async {
            loop {
                arrived.mark_unchanged();
                if let Some(found) = self.desk.ledger().deliveries.values().find(|one| wanted(one)) {
                    return Some(found.clone());
                }
                // The sender lives in the desk, which `self` holds.
                arrived.changed().await.ok()?;
            }
        };
        timeout(patience, search).await.ok().flatten()
    }
}

impl Desk {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no one panics holding the ledger")
    }
}

impl Ledger {
    /// The receipt; the same one however often the event comes.
    fn enter(&mut self, office: &str, id: &str, event: Value) -> String {
        let key = (office.to_owned(), id.to_owned());
        if let Some(number) = self.known.get(&key)
            && let Some(delivery) = self.deliveries.get_mut(number)
        {
            delivery.requests += 1;
            return delivery.receipt.clone();
        }
        self.count += 1;
        let text =
            |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let of_office = self.deliveries_to.entry(office.to_owned()).or_default();
        *of_office += 1;
        let delivery = Delivery {
            office: office.to_owned(),
            id: id.to_owned(),
            kind: text("/type"),
            subject: text("/subject"),
            seq: event.pointer("/gatehouseseq").and_then(Value::as_u64).unwrap_or_default(),
            occurrence: text("/data/alarm/occurrence"),
            receipt: format!("R-{of_office:04}"),
            event,
            requests: 1,
        };
        let receipt = delivery.receipt.clone();
        self.known.insert(key, self.count);
        self.deliveries.insert(self.count, delivery);
        if self.deliveries.len() > KEPT
            && let Some((_, oldest)) = self.deliveries.pop_first()
        {
            self.known.remove(&(oldest.office, oldest.id));
        }
        receipt
    }
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(office) = desk.offices.iter().find(|office| office.path == path) else {
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "no such office" }))).into_response();
    };
    let now = Timestamp::now().as_second();
    let id = match verify(office, &headers, &body, now) {
        Ok(id) => id,
        Err(fault) => {
            desk.ledger().refused += 1;
            let why = format!("failed to {fault}");
            return (StatusCode::UNAUTHORIZED, Json(json!({ "error": why }))).into_response();
        }
    };
    let Ok(event) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "not JSON" }))).into_response();
    };
    let (receipt, count) = {
        let mut ledger = desk.ledger();
        (ledger.enter(&office.path, &id, event), ledger.count)
    };
    desk.arrived.send_replace(count);
    Json(json!({ "received": id, "receipt": receipt })).into_response()
}

/// The request's id, if its signature holds (Standard Webhooks 1.0). `now` in seconds since 1970.
fn verify(office: &Office, headers: &HeaderMap, body: &[u8], now: i64) -> Result<String, SignatureFault> {
    let header =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(SignatureFault::Missing);
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let at: i64 = timestamp.parse().map_err(|_| SignatureFault::Time)?;
    if at.abs_diff(now) > TOLERANCE.as_secs() {
        return Err(SignatureFault::Time);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&office.key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    // Several, blank between them, while a key is being changed.
    let one_holds = header("webhook-signature")?.split(' ').any(|signature| {
        let bytes = signature.strip_prefix("v1,").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        bytes.is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
    });
    if one_holds { Ok(id.to_owned()) } else { Err(SignatureFault::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the Standard Webhooks libraries publish.
    #[test]
    fn signatures_are_believed_only_as_published() {
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let office = Office { path: "x".to_owned(), key };
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        let two = format!("v1,AAAA {right}");
        let facts = [
            ("as published", right, body, at, Ok(())),
            ("the second of two", two.as_str(), body, at, Ok(())),
            ("another body", right, r#"{"test": 2432232315}"#, at, Err(SignatureFault::Wrong)),
            ("another version", right.strip_prefix("v1,").unwrap(), body, at, Err(SignatureFault::Wrong)),
            ("too old", right, body, at + 301, Err(SignatureFault::Time)),
            ("from the future", right, body, at - 301, Err(SignatureFault::Time)),
        ];
        for (fact, signature, body, now, expected) in facts {
            let mut headers = HeaderMap::new();
            headers.insert("webhook-id", id.parse().unwrap());
            headers.insert("webhook-timestamp", at.to_string().parse().unwrap());
            headers.insert("webhook-signature", signature.parse().unwrap());
            let verified = verify(&office, &headers, body.as_bytes(), now).map(|found| assert_eq!(found, id));
            assert_eq!(verified, expected, "{fact}");
        }
        assert_eq!(verify(&office, &HeaderMap::new(), b"", at), Err(SignatureFault::Missing), "no headers");
    }

    #[test]
    fn a_repeated_event_gets_its_first_receipt_and_is_one_delivery() {
        let mut ledger = Ledger::default();
        let event = json!({ "type": "gatehouse.alarm.raised", "gatehouseseq": 7 });
        let first = ledger.enter("inspection", "a", event.clone());
        assert_eq!(ledger.enter("inspection", "a", event.clone()), first);
        assert_ne!(ledger.enter("inspection", "b", event.clone()), first, "another event");
        assert_eq!(ledger.enter("property", "a", event), first, "each office counts for itself");
        let requests: Vec<u32> = ledger.deliveries.values().map(|one| one.requests).collect();
        assert_eq!(requests, [2, 1, 1]);
    }
}
