//! A line with scripted meters at its other end, on paused time.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep, timeout},
};

use super::{
    codec::{Cutter, Frame, Question},
    station::Station,
    wire::Wire,
};
use crate::{
    domain::Garble,
    fieldbus::{
        driver::{AskFault, LineFault, Unasked},
        frames::Cut,
        port::OpenPort,
    },
    profile::{Dlt645Item, Dlt645Link},
};

const TIMEOUT: Duration = Duration::from_millis(800);
/// 2400 8E1.
const CHARACTER: Duration = Duration::from_nanos(4_583_333);
const VOLTAGE: u32 = 0x0201_0100;
const OTHER_VOLTAGE: u32 = 0x0201_0200;

fn link() -> Dlt645Link {
    let item = |id| Dlt645Item { id, every: Duration::from_secs(1), length: 2 };
    Dlt645Link {
        items: vec![item(VOLTAGE), item(OTHER_VOLTAGE)],
        wakeup: 4,
        timeout: TIMEOUT,
        retries: 0,
        turnaround: Duration::from_millis(30),
    }
}

fn station(printed: &str) -> Station {
    Station::of(printed).unwrap()
}

async fn line() -> (Wire<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(1 << 16);
    let mut wire = Wire::new(OpenPort::new(ours, "/dev/test".into()), CHARACTER);
    wire.settle().await.unwrap();
    (wire, theirs)
}

async fn ask(wire: &mut Wire<DuplexStream>, meter: &str, item: u32) -> Result<Vec<u8>, AskFault> {
    let link = link();
    let place = link.items.iter().find(|known| known.id == item).unwrap();
    wire.ask(Question { station: station(meter), item }, place, &link).await
}

/// A reply with this value; its bytes stand for when it was true.
fn reply(meter: &str, item: u32, values: &[u8]) -> Vec<u8> {
    let data = [&item.to_le_bytes()[..], values].concat();
    Frame { station: station(meter), control: 0x91, data }.encode(4)
}

fn refusal(meter: &str) -> Vec<u8> {
    Frame { station: station(meter), control: 0xD1, data: vec![2] }.encode(4)
}

/// Reads one request; what it asks for.
async fn request(theirs: &mut DuplexStream) -> Frame {
    let (mut cutter, mut chunk) = (Cutter::default(), [0; 64]);
    loop {
        let count = theirs.read(&mut chunk).await.unwrap();
        if let Some(frame) = cutter.push(&chunk[..count]).pop() {
            return frame;
        }
    }
}

/// What the other end does after the request, as `(pause before in ms, bytes)`.
type Script = Vec<(u64, Vec<u8>)>;

async fn play(theirs: &mut DuplexStream, script: &[(u64, Vec<u8>)]) {
    request(theirs).await;
    for (pause, bytes) in script {
        sleep(Duration::from_millis(*pause)).await;
        theirs.write_all(bytes).await.unwrap();
    }
}

/// In words, what the other end does, what comes of it.
type Fact = (&'static str, Script, Result<Vec<u8>, AskFault>);

/// What comes of one question when the other end does this.
#[tokio::test(start_paused = true)]
async fn one_question() {
    let good = reply("7", VOLTAGE, &[0x01, 0x22]);
    let spoilt = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let halves = good.split_at(15);
    let silent = || Err(AskFault::Silent { waited: TIMEOUT });
    let garbled = |what: Garble| Err(AskFault::Garbled { what });
    let wrong = || garbled(Garble::Checksum);
    let followed = Frame { station: station("7"), control: 0xB1, data: vec![0, 1, 1, 2, 9] }.encode(0);
    let facts: Vec<Fact> = vec![
        ("an answer", vec![(100, good.clone())], Ok(vec![0x01, 0x22])),
        ("in two lumps", vec![(100, halves.0.to_vec()), (400, halves.1.to_vec())], Ok(vec![0x01, 0x22])),
        (
            "begun in time, ended later",
            vec![(790, halves.0.to_vec()), (300, halves.1.to_vec())],
            Ok(vec![0x01, 0x22]),
        ),
        ("noise before it", vec![(10, vec![0, 0x68, 0xFF]), (50, good.clone())], Ok(vec![0x01, 0x22])),
        (
            "the answers of another meter and to another question before it",
            vec![
                (10, reply("8", VOLTAGE, &[9, 9])),
                (10, reply("7", OTHER_VOLTAGE, &[8, 8])),
                (10, good.clone()),
            ],
            Ok(vec![0x01, 0x22]),
        ),
        ("nothing", vec![], silent()),
        ("another meter only", vec![(10, reply("8", VOLTAGE, &[9, 9]))], silent()),
        ("another item only", vec![(10, reply("7", OTHER_VOLTAGE, &[8, 8]))], silent()),
        ("a wrong byte", vec![(10, spoilt(19))], wrong()),
        ("a wrong checksum", vec![(10, spoilt(good.len() - 2))], wrong()),
        ("a wrong end", vec![(10, spoilt(good.len() - 1))], wrong()),
        ("cut off", vec![(10, halves.0.to_vec())], wrong()),
        ("no", vec![(10, refusal("7"))], Err(AskFault::Refused { code: 2 })),
        ("another meter's no", vec![(10, refusal("8"))], silent()),
        (
            "a longer value",
            vec![(10, reply("7", VOLTAGE, &[1, 2, 3]))],
            garbled(Garble::Length { bytes: 3, asked: 2 }),
        ),
        ("several frames", vec![(10, followed)], garbled(Garble::InParts)),
    ];
    for (fact, script, expected) in facts {
        let (mut wire, mut theirs) = line().await;
        let answered = ask(&mut wire, "7", VOLTAGE);
        let (answer, ()) = tokio::join!(answered, play(&mut theirs, &script));
        assert_eq!(answer, expected, "{fact}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_hears_itself_does_no_harm() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        let echo = request(&mut theirs).await.encode(4);
        theirs.write_all(&echo).await.unwrap();
        theirs.write_all(&reply("7", VOLTAGE, &[1, 2])).await.unwrap();
    };
    assert_eq!(tokio::join!(ask(&mut wire, "7", VOLTAGE), far).0, Ok(vec![1, 2]));
}

/// Answers that come one question late, for ever: each names its item, so none becomes another point's value.
#[tokio::test(start_paused = true)]
async fn a_meter_that_is_one_answer_behind_gives_no_point_the_value_of_another() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        let mut before: Option<Frame> = None;
        for number in 0u8.. {
            let asked = request(&mut theirs).await;
            let item = asked.data[2];
            let mut late = before.replace(asked);
            if let Some(late) = &mut late {
                late.control = 0x91;
                // the value names the item it belongs to
                late.data.extend([late.data[1], late.data[2], number][..2].iter());
                let Ok(()) = theirs.write_all(&late.encode(4)).await else { return item };
            }
        }
        0
    };
    let near = async {
        let mut good = 0;
        for round in 0..40 {
            let item = if round % 2 == 0 { VOLTAGE } else { OTHER_VOLTAGE };
            if let Ok(values) = ask(&mut wire, "7", item).await {
                let [_, di1, di2, _] = item.to_le_bytes();
                assert_eq!(values, [di1, di2], "round {round}");
                good += 1;
            }
        }
        good
    };
    tokio::select! {
        good = near => assert!(good < 40, "some were late"),
        _ = far => panic!("the meter goes on"),
    }
}

/// The answer to a question that was given up comes while the same is asked again: it is older than it seems.
#[tokio::test(start_paused = true)]
async fn a_late_answer_to_the_same_question_is_thrown_away() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        request(&mut theirs).await;
        assert_eq!(request(&mut theirs).await.data, OTHER_VOLTAGE.to_le_bytes(), "the marker");
        theirs.write_all(&reply("7", VOLTAGE, b"o1")).await.unwrap();
        theirs.write_all(&reply("7", OTHER_VOLTAGE, b"m1")).await.unwrap();
        request(&mut theirs).await;
        theirs.write_all(&reply("7", VOLTAGE, b"n2")).await.unwrap();
        request(&mut theirs).await;
        theirs.write_all(&reply("7", VOLTAGE, b"n3")).await.unwrap();
    };
    let near = async {
        let first = ask(&mut wire, "7", VOLTAGE).await;
        assert_eq!(first, Err(AskFault::Silent { waited: TIMEOUT }));
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, Ok(b"n2".to_vec()), "the one behind the marker's");
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, Ok(b"n3".to_vec()), "and then each");
    };
    tokio::join!(near, far);
}

/// A meter that has nothing else to be asked for: the first answer is thrown away, and the next is believed after a silence.
#[tokio::test(start_paused = true)]
async fn a_meter_without_a_marker_is_asked_twice() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        request(&mut theirs).await;
        request(&mut theirs).await;
        theirs.write_all(&refusal("7")).await.unwrap();
        for values in [b"o1", b"n2"] {
            request(&mut theirs).await;
            theirs.write_all(&reply("7", VOLTAGE, values)).await.unwrap();
        }
    };
    let near = async {
        assert!(matches!(ask(&mut wire, "7", VOLTAGE).await, Err(AskFault::Silent { .. })));
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, Ok(b"n2".to_vec()));
    };
    tokio::join!(near, far);
}

/// Two answers to one question: the meter is behind, and the point has no value.
#[tokio::test(start_paused = true)]
async fn late_answers_that_go_on_coming_are_no_value() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        request(&mut theirs).await;
        request(&mut theirs).await;
        theirs.write_all(&refusal("7")).await.unwrap();
        request(&mut theirs).await;
        theirs.write_all(&reply("7", VOLTAGE, b"o1")).await.unwrap();
        sleep(Duration::from_millis(300)).await;
        theirs.write_all(&reply("7", VOLTAGE, b"o2")).await.unwrap();
    };
    let near = async {
        assert!(matches!(ask(&mut wire, "7", VOLTAGE).await, Err(AskFault::Silent { .. })));
        let late = Err(AskFault::Garbled { what: Garble::Late { by: None } });
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, late);
    };
    tokio::join!(near, far);
}

/// Meters answer in order: what was owed cannot come any more once another question is answered.
#[tokio::test(start_paused = true)]
async fn an_answer_to_another_question_settles_what_is_owed() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        request(&mut theirs).await;
        request(&mut theirs).await;
        theirs.write_all(&reply("7", OTHER_VOLTAGE, b"b1")).await.unwrap();
        assert_eq!(request(&mut theirs).await.data, VOLTAGE.to_le_bytes(), "no marker");
        theirs.write_all(&reply("7", VOLTAGE, b"a1")).await.unwrap();
    };
    let near = async {
        assert!(matches!(ask(&mut wire, "7", VOLTAGE).await, Err(AskFault::Silent { .. })));
        assert_eq!(ask(&mut wire, "7", OTHER_VOLTAGE).await, Ok(b"b1".to_vec()));
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, Ok(b"a1".to_vec()));
    };
    tokio::join!(near, far);
}

/// A refusal does not say what of: that of an old question leaves the answer to the new one to come, and it must not be taken for a newer one.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_overtaken_by_an_old_refusal_is_no_value() {
    const ENERGY: u32 = 0x0001_0000;
    let three = || {
        let mut three = link();
        three.items.push(Dlt645Item { id: ENERGY, every: Duration::from_secs(1), length: 2 });
        three
    };
    let (mut wire, mut theirs) = line().await;
    let far = async {
        request(&mut theirs).await;
        request(&mut theirs).await;
        theirs.write_all(&refusal("7")).await.unwrap();
        let next = request(&mut theirs).await.data;
        theirs.write_all(&reply("7", OTHER_VOLTAGE, b"o1")).await.unwrap();
        assert_eq!(next, ENERGY.to_le_bytes(), "the marker: neither of those it may still answer");
        theirs.write_all(&reply("7", ENERGY, b"m1")).await.unwrap();
        request(&mut theirs).await;
        theirs.write_all(&reply("7", OTHER_VOLTAGE, b"o2")).await.unwrap();
    };
    let near = async {
        let (link, ask) = (three(), |item| Question { station: station("7"), item });
        let place = |n: usize| &link.items[n];
        assert!(matches!(wire.ask(ask(VOLTAGE), place(0), &link).await, Err(AskFault::Silent { .. })));
        let no = wire.ask(ask(OTHER_VOLTAGE), place(1), &link).await;
        assert_eq!(no, Err(AskFault::Refused { code: 2 }), "of the first question");
        assert_eq!(wire.ask(ask(OTHER_VOLTAGE), place(1), &link).await, Ok(b"o2".to_vec()));
    };
    tokio::join!(near, far);
}

/// A refusal of a meter that owes nothing is that of its question, and nothing else is to come.
#[tokio::test(start_paused = true)]
async fn a_plain_refusal_leaves_nothing_owed() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        for answer in [refusal("7"), reply("7", VOLTAGE, b"n1")] {
            assert_eq!(request(&mut theirs).await.data, VOLTAGE.to_le_bytes(), "no marker");
            theirs.write_all(&answer).await.unwrap();
        }
    };
    let near = async {
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, Err(AskFault::Refused { code: 2 }));
        assert_eq!(ask(&mut wire, "7", VOLTAGE).await, Ok(b"n1".to_vec()));
    };
    tokio::join!(near, far);
}

#[tokio::test(start_paused = true)]
async fn a_meter_has_the_silence_that_it_asks_for_and_the_next_one_waits_until_it_let_go() {
    let (mut wire, mut theirs) = line().await;
    let far = async {
        let (mut answered, mut silences) = (Instant::now(), Vec::new());
        for meter in ["7", "7", "8", "8"] {
            request(&mut theirs).await;
            silences.push(answered.elapsed());
            theirs.write_all(&reply(meter, VOLTAGE, &[1, 2])).await.unwrap();
            answered = Instant::now();
        }
        silences.into_iter().map(|silence| silence.as_millis()).collect::<Vec<_>>()
    };
    let near = async {
        for (meter, turnaround) in [("7", 50), ("7", 50), ("8", 0), ("8", 0)] {
            let link = Dlt645Link { turnaround: Duration::from_millis(turnaround), ..link() };
            let question = Question { station: station(meter), item: VOLTAGE };
            wire.ask(question, &link.items[0], &link).await.unwrap();
        }
    };
    // four characters at 2400 baud are 18.3 ms, and the clock ticks in whole ones
    assert_eq!(tokio::join!(near, far).1[1..], [50, 50, 19]);
}

/// A dead meter costs its neighbours its timeout and little more.
#[tokio::test(start_paused = true)]
async fn a_dead_meter_costs_one_timeout() {
    let (mut wire, mut theirs) = line().await;
    let began = Instant::now();
    assert!(matches!(ask(&mut wire, "8", VOLTAGE).await, Err(AskFault::Silent { .. })));
    request(&mut theirs).await;
    let took = began.elapsed();
    assert!(took < TIMEOUT + CHARACTER * 20 + Duration::from_millis(150), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_is_told_and_counted() {
    let (mut wire, mut theirs) = line().await;
    theirs.write_all(&reply("8", VOLTAGE, &[1, 2])).await.unwrap();
    assert!(matches!(wire.hear().await, Unasked::Stranger));
    theirs.write_all(&reply("8", VOLTAGE, &[1, 2])[..12]).await.unwrap();
    assert!(matches!(wire.hear().await, Unasked::Noise));
    let script = [(10, reply("8", VOLTAGE, &[9, 9])), (10, reply("7", VOLTAGE, &[1, 2]))];
    let (answer, ()) = tokio::join!(ask(&mut wire, "7", VOLTAGE), play(&mut theirs, &script));
    assert_eq!(answer, Ok(vec![1, 2]));
    assert!(matches!(wire.hear().await, Unasked::Stranger), "heard while another was asked");
    assert!(timeout(TIMEOUT, wire.hear()).await.is_err(), "and nothing more");
    drop(theirs);
    assert!(matches!(wire.hear().await, Unasked::Gone(LineFault::Gone { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_babbles_takes_the_line_down() {
    let (mut wire, mut theirs) = line().await;
    let babble = async {
        while theirs.write_all(&[0x55; 16]).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        answer = ask(&mut wire, "7", VOLTAGE) => {
            assert!(matches!(answer, Err(AskFault::LineDown(LineFault::Babble { .. }))), "{answer:?}");
        }
        () = babble => panic!("the line is open"),
    }
}
