//! What `decode` makes of a command line.

use clap::Parser;

use super::*;
use crate::profile::Library;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: DecodeArgs,
}

fn run(words: &[&str]) -> (u8, String) {
    let args = Line::parse_from([&["decode"], words].concat()).args;
    let profile =
        Library::shipped(&mut Problems::default()).profile(&args.profile).expect("a shipped profile");
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
fn words_that_are_no_registers_are_usage_errors() {
    for words in ["7", "x=1", "1=x", "1=65536", "65536=1", "1=-32769", "=", ""] {
        assert!(Line::try_parse_from(["decode", "a/b", "--holding", words]).is_err(), "{words}");
    }
}
