//! How a unit on a bus is doing, and how often a lost one is tried. Pure: time is an argument.

use std::{fmt, time::Duration};

use tokio::time::Instant;

/// A unit is lost after this many exchanges in a row without an answer.
pub(super) const LOST_AFTER: u32 = 3;
const SHORTEST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Online,
    /// It missed an exchange; it is asked as before, but without retries.
    Degraded,
    /// It is only probed.
    Lost,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Online => "online",
            Health::Degraded => "degraded",
            Health::Lost => "lost",
        })
    }
}

/// A step from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: Health,
    pub to: Health,
}

/// One unit of one bus. It starts online: the first exchanges decide.
#[derive(Clone, Debug)]
pub struct UnitHealth {
    state: Health,
    missed: u32,
    first_back_off: Duration,
    longest_back_off: Duration,
    back_off: Duration,
    probe_at: Option<Instant>,
}

impl UnitHealth {
    /// `period`: how often the unit's probe is asked in good times.
    pub fn new(period: Duration) -> Self {
        let first_back_off = period.max(SHORTEST_BACK_OFF);
        Self {
            state: Health::Online,
            missed: 0,
            first_back_off,
            longest_back_off: period.max(LONGEST_BACK_OFF),
            back_off: first_back_off,
            probe_at: None,
        }
    }

    pub fn state(&self) -> Health {
        self.state
    }

    /// When a lost unit is asked next; `None` unless it is lost.
    pub fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// It answered, be it with a refusal.
    pub fn answered(&mut self) -> Option<Change> {
        self.missed = 0;
        self.back_off = self.first_back_off;
        self.probe_at = None;
        self.step(Health::Online)
    }

    /// An exchange, retries included, had no valid answer. A line that is down says nothing about its units: do not call it then.
    pub fn missed(&mut self, now: Instant) -> Option<Change> {
        self.missed = self.missed.saturating_add(1);
        if self.missed < LOST_AFTER {
            return self.step(Health::Degraded);
        }
        if self.state == Health::Lost {
            self.back_off = (self.back_off * 2).min(self.longest_back_off);
        }
        self.probe_at = Some(now + self.back_off);
        self.step(Health::Lost)
    }

    /// A unit that speaks by itself was not heard for longer than it should have been.
    pub fn fell_silent(&mut self) -> Option<Change> {
        self.step(Health::Lost)
    }

    fn step(&mut self, to: Health) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        (from != to).then_some(Change { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_lost_after_three_misses_and_back_with_one_answer() {
        let now = Instant::now();
        let mut unit = UnitHealth::new(Duration::from_millis(500));
        assert_eq!(unit.answered(), None, "it starts online");
        let change = |from, to| Some(Change { from, to });
        assert_eq!(unit.missed(now), change(Health::Online, Health::Degraded));
        assert_eq!(unit.answered(), change(Health::Degraded, Health::Online));
        assert_eq!(unit.missed(now), change(Health::Online, Health::Degraded), "misses count in a row only");
        assert_eq!(unit.missed(now), None);
        assert_eq!(unit.missed(now), change(Health::Degraded, Health::Lost));
        assert_eq!(unit.missed(now), None);
        assert_eq!(unit.answered(), change(Health::Lost, Health::Online));
        assert_eq!(unit.probe_at(), None);
    }

    #[test]
    fn a_lost_unit_is_tried_less_and_less_often() {
        let cases = [
            (Duration::from_millis(500), [1, 2, 4, 8, 16, 30, 30]),
            (Duration::from_secs(5), [5, 10, 20, 30, 30, 30, 30]),
            (Duration::from_secs(300), [300; 7]),
        ];
        for (period, want) in cases {
            let now = Instant::now();
            let mut unit = UnitHealth::new(period);
            unit.missed(now);
            unit.missed(now);
            let waits = want.map(|_| {
                unit.missed(now);
                (unit.probe_at().unwrap() - now).as_secs()
            });
            assert_eq!(waits, want, "{period:?}");
        }
    }

    #[test]
    fn a_talker_that_fell_silent_is_lost_and_not_probed() {
        let mut unit = UnitHealth::new(Duration::ZERO);
        assert_eq!(unit.fell_silent(), Some(Change { from: Health::Online, to: Health::Lost }));
        assert_eq!((unit.fell_silent(), unit.probe_at()), (None, None));
    }
}
