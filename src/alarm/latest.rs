//! What is known of a device right now: the last reading of each point and whether it answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cel::{common::value::CowVal, context::VariableResolver};

use jiff::Timestamp;

use super::{
    Truth,
    hold::{Counts, Hold},
};
use crate::{
    domain::{Failure, Mono, PointIx, Quality, Sample, Stamp, Value, expression::cel_value},
    profile::{Link, Profile, Read},
};

/// A polled value that nobody refreshed or withdrew for this long is not acted upon: its bus must be stuck.
const STUCK: Duration = Duration::from_secs(30);

/// What a point that is held counts as.
static TRUE: Value = Value::Flag(true);

#[derive(Debug)]
pub struct Latest {
    profile: Arc<Profile>,
    points: Vec<Point>,
    /// Of those that a class holds; most devices have none.
    holds: Box<[Hold]>,
    freshness: Freshness,
    /// Counts the changes.
    changes: u64,
    link: Truth,
    /// The loss of its whole line is the line's own alarm: then nobody knows how this device is.
    line_reports: bool,
    answered: Option<Stamp>,
    /// Why it does not answer, if it does not.
    silence: Option<Failure>,
    /// Points that it refuses, and with which code.
    refused: BTreeMap<PointIx, u16>,
}

/// How long a good value may be acted upon. In nanoseconds, as [`Moment`].
#[derive(Debug)]
struct Freshness {
    /// Per point; `None`: until the next one.
    fresh_for: Box<[Option<u64>]>,
    /// So long every one of them may.
    surely_for: u64,
    /// Its values are asked for, so there is always a next one; others come when they come.
    polled: bool,
    /// Polled values from before this moment do not count: nobody could have withdrawn them in time.
    not_before: u64,
}

impl Freshness {
    fn of(profile: &Profile) -> Self {
        let limit = |point| fresh_for(profile, point).map(nanos);
        let fresh_for: Box<[_]> = profile.all_points().map(limit).collect();
        Self {
            surely_for: fresh_for.iter().flatten().min().copied().unwrap_or(u64::MAX),
            fresh_for,
            polled: match profile.link {
                Link::Modbus(_) | Link::Dlt645(_) => true,
                Link::Serial(_) | Link::Mqtt(_) => false,
            },
            not_before: 0,
        }
    }

    /// Whether a value of `point` that was read at `then` may still be acted upon.
    #[inline]
    fn is_fresh(&self, point: usize, then: Moment, now: u64) -> bool {
        let age = now.saturating_sub(then.mono);
        let in_time = age <= self.surely_for || self.fresh_for[point].is_none_or(|limit| age <= limit);
        in_time && (!self.polled || then.mono >= self.not_before)
    }
}

fn holds(profile: &Profile) -> Box<[Hold]> {
    let points = profile.all_points();
    points.filter_map(|point| Some(Hold::new(point, profile.class_point(point).hold?))).collect()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One point, as it was read last. Small: every reading of every device passes through one of these.
#[derive(Debug, Default)]
struct Point {
    read: Option<(Sample, Moment)>,
    /// At which of the device's changes its sample last became another.
    changed: u64,
}

/// A [`Stamp`] in half the space: nanoseconds since boot, microseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Moment {
    mono: u64,
    wall: i64,
}

/// How long a good value of this point may be acted upon; `None`: until the next one.
pub fn fresh_for(profile: &Profile, point: PointIx) -> Option<Duration> {
    let point = &profile.points[usize::from(point.0)];
    let stuck = STUCK.max(point.every * 3);
    match (&point.read, &profile.link) {
        (Read::Modbus { .. }, _) | (_, Link::Modbus(_) | Link::Dlt645(_)) => Some(stuck),
        (_, Link::Mqtt(link)) => link.heartbeat,
        (_, Link::Serial(link)) => Some(stuck.max(link.heartbeat.unwrap_or(Duration::ZERO))),
    }
}

impl Latest {
    /// `line_reports`: its line says by itself when it is down.
    pub fn new(profile: Arc<Profile>, line_reports: bool) -> Self {
        Self {
            points: profile.points.iter().map(|_| Point::default()).collect(),
            holds: holds(&profile),
            freshness: Freshness::of(&profile),
            changes: 0,
            profile,
            link: Truth::Unknown,
            line_reports,
            answered: None,
            silence: None,
            refused: BTreeMap::new(),
        }
    }

    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The device spoke: these points have these values. Returns whether anything is different from before.
    pub fn heard(&mut self, samples: &[(PointIx, Sample)], at: Stamp) -> bool {
        let mut different = self.link != Truth::False;
        let moment = Moment::from(at);
        for (point, sample) in samples {
            different |= self.note(*point, sample, moment);
        }
        different |= !self.holds.is_empty() && self.hold(samples, at.mono);
        self.link = Truth::False;
        self.answered = Some(at);
        self.silence = None;
        if !self.refused.is_empty() {
            self.refused.retain(|point, _| samples.iter().all(|(answered, _)| answered != point));
        }
        different
    }

    /// What was read of points that are held. Returns whether one of them counts as something else.
    fn hold(&mut self, samples: &[(PointIx, Sample)], now: Mono) -> bool {
        let mut different = false;
        for hold in &mut self.holds {
            let read = samples.iter().find(|(point, sample)| *point == hold.point && sample.is_good());
            if let Some(Value::Flag(flag)) = read.and_then(|(_, sample)| sample.value())
                && hold.read(*flag, now)
            {
                self.changes += 1;
                self.points[usize::from(hold.point.0)].changed = self.changes;
                different = true;
            }
        }
        different
    }

    /// Time has gone on. Returns whether a point counts as something else, though nothing was read.
    pub fn pass(&mut self, now: Mono) -> bool {
        let mut different = false;
        for hold in &mut self.holds {
            if hold.pass(now) {
                self.changes += 1;
                self.points[usize::from(hold.point.0)].changed = self.changes;
                different = true;
            }
        }
        different
    }

    /// When a point that is held will count as something else, if nothing is read.
    pub fn held_until(&self) -> Option<Mono> {
        self.holds.iter().filter_map(Hold::until).min()
    }

    /// Values that are old, or of an unknown age: noted where nothing better is known, but no sign of life. Returns whether anything
    /// is different from before.
    pub fn recalled(&mut self, samples: &[(PointIx, Sample)], at: Stamp) -> bool {
        let mut different = false;
        for (point, sample) in samples {
            if !self.good(*point, at.mono) {
                different |= self.note(*point, sample, at.into());
            }
        }
        different
    }

    /// What the device said cannot be read: its points have no value, and it counts as not answering.
    pub fn garbled(&mut self, points: &[PointIx], at: Stamp) -> bool {
        let before = std::mem::replace(&mut self.link, Truth::True);
        points.iter().fold(before != Truth::True, |different, point| {
            self.note(*point, &Sample::without_value(Quality::DecodeError), at.into()) | different
        })
    }

    /// There was nothing to decode: these points have no value now. Returns whether anything is different from before.
    pub fn failed(&mut self, points: &[PointIx], why: &Failure, at: Stamp) -> bool {
        let link = match why {
            Failure::Refused { .. } => Truth::False,
            Failure::NotHeardYet => Truth::Unknown,
            Failure::LineDown { .. } if self.line_reports => Truth::Unknown,
            Failure::Silent | Failure::Garbled { .. } | Failure::LineDown { .. } => Truth::True,
        };
        let mut different = self.link != link;
        for point in points {
            different |= self.note(*point, &Sample::without_value(Quality::CommFail), at.into());
        }
        self.link = link;
        match why {
            Failure::Refused { code } => {
                self.answered = Some(at);
                self.silence = None;
                self.refused.extend(points.iter().map(|point| (*point, *code)));
            }
            Failure::Silent | Failure::Garbled { .. } | Failure::LineDown { .. } | Failure::NotHeardYet => {
                self.silence = Some(why.clone());
            }
        }
        different
    }

    fn note(&mut self, point: PointIx, sample: &Sample, at: Moment) -> bool {
        let index = usize::from(point.0);
        let Some(point) = self.points.get_mut(index) else { return false };
        // Most are numbers, and whether one is another than before is chance: so nothing here branches on it.
        if let (Some((last, then)), Some(new)) = (&mut point.read, sample.good_number())
            && let Some(known) = last.good_number_mut()
        {
            let different = (*known != new) | !self.freshness.is_fresh(index, *then, at.mono);
            (*known, *then) = (new, at);
            self.changes += u64::from(different);
            point.changed = if different { self.changes } else { point.changed };
            return different;
        }
        match &mut point.read {
            // A value that had gone stale is different again when it is read anew.
            Some((last, then)) if last == sample && self.freshness.is_fresh(index, *then, at.mono) => {
                *then = at;
                return false;
            }
            Some((last, then)) => {
                *last = sample.clone();
                *then = at;
            }
            read @ None => *read = Some((sample.clone(), at)),
        }
        self.changes += 1;
        point.changed = self.changes;
        true
    }

    /// A number that grows with each change of any of `points`; `None` if one of them is not good at `now`.
    pub fn all_good(&self, points: &[PointIx], now: Mono) -> Option<u64> {
        let now = nanos(now.0);
        points.iter().try_fold(0, |newest, point| {
            let index = usize::from(point.0);
            let Point { read: Some((sample, at)), changed } = self.points.get(index)? else { return None };
            let good = sample.is_good() && self.freshness.is_fresh(index, *at, now);
            good.then(|| newest.max(*changed))
        })
    }

    /// The gateway itself stood still until `now`: what was polled before may long be over.
    pub fn stood_still(&mut self, now: Mono) {
        self.freshness.not_before = nanos(now.0);
    }

    /// Whether the link to the device is lost.
    pub fn link_lost(&self) -> Truth {
        self.link
    }

    /// Why it does not answer, or what it refuses though it answers.
    pub fn trouble(&self) -> Option<Failure> {
        let refusal = || self.refused.values().next().map(|code| Failure::Refused { code: *code });
        self.silence.clone().or_else(refusal)
    }

    /// When the device last answered, be it with a refusal.
    pub fn answered(&self) -> Option<Stamp> {
        self.answered
    }

    /// The last reading of a point as it counts at `now`: what was good may be stale by now.
    pub fn sample(&self, point: PointIx, now: Mono) -> Option<(Sample, Stamp)> {
        let index = usize::from(point.0);
        let (sample, at) = self.points.get(index)?.read.as_ref()?;
        let fresh = self.freshness.is_fresh(index, *at, nanos(now.0));
        Some((if fresh { sample.clone() } else { sample.clone().aged() }, (*at).into()))
    }

    /// The value of a point, if it is good at `now`.
    pub fn good(&self, point: PointIx, now: Mono) -> bool {
        let index = usize::from(point.0);
        let read = self.points.get(index).and_then(|point| point.read.as_ref());
        read.is_some_and(|(sample, at)| sample.is_good() && self.freshness.is_fresh(index, *at, nanos(now.0)))
    }

    /// The last value of a point, however old, as it counts in a condition; `None` also where nobody knows what it counts as.
    pub fn value(&self, point: PointIx) -> Option<&Value> {
        let held = self.holds.iter().find(|hold| hold.point == point);
        match held.map_or(Counts::AsRead, Hold::counts) {
            Counts::AsRead => {}
            Counts::AsTrue => return Some(&TRUE),
            Counts::Unknown => return None,
        }
        let (sample, _) = self.points.get(usize::from(point.0))?.read.as_ref()?;
        sample.value()
    }
}

impl From<Stamp> for Moment {
    fn from(Stamp { mono, wall }: Stamp) -> Self {
        Self { mono: nanos(mono.0), wall: wall.as_microsecond() }
    }
}

impl From<Moment> for Stamp {
    fn from(moment: Moment) -> Self {
        let wall = Timestamp::from_microsecond(moment.wall).expect("it came from a timestamp");
        Self { mono: Mono(Duration::from_nanos(moment.mono)), wall }
    }
}

/// Conditions see the points under their class's names.
impl VariableResolver for Latest {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let at = self.profile.points.iter().position(|point| &*point.name == name)?;
        self.value(PointIx(u16::try_from(at).ok()?)).map(cel_value)
    }
}
