//! When an endpoint is tested, and what came of it. Pure: clocks are arguments.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil::Time, tz::TimeZone};

/// `[endpoint.drill]` as checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillTurns {
    pub turns: Turns,
    /// How long a receipt may take.
    pub within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// At this time of each day of the site's calendar.
    Daily(Time),
    Every(Duration),
}

/// What the latest drill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There was none yet.
    None,
    Waiting,
    Heard,
    /// Its time is over: an alarm would not have been heard either.
    Unheard,
}

impl Heard {
    pub fn word(self) -> &'static str {
        match self {
            Heard::None => "none",
            Heard::Waiting => "waiting",
            Heard::Heard => "heard",
            Heard::Unheard => "unheard",
        }
    }
}

/// A drill that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// By the wall clock.
    pub at: Timestamp,
    /// How long ago; by the monotonic clock where it went out in this run.
    pub ago: Duration,
    pub answered: bool,
}

impl DrillTurns {
    /// Whether the next one is due. A turn that was missed is made up for; where the wall clock was put back, the next day's
    /// turn is the next.
    pub fn is_due(&self, last: Option<Gone>, now: Timestamp, zone: &TimeZone) -> bool {
        match self.turns {
            Turns::Every(every) => last.is_none_or(|last| last.ago >= every),
            Turns::Daily(time) => {
                let turn = |days: i64| {
                    let day = now.to_zoned(zone.clone()).date().checked_add(days.days()).ok()?;
                    Some(day.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp())
                };
                // the latest turn that is over: today's, or yesterday's
                let Some(turn) = [0, -1].into_iter().filter_map(turn).find(|turn| *turn <= now) else {
                    return false;
                };
                match last {
                    Some(last) => last.at < turn,
                    // no alarm for a drill that nobody could expect: the first one waits for its time
                    None => now.duration_since(turn).as_secs() < 3600,
                }
            }
        }
    }

    /// `before`: what the drill before `last` had come to, which stands while this one waits.
    pub fn heard(&self, last: Option<Gone>, before: Heard) -> Heard {
        match last {
            None => Heard::None,
            Some(Gone { answered: true, .. }) => Heard::Heard,
            Some(Gone { ago, .. }) if ago >= self.within => Heard::Unheard,
            // it is no good news that another one waits
            Some(_) if before == Heard::Unheard => Heard::Unheard,
            Some(_) => Heard::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn gone(at: &str, ago: Duration, answered: bool) -> Option<Gone> {
        Some(Gone { at: at.parse().unwrap(), ago, answered })
    }

    #[test]
    fn a_daily_drill_goes_once_a_day_and_makes_up_for_what_was_missed() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let drill = DrillTurns { turns: Turns::Daily(Time::constant(9, 0, 0, 0)), within: 10 * MINUTE };
        let due = |last: Option<&str>, now: &str| {
            let last = last.and_then(|at| gone(at, MINUTE, true));
            drill.is_due(last, now.parse().unwrap(), &zone)
        };
        for (fact, last, now, expected) in [
            ("before its time", Some("2026-11-25T09:00:01+08:00"), "2026-11-26T08:59:59+08:00", false),
            ("at its time", Some("2026-11-25T09:00:01+08:00"), "2026-11-26T09:00:00+08:00", true),
            ("done today", Some("2026-11-26T09:00:01+08:00"), "2026-11-26T23:00:00+08:00", false),
            ("the box was off", Some("2026-11-23T09:00:01+08:00"), "2026-11-26T08:00:00+08:00", true),
            ("never yet, long after its time", None, "2026-11-26T15:00:00+08:00", false),
            ("never yet, at its time", None, "2026-11-26T09:00:30+08:00", true),
            (
                "a clock that was put back",
                Some("2026-11-26T09:00:01+08:00"),
                "2026-11-20T10:00:00+08:00",
                false,
            ),
        ] {
            assert_eq!(due(last, now), expected, "{fact}");
        }
    }

    #[test]
    fn a_drill_every_so_often_goes_by_the_time_that_passed() {
        let drill = DrillTurns { turns: Turns::Every(60 * MINUTE), within: MINUTE };
        let now = "2026-11-26T08:00:00Z".parse().unwrap();
        assert!(drill.is_due(None, now, &TimeZone::UTC));
        assert!(!drill.is_due(gone("1970-01-01T00:00:00Z", 59 * MINUTE, false), now, &TimeZone::UTC));
        assert!(drill.is_due(gone("2038-01-01T00:00:00Z", 60 * MINUTE, true), now, &TimeZone::UTC));
    }

    #[test]
    fn silence_past_the_limit_is_unheard_until_one_is_heard() {
        let drill = DrillTurns { turns: Turns::Every(60 * MINUTE), within: 10 * MINUTE };
        let at = "2026-11-26T08:00:00Z";
        for (last, before, expected) in [
            (None, Heard::None, Heard::None),
            (gone(at, MINUTE, false), Heard::Heard, Heard::Waiting),
            (gone(at, 10 * MINUTE, false), Heard::Waiting, Heard::Unheard),
            (gone(at, MINUTE, false), Heard::Unheard, Heard::Unheard),
            (gone(at, 11 * MINUTE, true), Heard::Unheard, Heard::Heard),
        ] {
            assert_eq!(drill.heard(last, before), expected, "{last:?} after {before:?}");
        }
    }
}
