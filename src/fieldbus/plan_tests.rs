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

#[test]
fn a_poll_that_may_bring_an_alarm_goes_ahead() {
    let mut link = serial_link(2, 1);
    link.events[0].answers = vec![1];
    let reads = [0, 2].map(|frame| (Read::Serial { frame }, Duration::from_secs(1)));
    let profile = Profile::bare(Link::Serial(link), reads);
    let line = LineCost::tcp();
    let ahead = |watched: &[u16]| {
        let watched = watched.iter().copied().map(PointIx).collect();
        let requests = requests(&profile, &line);
        requests.iter().map(|request| is_for_alarms(&profile, request, &watched)).collect::<Vec<_>>()
    };
    assert_eq!(ahead(&[]), [false, false]);
    assert_eq!(ahead(&[0]), [true, false], "its own answer");
    assert_eq!(ahead(&[1]), [false, true], "the event that may come instead");
    assert_eq!(watched(&profile), BTreeSet::new(), "its class has no alarms");
}
