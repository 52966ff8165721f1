//! Items of DL/T 645 meters: digits, signs, blocks, periods.

use std::time::Duration;

use super::{compiled, profile, said};
use crate::{domain::Raw, profile::Link};

const METER: &str = r#"
[dlt645]
[[point]]
name = "n"
read = { item = "02010100", type = "bcd", length = 2 }
every = "10s"
scale = 0.1
absent = [0xFFFF]
[[point]]
name = "m"
read = { item = "0203FF00", at = 3, type = "bcd_signed", length = 3 }
every = "5s"
scale = 0.0001
absent = [0xFFFFFF]
range = [-79.9999, 79.9999]
[[point]]
name = "f"
read = { item = "04000501", type = "u16", bits = "4" }
[[point]]
name = "c"
read = { item = "0203FF00", type = "u8" }
every = "20s"
values = { 1 = "a", 2 = "b" }
"#;

#[test]
fn what_an_item_says() {
    let profile = profile(METER);
    for (fact, frame, bytes, expected) in [
        ("captured: 220.1", 0, &[0x01, 0x22][..], "n=220.1"),
        ("all nines", 0, &[0x99, 0x99], "n=999.9"),
        ("FF in every byte", 0, &[0xFF, 0xFF], "n=absent"),
        ("a digit above nine", 0, &[0x0A, 0x22], "n=decode_error"),
        ("a sign where there is none", 0, &[0x01, 0xA2], "n=decode_error"),
        ("cut short", 0, &[0x01], "n=decode_error"),
        ("captured: 0.2716, of the second phase", 1, &[1, 0, 0, 0x16, 0x27, 0x00], "m=0.2716 c=\"a\""),
        ("captured: −0.2716", 1, &[1, 0, 0, 0x16, 0x27, 0x80], "m=-0.2716 c=\"a\""),
        ("the least", 1, &[2, 0, 0, 0x99, 0x99, 0xF9], "m=-79.9999 c=\"b\""),
        ("no minus zero", 1, &[1, 0, 0, 0, 0, 0x80], "m=0 c=\"a\""),
        ("no value", 1, &[1, 0, 0, 0xFF, 0xFF, 0xFF], "m=absent c=\"a\""),
        ("a block with one phase", 1, &[1, 0, 0], "m=decode_error c=\"a\""),
        ("a word of bits", 2, &[0x10, 0x00], "f=true"),
        ("nothing at all", 2, &[], "f=decode_error"),
        ("an item nobody reads", 3, &[1, 2, 3], ""),
    ] {
        assert_eq!(said(&profile, &Raw::Frame { frame, bytes: bytes.to_vec().into() }), expected, "{fact}");
    }
}

#[test]
fn points_of_one_item_are_asked_together() {
    let profile = profile(METER);
    let Link::Dlt645(link) = &profile.link else { panic!("it is a meter") };
    let items: Vec<_> = link.items.iter().map(|item| (item.id, item.every.as_secs(), item.length)).collect();
    assert_eq!(items, [(0x0201_0100, 10, 2), (0x0203_FF00, 5, 6), (0x0400_0501, 1, 2)]);
    let fits = |item: usize, length| link.items[item].fits(length);
    assert!(fits(0, 2) && !fits(0, 1) && !fits(0, 3), "a value has its length");
    assert!(fits(1, 6) && fits(1, 3) && fits(1, 12), "a block has what the meter has");
    assert_eq!((link.wakeup, link.timeout), (4, Duration::from_millis(800)), "as nobody wrote otherwise");
}

#[test]
fn what_a_meters_profile_can_have_wrong() {
    let point = |read: &str| format!("[dlt645]\n[[point]]\nname = \"n\"\nread = {{ {read} }}\n");
    for (fact, text, told) in [
        ("no identifier", point("type = \"bcd\", length = 2"), "item missing"),
        ("seven digits", point("item = \"0201010\", type = \"bcd\", length = 2"), "such as \"02010100\""),
        ("an identifier with dashes", point("item = \"02-01-01\", type = \"bcd\", length = 2"), "such as \"02010100\""),
        ("no length", point("item = \"02010100\", type = \"bcd\""), "needs its `length`"),
        ("nine bytes", point("item = \"02010100\", type = \"bcd\", length = 9"), "needs its `length`"),
        ("a length of its own", point("item = \"02010100\", type = \"u16\", length = 2"), "only texts have a length"),
        ("bits of digits", point("item = \"02010100\", type = \"bcd\", length = 2, bits = \"1\""), "has no bits"),
        ("a text", point("item = \"04000401\", type = \"string\", length = 6"), "values of [dlt645] are"),
        ("from the end", point("item = \"02010100\", type = \"u8\", at = -1"), "`at` counts from 0"),
        ("beyond a frame", point("item = \"02010100\", type = \"u16\", at = 250"), "within 251 bytes"),
        ("a register", point("item = \"02010100\", type = \"u16\", table = \"holding\""), "\"table\" does not belong here"),
        (
            "too many wake-up bytes",
            point("item = \"02010100\", type = \"u16\"").replace("[dlt645]", "[dlt645]\nwakeup = 17"),
            "\"wakeup\" must be from 0 to 16, not 17",
        ),
        (
            "its digits elsewhere",
            "[modbus]\n[[point]]\nname = \"n\"\nread = { table = \"holding\", address = 1, type = \"bcd\", length = 2 }\n".into(),
            "for [dlt645] only",
        ),
        (
            "an item elsewhere",
            "[modbus]\n[[point]]\nname = \"n\"\nread = { table = \"holding\", address = 1, type = \"u16\", item = \"02010100\" }\n".into(),
            "\"item\" does not belong here",
        ),
    ] {
        let mistakes = compiled(&text).err().unwrap_or_else(|| panic!("{fact}: taken for right"));
        assert!(mistakes.contains(told), "{fact}: {mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{fact}: {mistakes}");
    }
}
