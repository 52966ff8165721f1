mod old_format;

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Cell, Column,
    batch::Batch,
    block::{Block, Gathering, SPAN_MAX_MS},
    cell::Kind,
    chain::Reaper,
    tail::{self, Link, SLOT_BYTES, Slot, Tail},
    tally::{Calendar, Span, Tallies},
};
use crate::domain::{PointIx, Quality, Sample, Value};

type Samples = Vec<(PointIx, Sample)>;
type Rows = Vec<(i64, Samples)>;

/// Rows as they come out again.
#[derive(Default)]
struct Sheaf(Rows);

impl Reaper for Sheaf {
    fn row(&mut self, at_ms: i64, points: &[u16]) {
        self.0.push((at_ms, Vec::with_capacity(points.len())));
    }

    fn cell(&mut self, point: u16, cell: Cell, column: &Column) {
        let sample = cell.sample(|| column.word(cell.number)).expect("a sample of ours");
        self.0.last_mut().expect("a row first").1.push((PointIx(point), sample));
    }
}

fn batch(rows: &[(i64, Samples)]) -> Batch {
    let mut batch = Batch::default();
    rows.iter().for_each(|(at_ms, samples)| batch.push(0, *at_ms, samples));
    batch
}

/// Into the tail, `commit` rows at a time; what its slots hold then.
fn into_tail(rows: &Rows, commit: usize) -> Vec<Slot> {
    let mut tail = Tail::after(1, 0, 0);
    let mut slots: Vec<Slot> = Vec::new();
    for some in rows.chunks(commit.max(1)) {
        let written = tail.put(&batch(some), &[7]);
        slots.retain(|slot| written.iter().all(|new| new.slot != slot.slot));
        slots.extend(written.clone());
        tail.kept(written);
    }
    slots
}

/// What the tail gives back to `reaper`; how many frames and sections were not to be read.
fn out_of_tail(slots: &[Slot], reaper: &mut impl Reaper) -> (u64, u64) {
    let (mut link, mut frames, mut sections) = (Link::default(), 0, 0);
    for slot in slots {
        frames += tail::sections(&slot.padded(), |section| {
            assert_eq!(section.series, 7);
            sections += u64::from(link.take(section, reaper).is_err());
        });
    }
    (frames, sections)
}

fn into_blocks(slots: &[Slot]) -> Vec<Vec<u8>> {
    struct Splitting(Gathering, Vec<Vec<u8>>);
    impl Reaper for Splitting {
        fn row(&mut self, at_ms: i64, points: &[u16]) {
            if !self.0.takes(at_ms, points.len()) {
                self.1.extend(self.0.pack().map(|packed| packed.bytes));
            }
            self.0.row(at_ms, points);
        }
        fn cell(&mut self, point: u16, cell: Cell, column: &Column) {
            self.0.cell(point, cell, column);
        }
    }
    let mut blocks = Splitting(Gathering::default(), Vec::new());
    assert_eq!(out_of_tail(slots, &mut blocks), (0, 0));
    blocks.1.extend(blocks.0.pack().map(|packed| packed.bytes));
    blocks.1
}

type Flat = Vec<(i64, u16, Quality, Option<u64>, Option<Value>)>;

/// As `PartialEq`, but 0.0 is not -0.0, and no number is itself.
fn bits(at_ms: i64, point: PointIx, sample: &Sample) -> (i64, u16, Quality, Option<u64>, Option<Value>) {
    match sample.value() {
        Some(Value::Number(number)) => (at_ms, point.0, sample.quality(), Some(number.to_bits()), None),
        value => (at_ms, point.0, sample.quality(), None, value.cloned()),
    }
}

fn flat(rows: &Rows) -> Flat {
    let row = |(at_ms, samples): &(i64, Samples)| -> Flat {
        samples.iter().map(|(point, sample)| bits(*at_ms, *point, sample)).collect()
    };
    rows.iter().flat_map(row).collect()
}

fn read(blocks: &[Vec<u8>], wanted: impl Fn(PointIx) -> bool + Copy) -> Flat {
    let mut found = Vec::new();
    for block in blocks {
        let block = Block::open(block).unwrap();
        block
            .read(wanted, (i64::MIN, i64::MAX), |at, point, sample| found.push(bits(at, point, &sample)))
            .unwrap();
    }
    found
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (2000i64..2010, 0..4i32).prop_map(|(m, e)| m as f64 / 10f64.powi(e)),
        4 => (0u16..40).prop_map(|m| f64::from(m) * 0.1),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => any::<f32>().prop_map(f64::from),
        2 => (-9000i32..400_000, 1..7i32).prop_map(|(m, e)| f64::from((f64::from(m) / 10f64.powi(e)) as f32)),
        1 => any::<i64>().prop_map(|m| m as f64),
        1 => Just(-0.0),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let value = prop_oneof![
        6 => number().prop_map(Value::Number),
        2 => any::<bool>().prop_map(Value::Flag),
        2 => "[a-d困]{0,3}".prop_map(|text| Value::Text(text.into())),
    ];
    prop_oneof![
        8 => value.clone().prop_map(Sample::good),
        1 => value.prop_map(Sample::stale),
        1 => prop::sample::select(&Quality::ALL[2..]).prop_map(Sample::without_value),
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    let points = prop_oneof![
        3 => Just(vec![0u16, 1, 2, 3]),
        1 => Just(vec![9, 4]),
        1 => prop::collection::vec(0u16..300, 0..5),
    ];
    let row = (0i64..3000, points, prop::collection::vec(sample(), 5));
    (prop::collection::vec(row, 0..60), prop_oneof![Just(0i64), -90_000_000_000i64..2_000_000_000_000])
        .prop_map(|(rows, mut at_ms)| {
            let row = |(gap, points, samples): (i64, Vec<u16>, Samples0)| {
                at_ms += gap - 300; // sometimes backwards
                (at_ms, points.into_iter().map(PointIx).zip(samples).collect())
            };
            rows.into_iter().map(row).collect()
        })
}

type Samples0 = Vec<Sample>;

proptest! {
    #[test]
    fn what_goes_through_tail_and_blocks_comes_out_to_the_bit(rows in rows(), commit in 1usize..20) {
        let slots = into_tail(&rows, commit);
        let mut sheaf = Sheaf::default();
        prop_assert_eq!(out_of_tail(&slots, &mut sheaf), (0, 0));
        prop_assert_eq!(flat(&sheaf.0), flat(&rows));
        let blocks = into_blocks(&slots);
        prop_assert_eq!(read(&blocks, |_| true), flat(&rows));
        let one: Flat = flat(&rows).into_iter().filter(|reading| reading.1 == 2).collect();
        prop_assert_eq!(read(&blocks, |point| point.0 == 2), one);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(block) = Block::open(&bytes) {
            let mut count = 0;
            let read = block.read(|_| true, (i64::MIN, i64::MAX), |_, _, _| count += 1);
            prop_assert!(read.is_err() || count <= super::SAMPLES_MAX);
        }
        let (mut link, mut sheaf) = (Link::default(), Times::default());
        tail::sections(&bytes, |section| {
            if link.take(section, &mut sheaf).is_ok() {
                assert_eq!(sheaf.0.last(), sheaf.0.last());
            }
        });
    }

    #[test]
    fn damage_costs_what_it_hits_and_nothing_else(
        rows in rows(), commit in 1usize..8, at in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        let mut slots = into_tail(&rows, commit);
        let slot = at.index(slots.len().max(1));
        prop_assume!(slots.get(slot).is_some_and(|slot| !slot.bytes.is_empty()));
        let byte = at.index(slots[slot].bytes.len());
        slots[slot].bytes[byte] ^= 1 << bit;
        let mut sheaf = Sheaf::default();
        let (frames, _) = out_of_tail(&slots, &mut sheaf);
        prop_assert!(frames > 0, "it is noticed");
        let all = flat(&rows);
        let left = flat(&sheaf.0);
        prop_assert!(left.len() <= all.len());
        prop_assert_eq!(&left[..], &all[..left.len()], "what was before is there; what follows is not made up");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn every_number_in_every_kind_is_itself_to_the_bit(
        value in prop_oneof![number(), any::<u64>().prop_map(f64::from_bits), prop::sample::select(&SPECIAL[..])],
        usual in 0u64..64,
    ) {
        let Some(usual) = Kind::checked(usual) else { return Ok(()) };
        let (plain, _) = Cell::plain(&Sample::good(Value::Number(value)));
        let cell = plain.shortened(usual);
        prop_assert_eq!(cell.value().map(f64::to_bits), Some(value.to_bits()), "{:?}", cell);
        prop_assert!(cell.kind.is_good() && Kind::checked(cell.kind.bits()) == Some(cell.kind));
    }
}

/// Where sign, size or class change.
const SPECIAL: [f64; 14] = [
    0.0,
    -0.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MIN,
    f64::MAX,
    f64::MIN_POSITIVE,
    5e-324,
    9_223_372_036_854_775_807.0,
    -9_223_372_036_854_775_808.0,
    9_007_199_254_740_993.0,
    1e15,
    -999_999.9,
];

#[test]
fn a_length_that_was_damaged_to_nothing_is_noticed() {
    let slots = into_tail(&seconds(3, |n, _| n as f64), 1);
    let mut padded = slots[0].padded();
    assert_eq!(super::tail::sections(&padded, |_| {}), 0, "zeros follow the last frame");
    padded[..4].fill(0);
    assert_eq!(super::tail::sections(&padded, |_| {}), 1);
}

#[derive(Default)]
struct Times(Vec<i64>);

impl Reaper for Times {
    fn row(&mut self, at_ms: i64, _points: &[u16]) {
        self.0.push(at_ms);
    }
    fn cell(&mut self, _point: u16, _cell: Cell, _column: &Column) {}
}

fn seconds(count: i64, value: impl Fn(i64, u16) -> f64) -> Rows {
    let row = |n: i64| {
        let samples = (0..50).map(|point| (PointIx(point), Sample::good(Value::Number(value(n, point)))));
        (1_790_000_000_000 + n * 1000 + (n * 7919) % 5, samples.collect())
    };
    (0..count).map(row).collect()
}

fn chance(n: i64, point: u16) -> u64 {
    let mut x = (n as u64) << 16 | u64::from(point);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// How many bytes a reading takes, in the tail and in a block of twenty minutes.
#[test]
fn readings_take_as_many_bytes_as_they_have_news() {
    let level = |n: i64, point: u16| (0..n / 40).map(|n| chance(n, point) % 3).sum::<u64>() as f64;
    for (fact, value, tail_most, block_most) in [
        ("nothing changes", &(|_, point| f64::from(point) * 0.1) as &dyn Fn(i64, u16) -> f64, 0.11, 0.03),
        ("one of a hundred changes", &|n, point| ((n + i64::from(point)) / 100) as f64, 0.22, 0.04),
        (
            "a step of up to ±2 each second",
            &|n, p| (2000 + (n / 2) % 2 + chance(n, p) as i64 % 2) as f64,
            0.42,
            0.37,
        ),
        ("tenths, slowly", &|n, point| (2300.0 + level(n, point)) * 0.1, 0.12, 0.09),
        ("noise of ±8", &|n, point| (3000 + chance(n, point) % 17) as f64, 0.80, 0.70),
        (
            "floats with noise",
            &|n, point| f64::from(230.0f32 + (chance(n, point) % 100) as f32 * 0.013),
            2.7,
            2.6,
        ),
        (
            "a meter's floats: tenths, with noise of ±8",
            &|n, point| f64::from((f64::from(2300 + (chance(n, point) % 17) as i32) / 10.0) as f32),
            0.80,
            0.70,
        ),
    ] {
        let rows = seconds(1200, value);
        let slots = into_tail(&rows, 8); // as large as the frames of many devices
        let readings = (rows.len() * 50) as f64;
        let tail: usize = slots.iter().map(|slot| slot.bytes.len()).sum();
        let blocks = into_blocks(&slots);
        let packed: usize = blocks.iter().map(Vec::len).sum();
        let (tail, packed) = (tail as f64 / readings, packed as f64 / readings);
        println!("{fact}: {tail:.3} bytes a reading in the tail, {packed:.3} in blocks");
        assert!(tail <= tail_most && packed <= block_most, "{fact}: {tail:.3} {packed:.3}");
        assert_eq!(read(&blocks, |_| true).len(), rows.len() * 50, "{fact}");
    }
}

#[test]
fn what_is_longer_than_a_slot_has_one_of_its_own() {
    let text = |n: usize| Sample::good(Value::Text(Arc::from(format!("{n}{}", "困".repeat(300)))));
    let rows: Rows = (0..6)
        .map(|n| (n, (0..9).map(|p| (PointIx(p), text(n as usize * 9 + usize::from(p)))).collect()))
        .collect();
    let slots = into_tail(&rows, 1);
    assert!(slots.iter().any(|slot| slot.padded().len() > SLOT_BYTES), "a row of nine long texts");
    let mut sheaf = Sheaf::default();
    assert_eq!(out_of_tail(&slots, &mut sheaf), (0, 0));
    assert_eq!(flat(&sheaf.0), flat(&rows));
    let numbers: Vec<_> = slots.iter().map(|slot| (slot.slot, slot.seq)).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).map(|n| (n, n)).collect::<Vec<_>>());
}

#[test]
fn a_block_ends_where_time_leaps() {
    let rows: Rows = [0, 1000, SPAN_MAX_MS + 2000, SPAN_MAX_MS + 3000, 500]
        .map(|at_ms| (at_ms, vec![(PointIx(0), Sample::good(Value::Number(at_ms as f64)))]))
        .to_vec();
    let blocks = into_blocks(&into_tail(&rows, 2));
    assert_eq!(blocks.len(), 3);
    assert_eq!(read(&blocks, |_| true), flat(&rows));
}

#[test]
fn only_good_readings_are_summed_up_each_in_its_hour() {
    let zone = jiff::tz::TimeZone::get("Asia/Kolkata").unwrap(); // half an hour off
    let half: i64 = 1_800_000;
    let number = |n| Sample::good(Value::Number(n));
    let rows: Rows = [
        (half, number(4.0), Sample::good(Value::Flag(true))),
        (half + 1, Sample::stale(Value::Number(99.0)), Sample::good(Value::Flag(false))),
        (half + 2, number(1.0), Sample::without_value(Quality::CommFail)),
        (half + 3_600_000, number(-5.5), Sample::good(Value::Text("open".into()))),
        (half + 3, number(2.5), Sample::good(Value::Flag(false))),
    ]
    .map(|(at, one, two)| (at, vec![(PointIx(0), one), (PointIx(3), two)]))
    .to_vec();
    let mut tallies = Tallies::new(Calendar(zone), Span::Hour);
    assert_eq!(out_of_tail(&into_tail(&rows, 2), &mut tallies), (0, 0));
    let hours = tallies.take();
    assert_eq!(hours.keys().copied().collect::<Vec<_>>(), [half, half + 3_600_000]);
    let [number, flag] = [&hours[&half][0], &hours[&half][3]];
    assert_eq!((number.count, number.range, number.total), (3, Some((1.0, 4.0)), Some(7.5)));
    assert_eq!(number.last, Some(Value::Number(2.5)));
    assert_eq!((flag.count, flag.range, flag.total), (3, None, Some(1.0)));
    let later = &hours[&(half + 3_600_000)];
    assert_eq!(
        (later[3].count, later[3].total, &later[3].last),
        (1, None, &Some(Value::Text("open".into())))
    );
    assert_eq!(later[1].count, 0);
}
