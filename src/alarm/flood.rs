//! Whether there are more alarms than anybody can take in, and what waits to be told together. Monotonic time, no I/O.

use std::time::Duration;

use crate::domain::{
    Event, FloodMemory, Mono, Passing, Priority, Stamp, Summarised, TransitionKind, UnderWay,
};

/// So many alarms a summary names; of the others it says how many.
const NAMED: usize = 100;

/// From when on there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimit {
    /// It is a flood when more than these were announced…
    pub more_than: usize,
    /// … within this; it is over when it is half of them or fewer.
    pub within: Duration,
    /// How often it is told meanwhile what is not told singly.
    pub summary_every: Duration,
}

impl Default for FloodLimit {
    /// ISA-18.2: more than ten in ten minutes, per operator.
    fn default() -> Self {
        let (within, summary_every) = (Duration::from_secs(600), Duration::from_secs(60));
        Self { more_than: 10, within, summary_every }
    }
}

/// One site's.
#[derive(Clone, Debug)]
pub struct Flood {
    limit: FloodLimit,
    boot_id: String,
    memory: FloodMemory,
    changed: bool,
}

impl Flood {
    /// From where it was left off. Another boot's time says nothing in this one.
    pub fn restored(limit: FloodLimit, memory: Option<FloodMemory>, boot_id: &str) -> Self {
        let mut memory = memory.unwrap_or_default();
        if memory.boot_id != boot_id {
            memory = FloodMemory { boot_id: boot_id.to_owned(), raises: Vec::new(), ..memory };
        }
        Self { limit, boot_id: boot_id.to_owned(), memory, changed: false }
    }

    /// An alarm was announced; whether there are too many by now.
    pub fn raised(&mut self, at: Stamp) {
        let most = self.limit.more_than.saturating_add(1);
        self.forget(at.mono);
        self.memory.raises.push(at.mono);
        self.memory.raises.drain(..self.memory.raises.len().saturating_sub(most));
        self.changed = true;
        if self.memory.raises.len() > self.limit.more_than && self.memory.under_way.is_none() {
            let passing = Passing::begun(at.mono, &self.boot_id);
            self.memory.under_way = Some(UnderWay { since: at.wall, passing, summarised: 0 });
        }
    }

    fn forget(&mut self, now: Mono) {
        self.memory.raises.retain(|then| now.since(*then) <= self.limit.within);
    }

    pub fn is_under_way(&self) -> bool {
        self.memory.under_way.is_some()
    }

    /// Steps of alarms that were told together, or wait for it.
    pub fn summarised(&self) -> u64 {
        self.memory.under_way.as_ref().map_or(0, |under_way| under_way.summarised)
    }

    pub fn raises(&self) -> usize {
        self.memory.raises.len()
    }

    /// This step waits for the next summary.
    pub fn take(&mut self, step: Summarised) {
        let Some(under_way) = &mut self.memory.under_way else { return };
        under_way.summarised = under_way.summarised.saturating_add(1);
        self.changed = true;
        let room = self.memory.waiting.len() < NAMED;
        match self.memory.waiting.iter_mut().find(|one| one.occurrence == step.occurrence) {
            Some(one) => {
                *one = Summarised { first_seq: one.first_seq, steps: one.steps.saturating_add(1), ..step };
            }
            None if room => self.memory.waiting.push(step),
            None => self.memory.more = self.memory.more.saturating_add(1),
        }
    }

    /// Whether what waits is to be told now: its time is up, or the flood is over.
    pub fn is_to_be_told(&self, now: Mono) -> bool {
        let Some(under_way) = &self.memory.under_way else { return !self.memory.waiting.is_empty() };
        let due = under_way.passing.may_be_over(self.limit.summary_every, now, &self.boot_id);
        (due && !self.memory.waiting.is_empty()) || self.is_over(now)
    }

    fn is_over(&self, now: Mono) -> bool {
        let lately = self.memory.raises.iter().filter(|then| now.since(**then) <= self.limit.within);
        lately.count() <= self.limit.more_than / 2
    }

    /// What waited, and how many more there were: told now. Afterwards it may be over.
    pub fn tell(&mut self, now: Mono) -> (Vec<Summarised>, u64) {
        self.forget(now);
        self.changed = true;
        if self.is_over(now) {
            self.memory.under_way = None;
        }
        if let Some(under_way) = &mut self.memory.under_way {
            under_way.passing = Passing::begun(now, &self.boot_id);
        }
        (std::mem::take(&mut self.memory.waiting), std::mem::take(&mut self.memory.more))
    }

    /// As it is to be written down, if it is another than what is.
    pub fn to_keep(&self) -> Option<&FloodMemory> {
        self.changed.then_some(&self.memory)
    }

    /// What [`Self::to_keep`] gave is on disk.
    pub fn is_kept(&mut self) {
        self.changed = false;
    }
}

/// Whether it waits for the summary in a flood. What is critical or a matter of life, what people do, and what they are called for goes
/// singly.
pub fn is_summarised(event: &Event, life_safety: bool) -> bool {
    let alarm = &event.alarm;
    let urgent = life_safety || alarm.priority == Priority::Critical;
    !urgent
        && !alarm.withheld
        && alarm.done.is_none()
        && match event.kind {
            TransitionKind::Raised
            | TransitionKind::Returned
            | TransitionKind::Closed
            | TransitionKind::Suppressed
            | TransitionKind::Unsuppressed
            | TransitionKind::Chattering
            | TransitionKind::Calmed => true,
            TransitionKind::Acknowledged
            | TransitionKind::Shelved
            | TransitionKind::Unshelved
            | TransitionKind::OutOfService
            | TransitionKind::InService
            | TransitionKind::Escalated
            | TransitionKind::Rescue
            | TransitionKind::Summary
            | TransitionKind::Drill
            | TransitionKind::Credit => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AlarmKey, AlarmState, Text};
    use jiff::Timestamp;

    fn at(second: u64) -> Stamp {
        let wall = Timestamp::from_second(1_800_000_000 + second as i64).unwrap();
        Stamp { mono: Mono(Duration::from_secs(second)), wall }
    }

    fn step(n: u64, kind: TransitionKind) -> Summarised {
        Summarised {
            key: AlarmKey { device: format!("lamp-{n}").into(), alarm: "lamp_failed".into() },
            class: "street-light".into(),
            title: Text::new("灯", "lamp"),
            priority: Priority::Medium,
            occurrence: format!("o-{n}").into(),
            state: AlarmState::ActiveUnacknowledged,
            kind,
            steps: 1,
            first_seq: n,
            last_seq: n,
            at: at(n).wall,
            cause: None,
        }
    }

    #[test]
    fn the_eleventh_in_ten_minutes_begins_it_and_half_of_them_end_it() {
        let mut flood = Flood::restored(FloodLimit::default(), None, "a");
        for n in 0..10 {
            flood.raised(at(n * 50));
        }
        assert!(!flood.is_under_way(), "ten in 450 s");
        flood.raised(at(700));
        assert!(!flood.is_under_way(), "those of the first 100 s are gone");
        for n in 0..3 {
            flood.raised(at(701 + n));
        }
        assert!(flood.is_under_way());
        assert!(!flood.is_to_be_told(at(900).mono), "nothing waits");
        flood.take(step(1, TransitionKind::Raised));
        assert!(flood.is_to_be_told(at(900).mono), "a minute is over");
        flood.tell(at(900).mono);
        // 4 since 700, none after
        assert!(flood.is_to_be_told(at(1301).mono), "the last word");
        flood.tell(at(1301).mono);
        assert!(!flood.is_under_way() && !flood.is_to_be_told(at(1302).mono));
    }

    #[test]
    fn each_alarm_is_told_as_it_stands_and_many_are_counted() {
        let limit = FloodLimit { more_than: 1, ..FloodLimit::default() };
        let mut flood = Flood::restored(limit, None, "a");
        flood.raised(at(0));
        flood.raised(at(1));
        for n in 0..150 {
            flood.take(step(n, TransitionKind::Raised));
        }
        flood.take(Summarised { last_seq: 900, ..step(7, TransitionKind::Returned) });
        // as it would be read again after a restart; then a reboot
        let text = serde_json::to_string(flood.to_keep().unwrap()).unwrap();
        let kept: FloodMemory = serde_json::from_str(&text).unwrap();
        let mut again = Flood::restored(limit, Some(kept.clone()), "a");
        assert!(again.is_under_way() && !again.is_to_be_told(at(5).mono));
        let (told, more) = again.tell(at(70).mono);
        assert_eq!((told.len(), more, again.summarised()), (NAMED, 50, 151));
        let seven = &told[7];
        assert_eq!(
            (seven.kind, seven.steps, seven.first_seq, seven.last_seq),
            (TransitionKind::Returned, 2, 7, 900)
        );
        let mut rebooted = Flood::restored(limit, Some(kept), "b");
        assert!(rebooted.is_to_be_told(at(0).mono), "nobody knows how long it was off");
        assert_eq!(rebooted.tell(at(0).mono).0.len(), NAMED);
        assert!(!rebooted.is_under_way());
    }
}
