//! Five minutes by a clock that the test turns: where they end, and that a restart in between does not cut them off.

use std::collections::BTreeMap;

use flate2::read::GzDecoder;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    app::lines::OneLine,
    document::Problems,
    domain::{ManualClock, Suite},
    fieldbus::{counter, record::Tape},
    profile::{Address, Library},
    store::{
        Commit, Settings,
        chain::{BoxKeys, ClockBox, FileDigest, Witness},
        evidence::{self, Hash},
    },
    uplink::sample,
};

/// A gateway's store and the clock on its wall; each life of it has a tape of its own.
struct Bench {
    dir: TempDir,
    clock: Arc<ManualClock>,
    events: EventStore,
    devices: Arc<[Device]>,
    epoch: String,
    seq: u64,
    hash: Hash,
}

/// From a start to an end.
struct Life {
    tape: Arc<Tape>,
    wake: Arc<Notify>,
    stop: CancellationToken,
    keeper: JoinHandle<Ended>,
}

impl Bench {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new());
        let (events, recovered) = EventStore::open(&Settings::of_a_test(dir.path())).unwrap();
        let witness = Witness {
            clock: ClockBox(clock.clone()),
            zone: TimeZone::UTC,
            keys: BoxKeys::default(),
            suite: Suite::default(),
            version: "test".into(),
            writings: Vec::new(),
            starts: true,
        };
        events.attest(witness).await.unwrap();
        let library = Library::shipped(&mut Problems::default());
        let lift = Device {
            id: "lift-3-1".into(),
            name: "3号楼1单元电梯".to_owned(),
            profile: library.profile("elevator/monarch-nice3000").unwrap(),
            bus: "lifts".into(),
            medium: crate::domain::Medium::Network,
            address: Address::Unit(1),
            tags: BTreeMap::new(),
        };
        let (epoch, seq, hash) = (recovered.epoch.clone(), recovered.last_seq, recovered.last_hash);
        Self { dir, clock, events, devices: Arc::new([lift]), epoch, seq, hash }
    }

    /// `since`: events up to this one were there before.
    async fn start(&self, since: u64) -> Life {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let tape = Arc::new(Tape::new(1 << 20, clock.clone()));
        let (counter, _inbox) = counter();
        let line = OneLine { counter, tape: Arc::clone(&tape) };
        let lines = Lines::new(HashMap::from([("lifts".into(), line)]), &self.devices);
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let keeper = Keeper {
            suite: Suite::default(),
            dir: self.dir.path().to_owned(),
            events: self.events.clone(),
            lines: Arc::new(lines),
            devices: Arc::clone(&self.devices),
            clock,
            zone: TimeZone::UTC,
            wake: Arc::clone(&wake),
            since,
            most: 64 << 20,
        };
        let pending = keeper.left_over().await;
        let keeper = tokio::spawn(keeper.go_on(pending, stop.clone()));
        Life { tape, wake, stop, keeper }
    }

    /// Somebody is trapped now.
    async fn raise(&mut self, boot_id: &str) {
        let now = self.clock.now();
        self.seq += 1;
        let mut event = sample::raised();
        (event.seq, event.epoch, event.at) = (self.seq, self.epoch.clone(), now.wall);
        (event.boot_id, event.mono_ms) = (boot_id.to_owned(), now.mono.0.as_millis() as u64);
        let sealed = evidence::seal(event, self.hash).unwrap();
        self.hash = sealed.hash;
        self.events.commit(Commit { events: vec![sealed], ..Commit::default() }).await.unwrap();
    }

    fn after(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Those on record, once there are `count`.
    async fn captures(&self, life: &Life, count: usize) -> Vec<Capture> {
        for _ in 0..5000 {
            life.wake.notify_one();
            let found = Reader::open(self.dir.path()).unwrap().captures(None).unwrap();
            if found.len() >= count {
                return found;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("there are no {count} captures");
    }

    /// Ends in good order; what is on record then.
    async fn stopped(&self, life: Life) -> Vec<Capture> {
        life.stop.cancel();
        life.keeper.await.unwrap().unwrap();
        Reader::open(self.dir.path()).unwrap().captures(None).unwrap()
    }

    /// The bytes of the frames in a capture's file, whose digest is the one on record.
    fn frames(&self, capture: &Capture) -> Vec<String> {
        let packed = std::fs::read(folder(self.dir.path()).join(&capture.file)).unwrap();
        assert_eq!(
            FileDigest::of(Suite::default(), &packed),
            capture.digest,
            "{} is the one that is on record",
            capture.file
        );
        let text = std::io::read_to_string(GzDecoder::new(&packed[..])).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|line| line.get("bus").is_some() && line.get("gatehouse_capture").is_none())
            .map(|line| line.to_string())
            .collect()
    }
}

/// When it was raised: 06:04:20 by the clock of the test.
const RAISED: &str = "2026-11-23T06:04:20.000+00:00";
const BEFORE_IT: &str = "2026-11-23T06:02:20.000+00:00";
const ENDS: &str = "2026-11-23T06:09:20.000+00:00";

fn lacks(capture: &Capture) -> Vec<&str> {
    capture.lacks.iter().map(|gap| gap.what.en.as_str()).collect()
}

#[tokio::test]
async fn five_minutes_after_the_alarm_and_not_a_frame_more() {
    let mut bench = Bench::new().await;
    let life = bench.start(0).await;
    life.tape.heard(b"long before");
    bench.after(200);
    life.tape.heard(b"just before");
    bench.after(60);
    bench.raise("manual").await;
    let before = &bench.captures(&life, 1).await[0].clone();
    assert_eq!((before.from.as_str(), before.to.as_str(), before.frames), (BEFORE_IT, RAISED, 1));
    bench.after(1);
    life.tape.heard(b"just after");
    bench.after(298);
    life.tape.heard(b"a second before the end");
    // were it taken too soon, it would end here
    life.wake.notify_one();
    sleep(Duration::from_millis(20)).await;
    bench.after(2);
    life.tape.heard(b"a second after the end");
    let captures = bench.captures(&life, 2).await;
    let after = &captures[1];
    assert_eq!((after.from.as_str(), after.to.as_str(), after.frames), (RAISED, ENDS, 2));
    assert_eq!((bench.frames(before).len(), bench.frames(after).len()), (1, 2));
    assert!(!lacks(after).contains(&"the rest until five minutes after"), "{:?}", after.lacks);
    bench.after(3600);
    assert_eq!(bench.stopped(life).await.len(), 2, "and that is all of it");
}

#[tokio::test]
async fn a_gateway_that_is_killed_goes_on_where_it_was() {
    let mut bench = Bench::new().await;
    let life = bench.start(0).await;
    bench.after(260);
    bench.raise("manual").await;
    bench.captures(&life, 1).await;
    bench.after(100);
    life.tape.heard(b"in memory only");
    life.keeper.abort();

    let life = bench.start(bench.seq).await;
    bench.after(100);
    life.tape.heard(b"after the start");
    life.wake.notify_one();
    sleep(Duration::from_millis(20)).await;
    bench.after(101);
    let captures = bench.captures(&life, 2).await;
    let after = &captures[1];
    assert_eq!((after.from.as_str(), after.to.as_str(), after.frames), (RAISED, ENDS, 1));
    assert!(lacks(after).contains(&"frames before this start of the gateway"), "{:?}", after.lacks);
    assert_eq!(bench.stopped(life).await.len(), 2);

    // whoever starts once more has nothing to go on with
    let life = bench.start(bench.seq).await;
    life.wake.notify_one();
    assert_eq!(bench.stopped(life).await, captures);
}

#[tokio::test]
async fn killed_before_anything_was_written_it_keeps_what_is_left_once() {
    let mut bench = Bench::new().await;
    bench.after(260);
    bench.raise("manual").await;
    bench.after(299);
    let life = bench.start(bench.seq).await;
    bench.after(1);
    let captures = bench.captures(&life, 1).await;
    assert_eq!((captures[0].from.as_str(), captures[0].to.as_str()), (RAISED, ENDS));
    assert!(Part::After.is_that_of(&captures[0]));
    bench.stopped(life).await;
    // the file on record is not written over by the next start
    let life = bench.start(bench.seq).await;
    assert_eq!(bench.stopped(life).await, captures);
    bench.frames(&captures[0]);
}

#[tokio::test]
async fn what_was_over_before_the_start_is_over() {
    let mut bench = Bench::new().await;
    bench.after(260);
    bench.raise("manual").await;
    bench.after(301);
    let life = bench.start(bench.seq).await;
    assert_eq!(bench.stopped(life).await, [], "nothing of it was kept, and nothing can be any more");
}

#[tokio::test]
async fn after_a_power_cut_only_the_wall_clock_knows_how_long_it_was() {
    let mut bench = Bench::new().await;
    bench.after(260);
    bench.raise("the boot before").await;
    bench.after(100);
    let life = bench.start(bench.seq).await;
    bench.after(200);
    let captures = bench.captures(&life, 1).await;
    assert_eq!(captures[0].to, ENDS);
    bench.stopped(life).await;

    let mut bench = Bench::new().await;
    bench.after(260);
    bench.raise("the boot before").await;
    // the clock was lost with the power: it is earlier than the alarm now
    bench.clock.step_wall("2026-11-23T00:00:00Z".parse().unwrap());
    let life = bench.start(bench.seq).await;
    bench.after(299);
    life.wake.notify_one();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(Reader::open(bench.dir.path()).unwrap().captures(None).unwrap(), []);
    bench.after(1);
    assert_eq!(bench.captures(&life, 1).await.len(), 1, "five minutes from the start");
}

#[tokio::test]
async fn a_gateway_that_is_stopped_says_what_it_cut_off() {
    let mut bench = Bench::new().await;
    let life = bench.start(0).await;
    bench.after(260);
    bench.raise("manual").await;
    bench.captures(&life, 1).await;
    bench.after(60);
    let captures = bench.stopped(life).await;
    assert_eq!(captures[1].to, "2026-11-23T06:05:20.000+00:00");
    assert_eq!(lacks(&captures[1])[0], "the rest until five minutes after");
}
