//! An endpoint against mosquitto, and against a broker that confirms what it likes.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Commands, MqttEndpoint, Place, Receiver, Template, endpoint::Patience};
use crate::{
    domain::{
        AlarmKey, Clock, HindranceKind, Letter, ManualClock, Priority,
        command::{Command, Outcome},
    },
    mqtt::{Broker as Account, BrokerAddress, mosquitto::Broker},
    uplink::{Bell, Endpoint, Verdict, Word, readings_key},
};

const SOON: Duration = Duration::from_secs(10);
const HASTE: Patience = Patience {
    connection: Duration::from_secs(3),
    puback: Duration::from_millis(400),
    receipt: Duration::from_millis(400),
    rest: Duration::from_millis(50),
};

fn receiver(port: u16) -> Receiver {
    Receiver {
        template: None,
        broker: Account {
            address: BrokerAddress { host: "127.0.0.1".to_owned(), port, tls: false },
            client_id: "yard".to_owned(),
            username: None,
            password: None,
            authorities: None,
            identity: None,
        },
        topic: Template::parse("a/{site}/{class}/{device}/{alarm}", &Place::ALL).unwrap(),
        readings_topic: "a/yard/readings".to_owned(),
        receipt_topic: None,
        receipt_within: Duration::from_secs(60),
        ack_topic: Some("yard/acks".to_owned()),
        commands: None,
    }
}

struct Running {
    endpoint: Arc<MqttEndpoint>,
    words: mpsc::Receiver<Word>,
    bell: Bell,
    stop: CancellationToken,
    line: JoinHandle<()>,
}

impl Running {
    fn of(receiver: Receiver) -> Self {
        let (people, words) = mpsc::channel(4);
        let classes =
            HashMap::from([("lift-3-1".into(), "elevator".into()), ("lamp".into(), "street-light".into())]);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let mut endpoint =
            MqttEndpoint::new("city".into(), receiver, "yard", classes, people, &clock).unwrap();
        endpoint.patience = HASTE;
        let endpoint = Arc::new(endpoint);
        let (bell, stop) = (Bell::default(), CancellationToken::new());
        let (attended, rung, stopped) = (Arc::clone(&endpoint), bell.clone(), stop.clone());
        let line = tokio::spawn(async move { attended.attend(rung, stopped).await });
        Self { endpoint, words, bell, stop, line }
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(SOON, self.line).await.expect("it ends when told").unwrap();
    }
}

fn letter(id: &str) -> Letter {
    Letter {
        row: 1,
        endpoint: "city".into(),
        event_id: id.to_owned(),
        seq: 7,
        key: AlarmKey { device: "lift-3-1".into(), alarm: "passenger_trapped".into() },
        priority: Priority::Critical,
        attempts: 0,
        body: Arc::from(format!("{{\"id\":\"{id}\"}}").into_bytes()),
        content_type: None,
        provisional: false,
    }
}

/// Somebody else at the broker: what comes to `filter`, and a way to say something.
struct Other {
    client: AsyncClient,
    wire: EventLoop,
}

impl Other {
    async fn at(port: u16, filter: &str) -> Self {
        let options = MqttOptions::new("other", ("127.0.0.1", port));
        let (client, wire) = AsyncClient::builder(options).capacity(8).build();
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let mut other = Self { client, wire };
        while !matches!(other.wire.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        other
    }

    async fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) =
                timeout(SOON, self.wire.poll()).await.unwrap().unwrap()
            {
                return (String::from_utf8(publish.topic.to_vec()).unwrap(), publish.payload.to_vec());
            }
        }
    }

    async fn says(&mut self, topic: &str, payload: &str) {
        self.client
            .publish(topic, payload.to_owned(), rumqttc::PublishOptions::new(QoS::AtLeastOnce))
            .await
            .unwrap();
        while !matches!(self.wire.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    }
}

fn said(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Accepted { said, .. } => said,
        Verdict::TryAgain { why, .. } | Verdict::Refused { why, .. } => &why.said.en,
    }
}

#[tokio::test]
async fn a_letter_is_delivered_when_the_broker_confirms_it_and_again_after_the_broker_was_away() {
    let Some(mut broker) = Broker::start() else { return };
    let mut other = Other::at(broker.port, "a/#").await;
    let running = Running::of(receiver(broker.port));
    let verdict = running.endpoint.deliver(&letter("one")).await;
    assert_eq!(verdict, Verdict::Accepted { status: 0, said: "PUBACK".to_owned() });
    let (topic, body) = other.next().await;
    assert_eq!(
        (topic.as_str(), body.as_slice()),
        ("a/yard/elevator/lift-3-1/passenger_trapped", &b"{\"id\":\"one\"}"[..])
    );
    let readings = Letter { key: readings_key(), ..letter("two") };
    assert!(matches!(running.endpoint.deliver(&readings).await, Verdict::Accepted { .. }));
    assert_eq!(other.next().await.0, "a/yard/readings");
    broker.kill();
    let away = running.endpoint.deliver(&letter("three")).await;
    let Verdict::TryAgain { why, .. } = &away else { panic!("{away:?}") };
    assert!(matches!(why.kind, HindranceKind::Unreachable | HindranceKind::NoReply), "{why:?}");
    broker.restart();
    timeout(SOON, running.bell.rung()).await.expect("the courier is called");
    timeout(SOON, async {
        while !matches!(running.endpoint.deliver(&letter("three")).await, Verdict::Accepted { .. }) {}
    })
    .await
    .expect("it goes when the broker is back");
    running.end().await;
}

#[tokio::test]
async fn where_the_receiver_confirms_a_puback_alone_delivers_nothing() {
    let Some(broker) = Broker::start() else { return };
    let mut other = Other::at(broker.port, "a/#").await;
    let running =
        Running::of(Receiver { receipt_topic: Some("yard/receipts".to_owned()), ..receiver(broker.port) });
    let silent = running.endpoint.deliver(&letter("one")).await;
    let Verdict::TryAgain { why, .. } = &silent else { panic!("{silent:?}") };
    assert_eq!(why.kind, HindranceKind::NoReply, "it passes when the receiver is back");
    other.next().await;
    // late: it counts at the letter's next turn, and nothing is sent again
    other.says("yard/receipts", r#"{"id":"one"}"#).await;
    other.says("yard/receipts", "nobody's").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(said(&running.endpoint.deliver(&letter("one")).await), "the receiver's receipt, late");
    let endpoint = Arc::clone(&running.endpoint);
    let delivery = tokio::spawn(async move { endpoint.deliver(&letter("two")).await });
    assert_eq!(other.next().await.1, b"{\"id\":\"two\"}", "\"one\" did not go twice");
    other.says("yard/receipts", "two").await;
    assert_eq!(said(&delivery.await.unwrap()), "the receiver's receipt");
    running.end().await;
}

#[tokio::test]
async fn what_people_at_the_endpoint_say_enters_by_the_common_door() {
    let Some(broker) = Broker::start() else { return };
    let allowed = Commands(vec![("street-light".into(), "set_dimming".into())]);
    let commands = Some(("yard/commands".to_owned(), allowed));
    let mut running = Running::of(Receiver { commands, ..receiver(broker.port) });
    assert!(
        matches!(running.endpoint.deliver(&letter("up")).await, Verdict::Accepted { .. }),
        "it is connected"
    );
    let mut other = Other::at(broker.port, "none").await;
    other.says("yard/acks", "nonsense").await;
    other.says("yard/commands", r#"{"device":"lift-3-1","command":"set_dimming","value":1,"as":"x"}"#).await;
    other.says("yard/commands", r#"{"device":"lamp","command":"set_dimming","value":40,"as":"王芳"}"#).await;
    other.says("yard/acks", r#"{"id":"9c1e-1","as":"李强","note":"已派人"}"#).await;
    let (command, reply) = timeout(SOON, running.words.recv()).await.unwrap().unwrap();
    let Command::Operate(asked) = &command else { panic!("{command:?}") };
    assert_eq!(
        (asked.device.as_str(), asked.from.as_str()),
        ("lamp", "mqtt:city"),
        "nonsense and elevators go nowhere"
    );
    reply.send(Outcome::NoSuchDevice { device: "lamp".into() }).unwrap();
    let (command, reply) = timeout(SOON, running.words.recv()).await.unwrap().unwrap();
    let Command::Acknowledge { alarm, by, from, .. } = &command else { panic!("{command:?}") };
    assert_eq!((alarm.as_str(), by.as_str(), from.as_str()), ("9c1e-1", "李强", "mqtt:city"));
    // not stored: it is not acknowledged, so the broker gives it to the next connection
    reply.send(Outcome::NotStored { why: "full".to_owned() }).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.end().await;
    let mut running = Running::of(receiver(broker.port));
    let (command, reply) = timeout(SOON, running.words.recv()).await.unwrap().unwrap();
    assert!(matches!(command, Command::Acknowledge { .. }), "{command:?}");
    reply.send(Outcome::NoSuchAlarm { alarm: "9c1e-1".into() }).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.end().await;
}

/// One connection of a broker in the test's hands: CONNECT read and answered, whatever is subscribed to granted.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.expect("it connects").unwrap();
    packet(&mut stream).await;
    stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
    stream
}

/// The next packet, its first byte and what follows its length.
async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.unwrap();
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.unwrap();
    (first, rest)
}

/// The packet id of the next PUBLISH.
async fn published(stream: &mut TcpStream) -> [u8; 2] {
    loop {
        let (first, rest) = packet(stream).await;
        if first >> 4 == 3 {
            let topic = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            return [rest[2 + topic], rest[3 + topic]];
        }
    }
}

#[tokio::test]
async fn a_broker_that_does_not_confirm_gets_a_new_connection_and_a_stray_confirmation_harms_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = Running::of(receiver(listener.local_addr().unwrap().port()));
    let deliver = |id: &'static str| {
        let endpoint = Arc::clone(&running.endpoint);
        tokio::spawn(async move { endpoint.deliver(&letter(id)).await })
    };
    // withheld
    let mut stream = accept(&listener).await;
    let first = deliver("one");
    published(&mut stream).await;
    let verdict = first.await.unwrap();
    assert!(said(&verdict).contains("does not confirm within 400ms"), "{verdict:?}");
    // of a letter that nobody sent: the connection ends, what was on its way comes back
    let mut stream = accept(&listener).await;
    let second = deliver("two");
    published(&mut stream).await;
    stream.write_all(&[0x40, 2, 0x7f, 0x7f]).await.unwrap();
    let verdict = second.await.unwrap();
    assert!(matches!(verdict, Verdict::TryAgain { .. }), "{verdict:?}");
    // reordered
    let mut stream = accept(&listener).await;
    let (third, fourth) = (deliver("three"), deliver("four"));
    let ids = [published(&mut stream).await, published(&mut stream).await];
    for id in [ids[1], ids[0]] {
        stream.write_all(&[0x40, 2, id[0], id[1]]).await.unwrap();
    }
    for delivery in [third, fourth] {
        let verdict = timeout(SOON, delivery).await.expect("no livelock").unwrap();
        assert_eq!(said(&verdict), "PUBACK", "{verdict:?}");
    }
    assert!(!running.endpoint.contested.load(Relaxed));
    drop(stream);
    running.stop.cancel();
}

/// A PUBLISH with QoS 1 of `payload` on `yard/commands`.
fn order(again: bool, id: u8, payload: &str) -> Vec<u8> {
    let topic = b"yard/commands";
    let rest = [&[0, topic.len() as u8][..], topic, &[0, id], payload.as_bytes()].concat();
    assert!(rest.len() < 128);
    [&[if again { 0x3a } else { 0x32 }, rest.len() as u8][..], &rest].concat()
}

#[tokio::test]
async fn a_command_that_the_broker_sends_again_is_not_carried_out_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let allowed = Commands(vec![("street-light".into(), "set_dimming".into())]);
    let commands = Some(("yard/commands".to_owned(), allowed));
    let port = listener.local_addr().unwrap().port();
    let mut running = Running::of(Receiver { commands, ..receiver(port) });
    let mut stream = accept(&listener).await;
    for (again, id, value) in [(true, 7, 10), (false, 8, 40)] {
        let payload = format!(r#"{{"device":"lamp","command":"set_dimming","value":{value},"as":"王芳"}}"#);
        stream.write_all(&order(again, id, &payload)).await.unwrap();
    }
    let (command, reply) = timeout(SOON, running.words.recv()).await.unwrap().unwrap();
    let Command::Operate(asked) = &command else { panic!("{command:?}") };
    assert_eq!(asked.value, 40.0.into(), "only the one that came for the first time");
    reply.send(Outcome::NoSuchDevice { device: "lamp".into() }).unwrap();
    let mut confirmed = Vec::new();
    while confirmed.len() < 2 {
        if let (0x40, id) = packet(&mut stream).await {
            confirmed.push(id[1]);
        }
    }
    assert_eq!(confirmed, [7, 8], "neither comes a third time");
    drop(stream);
    running.stop.cancel();
}
