use proptest::prelude::*;

use super::*;
use crate::{
    domain::Table::*,
    fieldbus::{fixtures::modbus_link, serial::config::Settings},
};

type Points = Vec<(Table, u16, u16, u64)>;
type Blocks = Vec<(Table, u16, u16, Vec<u16>)>;

fn serial(baud: u32) -> LineCost {
    LineCost::serial(&Settings {
        port: "/dev/ttyS0".into(),
        baud,
        framing: "8N1".parse().unwrap(),
        rs485: None,
    })
}

fn planned(points: &[(Table, u16, u16, u64)], modbus: ModbusLink, line: &LineCost) -> Vec<Request> {
    let reads = points.iter().map(|&(table, address, span, every)| {
        (Read::Modbus { table, address, span }, Duration::from_millis(every))
    });
    let reads: Vec<(Read, Duration)> = reads.collect();
    let numbered = (0u16..).zip(&reads);
    let wanted: Vec<Wanted<'_>> =
        numbered.map(|(ix, (read, every))| Wanted { point: PointIx(ix), read, every: *every }).collect();
    blocks(&wanted, &Link::Modbus(modbus.clone()), &modbus, line)
}

fn place(ask: &Ask) -> (Table, u16, u16) {
    match *ask {
        Ask::Block { table, first, count } => (table, first, count),
        Ask::Frame { .. } => unreachable!("Modbus has no frames"),
    }
}

/// Points as `(table, address, span, milliseconds)` to requests as `(table, first, count, points)`.
fn plan(points: &[(Table, u16, u16, u64)], max_registers: u16, max_gap: u16) -> Blocks {
    let link = ModbusLink { max_registers, max_gap, ..modbus_link() };
    shown(planned(points, link, &serial(9600)))
}

fn shown(requests: Vec<Request>) -> Blocks {
    let shown = requests.iter().map(|request| {
        let (table, first, count) = place(&request.ask);
        (table, first, count, request.points.iter().map(|point| point.0).collect())
    });
    shown.collect()
}

#[test]
fn points_close_together_go_in_one_request() {
    let cases: Vec<(&str, Points, u16, u16, Blocks)> = vec![
        ("nothing", vec![], 64, 0, vec![]),
        (
            "side by side",
            vec![(Holding, 10, 1, 500), (Holding, 11, 2, 500)],
            64,
            0,
            vec![(Holding, 10, 3, vec![0, 1])],
        ),
        (
            "in any order",
            vec![(Holding, 12, 1, 500), (Holding, 10, 2, 500)],
            64,
            0,
            vec![(Holding, 10, 3, vec![1, 0])],
        ),
        (
            "twice the same register",
            vec![(Holding, 5, 1, 500), (Holding, 5, 1, 500)],
            64,
            0,
            vec![(Holding, 5, 1, vec![0, 1])],
        ),
        (
            "one inside the other",
            vec![(Holding, 5, 4, 500), (Holding, 6, 1, 500)],
            64,
            0,
            vec![(Holding, 5, 4, vec![0, 1])],
        ),
        (
            "a gap as wide as allowed",
            vec![(Input, 0, 1, 500), (Input, 9, 1, 500)],
            64,
            8,
            vec![(Input, 0, 10, vec![0, 1])],
        ),
        (
            "a wider gap",
            vec![(Input, 0, 1, 500), (Input, 10, 1, 500)],
            64,
            8,
            vec![(Input, 0, 1, vec![0]), (Input, 10, 1, vec![1])],
        ),
        (
            "another table",
            vec![(Holding, 0, 1, 500), (Input, 1, 1, 500)],
            64,
            8,
            vec![(Holding, 0, 1, vec![0]), (Input, 1, 1, vec![1])],
        ),
        (
            "another period",
            vec![(Holding, 0, 1, 500), (Holding, 1, 1, 900)],
            64,
            8,
            vec![(Holding, 0, 1, vec![0]), (Holding, 1, 1, vec![1])],
        ),
        (
            "too many for one",
            vec![(Holding, 0, 3, 500), (Holding, 3, 2, 500)],
            4,
            8,
            vec![(Holding, 0, 3, vec![0]), (Holding, 3, 2, vec![1])],
        ),
        ("a point is never split", vec![(Holding, 0, 4, 500)], 2, 0, vec![(Holding, 0, 4, vec![0])]),
        (
            "sixteen bits for a register",
            vec![(Coil, 0, 1, 500), (Coil, 31, 1, 500)],
            2,
            100,
            vec![(Coil, 0, 32, vec![0, 1])],
        ),
        (
            "one bit too many",
            vec![(Coil, 0, 1, 500), (Coil, 32, 1, 500)],
            2,
            100,
            vec![(Coil, 0, 1, vec![0]), (Coil, 32, 1, vec![1])],
        ),
        (
            "never more than the protocol allows",
            vec![(Holding, 0, 1, 500), (Holding, 125, 1, 500)],
            999,
            999,
            vec![(Holding, 0, 1, vec![0]), (Holding, 125, 1, vec![1])],
        ),
        (
            "the table's last register",
            vec![(Holding, 65534, 4, 500)],
            64,
            0,
            vec![(Holding, 65534, 2, vec![0])],
        ),
    ];
    for (fact, points, max_registers, max_gap, want) in cases {
        assert_eq!(plan(&points, max_registers, max_gap), want, "{fact}");
    }
}

#[test]
fn a_gap_is_read_along_only_where_that_is_cheaper() {
    // at 9600 baud one more request takes as long as 12 registers, at 115200 as long as 55: the silences do not shrink with the bytes
    let gap = |registers: u16| vec![(Holding, 0, 1, 500), (Holding, 1 + registers, 1, 500)];
    for (line, read_along, not) in [(serial(9600), 12, 13), (serial(115_200), 55, 56)] {
        let link = || ModbusLink { max_registers: 125, max_gap: 124, ..modbus_link() };
        let blocks = |registers| planned(&gap(registers), link(), &line).len();
        assert_eq!((blocks(read_along), blocks(not)), (1, 2), "{line:?}");
    }
    let link = ModbusLink { max_registers: 125, max_gap: 123, ..modbus_link() };
    assert_eq!(planned(&gap(123), link, &LineCost::tcp()).len(), 1, "a round trip is worth any gap");
}

#[test]
fn the_cheapest_cut_is_not_always_the_first_that_fits() {
    // 4 at once: taking all that fits leaves the long one alone and the last too
    let points = [(Holding, 0, 2, 500), (Holding, 2, 1, 500), (Holding, 4, 3, 500), (Holding, 7, 1, 500)];
    let want = vec![(Holding, 0, 3, vec![0, 1]), (Holding, 4, 4, vec![2, 3])];
    assert_eq!(plan(&points, 4, 8), want);
    // greedy would join 0 and 6 (a gap of 5) and then find 7 to 13 too far for the same request
    let points = [(Holding, 0, 1, 500), (Holding, 6, 1, 500), (Holding, 7, 7, 500)];
    assert_eq!(plan(&points, 8, 8), vec![(Holding, 0, 1, vec![0]), (Holding, 6, 8, vec![1, 2])]);
}

#[test]
fn slower_points_ride_along_where_that_is_cheaper_than_a_request_of_their_own() {
    let ride = |slow_at, slow_every, max_gap, line: &LineCost| {
        let link = ModbusLink { max_registers: 125, max_gap, ..modbus_link() };
        planned(&[(Holding, 0, 4, 500), (Holding, slow_at, 1, slow_every)], link, line)
    };
    let line = serial(9600);
    let periods =
        |requests: Vec<Request>| requests.iter().map(|request| request.every.as_millis()).collect::<Vec<_>>();
    for (fact, at, every, gap, want) in [
        ("the next register, half as often", 4, 1000, 8, vec![500]),
        ("a register of the block, four times less often", 2, 2000, 8, vec![500]),
        ("five times less often: it would be read and kept too often", 2, 2500, 8, vec![500, 2500]),
        ("out of step with the faster ones", 4, 900, 8, vec![500, 900]),
        ("too far for what it saves", 11, 1000, 8, vec![500, 1000]),
        ("farther than the product allows", 5, 1000, 0, vec![500, 1000]),
    ] {
        assert_eq!(periods(ride(at, every, gap, &line)), want, "{fact}");
    }
    let three = [(Holding, 0, 1, 500), (Holding, 1, 1, 1000), (Holding, 2, 1, 2000), (Holding, 3, 1, 4000)];
    let link = ModbusLink { max_gap: 8, ..modbus_link() };
    let want = vec![(Holding, 0, 3, vec![0, 1, 2]), (Holding, 3, 1, vec![3])];
    assert_eq!(shown(planned(&three, link, &line)), want, "nothing is read more than four times too often");
}

#[test]
fn blocks_begin_and_end_where_the_product_wants() {
    let aligned = |points: &[(Table, u16, u16, u64)], align, max_registers| {
        shown(planned(
            points,
            ModbusLink { align, max_registers, max_gap: 8, ..modbus_link() },
            &serial(9600),
        ))
    };
    for (fact, points, align, most, want) in [
        ("one register", vec![(Holding, 5, 1, 500)], 2, 64, vec![(Holding, 4, 2, vec![0])]),
        ("across a step", vec![(Holding, 5, 2, 500)], 2, 64, vec![(Holding, 4, 4, vec![0])]),
        ("the last register", vec![(Input, 65535, 1, 500)], 4, 64, vec![(Input, 65532, 4, vec![0])]),
        ("bits stand as they are", vec![(Coil, 5, 1, 500)], 2, 64, vec![(Coil, 5, 1, vec![0])]),
        (
            "with its step it is too long",
            vec![(Holding, 1, 2, 500), (Holding, 4, 1, 500)],
            2,
            5,
            vec![(Holding, 0, 4, vec![0]), (Holding, 4, 2, vec![1])],
        ),
    ] {
        assert_eq!(aligned(&points, align, most), want, "{fact}");
    }
}

/// What the plan was before it knew the line: in order, each block as long as it can be.
fn greedy(points: &[Stretch], planner: &Planner<'_>) -> Duration {
    let mut cost = Duration::ZERO;
    let mut rest = points;
    while let Some(first) = rest.first() {
        let (taken, to) = planner.ends(rest).last().expect("a point alone is a block");
        cost += planner.cost(first.from, to);
        rest = &rest[taken..];
    }
    cost
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(vec![Coil, Discrete, Holding, Input])
}

fn points() -> impl Strategy<Value = Points> {
    let near_the_end = prop_oneof![4 => 0u16..120, 1 => 65_480u16..=65_535];
    let every = prop::sample::select(vec![250, 500, 1000, 1500, 2000, 60_000]);
    prop::collection::vec((table(), near_the_end, 1u16..5, every), 1..40)
}

fn product() -> impl Strategy<Value = ModbusLink> {
    let align = prop::sample::select(vec![1u16, 2, 4]);
    (8u16..125, 0u16..20, align).prop_map(|(max_registers, max_gap, align)| ModbusLink {
        max_registers,
        max_gap,
        align,
        ..modbus_link()
    })
}

fn line() -> impl Strategy<Value = LineCost> {
    prop::sample::select(vec![serial(2400), serial(9600), serial(115_200), LineCost::tcp()])
}

/// `(first, end)` of what is asked; of a point.
fn asked(request: &Request) -> (u32, u32) {
    let (_, first, count) = place(&request.ask);
    (u32::from(first), u32::from(first) + u32::from(count))
}

fn wanted_at(&(_, address, span, _): &(Table, u16, u16, u64)) -> (u32, u32) {
    (u32::from(address), (u32::from(address) + u32::from(span)).min(TABLE_END))
}

proptest! {
    #[test]
    fn every_point_is_read_whole_once_and_often_enough(points in points(), link in product(), line in line()) {
        let requests = planned(&points, link.clone(), &line);
        let mut seen = vec![0; points.len()];
        for request in &requests {
            let (table, _, count) = place(&request.ask);
            let (first, end) = asked(request);
            let bit = matches!(table, Coil | Discrete);
            let (most, align) = if bit { (16 * u32::from(link.max_registers), 1) } else { (link.max_registers.into(), link.align) };
            prop_assert!(u32::from(count) <= most && end <= TABLE_END && !request.points.is_empty());
            prop_assert!(first.is_multiple_of(align.into()) && count.is_multiple_of(align));
            let mut reached = first + u32::from(align);
            for point in request.points.iter() {
                let wanted = &points[usize::from(point.0)];
                let (from, to) = wanted_at(wanted);
                let every = Duration::from_millis(wanted.3);
                seen[usize::from(point.0)] += 1;
                prop_assert!(wanted.0 == table && first <= from && to <= end, "another place");
                prop_assert!(from <= reached + u32::from(link.max_gap), "a gap of {}", from - reached);
                prop_assert!(request.every <= every && every.as_nanos().is_multiple_of(request.every.as_nanos()));
                prop_assert!(every <= request.every * MOST_TIMES_TOO_OFTEN);
                reached = reached.max(to);
            }
        }
        prop_assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
    }

    #[test]
    fn the_plan_is_never_dearer_than_simpler_ones(points in points(), link in product(), line in line()) {
        let of = Link::Modbus(link.clone());
        let total = |requests: &[Request]| -> f64 {
            requests.iter().map(|r| line.exchange(&r.ask, &of).as_secs_f64() / r.every.as_secs_f64()).sum()
        };
        let (mut apart, mut in_order) = (0.0, 0.0);
        for table in [Coil, Discrete, Holding, Input] {
            let planner = Planner { table, of: &of, link: &link, line: &line };
            for every in [250, 500, 1000, 1500, 2000, 60_000] {
                let these = points.iter().filter(|point| (point.0, point.3) == (table, every));
                let mut these: Vec<Stretch> = these
                    .map(wanted_at)
                    .map(|(from, to)| Stretch { from, to, point: PointIx(0), every: Duration::from_millis(every) })
                    .collect();
                these.sort_unstable();
                let seconds = every as f64 / 1e3;
                apart += these.iter().map(|s| planner.cost(s.from, s.to).as_secs_f64() / seconds).sum::<f64>();
                in_order += greedy(&these, &planner).as_secs_f64() / seconds;
            }
        }
        let planned = total(&planned(&points, link.clone(), &line));
        prop_assert!(planned <= apart + 1e-9 && planned <= in_order + 1e-9, "{planned} > {apart} or {in_order}");
    }
}
