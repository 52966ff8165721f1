//! Files with mistakes: each is found, and told so that a person can mend it.

use super::{CLASS, HEAD, compiled};
use crate::{document::Problems, domain::Lang, profile::Library};

const MODBUS: &str = "[modbus]\n";
const MQTT: &str = "[mqtt]\ntopic = \"x/{address}\"\npayload = \"json\"\n";
const SERIAL: &str = "[serial.frame]\nfixed = 8\n[[serial.request]]\nname = \"q\"\nsend = \"01\"\n";

fn point(rest: &str) -> String {
    format!("[[point]]\n{rest}\n")
}

#[test]
fn what_a_profile_can_have_wrong() {
    let holding = "read = { table = \"holding\", address = 1, type = \"u16\" }";
    let number = format!("name = \"n\"\n{holding}");
    let table: Vec<(&str, String, &str)> = vec![
        ("no protocol", point(&number), "is missing: how the device is spoken to"),
        (
            "two protocols",
            format!("{MODBUS}{MQTT}{}", point(&number)),
            "only one of [modbus], [mqtt], [serial] and [dlt645]",
        ),
        ("no point", MODBUS.into(), "there is no point at all"),
        (
            "a point the class does not have",
            format!("{MODBUS}{}", point(&number.replace("\"n\"", "\"speeed\""))),
            "has no point \"speeed\"",
        ),
        ("a point twice", format!("{MODBUS}{}{}", point(&number), point(&number)), "\"n\" is already there"),
        (
            "a misspelt key",
            format!("{MODBUS}{}", point(&format!("{number}\nscael = 0.1"))),
            "unknown key \"scael\"",
        ),
        (
            "a scale of nothing",
            format!("{MODBUS}{}", point(&format!("{number}\nscale = 0.0"))),
            "the scale cannot be 0",
        ),
        (
            "a scale that is no number",
            format!("{MODBUS}{}", point(&format!("{number}\nscale = nan"))),
            "the scale cannot be NaN",
        ),
        (
            "an endless offset",
            format!("{MODBUS}{}", point(&format!("{number}\noffset = inf"))),
            "the offset cannot be inf",
        ),
        (
            "a range upside down",
            format!("{MODBUS}{}", point(&format!("{number}\nrange = [9.0, 1.0]"))),
            "a range is [lowest, highest]",
        ),
        (
            "words for a number",
            format!("{MODBUS}{}", point(&format!("{number}\nvalues = {{ 0 = \"a\" }}"))),
            "a number takes no `values`",
        ),
        (
            "polled all the time",
            format!("{MODBUS}{}", point(&format!("{number}\nevery = \"0ms\""))),
            "at least 10ms",
        ),
        (
            "absent that cannot be",
            format!("{MODBUS}{}", point(&format!("{number}\nabsent = [65536]"))),
            "the raw value is never 65536",
        ),
        (
            "absent that is no number",
            format!("{MODBUS}{}", point(&format!("{number}\nabsent = [\"x\"]"))),
            "the raw value is never \"x\"",
        ),
        (
            "a choice without words",
            format!("{MODBUS}{}", point(&format!("name = \"c\"\n{holding}"))),
            "\"values\" is missing",
        ),
        (
            "a foreign word",
            format!("{MODBUS}{}", point(&format!("name = \"c\"\n{holding}\nvalues = {{ 0 = \"aa\" }}"))),
            "c has no value \"aa\"",
        ),
        (
            "a raw value twice",
            format!(
                "{MODBUS}{}",
                point(&format!("name = \"c\"\n{holding}\nvalues = {{ 1 = \"a\", 0x1 = \"b\" }}"))
            ),
            "is there twice",
        ),
        (
            "a raw value that cannot be",
            format!("{MODBUS}{}", point(&format!("name = \"c\"\n{holding}\nvalues = {{ 70000 = \"a\" }}"))),
            "the raw value is never 70000",
        ),
        (
            "a flag with words",
            format!("{MODBUS}{}", point(&format!("name = \"f\"\n{holding}\nvalues = {{ 1 = \"on\" }}"))),
            "a flag is true or false, not \"on\"",
        ),
        (
            "a scaled flag",
            format!("{MODBUS}{}", point(&format!("name = \"f\"\n{holding}\nscale = 2.0"))),
            "only a number takes \"scale\"",
        ),
        (
            "a text from a number",
            format!("{MODBUS}{}", point(&format!("name = \"t\"\n{holding}"))),
            "a text is read as `string` or `hex`",
        ),
        (
            "a number from a bool",
            format!("{MODBUS}{}", point("name = \"n\"\nread = { table = \"coil\", address = 1 }")),
            "a number is not read as text or bool",
        ),
        (
            "no type",
            format!("{MODBUS}{}", point("name = \"n\"\nread = { table = \"holding\", address = 1 }")),
            "type missing",
        ),
        ("a type nobody knows", format!("{MODBUS}{}", point(&number.replace("u16", "uint16"))), "\"uint16\""),
        (
            "bits outside",
            format!("{MODBUS}{}", point(&number.replace("\"u16\"", "\"u16\", bits = \"16\""))),
            "bits go from low to high within 0..15",
        ),
        (
            "bits backwards",
            format!("{MODBUS}{}", point(&number.replace("\"u16\"", "\"u16\", bits = \"7..4\""))),
            "bits go from low to high within 0..15",
        ),
        (
            "bits that are none",
            format!("{MODBUS}{}", point(&number.replace("\"u16\"", "\"u16\", bits = \"low\""))),
            "bits",
        ),
        (
            "bits of a float",
            format!("{MODBUS}{}", point(&number.replace("\"u16\"", "\"f32\", bits = \"0\""))),
            "only whole numbers have bits",
        ),
        (
            "a key of another protocol",
            format!("{MODBUS}{}", point(&number.replace("\"u16\"", "\"u16\", pointer = \"/a\""))),
            "\"pointer\" does not belong here",
        ),
        (
            "a pointer with a stray tilde",
            format!("{MQTT}{}", point("name = \"n\"\nread = { pointer = \"/a~2\", type = \"f64\" }")),
            "pointer",
        ),
        (
            "beyond the last register",
            format!(
                "{MODBUS}{}",
                point("name = \"n\"\nread = { table = \"holding\", address = 65535, type = \"u32\" }")
            ),
            "goes beyond register 65535",
        ),
        (
            "no such register",
            format!("{MODBUS}{}", point(&number.replace("address = 1", "address = 65536"))),
            "address",
        ),
        (
            "register 0, counted from 1",
            format!("{MODBUS}address_base = 1\n{}", point(&number.replace("address = 1", "address = 0"))),
            "there is no register of this number",
        ),
        (
            "a number of another table",
            format!("{MODBUS}{}", point(&number.replace("address = 1", "address = \"30001\""))),
            "numbers of holding begin with 4",
        ),
        (
            "more registers than a request reads",
            format!("{MODBUS}max_registers = 1\n{}", point(&number.replace("u16", "u32"))),
            "more than one request reads",
        ),
        (
            "an alignment that no product has",
            format!("{MODBUS}align = 3\n{}", point(&number)),
            "`align` is one of 1, 2, 4, 8 and 16",
        ),
        (
            "an alignment that fits no request",
            format!("{MODBUS}align = 4\nmax_registers = 2\n{}", point(&number)),
            "nothing could be read",
        ),
        (
            "more registers than a request reads, with those beside it",
            format!("{MODBUS}align = 2\nmax_registers = 3\n{}", point(&number.replace("u16", "u32"))),
            "4 registers are more than one request reads (3)",
        ),
        (
            "too many for the dialect",
            format!("{MODBUS}dialect = \"nice3000\"\nmax_registers = 64\n{}", point(&number)),
            "this dialect reads 10 registers at most",
        ),
        (
            "half of another value",
            format!(
                "{MODBUS}{}{}",
                point(&number.replace("u16", "u32")),
                point(&number.replace("\"n\"", "\"m\"").replace("address = 1", "address = 2"))
            ),
            "overlaps the registers of \"n\"",
        ),
        (
            "bits across other bits",
            format!(
                "{MODBUS}{}{}",
                point(&number.replace("\"u16\"", "\"u16\", bits = \"0..3\"")),
                point(&number.replace("\"n\"", "\"m\"").replace("\"u16\"", "\"u16\", bits = \"2..5\""))
            ),
            "overlaps the registers of \"n\"",
        ),
        (
            "a text without length",
            format!("{MODBUS}{}", point(&format!("name = \"t\"\n{}", holding.replace("u16", "string")))),
            "length is missing",
        ),
        (
            "a number with length",
            format!("{MODBUS}{}", point(&number.replace("\"u16\"", "\"u16\", length = 2"))),
            "only texts have a length",
        ),
        (
            "every for a message",
            format!(
                "{MQTT}{}",
                point("name = \"n\"\nread = { pointer = \"/a\", type = \"f64\" }\nevery = \"1s\"")
            ),
            "has no \"every\"",
        ),
        (
            "a wire type in JSON",
            format!("{MQTT}{}", point("name = \"n\"\nread = { pointer = \"/a\", type = \"u16\" }")),
            "a value in JSON or text has no such type",
        ),
        (
            "nobody's topic",
            format!(
                "{}{}",
                MQTT.replace("{address}", "y"),
                point("name = \"n\"\nread = { pointer = \"/a\", type = \"f64\" }")
            ),
            "no {address} in the topic",
        ),
        (
            "a topic that is no filter",
            format!(
                "{}{}",
                MQTT.replace("x/", "#/x+/"),
                point("name = \"n\"\nread = { pointer = \"/a\", type = \"f64\" }")
            ),
            "not a topic filter",
        ),
        (
            "JSON keys for bytes",
            format!(
                "{}time = \"/t\"\n{}",
                MQTT.replace("json", "bytes"),
                point("name = \"n\"\nread = { at = 0, type = \"u8\" }")
            ),
            "\"time\" is for payload = \"json\" only",
        ),
        (
            "no end of a frame",
            format!(
                "{}{}",
                SERIAL.replace("fixed = 8\n", ""),
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "exactly one of end, fixed and length",
        ),
        (
            "two ends of a frame",
            format!(
                "{}{}",
                SERIAL.replace("fixed = 8\n", "fixed = 8\nend = \"0D\"\n"),
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "exactly one of end, fixed and length",
        ),
        (
            "no room for a checksum",
            format!(
                "{}{}",
                SERIAL.replace("fixed = 8\n", "fixed = 8\nchecksum = { kind = \"crc16-modbus\", to = -1 }\n"),
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "no room for the 2 bytes",
        ),
        (
            "a frame nobody named",
            format!("{SERIAL}{}", point("name = \"n\"\nread = { frame = \"p\", at = 0, type = \"u8\" }")),
            "there is no request or event \"p\"",
        ),
        (
            "beyond the frame",
            format!("{SERIAL}{}", point("name = \"n\"\nread = { frame = \"q\", at = 7, type = \"u16\" }")),
            "beyond the 8 bytes of a frame",
        ),
        (
            "back beyond the frame",
            format!("{SERIAL}{}", point("name = \"n\"\nread = { frame = \"q\", at = -9, type = \"u8\" }")),
            "beyond the 8 bytes of a frame",
        ),
        (
            "not enough at the end",
            format!("{SERIAL}{}", point("name = \"n\"\nread = { frame = \"q\", at = -1, type = \"u16\" }")),
            "2 bytes do not fit into the last 1",
        ),
        (
            "an answer to nothing",
            format!(
                "{SERIAL}[[serial.event]]\nname = \"e\"\nanswers = [\"poll\"]\n{}",
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "there is no request \"poll\"",
        ),
        (
            "a frame name twice",
            format!(
                "{SERIAL}[[serial.event]]\nname = \"q\"\n{}",
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "\"q\" is already there",
        ),
        (
            "nothing to send",
            format!(
                "{}{}",
                SERIAL.replace("send = \"01\"", ""),
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "exactly one of send and send_text",
        ),
        (
            "hex that is none",
            format!(
                "{}{}",
                SERIAL.replace("\"01\"", "\"0x01\""),
                point("name = \"n\"\nread = { frame = \"q\", at = 0, type = \"u8\" }")
            ),
            "send",
        ),
        (
            "a command on input registers",
            format!(
                "{MODBUS}{}[[command]]\nname = \"x\"\nwrite = {{ table = \"input\", address = 1, type = \"u16\" }}\n",
                point(&number)
            ),
            "this table can only be read",
        ),
        (
            "a command read back nowhere",
            format!(
                "{MODBUS}{}[[command]]\nname = \"x\"\nwrite = {{ table = \"holding\", address = 1, type = \"u16\" }}\nread_back = \"m\"\n",
                point(&number)
            ),
            "this file has no point \"m\"",
        ),
    ];
    for (fact, text, expected) in table {
        let told = compiled(&text).err().unwrap_or_else(|| panic!("{fact}: taken as it is\n{text}"));
        assert!(told.contains(expected), "{fact}: {told}\n{text}");
        assert!(told.starts_with("bench/x.toml:"), "{fact} has its place: {told}");
    }
}

#[test]
fn all_mistakes_at_once() {
    let text = format!(
        "{MODBUS}{}{}{}",
        point(
            "name = \"n\"\nscael = 1.0\nread = { table = \"holding\", address = 1, type = \"u16\", bits = \"9..3\" }"
        ),
        point(
            "name = \"x\"\nread = { table = \"holding\", address = 5, type = \"u16\" }\nrange = [2.0, 1.0]"
        ),
        point(
            "name = \"c\"\nread = { table = \"holding\", address = 7, type = \"u16\" }\nvalues = { 0 = \"z\" }"
        ),
    );
    let told = compiled(&text).expect_err("five mistakes");
    for expected in ["scael", "bits go from low", "no point \"x\"", "no value \"z\""] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
}

fn class_mistakes(class: &str) -> String {
    let mut problems = Problems::default();
    Library::of(&[("bench/class.toml", class)], &mut problems);
    problems.lines(Lang::En)
}

#[test]
fn what_a_condition_can_have_wrong() {
    for (fact, when, expected) in [
        ("sound", "n > 0 && (f || c == 'a') && t != '' && c in ['a', 'b']", ""),
        ("sound reckoning", "n > m * 1.15 && n / 2.0 < 1", ""),
        ("a point nobody has", "nn > 0.0", "22:11: error: this class has no point \"nn\""),
        ("a misspelt word", "f && c == 'aa'", "c is never \"aa\""),
        ("a misspelt word in a list", "c in ['a', 'bb']", "c is never \"bb\""),
        ("a number held against a text", "n == '0'", "the two sides are of different kinds"),
        ("a flag held against a number", "f == 1", "the two sides are of different kinds"),
        ("a number is no condition", "n + 1.0", "the condition must be true or false"),
        ("a number for a condition", "f && n", "this must be true or false"),
        ("whole numbers do not reckon", "n > m * 2", "2.0, not 2"),
        ("no such function", "now() > n", "a condition has no function \"now\""),
        ("no fields", "n.x > 1.0", "a condition cannot say this"),
        ("no macros", "[1.0].exists(x, x > n)", "a condition cannot say this"),
        ("unfinished", "n >", "expression, line 1, column"),
        ("nothing", "", "expression, line 1, column"),
        ("too long", &format!("f{}", " || f".repeat(500)), "the expression is too long"),
        ("a long sum", &format!("n{} > 1.0", " + n".repeat(40)), "nested too deep"),
        ("nested deep", &format!("{}f{}", "(".repeat(900), ")".repeat(900)), "expression"),
    ] {
        let class =
            format!("{CLASS}[[alarm]]\nname = \"x\"\npriority = \"low\"\nwhen = \"\"\"{when}\"\"\"\n");
        let told = class_mistakes(&class);
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{fact}: {told}");
    }
}

#[test]
fn a_mistake_in_a_condition_is_shown_at_its_word() {
    let class = format!("{CLASS}[[alarm]]\nname = \"x\"\npriority = \"low\"\nwhen = 'f && speeed > 1.0'\n");
    let told = class_mistakes(&class);
    assert!(told.starts_with("bench/class.toml:22:14: error: this class has no point \"speeed\""), "{told}");
}

#[test]
fn what_a_class_can_have_wrong() {
    let alarm = "[[alarm]]\nname = \"x\"\npriority = \"low\"\nwhen = \"f\"\n";
    for (fact, text, expected) in [
        ("sound", format!("{CLASS}{alarm}"), ""),
        ("comm_loss renamed", format!("{CLASS}[[alarm]]\nname = \"comm_loss\"\npriority = \"low\"\n"), ""),
        (
            "comm_loss with a condition",
            format!("{CLASS}{}", alarm.replace("\"x\"", "\"comm_loss\"")),
            "it takes no condition",
        ),
        ("no condition", format!("{CLASS}{}", alarm.replace("when = \"f\"\n", "")), "\"when\" is missing"),
        ("an alarm twice", format!("{CLASS}{alarm}{alarm}"), "\"x\" is already there"),
        ("suppressed by design", format!("{CLASS}{alarm}suppress_when = \"f\"\n"), ""),
        (
            "suppressed by what is no point",
            format!("{CLASS}{alarm}suppress_when = \"g\"\n"),
            "this class has no point \"g\"",
        ),
        (
            "what a device says of a life is never suppressed",
            format!("{CLASS}{alarm}life_safety = true\nsuppress_when = \"f\"\n"),
            "it cannot be suppressed",
        ),
        (
            "what is concluded may be",
            format!("{CLASS}{alarm}life_safety = true\norigin = \"inferred\"\nsuppress_when = \"f\"\n"),
            "",
        ),
        ("three times", format!("{CLASS}{alarm}count = {{ times = 3, within = \"1m\" }}\n"), ""),
        (
            "once is no count",
            format!("{CLASS}{alarm}count = {{ times = 1, within = \"1m\" }}\n"),
            "must be from 2 to 1000",
        ),
        ("a key of count", format!("{CLASS}{alarm}count = {{ tims = 3, within = \"1m\" }}\n"), "times"),
        (
            "two ways at once",
            format!("{CLASS}{alarm}clear_when = \"!f\"\ncount = {{ times = 3, within = \"1m\" }}\n"),
            "an alarm has `count` or `clear_when`, not both",
        ),
        (
            "a rate of a flag",
            format!("{CLASS}{alarm}rate = {{ point = \"f\", rise = 1.0, within = \"1m\" }}\n"),
            "f is no number",
        ),
        (
            "a rate of what is no point",
            format!("{CLASS}{alarm}rate = {{ point = \"g\", rise = 1.0, within = \"1m\" }}\n"),
            "this class has no point \"g\"",
        ),
        (
            "a rate that says nothing",
            format!("{CLASS}{alarm}rate = {{ point = \"n\", within = \"1m\" }}\n"),
            "`rise` or `fall` says how much",
        ),
        (
            "a rate alone, without a condition",
            format!(
                "{CLASS}{}rate = {{ point = \"n\", fall = 1.0, within = \"1m\" }}\n",
                alarm.replace("when = \"f\"\n", "")
            ),
            "",
        ),
        ("stuck", format!("{CLASS}{alarm}stuck = {{ point = \"n\", for = \"1h\", deadband = 0.5 }}\n"), ""),
        (
            "a deadband of a flag",
            format!("{CLASS}{alarm}stuck = {{ point = \"f\", for = \"1h\", deadband = 0.5 }}\n"),
            "only a number has a deadband",
        ),
        (
            "a silence of no length",
            format!("{CLASS}{}link_lost = true\n", alarm.replace("when = \"f\"\n", "")),
            "after how long a silence",
        ),
        (
            "a silence with a condition",
            format!("{CLASS}{alarm}link_lost = true\non_delay = \"3d\"\n"),
            "it takes no condition",
        ),
        ("no time to rescue", format!("{CLASS}{alarm}rescue_within = \"0s\"\n"), "1d at most"),
        (
            "a point twice",
            format!("{CLASS}[[point]]\nname = \"n\"\nkind = \"flag\"\n"),
            "\"n\" is already there",
        ),
        (
            "words for a number",
            format!("{CLASS}[[point]]\nname = \"k\"\nkind = \"number\"\nvalues = [\"a\", \"b\"]\n"),
            "only a choice has values",
        ),
        (
            "a choice of nothing",
            format!("{CLASS}[[point]]\nname = \"k\"\nkind = \"choice\"\n"),
            "at least two words",
        ),
        (
            "a unit for a flag",
            format!("{CLASS}[[point]]\nname = \"k\"\nkind = \"flag\"\nunit = \"m\"\n"),
            "only a number has a unit",
        ),
        (
            "a name that no condition could say",
            format!("{CLASS}[[point]]\nname = \"door-zone\"\nkind = \"flag\"\n"),
            "door-zone",
        ),
        (
            "another directory",
            format!("{CLASS}{alarm}").replace("\"bench\"", "\"other\""),
            "its directory is bench",
        ),
    ] {
        let told = class_mistakes(&text);
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{fact}: {told}");
    }
}

#[test]
fn a_profile_is_held_against_its_class() {
    let text = format!("{HEAD}{MODBUS}{}", point("name = \"f\"\nread = { table = \"coil\", address = 0 }"));
    let required = CLASS.replace("name = \"n\"\nkind", "name = \"n\"\nrequired = true\nkind");
    let elevator = CLASS.replace("\"bench\"", "\"elevator\"");
    let lift = text.replace("bench/x", "elevator/x")
        + "[[command]]\nname = \"go\"\nwrite = { table = \"holding\", address = 1, type = \"u16\" }\n";
    for (fact, files, usable, expected) in [
        ("sound", vec![("bench/class.toml", CLASS), ("bench/x.toml", &text)], true, ""),
        ("no such class", vec![("bench/x.toml", &text)], false, "there is no class \"bench\""),
        (
            "a broken class",
            vec![("bench/class.toml", "class = 7"), ("bench/x.toml", &text)],
            false,
            "the file of class \"bench\" has errors",
        ),
        (
            "a required point is only missed",
            vec![("bench/class.toml", &required), ("bench/x.toml", &text)],
            true,
            "warning: the point \"n\"",
        ),
        (
            "in another place",
            vec![("bench/class.toml", CLASS), ("bench/y.toml", &text)],
            false,
            "by its place it is bench/y",
        ),
        (
            "not TOML",
            vec![("bench/class.toml", CLASS), ("bench/x.toml", "profile = ")],
            false,
            "bench/x.toml:1:",
        ),
        (
            "an elevator is never written to",
            vec![("elevator/class.toml", &elevator), ("elevator/x.toml", &lift)],
            false,
            "never written to",
        ),
    ] {
        let mut problems = Problems::default();
        let library = Library::of(&files, &mut problems);
        let told = problems.lines(Lang::En);
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{fact}: {told}");
        assert_eq!(library.ids().count() == 1, usable, "{fact}: {told}");
    }
}
