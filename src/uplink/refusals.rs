//! Letters that their receiver refused: each waits on its own, its alarm's later letters behind it, all others go on.

use std::collections::HashMap;

use tokio::time::Instant;

use super::backoff;
use crate::domain::{AlarmKey, Letter};

/// One entry per alarm with a refused letter, so never more than there are alarms.
#[derive(Debug, Default)]
pub struct Refusals {
    by_alarm: HashMap<AlarmKey, Refusal>,
    last_why: String,
}

#[derive(Debug)]
struct Refusal {
    row: i64,
    times: u32,
    until: Instant,
}

impl Refusals {
    /// Notes a refusal; returns how often this letter was refused and when it is offered again.
    pub fn note(&mut self, letter: &Letter, why: &str, now: Instant) -> (u32, Instant) {
        let before = self.by_alarm.get(&letter.key).filter(|refusal| refusal.row == letter.row);
        let times = before.map_or(0, |refusal| refusal.times).saturating_add(1);
        let until = now + backoff::after_refusals(times, letter.priority);
        self.by_alarm.insert(letter.key.clone(), Refusal { row: letter.row, times, until });
        why.clone_into(&mut self.last_why);
        (times, until)
    }

    /// A letter of this alarm was taken.
    pub fn forget(&mut self, key: &AlarmKey) {
        self.by_alarm.remove(key);
    }

    /// The queue holds nothing that may go: whatever was due is gone from it by another's hand.
    pub fn forget_due(&mut self, now: Instant) {
        self.by_alarm.retain(|_, refusal| refusal.until > now);
    }

    /// The alarms whose letters still have to wait.
    pub fn waiting(&self, now: Instant) -> Vec<AlarmKey> {
        let waiting = self.by_alarm.iter().filter(|(_, refusal)| refusal.until > now);
        waiting.map(|(key, _)| key.clone()).collect()
    }

    /// When the next one may be offered again.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.by_alarm.values().map(|refusal| refusal.until).filter(|until| *until > now).min()
    }

    /// How many alarms have a refused letter, and the latest reason; `None` if there are none.
    pub fn summary(&self) -> Option<(usize, &str)> {
        (!self.by_alarm.is_empty()).then_some((self.by_alarm.len(), self.last_why.as_str()))
    }
}
