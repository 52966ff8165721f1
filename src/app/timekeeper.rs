//! Tells devices what the timetable wants by now: each turn once a day, also after a restart or a step of the clock.
//!
//! A turn that went out and whose outcome nobody knows is told again only when the device has been heard of since and its read-back point
//! shows another value; one that never went out, when the device is heard of. A person's command overrules until the next turn.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::{ToSpan, civil::Date};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Ended;
use crate::{
    domain::{
        Clock, DeviceId, Ending, Mono, TimeQuality,
        command::{Attempt, Command, Firing, Operate, Outcome},
        timetable::{Place, Schedule, Turn, wanted},
    },
    pipeline::Asked,
    store::Fired,
};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How many devices are told at the same time; people must find a place beside them.
const AT_ONCE: usize = 8;
/// How soon a turn that is not settled is looked at again, and how often it goes out at most.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const MOST_TRIES: u32 = 3;
/// The same while the device's state is not known: nothing goes out for it.
const LOOK_SOON: Duration = Duration::from_secs(3);

pub struct Timekeeper {
    pub schedules: Vec<Schedule>,
    pub place: Place,
    pub clock: Arc<dyn Clock>,
    pub pipeline: mpsc::Sender<Asked>,
    marks: HashMap<Key, Mark>,
    told_unset: bool,
}

/// A schedule and a device of it.
type Key = (String, DeviceId);

/// A turn whose time has come, and the command that says so.
struct Due {
    key: Key,
    firing: Firing,
    command: Operate,
}

/// The last turn that was taken up.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    day: Date,
    state: State,
    tries: u32,
    not_before: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Settled,
    Doubtful,
    /// Nothing went out.
    NotSent,
}

impl Timekeeper {
    pub fn new(
        schedules: Vec<Schedule>,
        place: Place,
        clock: Arc<dyn Clock>,
        pipeline: mpsc::Sender<Asked>,
        fired: Vec<Fired>,
    ) -> Self {
        let marks = fired.into_iter().map(|Fired { schedule, device, day, settled }| {
            let state = if settled { State::Settled } else { State::Doubtful };
            ((schedule, device), Mark { day, state, tries: 0, not_before: Mono(Duration::ZERO) })
        });
        let marks = marks.collect();
        Self { schedules, place, clock, pipeline, marks, told_unset: false }
    }

    pub async fn run(mut self, stop: CancellationToken) -> Ended {
        let mut under_way = JoinSet::new();
        let mut told: HashSet<DeviceId> = HashSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = under_way.join_next() => {
                    let (key, firing, outcome): (Key, Firing, Option<Outcome>) = ended?;
                    told.remove(&key.1);
                    self.settle(key, &firing, outcome);
                }
                () = sleep(TICK) => {}
            }
            for due in self.due(&told, AT_ONCE - under_way.len().min(AT_ONCE)) {
                told.insert(due.key.1.clone());
                under_way.spawn(tell(self.pipeline.clone(), due));
            }
        }
        Ok("timekeeper")
    }

    /// What is to be told now, `most` at most; not to devices that are being told something.
    fn due(&mut self, told: &HashSet<DeviceId>, most: usize) -> Vec<Due> {
        if !self.clock_is_set() {
            return Vec::new();
        }
        let now = self.clock.now();
        let today = now.wall.to_zoned(self.place.zone.clone()).date();
        let mut asked: Vec<Due> = Vec::new();
        for turn in wanted(&self.schedules, &self.place, now.wall) {
            let busy = told.contains(turn.device) || asked.iter().any(|due| due.key.1 == *turn.device);
            if busy || asked.len() >= most {
                continue;
            }
            let key = (turn.schedule.id.clone(), turn.device.clone());
            if let Some(attempt) = attempt(self.marks.get(&key), turn.day, today, now.mono) {
                asked.push(due(key, &turn, attempt));
            }
        }
        asked
    }

    /// A clock that was never set knows no evening.
    fn clock_is_set(&mut self) -> bool {
        let unset = self.clock.quality() == TimeQuality::Unset;
        match (unset, self.told_unset) {
            (true, false) => warn!("The clock is not set: schedules wait until it is."),
            (false, true) => info!("The clock is set: schedules go on."),
            (true, true) | (false, false) => {}
        }
        self.told_unset = unset;
        !unset
    }

    fn settle(&mut self, key: Key, firing: &Firing, outcome: Option<Outcome>) {
        let tries = self.marks.get(&key).filter(|mark| mark.day == firing.day).map_or(0, |mark| mark.tries);
        let (state, sent) = match (&outcome, firing.attempt) {
            (Some(Outcome::Operated { ending: Ending::NotSent { .. } | Ending::Busy, .. }), _) => {
                (State::NotSent, 0)
            }
            (Some(Outcome::Operated { ending: Ending::NotYet, .. }), Attempt::Doubtful) => {
                (State::Doubtful, 0)
            }
            (Some(Outcome::Operated { ending: Ending::NotYet, .. }), _) => (State::NotSent, 0),
            (Some(Outcome::Operated { ending, .. }), _) if ending.is_settled() => (State::Settled, 1),
            (Some(Outcome::Operated { .. }), _) => (State::Doubtful, 1),
            (Some(Outcome::NotStored { .. }), Attempt::Doubtful) => (State::Doubtful, 0),
            // A full disk: nothing went out.
            (Some(Outcome::NotStored { .. }) | None, _) => (State::NotSent, 0),
            // The site was checked: there is such a device and such a command.
            (Some(_), _) => (State::Settled, 0),
        };
        let tries = tries + sent;
        let state = if tries >= MOST_TRIES { State::Settled } else { state };
        let not_yet = matches!(&outcome, Some(Outcome::Operated { ending: Ending::NotYet, .. }));
        let not_before = self.clock.now().mono + if not_yet { LOOK_SOON } else { LOOK_AGAIN };
        self.marks.insert(key, Mark { day: firing.day, state, tries, not_before });
    }
}

/// How a turn for `day` is to be taken up, if it is.
fn attempt(mark: Option<&Mark>, day: Date, today: Date, now: Mono) -> Option<Attempt> {
    // A mark from a clock that ran far ahead says nothing: else a lamp would stay dark until that day.
    let tomorrow = today.checked_add(1.day()).unwrap_or(today);
    let Some(mark) = mark.filter(|mark| mark.day >= day && mark.day <= tomorrow) else {
        return Some(Attempt::First);
    };
    match mark.state {
        State::Settled => None,
        _ if now < mark.not_before => None,
        State::Doubtful => Some(Attempt::Doubtful),
        State::NotSent => Some(Attempt::NotSent),
    }
}

fn due(key: Key, turn: &Turn<'_>, attempt: Attempt) -> Due {
    let schedule = &turn.schedule.id;
    let firing = Firing { schedule: schedule.clone(), day: turn.day, attempt };
    let command = Operate {
        device: turn.device.clone(),
        command: turn.schedule.command.clone(),
        value: turn.schedule.value.clone(),
        by: format!("schedule {schedule}"),
        from: "schedule".to_owned(),
        note: None,
        firing: Some(firing.clone()),
    };
    Due { key, firing, command }
}

/// `None` if the gateway stops.
async fn tell(pipeline: mpsc::Sender<Asked>, due: Due) -> (Key, Firing, Option<Outcome>) {
    let Due { key, firing, command } = due;
    let (reply, outcome) = oneshot::channel();
    let sent = pipeline.send(Asked::Command(Command::Operate(command), reply)).await.is_ok();
    let outcome = if sent { outcome.await.ok() } else { None };
    (key, firing, outcome)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::domain::ManualClock;

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    fn keeper(clock: &Arc<ManualClock>, fired: Vec<Fired>) -> Timekeeper {
        let schedule = |id: &str, at: &str, value: bool| Schedule {
            id: id.to_owned(),
            devices: vec!["lamp-1".into(), "lamp-2".into()],
            command: "set_lamp".into(),
            value: value.into(),
            at: at.parse().unwrap(),
            days: vec![],
        };
        let place = Place { zone: TimeZone::get("Asia/Shanghai").unwrap(), coordinates: None };
        let schedules = vec![schedule("on", "18:00", true), schedule("off", "06:30", false)];
        Timekeeper::new(schedules, place, clock.clone(), mpsc::channel(1).0, fired)
    }

    /// Takes what is due; each ends as `ending`. What was told, in words.
    fn tick(keeper: &mut Timekeeper, ending: &Ending) -> Vec<String> {
        let due = keeper.due(&HashSet::new(), AT_ONCE);
        let told = due.into_iter().map(|Due { key, firing, command }| {
            assert_eq!(command.firing.as_ref(), Some(&firing), "the command carries its turn");
            let said = format!("{} {} {:?}", key.0, key.1, firing.attempt);
            let (value, ending) = (command.value, ending.clone());
            let outcome =
                Outcome::Operated { device: command.device, command: command.command, value, ending };
            keeper.settle(key, &firing, Some(outcome));
            said
        });
        told.collect()
    }

    #[test]
    fn each_turn_once_a_day_whatever_the_clock_does() {
        let clock = Arc::new(ManualClock::new());
        clock.step_wall(at("2026-11-25T17:00:00+08:00"));
        let mut keeper = keeper(&clock, vec![]);
        let mut told = |step: &str| {
            clock.step_wall(at(step));
            tick(&mut keeper, &Ending::Accepted)
        };
        let (on, off) = (["on lamp-1 First", "on lamp-2 First"], ["off lamp-1 First", "off lamp-2 First"]);
        assert_eq!(told("2026-11-25T17:00:00+08:00"), off, "what should be so by now");
        assert!(told("2026-11-25T17:59:59+08:00").is_empty());
        assert_eq!(told("2026-11-25T18:00:00+08:00"), on);
        assert!(told("2026-11-25T18:00:01+08:00").is_empty(), "once");
        assert!(told("2026-11-25T17:30:00+08:00").is_empty(), "the clock goes back");
        assert!(told("2026-11-25T18:00:00+08:00").is_empty(), "and comes there a second time");
        assert_eq!(told("2026-11-26T08:00:00+08:00"), off, "the clock leaps ahead");
        assert_eq!(told("2036-01-01T20:00:00+08:00"), on, "ten years wrong");
        assert_eq!(told("2026-11-26T18:00:00+08:00"), on, "and right again: the lamps are lit");
    }

    #[test]
    fn a_restart_remembers_and_asks_what_is_doubtful() {
        let clock = Arc::new(ManualClock::new());
        clock.step_wall(at("2026-11-25T19:00:00+08:00"));
        let fired = |device: &str, settled| Fired {
            schedule: "on".to_owned(),
            device: device.into(),
            day: "2026-11-25".parse().unwrap(),
            settled,
        };
        let mut keeper = keeper(&clock, vec![fired("lamp-1", true), fired("lamp-2", false)]);
        assert_eq!(tick(&mut keeper, &Ending::NotYet), ["on lamp-2 Doubtful"]);
        assert!(tick(&mut keeper, &Ending::NotYet).is_empty(), "not at once");
        clock.advance(LOOK_SOON);
        assert_eq!(tick(&mut keeper, &Ending::Accepted), ["on lamp-2 Doubtful"]);
        clock.advance(LOOK_AGAIN);
        assert!(tick(&mut keeper, &Ending::Accepted).is_empty());
    }

    #[test]
    fn what_never_went_out_waits_for_the_device_and_what_is_silent_is_told_three_times_at_most() {
        let clock = Arc::new(ManualClock::new());
        clock.step_wall(at("2026-11-25T18:00:00+08:00"));
        let mut keeper = keeper(&clock, vec![]);
        let why = || crate::domain::Text::new("无", "down");
        tick(&mut keeper, &Ending::NotSent { why: why() });
        let mut attempts = Vec::new();
        for _ in 0..5 {
            clock.advance(LOOK_AGAIN);
            attempts.extend(
                tick(&mut keeper, &Ending::Unknown { why: why() })
                    .into_iter()
                    .filter(|told| told.contains("lamp-1")),
            );
        }
        assert_eq!(attempts, ["on lamp-1 NotSent", "on lamp-1 Doubtful", "on lamp-1 Doubtful"]);
    }
}
