//! When the next letter may go: at once while all is well, backed off while the endpoint fails, gently while a backlog
//! drains. Pure: now and chance are arguments.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{backoff, budget::Budget};
use crate::domain::Priority;

/// Five letters a second: what an endpoint that was down for long must stand when it is back.
const DRAIN_PERIOD: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Pace {
    outage: Option<Outage>,
    /// Letters that went since the backlog began; `None` once the queue was seen empty.
    drained: Option<u64>,
    last_attempt: Option<Instant>,
    /// The least time between two attempts, always.
    gap: Duration,
    budget: Budget,
    /// How often the last outage had failed when it ended: where the next goes on if it comes before it can be afforded.
    strained: u32,
}

/// The endpoint fails, whatever the letter.
#[derive(Debug)]
pub struct Outage {
    pub since: Timestamp,
    pub failures: u32,
    last: Instant,
    /// What the endpoint, or the kind of fault, asked for.
    after: Option<Duration>,
    /// Drawn once a failure, so that asking twice gives the same answer.
    chance: f64,
}

impl Pace {
    /// Nobody knows how long the queue is at start: it counts as a backlog.
    pub fn at_start(gap: Duration) -> Self {
        Self { outage: None, drained: Some(0), last_attempt: None, gap, budget: Budget::full(), strained: 0 }
    }

    /// When a letter of this priority may go: a critical one shortens the back-off, never what the endpoint asked for.
    pub fn due(&self, priority: Priority, now: Instant) -> Instant {
        let period = self.drained.map_or(self.gap, |_| self.gap.max(DRAIN_PERIOD));
        let drain = self.last_attempt.map_or(now, |last| last + period);
        let healed = self.outage.as_ref().map_or(now, |outage| outage.over(priority));
        drain.max(healed)
    }

    /// `first`: this letter was never tried before.
    pub fn attempted(&mut self, first: bool, now: Instant) {
        self.last_attempt = Some(now);
        if first {
            self.budget.first_attempt();
        }
    }

    /// The endpoint failed an attempt that began at `begun`. Several that were on their way together fail together: only
    /// the first of them counts.
    pub fn failed(
        &mut self,
        begun: Instant,
        now: Instant,
        wall: Timestamp,
        after: Option<Duration>,
        chance: f64,
    ) {
        let (since, failures) = match &self.outage {
            Some(outage) if begun < outage.last => return,
            Some(outage) => (outage.since, outage.failures.saturating_add(1)),
            None if self.budget.spend() => (wall, 1),
            None => (wall, self.strained.saturating_add(1)),
        };
        self.outage = Some(Outage { since, failures, last: now, after, chance });
        self.drained.get_or_insert(0);
    }

    /// The endpoint answered about a letter. Gives the outage that this ends.
    pub fn answered(&mut self) -> Option<Outage> {
        let outage = self.outage.take();
        if let Some(outage) = &outage {
            self.strained = outage.failures;
        }
        outage
    }

    /// What was wrong may be mended: the next attempt need not wait.
    pub fn mended(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.after = Some(Duration::ZERO);
        }
    }

    /// Whether a retry of a single letter is affordable.
    pub fn afford(&mut self) -> bool {
        self.budget.spend()
    }

    pub fn delivered(&mut self) {
        if let Some(count) = &mut self.drained {
            *count += 1;
        }
    }

    /// The queue is empty. Gives how many letters the backlog had, if there was one.
    pub fn caught_up(&mut self) -> Option<u64> {
        self.drained.take().filter(|count| *count > 0)
    }

    pub fn outage_since(&self) -> Option<Timestamp> {
        self.outage.as_ref().map(|outage| outage.since)
    }
}

impl Outage {
    fn over(&self, priority: Priority) -> Instant {
        let wait =
            self.after.unwrap_or_else(|| backoff::after_failures(self.failures, priority, self.chance));
        self.last + wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// In milliseconds after `now`.
    fn wait(pace: &Pace, priority: Priority, now: Instant) -> u128 {
        pace.due(priority, now).saturating_duration_since(now).as_millis()
    }

    fn failing(times: u32, after: Option<Duration>, now: Instant) -> Pace {
        let mut pace = Pace::at_start(Duration::ZERO);
        for _ in 0..times {
            pace.failed(now, now, Timestamp::UNIX_EPOCH, after, 1.0);
        }
        pace
    }

    #[test]
    fn a_critical_letter_shortens_the_back_off_but_not_what_was_asked_for() {
        let now = Instant::now();
        let long = failing(20, None, now);
        assert_eq!(wait(&long, Priority::High, now), 300_000);
        assert_eq!(wait(&long, Priority::Critical, now), 30_000);
        // it comes when most of the long wait is over: it goes at once
        assert_eq!(wait(&long, Priority::Critical, now + 200 * SECOND), 0);
        let asked = failing(1, Some(600 * SECOND), now);
        assert_eq!(wait(&asked, Priority::Critical, now), 600_000);
    }

    #[test]
    fn asking_twice_gives_the_same_answer() {
        let mut pace = Pace::at_start(Duration::ZERO);
        let now = Instant::now();
        pace.failed(now, now, Timestamp::UNIX_EPOCH, None, 0.37);
        assert_eq!(pace.due(Priority::Low, now), pace.due(Priority::Low, now));
    }

    #[test]
    fn only_a_backlog_is_paced() {
        let mut pace = Pace::at_start(Duration::ZERO);
        let now = Instant::now();
        assert_eq!(wait(&pace, Priority::Low, now), 0, "the first goes at once");
        pace.attempted(true, now);
        pace.delivered();
        assert_eq!(wait(&pace, Priority::Critical, now), 200, "a queue found at start is a backlog");
        assert_eq!(pace.caught_up(), Some(1));
        assert_eq!(wait(&pace, Priority::Low, now), 0, "no queue, no pace");
        pace.failed(now, now, Timestamp::UNIX_EPOCH, None, 0.0);
        pace.failed(now, now, Timestamp::UNIX_EPOCH, None, 0.0);
        assert_eq!(pace.answered().map(|outage| outage.failures), Some(2));
        assert_eq!(wait(&pace, Priority::Low, now), 200, "what gathered meanwhile is a backlog");
        assert_eq!(pace.caught_up(), None, "nothing was delivered of it");
    }

    #[test]
    fn letters_that_fail_together_are_one_failure() {
        let (begun, mut pace) = (Instant::now(), Pace::at_start(Duration::ZERO));
        let failed = begun + SECOND;
        for _ in 0..8 {
            pace.failed(begun, failed, Timestamp::UNIX_EPOCH, None, 1.0);
        }
        assert_eq!(wait(&pace, Priority::Low, failed), 1000);
        let probed = failed + SECOND;
        pace.failed(probed, probed, Timestamp::UNIX_EPOCH, None, 1.0);
        assert_eq!(wait(&pace, Priority::Low, probed), 2000, "the probe counts");
    }

    #[test]
    fn the_gap_is_kept_while_all_is_well() {
        let mut pace = Pace::at_start(3 * SECOND);
        let now = Instant::now();
        assert_eq!(pace.caught_up(), None);
        pace.attempted(true, now);
        assert_eq!(wait(&pace, Priority::Critical, now), 3000);
    }

    #[test]
    fn what_may_be_mended_is_tried_at_once() {
        let now = Instant::now();
        let mut pace = failing(20, Some(900 * SECOND), now);
        pace.mended();
        assert_eq!(wait(&pace, Priority::Low, now), 0);
        pace.failed(now, now, Timestamp::UNIX_EPOCH, None, 1.0);
        assert_eq!(wait(&pace, Priority::Low, now), 300_000, "it was not: the back-off goes on");
    }

    #[test]
    fn an_endpoint_that_fails_every_other_letter_is_soon_tried_as_rarely_as_one_that_is_down() {
        let (mut now, mut pace) = (Instant::now(), Pace::at_start(Duration::ZERO));
        let mut waits = Vec::new();
        for _ in 0..40 {
            pace.attempted(true, now);
            pace.failed(now, now, Timestamp::UNIX_EPOCH, None, 1.0);
            let due = pace.due(Priority::Low, now);
            waits.push(due.duration_since(now).as_secs());
            now = due;
            pace.attempted(false, now);
            pace.answered();
        }
        assert!(waits[..10].iter().all(|wait| *wait == 1), "it can be afforded: {waits:?}");
        assert!(waits[20..].iter().all(|wait| *wait == 300 || *wait == 1), "{waits:?}");
        assert!(waits[20..].iter().filter(|wait| **wait == 1).count() <= 4, "a fifth is afforded: {waits:?}");
    }
}
