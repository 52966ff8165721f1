use proptest::{collection::vec, prelude::*};

use super::{
    codec::{Cutter, Frame, LONGEST, Meaning, Question},
    station::Station,
};
use crate::fieldbus::frames::Cut;

/// The captured meter's bytes on the wire are 12 34 56 78 10 12, so this is what would be printed on it.
const METER: &str = "121078563412";

fn station(printed: &str) -> Station {
    Station::of(printed).unwrap()
}

fn question(item: u32) -> Question {
    Question { station: station(METER), item }
}

fn hex(text: &str) -> Vec<u8> {
    crate::profile::hex_bytes(text).unwrap_or_else(|| panic!("{text}"))
}

fn only(bytes: &[u8]) -> Frame {
    let frames = Cutter::default().push(bytes);
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    frame.clone()
}

/// Captured from the package `dlt645` 3.2.0 as a meter.
const U_A: &str = "FE FE FE FE 68 12 34 56 78 10 12 68 91 06 33 34 34 35 34 55 F6 16";
const I_A: &str = "FE FE FE FE 68 12 34 56 78 10 12 68 91 07 33 34 35 35 67 45 33 4E 16";

#[test]
fn questions_as_they_were_captured() {
    for (fact, printed, item, wakeup, sent) in [
        (
            "to the package dlt645",
            METER,
            0x0201_0100,
            4,
            "FE FE FE FE 68 12 34 56 78 10 12 68 11 04 33 34 34 35 EB 16",
        ),
        ("the same without FE", METER, 0x0201_0100, 0, "68 12 34 56 78 10 12 68 11 04 33 34 34 35 EB 16"),
        (
            "in the tests of fdxxw/rs-dlt645",
            "202208310002",
            0x0280_22FF,
            4,
            "FE FE FE FE 68 02 00 31 08 22 20 68 11 04 32 55 B3 35 D1 16",
        ),
    ] {
        let question = Question { station: station(printed), item };
        assert_eq!(question.encode(wakeup), hex(sent), "{fact}");
        assert_eq!(question.meaning(&only(&hex(sent))), Meaning::Echo, "{fact}");
    }
}

#[test]
fn what_a_frame_is_to_a_question() {
    let voltage = question(0x0201_0100);
    for (fact, frame, expected) in [
        ("captured: U_A", U_A, Meaning::Values(vec![0x01, 0x22])),
        ("captured: I_A, when U_A was asked for", I_A, Meaning::Other),
        (
            "captured: no such item",
            "FE FE FE FE 68 12 34 56 78 10 12 68 D1 01 35 0D 16",
            Meaning::Refused(0b10),
        ),
        (
            "captured: its address",
            "FE FE FE FE 68 12 34 56 78 10 12 68 93 06 45 67 89 AB 43 45 07 16",
            Meaning::Other,
        ),
    ] {
        assert_eq!(voltage.meaning(&only(&hex(frame))), expected, "{fact}");
    }
    let (ours, other) = (station(METER), station("1"));
    for (fact, station, control, data, expected) in [
        ("of another meter", other, 0x91, &[0, 1, 1, 2, 0x01, 0x22][..], Meaning::Other),
        ("refused by another meter", other, 0xD1, &[2], Meaning::Other),
        ("more to follow", ours, 0xB1, &[0, 1, 1, 2, 0x01, 0x22], Meaning::TooLong),
        ("another item, more to follow", ours, 0xB1, &[0, 1, 2, 2, 0x01, 0x22], Meaning::Other),
        ("an identifier cut short", ours, 0x91, &[0, 1, 1], Meaning::Other),
        ("nothing but the identifier", ours, 0x91, &[0, 1, 1, 2], Meaning::Values(vec![])),
        ("no data", ours, 0x91, &[], Meaning::Other),
        ("two error words", ours, 0xD1, &[2, 2], Meaning::Other),
        ("refused to write", ours, 0xD4, &[2], Meaning::Other),
    ] {
        let frame = Frame { station, control, data: data.to_vec() };
        assert_eq!(voltage.meaning(&frame), expected, "{fact}");
    }
}

#[test]
fn an_open_address_is_answered_by_any_meter() {
    let anyone = Question { station: station("AAAAAAAAAAAA"), item: 0x0201_0100 };
    assert_eq!(anyone.meaning(&only(&hex(U_A))), Meaning::Values(vec![0x01, 0x22]));
    assert_eq!(anyone.meaning(&only(&hex(I_A))), Meaning::Other);
}

#[test]
fn frames_are_found_in_what_a_line_carries() {
    let (u, i) = (hex(U_A), hex(I_A));
    let spoilt = |at: usize| {
        let mut bytes = u.clone();
        bytes[at] ^= 0x01;
        bytes
    };
    let without = |at: usize| [&u[..at], &u[at + 1..]].concat();
    for (fact, stream, frames, garbled) in [
        ("one", u.clone(), 1, 0),
        ("two together", [&u[..], &i].concat(), 2, 0),
        (
            "noise before, between and behind",
            [&[0, 0xFF, 0x68, 0x16][..], &u, &[0x68, 1], &i, &[9]].concat(),
            2,
            0,
        ),
        ("no FE", [&u[4..], &i[4..]].concat(), 2, 0),
        ("a spoilt byte of the data, then a good one", [&spoilt(18)[..], &i].concat(), 1, 1),
        ("a spoilt checksum, then a good one", [&spoilt(20)[..], &i].concat(), 1, 1),
        ("a spoilt end, then a good one", [&spoilt(21)[..], &i].concat(), 1, 1),
        ("a spoilt second start, then a good one", [&spoilt(11)[..], &i].concat(), 1, 0),
        ("a lost byte, then a good one", [&without(16)[..], &i].concat(), 1, 1),
        ("cut off in the head, then a good one", [&u[..9], &i].concat(), 1, 0),
        ("cut off in the data, then a good one", [&u[..17], &i].concat(), 1, 1),
        ("nothing", vec![], 0, 0),
        ("FE only", vec![0xFE; 600], 0, 0),
        ("68 only", vec![0x68; 40], 0, 0),
    ] {
        let mut cutter = Cutter::default();
        let whole = cutter.push(&stream).len();
        assert_eq!((whole, cutter.take_garbled()), (frames, garbled), "{fact}");
        let mut cutter = Cutter::default();
        let bytewise: usize = stream.iter().map(|byte| cutter.push(&[*byte]).len()).sum();
        assert_eq!((bytewise, cutter.take_garbled()), (frames, garbled), "{fact}, byte by byte");
    }
}

fn frames() -> impl Strategy<Value = Frame> {
    let station = (0u64..1_000_000_000_000).prop_map(|number| station(&number.to_string()));
    (station, any::<u8>(), vec(any::<u8>(), 0..=255)).prop_map(|(station, control, data)| Frame {
        station,
        control,
        data,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn anything_may_come(chunks in vec(vec(prop_oneof![any::<u8>(), Just(0x68), Just(0x16)], 0..300), 0..12)) {
        let mut cutter = Cutter::default();
        for chunk in &chunks {
            for frame in cutter.push(chunk) {
                prop_assert!(frame.data.len() <= 255);
                question(0x0201_0100).meaning(&frame);
            }
            prop_assert!(cutter.kept() < LONGEST, "{} bytes kept", cutter.kept());
        }
    }

    #[test]
    fn what_is_sent_is_what_is_heard(sent in vec((frames(), 0u8..17), 1..6), cut in 1usize..200) {
        let stream: Vec<u8> = sent.iter().flat_map(|(frame, wakeup)| frame.encode(*wakeup)).collect();
        let mut cutter = Cutter::default();
        let heard: Vec<Frame> = stream.chunks(cut).flat_map(|chunk| cutter.push(chunk)).collect();
        let sent: Vec<Frame> = sent.into_iter().map(|(frame, _)| frame).collect();
        prop_assert_eq!(heard, sent);
        prop_assert!(!cutter.is_midway());
    }

    /// A single wrong byte anywhere never gives a value: the sum tells, or the frame is not found.
    #[test]
    fn one_wrong_byte_is_no_answer(values in vec(any::<u8>(), 1..8), at in any::<prop::sample::Index>(), change in 1u8..=255) {
        let item = 0x0203_0000u32;
        let data = [&item.to_le_bytes()[..], &values].concat();
        let mut bytes = Frame { station: station(METER), control: 0x91, data }.encode(0);
        let at = at.index(bytes.len());
        bytes[at] = bytes[at].wrapping_add(change);
        for frame in Cutter::default().push(&bytes) {
            prop_assert_eq!(question(item).meaning(&frame), Meaning::Other);
        }
    }
}
