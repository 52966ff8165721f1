use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    document::Problems,
    domain::{Medium, Mono},
    profile::{Address, Library},
};

const CLASS: &str = "class = \"bench\"\n[[point]]\nname = \"a\"\nkind = \"number\"\n[[point]]\nname = \"b\"\nkind = \"number\"\n";
const PROFILE: &str = "profile = \"bench/x\"\nrevision = 1\nsource = \"made up\"\n[modbus]\nretries = 1\ntimeout = \"200ms\"\n\
    [[point]]\nname = \"a\"\nread = { table = \"holding\", address = 0, type = \"u16\" }\n\
    [[point]]\nname = \"b\"\nread = { table = \"holding\", address = 1, type = \"u16\" }\n";

fn profile() -> Arc<Profile> {
    let mut problems = Problems::default();
    let library = Library::of(&[("bench/class.toml", CLASS), ("bench/x.toml", PROFILE)], &mut problems);
    library.profile("bench/x").expect("it is sound")
}

fn device() -> BusDevice {
    BusDevice {
        ix: DeviceIx(0),
        id: "x".into(),
        address: Address::Unit(1),
        medium: Medium::Serial,
        profile: profile(),
    }
}

fn at(ms: u64) -> Stamp {
    let wall = "2026-11-23T06:00:00Z".parse().unwrap();
    Stamp { mono: Mono(Duration::from_secs(10) + Duration::from_millis(ms)), wall }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(body).to_le_bytes();
    [body, &crc].concat()
}

fn ask(unit: u8, first: u8, count: u8) -> What {
    What::Out { hex: framed(&[unit, 3, 0, first, 0, count]) }
}

fn answer(unit: u8, words: &[u8]) -> What {
    let body: Vec<u8> = [unit, 3, 2 * words.len() as u8]
        .into_iter()
        .chain(words.iter().flat_map(|word| [0, *word]))
        .collect();
    What::In { hex: framed(&body) }
}

/// `points=words`, `points silent`, `points refused 2`, `unknown`.
fn said(replayed: &[Replayed]) -> Vec<String> {
    let one = |replayed: &Replayed| match replayed {
        Replayed::Unknown { .. } => "unknown".to_owned(),
        Replayed::Heard(heard) => {
            let points =
                heard.points.iter().map(|point| ["a", "b"][usize::from(point.0)]).collect::<String>();
            match &heard.outcome {
                Ok(Raw::Registers { words, .. }) => format!("{points}={words:?}"),
                Ok(other) => format!("{points}={other:?}"),
                Err(Failure::Silent) => format!("{points} silent"),
                Err(Failure::Refused { code }) => format!("{points} refused {code}"),
                Err(Failure::Garbled { .. }) => format!("{points} garbled"),
                Err(Failure::LineDown { .. }) => format!("{points} line down"),
                Err(Failure::NotHeardYet) => format!("{points} not heard yet"),
            }
        }
    };
    replayed.iter().map(one).collect()
}

fn played(kind: &str, pieces: Vec<(u64, What)>) -> Vec<String> {
    let mut player = Player::new(&"lifts".into(), kind, vec![device()]).expect("it can be played");
    let mut into = Vec::new();
    let last = pieces.last().map_or(0, |(ms, _)| *ms);
    for (ms, what) in pieces {
        let at = at(ms);
        player.play(&Piece { at: at.wall, mono_ns: at.mono.0.as_nanos() as u64, what }, at, &mut into);
    }
    player.end(at(last), &mut into);
    said(&into)
}

#[test]
fn an_rtu_line_is_heard_as_it_was() {
    let cut = |what: What| match what {
        What::In { hex } => [What::In { hex: hex[..3].to_vec() }, What::In { hex: hex[3..].to_vec() }],
        other => [other.clone(), other],
    };
    let [head, tail] = cut(answer(1, &[7, 8]));
    for (fact, pieces, expected) in [
        ("an answer", vec![(0, ask(1, 0, 2)), (30, answer(1, &[7, 8]))], vec!["ab=[7, 8]"]),
        ("in two parts", vec![(0, ask(1, 0, 2)), (20, head), (30, tail)], vec!["ab=[7, 8]"]),
        (
            "a marker is no reading",
            vec![(0, ask(1, 0, 1)), (30, answer(1, &[7])), (50, ask(1, 0, 2)), (80, answer(1, &[7, 8]))],
            vec!["ab=[7, 8]"],
        ),
        ("part of a block", vec![(0, ask(1, 1, 1)), (30, answer(1, &[8]))], vec!["b=[8]"]),
        (
            "a retry helps",
            vec![(0, ask(1, 0, 2)), (300, ask(1, 0, 2)), (330, answer(1, &[7, 8]))],
            vec!["ab=[7, 8]"],
        ),
        (
            "silent, and asked again later",
            vec![(0, ask(1, 0, 2)), (300, ask(1, 0, 2)), (600, ask(1, 0, 2))],
            vec!["ab silent"],
        ),
        (
            "refused",
            vec![(0, ask(1, 0, 2)), (30, What::In { hex: framed(&[1, 0x83, 2]) })],
            vec!["ab refused 2"],
        ),
        (
            "nobody's unit",
            vec![(0, ask(9, 0, 1)), (30, answer(9, &[7])), (50, ask(1, 0, 2))],
            vec!["unknown"],
        ),
        ("unasked", vec![(0, answer(1, &[7]))], vec!["unknown"]),
        ("a write", vec![(0, What::Out { hex: framed(&[1, 6, 0, 0, 0, 1]) })], vec!["unknown"]),
        ("lost", vec![(0, What::Lost)], vec!["ab line down"]),
    ] {
        assert_eq!(played("modbus_rtu", pieces), expected, "{fact}");
    }
}

#[test]
fn a_connection_is_heard_by_its_transactions() {
    let adu =
        |transaction: u8, pdu: &[u8]| [&[0, transaction, 0, 0, 0, 1 + pdu.len() as u8, 1], pdu].concat();
    let out = |transaction, first, count| What::Out { hex: adu(transaction, &[3, 0, first, 0, count]) };
    let reply = |transaction, word| adu(transaction, &[3, 2, 0, word]);
    let both = [reply(2, 8), reply(1, 7)].concat();
    for (fact, pieces, expected) in [
        (
            "out of order, in one piece",
            vec![(0, out(1, 0, 1)), (1, out(2, 1, 1)), (30, What::In { hex: both.clone() })],
            vec!["b=[8]", "a=[7]"],
        ),
        (
            "cut anywhere",
            vec![
                (0, out(1, 0, 1)),
                (1, out(2, 1, 1)),
                (30, What::In { hex: both[..13].to_vec() }),
                (31, What::In { hex: both[13..].to_vec() }),
            ],
            vec!["b=[8]", "a=[7]"],
        ),
        (
            "given up before the next",
            vec![(0, out(1, 0, 1)), (500, out(2, 1, 1)), (510, What::In { hex: reply(1, 7) })],
            vec!["ab silent", "unknown"],
        ),
        (
            "asked again on a new connection",
            vec![
                (0, out(1, 0, 1)),
                (250, What::Opened),
                (260, out(1, 0, 1)),
                (270, What::In { hex: reply(1, 7) }),
            ],
            vec!["a=[7]"],
        ),
        ("no Modbus", vec![(0, What::In { hex: b"HTTP/1.1 400".to_vec() })], vec![]),
    ] {
        assert_eq!(played("modbus_tcp", pieces), expected, "{fact}");
    }
}

#[test]
fn a_kind_that_nobody_knows_is_told() {
    assert!(Player::new(&"x".into(), "token-ring", Vec::new()).is_err());
}

proptest! {
    #[test]
    fn no_tape_breaks_a_player(pieces in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..300)), 0..20), tcp: bool) {
        let pieces = (0..).zip(pieces).map(|(ms, (dir, hex))| {
            let what = match dir {
                0 => What::Out { hex },
                1 => What::In { hex },
                2 => What::Lost,
                _ => What::Opened,
            };
            (ms, what)
        });
        let said = played(if tcp { "modbus_tcp" } else { "modbus_rtu" }, pieces.collect());
        prop_assert!(said.len() < 2000);
    }
}
