//! What a gateway of schema 2 wrote, byte for byte, is read as it was meant.

use super::*;

/// Forty rows of one device in five commits: whole numbers, tenths by both ways, floats, numbers that are none, flags, words, gaps; every eighth row is
/// short. Written by the program of commit 9a19536.
const SLOT: &str = concat!(
    "d00000006fc8b71f070009cb01ff9702608322060d103020ff8730ff3f84f9ff078c80fcffe6030000fcffff27f0ff610478832b73fbbf",
    "c1ff2f6d8106450cbafd7fc018c8ff3f1803f9ffcd876ad06cf87f17000060ff0f23c01c5a1d1ddadfdfff29a8febfebffffdfffc30c50",
    "be094baeab6bdbff0dfe7f83ff9f82eaff777e9c7500883ce4377ef7ffd369f7fe9f82eafffb6fd60120f2909ff8edff81c1010808b67b",
    "57c0fefcf9bf05aaffef07000000000000ff97d3eefd3f05d5ff47ffffffffffffff0dadfbff1454ff5f7e4cf1ff6e7803770383000000",
    "285277730701097fdbcef3ff1454ffdf7fb30e009187fcc4ef9cd6fd7f0aaaffef07000000000080fe37b4eeff5350fd7f340000000000",
    "0034dbcef387fa7ff4ffffffffffff778e81752360e7f97f0b54ffdffffffffffffffffbbf675bf7a1fabf1f000000000000fabf735af7",
    "99fa3f1a0000000000001ada791eaaffa3ffffffffffffbf01800000004ffb88780702097cdbba0fd5ffe5c714ffef8637703ba7751faa",
    "fffb6fd60120f2909ff80ded3c0fd5fffd000000000000d0ff660dacfb0858f70feaffcdffffffffffff2fb4f30cd5ffcb8f29fedf0d6f",
    "e0b6ff9fb6b987eafffd37eb001079c84ffceeff81c14f39cf50fdbf1f000000000000fa5f50dc43f5ff6800000000000028007d000000",
    "a6628921070309795bdc43f5ffe8ffffffffffffaf4ec93954ff2f3fa6f87f37bc817b0103715f01713fa8fe2f47a6f87f37bc013c9d92",
    "73a8fe1f0d000000000000058a7ba8fe1ffdffffffffffffc516f750fdbffc98e2ffddf0066efdff294bcea1fa7fffcd3a00441ef213bf",
    "fc3f30388a7ba8fedf0f000000000000fdbf003300000045da2d420704042f5b720ed5ffa3010000000000609506e20e01713fa8fe2f3f",
    "a6f87f37bc81dcd89273a8fedf7fb30e009187fcc4af00",
);

/// The same as a block of layout 1.
const BLOCK: &str = concat!(
    "0128211308000f01220222035504c602050b0627071aff970260832206fd7f690b342862d0ec610f7bd8c31ef6b0873decc11e6c62130b",
    "0001033e4040b0c06f20f01b08fc0602bf81406cdbb66ddbb66ddbb6254992244912fe0f61feff016320fffe6ff07bffdc3ebbcf3ebbcf",
    "eeb3fbf4d33dbb67f7ecd93d03fe0f61feff076320fffe6ff07bffdc3ebbcf3ebbcfeeb3fbf4d33dbb67f7ecd93d03fe3f6004e4ff371f",
    "aa41b3e1ff29a8fe3f05d5ffa7a0faff16a8fe3f05d5ffa7a0faff1454ff9f82eaff5350fd43fdbf05aa0fd5993a5487ea501daa1fd450",
    "0dd5500dd5500dd5832a5443355443355443f5a00a55febff9000000ffffef020000fcbfebffffffff9d1f671d00220ff98dfffffe9b75",
    "00883ce427fefffb010000000000c0ffff8ffeffffffffffffff971f53fcbf1bdec0fd7fffcd3a00441ef213fffffd000000000000d0ff",
    "ff47030000000000c0ffa3fffffffffffffffffdffffffffffffbffffff703000000000040ffff1f0d000000000000ff8ffeffffffffff",
    "ffff971f53fcbf1bdec0fd7fffcd3a00441ef213fffffd000000000000d0ffff37ffffffffffffffffe5c714ffef863770ffdf7fb30e00",
    "9187fcc4ff7f3f000000000000f4ffffd1000000000000f0ffe8ffffffffffffff7ff931c5ffbbe10ddcff972353fcbf1bde00fe7f3400",
    "0000000000fc3ffaffffffffffffff5f7e4cf1ff6e7803f7fffd37eb001079c84ffcfff703000000000040ffff1f0d000000000000ff2f",
    "3fa6f87f37bc81fcfffe9b7500883ce4277efdff13c88b17ff376cbc18fe1f468037b832b7ff8711600ead8eeeff610628df8425d7d5bd",
    "b5dd76efb6dbda258d49934e01fddfd0fbffc9ff0383ffdff0ff3ff97f60f0bfff9ffc3f30f803",
);

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn what_was_meant() -> Rows {
    let number = |value| Sample::good(Value::Number(value));
    let row = |n: i64| {
        let chosen = n as usize;
        let mut samples = vec![
            number(n as f64),
            number((2300 + n * 7 % 11) as f64 / 10.0),
            number((2300 + n * 7 % 11) as f64 * 0.1),
            number(f64::from(230.5f32 + n as f32 * 0.013)),
            number([f64::NAN, -0.0, f64::INFINITY, 1e300, f64::MIN_POSITIVE][chosen % 5]),
            Sample::good(Value::Flag(n % 7 == 0)),
            Sample::stale(Value::Text(["open", "shut", "困人"][chosen % 3].into())),
            if n % 10 == 3 { Sample::without_value(Quality::CommFail) } else { number(7.0) },
        ];
        samples.truncate(if n % 8 == 5 { 3 } else { 8 });
        (1_790_000_000_000 + n * 1000 + n % 3, (0..).map(PointIx).zip(samples).collect())
    };
    (0..40).map(row).collect()
}

#[test]
fn a_tail_of_schema_2_is_read_and_packed() {
    let slots = [Slot { slot: 1, seq: 1, bytes: bytes(SLOT) }];
    let mut sheaf = Sheaf::default();
    assert_eq!(out_of_tail(&slots, &mut sheaf), (0, 0));
    assert_eq!(flat(&sheaf.0), flat(&what_was_meant()));
    assert_eq!(read(&into_blocks(&slots), |_| true), flat(&what_was_meant()));
}

#[test]
fn a_block_of_layout_1_is_read() {
    let block = bytes(BLOCK);
    assert_eq!(block[0], 1);
    assert_eq!(read(&[block], |_| true), flat(&what_was_meant()));
}
