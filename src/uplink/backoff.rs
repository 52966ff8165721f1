//! How long to leave a failing endpoint in peace. Pure: chance is an argument.

use std::time::Duration;

use crate::domain::Priority;

const FIRST: Duration = Duration::from_secs(1);
/// The longest wait while a critical letter waits.
const CAP_CRITICAL: Duration = Duration::from_secs(30);
const CAP: Duration = Duration::from_secs(5 * 60);
/// The longest wait for a letter that was itself refused; a critical one is cheap to offer twice a minute.
const CAP_REFUSED: Duration = Duration::from_secs(15 * 60);
const CAP_REFUSED_CRITICAL: Duration = Duration::from_secs(30);

/// The wait after the endpoint has failed `failures` times in a row, with a letter of `waiting` at the head of the queue.
///
/// `chance` is in 0..1. Jitter over the upper three quarters: over the whole range the mean at the 30 s cap would be
/// four attempts a minute, and chance could exceed what a sick endpoint should get.
pub fn after_failures(failures: u32, waiting: Priority, chance: f64) -> Duration {
    let cap = if waiting == Priority::Critical { CAP_CRITICAL } else { CAP };
    let step = doubled(failures, cap);
    step.mul_f64(0.25 + 0.75 * chance.clamp(0.0, 1.0))
}

/// The wait of a letter that was refused `times` times; no jitter, it meets no crowd.
pub fn after_refusals(times: u32, priority: Priority) -> Duration {
    let cap = if priority == Priority::Critical { CAP_REFUSED_CRITICAL } else { CAP_REFUSED };
    doubled(times, cap)
}

/// An even draw from 0..1, for a courier outside of tests.
///
/// # Panics
/// If the kernel has no randomness to give.
pub fn chance() -> f64 {
    let draw = getrandom::u32().expect("the kernel gives random bits");
    f64::from(draw) / 4_294_967_296.0
}

fn doubled(times: u32, cap: Duration) -> Duration {
    let factor = 1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(factor).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_one_second_to_its_cap() {
        // (times failed, what waits, longest wait in seconds)
        let facts = [
            (1, Priority::Low, 1.0),
            (2, Priority::Low, 2.0),
            (5, Priority::Critical, 16.0),
            (6, Priority::Critical, 30.0),
            (9, Priority::High, 256.0),
            (10, Priority::High, 300.0),
            (40, Priority::Critical, 30.0),
            (u32::MAX, Priority::Medium, 300.0),
        ];
        for (times, waiting, longest) in facts {
            let fact = format!("failed {times} times, {waiting:?} waits");
            assert_eq!(after_failures(times, waiting, 1.0).as_secs_f64(), longest, "{fact}");
            assert_eq!(after_failures(times, waiting, 0.0).as_secs_f64(), longest / 4.0, "{fact}");
        }
    }

    #[test]
    fn half_an_hour_of_failing_costs_at_most_four_attempts_a_minute() {
        // the mean of many draws, as an even ladder
        let (mut at, mut attempts) = (0.0, 0);
        while at < 1800.0 {
            attempts += 1;
            let chance = f64::from(attempts * 7 % 11) / 10.0;
            at += after_failures(attempts, Priority::Critical, chance).as_secs_f64();
        }
        assert!((60..=120).contains(&attempts), "{attempts} attempts");
    }

    #[test]
    fn a_refused_letter_waits_longer_each_time_for_ever() {
        let seconds = |times, priority| after_refusals(times, priority).as_secs();
        assert_eq!([1, 2, 3, 10, 11, 99].map(|n| seconds(n, Priority::High)), [1, 2, 4, 512, 900, 900]);
        assert_eq!([1, 5, 6, 99].map(|n| seconds(n, Priority::Critical)), [1, 16, 30, 30]);
    }
}
