use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn read(dialect: Dialect, table: Table, first: u16, count: u16) -> Question {
    Question { unit: 1, table, first, count, dialect }
}

fn holding(first: u16, count: u16) -> Question {
    read(Dialect::Standard, Table::Holding, first, count)
}

fn nice(first: u16, count: u16) -> Question {
    read(Dialect::Nice3000, Table::Holding, first, count)
}

fn input(first: u16, count: u16) -> Question {
    read(Dialect::Standard, Table::Input, first, count)
}

fn words(question: Question, words: &[u16]) -> Option<Reply> {
    let Question { table, first, .. } = question;
    Some(Reply::Values(Raw::Registers { table, first, words: words.to_vec() }))
}

/// What a slave that serves `value(address)` answers.
fn answer(question: &Question, value: impl Fn(u16) -> u16) -> Vec<u8> {
    let mut frame = question.header();
    let addresses = (0..question.count).map(|n| question.first.wrapping_add(n));
    match question.table {
        Table::Holding | Table::Input => frame.extend(addresses.flat_map(|at| value(at).to_be_bytes())),
        Table::Coil | Table::Discrete => {
            let bits: Vec<u16> = addresses.map(|at| value(at) & 1).collect();
            frame.extend(
                bits.chunks(8).map(|byte| byte.iter().rev().fold(0u8, |all, bit| all << 1 | *bit as u8)),
            );
        }
    }
    let crc = CRC.checksum(&frame).to_le_bytes();
    frame.extend(crc);
    frame
}

#[test]
fn captured_exchanges_read_as_documented() {
    let exchanges = [
        // Monarch/Inovance NICE3000+: two-byte byte count
        (
            "floor 7",
            nice(0x1018, 1),
            "01 03 10 18 00 01 00 CD",
            "01 03 00 02 00 07 A5 C8",
            words(nice(0x1018, 1), &[7]),
        ),
        (
            "fault E41",
            nice(0x8000, 1),
            "01 03 80 00 00 01 AD CA",
            "01 03 00 02 00 29 25 D4",
            words(nice(0x8000, 1), &[0x29]),
        ),
        (
            "a standard slave's floor 7",
            holding(0x1018, 1),
            "01 03 10 18 00 01 00 CD",
            "01 03 02 00 07 F9 86",
            words(holding(0x1018, 1), &[7]),
        ),
        (
            "a standard reply to a NICE3000 question",
            nice(0x1018, 1),
            "01 03 10 18 00 01 00 CD",
            "01 03 02 00 07 F9 86",
            None,
        ),
        // Renogy Rover, R4DCB08, Eastron SDM120
        (
            "24 V, 30 A",
            holding(0x000A, 1),
            "01 03 00 0A 00 01 A4 08",
            "01 03 02 18 1E 32 4C",
            words(holding(0x000A, 1), &[0x181E]),
        ),
        (
            "12.3 V",
            holding(0x0101, 1),
            "01 03 01 01 00 01 D4 36",
            "01 03 02 00 7B F8 67",
            words(holding(0x0101, 1), &[123]),
        ),
        (
            "21.9 °C",
            holding(0, 1),
            "01 03 00 00 00 01 84 0A",
            "01 03 02 00 DB F8 1F",
            words(holding(0, 1), &[219]),
        ),
        (
            "-11.2 °C",
            holding(1, 1),
            "01 03 00 01 00 01 D5 CA",
            "01 03 02 FF 90 F9 D8",
            words(holding(1, 1), &[0xFF90]),
        ),
        (
            "230.2 V",
            input(0, 2),
            "01 04 00 00 00 02 71 CB",
            "01 04 04 43 66 33 34 1B 38",
            words(input(0, 2), &[0x4366, 0x3334]),
        ),
        ("an exception", holding(0, 1), "01 03 00 00 00 01 84 0A", "01 83 02 C0 F1", Some(Reply::Refused(2))),
    ];
    for (fact, question, request, reply, want) in exchanges {
        assert_eq!(question.encode().as_slice(), hex(request), "{fact}: request");
        assert_eq!(Hearing::new(&question).hear(&hex(reply)), want, "{fact}");
    }
}

#[test]
fn more_documented_requests_are_encoded_exactly() {
    for (question, request) in [
        (nice(0x101D, 1), "01 03 10 1D 00 01 10 CC"),
        (nice(0x8001, 7), "01 03 80 01 00 07 7C 08"),
        (holding(0x2006, 12), "01 03 20 06 00 0C AE 0E"),
        (holding(0x2000, 18), "01 03 20 00 00 12 CE 07"),
        (holding(0x0800, 6), "01 03 08 00 00 06 C7 A8"),
        (input(0x3100, 16), "01 04 31 00 00 10 FF 3A"),
        (input(0x3200, 2), "01 04 32 00 00 02 7F 73"),
        (holding(0x0100, 34), "01 03 01 00 00 22 C4 2F"),
        (Question { unit: 0xF8, ..input(0, 10) }, "F8 04 00 00 00 0A 64 64"),
        (holding(0x00C0, 2), "01 03 00 C0 00 02 C4 37"),
        (input(1, 2), "01 04 00 01 00 02 20 0B"),
    ] {
        assert_eq!(question.encode().as_slice(), hex(request), "{request}");
        assert_eq!(Question::decode(&hex(request), question.dialect), Some(question), "{request}");
    }
}

#[test]
fn what_is_no_whole_read_is_no_question() {
    for bytes in [
        "",
        "01 03 10 18 00 01 00",
        "01 03 10 18 00 01 00 CE",
        "01 06 10 18 00 01 CC CD",
        "01 03 10 18 00 01 00 CD 00",
    ] {
        assert_eq!(Question::decode(&hex(bytes), Dialect::Standard), None, "{bytes}");
    }
}

#[test]
fn the_vendors_error_frame_is_a_refusal() {
    let mut frame = hex("01 03 80 01 00 04");
    let crc = CRC.checksum(&frame).to_le_bytes();
    frame.extend(crc);
    assert_eq!(Hearing::new(&nice(0x1018, 1)).hear(&frame), Some(Reply::Refused(4)));
    assert_eq!(Hearing::new(&holding(0x1018, 1)).hear(&frame), None, "no such frame in the standard");
}

#[test]
fn the_answer_is_found_wherever_it_stands() {
    let question = holding(0x20, 3);
    let own = answer(&question, |at| at + 1);
    let want = words(question, &[0x21, 0x22, 0x23]);
    let other_unit = answer(&Question { unit: 2, ..question }, |_| 0xDEAD);
    let other_count = answer(&holding(0x10, 2), |_| 0xDEAD);
    let mut broken = own.clone();
    broken[4] ^= 0x10;
    for (fact, before) in [
        ("alone", vec![]),
        ("behind another unit's reply", other_unit),
        ("behind a late reply of another length", other_count),
        ("behind a broken copy of itself", broken),
        ("behind its own beginning", own[..5].to_vec()),
        ("behind our own request", question.encode().to_vec()),
        ("behind noise and our own request", [&[0, 0xFF, 1][..], &question.encode()].concat()),
        ("behind a leading zero", vec![0]),
        ("behind the longest noise", vec![1; 4000]),
    ] {
        let stream = [before, own.clone()].concat();
        for size in [1, 2, 3, 7, 64, 5000] {
            let mut hearing = Hearing::new(&question);
            let found = stream.chunks(size).find_map(|chunk| hearing.hear(chunk));
            assert_eq!(found, want, "{fact}, in pieces of {size}");
        }
    }
}

#[test]
fn an_echo_is_neither_an_answer_nor_a_complaint() {
    // an echo with byte count 3 in its third byte looks like the reply with 17 to 24 coils
    let question = read(Dialect::Standard, Table::Coil, 0x0300, 20);
    for size in [1, 3, 8] {
        let mut hearing = Hearing::new(&question);
        for chunk in question.encode().chunks(size) {
            assert_eq!(hearing.hear(chunk), None, "pieces of {size}");
        }
        assert_eq!(hearing.complaint(), None, "pieces of {size}");
    }
}

#[test]
fn complaints_tell_silence_noise_and_a_wrong_checksum_apart() {
    let question = holding(0, 1);
    for (fact, bytes, want) in [
        ("silence", "", None),
        ("noise", "FF 00 12", Some(Garble::Stray { bytes: 3 })),
        ("half a reply", "01 03 02 00", Some(Garble::Stray { bytes: 4 })),
        ("a flipped bit", "01 03 02 00 DA F8 1F", Some(Garble::Checksum)),
        ("more registers than asked", "01 03 04 00 00 00 00 FA 33", Some(Garble::Stray { bytes: 9 })),
    ] {
        let mut hearing = Hearing::new(&question);
        assert_eq!(hearing.hear(&hex(bytes)), None, "{fact}");
        assert_eq!(hearing.complaint(), want, "{fact}");
    }
}

fn any_question() -> impl Strategy<Value = Question> {
    let tables = prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]);
    let dialects = prop::sample::select(vec![Dialect::Standard, Dialect::Nice3000]);
    (any::<u8>(), tables, any::<u16>(), 1..=2000u16, dialects).prop_map(
        |(unit, table, first, count, dialect)| {
            let count = match table {
                Table::Holding | Table::Input => count.div_ceil(16),
                Table::Coil | Table::Discrete => count,
            };
            Question { unit, table, first, count, dialect }
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_at_all_leave_a_bounded_hearing(question in any_question(), chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12)) {
        let mut hearing = Hearing::new(&question);
        for chunk in chunks {
            prop_assert!(hearing.hear(&chunk).is_none());
            prop_assert!(hearing.bytes.len() < question.reply_length().max(NICE_ERROR_LENGTH));
        }
    }

    #[test]
    fn what_a_slave_answers_is_what_is_heard(question in any_question(), seed in any::<u16>(), noise in prop::collection::vec(2..250u8, 0..20)) {
        let value = |at: u16| at.wrapping_mul(31).wrapping_add(seed);
        let mut hearing = Hearing::new(&question);
        let stream = [noise, answer(&question, value)].concat();
        let heard = stream.iter().find_map(|byte| hearing.hear(&[*byte]));
        let addresses = (0..question.count).map(|n| question.first.wrapping_add(n));
        let Question { table, first, .. } = question;
        let want = match table {
            Table::Holding | Table::Input => Raw::Registers { table, first, words: addresses.map(value).collect() },
            Table::Coil | Table::Discrete => Raw::Bits { table, first, bits: addresses.map(|at| value(at) & 1 == 1).collect() },
        };
        prop_assert_eq!(heard, Some(Reply::Values(want)));
    }

    #[test]
    fn a_reply_with_up_to_three_flipped_bits_is_never_believed(question in any_question(), flips in prop::collection::btree_set(0..16_384usize, 1..=3)) {
        let mut frame = answer(&question, |at| at ^ 0x5A5A);
        let bits = frame.len() * 8;
        let flips: std::collections::BTreeSet<usize> = flips.into_iter().map(|bit| bit % bits).collect();
        for bit in flips {
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        let mut hearing = Hearing::new(&question);
        prop_assert!(!matches!(hearing.hear(&frame), Some(Reply::Values(_))));
    }
}
