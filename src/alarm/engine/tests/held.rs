//! A point that is held, and what the first contact after a power-up clears: nothing.

use super::*;

#[test]
fn a_passenger_sensor_that_falls_off_now_and_then_still_sees_someone() {
    let mut bench = Bench::new(true);
    // two seconds of ten: without the hold of 10 s no 30 s would ever come together
    bench.sensed(37, |second| second % 10 >= 8);
    assert_eq!(bench.state(), None, "it was seen first in the 8th second");
    bench.sensed(1, |_| true);
    assert_eq!(bench.state(), Some(AlarmState::ActiveUnacknowledged));
    bench.sensed(20, |_| false);
    assert_eq!(bench.steps, [TransitionKind::Raised], "held for 10 s, then an off-delay of 10 s");
    bench.sensed(2, |_| false);
    assert_eq!(bench.steps, [TransitionKind::Raised, TransitionKind::Returned]);
}

#[test]
fn who_has_left_the_car_is_not_trapped_in_it() {
    let mut bench = Bench::new(true);
    bench.sensed(15, |_| true);
    bench.sensed(300, |_| false);
    assert_eq!(bench.steps, []);
    bench.restart(true);
    bench.sensed(300, |_| false);
    assert_eq!(bench.steps, [], "nor after a restart");
}

#[test]
fn a_restart_while_the_sensor_is_off_does_not_begin_the_delay_anew() {
    let mut bench = Bench::new(true);
    bench.sensed(20, |_| true);
    bench.restart(true);
    // whether someone was seen just before nobody knows: neither yes nor no
    bench.sensed(5, |_| false);
    bench.sensed(10, |_| true);
    assert_eq!(bench.steps, [TransitionKind::Raised]);
}

#[test]
fn a_held_point_falls_without_a_new_reading() {
    let mut bench = Bench::new(true);
    bench.sensed(31, |_| true);
    bench.sensed(1, |_| false);
    // an event-driven terminal says no more
    for _ in 0..21 {
        bench.clock.advance(Duration::from_secs(1));
        if !bench.engine.due(bench.clock.now().mono).0.is_empty() {
            bench.decide(true);
        }
    }
    assert_eq!(bench.steps, [TransitionKind::Raised, TransitionKind::Returned]);
}

/// "Do not send 'cleared' on first contact after power-up": a field team's rule.
#[test]
fn the_first_contact_after_power_up_clears_nothing_that_was_never_raised() {
    for first in [Truth::False, Truth::Unknown] {
        let mut bench = Bench::new(true);
        bench.live(60, first);
        bench.live(60, Truth::False);
        assert_eq!(
            (bench.steps.as_slice(), bench.disk.len()),
            (&[][..], 0),
            "nothing to tell, nothing to write"
        );
    }
}

#[test]
fn an_alarm_from_before_the_power_cut_is_cleared_by_a_fresh_reading_alone() {
    let mut bench = Bench::new(true);
    bench.live(31, Truth::True);
    assert_eq!(bench.told(), [TransitionKind::Raised]);
    bench.rebooted = Some("after the power cut".to_owned());
    bench.restart(true);
    bench.decide(true);
    // the device does not answer; the broker gives back what it kept from a better day
    bench.live(60, Truth::Unknown);
    let at = bench.clock.now();
    let free = [("door", Value::Text("open".into())), ("occupied", Value::Flag(false))];
    let free = free.map(|(name, value)| (bench.profile.point(name).expect("a point"), Sample::stale(value)));
    bench.engine.recalled(LIFT, &free, at);
    for _ in 0..600 {
        bench.clock.advance(Duration::from_secs(1));
        bench.decide(true);
    }
    assert_eq!(bench.state(), Some(AlarmState::ActiveUnacknowledged));
    assert_eq!(bench.told(), [TransitionKind::Raised]);
    bench.live(10, Truth::False);
    assert_eq!(bench.told(), [TransitionKind::Raised], "the off-delay counts from the first fresh reading");
    bench.live(1, Truth::False);
    assert_eq!(bench.told(), [TransitionKind::Raised, TransitionKind::Returned]);
}
