//! What `decode` makes of a command line.

use std::sync::LazyLock;

use clap::Parser;

use super::*;
use crate::profile::Library;

static SHIPPED: LazyLock<Library> = LazyLock::new(|| Library::shipped(&mut Problems::default()));

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: DecodeArgs,
}

fn run(words: &[&str]) -> (u8, String) {
    let args = Line::parse_from([&["decode"], words].concat()).args;
    let profile = SHIPPED.profile(&args.profile).expect("a shipped profile");
    let mut out = Vec::new();
    let code = args.decode(&profile, Lang::En, &mut out).expect("it prints");
    (code, String::from_utf8(out).expect("it prints text"))
}

#[test]
fn what_a_command_line_decodes_to() {
    const LIFT: &str = "elevator/monarch-nice3000";
    const BAY: &str = "parking-sensor/bosch-tps110";
    let request = "01 03 10 18 00 01 00 CD";
    let table: [(&str, &[&str], u8, &str); 9] = [
        (
            "registers",
            &[LIFT, "--json", "--holding", "0x1018=7,0x1019=0x0084"],
            0,
            "{\"point\":\"position\",\"quality\":\"good\",\"raw\":\"0084\",\"unit\":\"m\",\"value\":13.2}",
        ),
        ("registers, option twice", &[LIFT, "--holding", "4120=7", "--holding", "4121=1"], 0, "floor"),
        (
            "out of range is no value",
            &[LIFT, "--json", "--holding", "0x1018=-1"],
            0,
            "\"quality\":\"out_of_range\",\"raw\":\"FFFF\",\"unit\":\"\",\"value\":null",
        ),
        ("alarms of what was read", &[LIFT, "--holding", "0x8000=41"], 0, "fault, safety_circuit_open"),
        (
            "a captured exchange",
            &[LIFT, "--json", "--request", request, "--frame", "01 03 00 02 00 07 A5 C8"],
            0,
            "\"value\":7.0",
        ),
        ("a flipped bit", &[LIFT, "--request", request, "--frame", "01 03 00 02 00 07 A5 C9"], 9, ""),
        (
            "a standard reply is not this dialect's",
            &[LIFT, "--request", request, "--frame", "01 03 02 00 07 F9 86"],
            9,
            "",
        ),
        (
            "a message",
            &[BAY, "--json", "--payload", "{\"object\":{\"occupied\":true}}"],
            0,
            "\"raw\":\"true\",\"unit\":\"\",\"value\":true",
        ),
        ("nothing of the profile", &[BAY, "--payload", "{}"], 4, ""),
    ];
    for (fact, words, code, expected) in table {
        let (ended, out) = run(words);
        assert!(out.contains(expected), "{fact}: {out}");
        assert_eq!(ended, code, "{fact}: {out}");
    }
}

#[test]
fn words_that_do_not_fit_the_profile_are_usage_errors() {
    const LIFT: &str = "elevator/monarch-nice3000";
    const BAY: &str = "parking-sensor/bosch-tps110";
    const SCALE: &str = "recycling-kiosk/mt-sics";
    let frame = "01 03 00 02 00 07 A5 C8";
    let table: [(&str, &[&str]); 13] = [
        ("nothing to decode", &[LIFT]),
        ("a payload for registers", &[LIFT, "--payload", "{}"]),
        ("registers for a message", &[BAY, "--holding", "1=1"]),
        ("a frame for a message", &[BAY, "--frame", frame]),
        ("registers for a serial product", &[SCALE, "--holding", "1=1"]),
        ("a register twice", &[LIFT, "--holding", "0x1018=7,4120=8"]),
        ("two kinds at once", &[LIFT, "--holding", "1=1", "--frame", frame]),
        ("two payloads", &[BAY, "--payload", "{}", "--payload-hex", "00"]),
        ("a frame without its request", &[LIFT, "--frame", frame]),
        ("a frame that is no hex", &[LIFT, "--request", frame, "--frame", "01 0"]),
        ("a request that is no hex", &[LIFT, "--request", "status", "--frame", frame]),
        ("a payload that is no hex", &[BAY, "--payload-hex", "zz"]),
        ("an unknown request", &[SCALE, "--request", "nonsense", "--frame", "00"]),
    ];
    for (fact, words) in table {
        assert_eq!(run(words), (exit::USAGE, String::new()), "{fact}");
    }
    assert_eq!(
        run(&[LIFT, "--holding", "0x1018=7,4120=7"]).0,
        exit::OK,
        "the same twice is no contradiction"
    );
    for (profile, option) in [(LIFT, "--holding"), (BAY, "--payload-hex"), (SCALE, "--frame")] {
        let takes = takes(&SHIPPED.profile(profile).expect("a shipped profile"));
        assert!(takes.en.contains(option) && takes.zh.contains(option), "{profile}: {takes:?}");
    }
}

#[test]
fn a_captured_exception_is_told_in_words() {
    let wire = |profile: &str, request: &str, frame: &[u8]| {
        let profile = &*SHIPPED.profile(profile).expect("a shipped profile");
        plain_wire(Captured { profile, request: Some(request), frame }).unwrap_err()
    };
    let frame = |body: &[u8]| {
        let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(body).to_le_bytes();
        [body, &crc].concat()
    };
    let request = "01 03 10 18 00 01 00 CD";
    let lamp = "street-light/epever-tracer";
    let refused = frame(&[1, 0x83, 2]);
    assert!(wire(lamp, request, &refused).starts_with("exception 02: no such address"));
    let lift = "elevator/monarch-nice3000";
    assert!(wire(lift, request, &refused).starts_with("exception 02: no such address"));
    assert!(wire(lift, request, &frame(&[1, 3, 0x80, 1, 0, 5])).starts_with("error 0005"));
    assert!(!wire(lamp, request, &frame(&[1, 0x84, 2])).starts_with("exception"), "another function's");
}

#[test]
fn words_that_are_no_registers_are_usage_errors() {
    for words in ["7", "x=1", "1=x", "1=65536", "65536=1", "1=-32769", "=", ""] {
        assert!(Line::try_parse_from(["decode", "a/b", "--holding", words]).is_err(), "{words}");
    }
    assert!(Line::try_parse_from(["decode", "a/b", "--coil", "1=2"]).is_err(), "a bit");
}
