//! What a command makes of the values people ask for, and what a profile can have wrong with its commands.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::{compiled, profile};
use crate::{
    domain::{Instruction, Value},
    profile::{Profile, Setting, Unfit},
};

const MODBUS: &str =
    "[modbus]\n[[point]]\nname = \"n\"\nread = { table = \"holding\", address = 0, type = \"u16\" }\n";
const FLAG: &str = "[[point]]\nname = \"f\"\nread = { table = \"coil\", address = 0 }\n";
const CHOICE: &str = "[[point]]\nname = \"c\"\nread = { table = \"holding\", address = 1, type = \"u16\" }\nvalues = { 0 = \"a\", 1 = \"b\" }\n";

/// A profile with one command called `x`.
fn with(command: &str) -> String {
    format!("{MODBUS}{FLAG}{CHOICE}[[command]]\nname = \"x\"\n{command}\n")
}

fn set(profile: &Profile, value: impl Into<Value>) -> Result<Setting, Unfit> {
    profile.command("x").expect("it has the command").setting(&value.into())
}

fn words(first: u16, words: &[u16], multiple: bool) -> Instruction {
    Instruction::Registers { first, words: words.to_vec(), multiple }
}

#[test]
fn what_goes_over_the_wire_and_what_the_device_will_have() {
    let u16 = "write = { table = \"holding\", address = 7, type = \"u16\" }\nrange = [0, 100]";
    let tenths = "write = { table = \"holding\", address = 7, type = \"i16\" }\nscale = 0.1\noffset = -5.0\nrange = [-10, 10]";
    let float = "write = { table = \"holding\", address = 7, type = \"f32\", byte_order = \"CDAB\" }\nrange = [0, 1e30]";
    let long = "write = { table = \"holding\", address = 7, type = \"u32\", byte_order = \"DCBA\" }\nrange = [0, 4e9]";
    let bcd = "write = { table = \"holding\", address = 7, type = \"bcd16\" }\nrange = [0, 9999]";
    let many =
        "write = { table = \"holding\", address = 7, type = \"u16\" }\nrange = [0, 9]\nmultiple = true";
    let choice = "write = { table = \"holding\", address = 7, type = \"u16\" }\nvalues = { 5 = \"a\", 6 = \"b\" }\nread_back = \"c\"";
    let flag =
        "write = { table = \"holding\", address = 7, type = \"u16\" }\nvalues = { 0xFF00 = true, 0 = false }";
    let coil = "write = { table = \"coil\", address = 7 }\nread_back = \"f\"";
    let coils = "write = { table = \"coil\", address = 7 }\nmultiple = true";
    let on = |on, multiple| Instruction::Coils { first: 7, bits: vec![on], multiple };
    type Sent = Result<(Instruction, Value), Unfit>;
    let facts: Vec<(&str, &str, Value, Sent)> = vec![
        ("as it is", u16, 40.0.into(), Ok((words(7, &[40], false), 40.0.into()))),
        (
            "rounded, and what is really set is said",
            u16,
            40.4.into(),
            Ok((words(7, &[40], false), 40.0.into())),
        ),
        ("both ends are in", u16, 100.0.into(), Ok((words(7, &[100], false), 100.0.into()))),
        ("nothing below zero", u16, (-0.1).into(), Err(Unfit::Beyond([0.0, 100.0]))),
        ("not beyond", u16, 100.1.into(), Err(Unfit::Beyond([0.0, 100.0]))),
        ("NaN is no number", u16, f64::NAN.into(), Err(Unfit::NotANumber)),
        ("nor is infinity", u16, f64::INFINITY.into(), Err(Unfit::NotANumber)),
        ("a word is no number", u16, "40".into(), Err(Unfit::NotANumber)),
        ("a flag is no number", u16, true.into(), Err(Unfit::NotANumber)),
        ("scale and offset go the other way", tenths, 2.5.into(), Ok((words(7, &[75], false), 2.5.into()))),
        ("negative raw", tenths, (-9.96).into(), Ok((words(7, &[0xFFCE], false), (-10.0).into()))),
        ("a float, low word first", float, 1.5.into(), Ok((words(7, &[0, 0x3FC0], false), 1.5.into()))),
        ("bytes and words reversed", long, 1.0.into(), Ok((words(7, &[0x0100, 0], false), 1.0.into()))),
        ("digits", bcd, 1234.0.into(), Ok((words(7, &[0x1234], false), 1234.0.into()))),
        ("function 16 for one", many, 9.0.into(), Ok((words(7, &[9], true), 9.0.into()))),
        ("a word", choice, "b".into(), Ok((words(7, &[6], false), "b".into()))),
        ("no such word", choice, "c".into(), Err(Unfit::NotAWord(vec!["a".into(), "b".into()]))),
        ("a flag's own raw value", flag, true.into(), Ok((words(7, &[0xFF00], false), true.into()))),
        ("a number is no flag", flag, 1.0.into(), Err(Unfit::NotAFlag)),
        ("a coil", coil, true.into(), Ok((on(true, false), true.into()))),
        ("a coil off", coil, false.into(), Ok((on(false, false), false.into()))),
        ("function 15 for one", coils, true.into(), Ok((on(true, true), true.into()))),
    ];
    for (fact, command, value, expected) in facts {
        let got = set(&profile(&with(command)), value);
        assert_eq!(got.map(|setting| (setting.instruction, setting.value)), expected, "{fact}");
    }
}

#[test]
fn functions_of_the_instructions() {
    let coils = |bits: &[bool], multiple| Instruction::Coils { first: 0, bits: bits.to_vec(), multiple };
    for (instruction, function) in [
        (coils(&[true], false), 5),
        (words(0, &[1], false), 6),
        (coils(&[true], true), 15),
        (coils(&[true, false], false), 15),
        (words(0, &[1, 2], false), 16),
        (words(0, &[1], true), 16),
    ] {
        assert_eq!(instruction.function(), function, "{instruction:?}");
    }
}

static QUARTERS: LazyLock<Arc<Profile>> = LazyLock::new(|| {
    profile(&with(
        "write = { table = \"holding\", address = 7, type = \"i16\" }\nscale = 0.25\noffset = 3.0\nrange = [-8000, 8000]",
    ))
});

proptest! {
    /// Whatever is asked for: what the device will have is within half a step of it and in range, or nothing is sent.
    #[test]
    fn never_more_than_half_a_step_off(value in proptest::num::f64::ANY) {
        match set(&QUARTERS, value) {
            Ok(Setting { value: Value::Number(held), .. }) => {
                prop_assert!((held - value).abs() <= 0.125 && (-8000.0..=8000.0).contains(&held));
            }
            Ok(other) => prop_assert!(false, "{other:?}"),
            Err(_) => prop_assert!(!(-8000.0..=8000.0).contains(&value)),
        }
    }
}

#[test]
fn what_shows_that_it_was_done() {
    let coarse = MODBUS.replace("type = \"u16\" }", "type = \"u16\" }\nscale = 5.0");
    let command = "[[command]]\nname = \"x\"\nwrite = { table = \"holding\", address = 7, type = \"u16\" }\nrange = [0, 100]\nread_back = \"n\"\n";
    for (fact, points, set, seen, shows) in [
        ("the same", MODBUS, 40.0, 40.0, true),
        ("the next", MODBUS, 40.0, 41.0, false),
        ("rounded by a coarser point", &coarse, 42.0, 40.0, true),
        ("cut by a coarser point", &coarse, 44.0, 40.0, true),
        ("a whole step off", &coarse, 45.0, 40.0, false),
    ] {
        let profile = profile(&format!("{points}{command}"));
        let x = profile.command("x").unwrap();
        let point = x.read_back.unwrap();
        assert_eq!(profile.shows(x, point, &Value::Number(set), &Value::Number(seen)), shows, "{fact}");
    }
}

#[test]
fn words_of_the_command_line_become_values() {
    let number =
        profile(&with("write = { table = \"holding\", address = 7, type = \"u16\" }\nrange = [0, 9]"));
    let flag = profile(&with("write = { table = \"coil\", address = 7 }"));
    for (profile, text, expected) in [
        (&number, "4.5", Ok(Value::Number(4.5))),
        (&number, "on", Err(Unfit::NotANumber)),
        (&number, "nan", Err(Unfit::NotANumber)),
        (&number, "-inf", Err(Unfit::NotANumber)),
        (&number, "1e400", Err(Unfit::NotANumber)),
        (&flag, "开", Ok(Value::Flag(true))),
        (&flag, "off", Ok(Value::Flag(false))),
        (&flag, "2", Err(Unfit::NotAFlag)),
    ] {
        assert_eq!(profile.command("x").unwrap().value_in(text), expected, "{text}");
    }
}

#[test]
fn what_a_command_can_have_wrong() {
    let at_7 = |more: &str| format!("write = {{ table = \"holding\", address = 7, type = {more}");
    for (fact, command, expected) in [
        (
            "bits of a register",
            at_7("\"u16\", bits = \"0..3\" }\nrange = [0, 9]"),
            "a command writes whole registers",
        ),
        ("half a register", at_7("\"u8\" }\nrange = [0, 9]"), "a command writes whole registers"),
        ("a text", at_7("\"string\", length = 4 }"), "no texts"),
        (
            "a range beyond the register",
            at_7("\"u16\" }\nrange = [0, 70000]"),
            "the register cannot hold 70000",
        ),
        (
            "a range for words",
            at_7("\"u16\" }\nrange = [0, 1]\nvalues = { 0 = \"a\" }"),
            "only a command that takes a number",
        ),
        (
            "words and flags",
            at_7("\"u16\" }\nvalues = { 0 = \"a\", 1 = true }"),
            "a flag is true or false, not \"a\"",
        ),
        (
            "a word that the point never has",
            at_7("\"u16\" }\nvalues = { 0 = \"z\" }\nread_back = \"c\""),
            "c has no value \"z\"",
        ),
        ("a flag shown by a number", at_7("\"bool\" }\nread_back = \"n\""), "is of another kind"),
        ("no condition", at_7("\"u16\" }\nrange = [0, 9]\ninterlock = \"n + 1.0\""), "must be true or false"),
        (
            "a point of no class",
            at_7("\"u16\" }\nrange = [0, 9]\ninterlock = \"nn > 1.0\""),
            "this class has no point \"nn\"",
        ),
        (
            "a point that the product lacks",
            at_7("\"u16\" }\nrange = [0, 9]\ninterlock = \"m > 1.0\""),
            "would never be sent",
        ),
        (
            "a discrete input",
            "write = { table = \"discrete\", address = 7 }".to_owned(),
            "this table can only be read",
        ),
    ] {
        let told = compiled(&with(&command)).err().unwrap_or_else(|| panic!("{fact}: taken as it is"));
        assert!(told.contains(expected), "{fact}: {told}");
    }
}
