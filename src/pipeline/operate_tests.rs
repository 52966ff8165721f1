//! Devices told things, against a bus that says what the test wants.

use std::{path::Path, sync::Mutex};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{outcome::READ_BACK_LEAST, *};
use crate::{
    alarm::{Engine, Latest},
    document::Problems,
    domain::{Clock, Heard, Lang, ManualClock, Raw, SiteFacts, Size, Suite, Table, command::Firing},
    pipeline::{Ledger, Progress, Trouble},
    profile::{Address, Device, Library},
    store::{EventStore, Recovered, Settings, TelemetryStore},
};

const CLASS: &str = "class = \"CLASS\"\n[[point]]\nname = \"dimming\"\nkind = \"number\"\n[[point]]\nname = \"soc\"\nkind = \"number\"\n";
const LAMP: &str = r#"profile = "lamp/x"
revision = 1
source = "made up"
[modbus]
[[point]]
name = "dimming"
read = { table = "holding", address = 0, type = "u16" }
[[point]]
name = "soc"
read = { table = "holding", address = 9, type = "u16" }
[[command]]
name = "dim"
write = { table = "holding", address = 5, type = "u16" }
range = [0, 100]
read_back = "dimming"
[[command]]
name = "blind"
write = { table = "coil", address = 5 }
[[command]]
name = "careful"
write = { table = "coil", address = 6 }
interlock = "soc > 20.0"
"#;

/// What the bus was handed: each order once, with the way back.
type Orders = mpsc::UnboundedReceiver<(Instruction, oneshot::Sender<Reply>)>;

struct Bench {
    pipeline: Pipeline,
    orders: Orders,
    clock: std::sync::Arc<ManualClock>,
    recovered: Vec<OpenOperation>,
    dir: std::sync::Arc<TempDir>,
}

fn library() -> Library {
    let lift = LAMP.replace("lamp/x", "elevator/x");
    let lift = &lift[..lift.find("[[command]]").unwrap()];
    let (lamps, lifts) = (CLASS.replace("CLASS", "lamp"), CLASS.replace("CLASS", "elevator"));
    let mut problems = Problems::default();
    let library = Library::of(
        &[
            ("lamp/class.toml", &lamps),
            ("lamp/x.toml", LAMP),
            ("elevator/class.toml", &lifts),
            ("elevator/x.toml", lift),
        ],
        &mut problems,
    );
    assert!(!problems.has_errors(), "{}", problems.lines(Lang::En));
    library
}

fn device(library: &Library, id: &str, profile: &str, unit: u8) -> Device {
    Device {
        id: id.into(),
        name: id.to_owned(),
        profile: library.profile(profile).unwrap(),
        bus: "lan".into(),
        medium: crate::domain::Medium::Network,
        address: Address::Unit(unit),
        tags: BTreeMap::new(),
    }
}

impl Bench {
    fn new() -> Self {
        Self::over(std::sync::Arc::new(TempDir::new().unwrap()))
    }

    fn over(dir: std::sync::Arc<TempDir>) -> Self {
        let library = library();
        let devices =
            vec![device(&library, "lamp-1", "lamp/x", 1), device(&library, "lift-1", "elevator/x", 2)];
        let settings = Settings { events_max: Size(8 << 20), ..Settings::of_a_test(dir.path()) };
        let (events, recovered) = EventStore::open(&settings).unwrap();
        let Recovered { operations, .. } = &recovered;
        let operations = operations.clone();
        let clock = std::sync::Arc::new(ManualClock::new());
        let watched = devices
            .iter()
            .map(|device| (device.id.clone(), Latest::new(device.profile.clone(), false), vec![]));
        let (engine, _) = Engine::new(watched.collect(), vec![], clock.boot_id());
        let (sender, orders) = mpsc::unbounded_channel();
        let asked_first = dir.clone();
        let tell: Tell = Box::new(move |_, instruction| {
            assert!(
                audit(asked_first.path()).last().unwrap().contains("| asked"),
                "asked is on disk before it is sent"
            );
            let (reply, answer) = oneshot::channel();
            sender.send((instruction, reply)).unwrap();
            Box::pin(async { answer.await.unwrap_or(Reply::Unknown { why: Text::new("断", "cut") }) })
        });
        let pipeline = Pipeline {
            site: SiteFacts { id: "yard".into(), name: "yard".into() },
            demo: false,
            devices: devices.into(),
            engine,
            ledger: Ledger::new(&recovered, Suite::default()),
            events,
            telemetry: TelemetryStore::absent(2),
            address: Box::new(|_| Vec::new()),
            wake: Vec::new(),
            clock: clock.clone(),
            heard: mpsc::channel(1).1,
            asked: mpsc::channel(1).1,
            progress: Default::default(),
            trouble: Trouble::default(),
            upkeep: crate::pipeline::Upkeep::default(),
            tide: crate::pipeline::Tide::new(
                None,
                crate::alarm::Flood::restored(crate::alarm::FloodLimit::default(), None, ""),
            ),
            recent: Default::default(),
            messages: Default::default(),
            operations: Operations::new(tell),
            private: Default::default(),
            credits: Default::default(),
            spare: Default::default(),
        };
        let _: &std::sync::Arc<Progress> = &pipeline.progress;
        Self { pipeline, orders, clock, recovered: operations, dir }
    }

    async fn ask(&mut self, device: &str, command: &str, value: Value) -> oneshot::Receiver<Outcome> {
        self.operate(Operate {
            device: device.into(),
            command: command.into(),
            value,
            by: "张伟".to_owned(),
            from: "cli".to_owned(),
            note: None,
            firing: None,
        })
        .await
    }

    async fn operate(&mut self, asked: Operate) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.pipeline.operate(asked, reply).await.unwrap();
        outcome
    }

    /// The bus answers the one order it has.
    async fn bus_says(&mut self, reply: Reply) -> Instruction {
        let (instruction, answer) = self.orders.try_recv().expect("one order");
        answer.send(reply).unwrap();
        let (number, reply) = self.pipeline.operations.next_reply().await;
        self.pipeline.told(number, reply).await.unwrap();
        instruction
    }

    /// A register is read, a second later.
    async fn reads(&mut self, address: u16, word: u16) {
        self.clock.advance(Duration::from_secs(1));
        let points = self.pipeline.devices[0].profile.all_points().collect();
        let outcome = Ok(Raw::Registers { table: Table::Holding, first: address, words: vec![word] });
        let heard = Heard { device: DeviceIx(0), at: self.clock.now(), points, outcome, receipt: None };
        self.pipeline.carry(&mut vec![heard]).await.unwrap();
        self.pipeline.watch_operations().await.unwrap();
    }

    fn audit(&self) -> Vec<String> {
        audit(self.dir.path())
    }
}

/// `who | object | outcome`
fn audit(dir: &Path) -> Vec<String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let events = rusqlite::Connection::open(dir.join("events.db")).unwrap();
    let mut rows = events
        .prepare("SELECT who || ' | ' || object || ' | ' || outcome FROM audit ORDER BY number")
        .unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn word(outcome: oneshot::Receiver<Outcome>) -> &'static str {
    let mut outcome = outcome;
    match outcome.try_recv() {
        Ok(Outcome::Operated { ending, .. }) => ending.word(),
        Ok(Outcome::NoSuchDevice { .. }) => "no such device",
        Ok(Outcome::NoSuchCommand { .. }) => "no such command",
        Ok(other) => panic!("{other:?}"),
        Err(_) => "no answer yet",
    }
}

fn why() -> Text {
    Text::new("无", "silent")
}

#[tokio::test]
async fn asked_sent_read_back_and_told() {
    let mut bench = Bench::new();
    bench.reads(0, 100).await;
    let outcome = bench.ask("lamp-1", "dim", 40.4.into()).await;
    let sent = bench.bus_says(Reply::Accepted).await;
    assert_eq!(sent, Instruction::Registers { first: 5, words: vec![40], multiple: false });
    bench.reads(0, 100).await; // not yet
    assert_eq!(bench.audit(), ["张伟 | lamp-1/dim = 40 | asked"]);
    bench.reads(0, 40).await;
    assert_eq!(word(outcome), "done");
    assert_eq!(bench.audit()[1], "张伟 | lamp-1/dim = 40 | done: done, dimming shows it after 2.0 s");
    assert!(bench.orders.try_recv().is_err(), "once");
}

#[tokio::test]
async fn what_comes_of_it() {
    let facts: [(&str, &str, Reply, Option<u16>, &str); 7] = [
        ("no point shows it", "blind", Reply::Accepted, None, "accepted"),
        ("it said no", "dim", Reply::Refused { why: why() }, None, "refused"),
        ("the line is down", "dim", Reply::NotSent { why: why() }, None, "not_sent"),
        ("silent, nothing shows it", "blind", Reply::Unknown { why: why() }, None, "unknown"),
        ("silent, but it was done", "dim", Reply::Unknown { why: why() }, Some(40), "done"),
        ("silent, and it was not done", "dim", Reply::Unknown { why: why() }, Some(7), "not_shown"),
        ("it said yes and did nothing", "dim", Reply::Accepted, Some(7), "not_shown"),
    ];
    for (fact, command, reply, shows, expected) in facts {
        let mut bench = Bench::new();
        let value = if command == "dim" { Value::Number(40.0) } else { Value::Flag(true) };
        let outcome = bench.ask("lamp-1", command, value).await;
        bench.bus_says(reply).await;
        if let Some(shows) = shows {
            bench.reads(0, shows).await;
            bench.clock.advance(READ_BACK_LEAST);
            bench.pipeline.watch_operations().await.unwrap();
        }
        assert_eq!(word(outcome), expected, "{fact}");
        assert_eq!(bench.audit().len(), 2, "{fact}: {:?}", bench.audit());
        assert!(bench.orders.try_recv().is_err(), "{fact}: once");
    }
}

#[tokio::test]
async fn a_silent_device_that_is_never_read_again_stays_unknown() {
    let mut bench = Bench::new();
    bench.reads(0, 40).await; // shows it already, but from before
    let outcome = bench.ask("lamp-1", "dim", 40.0.into()).await;
    bench.bus_says(Reply::Unknown { why: why() }).await;
    bench.clock.advance(READ_BACK_LEAST);
    bench.pipeline.watch_operations().await.unwrap();
    assert_eq!(word(outcome), "unknown");
}

#[tokio::test]
async fn nothing_is_sent_against_range_interlock_or_class() {
    let mut bench = Bench::new();
    let facts: [(&str, &str, Value, Option<u16>, &str); 9] = [
        ("lamp-1", "dim", 101.0.into(), None, "unfit"),
        ("lamp-1", "dim", f64::NAN.into(), None, "unfit"),
        ("lamp-1", "dim", "bright".into(), None, "unfit"),
        ("lamp-1", "careful", true.into(), None, "interlock"), // soc was never read
        ("lamp-1", "careful", true.into(), Some(20), "interlock"),
        ("lamp-2", "dim", 1.0.into(), None, "no such device"),
        ("lamp-1", "fly", 1.0.into(), None, "no such command"),
        ("lift-1", "dim", 1.0.into(), None, "never_told"),
        ("lamp-1", "careful", true.into(), Some(21), "no answer yet"),
    ];
    let asked = facts.len();
    for (device, command, value, soc, expected) in facts {
        if let Some(soc) = soc {
            bench.reads(9, soc).await;
        }
        let outcome = bench.ask(device, command, value.clone()).await;
        assert_eq!(word(outcome), expected, "{device} {command} {value} {soc:?}");
    }
    assert_eq!(bench.audit().len(), asked, "each is in the audit, once: {:?}", bench.audit());
    assert!(bench.audit()[4].ends_with("(soc > 20.0) does not hold: soc = 20"), "{}", bench.audit()[4]);
    bench.orders.try_recv().expect("only the last one is sent");
    assert!(bench.orders.try_recv().is_err());
}

#[tokio::test]
async fn one_thing_at_a_time() {
    let mut bench = Bench::new();
    let first = bench.ask("lamp-1", "dim", 40.0.into()).await;
    assert_eq!(word(bench.ask("lamp-1", "blind", true.into()).await), "busy");
    bench.bus_says(Reply::Refused { why: why() }).await;
    assert_eq!(word(first), "refused");
    assert_eq!(word(bench.ask("lamp-1", "blind", true.into()).await), "no answer yet");
}

#[tokio::test]
async fn a_kill_leaves_it_unknown_and_nothing_is_sent_again() {
    let bench = {
        let mut bench = Bench::new();
        bench.ask("lamp-1", "dim", 40.0.into()).await;
        let dir = bench.dir.clone();
        bench.pipeline.events.clone().close().await.unwrap(); // what was committed is what a kill leaves
        dir
    };
    let mut next = Bench::over(bench.clone());
    let open = std::mem::take(&mut next.recovered);
    assert_eq!(open.iter().map(|open| (&*open.device, &*open.who)).collect::<Vec<_>>(), [("lamp-1", "张伟")]);
    next.pipeline.close_operations(open).await.unwrap();
    assert_eq!(
        next.audit(),
        [
            "张伟 | lamp-1/dim = 40 | asked",
            "张伟 | lamp-1/dim | unknown: nobody knows whether it was done: the gateway was stopped"
        ]
    );
    assert!(next.orders.try_recv().is_err(), "nothing is sent again");
    next.pipeline.events.clone().close().await.unwrap();
    assert!(Bench::over(bench).recovered.is_empty(), "closed once");
}

#[tokio::test]
async fn a_stop_closes_what_is_open() {
    let mut bench = Bench::new();
    let outcome = bench.ask("lamp-1", "dim", 40.0.into()).await;
    drop(bench.orders.try_recv().unwrap()); // the bus hangs up in the midst of it
    bench.pipeline.end_operations().await.unwrap();
    assert_eq!(word(outcome), "unknown");
    assert_eq!(bench.audit().len(), 2);
}

#[tokio::test]
async fn a_schedule_tells_again_only_what_a_reading_shows_undone() {
    let again = |by: &str, attempt| Operate {
        device: "lamp-1".into(),
        command: "dim".into(),
        value: 40.0.into(),
        by: by.to_owned(),
        from: "schedule".to_owned(),
        note: None,
        firing: Some(Firing { schedule: by.to_owned(), day: "2026-11-23".parse().unwrap(), attempt }),
    };
    let mut bench = Bench::new();
    let first = bench.operate(again("on", Attempt::First)).await;
    bench.bus_says(Reply::Unknown { why: why() }).await;
    bench.clock.advance(READ_BACK_LEAST);
    bench.pipeline.watch_operations().await.unwrap();
    assert_eq!(word(first), "unknown");
    assert_eq!(word(bench.operate(again("on", Attempt::Doubtful)).await), "not_yet", "not heard of since");
    bench.reads(0, 0).await;
    assert_eq!(
        word(bench.operate(again("on", Attempt::Doubtful)).await),
        "no answer yet",
        "heard of, and undone: told again"
    );
    bench.bus_says(Reply::Unknown { why: why() }).await;
    bench.reads(0, 40).await;
    assert_eq!(
        word(bench.operate(again("on", Attempt::Doubtful)).await),
        "not_needed",
        "it was done after all"
    );
    let person = bench.ask("lamp-1", "dim", 7.0.into()).await;
    bench.bus_says(Reply::Accepted).await;
    bench.reads(0, 7).await;
    assert_eq!(word(person), "done");
    assert_eq!(
        word(bench.operate(again("on", Attempt::Doubtful)).await),
        "not_needed",
        "a person's word is the later one"
    );
}
