//! Messages that come again, too late, or out of the broker's memory: told from news only where that is certain.
//!
//! A wrong drop loses an alarm, so in doubt a message is news. What it goes by is the device's own number and time:
//!
//! - **Again**: the same number, the same time and the same readings as a message that was taken as news within ten minutes. Where
//!   the device tells no time, only the newest message is known again: a counter that began anew says the same numbers.
//! - **Old**: its time is before the newest that was heard, and its number did not go on from there; or, without a time, its number
//!   is a little behind the newest. A number that is far behind is a device that began anew. So is one with a newer time.
//! - What the broker kept is old unless its time proves it fresh.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::{DeviceIx, Mono, PointIx, Sample, Value};

/// Within this a message that comes again is known again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Of one device. More than brokers send at once without an acknowledgement, as they come.
const MOST_REMEMBERED: usize = 64;
/// Numbers this near to the newest are of the same count: behind it late, before it its next.
const NEAR: u64 = 16;

/// What a message says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub sequence: Option<u64>,
    /// The device's own time, where it is believed.
    pub time: Option<Timestamp>,
    /// Of the readings: see [`digest`].
    pub readings: u64,
}

/// Whether the broker kept it, and whether its time proves it fresh all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    No,
    Fresh,
    AgeUnknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    News,
    /// True once; nothing follows from it.
    Old,
    /// Nothing that was not heard before.
    Again,
}

/// What each device said lately.
#[derive(Debug, Default)]
pub struct Recent(BTreeMap<DeviceIx, Device>);

#[derive(Debug, Default)]
struct Device {
    newest: Option<Newest>,
    /// Oldest first.
    before: VecDeque<Heard>,
}

/// How far the device has come: the number and the time it said last.
#[derive(Debug)]
struct Newest {
    sequence: Option<u64>,
    time: Option<Timestamp>,
    at: Mono,
}

#[derive(Debug)]
struct Heard {
    told: Told,
    at: Mono,
    news: bool,
}

impl Recent {
    /// What the message is; it is remembered.
    pub fn judge(&mut self, device: DeviceIx, told: Told, kept: Kept, now: Mono) -> Recency {
        if told.sequence.is_none() && told.time.is_none() {
            return if kept == Kept::No { Recency::News } else { Recency::Old };
        }
        let device = self.0.entry(device).or_default();
        device.before.retain(|heard| now.since(heard.at) <= REMEMBERED);
        if device.knows(&told, kept) {
            return Recency::Again;
        }
        let news = kept != Kept::AgeUnknown && !device.is_behind(&told, now);
        if news {
            device.advance(&told, now);
        }
        if device.before.len() == MOST_REMEMBERED {
            device.before.pop_front();
        }
        device.before.push_back(Heard { told, at: now, news });
        if news { Recency::News } else { Recency::Old }
    }
}

impl Device {
    /// What was only ever heard as old makes no news old; what the broker kept is known again either way.
    fn knows(&self, told: &Told, kept: Kept) -> bool {
        let newest = self.before.iter().rev().find(|heard| heard.news);
        let is_newest = newest.is_some_and(|heard| heard.told == *told);
        let certain = told.time.is_some() || is_newest;
        let known = |heard: &Heard| heard.told == *told && (heard.news || kept == Kept::AgeUnknown);
        told.sequence.is_some() && certain && self.before.iter().any(known)
    }

    /// A message that leaves out its number or time takes nothing from what is known.
    fn advance(&mut self, told: &Told, now: Mono) {
        let (sequence, time) = self.newest.as_ref().map_or((None, None), |last| (last.sequence, last.time));
        self.newest =
            Some(Newest { sequence: told.sequence.or(sequence), time: told.time.or(time), at: now });
    }

    fn is_behind(&self, told: &Told, now: Mono) -> bool {
        let Some(newest) = &self.newest else { return false };
        let numbers = told.sequence.zip(newest.sequence);
        let before = numbers.is_some_and(|(number, newest)| number < newest);
        match told.time.zip(newest.time) {
            Some((time, newest)) if time > newest => false,
            Some((time, newest)) if time == newest => before,
            // its clock was set back, and it counts on
            Some(_) => !numbers.is_some_and(|(number, newest)| number > newest && number - newest <= NEAR),
            None => {
                let near = numbers.is_some_and(|(number, newest)| newest.abs_diff(number) <= NEAR);
                before && near && now.since(newest.at) <= REMEMBERED
            }
        }
    }
}

/// The same for the same readings.
pub fn digest(samples: &[(PointIx, Sample)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (point, sample) in samples {
        (point, sample.quality()).hash(&mut hasher);
        match sample.value() {
            None => 0u8.hash(&mut hasher),
            Some(Value::Flag(flag)) => (1u8, flag).hash(&mut hasher),
            Some(Value::Number(number)) => (2u8, number.to_bits()).hash(&mut hasher),
            Some(Value::Text(text)) => (3u8, text).hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Kept::{AgeUnknown, Fresh, No},
        Recency::{Again, News, Old},
        *,
    };

    const DEVICE: DeviceIx = DeviceIx(3);
    const START: Mono = Mono(Duration::from_secs(1000));

    /// What is said: its number, its time in seconds, what it reads; −1 for none.
    fn told(sequence: i64, time: i64, readings: u64) -> Told {
        Told {
            sequence: u64::try_from(sequence).ok(),
            time: (time >= 0).then(|| Timestamp::from_second(time).unwrap()),
            readings,
        }
    }

    /// After so many seconds, this is said; what is it?
    type Step = (u64, (i64, i64, u64), Kept, Recency);

    fn story(fact: &str, steps: &[Step]) {
        let mut recent = Recent::default();
        let mut now = START;
        for (n, (after, (sequence, time, readings), kept, want)) in steps.iter().enumerate() {
            now = now + Duration::from_secs(*after);
            let is = recent.judge(DEVICE, told(*sequence, *time, *readings), *kept, now);
            assert_eq!(is, *want, "{fact}: step {n}");
        }
    }

    #[test]
    fn numbered_and_timed() {
        let cases: &[(&str, &[Step])] = &[
            ("on and on", &[(0, (1, 10, 7), No, News), (5, (2, 15, 7), No, News), (5, (4, 20, 7), No, News)]),
            ("again at once", &[(0, (1, 10, 7), No, News), (0, (1, 10, 7), No, Again)]),
            (
                "three again, in order, as after a broken connection",
                &[
                    (0, (1, 10, 7), No, News),
                    (0, (2, 11, 8), No, News),
                    (0, (3, 12, 9), No, News),
                    (9, (1, 10, 7), No, Again),
                    (0, (2, 11, 8), No, Again),
                    (0, (3, 12, 9), No, Again),
                    (0, (4, 13, 9), No, News),
                ],
            ),
            (
                "again after more than ten minutes: not dropped, not acted upon",
                &[(0, (1, 10, 7), No, News), (0, (2, 11, 8), No, News), (601, (1, 10, 7), No, Old)],
            ),
            (
                "a device that began anew says the same number and the same readings at another time",
                &[
                    (0, (0, 10, 7), No, News),
                    (1, (1, 11, 8), No, News),
                    (60, (0, 71, 7), No, News),
                    (1, (1, 72, 8), No, News),
                ],
            ),
            (
                "the same number and time with other readings is another message",
                &[(0, (1, 10, 7), No, News), (0, (1, 10, 8), No, News)],
            ),
            (
                "an older message that was never heard: late, or replayed",
                &[
                    (0, (50, 500, 7), No, News),
                    (0, (49, 499, 8), No, Old),
                    (0, (7, 70, 8), No, Old),
                    (0, (51, 501, 8), No, News),
                ],
            ),
            (
                "a clock that was set back while the count goes on",
                &[(0, (50, 5000, 7), No, News), (9, (51, 1400, 8), No, News), (9, (52, 1409, 8), No, News)],
            ),
            (
                "two in one second, the later one first",
                &[(0, (2, 10, 7), No, News), (0, (1, 10, 8), No, Old)],
            ),
        ];
        cases.iter().for_each(|(fact, steps)| story(fact, steps));
    }

    #[test]
    fn numbered_only_or_timed_only_or_neither() {
        let cases: &[(&str, &[Step])] = &[
            ("the newest again", &[(0, (4, -1, 7), No, News), (3, (4, -1, 7), No, Again)]),
            ("the same number, other readings", &[(0, (4, -1, 7), No, News), (3, (4, -1, 8), No, News)]),
            (
                "not the newest: it may have begun anew, so it is not dropped",
                &[(0, (4, -1, 7), No, News), (0, (5, -1, 8), No, News), (3, (4, -1, 7), No, Old)],
            ),
            (
                "far behind: it began anew",
                &[(0, (900, -1, 7), No, News), (3, (0, -1, 7), No, News), (3, (1, -1, 7), No, News)],
            ),
            ("a number that wrapped", &[(0, (65_535, -1, 7), No, News), (3, (0, -1, 7), No, News)]),
            (
                "a little behind counts for ten minutes, no longer",
                &[
                    (0, (4, -1, 7), No, News),
                    (3, (0, -1, 7), No, Old),
                    (598, (0, -1, 7), No, News),
                    (1, (1, -1, 7), No, News),
                ],
            ),
            ("timed only: the same again is news", &[(0, (-1, 10, 7), No, News), (3, (-1, 10, 7), No, News)]),
            ("timed only: before the newest", &[(0, (-1, 10, 7), No, News), (3, (-1, 9, 7), No, Old)]),
            ("neither: all is news", &[(0, (-1, -1, 7), No, News), (0, (-1, -1, 7), No, News)]),
            (
                "a time that is not believed this once",
                &[(0, (1, 10, 7), No, News), (3, (2, -1, 7), No, News), (3, (3, 9, 7), No, News)],
            ),
        ];
        cases.iter().for_each(|(fact, steps)| story(fact, steps));
    }

    #[test]
    fn what_the_broker_kept() {
        let cases: &[(&str, &[Step])] = &[
            ("nobody knows how old", &[(0, (-1, -1, 7), AgeUnknown, Old), (0, (-1, -1, 7), AgeUnknown, Old)]),
            (
                "numbered, and it comes with each connection",
                &[(0, (4, 10, 7), AgeUnknown, Old), (9, (4, 10, 7), AgeUnknown, Again)],
            ),
            (
                "the same comes as news afterwards: from the queue behind it",
                &[
                    (0, (4, 10, 7), AgeUnknown, Old),
                    (0, (4, 10, 7), No, News),
                    (9, (4, 10, 7), AgeUnknown, Again),
                ],
            ),
            ("it makes no later message old", &[(0, (9, 90, 7), AgeUnknown, Old), (0, (8, 80, 7), No, News)]),
            (
                "fresh, by its time",
                &[(0, (4, 10, 7), Fresh, News), (0, (4, 10, 7), No, Again), (0, (3, 9, 7), Fresh, Old)],
            ),
        ];
        cases.iter().for_each(|(fact, steps)| story(fact, steps));
    }

    #[test]
    fn devices_do_not_share_numbers() {
        let mut recent = Recent::default();
        for device in [DeviceIx(0), DeviceIx(1)] {
            assert_eq!(recent.judge(device, told(1, 10, 7), No, START), News);
        }
    }

    #[test]
    fn readings_that_differ_in_anything_have_another_digest() {
        let of = |sample: Sample| digest(&[(PointIx(0), sample)]);
        let values: Vec<Value> =
            vec![true.into(), false.into(), 1.0.into(), 0.0.into(), "1".into(), "".into()];
        let mut digests: Vec<u64> = values.iter().cloned().map(|value| of(Sample::good(value))).collect();
        digests.extend(values.into_iter().map(|value| of(Sample::stale(value))));
        digests.push(of(Sample::without_value(crate::domain::Quality::Absent)));
        digests.push(digest(&[(PointIx(1), Sample::good(true.into()))]));
        digests.push(digest(&[]));
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!((digests.len(), count), (15, 15));
    }

    proptest! {
        /// A living device, counting on and with a clock that goes, is never taken for an old one, whatever it repeats.
        #[test]
        fn a_living_device_is_always_news(steps in prop::collection::vec((0u64..4000, 0u64..3, 0u64..3), 1..200)) {
            let mut recent = Recent::default();
            let (mut now, mut time) = (START, 1_000_000);
            for (sequence, (after, _, readings)) in (0..).zip(&steps) {
                now = now + Duration::from_secs(*after);
                time += *after as i64;
                prop_assert_eq!(recent.judge(DEVICE, told(sequence, time, *readings), No, now), News);
            }
        }

        /// Nothing that is said makes it remember without limit.
        #[test]
        fn memory_is_bounded(steps in prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 0..500)) {
            let mut recent = Recent::default();
            for (sequence, time, kept) in steps {
                let kept = if kept { AgeUnknown } else { No };
                recent.judge(DEVICE, told(sequence.into(), time.into(), 0), kept, START);
            }
            prop_assert!(recent.0.values().all(|device| device.before.len() <= MOST_REMEMBERED));
        }
    }
}
