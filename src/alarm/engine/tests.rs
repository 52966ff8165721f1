use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::*;
use crate::{
    alarm::{Override, RuleBook, Rules, Truth},
    document::Problems,
    domain::{Clock, ManualClock, Value},
    profile::{Library, Profile},
};

mod held;

const SUSPECTED: &str = "passenger_trapped_suspected";
const LIFT: DeviceIx = DeviceIx(0);

/// A shipped product that has every point of the rule; compiled once for all tests.
static TERMINAL: LazyLock<Arc<Profile>> = LazyLock::new(|| {
    let mut problems = Problems::default();
    let library = Library::load(&[], &mut problems);
    library.profile("elevator/shmashine-carroof").expect("it is shipped")
});

/// The rule for the suspected entrapment, latching or not.
fn rule(latching: bool) -> Arc<Rule> {
    static RULES: LazyLock<[Arc<Rule>; 2]> = LazyLock::new(|| [false, true].map(compile));
    RULES[usize::from(latching)].clone()
}

fn compile(latching: bool) -> Arc<Rule> {
    let rules = Rules::compile(&DeviceId::from("lift-1"), &TERMINAL, &[]).expect("shipped rules are valid");
    let suspected = rules.on.into_iter().find(|rule| &*rule.alarm.name == SUSPECTED);
    let mut rule = suspected.expect("the terminal has its points");
    Arc::make_mut(&mut rule).alarm.latching = latching;
    rule
}

/// One elevator with only the suspected entrapment watched: on-delay 30 s, off-delay 10 s, latching.
struct Bench {
    engine: Engine,
    clock: ManualClock,
    profile: Arc<Profile>,
    /// What stands on disk.
    disk: Vec<AlarmMemory>,
    steps: Vec<TransitionKind>,
    /// The box was off: another boot's id.
    rebooted: Option<String>,
}

impl Bench {
    fn new(latching: bool) -> Self {
        let mut bench = Self {
            engine: Engine::new(vec![], vec![], "").0,
            clock: ManualClock::new(),
            profile: Arc::clone(&TERMINAL),
            disk: vec![],
            steps: vec![],
            rebooted: None,
        };
        bench.restart(latching);
        bench
    }

    fn restart(&mut self, latching: bool) {
        let watched = vec![rule(latching)];
        let id = DeviceId::from("lift-1");
        let latest = Latest::new(Arc::clone(&self.profile), false);
        let boot = self.rebooted.as_deref().unwrap_or_else(|| self.clock.boot_id());
        let (engine, orphans) = Engine::new(vec![(id, latest, watched)], self.disk.clone(), boot);
        assert!(orphans.is_empty());
        self.engine = engine;
    }

    /// The elevator is polled: the condition holds, does not, or nothing is known.
    fn poll(&mut self, truth: Truth) {
        self.poll_with(truth, true);
    }

    /// The same; what its passenger sensor says.
    fn poll_with(&mut self, truth: Truth, occupied: bool) {
        let at = self.clock.now();
        let text = |word: &str| Value::Text(word.into());
        let door = if truth == Truth::True { "closed" } else { "open" };
        let values = [
            ("mode", text("normal")),
            ("door_zone", Value::Flag(false)),
            ("door", text(door)),
            ("occupied", Value::Flag(occupied)),
            ("speed", Value::Number(0.0)),
        ];
        let points = values.iter().map(|(name, value)| {
            (self.profile.point(name).expect("a point of the rule"), Sample::good(value.clone()))
        });
        let samples = points.collect::<Vec<_>>();
        if truth == Truth::Unknown {
            let points = samples.iter().map(|(point, _)| *point).collect::<Vec<_>>();
            self.engine.failed(LIFT, &points, &Failure::Silent, at);
        } else {
            self.engine.heard(LIFT, &samples, at);
        }
    }

    /// Decides; commits and applies, unless the disk refuses.
    fn decide(&mut self, disk_works: bool) {
        let mut changes = self.engine.decide(LIFT, self.clock.now());
        if !disk_works {
            return;
        }
        for change in &mut changes {
            self.commit(change);
        }
        self.engine.apply(changes);
    }

    fn commit(&mut self, change: &mut Change) {
        if let Some(step) = &change.step {
            self.steps.push(step.kind);
            change.memory.occurrence.get_or_insert_with(|| OccurrenceId::from("test-1"));
        }
        self.disk = vec![change.stored()];
    }

    fn acknowledge(&mut self) -> Acknowledged {
        let at = self.clock.now();
        let who = Acknowledgement { by: "张伟".into(), at: at.wall, note: None, from: "cli".into() };
        let done = self.engine.acknowledge(&OccurrenceId::from("test-1"), who, at);
        if let Acknowledged::Change(change) = &done {
            let mut change = (**change).clone();
            self.commit(&mut change);
            self.engine.apply(vec![change]);
        }
        done
    }

    /// Without what the rescue clock says.
    fn told(&self) -> Vec<TransitionKind> {
        self.steps.iter().copied().filter(|kind| *kind != TransitionKind::Rescue).collect()
    }

    fn state(&self) -> Option<AlarmState> {
        self.engine.devices[0].alarms[0].memory.state
    }

    /// The condition holds but for the passenger sensor, polled every second for `seconds`.
    fn sensed(&mut self, seconds: u64, occupied: impl Fn(u64) -> bool) {
        for second in 1..=seconds {
            self.clock.advance(Duration::from_secs(1));
            self.poll_with(Truth::True, occupied(second));
            self.decide(true);
        }
    }

    /// Polls every second for `seconds`.
    fn live(&mut self, seconds: u64, truth: Truth) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.poll(truth);
            self.decide(true);
        }
    }
}

#[test]
fn an_entrapment_from_the_first_second_to_the_last() {
    use AlarmState::{ActiveAcknowledged, ActiveUnacknowledged, ReturnedUnacknowledged};
    use Truth::{False, True};
    let mut bench = Bench::new(true);
    bench.live(5, False);
    bench.live(30, True);
    assert_eq!(bench.state(), None, "the 30 s have not passed since the first of 30 looks");
    bench.live(1, True);
    assert_eq!(bench.state(), Some(ActiveUnacknowledged));
    bench.acknowledge();
    assert_eq!(bench.state(), Some(ActiveAcknowledged));
    assert!(matches!(bench.acknowledge(), Acknowledged::Already { by, .. } if by == "张伟"));
    bench.live(10, False);
    assert_eq!(bench.state(), Some(ActiveAcknowledged), "the off-delay has not passed");
    bench.live(1, False);
    assert_eq!(bench.state(), Some(ReturnedUnacknowledged), "latching: it wants a person again");
    bench.acknowledge();
    assert_eq!(bench.state(), None);
    let told = [
        TransitionKind::Raised,
        TransitionKind::Acknowledged,
        TransitionKind::Returned,
        TransitionKind::Closed,
    ];
    assert_eq!(bench.steps, told);
}

#[test]
fn a_delay_runs_out_without_a_new_reading() {
    let mut bench = Bench::new(true);
    bench.poll(Truth::True);
    bench.decide(true);
    let (due, next) = bench.engine.due(bench.clock.now().mono);
    assert!(due.is_empty());
    assert!(next.is_some(), "it wants to be looked at again");
    bench.clock.advance(Duration::from_secs(29));
    bench.poll(Truth::True);
    bench.decide(true);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.engine.due(bench.clock.now().mono).0, [LIFT]);
    bench.decide(true);
    assert_eq!(bench.state(), Some(AlarmState::ActiveUnacknowledged));
}

#[test]
fn a_step_of_the_wall_clock_changes_nothing() {
    let mut bench = Bench::new(true);
    bench.live(20, Truth::True);
    bench.clock.step_wall("2038-01-19T03:14:07Z".parse().unwrap());
    bench.live(5, Truth::True);
    assert_eq!(bench.state(), None);
    bench.clock.step_wall("1970-01-01T00:00:10Z".parse().unwrap());
    bench.live(6, Truth::True);
    assert_eq!(bench.state(), Some(AlarmState::ActiveUnacknowledged));
    assert_eq!(bench.steps, [TransitionKind::Raised]);
}

#[test]
fn a_restart_in_the_middle_of_a_delay_does_not_move_its_end() {
    let mut bench = Bench::new(true);
    bench.live(15, Truth::True);
    bench.clock.advance(Duration::from_secs(3));
    bench.restart(true);
    bench.live(12, Truth::True);
    assert_eq!(bench.state(), None, "30 s since the first look, one to go");
    bench.live(1, Truth::True);
    assert_eq!(bench.state(), Some(AlarmState::ActiveUnacknowledged));
}

#[test]
fn gone_while_the_gateway_was_down_it_returns_exactly_once() {
    let mut bench = Bench::new(true);
    bench.live(31, Truth::True);
    bench.restart(true);
    assert_eq!(bench.state(), Some(AlarmState::ActiveUnacknowledged));
    bench.live(30, Truth::False);
    assert_eq!(bench.steps, [TransitionKind::Raised, TransitionKind::Returned]);
}

#[test]
fn what_was_not_committed_is_decided_again_and_raised_once() {
    let mut bench = Bench::new(true);
    bench.live(30, Truth::True);
    for _ in 0..5 {
        bench.clock.advance(Duration::from_secs(1));
        bench.poll(Truth::True);
        bench.decide(false);
        assert_eq!(bench.state(), None, "memory never leads the disk");
    }
    bench.live(5, Truth::True);
    assert_eq!(bench.steps, [TransitionKind::Raised]);
}

#[test]
fn what_was_decided_while_the_disk_was_full_is_told_though_it_is_over() {
    let mut bench = Bench::new(true);
    bench.live(30, Truth::True);
    bench.clock.advance(Duration::from_secs(1));
    bench.poll(Truth::True);
    let decided_at = bench.clock.now().wall;
    bench.decide(false);
    bench.clock.advance(Duration::from_secs(5));
    bench.poll(Truth::False);
    bench.decide(false);
    assert!(!bench.engine.due(bench.clock.now().mono).0.is_empty(), "it is tried again without a reading");
    bench.decide(true);
    assert_eq!(bench.disk[0].raised_at, Some(decided_at), "when it was, not when there was room");
    bench.live(11, Truth::False);
    assert_eq!(bench.steps, [TransitionKind::Raised, TransitionKind::Returned]);
}

/// Changes nothing of it yet.
fn of_suspicion() -> Override {
    Override {
        device: None,
        class: None,
        name: SUSPECTED.into(),
        on_delay: None,
        off_delay: None,
        priority: None,
        latching: None,
        enabled: None,
        rescue_within: None,
        over_time: None,
    }
}

#[test]
fn what_is_a_matter_of_life_never_closes_by_itself_whatever_a_site_says() {
    let change = Override { latching: Some(false), enabled: Some(false), ..of_suspicion() };
    let rules =
        Rules::compile(&DeviceId::from("lift-1"), &TERMINAL, &[change]).expect("shipped rules are valid");
    let rule = rules.on.iter().find(|rule| &*rule.alarm.name == SUSPECTED).expect("it stays on");
    assert!(rule.alarm.latching);
}

#[test]
fn devices_of_one_product_share_their_rules_but_for_what_is_changed_for_one() {
    let late = Duration::from_secs(99);
    let changes = [Override { device: Some("lift-2".into()), on_delay: Some(late), ..of_suspicion() }];
    let mut book = RuleBook::new(&changes);
    let [first, second, third] = ["lift-1", "lift-2", "lift-3"].map(|id| {
        let rules = book.of(&id.into(), &TERMINAL).expect("shipped rules are valid").on;
        rules.into_iter().find(|rule| &*rule.alarm.name == SUSPECTED).expect("the terminal has its points")
    });
    assert!(Arc::ptr_eq(&first, &third));
    assert_eq!((first.alarm.on_delay, second.alarm.on_delay), (Duration::from_secs(30), late));
}

#[test]
fn what_a_broker_kept_is_no_sign_of_life_and_garbage_is_no_answer() {
    let mut bench = Bench::new(true);
    let at = bench.clock.now();
    let door = bench.profile.point("door").expect("a point of the terminal");
    let closed = [(door, Sample::stale(Value::Text("closed".into())))];
    let link = |bench: &Bench| bench.engine.device(LIFT).1.link_lost();
    bench.engine.recalled(LIFT, &closed, at);
    assert_eq!(link(&bench), Truth::Unknown);
    bench.engine.failed(LIFT, &[door], &Failure::Silent, at);
    bench.engine.recalled(LIFT, &closed, at);
    assert_eq!(link(&bench), Truth::True, "a retained message brings nobody back");
    bench.poll(Truth::False);
    assert_eq!(link(&bench), Truth::False);
    let now = bench.clock.now().mono;
    let open = [(door, Sample::stale(Value::Text("open".into())))];
    assert!(bench.engine.device(LIFT).1.good(door, now));
    bench.engine.recalled(LIFT, &open, at);
    assert!(bench.engine.device(LIFT).1.good(door, now), "what is known now is better than what was once");
    bench.engine.garbled(LIFT, &[door], at);
    assert_eq!(link(&bench), Truth::True);
    bench.poll(Truth::False);
    bench.engine.failed(LIFT, &[door], &Failure::NotHeardYet, at);
    assert_eq!(link(&bench), Truth::Unknown, "the line is back, the device has not spoken");
}

#[test]
fn a_gateway_that_stood_still_concludes_nothing_from_old_polls() {
    let mut problems = Problems::default();
    let library = Library::load(&[], &mut problems);
    let profile = library.profile("elevator/monarch-nice3000").expect("it is shipped");
    let mut latest = Latest::new(Arc::clone(&profile), false);
    let clock = ManualClock::new();
    let floor = profile.point("floor").expect("a point of the controller");
    let sample = [(floor, Sample::good(Value::Number(7.0)))];
    latest.heard(&sample, clock.now());
    clock.advance(Duration::from_secs(15));
    assert!(latest.good(floor, clock.now().mono), "15 s are not too old by themselves");
    latest.stood_still(clock.now().mono);
    assert!(!latest.good(floor, clock.now().mono));
    assert!(latest.heard(&sample, clock.now()), "read anew it is different again");
    assert!(latest.good(floor, clock.now().mono));
}
