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
