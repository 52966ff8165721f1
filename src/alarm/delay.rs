//! On-delay and off-delay: how long a condition has been seen to hold, on monotonic time.

use std::time::Duration;

use super::Truth;
use crate::domain::{Mono, OnDelay};

/// The longest time in which nothing was known (a lost reading, a restart) that still counts as held when the
/// condition holds on both sides of it. A longer one counts as nothing.
const BRIDGED: Duration = Duration::from_secs(60);

/// A delay that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    pub since: OnDelay,
    /// Known at the last look; otherwise a gap is open since `since.seen`.
    known: bool,
}

impl Delay {
    /// As it was kept before a restart: a gap is open since it was written.
    pub fn restored(since: OnDelay) -> Self {
        Self { since, known: false }
    }

    /// One more look. `wanted`: the truth that the delay waits for, `limit`: its length.
    /// `None`: nothing is running.
    pub fn observe(
        running: Option<Self>,
        truth: Truth,
        wanted: Truth,
        limit: Duration,
        now: Mono,
    ) -> Option<Self> {
        match (running, truth) {
            (Some(delay), Truth::Unknown) => Some(Self { known: false, ..delay }),
            (None, Truth::Unknown) => None,
            (Some(delay), truth) if truth == wanted => {
                let gone = now.since(delay.since.seen);
                let counts = delay.known || gone <= BRIDGED.min(limit);
                let credited = delay.since.credited + if counts { gone } else { Duration::ZERO };
                Some(Self { since: OnDelay { credited, seen: now }, known: true })
            }
            (None, truth) if truth == wanted => {
                Some(Self { since: OnDelay { credited: Duration::ZERO, seen: now }, known: true })
            }
            (_, Truth::True | Truth::False) => None,
        }
    }

    pub fn is_over(&self, limit: Duration) -> bool {
        self.since.credited >= limit
    }

    /// When it will be over if nothing changes; `None` while nothing is known.
    pub fn deadline(&self, limit: Duration) -> Option<Mono> {
        self.known.then(|| self.since.seen + limit.saturating_sub(self.since.credited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    /// Looks at a condition at given seconds; returns the second at which a 30 s delay is over.
    fn over_at(looks: &[(u64, Truth)]) -> Option<u64> {
        let limit = Duration::from_secs(30);
        let mut running = None;
        looks.iter().find_map(|(second, truth)| {
            running = Delay::observe(running, *truth, Truth::True, limit, at(*second));
            running.is_some_and(|delay: Delay| delay.is_over(limit)).then_some(*second)
        })
    }

    #[test]
    fn what_counts_as_holding() {
        use Truth::{False, True, Unknown};
        type Fact = (&'static str, &'static [(u64, Truth)], Option<u64>);
        let facts: [Fact; 6] = [
            ("held throughout", &[(0, True), (10, True), (29, True), (30, True)], Some(30)),
            ("gone in between", &[(0, True), (20, False), (25, True), (40, True), (55, True)], Some(55)),
            ("a short gap is bridged", &[(0, True), (10, Unknown), (15, True), (30, True)], Some(30)),
            ("a long gap counts as nothing", &[(0, True), (10, Unknown), (50, True), (60, True)], None),
            ("unknown alone never ends it", &[(0, True), (10, Unknown), (40, Unknown)], None),
            ("never known", &[(0, Unknown), (100, Unknown)], None),
        ];
        for (fact, looks, expected) in facts {
            assert_eq!(over_at(looks), expected, "{fact}");
        }
    }

    #[test]
    fn a_deadline_stands_only_while_the_condition_is_known() {
        let limit = Duration::from_secs(30);
        let known = Delay::observe(None, Truth::True, Truth::True, limit, at(100));
        assert_eq!(known.and_then(|delay| delay.deadline(limit)), Some(at(130)));
        let gap = Delay::observe(known, Truth::Unknown, Truth::True, limit, at(110));
        assert_eq!(gap.and_then(|delay| delay.deadline(limit)), None);
    }
}
