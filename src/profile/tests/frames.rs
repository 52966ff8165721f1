//! Serial frames: places, orders, ASCII numbers.

use super::{profile, said};
use crate::domain::Raw;

const SCALE: &str = r#"
[serial.frame]
end = "0D 0A"
[[serial.request]]
name = "weight"
send_text = "SI\r\n"
every = "250ms"
[[serial.event]]
name = "card"
match = [{ at = 0, bytes = "02" }]
answers = ["weight"]
[[point]]
name = "n"
read = { frame = "weight", at = 3, length = 10, type = "decimal" }
absent = ["---------", "OL"]
when = { at = 0, bytes = "53 54" }
[[point]]
name = "c"
read = { frame = "weight", at = 0, length = 2, type = "string" }
values = { ST = "a", US = "b" }
[[point]]
name = "m"
read = { frame = "card", at = -3, type = "u16", order = "little" }
[[point]]
name = "t"
read = { frame = "card", at = 1, length = 4, type = "hex" }
[[point]]
name = "f"
read = { frame = "card", at = 0, type = "u8", bits = "1" }
"#;

#[test]
fn what_a_frame_says() {
    let profile = profile(SCALE);
    let frame = |frame, bytes: &[u8]| Raw::Frame { frame, bytes: bytes.to_vec().into() };
    for (fact, raw, expected) in [
        ("a stable weight", frame(0, b"ST,+00012.345 kg\r\n"), "n=12.345 c=\"a\""),
        ("moving: `when` keeps the weight out", frame(0, b"US,+00012.345 kg\r\n"), "c=\"b\""),
        ("blanks after the sign", frame(0, b"ST,-   7.16   kg\r\n"), "n=-7.16 c=\"a\""),
        ("no sign", frame(0, b"ST,   0.05   kg\r\n"), "n=0.05 c=\"a\""),
        ("no minus zero", frame(0, b"ST,-0000.000 kg\r\n"), "n=0 c=\"a\""),
        ("dashes mean no value", frame(0, b"ST,--------- kg\r\n"), "n=absent c=\"a\""),
        ("overload", frame(0, b"ST,OL        kg\r\n"), "n=absent c=\"a\""),
        ("two points", frame(0, b"ST,+0.12.345 kg\r\n"), "n=decode_error c=\"a\""),
        ("an exponent is no weight", frame(0, b"ST,+1e5      kg\r\n"), "n=decode_error c=\"a\""),
        ("words", frame(0, b"ST,infinity  kg\r\n"), "n=decode_error c=\"a\""),
        ("only blanks", frame(0, b"ST,          kg\r\n"), "n=decode_error c=\"a\""),
        ("no ASCII", frame(0, b"ST,\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF kg\r\n"), "n=decode_error c=\"a\""),
        ("too short", frame(0, b"ST,+0.1\r\n"), "n=decode_error c=\"a\""),
        ("another word", frame(0, b"QT,+00012.345 kg\r\n"), "c=decode_error"),
        (
            "a card",
            frame(1, &[0x02, 0xDE, 0xAD, 0xBE, 0xEF, 0x01, 0x02, 0x0D]),
            "m=513 t=\"DEADBEEF\" f=true",
        ),
        ("a card cut short", frame(1, &[0x02, 0xDE]), "m=decode_error t=decode_error f=true"),
        ("an empty frame", frame(1, &[]), "m=decode_error t=decode_error f=decode_error"),
        ("a frame nobody knows", frame(7, &[1, 2, 3]), ""),
    ] {
        assert_eq!(said(&profile, &raw), expected, "{fact}");
    }
}

#[test]
fn a_point_has_the_period_of_its_request() {
    let profile = profile(SCALE);
    let periods: Vec<u128> = profile.points.iter().map(|point| point.every.as_millis()).collect();
    assert_eq!(periods, [250, 250, 1000, 1000, 1000]);
}
