//! When which lost unit is tried again. Pure: time is an argument.
//!
//! Promise: however many units are lost, trying them takes no more than `SHARE` of the line's time from those that answer; each gets its
//! turn, who waits longest first. Where nobody answers, nobody is kept waiting: then only each unit's own back-off counts.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

/// One part in so many of the line's time: 5 %.
const SHARE: u32 = 20;

#[derive(Debug)]
pub struct Probes {
    /// The lost units, by when they may be tried: those that may well be back, and the others.
    fresh: BTreeSet<(Instant, usize)>,
    old: BTreeSet<(Instant, usize)>,
    /// Not before, for the sake of those that answer.
    free_at: Instant,
}

impl Probes {
    pub fn new(now: Instant) -> Self {
        Self { fresh: BTreeSet::new(), old: BTreeSet::new(), free_at: now }
    }

    /// `unit` is to be tried at `at`, if the line has time then; `fresh`: ahead of those that have been lost for long.
    pub fn put(&mut self, unit: usize, at: Instant, fresh: bool) {
        self.forget(unit);
        if fresh { &mut self.fresh } else { &mut self.old }.insert((at, unit));
    }

    pub fn forget(&mut self, unit: usize) {
        self.fresh.retain(|(_, lost)| *lost != unit);
        self.old.retain(|(_, lost)| *lost != unit);
    }

    /// The unit to be tried next, and when. `others_answer`: somebody would be kept waiting.
    pub fn next(&self, others_answer: bool) -> Option<(Instant, usize)> {
        let may_be = |(at, unit): &(Instant, usize)| {
            (if others_answer { (*at).max(self.free_at) } else { *at }, *unit)
        };
        match (self.fresh.first().map(may_be), self.old.first().map(may_be)) {
            (Some(fresh), Some(old)) => Some(if fresh.0 <= old.0 { fresh } else { old }),
            (fresh, old) => fresh.or(old),
        }
    }

    /// A probe took so much of the line until `now`.
    pub fn spent(&mut self, took: Duration, now: Instant) {
        self.free_at = now + took * (SHARE - 1);
    }

    /// Something changed on the line (it is back, or one of them is): all are worth a try.
    pub fn all_now(&mut self, now: Instant) {
        for lost in [&mut self.fresh, &mut self.old] {
            *lost = lost.iter().map(|&(at, unit)| (at.min(now), unit)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn however_many_are_lost_the_others_keep_nineteen_parts_of_twenty() {
        for lost in [1, 3, 8, 100] {
            let (start, took) = (Instant::now(), SECOND * 6 / 10);
            let mut probes = Probes::new(start);
            (0..lost).for_each(|unit| probes.put(unit, start, false));
            let (mut now, mut spent, mut tried) = (start, Duration::ZERO, vec![0; lost]);
            while now < start + 3600 * SECOND {
                let (at, unit) = probes.next(true).unwrap();
                now = now.max(at) + took;
                (spent, tried[unit]) = (spent + took, tried[unit] + 1);
                probes.spent(took, now);
                probes.put(unit, now + SECOND, false);
            }
            assert!(spent * 20 <= (now - start) + took * 20, "{lost} lost: {spent:?} of {:?}", now - start);
            let (least, most) = (tried.iter().min().unwrap(), tried.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "{lost} lost: each gets its turn, {tried:?}");
        }
    }

    #[test]
    fn where_nobody_answers_only_the_back_off_counts() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        probes.put(4, start + SECOND, false);
        probes.spent(SECOND, start);
        assert_eq!(probes.next(false), Some((start + SECOND, 4)));
        assert_eq!(probes.next(true), Some((start + 19 * SECOND, 4)));
    }

    #[test]
    fn who_was_lost_just_now_does_not_wait_behind_the_long_dead() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        (0..8).for_each(|unit| probes.put(unit, start, false));
        probes.put(9, start + SECOND, true);
        assert_eq!(probes.next(true), Some((start, 0)));
        probes.spent(SECOND / 4, start);
        assert_eq!(probes.next(true), Some((start + SECOND * 19 / 4, 9)));
        probes.forget(9);
        assert_eq!(probes.next(true), Some((start + SECOND * 19 / 4, 0)));
    }

    #[test]
    fn a_unit_is_tried_once_a_turn_and_not_when_it_is_back() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        probes.put(4, start + SECOND, false);
        probes.put(4, start + 2 * SECOND, false);
        probes.put(5, start + 3 * SECOND, false);
        assert_eq!(probes.next(false), Some((start + 2 * SECOND, 4)));
        probes.forget(4);
        assert_eq!(probes.next(false), Some((start + 3 * SECOND, 5)));
        probes.all_now(start);
        assert_eq!(probes.next(false), Some((start, 5)));
    }
}
