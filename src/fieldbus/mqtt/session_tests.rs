//! A session against a broker that says what it likes, and acknowledging without any broker.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use rumqttc::{AsyncClient, EventLoop, Publish, QoS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::session::{ASK_AGAIN, News, Queue, Session, Uncommitted, acknowledge};
use crate::{
    domain::{Clock, ManualClock},
    mqtt::{Broker, BrokerAddress, connect::options, sieve::Mark},
};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn broker(port: u16) -> Broker {
    Broker {
        address: BrokerAddress { host: "127.0.0.1".to_owned(), port, tls: false },
        client_id: "gatehouse-test".to_owned(),
        username: None,
        password: None,
        authorities: None,
        identity: None,
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new())
}

/// A message as it stands on the wire.
fn wire(publish: &Publish) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    publish.write(&mut bytes).unwrap();
    bytes.to_vec()
}

fn publish(pkid: u16, topic: &str) -> Publish {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, b"7".to_vec());
    publish.pkid = pkid;
    publish
}

/// Accepts one connection, answers CONNECT with `said`, and gives the connection.
async fn accept(listener: &TcpListener, said: &[u8]) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut connect = [0; 256];
    assert!(stream.read(&mut connect).await.unwrap() > 0 && connect[0] == 0x10, "a CONNECT comes first");
    stream.write_all(said).await.unwrap();
    stream
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options =
        options(&broker(listener.local_addr().unwrap().port()), Mark::random().unwrap(), &clock()).unwrap();
    let good = wire(&publish(1, "park/1/up"));
    let long = |pkid| Publish { payload: vec![0; 300_000].into(), ..publish(pkid, "a") };
    for (fact, said, goes_on) in [
        ("a remaining length of five bytes", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], false),
        ("a topic longer than its packet", vec![0x32, 4, 0xFF, 0xFF, b'a', b'b'], false),
        ("an empty PUBLISH", vec![0x32, 0], false),
        ("QoS 3", vec![0x36, 5, 0, 1, b'a', 0, 1], false),
        ("a packet type that is none", vec![0x00, 0], false),
        ("a packet only clients send", vec![0xC0, 0], false),
        ("a second CONNACK", CONNACK.to_vec(), false),
        ("packet id 0", vec![0x32, 5, 0, 1, b'a', 0, 0], false),
        ("an acknowledgement of nothing", vec![0x40, 2, 0, 9], false),
        ("a topic that is not UTF-8", vec![0x32, 6, 0, 2, 0xFF, 0xFE, 0, 2], false),
        ("a topic with a NUL", vec![0x32, 7, 0, 3, b'a', 0, b'b', 0, 3], false),
        ("a topic as long as can be", wire(&publish(4, &"t".repeat(65_535))), true),
        ("a message that is too long", wire(&long(5)), true),
    ] {
        let stream = async {
            let mut stream = accept(&listener, &CONNACK).await;
            stream.write_all(&said).await.unwrap();
            stream.write_all(&good).await.unwrap();
            stream
        };
        let (session, _stream) = tokio::join!(Session::open(options.clone(), &[]), stream);
        let mut session = session.unwrap();
        let heard_the_next = loop {
            match timeout(Duration::from_secs(5), session.news.recv()).await.expect(fact) {
                Some(News::Message(message)) if message.topic == "park/1/up" => break true,
                Some(News::Message(_)) => {}
                Some(News::Over(..)) => break false,
                None => panic!("{fact}: the end is told"),
            }
        };
        assert_eq!(heard_the_next, goes_on, "{fact}");
    }
}

#[tokio::test]
async fn a_broker_that_refuses_or_says_nothing_is_no_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options =
        options(&broker(listener.local_addr().unwrap().port()), Mark::random().unwrap(), &clock()).unwrap();
    for (fact, said, why) in [
        ("not authorized", vec![0x20, 2, 0, 5], "NotAuthorized"),
        ("something else than CONNACK", vec![0xD0, 0], "ConnAck"),
        ("no MQTT at all", b"\xFF\xFF\xFF\xFF\xFF\xFF".to_vec(), ""),
    ] {
        let (session, _stream) = tokio::join!(Session::open(options.clone(), &[]), accept(&listener, &said));
        let error = session.expect_err(fact).reason().text.en;
        assert!(error.contains(why), "{fact}: {error}");
    }
    let (session, ()) = tokio::join!(Session::open(options.clone(), &[]), async {
        drop(listener.accept().await.unwrap());
    });
    assert!(session.is_err(), "closed at once");
}

/// The messages 1, 2, 3 wait to be acknowledged; the second was refused, the others are committed, the third first.
async fn second_refused() -> (AsyncClient, EventLoop, mpsc::Sender<Uncommitted>, Queue) {
    let (client, wire) =
        AsyncClient::builder(rumqttc::MqttOptions::new("t", ("127.0.0.1", 1))).capacity(9).build();
    let (uncommitted, waiting) = mpsc::channel(9);
    let mut receipts = Vec::new();
    for packet_id in 1..=3 {
        let (receipt, committed) = oneshot::channel();
        receipts.push(receipt);
        uncommitted.send(Uncommitted::new(&publish(packet_id, "t"), vec![committed])).await.unwrap();
    }
    let [first, second, third] = <[_; 3]>::try_from(receipts).unwrap();
    third.send(()).unwrap();
    first.send(()).unwrap();
    drop(second);
    (client, wire, uncommitted, Queue::new(waiting))
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_asked_for_again_with_all_behind_it() {
    let (client, mut wire, _uncommitted, mut queue) = second_refused().await;
    let (_acknowledged, sent) = watch::channel(0);
    let began = Instant::now();
    let why = acknowledge(&client, &mut queue, sent).await;
    assert!(why.text.en.contains("could not be stored"), "{why:?}");
    assert_eq!(began.elapsed().as_secs(), ASK_AGAIN.as_secs());
    let queues = wire.diagnostics().queues;
    assert_eq!(queues.control_requests_rx_len, 1, "only the first is acknowledged");
    wire.clean();
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_nothing_behind_a_refused_message_is_acknowledged() {
    let (client, mut wire, uncommitted, mut queue) = second_refused().await;
    drop(uncommitted);
    let (acknowledged, sent) = watch::channel(0);
    let leave = timeout(ASK_AGAIN / 2, acknowledge(&client, &mut queue, sent));
    let queues = || wire.diagnostics().queues.control_requests_rx_len;
    let (left, ()) = tokio::join!(leave, async {
        sleep(ASK_AGAIN / 4).await;
        assert_eq!(queues(), 1, "only the first is acknowledged");
        acknowledged.send(1).unwrap();
    });
    assert!(left.is_err(), "the wire ends it");
    assert_eq!(queues(), 2, "and then the leave is taken");
    wire.clean();
}

#[tokio::test]
async fn a_refused_subscription_leaves_the_others_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options =
        options(&broker(listener.local_addr().unwrap().port()), Mark::random().unwrap(), &clock()).unwrap();
    let filters: Vec<String> = (0..9).map(|n| format!("park/{n}/up")).collect();
    let stream = async {
        let mut stream = accept(&listener, &CONNACK).await;
        for most in [8, 1] {
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.unwrap();
            let [0x82, length, id @ ..] = head else { panic!("a SUBSCRIBE, not {head:?}") };
            let mut rest = vec![0; usize::from(length) - 2];
            stream.read_exact(&mut rest).await.unwrap();
            let refused = [&[0x90, 2 + most][..], &id, &vec![0x80; usize::from(most)]].concat();
            stream.write_all(&refused).await.unwrap();
        }
        stream.write_all(&wire(&publish(1, "park/1/up"))).await.unwrap();
        stream
    };
    let opened = async {
        let mut session = Session::open(options, &filters).await.unwrap();
        timeout(Duration::from_secs(5), session.news.recv()).await.unwrap()
    };
    let (news, _stream) = tokio::join!(opened, stream);
    assert!(matches!(news, Some(News::Message(_))), "{news:?}");
}
