//! MQTT messages: JSON, bytes, text; old ones, foreign ones, broken ones.

use super::{profile, said};
use crate::domain::{PointIx, Raw};

fn payload(text: impl AsRef<[u8]>) -> Raw {
    Raw::Payload { bytes: text.as_ref().to_vec().into(), retained: false }
}

fn json(point: &str, read: &str, rest: &str) -> String {
    let topic = "topic = \"x/{address}/up\"\npayload = \"json\"";
    format!(
        "[mqtt]\n{topic}\n[[point]]\nname = \"{point}\"\nread = {{ pointer = \"/o/v\", {read} }}\n{rest}\n"
    )
}

#[test]
fn what_a_json_value_says() {
    let number = "type = 'f64'";
    let words = "values = { off = \"a\", on = \"b\" }";
    let table = [
        ("true", "f", "type = 'bool'", "", "true", "f=true"),
        ("0", "f", "type = 'bool'", "", "0", "f=false"),
        ("1.0", "f", "type = 'bool'", "", "1.0", "f=true"),
        ("\"1\"", "f", "type = 'bool'", "", "\"1\"", "f=true"),
        ("\"false\"", "f", "type = 'bool'", "", "\"false\"", "f=false"),
        ("2 is no flag", "f", "type = 'bool'", "", "2", "f=decode_error"),
        ("a word is no flag", "f", "type = 'bool'", "", "\"yes\"", "f=decode_error"),
        ("a list is no flag", "f", "type = 'bool'", "", "[true]", "f=decode_error"),
        (
            "a flag with a dictionary",
            "f",
            "type = 'bool'",
            "values = { true = false, false = true }",
            "true",
            "f=false",
        ),
        (
            "a flag from a text",
            "f",
            "type = 'string'",
            "values = { ST = true, US = false }",
            "\"US\"",
            "f=false",
        ),
        ("a flag from a number", "f", "type = 'f64'", "values = { 2 = true, 0 = false }", "2.0", "f=true"),
        ("a number", "n", number, "scale = 0.001", "1716", "n=1.716"),
        ("a number in a text", "n", number, "", "\"-2.5\"", "n=-2.5"),
        ("no number in a text", "n", number, "", "\"12A\"", "n=decode_error"),
        ("NaN in a text", "n", number, "", "\"NaN\"", "n=decode_error"),
        ("infinity in a text", "n", number, "", "\"inf\"", "n=decode_error"),
        ("an empty text", "n", number, "", "\"\"", "n=decode_error"),
        ("true is no number", "n", number, "", "true", "n=decode_error"),
        ("null", "n", number, "", "null", "n=absent"),
        ("absent number", "n", number, "absent = [-1]", "-1.0", "n=absent"),
        ("absent text", "n", number, "absent = [\"N/A\"]", "\"N/A\"", "n=absent"),
        ("bits of a whole number", "n", "type = 'f64', bits = '4..7'", "", "245", "n=15"),
        ("bits of a fraction", "n", "type = 'f64', bits = '0'", "", "1.5", "n=decode_error"),
        ("bits of a negative number", "n", "type = 'f64', bits = '0'", "", "-1", "n=decode_error"),
        ("a word", "c", "type = 'string'", words, "\"on\"", "c=\"b\""),
        ("a foreign word", "c", "type = 'string'", words, "\"half\"", "c=decode_error"),
        ("a word from a number", "c", "type = 'f64'", "values = { 0 = \"a\", 1 = \"b\" }", "1", "c=\"b\""),
        ("a text", "t", "type = 'string'", "", "\"粤B12345\"", "t=\"粤B12345\""),
        ("a number is no text", "t", "type = 'string'", "", "7", "t=decode_error"),
        ("absent word", "t", "type = 'string'", "absent = [\"_无_\"]", "\"_无_\"", "t=absent"),
    ];
    for (fact, point, read, rest, value, expected) in table {
        let message = format!("{{\"o\": {{\"v\": {value}}}}}");
        assert_eq!(said(&profile(&json(point, read, rest)), &payload(message)), expected, "{fact}");
    }
}

#[test]
fn what_is_not_in_a_message_says_nothing_unless_the_profile_knows_better() {
    let plain = profile(&json("n", "type = 'f64'", ""));
    let known = profile(&json("n", "type = 'f64'", "missing = 0"));
    for (fact, message, of_plain, of_known) in [
        ("there", r#"{"o":{"v":3}}"#, "n=3", "n=3"),
        ("left out", r#"{"o":{}}"#, "", "n=0"),
        ("its parent left out", "{}", "", "n=0"),
        ("its parent is no object", r#"{"o":7}"#, "", "n=0"),
        ("null is there", r#"{"o":{"v":null}}"#, "n=absent", "n=absent"),
    ] {
        assert_eq!(said(&plain, &payload(message)), of_plain, "{fact}");
        assert_eq!(said(&known, &payload(message)), of_known, "{fact}, with `missing`");
    }
}

const ENVELOPE: &str = r#"
[mqtt]
topic = "application/+/device/{address}/event/up"
payload = "json"
bytes = "/data"
only = { "/fPort" = 2, "/a~1b/0" = "x" }
time = "/time"
sequence = "/fCnt"
[[point]]
name = "n"
read = { at = 1, type = "i16", order = "little" }
scale = 0.1
[[point]]
name = "m"
read = { at = -1, type = "u8" }
[[point]]
name = "f"
read = { pointer = "/ok", type = "bool" }
"#;

#[test]
fn bytes_in_an_envelope() {
    let profile = profile(ENVELOPE);
    let about: Vec<PointIx> = profile.all_points().collect();
    // 01 F6 FF 2A: −10 little-endian at 1, 42 last
    let full = r#"{"fPort":2,"a/b":["x"],"fCnt":"17","time":"2026-11-23T05:00:00.5+00:00","data":"Afb/Kg==","ok":1}"#;
    let decoded = profile.decode(&payload(full), &about);
    assert_eq!(said(&profile, &payload(full)), "n=-1 m=42 f=true");
    assert_eq!(decoded.sequence, Some(17));
    assert_eq!(decoded.source_time.map(|at| at.as_millisecond()), Some(1_795_410_000_500));
    let envelope = |rest: &str| payload(format!("{{\"fPort\":2.0,\"a/b\":[\"x\"]{rest}}}"));
    for (fact, raw, expected, malformed) in [
        ("another port", payload(full.replace("\"fPort\":2", "\"fPort\":3")), "", false),
        ("no port", payload(full.replace("\"fPort\":2,", "")), "", false),
        ("no bytes: they are not in this message", envelope(",\"ok\":0"), "f=false", false),
        ("too few bytes", envelope(",\"data\":\"AQ==\""), "n=decode_error m=1", false),
        ("no bytes at all", envelope(",\"data\":\"\""), "n=decode_error m=decode_error", false),
        ("bytes that are no base64", envelope(",\"data\":\"%\",\"ok\":1"), "f=true", true),
        ("bytes that are no text", envelope(",\"data\":7"), "", true),
        ("no JSON", payload("{\"fPort\":2"), "", true),
        ("nothing", payload(""), "", true),
        ("not UTF-8", payload([0xFF, 0xFE]), "", true),
        ("nested too deep", payload("[".repeat(200)), "", true),
        ("too long", payload(vec![b' '; 128 * 1024 + 1]), "", true),
    ] {
        assert_eq!(said(&profile, &raw), expected, "{fact}");
        assert_eq!(profile.decode(&raw, &about).malformed.is_some(), malformed, "{fact}");
    }
}

#[test]
fn times_as_devices_write_them() {
    let profile = profile(ENVELOPE);
    for (fact, time, milliseconds) in [
        ("RFC 3339 with an offset", "\"2026-11-23T13:00:00+08:00\"", Some(1_795_410_000_000)),
        ("seconds", "1795410000", Some(1_795_410_000_000)),
        ("seconds with a fraction", "1795410000.25", Some(1_795_410_000_250)),
        ("milliseconds", "1795410000500", Some(1_795_410_000_500)),
        ("seconds as a text", "\"1795410000\"", Some(1_795_410_000_000)),
        ("local time without a zone says nothing", "\"2026-11-23T13:00:00\"", None),
        ("beyond all calendars", "1e300", None),
        ("no time", "true", None),
    ] {
        let raw = payload(format!("{{\"fPort\":2,\"a/b\":[\"x\"],\"time\":{time}}}"));
        let decoded = profile.decode(&raw, &[]);
        assert_eq!(decoded.source_time.map(|at| at.as_millisecond()), milliseconds, "{fact}");
    }
}

#[test]
fn a_retained_message_is_true_but_old() {
    let profile = profile(&json("n", "type = 'f64'", ""));
    let raw = Raw::Payload { bytes: r#"{"o":{"v":3}}"#.as_bytes().to_vec().into(), retained: true };
    let decoded = profile.decode(&raw, &[PointIx(0)]);
    let [(_, sample)] = &decoded.samples[..] else { panic!("one sample, not {:?}", decoded.samples) };
    assert_eq!(sample.quality().word(), "stale");
    assert!(sample.value().is_some());
}

#[test]
fn payloads_that_are_no_json() {
    let text = profile(
        "[mqtt]\ntopic = \"t/{address}\"\npayload = \"text\"\n[[point]]\nname = \"n\"\nread = { type = \"f64\" }\n",
    );
    let bytes = profile(
        "[mqtt]\ntopic = \"t/{address}\"\npayload = \"bytes\"\n[[point]]\nname = \"n\"\n\
         read = { at = 3, type = \"u16\" }\n[[point]]\nname = \"m\"\nread = { at = 0, type = \"u8\" }\nwhen = { at = 1, bytes = \"AA BB\" }\n",
    );
    for (fact, profile, raw, expected) in [
        ("a number", &text, &b" 21.5\n"[..], "n=21.5"),
        ("no number", &text, b"on", "n=decode_error"),
        ("nothing", &text, b"", "n=decode_error"),
        ("not UTF-8", &text, &[0xFF], ""),
        ("big-endian unless said", &bytes, &[9, 0xAA, 0xBB, 1, 2], "n=258 m=9"),
        ("`when` does not hold", &bytes, &[9, 0xAA, 0xBC, 1, 2], "n=258"),
        ("`when` stands beyond the end", &bytes, &[9, 0xAA], "n=decode_error"),
    ] {
        assert_eq!(said(profile, &payload(raw)), expected, "{fact}");
    }
}
