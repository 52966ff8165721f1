use proptest::prelude::*;

use super::{
    checksum,
    codec::{Cutter, ShapeError, encode, fits, sender},
};
use crate::{
    fieldbus::frames::Cut,
    profile::{ByteMatch, Checksum, ChecksumKind, FrameLength, FrameShape},
};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn sum(kind: ChecksumKind, from: usize, to: i64) -> Checksum {
    Checksum { kind, from, to, little: true, hex: false }
}

/// IEC 60839-11-5 as `[serial.frame]` writes it; `checksum` by what the control byte says.
fn osdp(checksum: Checksum) -> FrameShape {
    FrameShape {
        start: hex("53"),
        length: FrameLength::Field { at: 2, size: 2, little: true, adds: 0 },
        max: 256,
        checksum: Some(checksum),
        address: Some((1, 0x7F)),
    }
}

fn osdp_crc() -> FrameShape {
    osdp(sum(ChecksumKind::Crc16Osdp, 0, -2))
}

fn lines(end: &str) -> FrameShape {
    FrameShape {
        start: Vec::new(),
        length: FrameLength::EndsWith(end.as_bytes().to_vec()),
        max: 64,
        checksum: None,
        address: None,
    }
}

/// Yaohua XK3190-A9, continuous: STX, sign, 6 digits, decimals, XOR of these as two hex digits, ETX.
fn yaohua() -> FrameShape {
    FrameShape {
        start: hex("02"),
        length: FrameLength::Fixed(12),
        max: 12,
        checksum: Some(Checksum { kind: ChecksumKind::Xor8, from: 1, to: -3, little: false, hex: true }),
        address: None,
    }
}

fn modbus_ascii() -> FrameShape {
    FrameShape {
        start: b":".to_vec(),
        length: FrameLength::EndsWith(b"\r\n".to_vec()),
        max: 513,
        checksum: Some(Checksum { kind: ChecksumKind::Lrc8, from: 1, to: -4, little: false, hex: true }),
        address: None,
    }
}

fn cut(shape: FrameShape, chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Cutter) {
    let mut cutter = Cutter::new(shape).unwrap();
    let frames = chunks.iter().flat_map(|chunk| cutter.push(chunk)).map(|frame| frame.to_vec()).collect();
    (frames, cutter)
}

/// Captured between libosdp's controller and its peripheral (address 0x65), and from its own unit tests.
#[test]
fn osdp_frames_captured_from_libosdp_are_cut_whole() {
    let crc = [
        ("id", "53 65 09 00 04 61 00 D9 7A"),
        ("pdid", "53 E5 14 00 04 45 BE BA FE 01 01 AF BE AD DE AD DE AD 07 FD"),
        ("cap", "53 65 09 00 05 62 00 BA 18"),
        (
            "pdcap",
            "53 E5 20 00 05 46 01 01 04 02 01 01 04 01 01 05 01 01 08 01 00 09 01 00 0A 00 01 10 02 00 8B CA",
        ),
        ("poll", "53 65 08 00 06 60 02 F6"),
        ("card read", "53 E5 10 00 06 50 00 01 1A 00 02 46 8A C0 62 8B"),
        ("out", "53 65 0C 00 07 68 00 05 1E 00 D8 55"),
        ("ack", "53 E5 08 00 07 40 81 C3"),
        ("poll, sequence 1", "53 65 08 00 05 60 51 A3"),
        ("ack, sequence 1", "53 E5 08 00 05 40 E3 A5"),
        ("poll of libosdp's unit test", "53 65 08 00 04 60 60 90"),
    ];
    for (fact, frame) in crc {
        let frame = hex(frame);
        assert_eq!(cut(osdp_crc(), &[&frame]).0, [&frame[..]], "{fact}");
        assert_eq!(sender(&osdp_crc(), &frame), Some(0x65), "{fact}");
        let bytewise: Vec<&[u8]> = frame.chunks(1).collect();
        assert_eq!(cut(osdp_crc(), &bytewise).0, [&frame[..]], "{fact}, byte by byte");
    }
    let twos = osdp(sum(ChecksumKind::Twos8, 0, -1));
    for (fact, frame) in
        [("ack", "53 E5 07 00 01 40 80"), ("nak, wrong checksum reported", "53 E5 09 00 05 41 01 0E 8F")]
    {
        let crc_in_use = frame.ends_with("0E 8F");
        let shape = if crc_in_use { osdp_crc() } else { twos.clone() };
        assert_eq!(cut(shape, &[&hex(frame)]).0, [hex(frame)], "{fact}");
    }
}

/// The examples that the makers' manuals print.
#[test]
fn scales_lines_are_cut_by_their_end() {
    for (fact, line) in [
        ("A&D standard", "ST,+00012.345 kg\r\n"),
        ("CAS, gross, stable", "ST,GS,+00045.0kg\r\n"),
        ("a clone with blanks", "ST,GS,+ 7.16 kg\r\n"),
        ("MT-SICS, stable", "S S     12.345 kg\r\n"),
        ("MT-SICS, overload", "S +\r\n"),
    ] {
        assert_eq!(cut(lines("\r\n"), &[line.as_bytes()]).0, [line.as_bytes()], "{fact}");
    }
    let frame = hex("02 2B 30 30 31 32 33 34 32");
    let check = checksum::written(yaohua().checksum.as_ref().unwrap(), &frame[1..]);
    assert_eq!(check, b"1D", "0x2B ^ '0'^'0'^'1'^'2'^'3'^'4' ^ '2'");
    let whole = [frame, check, vec![0x03]].concat();
    assert_eq!(cut(yaohua(), &[&whole]).0, [&whole[..]], "Yaohua continuous");
}

#[test]
fn checksums_are_those_of_their_standards() {
    use ChecksumKind::*;
    let nine = b"123456789";
    for (fact, kind, little, hex_form, want) in [
        // the check values of the CRC catalogue, low byte first
        ("crc16-modbus", Crc16Modbus, true, false, hex("37 4B")),
        ("crc16-modbus, high byte first", Crc16Modbus, false, false, hex("4B 37")),
        ("crc16-arc", Crc16Arc, true, false, hex("3D BB")),
        ("crc16-osdp", Crc16Osdp, true, false, hex("CC E5")),
        ("crc16-arc as text", Crc16Arc, false, true, b"BB3D".to_vec()),
        ("sum8", Sum8, true, false, hex("DD")),
        ("twos8", Twos8, true, false, hex("23")),
        ("xor8", Xor8, true, false, hex("31")),
        ("lrc8 over bytes", Lrc8, true, false, hex("23")),
    ] {
        let sum = Checksum { kind, from: 0, to: -1, little, hex: hex_form };
        assert_eq!(checksum::written(&sum, nine), want, "{fact}");
    }
    for frame in [&b":010300000001FB\r\n"[..], b":010302001EDC\r\n", b":010302001edc\r\n"] {
        assert_eq!(
            cut(modbus_ascii(), &[frame]).0,
            [frame],
            "Modbus ASCII's LRC is over what the digits spell"
        );
    }
}

#[test]
fn the_stream_is_found_again() {
    let poll = hex("53 65 08 00 06 60 02 F6");
    let card = hex("53 E5 10 00 06 50 00 01 1A 00 02 46 8A C0 62 8B");
    let mut broken = card.clone();
    broken[9] ^= 0x10;
    let both = [poll.clone(), card.clone()];
    for (fact, stream, want) in [
        ("two frames in one read", both.concat(), both.to_vec()),
        ("a mark before the frame", [hex("FF"), card.clone()].concat(), vec![card.clone()]),
        ("garbage in front", [hex("00 11 FE 7F"), card.clone()].concat(), vec![card.clone()]),
        ("a start byte in the garbage", [hex("53 07"), card.clone()].concat(), vec![card.clone()]),
        ("a flipped bit, then a good frame", [broken, poll.clone()].concat(), vec![poll.clone()]),
        ("a length beyond the longest", [hex("53 E5 FF FF"), poll.clone()].concat(), vec![poll.clone()]),
        ("a length of nothing", [hex("53 E5 00 00"), poll.clone()].concat(), vec![poll.clone()]),
        ("half a frame", card[..9].to_vec(), vec![]),
    ] {
        // a wrong length may have promised more bytes than there are: the next frame brings them
        let (mut frames, mut cutter) = cut(osdp_crc(), &[&stream]);
        if frames.len() < want.len() {
            frames.extend(cutter.push(&[0; 256]).into_iter().map(|frame| frame.to_vec()));
        }
        assert_eq!(frames, want, "{fact}");
    }
}

#[test]
fn what_began_before_the_pause_is_forgotten() {
    let card = hex("53 E5 10 00 06 50 00 01 1A 00 02 46 8A C0 62 8B");
    let (frames, mut cutter) = cut(osdp_crc(), &[&card[..9]]);
    assert!(frames.is_empty() && cutter.is_midway());
    cutter.clear();
    assert_eq!(cutter.push(&card), [card]);
    assert!(!cutter.is_midway());
}

#[test]
fn lines_and_frames_with_an_end_are_told_apart() {
    let framed = |sum| FrameShape {
        start: hex("02"),
        length: FrameLength::EndsWith(hex("03")),
        max: 16,
        checksum: sum,
        address: None,
    };
    let xor = || Some(sum(ChecksumKind::Xor8, 1, -2));
    for (fact, shape, stream, want) in [
        ("a frame that lost its tail", framed(None), hex("02 31 32 02 33 34 03"), vec![hex("02 33 34 03")]),
        (
            "a checksum that looks like the end",
            framed(xor()),
            hex("02 31 32 03 03"),
            vec![hex("02 31 32 03 03")],
        ),
        (
            "the same in the middle of the stream",
            framed(xor()),
            hex("02 31 32 03 03 02 31 31 03"),
            vec![hex("02 31 32 03 03"), hex("02 31 31 03")],
        ),
        (
            "a bad checksum, then a good one",
            framed(xor()),
            hex("02 31 32 55 03 02 41 41 03"),
            vec![hex("02 41 41 03")],
        ),
        (
            "a line that is too long, with its tail",
            lines("\r\n"),
            [vec![b'x'; 100], b"tail\r\nST\r\n".to_vec()].concat(),
            vec![b"ST\r\n".to_vec()],
        ),
        (
            "an end across the longest line's border",
            lines("\r\n"),
            [vec![b'x'; 63], b"\r\nST\r\n".to_vec()].concat(),
            vec![b"ST\r\n".to_vec()],
        ),
    ] {
        assert_eq!(cut(shape, &[&stream]).0, want, "{fact}");
    }
}

#[test]
fn requests_carry_address_and_checksum() {
    let template = |text: &str| -> Vec<Option<u8>> {
        text.split_whitespace().map(|word| u8::from_str_radix(word, 16).ok()).collect()
    };
    let text = |text: &str| -> Vec<Option<u8>> { text.bytes().map(Some).collect() };
    for (fact, shape, send, want) in [
        ("OSDP poll", osdp_crc(), template("53 {} 08 00 04 60"), hex("53 65 08 00 04 60 60 90")),
        ("OSDP id", osdp_crc(), template("53 {} 09 00 04 61 00"), hex("53 65 09 00 04 61 00 D9 7A")),
        ("text, no checksum", lines("\r\n"), text("SI\r\n"), b"SI\r\n".to_vec()),
        (
            "a checksum before the end",
            modbus_ascii(),
            text(":010300000001\r\n"),
            b":010300000001FB\r\n".to_vec(),
        ),
    ] {
        let sent = encode(&shape, &send, 0x65);
        assert_eq!(sent, want, "{fact}");
        assert_eq!(cut(shape, &[&sent]).0, [sent], "{fact}, read back");
    }
}

#[test]
fn matches_hold_all_or_nothing() {
    let at = |at, bytes: &str| ByteMatch { at, bytes: hex(bytes) };
    let frame = hex("53 E5 08 00 05 40");
    for (fact, matches, want) in [
        ("nothing asked", vec![], true),
        ("one byte", vec![at(5, "40")], true),
        ("two places", vec![at(0, "53"), at(4, "05 40")], true),
        ("one of two", vec![at(0, "53"), at(5, "41")], false),
        ("over the end", vec![at(5, "40 00")], false),
        ("beyond the end", vec![at(usize::MAX, "40")], false),
    ] {
        assert_eq!(fits(&frame, &matches), want, "{fact}");
    }
}

#[test]
fn shapes_no_frame_can_have_are_refused() {
    let with = |change: fn(&mut FrameShape)| {
        let mut shape = osdp_crc();
        change(&mut shape);
        Cutter::new(shape).map(|_| ())
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|s| s.max = 0), Err(ShapeError::Max { max: 0 }));
    assert_eq!(with(|s| s.length = FrameLength::Fixed(0)), Err(ShapeError::Fixed { fixed: 0, max: 256 }));
    assert_eq!(with(|s| s.length = FrameLength::Fixed(257)), Err(ShapeError::Fixed { fixed: 257, max: 256 }));
    assert_eq!(with(|s| s.length = FrameLength::EndsWith(vec![])), Err(ShapeError::EmptyEnd));
    assert_eq!(
        with(|s| s.checksum.as_mut().unwrap().from = usize::MAX),
        Err(ShapeError::Outside { max: 256 })
    );
    let field = |at, size| FrameLength::Field { at, size, little: true, adds: i64::MAX };
    let mut shape = osdp_crc();
    shape.length = field(2, 8);
    assert_eq!(Cutter::new(shape.clone()).map(|_| ()), Err(ShapeError::FieldSize { size: 8 }));
    shape.length = field(usize::MAX, 2);
    assert_eq!(Cutter::new(shape).map(|_| ()), Err(ShapeError::Outside { max: 256 }));
}

fn any_shape() -> impl Strategy<Value = FrameShape> {
    let length = prop_oneof![
        (0usize..40).prop_map(FrameLength::Fixed),
        prop::collection::vec(0u8..4, 0..3).prop_map(FrameLength::EndsWith),
        (0usize..6, 0usize..6, any::<bool>(), prop_oneof![-8i64..8, any::<i64>()])
            .prop_map(|(at, size, little, adds)| FrameLength::Field { at, size, little, adds }),
    ];
    let kind = prop::sample::select(vec![
        ChecksumKind::Sum8,
        ChecksumKind::Twos8,
        ChecksumKind::Xor8,
        ChecksumKind::Lrc8,
        ChecksumKind::Crc16Modbus,
        ChecksumKind::Crc16Osdp,
        ChecksumKind::Crc16Arc,
    ]);
    let to = prop_oneof![-6i64..6, any::<i64>()];
    let checksum = (kind, 0usize..6, to, any::<bool>(), any::<bool>())
        .prop_map(|(kind, from, to, little, hex)| Checksum { kind, from, to, little, hex });
    let start = prop::collection::vec(0u8..4, 0..3);
    (start, length, 0usize..40, prop::option::of(checksum)).prop_map(|(start, length, max, checksum)| {
        FrameShape { start, length, max, checksum, address: Some((1, 0x7F)) }
    })
}

proptest! {
    /// Few different bytes, so that starts, ends and lengths come up all the time.
    #[test]
    fn any_bytes_are_cut_without_panic_and_with_little_memory(
        shape in any_shape(),
        chunks in prop::collection::vec(prop::collection::vec(0u8..6, 0..50), 0..20),
    ) {
        let Ok(mut cutter) = Cutter::new(shape.clone()) else { return Ok(()) };
        let mut taken = 0;
        for chunk in &chunks {
            for frame in cutter.push(chunk) {
                prop_assert!(!frame.is_empty() && frame.len() <= shape.max);
                prop_assert!(frame.starts_with(&shape.start));
                prop_assert!(checksum::holds(&shape, &frame));
                taken += frame.len();
            }
            prop_assert!(cutter.kept() < shape.max.max(1), "keeps less than the longest frame");
        }
        prop_assert!(taken <= chunks.iter().map(Vec::len).sum());
    }

    #[test]
    fn how_the_bytes_arrive_changes_nothing(
        shape in any_shape(),
        stream in prop::collection::vec(0u8..6, 0..200),
        pieces in 1usize..30,
    ) {
        let Ok(mut whole) = Cutter::new(shape.clone()) else { return Ok(()) };
        let mut piecewise = Cutter::new(shape).unwrap();
        let at_once = whole.push(&stream);
        let one_by_one: Vec<_> = stream.chunks(pieces).flat_map(|piece| piecewise.push(piece)).collect();
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn a_frame_in_noise_without_a_start_is_found(
        before in prop::collection::vec(any::<u8>().prop_filter("no start", |b| *b != 0x53), 0..600),
        between in prop::collection::vec(any::<u8>().prop_filter("no start", |b| *b != 0x53), 0..600),
        body in prop::collection::vec(any::<u8>(), 0..40),
        piece in 1usize..64,
    ) {
        let length = (8 + body.len()) as u8;
        let template: Vec<_> = [&[0x53, 0x65, length, 0, 4, 0x60], &body[..]].concat().into_iter().map(Some).collect();
        let frame = encode(&osdp_crc(), &template, 0);
        let stream = [&before[..], &frame, &between, &frame].concat();
        let chunks: Vec<&[u8]> = stream.chunks(piece).collect();
        let (frames, cutter) = cut(osdp_crc(), &chunks);
        prop_assert_eq!(frames, vec![frame.clone(), frame]);
        prop_assert!(!cutter.is_midway());
    }

    #[test]
    fn any_request_is_written_without_panic(
        shape in any_shape(),
        template in prop::collection::vec(any::<Option<u8>>(), 0..20),
    ) {
        let extra = shape.checksum.as_ref().map_or(0, checksum::width);
        prop_assert_eq!(encode(&shape, &template, 7).len(), template.len() + extra);
    }
}
