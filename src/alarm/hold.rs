//! A flag that falls off now and then while it is true, such as a passenger sensor: it counts as true until it was false for long
//! enough. On monotonic time; no I/O.

use std::time::Duration;

use crate::domain::{Mono, PointIx};

/// One point of one device, held as its class says.
#[derive(Debug)]
pub struct Hold {
    pub point: PointIx,
    lasting: Duration,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing was read since the start.
    New,
    /// False when it was first read: whether it was true a moment before nobody knows, until then.
    Unsure(Mono),
    True,
    /// False, and counts as true until then.
    Falling(Mono),
    False,
}

/// What a condition makes of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    AsRead,
    AsTrue,
    Unknown,
}

impl Hold {
    pub fn new(point: PointIx, lasting: Duration) -> Self {
        Self { point, lasting, standing: Standing::New }
    }

    /// A good reading. Returns whether the flag counts as something else from now on.
    pub fn read(&mut self, flag: bool, now: Mono) -> bool {
        let before = self.standing;
        self.standing = match (before, flag) {
            (_, true) => Standing::True,
            (Standing::New, false) => Standing::Unsure(now + self.lasting),
            (Standing::True, false) => Standing::Falling(now + self.lasting),
            (Standing::Unsure(until) | Standing::Falling(until), false) if now >= until => Standing::False,
            (Standing::Unsure(_) | Standing::Falling(_) | Standing::False, false) => before,
        };
        self.standing != before
    }

    /// Time has gone on, and nothing was read. Returns the same.
    pub fn pass(&mut self, now: Mono) -> bool {
        let over = self.until().is_some_and(|until| now >= until);
        if over {
            self.standing = Standing::False;
        }
        over
    }

    /// When it counts as false if nothing else is read.
    pub fn until(&self) -> Option<Mono> {
        match self.standing {
            Standing::Unsure(until) | Standing::Falling(until) => Some(until),
            Standing::New | Standing::True | Standing::False => None,
        }
    }

    pub fn counts(&self) -> Counts {
        match self.standing {
            Standing::Unsure(_) => Counts::Unknown,
            Standing::Falling(_) => Counts::AsTrue,
            Standing::New | Standing::True | Standing::False => Counts::AsRead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LASTING: u64 = 10;

    fn at(second: u64) -> Mono {
        Mono(Duration::from_secs(second))
    }

    /// By all that was ever read, one reading a second from 1 on: what it counts as.
    fn reference(reads: &[bool]) -> Option<bool> {
        let lately = reads.iter().rev().take(LASTING as usize + 1);
        match (lately.clone().any(|read| *read), reads.len() as u64 > LASTING) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            // nobody knows what was before the first
            (false, false) => reads.contains(&true).then_some(true),
        }
    }

    fn counted(hold: &Hold, read: bool) -> Option<bool> {
        match hold.counts() {
            Counts::AsRead => Some(read),
            Counts::AsTrue => Some(true),
            Counts::Unknown => None,
        }
    }

    proptest! {
        #[test]
        fn it_is_false_only_once_it_was_false_all_the_time(
            stretches in prop::collection::vec((any::<bool>(), 1..15usize), 1..12),
        ) {
            let reads: Vec<bool> = stretches.into_iter().flat_map(|(read, times)| vec![read; times]).collect();
            let mut hold = Hold::new(PointIx(0), Duration::from_secs(LASTING));
            for n in 1..=reads.len() {
                let (before, was) = (hold.counts(), n.checked_sub(2).map(|last| reads[last]));
                let changed = hold.read(reads[n - 1], at(n as u64));
                prop_assert_eq!(counted(&hold, reads[n - 1]), reference(&reads[..n]), "{:?}", &reads[..n]);
                prop_assert!(changed || before == hold.counts() || was != Some(reads[n - 1]));
            }
        }
    }

    #[test]
    fn who_falls_silent_is_believed_in_the_end() {
        let mut hold = Hold::new(PointIx(0), Duration::from_secs(LASTING));
        hold.read(true, at(100));
        assert!(!hold.pass(at(500)), "true until it says otherwise");
        assert!(hold.read(false, at(500)));
        assert_eq!((hold.until(), hold.counts()), (Some(at(510)), Counts::AsTrue));
        assert!(!hold.pass(at(509)) && hold.pass(at(510)) && !hold.pass(at(511)));
        assert_eq!((hold.until(), counted(&hold, false)), (None, Some(false)));
    }
}
