//! Time that passes, counted across restarts: what shelves, escalation and the rescue clock wait by. Pure; the wall clock has no say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mono;

/// Since when something is waited for: `credited` had passed as of `seen`, in the boot `boot_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passing {
    pub credited: Duration,
    pub seen: Mono,
    pub boot_id: String,
}

/// How long it has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    Exactly(Duration),
    /// The box itself was off in between, and nobody knows for how long: what is known, with the time since it came up.
    AtLeast(Duration),
}

impl Passing {
    pub fn begun(now: Mono, boot_id: &str) -> Self {
        Self { credited: Duration::ZERO, seen: now, boot_id: boot_id.to_owned() }
    }

    pub fn passed(&self, now: Mono, boot_id: &str) -> Passed {
        if self.boot_id == boot_id {
            Passed::Exactly(self.credited.saturating_add(now.since(self.seen)))
        } else {
            Passed::AtLeast(self.credited.saturating_add(now.0))
        }
    }

    /// Whether `limit` is over, or may be: what may not last longer than this.
    pub fn may_be_over(&self, limit: Duration, now: Mono, boot_id: &str) -> bool {
        match self.passed(now, boot_id) {
            Passed::Exactly(passed) => passed >= limit,
            Passed::AtLeast(_) => true,
        }
    }

    /// When [`Self::may_be_over`] becomes true.
    pub fn over_at(&self, limit: Duration, boot_id: &str) -> Mono {
        if self.boot_id == boot_id { self.reaches(limit, boot_id) } else { Mono(Duration::ZERO) }
    }

    /// When `limit` will surely have passed, as far as is known.
    pub fn reaches(&self, limit: Duration, boot_id: &str) -> Mono {
        let left = limit.saturating_sub(self.credited);
        if self.boot_id == boot_id { Mono(self.seen.0.saturating_add(left)) } else { Mono(left) }
    }

    /// The same, as it is to be kept at `now`.
    pub fn kept(&self, now: Mono, boot_id: &str) -> Self {
        let credited = self.passed(now, boot_id).at_least();
        Self { credited, seen: now, boot_id: boot_id.to_owned() }
    }
}

impl Passed {
    pub fn at_least(self) -> Duration {
        match self {
            Passed::Exactly(passed) | Passed::AtLeast(passed) => passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_restart_moves_nothing_and_a_reboot_is_counted_as_long_enough() {
        let passing = Passing::begun(Mono(seconds(1000)), "a");
        // now, boot; passed, over after 60 s; when over
        let facts = [
            (1000, "a", Passed::Exactly(seconds(0)), false),
            (1059, "a", Passed::Exactly(seconds(59)), false),
            (1060, "a", Passed::Exactly(seconds(60)), true),
            (900, "a", Passed::Exactly(seconds(0)), false),
            (5, "b", Passed::AtLeast(seconds(5)), true),
        ];
        for (now, boot, passed, over) in facts {
            let now = Mono(seconds(now));
            assert_eq!(passing.passed(now, boot), passed, "{now:?} {boot}");
            assert_eq!(passing.may_be_over(seconds(60), now, boot), over, "{now:?} {boot}");
            assert_eq!(passing.over_at(seconds(60), boot) <= now, over, "{now:?} {boot}");
        }
        assert_eq!(passing.reaches(seconds(60), "a"), Mono(seconds(1060)));
        assert_eq!(passing.reaches(seconds(60), "b"), Mono(seconds(60)), "the box's own time is known");
    }

    #[test]
    fn what_is_kept_goes_on_from_there() {
        let kept = Passing::begun(Mono(seconds(10)), "a").kept(Mono(seconds(40)), "a");
        assert_eq!(kept.passed(Mono(seconds(50)), "a"), Passed::Exactly(seconds(40)));
        let after = kept.kept(Mono(seconds(7)), "b");
        assert_eq!(after.passed(Mono(seconds(8)), "b"), Passed::Exactly(seconds(38)));
        let absurd = Passing { credited: Duration::MAX, ..after };
        assert_eq!(
            absurd.passed(Mono(seconds(8)), "b"),
            Passed::Exactly(Duration::MAX),
            "no file makes it panic"
        );
    }
}
