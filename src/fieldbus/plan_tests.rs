use super::*;
use crate::fieldbus::fixtures::serial_link;

fn all_wanted(reads: &[(Read, Duration)]) -> Vec<Wanted<'_>> {
    let numbered = (0u16..).zip(reads);
    numbered.map(|(ix, (read, every))| Wanted { point: PointIx(ix), read, every: *every }).collect()
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
