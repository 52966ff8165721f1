use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rest(period: Duration) -> Beat {
    Beat { period, lane: Lane::Rest }
}

fn alarm(period: Duration) -> Beat {
    Beat { period, lane: Lane::Alarms }
}

fn next(schedule: &mut Schedule, now: Instant) -> (Instant, usize) {
    let mut at = now;
    loop {
        match schedule.next(at) {
            Next::Serve { slot, .. } => return (at, slot),
            Next::At(due) => at = due,
            Next::Nothing => panic!("nothing is due"),
        }
    }
}

/// Which slot is asked when, in milliseconds from the start, if each question takes `each`.
fn run(schedule: &mut Schedule, start: Instant, each: Duration, questions: usize) -> Vec<(u128, usize)> {
    let mut now = start;
    (0..questions)
        .map(|_| {
            let (asked, slot) = next(schedule, now);
            now = asked + each;
            schedule.served(slot, now);
            ((asked - start).as_millis(), slot)
        })
        .collect()
}

#[test]
fn devices_of_one_period_are_spread_over_it_and_keep_their_beat() {
    let start = Instant::now();
    let devices =
        [vec![rest(SECOND)], vec![rest(SECOND), rest(SECOND)], vec![rest(SECOND)], vec![rest(2 * SECOND)]];
    let asked = run(&mut Schedule::new(&devices, start), start, Duration::from_millis(1), 10);
    let want =
        [(0, 0), (1, 4), (333, 1), (334, 2), (666, 3), (1000, 0), (1333, 1), (1334, 2), (1666, 3), (2000, 0)];
    assert_eq!(asked, want);
}

#[test]
fn a_delay_makes_no_burst_and_an_overloaded_line_serves_in_turn() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&[vec![rest(SECOND)], vec![rest(SECOND)]], start);
    run(&mut schedule, start, Duration::ZERO, 2);
    // nothing for ten seconds, then both once, then on the old beat
    schedule.served(0, start + 10 * SECOND + SECOND / 10);
    schedule.served(1, start + 10 * SECOND + SECOND / 10);
    assert_eq!(next(&mut schedule, start), (start + 10 * SECOND + SECOND / 2, 1));

    let tenth = || vec![rest(SECOND / 10)];
    let mut schedule = Schedule::new(&[tenth(), tenth(), tenth()], start);
    let turns: Vec<usize> = run(&mut schedule, start, SECOND, 9).into_iter().map(|(_, slot)| slot).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_long_period_is_asked_soon_after_the_start_and_a_zero_period_is_no_busy_loop() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut schedule = Schedule::new(&[vec![rest(hour)], vec![rest(hour)]], start);
    let asked: Vec<u128> =
        run(&mut schedule, start, Duration::ZERO, 4).into_iter().map(|(at, _)| at).collect();
    assert_eq!(asked, [0, 2500, 1_800_000, 3_600_000]);

    let mut schedule = Schedule::new(&[vec![rest(Duration::ZERO)]], start);
    schedule.served(0, start);
    assert_eq!(next(&mut schedule, start), (start + SHORTEST_PERIOD, 0));
}

#[test]
fn a_paused_slot_waits_until_it_is_put_somewhere() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&[vec![rest(SECOND)]], start);
    schedule.pause(0);
    assert_eq!(schedule.next(start + SECOND), Next::Nothing);
    schedule.put_off(0, start + 5 * SECOND);
    schedule.put_off(0, start + 7 * SECOND);
    assert_eq!(next(&mut schedule, start), (start + 7 * SECOND, 0));
    // also once it is due and waits for its turn
    schedule.pause(0);
    assert_eq!(schedule.next(start + 8 * SECOND), Next::Nothing);
}

#[test]
fn the_earliest_deadline_goes_first_and_alarms_ahead_of_all() {
    let start = Instant::now();
    let devices = [vec![rest(SECOND)], vec![rest(SECOND / 4)], vec![alarm(10 * SECOND)]];
    let asked = run(&mut Schedule::new(&devices, start), start, SECOND / 100, 4);
    assert_eq!(asked.into_iter().map(|(_, slot)| slot).collect::<Vec<_>>(), [2, 1, 0, 1]);
}

#[test]
fn on_an_overloaded_line_alarms_have_most_of_the_time_and_the_rest_some() {
    let start = Instant::now();
    let often = || vec![alarm(SECOND / 10)];
    let mut schedule = Schedule::new(&[often(), often(), vec![rest(SECOND)], vec![rest(SECOND)]], start);
    let turns = run(&mut schedule, start, SECOND, 90);
    let count = |slot| turns.iter().filter(|(_, asked)| *asked == slot).count();
    assert_eq!([0, 1, 2, 3].map(count), [40, 40, 5, 5]);
}

#[test]
fn a_beat_that_was_left_out_is_told() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&[vec![rest(SECOND)]], start);
    assert_eq!(schedule.next(start + SECOND / 2), Next::Serve { slot: 0, late: false });
    assert_eq!(schedule.next(start + SECOND), Next::Serve { slot: 0, late: true });
}

#[test]
fn a_slot_added_later_keeps_the_beat_of_its_model() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&[vec![alarm(SECOND)]], start);
    schedule.served(0, start);
    let added = schedule.add_beside(0, None, start + SECOND / 10);
    assert_eq!(next(&mut schedule, start), (start + SECOND / 10, added));
    schedule.served(added, start + SECOND / 10);
    assert_eq!(schedule.next_alarm(), Some(start + SECOND));
    assert_eq!(schedule.next(start + SECOND), Next::Serve { slot: 0, late: false });
    assert_eq!(schedule.also_due(0, 9, |_| true), [added]);
    assert!(schedule.also_due(0, 9, |slot| slot != added).is_empty());
    schedule.pause(added);
    assert_eq!(
        schedule.add_beside(0, Some(added), start + 2 * SECOND),
        added,
        "one that is free is used again"
    );
    assert!(schedule.also_due(0, 9, |_| true).is_empty());
    assert_eq!(schedule.next(start + 2 * SECOND), Next::Serve { slot: 0, late: true });
    assert_eq!(schedule.also_due(0, 9, |_| true), [added]);
}
