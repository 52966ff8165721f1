//! A whole bus against brokers that send again, talk nonsense, or have strangers.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::{Publish, QoS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::broker_tests::{Running, run, run_as, settings};
use crate::{
    domain::{Failure, Raw, status::MessageStatus},
    mqtt::{Broker as Settings, BrokerAddress, mosquitto::Broker},
};

/// What may go wrong is told well before this.
const SOON: Duration = Duration::from_secs(20);

fn at(listener: &TcpListener) -> Settings {
    Settings {
        address: BrokerAddress {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            tls: false,
        },
        client_id: "gatehouse-test".to_owned(),
        username: None,
        password: None,
        authorities: None,
        identity: None,
    }
}

/// The next connection, with CONNECT read and answered.
async fn accept(listener: &TcpListener, session_present: bool) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.expect("it connects").unwrap();
    let mut connect = [0; 256];
    assert!(stream.read(&mut connect).await.unwrap() > 0 && connect[0] == 0x10, "a CONNECT comes first");
    stream.write_all(&[0x20, 2, session_present.into(), 0]).await.unwrap();
    stream
}

async fn send(stream: &mut TcpStream, text: &str, dup: bool) {
    let mut publish = Publish::new("park/1/up", QoS::AtLeastOnce, text.as_bytes().to_vec());
    (publish.pkid, publish.dup) = (7, dup);
    let mut bytes = BytesMut::new();
    publish.write(&mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
}

/// Whether PUBACK for the message comes.
async fn acknowledged(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut chunk = [0; 64];
    while !seen.windows(4).any(|window| window == [0x40, 2, 0, 7]) {
        match timeout(SOON, stream.read(&mut chunk)).await.expect("in time").unwrap() {
            0 => return false,
            length => seen.extend_from_slice(&chunk[..length]),
        }
    }
    true
}

/// The next message; what is told of the line before it does not matter here.
async fn message(bus: &mut Running) -> (String, tokio::sync::oneshot::Sender<()>) {
    loop {
        let heard = bus.next().await;
        if let Ok(Raw::Payload { bytes, .. }) = heard.outcome {
            return (String::from_utf8(bytes.to_vec()).unwrap(), heard.receipt.unwrap());
        }
    }
}

fn status(bus: &Running) -> MessageStatus {
    bus.counters.messages.get().expect("an MQTT bus has messages").read()
}

#[tokio::test]
async fn what_the_broker_sends_again_is_handed_on_once_and_acknowledged_after_the_commit() {
    for (fact, session_present, again, dup, dropped) in [
        ("sent again", true, "first", true, true),
        ("another message, sent again", true, "second", true, false),
        ("a device that repeats itself", true, "first", false, false),
        ("the broker forgot us, and somebody repeats himself", false, "first", true, false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut bus = run(&at(&listener), &["1"]);
        let mut stream = accept(&listener, true).await;
        send(&mut stream, "first", false).await;
        let (text, first) = message(&mut bus).await;
        assert_eq!(text, "first", "{fact}");
        drop(stream);

        let mut stream = accept(&listener, session_present).await;
        send(&mut stream, again, dup).await;
        if dropped {
            first.send(()).unwrap();
            assert!(acknowledged(&mut stream).await, "{fact}: after the original's receipt");
        } else {
            let (text, second) = message(&mut bus).await;
            assert_eq!(text, again, "{fact}");
            second.send(()).unwrap();
            assert!(acknowledged(&mut stream).await, "{fact}");
        }
        assert_eq!(status(&bus).counts.duplicates, u64::from(dropped), "{fact}");
        bus.kill().await;
    }
}

#[tokio::test]
async fn a_message_that_was_refused_is_no_duplicate_when_it_comes_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bus = run(&at(&listener), &["1"]);
    let mut stream = accept(&listener, true).await;
    send(&mut stream, "first", false).await;
    let (_, first) = message(&mut bus).await;
    drop(stream);
    let mut stream = accept(&listener, true).await;
    drop(first);
    send(&mut stream, "first", true).await;
    let (text, again) = message(&mut bus).await;
    assert_eq!(text, "first");
    again.send(()).unwrap();
    assert!(acknowledged(&mut stream).await);
    assert_eq!(status(&bus).counts.duplicates, 0);
    bus.kill().await;
}

#[tokio::test]
async fn a_broker_that_talks_nonsense_is_told_once_and_comes_back_once_it_lasts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bus = run(&at(&listener), &["1"]);
    for _ in 0..3 {
        let mut stream = accept(&listener, true).await;
        // a good message first: it is heard, or comes again
        send(&mut stream, "hello", false).await;
        stream.write_all(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]).await.unwrap();
        timeout(SOON, stream.read_to_end(&mut Vec::new())).await.expect("it hangs up").ok();
    }
    let mut stream = accept(&listener, true).await;
    send(&mut stream, "at last", false).await;
    let trouble = status(&bus).trouble.expect("it is told why");
    assert!(trouble.en.contains("does not speak MQTT") && trouble.zh.contains("MQTT"), "{trouble:?}");
    let mut told = Vec::new();
    loop {
        let heard = timeout(SOON, bus.heard.recv()).await.expect("in time").unwrap();
        match heard.outcome {
            Err(Failure::LineDown { .. }) => told.push("down"),
            Err(Failure::NotHeardYet) => told.push("back"),
            Ok(Raw::Payload { bytes, .. }) if bytes == "at last" => break,
            Ok(_) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["down", "back"]);
    assert_eq!(status(&bus).trouble, None);
    bus.kill().await;
}

#[tokio::test]
async fn strangers_are_listed_and_ours_are_heard_once() {
    let Some(broker) = Broker::start() else { return };
    let mut bus = run_as(&settings(&broker), true, &["1"]).known(&broker, "1").await;
    let listed = async {
        loop {
            broker.publish("park/9/up", "somebody").await;
            broker.publish("street/9/up", "somebody else").await;
            let status = status(&bus);
            if let [device, ..] = &status.unknown_devices[..] {
                break (device.clone(), status);
            }
        }
    };
    let (device, status) = timeout(SOON, listed).await.expect("found");
    assert_eq!((device.address.as_str(), device.topic.as_str()), ("9", "park/9/up"));
    assert_eq!(device.profiles, ["test/maker-model".into()]);
    assert_eq!(status.unknown_devices.len(), 1, "only where its like speak: {status:?}");
    broker.publish("park/1/up", "one").await;
    broker.publish("park/1/up", "two").await;
    while bus.committed().await != "one" {}
    assert_eq!(bus.committed().await, "two", "each once, though a wildcard covers it too");
    bus.kill().await;
}
