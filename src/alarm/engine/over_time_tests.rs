//! Rules that look at more than the moment, against references that keep all that was ever seen; and alarms that chatter.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    alarm::{ChatteringLimit, Rules, Truth},
    document::Problems,
    domain::{Lang, Value},
    profile::{Library, Profile},
};

const CLASS: &str = r#"class = "box"
[[point]]
name = "heat"
kind = "number"
[[point]]
name = "open"
kind = "flag"
[[point]]
name = "runs"
kind = "flag"
[[alarm]]
name = "opened_often"
priority = "medium"
when = "open"
count = { times = 3, within = "60s" }
[[alarm]]
name = "heating"
priority = "medium"
rate = { point = "heat", rise = 5.0, within = "20s" }
[[alarm]]
name = "stuck"
priority = "medium"
when = "runs"
stuck = { point = "heat", for = "30s", deadband = 0.5 }
[[alarm]]
name = "hot"
priority = "medium"
when = "heat > 60.0"
clear_when = "heat < 55.0"
[[alarm]]
name = "door"
priority = "medium"
when = "open"
[[alarm]]
name = "dead"
priority = "critical"
link_lost = true
on_delay = "2h"
[[alarm]]
name = "help"
priority = "critical"
when = "open"
"#;
const BOX: &str = r#"profile = "box/x"
revision = 1
source = "made up"
[modbus]
[[point]]
name = "heat"
read = { table = "holding", address = 0, type = "i16" }
[[point]]
name = "open"
read = { table = "coil", address = 1, type = "bool" }
[[point]]
name = "runs"
read = { table = "coil", address = 2, type = "bool" }
"#;

static PROFILE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
    let mut problems = Problems::default();
    let library = Library::of(&[("box/class.toml", CLASS), ("box/x.toml", BOX)], &mut problems);
    assert!(!problems.has_errors(), "{}", problems.lines(Lang::En));
    library.profile("box/x").expect("it is sound")
});

const DEVICE: DeviceIx = DeviceIx(0);

/// What is read at one second; `None`: the device does not answer.
#[derive(Clone, Copy, Debug)]
struct Read {
    heat: f64,
    open: bool,
    runs: bool,
}

/// A box and its disk. What is decided is told by second.
struct Bench {
    engine: Engine,
    now: u64,
    boot: u32,
    disk: BTreeMap<AlarmKey, AlarmMemory>,
    told: Vec<(u64, String, TransitionKind, bool)>,
    writes: usize,
}

impl Bench {
    fn new() -> Self {
        let (engine, _) = Engine::new(vec![], vec![], "");
        let mut bench = Self { engine, now: 1000, boot: 0, disk: BTreeMap::new(), told: vec![], writes: 0 };
        bench.restart();
        bench
    }

    fn restart(&mut self) {
        let rules = Rules::compile(&"box-1".into(), &PROFILE, &[]).expect("it is valid");
        let watched = vec![("box-1".into(), Latest::new(Arc::clone(&PROFILE), false), rules.on)];
        let disk = self.disk.values().cloned().collect();
        let (engine, orphans) = Engine::new(watched, disk, &format!("boot {}", self.boot));
        assert_eq!(orphans, []);
        self.engine = engine;
    }

    fn stamp(&self) -> Stamp {
        let wall = Timestamp::from_second(1_800_000_000 + self.now as i64).expect("within the calendar");
        Stamp { mono: Mono(Duration::from_secs(self.now)), wall }
    }

    /// One second later.
    fn second(&mut self, read: Option<Read>) {
        self.now += 1;
        let at = self.stamp();
        let point = |name| PROFILE.point(name).expect("it is there");
        match read {
            None => self.engine.failed(
                DEVICE,
                &[point("heat"), point("open"), point("runs")],
                &Failure::Silent,
                at,
            ),
            Some(Read { heat, open, runs }) => {
                let samples = [
                    (point("heat"), Sample::good(Value::Number(heat))),
                    (point("open"), Sample::good(Value::Flag(open))),
                    (point("runs"), Sample::good(Value::Flag(runs))),
                ];
                self.engine.heard(DEVICE, &samples, at);
            }
        }
        let changes = self.engine.decide(DEVICE, at);
        self.commit(changes);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            if self.engine.due(self.stamp().mono).0.is_empty() {
                return;
            }
            let changes = self.engine.decide(DEVICE, self.stamp());
            self.commit(changes);
        }
        panic!("it never comes to rest at {}", self.now);
    }

    fn commit(&mut self, mut changes: Vec<Change>) {
        self.writes += changes.len();
        for change in &mut changes {
            let key = change.memory.key.clone();
            if let Some(step) = &change.step {
                if change.memory.state.is_some() {
                    change.memory.occurrence.get_or_insert_with(|| format!("{key} {}", self.now).into());
                }
                self.told.push((self.now, key.alarm.to_string(), step.kind, step.withheld));
            }
            let stored = change.stored();
            let text = serde_json::to_string(&stored).expect("text");
            let read: AlarmMemory = serde_json::from_str(&text).expect("it reads what it wrote");
            assert_eq!(read, stored);
            self.disk.insert(key, read);
        }
        self.engine.apply(changes);
    }

    fn is_active(&self, alarm: &str) -> bool {
        let slot = self.engine.devices[0].alarms.iter().find(|slot| &*slot.memory.key.alarm == alarm);
        lifecycle::is_active(slot.expect("it is there").memory.state)
    }

    /// (second after the beginning, kind) of what was told, or withheld, of an alarm.
    fn steps(&self, alarm: &str) -> Vec<(u64, TransitionKind)> {
        let of_it = self.told.iter().filter(|(_, name, ..)| name == alarm);
        of_it.map(|(at, _, kind, _)| (at - 1000, *kind)).collect()
    }
}

const CALM: Read = Read { heat: 20.0, open: false, runs: false };

#[test]
fn a_door_that_opens_three_times_a_minute() {
    use TransitionKind::{Raised, Returned};
    let mut bench = Bench::new();
    for second in 1..=200 {
        let open = matches!(second, 70 | 71 | 80 | 90);
        bench.second(Some(Read { open, ..CALM }));
    }
    // the third time at 90; 60 s after the first only two are left
    assert_eq!(bench.steps("opened_often"), [(90, Raised), (131, Returned)]);
}

/// What a site changes counts, and of the rest its class's word.
#[test]
fn a_site_says_how_much_it_takes() {
    use crate::{
        alarm::{OverTimeChange, Override},
        profile::OverTime,
    };
    let seconds = Duration::from_secs;
    let changed = |name: &str, of: Option<&str>, over_time: OverTimeChange| Override {
        device: of.map(Into::into),
        class: of.is_none().then(|| "box".into()),
        name: name.into(),
        on_delay: None,
        off_delay: None,
        priority: None,
        latching: None,
        enabled: None,
        rescue_within: None,
        over_time: Some(over_time),
    };
    let changes = [
        changed("opened_often", Some("box-1"), OverTimeChange::Count { times: Some(5), within: None }),
        changed("opened_often", None, OverTimeChange::Count { times: Some(4), within: Some(seconds(90)) }),
        changed(
            "heating",
            None,
            OverTimeChange::Rate { rise: None, fall: Some(9.0), within: Some(seconds(30)) },
        ),
        changed("stuck", None, OverTimeChange::Stuck { lasting: Some(seconds(5)), deadband: None }),
        changed("hot", None, OverTimeChange::Stuck { lasting: Some(seconds(5)), deadband: None }),
    ];
    let rules = Rules::compile(&"box-1".into(), &PROFILE, &changes).expect("it is valid");
    let of = |name: &str| {
        rules.on.iter().find(|rule| &*rule.alarm.name == name).expect("it is on").alarm.over_time.clone()
    };
    assert_eq!(
        of("opened_often"),
        Some(OverTime::Count { times: 5, within: seconds(90) }),
        "the nearer word is the last"
    );
    let heating =
        OverTime::Rate { point: "heat".into(), rise: Some(5.0), fall: Some(9.0), within: seconds(30) };
    assert_eq!(of("heating"), Some(heating));
    let stuck = OverTime::Stuck { point: "heat".into(), lasting: seconds(5), deadband: 0.5 };
    assert_eq!((of("stuck"), of("hot")), (Some(stuck), None));
    let compiled =
        rules.on.iter().find(|rule| &*rule.alarm.name == "stuck").and_then(|rule| rule.over_time());
    assert!(
        matches!(compiled, Some(crate::alarm::OverTime::Stuck { lasting, .. }) if *lasting == seconds(5))
    );
}

#[test]
fn what_was_counted_outlives_a_restart_and_silence_is_not_calm() {
    use TransitionKind::{Raised, Returned};
    let mut bench = Bench::new();
    for second in 1..=60 {
        bench.second(Some(Read { open: matches!(second, 20 | 30), ..CALM }));
    }
    bench.restart();
    for _ in 61..=65 {
        bench.second(Some(CALM));
    }
    bench.second(Some(Read { open: true, ..CALM }));
    assert_eq!(bench.steps("opened_often"), [(66, Raised)], "two before, one after the restart");
    for _ in 67..=300 {
        bench.second(None);
    }
    assert!(bench.is_active("opened_often"), "who is silent may open it as often as before");
    for _ in 301..=420 {
        bench.second(Some(CALM));
    }
    assert_eq!(bench.steps("opened_often"), [(66, Raised), (361, Returned)], "a whole minute was seen");
}

#[test]
fn five_degrees_in_twenty_seconds() {
    use TransitionKind::{Raised, Returned};
    let mut bench = Bench::new();
    let heat = |bench: &mut Bench, seconds: std::ops::RangeInclusive<u64>, of: fn(u64) -> f64| {
        for second in seconds {
            bench.second(Some(Read { heat: of(second), ..CALM }));
        }
    };
    heat(&mut bench, 1..=100, |second| 20.0 + second as f64 * 0.2); // 4 in 20 s
    assert_eq!(bench.steps("heating"), []);
    heat(&mut bench, 101..=110, |second| 40.0 + (second - 100) as f64); // 1 a second
    heat(&mut bench, 111..=200, |_| 50.0);
    let steps = bench.steps("heating");
    assert_eq!(steps.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), [Raised, Returned]);
    assert!((101..=103).contains(&steps[0].0), "{steps:?}");
    assert!((125..=128).contains(&steps[1].0), "{steps:?}");
}

#[test]
fn a_value_that_stands_still_though_it_should_not() {
    use TransitionKind::{Closed, Raised, Returned};
    let mut bench = Bench::new();
    let running = |heat| Some(Read { heat, runs: true, ..CALM });
    for second in 1..=25 {
        bench.second(running(20.0 + f64::from(second % 2) * 0.4)); // within the deadband
    }
    let before = bench.writes;
    bench.restart();
    for _ in 26..=30 {
        bench.second(running(20.0));
    }
    bench.second(running(20.0));
    assert_eq!(bench.steps("stuck"), [(31, Raised)], "the restart cost nothing");
    assert!(bench.writes - before <= 4 && before <= 4, "{} writes", bench.writes);
    (bench.boot, bench.now) = (1, 5);
    bench.restart();
    bench.second(running(20.1));
    assert!(bench.is_active("stuck"), "a reboot moves nothing");
    bench.second(None);
    bench.second(running(25.0));
    bench.second(running(26.0));
    assert!(!bench.is_active("stuck"));
    let kinds: Vec<_> = bench.told.iter().filter(|told| told.1 == "stuck").map(|told| told.2).collect();
    assert!(matches!(kinds[..], [Raised, Returned] | [Raised, Closed]), "{kinds:?}");
    for _ in 0..100 {
        bench.second(Some(CALM));
    }
    assert!(!bench.is_active("stuck"), "it need not move");
}

#[test]
fn a_value_that_trembles_at_its_limit_is_one_alarm() {
    use TransitionKind::{Raised, Returned};
    let mut bench = Bench::new();
    for (second, heat) in [60.0, 60.5, 59.5, 60.5, 55.5, 60.5, 54.9, 59.0].into_iter().enumerate() {
        bench.second(Some(Read { heat, ..CALM }));
        assert_eq!(bench.is_active("hot"), (1..6).contains(&second), "{heat}");
    }
    assert_eq!(bench.steps("hot"), [(2, Raised), (7, Returned)]);
}

#[test]
fn a_chattering_alarm_is_told_once_and_a_critical_one_each_time() {
    use TransitionKind::{Calmed, Chattering, Raised, Returned};
    let mut bench = Bench::new();
    for second in 1..=100 {
        bench.second(Some(Read { open: second % 2 == 0, ..CALM }));
        if second == 50 {
            bench.restart();
        }
    }
    for _ in 0..61 {
        bench.second(Some(CALM));
    }
    let told = |alarm: &str| {
        let of_it = bench.told.iter().filter(|(_, name, _, withheld)| name == alarm && !withheld);
        of_it.map(|(at, _, kind, _)| (at - 1000, *kind)).collect::<Vec<_>>()
    };
    let singly = (1..=5).flat_map(|n| [(2 * n, Raised), (2 * n + 1, Returned)]);
    let expected: Vec<_> = singly.chain([(12, Chattering), (160, Calmed)]).collect();
    assert_eq!(told("door"), expected);
    let raises = |alarm: &str| bench.steps(alarm).iter().filter(|(_, kind)| *kind == Raised).count();
    assert_eq!((raises("door"), raises("help")), (50, 50), "every one of them is on record");
    assert_eq!(told("help").len(), 100);
    assert!(!bench.told.iter().any(|(_, name, kind, _)| name == "help" && *kind == Chattering));
}

#[test]
fn a_silence_of_hours_is_counted_over_reboots() {
    let mut bench = Bench::new();
    let silent = |bench: &mut Bench, seconds: u64| (0..seconds).for_each(|_| bench.second(None));
    bench.second(Some(CALM));
    silent(&mut bench, 4000);
    assert!(!bench.is_active("dead"));
    (bench.boot, bench.now) = (1, 20);
    bench.restart();
    bench.told.clear();
    silent(&mut bench, 3100);
    assert!(!bench.is_active("dead"));
    silent(&mut bench, 110);
    assert!(bench.is_active("dead"), "less than 20 s of each boot are not counted");
    bench.second(Some(CALM));
    assert!(!bench.is_active("dead"));
}

#[test]
fn who_chatters_and_then_stays_is_told_as_it_stands() {
    use TransitionKind::{Calmed, Chattering};
    let mut bench = Bench::new();
    bench.engine =
        std::mem::replace(&mut bench.engine, Engine::new(vec![], vec![], "").0).with_customs(Customs {
            chattering: ChatteringLimit { more_than: 1, ..ChatteringLimit::default() },
            ..Customs::default()
        });
    for second in 1..=90 {
        bench.second(Some(Read { open: second > 3 || second % 2 == 0, ..CALM }));
    }
    let kinds: Vec<_> =
        bench.steps("door").into_iter().filter(|(_, kind)| matches!(kind, Chattering | Calmed)).collect();
    assert_eq!(kinds, [(4, Chattering), (64, Calmed)]);
    assert!(bench.is_active("door"));
}

/// All that was ever seen of one rule: at which second what was read, or nothing; a restart forgets what was not written.
#[derive(Clone, Debug, Default)]
struct Reference {
    seen: Vec<(u64, Option<Read>)>,
    openings: Vec<u64>,
    was: Option<bool>,
    restarted_at: u64,
}

impl Reference {
    fn second(&mut self, now: u64, read: Option<Read>) {
        self.seen.push((now, read));
        let Some(read) = read else { return };
        if read.open && self.was == Some(false) {
            self.openings.push(now);
        }
        self.was = Some(read.open);
        self.openings.retain(|then| now - then <= 60);
    }

    /// Nothing was missed for so long.
    fn saw_the_last(&self, now: u64, seconds: u64) -> bool {
        let mut since = now + 1;
        for (at, read) in self.seen.iter().rev().take_while(|(at, _)| *at > self.restarted_at) {
            if read.is_none() {
                break;
            }
            since = *at;
        }
        since + seconds <= now
    }

    fn look(&self, now: u64, active: &mut bool) {
        match self.opened_often(now) {
            Truth::True => *active = true,
            Truth::False => *active = false,
            Truth::Unknown => {}
        }
    }

    fn opened_often(&self, now: u64) -> Truth {
        match self.openings.iter().filter(|then| now - **then <= 60).count() {
            3.. => Truth::True,
            _ if self.saw_the_last(now, 60) => Truth::False,
            _ => Truth::Unknown,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is read, and whatever is not: it is active from the third opening on, and until a minute was seen without.
    #[test]
    fn counting_is_the_reference(
        seconds in prop::collection::vec((1u64..15, prop_oneof![3 => Just(Some(true)), 4 => Just(Some(false)), 1 => Just(None)]), 1..40),
        restart_after in 0usize..40,
    ) {
        let (mut bench, mut reference, mut active) = (Bench::new(), Reference::default(), false);
        for (n, (length, open)) in seconds.into_iter().enumerate() {
            for _ in 0..length {
                let read = open.map(|open| Read { open, ..CALM });
                bench.second(read);
                reference.second(bench.now, read);
                reference.look(bench.now, &mut active);
                prop_assert_eq!(bench.is_active("opened_often"), active, "at {}", bench.now);
            }
            if n == restart_after {
                // as long as it takes to write down what was seen; what was read last counts meanwhile
                for _ in 0..6 {
                    bench.now += 1;
                    bench.settle();
                    reference.second(bench.now, open.map(|open| Read { open, ..CALM }));
                    reference.look(bench.now, &mut active);
                }
                bench.restart();
                (reference.restarted_at, reference.was) = (bench.now, None);
            }
        }
    }
}
