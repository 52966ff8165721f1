//! The times of an event that was written while the clock was not set, by the clock that was set later: the time since boot, which
//! stands in both, says how far the one was from the other. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{Event, TimeQuality};

/// A moment of a boot of which the time is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockSet {
    /// Which boot: how its id begins.
    pub boot: String,
    pub mono_ms: u64,
    pub at: Timestamp,
    pub quality: TimeQuality,
}

/// How far the clock was off when an event was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutRight {
    /// When it was, as it was written.
    stamped: Timestamp,
    /// When the box came up, by the same clock.
    boot: Timestamp,
    pub shift: SignedDuration,
    /// What the clock is worth by which it is put right.
    pub quality: TimeQuality,
}

impl PutRight {
    /// `None` if the event's own clock was believed, or its boot's time is not known. `sets`: in their order.
    pub fn of(event: &Event, sets: &[ClockSet]) -> Option<Self> {
        if event.time_quality.is_believed() {
            return None;
        }
        let after = |set: &&ClockSet| {
            set.quality.is_believed()
                && !set.boot.is_empty()
                && event.boot_id.starts_with(&set.boot)
                && set.mono_ms >= event.mono_ms
        };
        let mut later = sets.iter().filter(after);
        let compared = later.clone().find(|set| set.quality == TimeQuality::Synced);
        // set by hand, and by hand again: the last word counts
        let set = compared.or_else(|| later.next_back())?;
        let gone = milliseconds(set.mono_ms - event.mono_ms);
        let right = set.at.checked_sub(gone).ok()?;
        let boot = event.at.checked_sub(milliseconds(event.mono_ms)).unwrap_or(Timestamp::MIN);
        let shift = right.duration_since(event.at);
        Some(Self { stamped: event.at, boot, shift, quality: set.quality })
    }

    /// A time in the event: put right if that clock gave it. One that an earlier boot's clock gave is as it was; of times to come
    /// those count that are nearer to that clock's present than to the right one.
    pub fn time(&self, at: Timestamp) -> Timestamp {
        let Ok(right) = self.stamped.checked_add(self.shift) else { return at };
        let ours = at >= self.boot && distance(at, self.stamped) < distance(at, right);
        if ours { at.checked_add(self.shift).unwrap_or(at) } else { at }
    }
}

fn distance(one: Timestamp, other: Timestamp) -> SignedDuration {
    one.duration_since(other).abs()
}

fn milliseconds(count: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "put_right_tests.rs"]
mod tests;
