//! When the next letter may go: at once while all is well, backed off while the endpoint fails, gently while a backlog
//! drains. Pure: now and chance are arguments.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::backoff;
use crate::domain::Priority;

/// Five letters a second: what an endpoint that was down for long must stand when it is back.
const DRAIN_PERIOD: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Pace {
    outage: Option<Outage>,
    /// Letters that went since the backlog began; `None` once the queue was seen empty.
    drained: Option<u64>,
    last_attempt: Option<Instant>,
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
    pub fn at_start() -> Self {
        Self { outage: None, drained: Some(0), last_attempt: None }
    }

    /// When a letter of this priority may go: a critical one shortens the back-off, never what the endpoint asked for.
    pub fn due(&self, priority: Priority, now: Instant) -> Instant {
        let drain = self.drained.and(self.last_attempt).map_or(now, |last| last + DRAIN_PERIOD);
        let healed = self.outage.as_ref().map_or(now, |outage| outage.over(priority));
        drain.max(healed)
    }

    pub fn attempted(&mut self, now: Instant) {
        self.last_attempt = Some(now);
    }

    /// The endpoint failed. True if it was well before.
    pub fn failed(&mut self, now: Instant, wall: Timestamp, after: Option<Duration>, chance: f64) -> bool {
        let (since, failures) = match &self.outage {
            Some(outage) => (outage.since, outage.failures.saturating_add(1)),
            None => (wall, 1),
        };
        self.outage = Some(Outage { since, failures, last: now, after, chance });
        self.drained.get_or_insert(0);
        failures == 1
    }

    /// The endpoint answered about a letter. Gives the outage that this ends.
    pub fn answered(&mut self) -> Option<Outage> {
        self.outage.take()
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
        let mut pace = Pace::at_start();
        for _ in 0..times {
            pace.failed(now, Timestamp::UNIX_EPOCH, after, 1.0);
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
        let mut pace = Pace::at_start();
        let now = Instant::now();
        pace.failed(now, Timestamp::UNIX_EPOCH, None, 0.37);
        assert_eq!(pace.due(Priority::Low, now), pace.due(Priority::Low, now));
    }

    #[test]
    fn only_a_backlog_is_paced() {
        let mut pace = Pace::at_start();
        let now = Instant::now();
        assert_eq!(wait(&pace, Priority::Low, now), 0, "the first goes at once");
        pace.attempted(now);
        pace.delivered();
        assert_eq!(wait(&pace, Priority::Critical, now), 200, "a queue found at start is a backlog");
        assert_eq!(pace.caught_up(), Some(1));
        assert_eq!(wait(&pace, Priority::Low, now), 0, "no queue, no pace");
        assert!(pace.failed(now, Timestamp::UNIX_EPOCH, None, 0.0), "it was well before");
        assert!(!pace.failed(now, Timestamp::UNIX_EPOCH, None, 0.0), "it was not");
        assert_eq!(pace.answered().map(|outage| outage.failures), Some(2));
        assert_eq!(wait(&pace, Priority::Low, now), 200, "what gathered meanwhile is a backlog");
        assert_eq!(pace.caught_up(), None, "nothing was delivered of it");
    }
}
