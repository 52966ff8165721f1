//! Rules that look at more than the moment: how often a condition came, how fast a number changes, whether a value is stuck. On
//! monotonic time; what was not seen counts as unknown, never as nothing.

use std::{collections::VecDeque, time::Duration};

use super::{Latest, Truth, delay::Delay};
use crate::{
    domain::{Mono, OnDelay, PointIx, PointName, Seen, Value, Watch},
    profile,
};

/// What was counted is written down this often at most.
const KEEP_COUNT_EVERY: Duration = Duration::from_secs(5);
/// How long a value has stood still, this often; or after a tenth of what is waited for, whichever is longer.
const KEEP_STILL_EVERY: Duration = Duration::from_secs(20);
/// A window of time is told apart in so many parts: it is longer by one of them at most.
const PARTS: u32 = 64;

/// A class's rule over time, for one product.
#[derive(Clone, Debug, PartialEq)]
pub enum OverTime {
    Count { times: usize, within: Duration },
    Rate { point: PointIx, rise: Option<f64>, fall: Option<f64>, within: Duration },
    Stuck { point: PointIx, lasting: Duration, deadband: f64 },
}

/// What one alarm's rule has seen so far.
#[derive(Clone, Debug)]
pub struct History {
    seen: Known,
    /// Since when nothing was missed; `None`: nothing is known now.
    covered_since: Option<Mono>,
    /// When it was written down last, and whether it is another since.
    kept: Option<Mono>,
    changed: bool,
    looked: Mono,
    /// As of the last look.
    holds: bool,
}

#[derive(Clone, Debug)]
enum Known {
    Counted { at: VecDeque<Mono>, was: Option<bool> },
    Run(VecDeque<Part>),
    Still { value: Option<Value>, running: Option<Delay> },
}

/// A part of a window: between which values, and when last.
#[derive(Clone, Copy, Debug)]
struct Part {
    begun: Mono,
    last: Mono,
    low: f64,
    high: f64,
}

impl OverTime {
    /// # Errors
    /// The point that `find` does not find.
    pub(super) fn of(
        written: &profile::OverTime,
        find: impl Fn(&str) -> Option<PointIx>,
    ) -> Result<Self, PointName> {
        let found = |name: &PointName| find(name.as_str()).ok_or_else(|| name.clone());
        Ok(match written {
            profile::OverTime::Count { times, within } => Self::Count { times: *times, within: *within },
            profile::OverTime::Rate { point, rise, fall, within } => {
                Self::Rate { point: found(point)?, rise: *rise, fall: *fall, within: *within }
            }
            profile::OverTime::Stuck { point, lasting, deadband } => {
                Self::Stuck { point: found(point)?, lasting: *lasting, deadband: *deadband }
            }
        })
    }

    pub(super) fn point(&self) -> Option<PointIx> {
        match self {
            Self::Count { .. } => None,
            Self::Rate { point, .. } | Self::Stuck { point, .. } => Some(*point),
        }
    }
}

impl History {
    /// From where it was left off. What another boot counted by its own time is gone; how long a value stood still is not.
    pub fn restored(rule: &OverTime, watch: Option<&Watch>, boot_id: &str) -> Self {
        let same_boot = watch.is_some_and(|watch| watch.boot_id == boot_id);
        let before = watch.map(|watch| watch.seen.clone());
        let (seen, kept) = match (rule, before) {
            (OverTime::Count { .. }, Some(Seen::Counted { at })) => {
                let kept = at.last().copied().filter(|_| same_boot);
                let at = if same_boot { at.into() } else { VecDeque::new() };
                // what it was while nobody looked is not known
                (Known::Counted { at, was: None }, kept)
            }
            (OverTime::Count { .. }, _) => (Known::Counted { at: VecDeque::new(), was: None }, None),
            (OverTime::Rate { .. }, _) => (Known::Run(VecDeque::new()), None),
            (OverTime::Stuck { .. }, Some(Seen::Still { value, lasted })) => {
                let seen = if same_boot { lasted.seen } else { Mono(Duration::ZERO) };
                let running = Some(Delay::restored(OnDelay { seen, ..lasted }));
                (Known::Still { value: Some(value), running }, Some(seen))
            }
            (OverTime::Stuck { .. }, _) => (Known::Still { value: None, running: None }, None),
        };
        Self { seen, covered_since: None, kept, changed: false, looked: Mono(Duration::ZERO), holds: false }
    }

    /// One more look: whether the rule holds at `now`. `when`: its condition at this moment.
    pub fn observe(&mut self, rule: &OverTime, when: Truth, latest: &Latest, now: Mono) -> Truth {
        let truth = self.look(rule, when, latest, now);
        (self.looked, self.holds) = (now, truth == Truth::True);
        truth
    }

    fn look(&mut self, rule: &OverTime, when: Truth, latest: &Latest, now: Mono) -> Truth {
        match (rule, &mut self.seen) {
            (OverTime::Count { times, within }, Known::Counted { at, was }) => {
                cover(&mut self.covered_since, when != Truth::Unknown, now);
                self.changed |= count(at, was, when, now, *times);
                at.retain(|then| now.since(*then) <= *within);
                known(at.len() >= *times, self.covered_since, *within, now)
            }
            (OverTime::Rate { point, rise, fall, within }, Known::Run(parts)) => {
                parts.retain(|part| now.since(part.last) <= *within);
                let number = number(latest, *point, now);
                cover(&mut self.covered_since, number.is_some() && when != Truth::Unknown, now);
                let Some(number) = number else { return Truth::Unknown };
                run(parts, number, now, *within);
                let beyond = rises(parts, number, *rise) || falls(parts, number, *fall);
                match when {
                    Truth::True => known(beyond, self.covered_since, *within, now),
                    Truth::False | Truth::Unknown => when,
                }
            }
            (OverTime::Stuck { point, lasting, deadband }, Known::Still { value, running }) => {
                let read = latest.value(*point).filter(|_| latest.good(*point, now));
                let look = Stillness { when, read, deadband: *deadband, lasting: *lasting };
                self.changed |= look.observe(value, running, now);
                look.truth(running.as_ref())
            }
            // a history is made for its rule
            (_, Known::Counted { .. } | Known::Run(_) | Known::Still { .. }) => Truth::Unknown,
        }
    }

    /// When the rule is to be looked at though nothing was read: it may come or go by time alone, or be worth writing down.
    pub fn deadline(&self, rule: &OverTime) -> Option<Mono> {
        let by_itself = match (rule, &self.seen) {
            (OverTime::Count { within, .. }, Known::Counted { at, .. }) => {
                let next = at.front().filter(|_| self.holds).map(|then| just_after(*then, *within));
                [next, self.covered_at(*within)].into_iter().flatten().min()
            }
            (OverTime::Rate { within, .. }, Known::Run(parts)) => {
                let next = parts.front().filter(|_| self.holds);
                let next = next.map(|part| just_after(part.last, *within));
                [next, self.covered_at(*within)].into_iter().flatten().min()
            }
            (OverTime::Stuck { lasting, .. }, Known::Still { running, .. }) => {
                running.filter(|delay| !delay.is_over(*lasting)).and_then(|delay| delay.deadline(*lasting))
            }
            (_, Known::Counted { .. } | Known::Run(_) | Known::Still { .. }) => None,
        };
        [by_itself, self.keeps_at(rule)].into_iter().flatten().min()
    }

    /// When enough has been seen to say that it is not so; `None`: it has been, or nothing is known.
    fn covered_at(&self, within: Duration) -> Option<Mono> {
        self.covered_since.map(|since| since + within).filter(|at| *at > self.looked)
    }

    /// When it is to be written down next.
    fn keeps_at(&self, rule: &OverTime) -> Option<Mono> {
        match (rule, &self.seen) {
            (OverTime::Count { .. }, Known::Counted { .. }) => {
                self.changed.then(|| self.kept.map_or(Mono(Duration::ZERO), |kept| kept + KEEP_COUNT_EVERY))
            }
            (OverTime::Stuck { lasting, .. }, Known::Still { running, .. }) => {
                let every = KEEP_STILL_EVERY.max(*lasting / 10).min(*lasting);
                let runs = running.filter(|delay| delay.deadline(*lasting).is_some());
                match (self.kept, runs) {
                    // what was written stands still no more
                    (Some(_), _) if self.changed => Some(Mono(Duration::ZERO)),
                    (Some(kept), Some(delay)) if !delay.is_over(*lasting) => Some(kept + every),
                    (None, Some(delay)) => {
                        Some(delay.since.seen + every.saturating_sub(delay.since.credited))
                    }
                    (Some(_), _) | (None, None) => None,
                }
            }
            (_, Known::Counted { .. } | Known::Run(_) | Known::Still { .. }) => None,
        }
    }

    pub fn is_to_be_kept(&self, rule: &OverTime, now: Mono) -> bool {
        self.keeps_at(rule).is_some_and(|at| at <= now)
    }

    /// As it is written down. `None`: there is nothing to remember.
    pub fn watch(&self, boot_id: &str) -> Option<Box<Watch>> {
        let seen = match &self.seen {
            Known::Counted { at, .. } if !at.is_empty() => Seen::Counted { at: at.iter().copied().collect() },
            Known::Still { value: Some(value), running: Some(delay) } if !delay.since.credited.is_zero() => {
                Seen::Still { value: value.clone(), lasted: delay.since }
            }
            Known::Counted { .. } | Known::Run(_) | Known::Still { .. } => return None,
        };
        Some(Box::new(Watch { boot_id: boot_id.to_owned(), seen }))
    }

    /// `watch` stands on disk now, as of `now`.
    pub fn is_kept(&mut self, watch: Option<&Watch>, now: Mono) {
        self.kept = watch.map(|_| now);
        self.changed = false;
    }
}

/// `at` plus `within` still counts.
fn just_after(at: Mono, within: Duration) -> Mono {
    at + within + Duration::from_millis(1)
}

fn cover(since: &mut Option<Mono>, is_known: bool, now: Mono) {
    *since = if is_known { since.or(Some(now)) } else { None };
}

/// What has not been seen for the whole of `within` may have been more.
fn known(holds: bool, covered_since: Option<Mono>, within: Duration, now: Mono) -> Truth {
    match holds {
        true => Truth::True,
        false if covered_since.is_some_and(|since| now.since(since) >= within) => Truth::False,
        false => Truth::Unknown,
    }
}

/// Whether it came once more. Of the times that it came the latest `most` matter.
fn count(at: &mut VecDeque<Mono>, was: &mut Option<bool>, when: Truth, now: Mono, most: usize) -> bool {
    let is = match when {
        Truth::Unknown => return false,
        Truth::True => true,
        Truth::False => false,
    };
    let comes = is && *was == Some(false);
    if comes {
        at.push_back(now);
        at.drain(..at.len().saturating_sub(most));
    }
    *was = Some(is);
    comes
}

fn number(latest: &Latest, point: PointIx, now: Mono) -> Option<f64> {
    match latest.value(point).filter(|_| latest.good(point, now))? {
        Value::Number(number) => Some(*number),
        Value::Flag(_) | Value::Text(_) => None,
    }
}

fn run(parts: &mut VecDeque<Part>, number: f64, now: Mono, within: Duration) {
    match parts.back_mut().filter(|part| now.since(part.begun) < within / PARTS) {
        Some(part) => {
            (part.last, part.low, part.high) = (now, part.low.min(number), part.high.max(number));
        }
        None => parts.push_back(Part { begun: now, last: now, low: number, high: number }),
    }
}

fn rises(parts: &VecDeque<Part>, number: f64, by: Option<f64>) -> bool {
    let lowest = parts.iter().map(|part| part.low).fold(number, f64::min);
    by.is_some_and(|by| number - lowest >= by)
}

fn falls(parts: &VecDeque<Part>, number: f64, by: Option<f64>) -> bool {
    let highest = parts.iter().map(|part| part.high).fold(number, f64::max);
    by.is_some_and(|by| highest - number >= by)
}

/// One look at whether a value stands still.
struct Stillness<'a> {
    when: Truth,
    /// If it is good.
    read: Option<&'a Value>,
    deadband: f64,
    lasting: Duration,
}

impl Stillness<'_> {
    /// Whether it moved, or need not.
    fn observe(&self, value: &mut Option<Value>, running: &mut Option<Delay>, now: Mono) -> bool {
        let (Some(read), Truth::True | Truth::False) = (self.read, self.when) else {
            *running = Delay::observe(*running, Truth::Unknown, Truth::True, self.lasting, now);
            return false;
        };
        let moved = value.as_ref().is_none_or(|anchor| differs(anchor, read, self.deadband));
        let ends = (moved || self.when == Truth::False) && running.is_some();
        if moved {
            *value = Some(read.clone());
        }
        if moved || self.when == Truth::False {
            *running = None;
        }
        if self.when == Truth::True {
            *running = Delay::observe(*running, Truth::True, Truth::True, self.lasting, now);
        }
        ends
    }

    fn truth(&self, running: Option<&Delay>) -> Truth {
        match (self.when, self.read) {
            (Truth::Unknown, _) | (_, None) => Truth::Unknown,
            (Truth::False, Some(_)) => Truth::False,
            (Truth::True, Some(_)) if running.is_some_and(|delay| delay.is_over(self.lasting)) => Truth::True,
            (Truth::True, Some(_)) => Truth::False,
        }
    }
}

fn differs(anchor: &Value, read: &Value, deadband: f64) -> bool {
    match (anchor, read) {
        (Value::Number(anchor), Value::Number(read)) => (anchor - read).abs() > deadband,
        (anchor, read) => anchor != read,
    }
}
