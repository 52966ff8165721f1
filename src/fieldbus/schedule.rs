//! When which question is due. Pure: time is an argument.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

/// A period below this is a busy loop, whatever a profile says.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
/// After a start everything has been asked once within this time, however long its period.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// When which slot is due: the earliest deadline first. A slot keeps its own beat (`anchor` + n × `period`): who comes late is asked
/// once and waits for the next beat, so a delay never makes a burst and devices stay spread out.
#[derive(Debug)]
pub struct Schedule {
    slots: Vec<Slot>,
    due: BTreeSet<(Instant, usize)>,
}

#[derive(Debug)]
struct Slot {
    anchor: Instant,
    period: Duration,
    /// `None`: paused.
    due: Option<Instant>,
}

impl Schedule {
    /// `periods[device]` = the periods of that device's slots; slots are numbered through, device after device. Devices that share a
    /// period are spread evenly over it; the slots of one device with one period are due together.
    pub fn new(periods: &[Vec<Duration>], start: Instant) -> Self {
        let mut sharing = std::collections::BTreeMap::<Duration, (u32, u32)>::new();
        for device in periods {
            for period in distinct(device) {
                sharing.entry(period).or_default().1 += 1;
            }
        }
        let mut schedule = Schedule { slots: Vec::new(), due: BTreeSet::new() };
        for device in periods {
            for &period in device {
                let (before, all) = sharing[&period];
                let spread = |over: Duration| start + over * before / all;
                schedule.add(spread(period), spread(period.min(FIRST_ROUND)), period);
            }
            for period in distinct(device) {
                sharing.entry(period).or_default().0 += 1;
            }
        }
        schedule
    }

    fn add(&mut self, anchor: Instant, first: Instant, period: Duration) {
        self.due.insert((first, self.slots.len()));
        self.slots.push(Slot { anchor, period: period.max(SHORTEST_PERIOD), due: Some(first) });
    }

    /// The slot that is due first, and when.
    pub fn next(&self) -> Option<(Instant, usize)> {
        self.due.first().copied()
    }

    /// `slot` was served at `now`: its next beat after that.
    pub fn served(&mut self, slot: usize, now: Instant) {
        let Slot { anchor, period, .. } = self.slots[slot];
        let next = match now.checked_duration_since(anchor) {
            None => anchor,
            Some(since) => {
                let into_beat = (since.as_nanos() % period.as_nanos()) as u64;
                now + period - Duration::from_nanos(into_beat)
            }
        };
        self.set(slot, Some(next));
    }

    /// `slot` is due at `at` and then goes on with its own beat.
    pub fn put_off(&mut self, slot: usize, at: Instant) {
        self.set(slot, Some(at));
    }

    /// `slot` is not due until it is put somewhere again.
    pub fn pause(&mut self, slot: usize) {
        self.set(slot, None);
    }

    fn set(&mut self, slot: usize, due: Option<Instant>) {
        if let Some(was) = std::mem::replace(&mut self.slots[slot].due, due) {
            self.due.remove(&(was, slot));
        }
        if let Some(at) = due {
            self.due.insert((at, slot));
        }
    }
}

fn distinct(periods: &[Duration]) -> BTreeSet<Duration> {
    periods.iter().copied().collect()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
