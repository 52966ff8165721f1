use proptest::prelude::*;

use super::*;

fn taken_off(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut clothes, mut bare) = (Ascii::default(), Vec::new());
    pieces.iter().for_each(|piece| clothes.take_off(piece, Instant::now(), &mut bare));
    bare
}

fn rtu(body: &[u8]) -> Vec<u8> {
    [body, &codec::crc(body)].concat()
}

#[test]
fn frames_read_as_the_standard_writes_them() {
    // Modbus over Serial Line V1.02, and the same computed by hand
    for (body, characters) in [
        (&[1, 3, 0, 0, 0, 1][..], &b":010300000001FB\r\n"[..]),
        (&[1, 3, 2, 0, 0x1E], b":010302001EDC\r\n"),
        (&[0x11, 0x83, 2], b":1183026A\r\n"),
    ] {
        assert_eq!(Ascii::default().put_on(&rtu(body)), characters);
        assert_eq!(taken_off(&[characters]), rtu(body));
        for cut in 1..characters.len() {
            let (one, other) = characters.split_at(cut);
            assert_eq!(taken_off(&[one, other]), rtu(body), "cut at {cut}");
        }
    }
    assert_eq!(taken_off(&[b":010302001edc\r\n"]), rtu(&[1, 3, 2, 0, 0x1E]), "small letters");
}

#[test]
fn what_is_no_frame_is_never_one() {
    let good = rtu(&[1, 3, 2, 0, 0x1E]);
    let noise = |count: usize| vec![NOISE; count];
    let mut broken = good.clone();
    broken[5..].iter_mut().for_each(|byte| *byte = !*byte);
    let long = [b":", &[b'0'; 600][..], b"\r\n"].concat();
    for (fact, characters, want) in [
        ("a wrong LRC", &b":010302001EDD\r\n"[..], broken),
        ("half a frame", b":0103020", vec![1, 3]),
        ("no hexadecimal", b":0103020G1EDC\r\n", [&[1, 3][..], &noise(7)].concat()),
        ("an odd number of digits", b":010302001ED\r\n", [&[1, 3, 2, 0][..], &noise(2)].concat()),
        ("no LF behind the CR", b":010302001EDC\r0", [&good[..5], &noise(1)].concat()),
        ("no bytes at all", b":\r\n", noise(2)),
        ("one byte", b":00\r\n", noise(2)),
        ("noise before a frame", b"\x00\xFF:010302001EDC\r\n", [noise(2), good.clone()].concat()),
        ("half a frame before a frame", b":0103:010302001EDC\r\n", [&[1, NOISE][..], &good].concat()),
        ("two frames in one read", b":010302001EDC\r\n:010302001EDC\r\n", [&good[..], &good].concat()),
        ("a line end without a frame", b"\r\n", noise(2)),
        ("longer than any frame", &long, [vec![0; MOST_BYTES - 1], noise(600 - 2 * MOST_BYTES + 2)].concat()),
        ("RTU on an ASCII line", &good, noise(7)),
    ] {
        assert_eq!(taken_off(&[characters]), want, "{fact}");
    }
}

#[test]
fn characters_more_than_a_second_apart_are_not_of_one_frame() {
    let began = Instant::now();
    for (fact, after, want) in [
        ("a second", Duration::from_secs(1), rtu(&[1, 3, 2, 0, 0x1E])),
        ("more", Duration::from_millis(1001), [&[1, 3][..], &[NOISE; 9]].concat()),
    ] {
        let (mut clothes, mut bare) = (Ascii::default(), Vec::new());
        clothes.take_off(b":010302", began, &mut bare);
        clothes.take_off(b"001EDC\r\n", began + after, &mut bare);
        assert_eq!(bare, want, "{fact}");
    }
}

#[test]
fn what_was_thrown_away_is_not_waited_for() {
    let (mut clothes, mut bare) = (Ascii::default(), Vec::new());
    clothes.take_off(b":0103", Instant::now(), &mut bare);
    clothes.forget();
    bare.clear();
    clothes.take_off(b":010302001EDC\r\n", Instant::now(), &mut bare);
    assert_eq!(bare, rtu(&[1, 3, 2, 0, 0x1E]));
}

proptest! {
    #[test]
    fn any_frame_survives_being_dressed_cut_and_undressed(
        body in prop::collection::vec(any::<u8>(), 1..254),
        cut in any::<prop::sample::Index>(),
    ) {
        let characters = Ascii::default().put_on(&rtu(&body));
        prop_assert!(characters.len() <= 2 * MOST_BYTES + 3);
        let (one, other) = characters.split_at(cut.index(characters.len()));
        prop_assert_eq!(taken_off(&[one, other]), rtu(&body));
    }

    #[test]
    fn any_bytes_are_taken_and_little_is_kept(
        pieces in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(b':'), Just(b'\r'), Just(b'\n'), Just(b'0'), any::<u8>()], 0..99),
            0..30,
        ),
    ) {
        let (mut clothes, mut bare) = (Ascii::default(), Vec::new());
        for piece in &pieces {
            clothes.take_off(piece, Instant::now(), &mut bare);
            prop_assert!(clothes.begun.as_ref().map_or(0, |begun| begun.bytes.len()) <= MOST_BYTES);
        }
        let came: usize = pieces.iter().map(Vec::len).sum();
        prop_assert!(bare.len() <= came);
    }

    #[test]
    fn a_flipped_bit_never_gives_another_frame(
        body in prop::collection::vec(any::<u8>(), 1..40),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut characters = Ascii::default().put_on(&rtu(&body));
        let at = at.index(characters.len());
        characters[at] ^= 1 << bit;
        let bare = taken_off(&[&characters]);
        // the case of a letter says nothing
        let valid = bare.len() > 2 && codec::crc(&bare[..bare.len() - 2]) == bare[bare.len() - 2..];
        prop_assert!(!valid || bare == rtu(&body), "{:02x?} became {:02x?}", body, bare);
    }
}
