//! A line with scripted devices at its other end, on paused time.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep, timeout},
};

use super::{
    codec::encode,
    members::{Members, Question, SetupError},
    wire::Wire,
};
use crate::{
    domain::{DeviceIx, Garble, Raw},
    fieldbus::{
        driver::{AskFault, LineFault, Unasked},
        fixtures,
        port::OpenPort,
    },
    profile::{
        ByteMatch, Checksum, ChecksumKind, FrameLength, FrameShape, Link, Profile, SerialEvent, SerialLink,
        SerialRequest,
    },
};

const TIMEOUT: Duration = Duration::from_millis(200);
/// 9600 8N1.
const CHARACTER: Duration = Duration::from_nanos(1_041_667);
const STATUS: Question = Question { member: 0, request: 0 };
const POLL: Question = Question { member: 0, request: 1 };
/// The card event's number: after the two requests.
const CARD: u16 = 2;

fn at(at: usize, bytes: &[u8]) -> Vec<ByteMatch> {
    vec![ByteMatch { at, bytes: bytes.to_vec() }]
}

/// Name, what is sent, what its answer looks like.
type Asked<'a> = (&'a str, &'a [Option<u8>], Vec<ByteMatch>);

fn link(frame: FrameShape, requests: &[Asked<'_>]) -> SerialLink {
    let requests = requests.iter().map(|(name, send, matches)| SerialRequest {
        name: (*name).to_owned(),
        send: send.to_vec(),
        every: Duration::from_secs(1),
        matches: matches.clone(),
        reply: 0,
    });
    SerialLink {
        frame,
        requests: requests.collect(),
        events: vec![],
        timeout: TIMEOUT,
        retries: 0,
        turnaround: Duration::ZERO,
        heartbeat: None,
    }
}

fn osdp_shape() -> FrameShape {
    let checksum = Checksum { kind: ChecksumKind::Crc16Osdp, from: 0, to: -2, little: true, hex: false };
    FrameShape {
        start: vec![0x53],
        length: FrameLength::Field { at: 2, size: 2, little: true, adds: 0 },
        max: 64,
        checksum: Some(checksum),
        address: Some((1, 0x7F)),
    }
}

/// An OSDP reader: asked for its status and polled; a card may be the answer to a poll.
fn reader() -> Arc<Profile> {
    let asked = |command| [Some(0x53), None, Some(8), Some(0), Some(4), Some(command)];
    let mut link = link(
        osdp_shape(),
        &[("status", &asked(0x64), at(5, &[0x48])), ("poll", &asked(0x60), at(5, &[0x40]))],
    );
    link.events = vec![SerialEvent { name: "card".to_owned(), matches: at(5, &[0x50]), answers: vec![1] }];
    fixtures::product(Link::Serial(link))
}

/// A scale: two questions whose answers look alike.
fn scale() -> Arc<Profile> {
    let shape = FrameShape {
        start: vec![],
        length: FrameLength::EndsWith(b"\r\n".to_vec()),
        max: 64,
        checksum: None,
        address: None,
    };
    let text = |text: &str| text.bytes().map(Some).collect::<Vec<_>>();
    fixtures::product(Link::Serial(link(
        shape,
        &[("gross", &text("G\r\n"), vec![]), ("net", &text("N\r\n"), vec![])],
    )))
}

/// A reply of reader `address`, with its checksum.
fn reply(address: u8, code: u8, data: &[u8]) -> Vec<u8> {
    let head = [0x53, address | 0x80, 8 + data.len() as u8, 0, 4, code];
    let template: Vec<_> = head.iter().chain(data).map(|byte| Some(*byte)).collect();
    encode(&osdp_shape(), &template, 0)
}

async fn line(devices: &[(&str, Arc<Profile>)]) -> (Wire<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(1 << 20);
    let (parts, _heard) = fixtures::parts(devices);
    let members = Arc::new(Members::new(&parts.id, &parts.devices).unwrap());
    let mut wire = Wire::new(OpenPort::new(ours, "/dev/test".into()), CHARACTER, members);
    wire.settle().await.unwrap();
    (wire, theirs)
}

/// Reads one request, whatever it says.
async fn request(theirs: &mut DuplexStream) -> Vec<u8> {
    let mut chunk = [0; 64];
    let count = theirs.read(&mut chunk).await.unwrap();
    chunk[..count].to_vec()
}

fn frame(raw: Raw) -> (u16, Vec<u8>) {
    match raw {
        Raw::Frame { frame, bytes } => (frame, bytes.to_vec()),
        other => panic!("a frame, not {other:?}"),
    }
}

/// Whatever waits now, in words; nothing more comes within a second.
async fn all_heard(wire: &mut Wire<DuplexStream>) -> Vec<String> {
    let mut heard = Vec::new();
    while let Ok(unasked) = timeout(Duration::from_secs(1), wire.hear()).await {
        heard.push(match unasked {
            Unasked::Message { device: DeviceIx(device), raw, receipt: None } => {
                format!("{device}: frame {}", frame(raw).0)
            }
            Unasked::Message { receipt: Some(_), .. } => panic!("a serial line wants no receipt"),
            Unasked::Stranger => "stranger".to_owned(),
            Unasked::Noise => "noise".to_owned(),
            Unasked::Gone(fault) => panic!("{fault}"),
        });
    }
    heard
}

/// What the other end does after the request, as `(pause before in ms, bytes)`.
type Script = Vec<(u64, Vec<u8>)>;

async fn play(theirs: &mut DuplexStream, script: Script) {
    for (pause, bytes) in script {
        sleep(Duration::from_millis(pause)).await;
        theirs.write_all(&bytes).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_gets_its_own_answer_whatever_else_the_line_says() {
    let status = reply(0x65, 0x48, &[0, 1]);
    let card = reply(0x65, 0x50, &[0, 1, 26, 0, 2, 0x46]);
    let silent = Err(AskFault::Silent { waited: TIMEOUT });
    let garbled = || Err(AskFault::Garbled { what: Garble::Checksum });
    let broken = || {
        let mut broken = reply(0x65, 0x48, &[0, 1]);
        broken[6] ^= 1;
        broken
    };
    type Fact = (&'static str, Question, Script, Result<u16, AskFault>, Vec<&'static str>);
    let facts: Vec<Fact> = vec![
        ("at once", STATUS, vec![(0, status.clone())], Ok(0), vec![]),
        ("just in time", STATUS, vec![(205, status.clone())], Ok(0), vec![]),
        (
            "in pieces, the last one late",
            STATUS,
            vec![(150, status[..3].to_vec()), (70, status[3..].to_vec())],
            Ok(0),
            vec![],
        ),
        ("after noise", STATUS, vec![(10, vec![0xFF, 0x00, 0x11]), (10, status.clone())], Ok(0), vec![]),
        ("after a broken one", STATUS, vec![(0, broken()), (50, status.clone())], Ok(0), vec![]),
        ("a broken one only", STATUS, vec![(0, broken())], garbled(), vec![]),
        ("nothing", STATUS, vec![], silent.clone(), vec![]),
        ("an event that stands for it", POLL, vec![(5, card.clone())], Ok(CARD), vec![]),
        (
            "an event that does not",
            STATUS,
            vec![(5, card.clone()), (5, status.clone())],
            Ok(0),
            vec!["0: frame 2"],
        ),
        (
            "another device's card",
            STATUS,
            vec![(5, reply(7, 0x50, &[0])), (5, status.clone())],
            Ok(0),
            vec!["1: frame 2"],
        ),
        (
            "another device's status",
            STATUS,
            vec![(5, reply(7, 0x48, &[0, 0]))],
            silent.clone(),
            vec!["stranger"],
        ),
        ("the answer to another question", POLL, vec![(5, status.clone())], silent.clone(), vec!["stranger"]),
        ("of nobody here", STATUS, vec![(5, reply(9, 0x48, &[0, 0]))], silent.clone(), vec!["stranger"]),
        (
            "what no profile knows",
            STATUS,
            vec![(5, reply(0x65, 0x41, &[3]))],
            silent.clone(),
            vec!["stranger"],
        ),
        ("too late", STATUS, vec![(300, status.clone())], silent.clone(), vec!["stranger"]),
        (
            "a card, too late to be the answer",
            POLL,
            vec![(300, card.clone())],
            silent.clone(),
            vec!["0: frame 2"],
        ),
    ];
    for (fact, question, script, want, heard) in facts {
        let (mut wire, mut theirs) = line(&[("0x65", reader()), ("7", reader())]).await;
        let other_end = tokio::spawn(async move {
            request(&mut theirs).await;
            play(&mut theirs, script).await;
            theirs
        });
        let answer = wire.ask(question).await.map(|raw| frame(raw).0);
        assert_eq!(answer, want, "{fact}");
        let _theirs = other_end.await.unwrap();
        assert_eq!(all_heard(&mut wire).await, heard, "{fact}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_go_out_with_address_and_checksum_after_the_turnaround() {
    let mut profile = reader();
    let Link::Serial(link) = &mut Arc::get_mut(&mut profile).unwrap().link else { panic!("a serial link") };
    link.turnaround = Duration::from_millis(40);
    let (mut wire, mut theirs) = line(&[("101", profile)]).await;
    let answers = tokio::spawn(async move {
        let mut at = Vec::new();
        for _ in 0..2 {
            let asked = request(&mut theirs).await;
            assert_eq!(asked, [0x53, 0x65, 0x08, 0x00, 0x04, 0x60, 0x60, 0x90], "libosdp's own poll");
            at.push(Instant::now());
            theirs.write_all(&reply(0x65, 0x40, &[])).await.unwrap();
        }
        at[1] - at[0]
    });
    wire.ask(POLL).await.unwrap();
    wire.ask(POLL).await.unwrap();
    let between = answers.await.unwrap();
    assert!(between >= Duration::from_millis(40), "{between:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_one_answer_behind_is_never_believed() {
    let (mut wire, mut theirs) = line(&[("", scale())]).await;
    // answers each question only when the next one comes: "net" gets the gross weight
    tokio::spawn(async move {
        let mut behind = None;
        loop {
            let asked = request(&mut theirs).await;
            if let Some(answer) = behind.replace([b"weight ", &asked[..]].concat()) {
                theirs.write_all(&answer).await.unwrap();
            }
        }
    });
    let mut believed = 0;
    for round in 0..40u16 {
        let request = [0, 1, 1, 0, 0][usize::from(round % 5)];
        let own: &[u8] = [&b"weight G\r\n"[..], b"weight N\r\n"][usize::from(request)];
        match wire.ask(Question { member: 0, request }).await {
            Ok(raw) => {
                assert_eq!(frame(raw).1, own, "round {round}");
                believed += 1;
            }
            Err(AskFault::Silent { .. } | AskFault::Garbled { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(believed >= 30, "it is read all the same: {believed} of 40");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_become_the_next_ones() {
    let (mut wire, mut theirs) = line(&[("", scale())]).await;
    tokio::spawn(async move {
        request(&mut theirs).await;
        // after the timeout and after the line was drained
        sleep(Duration::from_millis(700)).await;
        theirs.write_all(b"gross 1\r\n").await.unwrap();
        loop {
            let asked = request(&mut theirs).await;
            theirs.write_all(if asked == b"G\r\n" { b"gross 2\r\n" } else { b"net 2\r\n" }).await.unwrap();
        }
    });
    let (gross, net) = (Question { member: 0, request: 0 }, Question { member: 0, request: 1 });
    assert_eq!(wire.ask(gross).await, Err(AskFault::Silent { waited: TIMEOUT }));
    // asked at once: the late answer comes into the middle of this
    let mut answers = Vec::new();
    for _ in 0..4 {
        if let Ok(raw) = wire.ask(net).await {
            answers.push(frame(raw).1);
        }
    }
    assert!(!answers.is_empty(), "it is believed again");
    assert!(answers.iter().all(|answer| answer == b"net 2\r\n"), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_hears_itself_does_not_answer() {
    let (mut wire, mut theirs) = line(&[("", scale())]).await;
    tokio::spawn(async move {
        loop {
            let asked = request(&mut theirs).await;
            theirs.write_all(&asked).await.unwrap();
            theirs.write_all(b"ST,+00012.345 kg\r\n").await.unwrap();
        }
    });
    let answer = wire.ask(Question { member: 0, request: 0 }).await.map(frame);
    assert_eq!(answer, Ok((0, b"ST,+00012.345 kg\r\n".to_vec())));
}

#[tokio::test(start_paused = true)]
async fn what_speaks_by_itself_is_heard_whole_or_not_at_all() {
    let card = reply(0x65, 0x50, &[0, 1, 26, 0, 2, 0x46]);
    let (mut wire, mut theirs) = line(&[("0x65", reader())]).await;
    play(&mut theirs, vec![(0, card.clone()), (0, card.clone())]).await;
    assert_eq!(all_heard(&mut wire).await, ["0: frame 2", "0: frame 2"]);

    // cut off in the middle: the next one starts afresh
    theirs.write_all(&card[..7]).await.unwrap();
    assert_eq!(all_heard(&mut wire).await, ["noise"]);
    theirs.write_all(&card).await.unwrap();
    assert_eq!(all_heard(&mut wire).await, ["0: frame 2"]);

    drop(theirs);
    match wire.hear().await {
        Unasked::Gone(LineFault::Gone { why }) => assert_eq!(why.en, "/dev/test: the port is gone"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_event_before_a_question_swallows_neither() {
    let card = reply(0x65, 0x50, &[0, 1, 26, 0, 2, 0x46]);
    for (fact, rest, heard) in [
        ("the other half comes", Some((100, card[7..].to_vec())), vec!["0: frame 2"]),
        ("it never does", None, vec!["noise"]),
    ] {
        let (mut wire, mut theirs) = line(&[("0x65", reader())]).await;
        let first_half = card[..7].to_vec();
        let other_end = tokio::spawn(async move {
            theirs.write_all(&first_half).await.unwrap();
            play(&mut theirs, rest.into_iter().collect()).await;
            request(&mut theirs).await;
            theirs.write_all(&reply(0x65, 0x48, &[0, 1])).await.unwrap();
            theirs
        });
        // as if the question became due while the line was heard
        assert!(timeout(Duration::from_millis(20), wire.hear()).await.is_err(), "{fact}");
        assert_eq!(wire.ask(STATUS).await.map(|raw| frame(raw).0), Ok(0), "{fact}");
        let _theirs = other_end.await.unwrap();
        assert_eq!(all_heard(&mut wire).await, heard, "{fact}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_carries_more_than_it_can_is_left_alone() {
    let (mut wire, mut theirs) = line(&[("0x65", reader())]).await;
    tokio::spawn(async move {
        let card = reply(0x65, 0x50, &[0, 1, 26, 0, 2, 0x46]);
        loop {
            sleep(Duration::from_millis(2)).await;
            if theirs.write_all(&card).await.is_err() {
                break;
            }
        }
    });
    let began = Instant::now();
    let fault = loop {
        match wire.hear().await {
            Unasked::Message { .. } => {}
            Unasked::Gone(fault) => break fault,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(fault, LineFault::Babble { bytes, .. } if bytes > 9600), "{fault:?}");
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[test]
fn devices_that_cannot_share_a_line_are_refused() {
    let modbus_like = || {
        let mut profile = reader();
        let Link::Serial(link) = &mut Arc::get_mut(&mut profile).unwrap().link else { panic!("serial") };
        link.frame.length = FrameLength::Fixed(0);
        profile
    };
    let refusal = |devices: &[(&str, Arc<Profile>)]| {
        let (parts, _heard) = fixtures::parts(devices);
        Members::new(&parts.id, &parts.devices).map(|_| ()).map_err(|error| match error {
            SetupError::Foreign { .. } => "foreign",
            SetupError::Address { .. } => "address",
            SetupError::Shapes { .. } => "shapes",
            SetupError::Twins { .. } => "twins",
            SetupError::Shape { .. } => "shape",
            SetupError::Nobody { .. } => "nobody",
        })
    };
    let mqtt =
        || fixtures::product(Link::Mqtt(crate::profile::MqttLink { topic: "t".to_owned(), heartbeat: None }));
    for (fact, devices, want) in [
        ("two readers", vec![("1", reader()), ("0x02", reader())], Ok(())),
        ("a scale needs no address", vec![("", scale())], Ok(())),
        ("one address twice", vec![("1", reader()), ("0x01", reader())], Err("twins")),
        ("two without addresses in their frames", vec![("1", scale()), ("2", scale())], Err("twins")),
        ("frames of two shapes", vec![("1", reader()), ("2", scale())], Err("shapes")),
        ("an address that is no byte", vec![("256", reader())], Err("address")),
        ("an address that is no number", vec![("north gate", reader())], Err("address")),
        ("a shape no frame can have", vec![("1", modbus_like())], Err("shape")),
        ("another protocol", vec![("1", mqtt())], Err("foreign")),
        ("nobody", vec![], Err("nobody")),
    ] {
        assert_eq!(refusal(&devices), want, "{fact}");
    }
}
