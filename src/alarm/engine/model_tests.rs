//! The engine against a reference that knows nothing of its mechanisms: whole seconds, one alarm, the rules as sentences. Readings,
//! orders, restarts, reboots and steps of the wall clock in any sequence.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    alarm::{ChatteringLimit, EscalationPlan, EscalationStep, Rules, Truth},
    document::Problems,
    domain::{RescueStep, Value, command::Act},
    profile::{Library, Profile},
};

const CLASS: &str = r#"class = "car"
[[point]]
name = "bad"
kind = "flag"
[[point]]
name = "mended"
kind = "flag"
[[alarm]]
name = "stuck"
priority = "high"
when = "bad"
suppress_when = "mended"
on_delay = "30s"
off_delay = "30s"
rescue_within = "120s"
"#;
const CAR: &str = r#"profile = "car/x"
revision = 1
source = "made up"
[modbus]
[[point]]
name = "bad"
read = { table = "coil", address = 0, type = "bool" }
[[point]]
name = "mended"
read = { table = "coil", address = 1, type = "bool" }
"#;

static PROFILE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
    let mut problems = Problems::default();
    let library = Library::of(&[("car/class.toml", CLASS), ("car/x.toml", CAR)], &mut problems);
    assert!(!problems.has_errors(), "{}", problems.lines(crate::domain::Lang::En));
    library.profile("car/x").expect("it is sound")
});

static RULE: LazyLock<Arc<Rule>> = LazyLock::new(|| {
    let rules = Rules::compile(&DeviceId::from("car-1"), &PROFILE, &[]).expect("it is valid");
    rules.on.into_iter().find(|rule| &*rule.alarm.name == "stuck").expect("it is there")
});

const CAR_1: DeviceIx = DeviceIx(0);
/// Escalates after 40 s, after 20 s more, then every 60 s.
const FIRST: u64 = 40;
const SECOND: u64 = 20;
const AGAIN: u64 = 60;
const SHELF_LIMIT: u64 = 400;
/// It chatters when raised more than twice within 400 s, until it was not raised for 150 s.
const CHATTERS: u64 = 400;
const CALM: u64 = 150;

fn customs() -> Customs {
    let step = |after| EscalationStep {
        after: Duration::from_secs(after),
        endpoints: vec!["duty".into()],
        contact: Some("值班经理".to_owned()),
    };
    let mut customs = Customs::default();
    customs.shelving.high = Duration::from_secs(SHELF_LIMIT);
    customs.escalation = EscalationPlan {
        priorities: vec![crate::domain::Priority::High],
        steps: vec![step(FIRST), step(SECOND)],
        again: Some(Duration::from_secs(AGAIN)),
    };
    customs.chattering = ChatteringLimit {
        more_than: 2,
        within: Duration::from_secs(CHATTERS),
        calm: Duration::from_secs(CALM),
    };
    customs
}

/// What an alarm is, and who is told what.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    state: Option<AlarmState>,
    over: Vec<&'static str>,
    untold: bool,
    /// How often it was announced anew; `None`: nobody is waited for.
    escalated: Option<u32>,
    warned: usize,
}

/// A step, and whether nobody was told.
type Told = (TransitionKind, bool);

/// A box with one alarm in it, and its disk.
struct Bench {
    engine: Engine,
    rule: Arc<Rule>,
    now: u64,
    wall: i64,
    boot: u32,
    disk: Option<AlarmMemory>,
    told: Vec<Told>,
    /// What somebody hears who knows the contract's first words only: raised, acknowledged, returned, closed.
    heard: Vec<TransitionKind>,
    occurrences: u32,
}

impl Bench {
    fn new(latching: bool, life_safety: bool) -> Self {
        let mut rule = RULE.clone();
        let alarm = &mut Arc::make_mut(&mut rule).alarm;
        (alarm.latching, alarm.life_safety) = (latching, life_safety);
        let (engine, _) = Engine::new(vec![], vec![], "");
        let (now, wall, told) = (1000, 1_800_000_000, vec![]);
        let mut bench =
            Self { engine, rule, now, wall, boot: 0, disk: None, told, heard: vec![], occurrences: 0 };
        bench.restart();
        bench
    }

    fn restart(&mut self) {
        let latest = Latest::new(Arc::clone(&PROFILE), false);
        let watched = vec![("car-1".into(), latest, vec![self.rule.clone()])];
        let disk = self.disk.iter().cloned().collect();
        let (engine, orphans) = Engine::new(watched, disk, &format!("boot {}", self.boot));
        assert!(orphans.is_empty());
        self.engine = engine.with_customs(customs());
    }

    fn stamp(&self) -> Stamp {
        let wall = Timestamp::from_second(self.wall).expect("within the calendar");
        Stamp { mono: Mono(Duration::from_secs(self.now)), wall }
    }

    fn poll(&mut self, bad: Truth, mended: Truth) {
        let at = self.stamp();
        for (name, truth) in [("bad", bad), ("mended", mended)] {
            let point = PROFILE.point(name).expect("it is there");
            match truth {
                Truth::Unknown => self.engine.failed(CAR_1, &[point], &Failure::Silent, at),
                known => {
                    let sample = Sample::good(Value::Flag(known == Truth::True));
                    self.engine.heard(CAR_1, &[(point, sample)], at);
                }
            }
        }
        let changes = self.engine.decide(CAR_1, at);
        self.commit(changes);
        self.settle();
    }

    /// Whatever is due now, one step after the other.
    fn settle(&mut self) {
        for _ in 0..20 {
            let (due, _) = self.engine.due(self.stamp().mono);
            if due.is_empty() {
                return;
            }
            let changes = self.engine.decide(CAR_1, self.stamp());
            self.commit(changes);
        }
        panic!("it never comes to rest");
    }

    fn commit(&mut self, mut changes: Vec<Change>) {
        for change in &mut changes {
            if let Some(step) = &change.step {
                self.told.push((step.kind, step.withheld));
                if !step.withheld {
                    self.heard.push(if step.announced { TransitionKind::Raised } else { step.kind });
                }
                if change.memory.state.is_some() && change.memory.occurrence.is_none() {
                    self.occurrences += 1;
                    change.memory.occurrence = Some(format!("test-{}", self.occurrences).into());
                }
            }
            let stored = change.stored();
            // as it would be read again
            let text = serde_json::to_string(&stored).expect("text");
            self.disk = Some(serde_json::from_str(&text).expect("it reads what it wrote"));
            assert_eq!(self.disk.as_ref(), Some(&stored));
        }
        self.engine.apply(changes);
    }

    fn who(&self) -> Acknowledgement {
        let (by, from) = ("张伟".to_owned(), "cli".to_owned());
        Acknowledgement { by, at: self.stamp().wall, note: Some("维保".to_owned()), from }
    }

    /// Whether something came of it.
    fn order(&mut self, act: &Act) -> bool {
        match self.engine.order("car-1/stuck", act, &self.who(), self.stamp()) {
            Ok(changes) => {
                self.commit(changes);
                self.settle();
                true
            }
            Err(_) => false,
        }
    }

    fn acknowledge(&mut self) {
        let done = self.engine.acknowledge(&"car-1/stuck".into(), self.who(), self.stamp());
        if let Acknowledged::Change(change) = done {
            self.commit(vec![*change]);
            self.settle();
        }
    }

    fn facts(&self) -> Facts {
        let memory = &self.engine.devices[0].alarms[0].memory;
        let overlay = &memory.overlay;
        let waiting = overlay.escalation.as_ref().filter(|one| one.waiting.is_some());
        Facts {
            state: memory.state,
            over: overlay.words(),
            untold: overlay.untold,
            escalated: waiting.map(|one| one.step),
            warned: overlay.rescue.as_ref().map_or(0, |rescue| rescue.warned),
        }
    }
}

/// A stretch of time that is counted from `since` in the present boot; `None` after a reboot.
type Since = Option<u64>;

/// The reference.
#[derive(Default)]
struct Model {
    latching: bool,
    life_safety: bool,
    now: u64,
    wall: i64,
    state: Option<AlarmState>,
    /// Seconds that the awaited truth has held, when last seen, and whether it was known then.
    held: Option<(u64, u64, bool)>,
    /// The same, as of its last write.
    kept: Option<(u64, u64)>,
    shelf: Option<(Since, u64)>,
    /// Since, how long, until on the calendar.
    out: Option<(Since, u64, i64)>,
    suppressed: bool,
    untold: bool,
    escalation: Option<(u32, Since)>,
    /// Seconds before `since`, since, warnings, whether it is still waited, the last step.
    rescue: Option<(u64, u64, usize, Option<RescueStep>)>,
    /// When it was raised lately, and since when it was not while it chatters.
    raises: Vec<u64>,
    chatters: Option<Since>,
    told: Vec<Told>,
}

impl Model {
    fn is_held(&self) -> bool {
        self.shelf.is_some() || self.out.is_some() || self.suppressed
    }

    /// Raised too often, told or not.
    fn is_chattering(&self) -> bool {
        self.chatters.is_some() || self.raises.len() > 2
    }

    fn is_active(&self) -> bool {
        matches!(self.state, Some(AlarmState::ActiveUnacknowledged | AlarmState::ActiveAcknowledged))
    }

    fn say(&mut self, kind: TransitionKind, withheld: bool) {
        self.told.push((kind, withheld));
        let held = self.is_held();
        self.untold &= held || self.is_chattering();
        let wants = match self.state {
            Some(AlarmState::ActiveUnacknowledged) => true,
            Some(AlarmState::ReturnedUnacknowledged) => self.latching,
            _ => false,
        };
        if !wants || held {
            self.escalation = None;
        } else if self.escalation.is_none() || kind == TransitionKind::Raised {
            self.escalation = Some((0, Some(self.now)));
        }
    }

    fn close(&mut self) {
        self.state = Some(AlarmState::Closed);
        self.say(TransitionKind::Closed, self.untold);
        (self.state, self.untold, self.rescue, self.held, self.kept) = (None, false, None, None, None);
    }

    /// One look with what is known now.
    fn look(&mut self, bad: Truth, mended: Truth) {
        let suppressed = match mended {
            Truth::Unknown => self.suppressed,
            known => known == Truth::True,
        };
        let turned = suppressed != self.suppressed && self.state.is_none();
        if suppressed != self.suppressed {
            self.suppressed = suppressed;
            if self.state.is_some() {
                let kind = if suppressed { TransitionKind::Suppressed } else { TransitionKind::Unsuppressed };
                self.say(kind, self.untold && self.is_held());
            }
        }
        self.condition(bad);
        if self.chatters.is_none() && self.is_chattering() {
            self.chatters = Some(Some(self.now));
            self.say(TransitionKind::Chattering, self.is_held());
        }
        if turned && self.state.is_none() {
            // what runs is written down with it
            self.kept = self.held.map(|(so_far, seen, _)| (so_far, seen));
        }
        self.time_is_up();
    }

    fn condition(&mut self, bad: Truth) {
        let wanted = if self.is_active() { Truth::False } else { Truth::True };
        self.held = match (self.held, bad) {
            (held, Truth::Unknown) => held.map(|(so_far, seen, _)| (so_far, seen, false)),
            (held, truth) if truth == wanted => {
                let (so_far, seen, known) = held.unwrap_or((0, self.now, true));
                let counts = known || self.now - seen <= 30;
                Some((so_far + if counts { self.now - seen } else { 0 }, self.now, true))
            }
            _ => None,
        };
        if self.held.is_some_and(|(so_far, ..)| so_far >= 30) {
            (self.held, self.kept) = (None, None);
            if self.is_active() { self.goes() } else { self.comes() }
        } else {
            // written down after a second, and every 20
            match (self.held, self.kept) {
                (None, _) => self.kept = None,
                (Some((so_far, seen, _)), None) if so_far >= 1 => self.kept = Some((so_far, seen)),
                (Some((so_far, seen, _)), Some((_, before))) if seen - before >= 20 => {
                    self.kept = Some((so_far, seen));
                }
                (Some(_), _) => {}
            }
        }
    }

    fn comes(&mut self) {
        if !self.life_safety {
            self.raises.retain(|then| self.now - then <= CHATTERS);
            self.raises.push(self.now);
            self.raises.drain(..self.raises.len().saturating_sub(3));
            self.chatters = self.chatters.map(|_| Some(self.now));
        }
        let quiet = self.is_held() || self.is_chattering();
        self.untold = quiet && (self.state.is_none() || self.untold);
        self.state = Some(AlarmState::ActiveUnacknowledged);
        self.rescue.get_or_insert((0, self.now, 0, None));
        self.say(TransitionKind::Raised, quiet);
    }

    fn goes(&mut self) {
        let acknowledged = self.state == Some(AlarmState::ActiveAcknowledged);
        if (self.untold && !self.life_safety) || (acknowledged && !self.latching) {
            return self.close();
        }
        self.state = Some(AlarmState::ReturnedUnacknowledged);
        self.say(TransitionKind::Returned, self.untold || self.is_chattering());
    }

    fn time_is_up(&mut self) {
        let over = |since: Since, length, now| since.is_none_or(|since| now - since >= length);
        if self.shelf.is_some_and(|(since, length)| over(since, length, self.now)) {
            self.shelf = None;
            self.say(TransitionKind::Unshelved, false);
        }
        let (now, wall) = (self.now, self.wall);
        if self.out.is_some_and(|(since, length, until)| match since {
            Some(since) => now - since >= length,
            // the box was off: its own time since it came up, or the calendar, which is looked at in the first second
            None => now >= length || wall >= until,
        }) {
            self.out = None;
            self.say(TransitionKind::InService, false);
        }
        if self.chatters.is_some_and(|since| over(since, CALM, self.now)) {
            (self.chatters, self.raises) = (None, vec![]);
            self.say(TransitionKind::Calmed, self.is_held());
        }
        if let Some((step, since)) = self.escalation
            && over(since, [FIRST, SECOND].get(step as usize).copied().unwrap_or(AGAIN), self.now)
        {
            self.escalation = Some((step + 1, Some(self.now)));
            self.say(TransitionKind::Escalated, false);
        }
        let (held, open) = (self.is_held(), self.state.is_some());
        if let Some((before, since, warned, step)) = &mut self.rescue
            && !step.is_some_and(|step| step >= RescueStep::Arrived)
            && !held
            && open
        {
            let passed = *before + self.now - *since;
            let due = [20, 60, 100, 120].iter().filter(|after| passed >= **after).count();
            if due > *warned {
                *warned = due;
                self.say(TransitionKind::Rescue, false);
            }
        }
    }

    fn order(&mut self, act: &Act, bad: Truth) -> bool {
        let seconds = |length: &Duration| length.as_secs();
        match act {
            Act::Shelve { length } => {
                if self.life_safety || self.shelf.is_some() || !(1..=SHELF_LIMIT).contains(&seconds(length)) {
                    return false;
                }
                self.shelf = Some((Some(self.now), seconds(length)));
                self.say(TransitionKind::Shelved, false);
            }
            Act::Unshelve => {
                if self.shelf.take().is_none() {
                    return false;
                }
                self.say(TransitionKind::Unshelved, false);
            }
            Act::TakeOut { length, life_safety } => {
                if self.out.is_some() || (self.life_safety && !life_safety) {
                    return false;
                }
                self.out = Some((Some(self.now), seconds(length), self.wall + seconds(length).cast_signed()));
                self.say(TransitionKind::OutOfService, false);
            }
            Act::PutBack => {
                if self.out.take().is_none() {
                    return false;
                }
                self.say(TransitionKind::InService, false);
            }
            Act::Close => {
                if self.state.is_none() || (self.is_active() && bad == Truth::True) {
                    return false;
                }
                self.close_by_hand();
            }
            Act::Rescue { step } => {
                let Some((.., last)) = self.rescue.as_mut().filter(|_| self.state.is_some()) else {
                    return false;
                };
                if last.is_some_and(|last| *step <= last) {
                    return false;
                }
                *last = Some(*step);
                self.say(TransitionKind::Rescue, false);
            }
        }
        self.time_is_up();
        true
    }

    fn acknowledge(&mut self) {
        match self.state {
            Some(AlarmState::ActiveUnacknowledged) => {
                self.state = Some(AlarmState::ActiveAcknowledged);
                self.say(TransitionKind::Acknowledged, self.untold);
            }
            Some(AlarmState::ReturnedUnacknowledged) => {
                self.close_by_hand();
            }
            _ => {}
        }
        self.time_is_up();
    }

    /// A person does not touch the condition: what is on its way to raise it anew goes on, and is written down again.
    fn close_by_hand(&mut self) {
        let held = self.held.filter(|_| !self.is_active());
        self.close();
        self.held = held;
        self.kept = held.filter(|(so_far, ..)| *so_far >= 1).map(|(so_far, seen, _)| (so_far, seen));
    }

    fn restart(&mut self) {
        self.held = self.kept.map(|(so_far, seen)| (so_far, seen, false));
    }

    fn facts(&self) -> Facts {
        let over = [
            ("shelved", self.shelf.is_some()),
            ("suppressed", self.suppressed),
            ("out_of_service", self.out.is_some()),
            ("chattering", self.chatters.is_some()),
        ];
        Facts {
            state: self.state,
            over: over.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect(),
            untold: self.untold,
            escalated: self.escalation.map(|(step, _)| step),
            warned: self.rescue.map_or(0, |(_, _, warned, _)| warned),
        }
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Seconds(u64, Truth, Truth),
    Acknowledge,
    Order(Act),
    Restart,
    WallClock(i64),
}

fn truth() -> impl Strategy<Value = Truth> {
    prop_oneof![4 => Just(Truth::True), 4 => Just(Truth::False), 1 => Just(Truth::Unknown)]
}

fn act() -> impl Strategy<Value = Act> {
    let length = || (0u64..500).prop_map(Duration::from_secs);
    let step =
        prop_oneof![Just(RescueStep::Dispatched), Just(RescueStep::Arrived), Just(RescueStep::Released)];
    prop_oneof![
        4 => length().prop_map(|length| Act::Shelve { length }),
        2 => Just(Act::Unshelve),
        2 => (1u64..900, any::<bool>()).prop_map(|(seconds, life_safety)| Act::TakeOut {
            length: Duration::from_secs(seconds), life_safety
        }),
        1 => Just(Act::PutBack),
        2 => Just(Act::Close),
        2 => step.prop_map(|step| Act::Rescue { step }),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let mended = prop_oneof![5 => Just(Truth::False), 1 => Just(Truth::True), 1 => Just(Truth::Unknown)];
    prop_oneof![
        8 => (1u64..70, truth(), mended).prop_map(|(n, bad, mended)| Happening::Seconds(n, bad, mended)),
        2 => Just(Happening::Acknowledge),
        4 => act().prop_map(Happening::Order),
        1 => Just(Happening::Restart),
        1 => (0i64..4_000_000_000).prop_map(Happening::WallClock),
    ]
}

/// What somebody outside heard makes sense by itself.
fn outside(heard: &[TransitionKind]) -> Result<(), TestCaseError> {
    let mut open = false;
    for kind in heard {
        match kind {
            TransitionKind::Raised => open = true,
            TransitionKind::Acknowledged | TransitionKind::Returned | TransitionKind::Closed => {
                prop_assert!(open, "{:?} of what nobody was told: {:?}", kind, heard);
                open = *kind != TransitionKind::Closed;
            }
            TransitionKind::Shelved
            | TransitionKind::Unshelved
            | TransitionKind::Unsuppressed
            | TransitionKind::InService
            | TransitionKind::Suppressed
            | TransitionKind::OutOfService
            | TransitionKind::Escalated
            | TransitionKind::Rescue
            | TransitionKind::Chattering
            | TransitionKind::Calmed
            | TransitionKind::Summary
            | TransitionKind::Drill
            | TransitionKind::Credit => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// At every second the engine is where the reference is, and has told the same.
    #[test]
    fn the_engine_is_the_reference(
        latching: bool,
        life_safety: bool,
        happenings in prop::collection::vec(happening(), 1..30),
    ) {
        let mut bench = Bench::new(latching, life_safety);
        let mut model = Model { latching, life_safety, now: bench.now, wall: bench.wall, ..Model::default() };
        let mut known = Truth::Unknown;
        for happening in happenings {
            match &happening {
                Happening::Seconds(seconds, bad, mended) => for _ in 0..*seconds {
                    (bench.now, bench.wall) = (bench.now + 1, bench.wall + 1);
                    (model.now, model.wall) = (bench.now, bench.wall);
                    bench.poll(*bad, *mended);
                    model.look(*bad, *mended);
                    known = *bad;
                    prop_assert_eq!(bench.facts(), model.facts(), "at second {}: {:?}", bench.now, &happening);
                },
                Happening::Acknowledge => { bench.acknowledge(); model.acknowledge(); }
                Happening::Order(act) => prop_assert_eq!(bench.order(act), model.order(act, known), "{:?}", act),
                Happening::Restart => {
                    bench.restart();
                    model.restart();
                    known = Truth::Unknown;
                }
                Happening::WallClock(second) => {
                    bench.wall = *second;
                    bench.settle();
                }
            }
            prop_assert_eq!(bench.facts(), model.facts(), "{:?}", &happening);
            prop_assert_eq!(&bench.told, &model.told, "{:?}", &happening);
        }
        outside(&bench.heard)?;
    }

    /// A box that was off: nothing known is lost, nothing is raised or cleared by it, no shelf outlives it, and whoever has to
    /// be told is told at once.
    #[test]
    fn a_reboot_is_counted_on_the_safe_side(happenings in prop::collection::vec(happening(), 1..20), off in 1i64..2000) {
        let mut bench = Bench::new(true, false);
        for happening in happenings {
            match happening {
                Happening::Seconds(seconds, bad, mended) => for _ in 0..seconds {
                    (bench.now, bench.wall) = (bench.now + 1, bench.wall + 1);
                    bench.poll(bad, mended);
                },
                Happening::Acknowledge => bench.acknowledge(),
                Happening::Order(act) => { bench.order(&act); }
                Happening::Restart => bench.restart(),
                Happening::WallClock(second) => bench.wall = second,
            }
        }
        let (before, said) = (bench.facts(), bench.told.len());
        let out = bench.engine.devices[0].alarms[0].memory.overlay.out_of_service.clone();
        (bench.boot, bench.now, bench.wall) = (1, 7, bench.wall + off);
        bench.restart();
        bench.settle();
        let after = bench.facts();
        prop_assert_eq!(after.state, before.state);
        let out_goes_on = out.is_some_and(|out| {
            bench.stamp().wall < out.until && out.length > out.passing.credited + Duration::from_secs(7)
        });
        let over: Vec<_> = before.over.iter().copied().filter(|word| match *word {
            "shelved" | "chattering" => false,
            "out_of_service" => out_goes_on,
            _ => true,
        }).collect();
        prop_assert_eq!(&after.over, &over);
        if let (Some(step), true) = (before.escalated, after.over.is_empty()) {
            prop_assert_eq!(after.escalated, Some(step + 1), "nobody knows for how long nobody came");
        }
        let new: Vec<_> = bench.told[said..].iter().map(|(kind, _)| *kind).collect();
        prop_assert!(!new.contains(&TransitionKind::Raised) && !new.contains(&TransitionKind::Closed), "{:?}", new);
        // and it goes on from there
        for _ in 0..35 {
            (bench.now, bench.wall) = (bench.now + 1, bench.wall + 1);
            bench.poll(Truth::False, Truth::False);
        }
        prop_assert!(!bench.facts().state.is_some_and(|state| is_active(Some(state))));
        outside(&bench.heard)?;
    }

    /// A disk that refuses: memory never leads it, and what was decided is told once when it takes it.
    #[test]
    fn memory_never_leads_the_disk(happenings in prop::collection::vec(happening(), 1..20)) {
        let mut bench = Bench::new(true, false);
        for happening in happenings {
            match happening {
                Happening::Seconds(seconds, bad, mended) => for _ in 0..seconds {
                    (bench.now, bench.wall) = (bench.now + 1, bench.wall + 1);
                    bench.poll(bad, mended);
                },
                Happening::Order(act) => {
                    let before = bench.facts();
                    let refused = bench.engine.order("car-1/stuck", &act, &bench.who(), bench.stamp());
                    prop_assert_eq!(bench.facts(), before.clone(), "ordered, not stored: {:?}", refused.is_ok());
                    bench.now += 500;
                    let changes = bench.engine.decide(CAR_1, bench.stamp());
                    let again = bench.engine.decide(CAR_1, bench.stamp());
                    prop_assert_eq!(bench.facts(), before, "decided, not stored");
                    let steps = |changes: &[Change]| {
                        changes.iter().filter_map(|change| change.step.clone()).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(steps(&changes), steps(&again), "it stands until it is stored");
                }
                Happening::Acknowledge => bench.acknowledge(),
                Happening::Restart => bench.restart(),
                Happening::WallClock(second) => bench.wall = second,
            }
        }
        bench.settle();
        outside(&bench.heard)?;
    }
}

fn is_active(state: Option<AlarmState>) -> bool {
    lifecycle::is_active(state)
}
