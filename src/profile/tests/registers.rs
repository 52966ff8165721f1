//! Registers and coils: each type, each byte order, each way to be no value.

use super::{profile, said};
use crate::domain::{PointIx, Raw, Table};

fn point(name: &str, read: &str, rest: &str) -> String {
    format!(
        "[modbus]\n[[point]]\nname = \"{name}\"\nread = {{ table = \"holding\", address = 0, {read} }}\n{rest}\n"
    )
}

fn holding(words: &[u16]) -> Raw {
    Raw::Registers { table: Table::Holding, first: 0, words: words.to_vec() }
}

#[test]
fn every_type_in_every_byte_order() {
    // value, then the words as they come over the wire in ABCD, CDAB, BADC, DCBA; worked out by hand from the bytes
    type Orders<'a> = [&'a [u16]; 4];
    let table: [(&str, &str, Orders<'_>); 16] = [
        ("u16", "n=4660", [&[0x1234], &[0x1234], &[0x3412], &[0x3412]]),
        ("i16", "n=-2", [&[0xFFFE], &[0xFFFE], &[0xFEFF], &[0xFEFF]]),
        ("u32", "n=305419896", [&[0x1234, 0x5678], &[0x5678, 0x1234], &[0x3412, 0x7856], &[0x7856, 0x3412]]),
        ("i32", "n=-2", [&[0xFFFF, 0xFFFE], &[0xFFFE, 0xFFFF], &[0xFFFF, 0xFEFF], &[0xFEFF, 0xFFFF]]),
        // 230.2 V as an SDM120 sends it: 43 66 33 33
        (
            "f32",
            "n=230.1999969482422",
            [&[0x4366, 0x3333], &[0x3333, 0x4366], &[0x6643, 0x3333], &[0x3333, 0x6643]],
        ),
        (
            "u64",
            "n=72623859790382850",
            [
                &[0x0102, 0x0304, 0x0506, 0x0708],
                &[0x0708, 0x0506, 0x0304, 0x0102],
                &[0x0201, 0x0403, 0x0605, 0x0807],
                &[0x0807, 0x0605, 0x0403, 0x0201],
            ],
        ),
        (
            "i64",
            "n=-3",
            [
                &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD],
                &[0xFFFD, 0xFFFF, 0xFFFF, 0xFFFF],
                &[0xFFFF, 0xFFFF, 0xFFFF, 0xFDFF],
                &[0xFDFF, 0xFFFF, 0xFFFF, 0xFFFF],
            ],
        ),
        (
            "f64",
            "n=-273.15",
            [
                &[0xC071, 0x1266, 0x6666, 0x6666],
                &[0x6666, 0x6666, 0x1266, 0xC071],
                &[0x71C0, 0x6612, 0x6666, 0x6666],
                &[0x6666, 0x6666, 0x6612, 0x71C0],
            ],
        ),
        ("bcd16", "n=1234", [&[0x1234], &[0x1234], &[0x3412], &[0x3412]]),
        ("bcd32", "n=12345678", [&[0x1234, 0x5678], &[0x5678, 0x1234], &[0x3412, 0x7856], &[0x7856, 0x3412]]),
        ("u8", "n=200", [&[0x12C8], &[0x12C8], &[0xC812], &[0xC812]]),
        ("i8", "n=-56", [&[0x12C8], &[0x12C8], &[0xC812], &[0xC812]]),
        ("sm8", "n=-72", [&[0x12C8], &[0x12C8], &[0xC812], &[0xC812]]),
        ("bool", "f=true", [&[0x0100], &[0x0100], &[0x0001], &[0x0001]]),
        // the bytes of a text stand two in a register; its words are never turned round
        (
            "string",
            "t=\"AB 1\"",
            [&[0x4142, 0x2031], &[0x4142, 0x2031], &[0x4241, 0x3120], &[0x4241, 0x3120]],
        ),
        (
            "hex",
            "t=\"41422031\"",
            [&[0x4142, 0x2031], &[0x4142, 0x2031], &[0x4241, 0x3120], &[0x4241, 0x3120]],
        ),
    ];
    let mut visited = 0;
    for (kind, said_of, orders) in table {
        for (order, words) in ["ABCD", "CDAB", "BADC", "DCBA"].into_iter().zip(orders) {
            let length = if matches!(kind, "string" | "hex") { ", length = 2" } else { "" };
            let name = &said_of[..1];
            let read = format!("type = \"{kind}\", byte_order = \"{order}\"{length}");
            assert_eq!(said(&profile(&point(name, &read, "")), &holding(words)), said_of, "{kind} {order}");
            visited += 1;
        }
    }
    assert_eq!(visited, 64);
}

#[test]
fn a_value_and_every_way_to_be_none() {
    let values = "values = { 0 = \"a\", 1 = \"b\" }";
    // fact, point, read, further keys, words, reading
    type Fact<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [u16], &'a str);
    let table: [Fact<'_>; 38] = [
        ("scale", "n", "type = 'u16'", "scale = 0.1", &[2201], "n=220.1"),
        ("scale and offset", "n", "type = 'i16'", "scale = 0.5\noffset = -40.0", &[0xFFFE], "n=-41"),
        ("a negative scale leaves no minus zero", "n", "type = 'u16'", "scale = -1.0", &[0], "n=0"),
        ("absent before scale", "n", "type = 'u16'", "absent = [0xFFFF]\nscale = 0.1", &[0xFFFF], "n=absent"),
        ("absent is a pattern: i16", "n", "type = 'i16'", "absent = [0xFFFF]", &[0xFFFF], "n=absent"),
        ("absent as the negative number", "n", "type = 'i16'", "absent = [-32768]", &[0x8000], "n=absent"),
        (
            "0x8000 of a temperature probe",
            "n",
            "type = 'i16'",
            "absent = [0x8000]\nscale = 0.1",
            &[0x8000],
            "n=absent",
        ),
        (
            "next to absent is a value",
            "n",
            "type = 'i16'",
            "absent = [0x8000]\nscale = 0.1",
            &[0xFF90],
            "n=-11.2",
        ),
        ("absent of 32 bits", "n", "type = 'u32'", "absent = [0xFFFFFFFF]", &[0xFFFF, 0xFFFF], "n=absent"),
        ("absent after bits", "n", "type = 'u16', bits = '8..11'", "absent = [0]", &[0xF0FF], "n=absent"),
        ("absent float", "n", "type = 'f32'", "absent = [-999.9]", &[0xC479, 0xF99A], "n=absent"),
        (
            "absent NaN, where a maker means it",
            "n",
            "type = 'f32'",
            "absent = [nan]",
            &[0x7FC0, 0],
            "n=absent",
        ),
        ("NaN otherwise", "n", "type = 'f32'", "", &[0x7FC0, 0], "n=decode_error"),
        ("infinity", "n", "type = 'f32'", "", &[0x7F80, 0], "n=decode_error"),
        ("minus infinity in 64 bits", "n", "type = 'f64'", "", &[0xFFF0, 0, 0, 0], "n=decode_error"),
        (
            "scaled beyond all numbers",
            "n",
            "type = 'f64'",
            "scale = 10.0",
            &[0x7FEF, 0xFFFF, 0, 0],
            "n=decode_error",
        ),
        ("lowest of the range", "n", "type = 'i16'", "range = [-9.0, 99.0]", &[0xFFF7], "n=-9"),
        ("below the range", "n", "type = 'i16'", "range = [-9.0, 99.0]", &[0xFFF6], "n=out_of_range"),
        ("above the range", "n", "type = 'i16'", "range = [-9.0, 99.0]", &[100], "n=out_of_range"),
        ("bits of the middle", "n", "type = 'u16', bits = '4..7'", "", &[0xFF7F], "n=7"),
        ("bits with a sign", "n", "type = 'i16', bits = '4..7'", "", &[0x00F0], "n=-1"),
        ("the high byte, signed", "n", "type = 'i8', bits = '8..15'", "", &[0xFE01], "n=-2"),
        ("the high byte, sign and magnitude", "n", "type = 'sm8', bits = '8..15'", "", &[0x8501], "n=-5"),
        ("the low byte, sign and magnitude", "n", "type = 'sm8', bits = '0..7'", "", &[0x8519], "n=25"),
        ("sign and no magnitude", "n", "type = 'sm8'", "", &[0x0080], "n=0"),
        ("one fault bit of two registers", "f", "type = 'u32', bits = '20'", "", &[0x0010, 0], "f=true"),
        ("all other fault bits", "f", "type = 'u32', bits = '20'", "", &[0xFFEF, 0xFFFF], "f=false"),
        ("a BCD digit above nine", "n", "type = 'bcd16'", "", &[0x12A4], "n=decode_error"),
        ("absent BCD filler", "n", "type = 'bcd16'", "absent = [0xFFFF]", &[0xFFFF], "n=absent"),
        ("absent BCD number", "n", "type = 'bcd16'", "absent = [9999]", &[0x9999], "n=absent"),
        ("a word", "c", "type = 'u16'", values, &[1], "c=\"b\""),
        ("no such word", "c", "type = 'u16'", values, &[2], "c=decode_error"),
        (
            "a flag by its dictionary",
            "f",
            "type = 'u16'",
            "values = { 1 = true, 0x02 = false }",
            &[2],
            "f=false",
        ),
        ("no such flag", "f", "type = 'u16'", "values = { 1 = true, 2 = false }", &[0], "f=decode_error"),
        ("any bit makes a flag", "f", "type = 'u16'", "", &[0x0400], "f=true"),
        (
            "NULs and blanks after a text",
            "t",
            "type = 'string', length = 3",
            "",
            &[0x4F4B, 0x2000, 0],
            "t=\"OK\"",
        ),
        ("bytes that are no text", "t", "type = 'string', length = 1", "", &[0xFFFE], "t=decode_error"),
        ("a number in ASCII", "n", "type = 'decimal', length = 3", "", &[0x202D, 0x3031, 0x2E35], "n=-1.5"),
    ];
    for (fact, name, read, rest, words, expected) in table {
        assert_eq!(said(&profile(&point(name, read, rest)), &holding(words)), expected, "{fact}");
    }
}

#[test]
fn a_point_is_read_only_from_registers_that_are_all_there() {
    let profile = profile(
        "[modbus]\n[[point]]\nname = \"n\"\nread = { table = \"holding\", address = 10, type = \"u32\" }\n\
         [[point]]\nname = \"m\"\nread = { table = \"input\", address = 10, type = \"u16\" }\n\
         [[point]]\nname = \"f\"\nread = { table = \"coil\", address = 65535 }\n",
    );
    let registers = |table, first, words: &[u16]| Raw::Registers { table, first, words: words.to_vec() };
    for (fact, raw, expected) in [
        ("both registers", registers(Table::Holding, 10, &[0, 7]), "n=7"),
        ("among others", registers(Table::Holding, 8, &[9, 9, 0, 7, 9]), "n=7"),
        ("the second is missing", registers(Table::Holding, 10, &[0]), ""),
        ("the first is missing", registers(Table::Holding, 11, &[7]), ""),
        ("another table", registers(Table::Input, 10, &[5, 6]), "m=5"),
        ("the last coil", Raw::Bits { table: Table::Coil, first: 65535, bits: vec![true] }, "f=true"),
        (
            "coils of the other table",
            Raw::Bits { table: Table::Discrete, first: 65535, bits: vec![true] },
            "",
        ),
        ("more registers than there can be", registers(Table::Holding, 65535, &[1; 200]), ""),
        ("a frame", Raw::Frame { frame: 0, bytes: vec![1, 2, 3].into() }, ""),
        ("a message", Raw::Payload { bytes: b"{}".to_vec().into(), retained: false }, ""),
    ] {
        assert_eq!(said(&profile, &raw), expected, "{fact}");
    }
    let of_two = profile.decode(&registers(Table::Holding, 10, &[0, 7]), &[PointIx(1), PointIx(999)]);
    assert_eq!(of_two.samples, vec![], "only what it was about, and nothing that is not there");
}

#[test]
fn register_numbers_as_manuals_write_them() {
    for (fact, base, address, first) in [
        ("plain", 0, "16", 16),
        ("hex", 0, "0x0010", 16),
        ("counted from 1", 1, "17", 16),
        ("five digits", 0, "\"40017\"", 16),
        ("five digits are counted from 1 whatever the base", 1, "\"40017\"", 16),
        ("six digits", 0, "\"465536\"", 65535),
    ] {
        let text = format!(
            "[modbus]\naddress_base = {base}\n[[point]]\nname = \"n\"\n\
             read = {{ table = \"holding\", address = {address}, type = \"u16\" }}\n"
        );
        let raw = Raw::Registers { table: Table::Holding, first, words: vec![5] };
        assert_eq!(said(&profile(&text), &raw), "n=5", "{fact}");
    }
}
