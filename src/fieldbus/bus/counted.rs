//! How much of its time the line is busy.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::Instant;

use crate::fieldbus::BusCounters;

/// Utilisation is told over so long.
const WINDOW: Duration = Duration::from_secs(10);

pub(super) struct Load {
    since: Instant,
    busy: Duration,
}

impl Load {
    pub fn new(now: Instant) -> Self {
        Self { since: now, busy: Duration::ZERO }
    }

    /// The line was in use from `began` until `now`.
    pub fn carried(&mut self, began: Instant, now: Instant, counters: &BusCounters) {
        self.busy += now - began;
        let over = now - self.since;
        if over >= WINDOW {
            let permille = self.busy.as_micros() * 1000 / over.as_micros().max(1);
            counters.busy_permille.store(permille.min(1000) as u64, Relaxed);
            *self = Self::new(now);
        }
    }
}
