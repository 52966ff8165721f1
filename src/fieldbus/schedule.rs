//! When which question is due, and which of several goes first. Pure: time is an argument.
//!
//! A slot is due on its own beat (`anchor` + n × `period`) and should be served before the next one: that is its deadline. Of those that are
//! due, the earliest deadline goes first, within its lane: what alarms need goes ahead of the rest. Who comes late is asked once and waits for
//! the next beat, so a delay never makes a burst and devices stay spread out.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

/// A period below this is a busy loop, whatever a profile says.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
/// After a start everything has been asked once within this time, however long its period.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// On a line that is asked more than it can carry, one of so many questions is still not for an alarm: the rest gets slow, not lost.
const ALARMS_IN_A_ROW: u32 = 8;

/// Who goes ahead of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Questions about points that an alarm watches.
    Alarms,
    Rest,
}

/// What a slot wants of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub period: Duration,
    pub lane: Lane,
}

/// What there is to do at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This slot, now. `late`: its deadline is over, a beat was left out.
    Serve {
        slot: usize,
        late: bool,
    },
    /// Nothing before then.
    At(Instant),
    Nothing,
}

#[derive(Debug)]
pub struct Schedule {
    slots: Vec<Slot>,
    /// Not due yet, by when they are.
    waiting: BTreeSet<(Instant, usize)>,
    /// Due, by their deadlines.
    alarms: BTreeSet<(Instant, usize)>,
    rest: BTreeSet<(Instant, usize)>,
    /// Questions for alarms since the last one of the rest that was kept waiting.
    in_a_row: u32,
}

#[derive(Debug)]
struct Slot {
    anchor: Instant,
    beat: Beat,
    /// `None`: paused.
    due: Option<Instant>,
    /// Once it is due: by when it should be served.
    deadline: Option<Instant>,
}

impl Schedule {
    /// `devices[device]` = the beats of that device's slots; slots are numbered through, device after device. Devices that share a
    /// period are spread evenly over it; the slots of one device with one period are due together.
    pub fn new(devices: &[Vec<Beat>], start: Instant) -> Self {
        let mut sharing = std::collections::BTreeMap::<Duration, (u32, u32)>::new();
        for device in devices {
            for period in periods(device) {
                sharing.entry(period).or_default().1 += 1;
            }
        }
        let mut schedule = Schedule {
            slots: Vec::new(),
            waiting: BTreeSet::new(),
            alarms: BTreeSet::new(),
            rest: BTreeSet::new(),
            in_a_row: 0,
        };
        for device in devices {
            for &beat in device {
                let (before, all) = sharing[&beat.period];
                let spread = |over: Duration| start + over * before / all;
                schedule.add(spread(beat.period), spread(beat.period.min(FIRST_ROUND)), beat);
            }
            for period in periods(device) {
                sharing.entry(period).or_default().0 += 1;
            }
        }
        schedule
    }

    fn add(&mut self, anchor: Instant, first: Instant, beat: Beat) -> usize {
        let slot = self.slots.len();
        let beat = Beat { period: beat.period.max(SHORTEST_PERIOD), ..beat };
        self.slots.push(Slot { anchor, beat, due: None, deadline: None });
        self.set(slot, Some(first));
        slot
    }

    /// A slot on the beat of `like`, first due at `now`: the paused one that nobody needs any more, if there is one, or a new one. Its number.
    pub fn add_beside(&mut self, like: usize, paused: Option<usize>, now: Instant) -> usize {
        let Slot { anchor, beat, .. } = self.slots[like];
        let Some(slot) = paused else { return self.add(anchor, now, beat) };
        self.slots[slot] = Slot { anchor, beat, due: None, deadline: None };
        self.set(slot, Some(now));
        slot
    }

    /// `slot` goes on with this period.
    pub fn set_period(&mut self, slot: usize, period: Duration) {
        self.slots[slot].beat.period = period.max(SHORTEST_PERIOD);
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Next {
        while let Some(&(due, slot)) = self.waiting.first()
            && due <= now
        {
            self.waiting.pop_first();
            let deadline = due + self.slots[slot].beat.period;
            self.slots[slot].deadline = Some(deadline);
            self.ready(slot).insert((deadline, slot));
        }
        let rest_is_owed = self.in_a_row >= ALARMS_IN_A_ROW;
        let first = match (self.alarms.first(), self.rest.first()) {
            (Some(_), Some(rest)) if rest_is_owed => Some(rest),
            (None, rest) => rest,
            (alarm, _) => alarm,
        };
        match (first, self.waiting.first()) {
            (Some(&(deadline, slot)), _) => Next::Serve { slot, late: deadline <= now },
            (None, Some(&(due, _))) => Next::At(due),
            (None, None) => Next::Nothing,
        }
    }

    /// When the next question about an alarm's point is due; in the past if it is already.
    pub fn next_alarm(&self) -> Option<Instant> {
        if let Some(&(_, slot)) = self.alarms.first() {
            return self.slots[slot].due;
        }
        let alarms = |&&(_, slot): &&(Instant, usize)| self.slots[slot].beat.lane == Lane::Alarms;
        self.waiting.iter().find(alarms).map(|&(due, _)| due)
    }

    /// What else is due, as of the last [`Schedule::next`], in the order of its turns: at most so many that `suit`.
    pub fn also_due(&self, but: usize, most: usize, suit: impl Fn(usize) -> bool) -> Vec<usize> {
        let due = self.alarms.iter().chain(&self.rest).map(|&(_, slot)| slot);
        due.filter(|slot| *slot != but && suit(*slot)).take(most).collect()
    }

    /// `slot` was served at `now`: its next beat after that.
    pub fn served(&mut self, slot: usize, now: Instant) {
        self.in_a_row = match self.slots[slot].beat.lane {
            Lane::Alarms if !self.rest.is_empty() => self.in_a_row + 1,
            Lane::Alarms | Lane::Rest => 0,
        };
        let Slot { anchor, beat: Beat { period, .. }, .. } = self.slots[slot];
        let next = match now.checked_duration_since(anchor) {
            None => anchor,
            Some(since) => {
                let into_beat = nanos(since) % nanos(period);
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
        let was = std::mem::replace(&mut self.slots[slot].due, due);
        match (was, self.slots[slot].deadline.take()) {
            (_, Some(deadline)) => self.ready(slot).remove(&(deadline, slot)),
            (Some(was), None) => self.waiting.remove(&(was, slot)),
            (None, None) => false,
        };
        if let Some(due) = due {
            self.waiting.insert((due, slot));
        }
    }

    fn ready(&mut self, slot: usize) -> &mut BTreeSet<(Instant, usize)> {
        match self.slots[slot].beat.lane {
            Lane::Alarms => &mut self.alarms,
            Lane::Rest => &mut self.rest,
        }
    }
}

/// Up to 584 years: a division of 64 bits takes a tenth of one of 128.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn periods(beats: &[Beat]) -> BTreeSet<Duration> {
    beats.iter().map(|beat| beat.period).collect()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
