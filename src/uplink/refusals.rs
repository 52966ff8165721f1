//! Letters that their receiver refused: each waits on its own, its alarm's later letters behind it, all others go on. What
//! is refused for good is set aside; unless nothing at all is taken, for then it is not the letters.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::{backoff, endpoint::Refusal};
use crate::domain::{AlarmKey, Hindrance, Letter};

/// At this refusal of a letter that cannot be read there, it is set aside.
pub const UNREADABLE: u32 = 3;
/// At this refusal of a letter that is answered with a plain no: a critical one was offered for eight minutes by then, any
/// other for three hours.
const UNWANTED: u32 = 20;
/// Letters of so many alarms refused and none taken between: the endpoint is what is wrong.
const EVERYONE: usize = 3;

/// One entry per alarm with a refused letter, so never more than there are alarms.
#[derive(Debug, Default)]
pub struct Refusals {
    by_alarm: HashMap<AlarmKey, Refused>,
    /// Whose letters were refused since one was taken.
    in_a_row: HashSet<AlarmKey>,
    last_why: Option<Hindrance>,
}

#[derive(Debug)]
struct Refused {
    row: i64,
    times: u32,
    until: Instant,
}

/// What a refusal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Offered again then; it was refused so often.
    Again {
        times: u32,
        until: Instant,
    },
    /// The same, and nothing that anybody sends is taken.
    NothingIsTaken {
        until: Instant,
    },
    SetAside {
        times: u32,
    },
}

impl Refusals {
    /// `hurried`: another retry is affordable as soon as its turn comes.
    pub fn note(
        &mut self,
        letter: &Letter,
        why: &Hindrance,
        how: Refusal,
        hurried: bool,
        now: Instant,
    ) -> Next {
        let before = self.by_alarm.get(&letter.key).filter(|refused| refused.row == letter.row);
        let times = before.map_or(0, |refused| refused.times).saturating_add(1);
        self.last_why = Some(why.clone());
        if self.in_a_row.len() < EVERYONE {
            self.in_a_row.insert(letter.key.clone());
        }
        let everyone = self.in_a_row.len() >= EVERYONE;
        let patience = match how {
            Refusal::Unreadable => UNREADABLE,
            Refusal::Unwanted => UNWANTED,
        };
        if times >= patience && !everyone {
            self.by_alarm.remove(&letter.key);
            return Next::SetAside { times };
        }
        let until = now + backoff::after_refusals(if hurried { times } else { u32::MAX }, letter.priority);
        self.by_alarm.insert(letter.key.clone(), Refused { row: letter.row, times, until });
        if everyone { Next::NothingIsTaken { until } } else { Next::Again { times, until } }
    }

    /// A letter of this alarm was taken.
    pub fn taken(&mut self, key: &AlarmKey) {
        self.by_alarm.remove(key);
        self.in_a_row.clear();
    }

    /// Whatever waits may go at once.
    pub fn hasten(&mut self, now: Instant) {
        self.by_alarm.values_mut().for_each(|refused| refused.until = now);
    }

    /// The queue holds nothing that may go: whatever was due is gone from it by another's hand.
    pub fn forget_due(&mut self, now: Instant) {
        self.by_alarm.retain(|_, refused| refused.until > now);
    }

    /// The alarms whose letters still have to wait.
    pub fn waiting(&self, now: Instant) -> impl Iterator<Item = &AlarmKey> {
        self.by_alarm.iter().filter(move |(_, refused)| refused.until > now).map(|(key, _)| key)
    }

    /// When the next one may be offered again.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.by_alarm.values().map(|refused| refused.until).filter(|until| *until > now).min()
    }

    /// How many alarms have a refused letter, and the latest reason; `None` if there are none.
    pub fn summary(&self) -> Option<(usize, &Hindrance)> {
        let why = self.last_why.as_ref()?;
        (!self.by_alarm.is_empty()).then_some((self.by_alarm.len(), why))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{HindranceKind, Priority},
        text,
    };

    fn letter(alarm: &str, row: i64) -> Letter {
        Letter {
            row,
            endpoint: "inspection".into(),
            event_id: "0b6f".to_owned(),
            seq: 1,
            key: AlarmKey { device: "lift-3-1".into(), alarm: alarm.into() },
            priority: Priority::High,
            attempts: 0,
            content_type: None,
            provisional: false,
            body: b"{}"[..].into(),
        }
    }

    fn why() -> Hindrance {
        Hindrance::new(HindranceKind::LetterRefused, text!("应答 422", "answered 422"))
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_the_third_time_and_a_no_much_later() {
        let now = Instant::now();
        for (how, last) in [(Refusal::Unreadable, 3), (Refusal::Unwanted, 20)] {
            let mut refusals = Refusals::default();
            for times in 1..last {
                let next = refusals.note(&letter("door", 7), &why(), how, true, now);
                assert!(
                    matches!(next, Next::Again { times: said, .. } if said == times),
                    "{how:?}: {next:?}"
                );
            }
            assert_eq!(
                refusals.note(&letter("door", 7), &why(), how, true, now),
                Next::SetAside { times: last }
            );
            assert_eq!(refusals.summary(), None, "it waits no more");
            let next = refusals.note(&letter("door", 8), &why(), how, true, now);
            assert!(matches!(next, Next::Again { times: 1, .. }), "the next of the alarm is another letter");
        }
    }

    #[test]
    fn when_nothing_is_taken_nothing_is_set_aside() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        let mut note =
            |alarm, row| refusals.note(&letter(alarm, row), &why(), Refusal::Unreadable, true, now);
        note("door", 1);
        note("door", 1);
        note("motor", 2);
        assert!(matches!(note("lamp", 3), Next::NothingIsTaken { .. }));
        assert!(matches!(note("door", 1), Next::NothingIsTaken { .. }), "not the third time alone");
        refusals.taken(&letter("gate", 4).key);
        let next = refusals.note(&letter("door", 1), &why(), Refusal::Unreadable, true, now);
        assert_eq!(next, Next::SetAside { times: 4 }, "another was taken: it is this letter");
    }

    #[test]
    fn without_a_budget_it_waits_as_long_as_it_ever_does() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        let next = refusals.note(&letter("door", 1), &why(), Refusal::Unreadable, false, now);
        assert_eq!(next, Next::Again { times: 1, until: now + Duration::from_secs(900) });
        assert_eq!(refusals.next_due(now), Some(now + Duration::from_secs(900)));
    }
}
