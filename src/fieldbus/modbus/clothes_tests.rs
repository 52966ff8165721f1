//! What a line may say besides the answer, in every kind of clothes: handled and named the same way in all of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::{
    domain::{Raw, Table},
    fieldbus::{
        driver::AskFault,
        fixtures::modbus_link,
        modbus::{
            ascii::Ascii,
            codec::{self, Question},
            heartbeat::Heartbeats,
            wire::Wire,
        },
        port::OpenPort,
    },
    profile::Dialect,
};

/// What a line says, before it is dressed.
#[derive(Clone)]
enum Says {
    Frame(Vec<u8>),
    /// One whose checksum was wrong from the beginning, or became so.
    Broken(Vec<u8>),
    /// The first half of what the line would carry.
    Half(Vec<u8>),
    Heartbeat,
}

const QUESTION: Question =
    Question { unit: 1, table: Table::Holding, first: 7, count: 2, dialect: Dialect::Standard };

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &codec::crc(body)].concat()
}

fn answer(unit: u8, words: &[u16]) -> Vec<u8> {
    let mut body = vec![unit, 3, 2 * words.len() as u8];
    words.iter().for_each(|word| body.extend(word.to_be_bytes()));
    sealed(&body)
}

/// The bytes of a line on which frames wear `clothes`, in one piece.
fn said(clothes: &impl Clothes, heartbeat: &[u8], what: &[Says]) -> Vec<u8> {
    let bytes = |says: &Says| match says {
        Says::Frame(frame) => clothes.put_on(frame),
        Says::Broken(frame) => {
            let mut line = clothes.put_on(frame);
            // a digit or byte of the values
            let at = line.len() - 6;
            line[at] = if line[at] == b'1' { b'2' } else { b'1' };
            line
        }
        Says::Half(frame) => {
            let line = clothes.put_on(frame);
            line[..line.len() / 2].to_vec()
        }
        Says::Heartbeat => heartbeat.to_vec(),
    };
    what.iter().flat_map(bytes).collect()
}

/// A slave that answers markers as it should, and the question with `what`.
async fn slave<C: Clothes>(mut end: DuplexStream, mut clothes: C, heartbeat: &[u8], what: &[Says]) {
    let (mut heard, mut chunk) = (Vec::new(), [0; 64]);
    loop {
        let count = end.read(&mut chunk).await.unwrap();
        clothes.take_off(&chunk[..count], Instant::now(), &mut heard);
        let Some(question) = Question::decode(&heard, Dialect::Standard) else { continue };
        heard.clear();
        let reply = match question.count {
            count if count == QUESTION.count => said(&clothes, heartbeat, what),
            count => clothes.put_on(&answer(1, &vec![0; usize::from(count)])),
        };
        end.write_all(&reply).await.unwrap();
    }
}

async fn outcome<C: Clothes>(make: impl Fn() -> C, heartbeat: &[u8], what: &[Says]) -> Result<Raw, AskFault> {
    let (ours, theirs) = tokio::io::duplex(4096);
    let port = OpenPort::new(Dressed::new(ours, make()), "line".into());
    let mut wire = Wire::new(port, Duration::from_millis(2));
    let link = modbus_link();
    tokio::select! {
        outcome = wire.ask(&QUESTION, &link) => outcome,
        () = slave(theirs, make(), heartbeat, what) => unreachable!("a slave serves for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_line_says_is_heard_the_same_way_in_all_clothes() {
    use Says::{Broken, Frame, Half, Heartbeat};
    let question = QUESTION.encode().to_vec();
    let good = answer(1, &[0x1234, 0x5678]);
    let of_another = answer(9, &[1, 2]);
    let foreign = Question { unit: 9, ..QUESTION }.encode().to_vec();
    let value = "values";
    for (fact, what, want) in [
        ("silence", vec![], "silent"),
        ("a heartbeat and silence", vec![Heartbeat], "silent"),
        ("the answer", vec![Frame(good.clone())], value),
        ("our echo and silence", vec![Frame(question.clone())], "garbled"),
        ("our echo and the answer", vec![Frame(question), Frame(good.clone())], value),
        ("two frames in one read", vec![Frame(of_another.clone()), Frame(good.clone())], value),
        ("another master", vec![Frame(foreign), Frame(of_another.clone()), Frame(good.clone())], value),
        ("the answer of another unit only", vec![Frame(of_another)], "garbled"),
        ("half an answer", vec![Half(good.clone())], "garbled"),
        ("half an answer, then the whole", vec![Half(good.clone()), Frame(good.clone())], value),
        ("a wrong checksum", vec![Broken(good.clone())], "garbled"),
        ("one register too few", vec![Frame(answer(1, &[1]))], "garbled"),
        ("one register too many", vec![Frame(answer(1, &[1, 2, 3]))], "garbled"),
        ("a heartbeat before and behind", vec![Heartbeat, Frame(good.clone()), Heartbeat], value),
        ("no such block", vec![Frame(sealed(&[1, 0x83, 2]))], "refused"),
        ("a gateway's word about the unit", vec![Frame(sealed(&[1, 0x83, 0x0B]))], "silent"),
    ] {
        let none: &[u8] = b"";
        let outcomes = [
            ("ASCII", outcome(Ascii::default, none, &what).await),
            ("RTU", outcome(|| Heartbeats::new(vec![], Instant::now()), none, &what).await),
            ("modem", outcome(|| Heartbeats::new(b"beat".to_vec(), Instant::now()), b"beat", &what).await),
        ];
        for (clothes, outcome) in outcomes {
            let got = match &outcome {
                Ok(raw) => {
                    let words = vec![0x1234, 0x5678];
                    assert_eq!(*raw, Raw::Registers { table: Table::Holding, first: 7, words }, "{fact}");
                    value
                }
                Err(AskFault::Silent { .. }) => "silent",
                Err(AskFault::Garbled { .. }) => "garbled",
                Err(AskFault::Refused { .. }) => "refused",
                Err(AskFault::LineDown(fault)) => panic!("{fact} in {clothes}: {fault}"),
            };
            assert_eq!(got, want, "{fact} in {clothes}: {outcome:?}");
        }
    }
}
