use super::*;

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
