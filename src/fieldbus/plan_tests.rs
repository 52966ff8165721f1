use super::*;
use crate::{
    domain::Table::*,
    fieldbus::fixtures::{modbus_link, serial_link},
};

type Points = Vec<(Table, u16, u16, u64)>;
type Blocks = Vec<(Table, u16, u16, Vec<u16>)>;

/// Points as `(table, address, span, milliseconds)` to requests as `(table, first, count, points)`.
fn plan(points: &[(Table, u16, u16, u64)], max_registers: u16, max_gap: u16) -> Blocks {
    let reads = points.iter().map(|&(table, address, span, every)| {
        (Read::Modbus { table, address, span }, Duration::from_millis(every))
    });
    let reads: Vec<(Read, Duration)> = reads.collect();
    let link = ModbusLink { max_registers, max_gap, ..modbus_link() };
    blocks(&all_wanted(&reads), &link)
        .into_iter()
        .map(|request| match request.ask {
            Ask::Block { table, first, count } => {
                (table, first, count, request.points.iter().map(|point| point.0).collect())
            }
            Ask::Frame { .. } => unreachable!("Modbus has no frames"),
        })
        .collect()
}

fn all_wanted(reads: &[(Read, Duration)]) -> Vec<Wanted<'_>> {
    let numbered = (0u16..).zip(reads);
    numbered.map(|(ix, (read, every))| Wanted { point: PointIx(ix), read, every: *every }).collect()
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
fn serial_requests_are_asked_as_written_and_events_are_not() {
    let reads = [2, 1, 2].map(|frame| (Read::Serial { frame }, Duration::ZERO));
    let wanted = all_wanted(&reads);
    let asked = serial_requests(&wanted, &serial_link(2, 1));
    let asked: Vec<_> = asked.into_iter().map(|request| (request.ask, request.points.to_vec())).collect();
    let want = vec![(Ask::Frame { request: 0 }, vec![]), (Ask::Frame { request: 1 }, vec![PointIx(1)])];
    assert_eq!(asked, want);
    assert_eq!(points_in_frame(&wanted, 2).to_vec(), [PointIx(0), PointIx(2)], "the event's points");
}

const SECOND: Duration = Duration::from_secs(1);

/// Which slot is asked when, in milliseconds from the start, if each question takes `each`.
fn run(schedule: &mut Schedule, start: Instant, each: Duration, questions: usize) -> Vec<(u128, usize)> {
    let mut now = start;
    (0..questions)
        .map(|_| {
            let (due, slot) = schedule.next().unwrap();
            now = now.max(due);
            let asked = now;
            now += each;
            schedule.served(slot, now);
            ((asked - start).as_millis(), slot)
        })
        .collect()
}

#[test]
fn devices_of_one_period_are_spread_over_it_and_keep_their_beat() {
    let start = Instant::now();
    let mut schedule =
        Schedule::new(&[vec![SECOND], vec![SECOND, SECOND], vec![SECOND], vec![2 * SECOND]], start);
    let asked = run(&mut schedule, start, Duration::from_millis(1), 10);
    let want =
        [(0, 0), (1, 4), (333, 1), (334, 2), (666, 3), (1000, 0), (1333, 1), (1334, 2), (1666, 3), (2000, 0)];
    assert_eq!(asked, want);
}

#[test]
fn a_delay_makes_no_burst_and_an_overloaded_line_serves_in_turn() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&[vec![SECOND], vec![SECOND]], start);
    run(&mut schedule, start, Duration::ZERO, 2);
    // nothing for ten seconds, then both once, then on the old beat
    schedule.served(0, start + 10 * SECOND + SECOND / 10);
    schedule.served(1, start + 10 * SECOND + SECOND / 10);
    assert_eq!(schedule.next(), Some((start + 10 * SECOND + SECOND / 2, 1)));

    let mut schedule = Schedule::new(&[vec![SECOND / 10], vec![SECOND / 10], vec![SECOND / 10]], start);
    let turns: Vec<usize> = run(&mut schedule, start, SECOND, 9).into_iter().map(|(_, slot)| slot).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_long_period_is_asked_soon_after_the_start_and_a_zero_period_is_no_busy_loop() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut schedule = Schedule::new(&[vec![hour], vec![hour]], start);
    let asked: Vec<u128> =
        run(&mut schedule, start, Duration::ZERO, 4).into_iter().map(|(at, _)| at).collect();
    assert_eq!(asked, [0, 2500, 1_800_000, 3_600_000]);

    let mut schedule = Schedule::new(&[vec![Duration::ZERO]], start);
    schedule.served(0, start);
    assert_eq!(schedule.next(), Some((start + SHORTEST_PERIOD, 0)));
}

#[test]
fn a_paused_slot_waits_until_it_is_put_somewhere() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&[vec![SECOND]], start);
    schedule.pause(0);
    assert_eq!(schedule.next(), None);
    schedule.put_off(0, start + 5 * SECOND);
    schedule.put_off(0, start + 7 * SECOND);
    assert_eq!(schedule.next(), Some((start + 7 * SECOND, 0)));
}
