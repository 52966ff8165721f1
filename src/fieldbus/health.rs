//! How a unit on a bus is doing, and how often a lost one is tried. Pure: time is an argument.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::latency::Latency;

/// A unit is lost after this many tries in a row that met silence; one that was never heard, after the first exchange. Every try at a dead
/// unit is time that those who answer do not get, and one that lives is asked again a second later.
pub(super) const LOST_AFTER: u32 = 2;
/// Where something came that could not be read, somebody is there: so many tries.
const UNREADABLE_AFTER: u32 = 4;
/// So many probes a unit that was lost just now goes ahead of those that have been for long.
const FRESH_PROBES: u32 = 4;
/// A unit that was lost is trusted with retries again after so many answers in a row.
const ANSWERS_AFTER_LOSS: u32 = 3;
const SHORTEST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// A lost unit may have become slower: one probe in so many waits as long as its product may take.
const PATIENT_PROBE: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Online,
    /// It missed an exchange or has just come back; it is asked as before, but without retries.
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
    ever_heard: bool,
    /// Tries without an answer, in a row.
    missed: u32,
    /// Answers in a row that it still owes until it is online.
    owes: u32,
    first_back_off: Duration,
    longest_back_off: Duration,
    back_off: Duration,
    latency: Latency,
}

impl UnitHealth {
    /// `period`: how often the unit's probe is asked in good times.
    pub fn new(period: Duration) -> Self {
        let first_back_off = period.max(SHORTEST_BACK_OFF);
        Self {
            state: Health::Online,
            ever_heard: false,
            missed: 0,
            owes: 0,
            first_back_off,
            longest_back_off: period.max(LONGEST_BACK_OFF),
            back_off: first_back_off,
            latency: Latency::default(),
        }
    }

    pub fn state(&self) -> Health {
        self.state
    }

    /// How long its answers take.
    pub fn latency(&self) -> Latency {
        self.latency
    }

    /// How long the next exchange may wait for it at first, when its product may take `most`.
    pub fn patience(&self, most: Duration) -> Duration {
        match self.state {
            // it may only have become slower
            Health::Lost if self.missed.is_multiple_of(PATIENT_PROBE) => most,
            Health::Online | Health::Degraded | Health::Lost => self.latency.patience(most),
        }
    }

    /// It answered, be it with a refusal, after so long; `None` if it spoke by itself.
    pub fn answered(&mut self, took: Option<Duration>) -> Option<Change> {
        // the first answer is no measure: on a serial line two questions were asked for it
        if let Some(took) = took.filter(|_| self.ever_heard) {
            self.latency.took(took);
        }
        self.ever_heard = true;
        self.missed = 0;
        self.back_off = self.first_back_off;
        self.owes = self.owes.saturating_sub(1);
        self.step(if self.owes == 0 { Health::Online } else { Health::Degraded })
    }

    /// An exchange of so many `tries` had no valid answer; `silent`: nothing came at all. A line that is down says nothing about its
    /// units: do not call it then.
    pub fn missed(&mut self, tries: u32, silent: bool) -> Option<Change> {
        self.missed = self.missed.saturating_add(tries);
        let enough = if silent { LOST_AFTER } else { UNREADABLE_AFTER };
        let lost = self.state == Health::Lost || self.missed >= enough || !self.ever_heard;
        if !lost {
            self.owes = self.owes.max(1);
            return self.step(Health::Degraded);
        }
        self.owes = ANSWERS_AFTER_LOSS;
        // on a noisy line somebody speaks: it is worth another try soon
        if self.state == Health::Lost && silent {
            self.back_off = (self.back_off * 2).min(self.longest_back_off);
        }
        self.step(Health::Lost)
    }

    /// Whether it has ever answered or spoken.
    pub fn was_heard(&self) -> bool {
        self.ever_heard
    }

    /// Whether it was lost so short a time ago that it may well be back.
    pub fn lost_just_now(&self) -> bool {
        self.missed < LOST_AFTER + FRESH_PROBES
    }

    /// When a lost unit is tried next; `None` unless it is lost.
    pub fn probe_at(&self, now: Instant) -> Option<Instant> {
        (self.state == Health::Lost).then(|| now + self.back_off)
    }

    /// A unit that speaks by itself was not heard for longer than it should have been; its first word brings it back.
    pub fn fell_silent(&mut self) -> Option<Change> {
        self.owes = 1;
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

    const MS: Duration = Duration::from_millis(1);

    fn change(from: Health, to: Health) -> Option<Change> {
        Some(Change { from, to })
    }

    fn heard_once(period: Duration) -> UnitHealth {
        let mut unit = UnitHealth::new(period);
        assert_eq!(unit.answered(Some(20 * MS)), None, "it starts online");
        unit
    }

    #[test]
    fn a_unit_is_lost_after_two_silent_tries_and_online_again_after_three_answers() {
        let mut unit = heard_once(500 * MS);
        assert_eq!(unit.missed(1, true), change(Health::Online, Health::Degraded));
        assert_eq!(unit.answered(None), change(Health::Degraded, Health::Online));
        assert_eq!(
            unit.missed(1, true),
            change(Health::Online, Health::Degraded),
            "misses count in a row only"
        );
        assert_eq!(unit.missed(1, true), change(Health::Degraded, Health::Lost));
        assert_eq!(unit.missed(1, true), None);
        assert_eq!(unit.answered(None), change(Health::Lost, Health::Degraded));
        assert_eq!(unit.answered(None), None);
        assert_eq!(unit.answered(None), change(Health::Degraded, Health::Online));
        assert_eq!(unit.probe_at(Instant::now()), None);
    }

    #[test]
    fn a_unit_that_was_never_heard_is_lost_at_once() {
        let mut unit = UnitHealth::new(500 * MS);
        assert_eq!(unit.missed(1, true), change(Health::Online, Health::Lost));
        assert_eq!(unit.answered(None), change(Health::Lost, Health::Degraded));
        assert_eq!(unit.missed(1, true), None, "from now on it is one that was heard");
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
            let mut unit = heard_once(period);
            unit.missed(1, true);
            let waits = want.map(|_| {
                unit.missed(1, true);
                (unit.probe_at(now).unwrap() - now).as_secs()
            });
            assert_eq!(waits, want, "{period:?}");
        }
    }

    #[test]
    fn noise_is_no_absence() {
        let mut unit = heard_once(MS);
        assert_eq!(unit.missed(2, false), change(Health::Online, Health::Degraded), "somebody spoke");
        (0..20).for_each(|_| _ = unit.missed(1, false));
        let now = Instant::now();
        assert_eq!(unit.probe_at(now), Some(now + SHORTEST_BACK_OFF));
    }

    #[test]
    fn it_is_waited_for_as_long_as_it_used_to_take_and_when_it_is_lost_now_and_then_longer() {
        let most = 200 * MS;
        let mut unit = heard_once(500 * MS);
        (0..50).for_each(|_| _ = unit.answered(Some(20 * MS)));
        assert_eq!(unit.patience(most), 50 * MS);
        unit.missed(3, true);
        let patience = [(); 5].map(|()| {
            let patience = unit.patience(most);
            unit.missed(1, true);
            patience
        });
        assert_eq!(patience, [50 * MS, most, 50 * MS, 50 * MS, 50 * MS]);
    }

    #[test]
    fn a_unit_that_became_slower_is_found_by_its_third_probe_and_then_waited_for() {
        let most = 1000 * MS;
        for slower in [300 * MS, 600 * MS, 990 * MS] {
            let mut unit = heard_once(500 * MS);
            (0..50).for_each(|_| _ = unit.answered(Some(20 * MS)));
            let waited_for = |unit: &mut UnitHealth| {
                let enough = unit.patience(most) >= slower;
                _ = if enough { unit.answered(Some(slower)) } else { unit.missed(1, true) };
                enough
            };
            let in_vain = (0..50).take_while(|_| !waited_for(&mut unit)).count();
            assert_eq!(in_vain, 4, "{slower:?}: two tries, two probes");
            assert!((0..50).all(|_| waited_for(&mut unit)), "{slower:?}");
        }
    }

    #[test]
    fn a_talker_that_fell_silent_is_back_with_its_first_word() {
        let mut unit = UnitHealth::new(Duration::ZERO);
        assert_eq!(unit.fell_silent(), change(Health::Online, Health::Lost));
        assert_eq!(unit.fell_silent(), None);
        assert_eq!(unit.answered(None), change(Health::Lost, Health::Online));
    }
}
