//! Against a real broker: what was not committed comes again, what was does not, and nothing stops the rest.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rumqttc::{PublishOptions, QoS};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::bus;
use crate::{
    domain::{DeviceIx, Failure, Heard, Raw},
    fieldbus::{BusCounters, BusError, fixtures},
    mqtt::{
        Broker as Settings, BrokerAddress, ClientIdentity,
        mosquitto::{Broker, Kind},
    },
    profile::{Link, MqttLink},
};

/// A running bus with its ends in the test's hands.
pub(super) struct Running {
    pub(super) heard: mpsc::Receiver<Heard>,
    pub(super) counters: Arc<BusCounters>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), BusError>>,
}

pub(super) fn settings(broker: &Broker) -> Settings {
    Settings {
        address: BrokerAddress { host: "127.0.0.1".to_owned(), port: broker.port, tls: false },
        client_id: "gatehouse-test".to_owned(),
        username: None,
        password: None,
        authorities: None,
        identity: None,
    }
}

/// A bus with these devices, whose topics are `park/<address>/up`.
pub(super) fn run(settings: &Settings, addresses: &[&str]) -> Running {
    run_as(settings, false, addresses)
}

pub(super) fn run_as(settings: &Settings, discover: bool, addresses: &[&str]) -> Running {
    let link = || Link::Mqtt(MqttLink { topic: "park/{address}/up".to_owned(), heartbeat: None });
    let devices: Vec<_> = addresses.iter().map(|address| (*address, fixtures::product(link()))).collect();
    let (parts, heard) = fixtures::parts(&devices);
    let counters = parts.counters.clone();
    let stop = CancellationToken::new();
    let task = tokio::spawn(bus(parts, settings, discover).unwrap().run(stop.clone()));
    Running { heard, counters, stop, task }
}

impl Running {
    pub(super) async fn next(&mut self) -> Heard {
        fixtures::next(&mut self.heard).await
    }

    /// The next message as text, with its device; it is not committed yet.
    pub(super) async fn message(&mut self) -> (u32, String, Heard) {
        let heard = self.next().await;
        match &heard.outcome {
            Ok(Raw::Payload { bytes, .. }) => {
                (heard.device.0, String::from_utf8(bytes.to_vec()).unwrap(), heard)
            }
            other => panic!("a message, not {other:?}"),
        }
    }

    /// The next message as text; it is committed.
    pub(super) async fn committed(&mut self) -> String {
        let (_, text, heard) = self.message().await;
        heard.receipt.expect("QoS 1 wants a receipt").send(()).unwrap();
        text
    }

    /// Committed once, so that the broker knows the session and its subscriptions.
    pub(super) async fn known(mut self, broker: &Broker, address: &str) -> Self {
        broker_until_heard(broker, &mut self, address).await;
        self
    }

    /// Stopped in peace: the broker has seen us go, and all that we told it before.
    pub(super) async fn stop(self, broker: &mut Broker) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        broker.says("Client gatehouse-test disconnected").await;
    }

    /// As if the process had been killed.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Publishes until the subscription stands and something was heard; all of it is committed.
async fn broker_until_heard(broker: &Broker, bus: &mut Running, address: &str) {
    let topic = format!("park/{address}/up");
    loop {
        broker.publish(&topic, "hello").await;
        let soon = tokio::time::timeout(Duration::from_millis(500), bus.heard.recv());
        if let Ok(Some(heard)) = soon.await {
            heard.receipt.unwrap().send(()).unwrap();
            break;
        }
    }
}

#[tokio::test]
async fn messages_of_the_time_away_arrive_and_committed_ones_do_not_come_again() {
    let Some(mut broker) = Broker::start() else { return };
    run(&settings(&broker), &["1", "2"]).known(&broker, "1").await.stop(&mut broker).await;

    for n in 0..30 {
        broker.publish(&format!("park/{}/up", 1 + n % 2), format!("away {n}")).await;
    }
    let mut back = run(&settings(&broker), &["1", "2"]);
    for n in 0..30 {
        let (device, text, heard) = back.message().await;
        assert_eq!((device, text), (n % 2, format!("away {n}")), "in order, to its device");
        heard.receipt.unwrap().send(()).unwrap();
    }
    back.stop(&mut broker).await;

    let mut again = run(&settings(&broker), &["1", "2"]);
    broker.publish("park/1/up", "after").await;
    assert_eq!(again.committed().await, "after", "what was acknowledged is not sent again");
    again.stop(&mut broker).await;
}

#[tokio::test]
async fn what_was_not_committed_comes_again_after_a_crash() {
    let Some(mut broker) = Broker::start() else { return };
    let mut bus = run(&settings(&broker), &["1"]).known(&broker, "1").await;
    for n in 0..3 {
        broker.publish("park/1/up", format!("{n}")).await;
    }
    let mut held = Vec::new();
    for n in 0..3 {
        let (_, text, heard) = bus.message().await;
        assert_eq!(text, n.to_string());
        held.push(heard.receipt.unwrap());
    }
    // the later two are committed before the first: none may be acknowledged
    held.drain(1..).for_each(|receipt| receipt.send(()).unwrap());
    bus.kill().await;

    let mut back = run(&settings(&broker), &["1"]);
    for n in 0..3 {
        assert_eq!(back.committed().await, n.to_string(), "again, and in order");
    }
    back.stop(&mut broker).await;

    let mut again = run(&settings(&broker), &["1"]);
    broker.publish("park/1/up", "after").await;
    assert_eq!(again.committed().await, "after");
    again.stop(&mut broker).await;
}

#[tokio::test]
async fn behind_a_refused_message_all_come_again_in_order() {
    let Some(mut broker) = Broker::start() else { return };
    let mut bus = run(&settings(&broker), &["1"]).known(&broker, "1").await;
    for n in 0..4 {
        broker.publish("park/1/up", format!("{n}")).await;
    }
    for n in 0..4 {
        let (_, text, heard) = bus.message().await;
        assert_eq!(text, n.to_string());
        let receipt = heard.receipt.unwrap();
        // the second one's commit fails
        if n == 1 { drop(receipt) } else { receipt.send(()).unwrap() }
    }
    bus.stop(&mut broker).await;

    let mut back = run(&settings(&broker), &["1"]);
    for n in 1..4 {
        assert_eq!(back.committed().await, n.to_string(), "from the refused one on");
    }
    back.stop(&mut broker).await;
}

#[tokio::test]
async fn a_device_that_is_no_longer_ours_blocks_nobody() {
    let Some(mut broker) = Broker::start() else { return };
    run(&settings(&broker), &["gone", "1"]).known(&broker, "gone").await.stop(&mut broker).await;

    // the broker still has the old subscription, and its window is 20 messages
    for n in 0..30 {
        broker.publish("park/gone/up", format!("{n}")).await;
    }
    broker.publish("park/1/up", "mine").await;
    let mut bus = run(&settings(&broker), &["1"]);
    assert_eq!(bus.committed().await, "mine");
    assert_eq!(bus.counters.unasked.load(Relaxed), 31, "each counted");
    bus.stop(&mut broker).await;

    let mut again = run(&settings(&broker), &["1"]);
    broker.publish("park/1/up", "after").await;
    assert_eq!(again.committed().await, "after");
    assert_eq!(again.counters.unasked.load(Relaxed), 1, "and acknowledged");
    again.stop(&mut broker).await;
}

#[tokio::test]
async fn messages_that_are_too_long_are_counted_and_stop_nobody() {
    let Some(mut broker) = Broker::start() else { return };
    let mut bus = run(&settings(&broker), &["1", "2"]).known(&broker, "2").await;
    let kept = PublishOptions::new(QoS::AtLeastOnce).retained();
    broker.publish("park/1/up", vec![b'x'; 1 << 20]).await;
    broker.publish_as("park/1/up", vec![b'y'; 5 << 20], kept).await;
    broker.publish("park/1/up", vec![b'z'; 10_241]).await;
    let (device, text, heard) = bus.message().await;
    assert_eq!((device, text.len()), (0, 10_241), "longer than the library's own default");
    heard.receipt.unwrap().send(()).unwrap();
    assert_eq!(bus.counters.garbled.load(Relaxed), 2);
    assert_eq!(bus.counters.reconnects.load(Relaxed), 0, "the connection holds");
    bus.stop(&mut broker).await;

    // the retained one comes at each subscription
    let mut again = run(&settings(&broker), &["1", "2"]).known(&broker, "2").await;
    broker.publish("park/1/up", "short").await;
    while again.committed().await != "short" {}
    assert_eq!(again.counters.garbled.load(Relaxed), 1);
    assert_eq!(again.counters.reconnects.load(Relaxed), 0);
    again.stop(&mut broker).await;
}

#[tokio::test]
async fn retained_messages_say_so() {
    let Some(broker) = Broker::start() else { return };
    let kept = PublishOptions::new(QoS::AtLeastOnce).retained();
    broker.publish_as("park/1/up", "long ago", kept).await;
    let mut bus = run(&settings(&broker), &["1"]);
    let (_, text, heard) = bus.message().await;
    assert_eq!(text, "long ago");
    assert!(matches!(heard.outcome, Ok(Raw::Payload { retained: true, .. })), "{:?}", heard.outcome);
    heard.receipt.unwrap().send(()).unwrap();
    broker.publish("park/1/up", "now").await;
    let (_, _, heard) = bus.message().await;
    assert!(matches!(heard.outcome, Ok(Raw::Payload { retained: false, .. })), "{:?}", heard.outcome);
}

#[tokio::test]
async fn a_broker_that_comes_back_without_memory_is_subscribed_to_again() {
    let Some(mut broker) = Broker::start_as(&Kind { forgets: true, ..Kind::default() }) else { return };
    let mut bus = run(&settings(&broker), &["1", "2"]).known(&broker, "1").await;
    broker.restart();
    for device in 0..2 {
        let heard = bus.next().await;
        assert_eq!(heard.device, DeviceIx(device));
        assert!(matches!(heard.outcome, Err(Failure::LineDown { .. })), "{:?}", heard.outcome);
    }
    for device in 0..2 {
        let heard = bus.next().await;
        assert_eq!((heard.device, heard.outcome), (DeviceIx(device), Err(Failure::NotHeardYet)));
    }
    let mut bus = bus.known(&broker, "1").await;
    broker.publish("park/2/up", "still here").await;
    while bus.committed().await != "still here" {}
    assert_eq!(bus.counters.reconnects.load(Relaxed), 1);
    bus.stop(&mut broker).await;
}

#[tokio::test]
async fn each_device_on_a_shared_topic_gets_the_message_and_all_must_have_committed_it() {
    let Some(mut broker) = Broker::start() else { return };
    let mut bus = run(&settings(&broker), &["1", "1"]);
    broker_until_heard(&broker, &mut bus, "1").await;
    // the other device's copy
    assert_eq!(bus.committed().await, "hello");
    broker.publish("park/1/up", "both").await;
    let (first, second) = (bus.message().await, bus.message().await);
    assert_eq!((first.0, second.0, first.1), (0, 1, second.1.clone()));
    first.2.receipt.unwrap().send(()).unwrap();
    bus.kill().await;

    let mut back = run(&settings(&broker), &["1", "1"]);
    assert_eq!(back.committed().await, "both", "one of two committed is not enough");
    assert_eq!(back.committed().await, "both");
    back.stop(&mut broker).await;
}

#[tokio::test]
async fn both_sides_show_their_certificates() {
    let Some(mut broker) = Broker::start_as(&Kind { tls: true, ..Kind::default() }) else { return };
    let identity = |broker: &Broker| {
        let key = broker.file("client.key").into();
        Some(ClientIdentity { certificates: broker.file("client.pem"), key })
    };
    let with = |authority: &str, identity| {
        let mut settings = settings(&broker);
        settings.address = BrokerAddress { host: "localhost".to_owned(), port: broker.tls_port, tls: true };
        settings.authorities = Some(broker.file(authority));
        settings.identity = identity;
        settings
    };
    for (fact, settings, why) in [
        (
            "an authority that does not vouch for the broker",
            with("stranger.pem", identity(&broker)),
            "check ca_file",
        ),
        ("no certificate of ours", with("ca.pem", None), "check cert_file"),
    ] {
        let mut bus = run(&settings, &["1"]);
        let heard = bus.next().await;
        let Err(Failure::LineDown { fault }) = &heard.outcome else { panic!("{fact}: {:?}", heard.outcome) };
        let told = fault.to_string();
        assert!(told.contains(why), "{fact}: {told}");
        bus.kill().await;
    }
    let good = with("ca.pem", identity(&broker));
    let bus = run(&good, &["1"]).known(&broker, "1").await;
    // the sieve looks into what came out of TLS
    broker.publish("park/1/up", vec![b'x'; 1 << 20]).await;
    let bus = bus.known(&broker, "1").await;
    assert_eq!((bus.counters.garbled.load(Relaxed), bus.counters.reconnects.load(Relaxed)), (1, 0));
    bus.stop(&mut broker).await;
}

#[tokio::test]
async fn a_topic_we_may_not_hear_does_not_deafen_us() {
    let access = "topic write #\ntopic read park/2/up\n";
    let Some(mut broker) = Broker::start_as(&Kind { access: Some(access), ..Kind::default() }) else {
        return;
    };
    let bus = run(&settings(&broker), &["1", "2"]).known(&broker, "2").await;
    assert_eq!(bus.counters.reconnects.load(Relaxed), 0);
    bus.stop(&mut broker).await;
}

#[test]
fn buses_that_reach_nobody_are_refused() {
    let link = || Link::Mqtt(MqttLink { topic: "park/{address}/up".to_owned(), heartbeat: None });
    let settings = || Settings {
        address: BrokerAddress { host: "broker".to_owned(), port: 1883, tls: false },
        client_id: "gatehouse".to_owned(),
        username: None,
        password: None,
        authorities: None,
        identity: None,
    };
    let refusal = |settings: &Settings, address: &str| {
        let (parts, _heard) = fixtures::parts(&[(address, fixtures::product(link()))]);
        bus(parts, settings, false).map(|_| ()).map_err(|error| error.to_string())
    };
    let tls = |authorities: &[u8]| Settings {
        address: BrokerAddress { host: "broker".to_owned(), port: 8883, tls: true },
        authorities: Some(authorities.to_vec()),
        ..settings()
    };
    for (fact, settings, address, want) in [
        ("a broker and a device", settings(), "7", Ok(())),
        ("an address with a wildcard", settings(), "+", Err("topic")),
        ("no client id", Settings { client_id: String::new(), ..settings() }, "7", Err("session")),
        ("no certificate in the file", tls(b"hello"), "7", Err("certificate")),
    ] {
        let refused = refusal(&settings, address);
        match (&refused, want) {
            (Ok(()), Ok(())) => {}
            (Err(said), Err(why)) => assert!(said.contains(why), "{fact}: {said}"),
            (Ok(()) | Err(_), _) => panic!("{fact}: {refused:?}"),
        }
    }
}
