//! A kiosk that speaks by messages, before a pipeline with its stores in a directory of their own.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::{
    alarm::{Engine, Latest, Rules, Truth},
    document::Problems,
    domain::{Clock, Heard, Letter, ManualClock, SiteFacts, Size, Suite},
    pipeline::{BREATHERS, Ledger, Recent, Trouble},
    profile::{Address, Device, Library, Profile},
    store::{CatalogueEntry, EventStore, Kept, Settings, TelemetryReader, TelemetryStore, evidence::Sealed},
};

#[path = "credit_tests.rs"]
mod credits;

const KIOSK: DeviceIx = DeviceIx(0);
static PROFILE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
    let library = Library::load(&[], &mut Problems::default());
    library.profile("recycling-kiosk/gatehouse-kiosk").expect("it is shipped")
});

struct Bench {
    pipeline: Pipeline,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

/// What a message says: its number, its time as seconds before now, whether there is smoke, whether the broker kept it.
#[derive(Clone, Copy)]
struct Says {
    seq: u64,
    ago: i64,
    smoke: bool,
    retained: bool,
}

/// What is said, what the smoke alarm then sees, and how many were dropped and how many old.
type Story<'a> = (&'a str, &'a [Says], Truth, (u64, u64));

fn says(seq: u64, ago: i64, smoke: bool) -> Says {
    Says { seq, ago, smoke, retained: false }
}

fn kept(seq: u64, ago: i64, smoke: bool) -> Says {
    Says { retained: true, ..says(seq, ago, smoke) }
}

impl Bench {
    fn new() -> Self {
        Self::with_room(Size(64 << 20))
    }

    fn with_room(events_max: Size) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { events_max, ..Settings::of_a_test(dir.path()) };
        let clock = Arc::new(ManualClock::new());
        let points = PROFILE.points.iter().map(|point| (point.name.clone(), String::new()));
        let catalogue = CatalogueEntry { device: "kiosk".into(), points: points.collect() };
        let (events, recovered) = EventStore::open(&settings).unwrap();
        let telemetry = TelemetryStore::open(&settings, Arc::new([catalogue])).unwrap();
        let rules = Rules::compile(&"kiosk".into(), &PROFILE, &[]).unwrap();
        let watched = ("kiosk".into(), Latest::new(Arc::clone(&PROFILE), false), rules.on);
        let device = Device {
            id: "kiosk".into(),
            name: String::new(),
            profile: Arc::clone(&PROFILE),
            bus: "broker".into(),
            medium: crate::domain::Medium::Broker,
            address: Address::Text("7".to_owned()),
            tags: BTreeMap::new(),
        };
        let pipeline = Pipeline {
            site: SiteFacts { id: "yard".into(), name: String::new() },
            demo: false,
            devices: Arc::new([device]),
            engine: Engine::new(vec![watched], Vec::new(), "boot").0,
            ledger: Ledger::new(&recovered, Suite::default()),
            events,
            telemetry,
            address: Box::new(|_| Vec::new()),
            wake: Vec::new(),
            clock: clock.clone(),
            heard: mpsc::channel(1).1,
            asked: mpsc::channel(1).1,
            progress: Arc::default(),
            trouble: Trouble::default(),
            upkeep: crate::pipeline::Upkeep::default(),
            tide: crate::pipeline::Tide::new(
                None,
                crate::alarm::Flood::restored(crate::alarm::FloodLimit::default(), None, ""),
            ),
            recent: Recent::default(),
            messages: BTreeMap::new(),
            operations: crate::pipeline::Operations::nowhere(),
            private: Default::default(),
            credits: Default::default(),
            spare: Default::default(),
        };
        Self { pipeline, clock, dir }
    }

    /// One message through the pipeline; its receipt.
    async fn hear(&mut self, payload: impl Into<Bytes>, retained: bool) -> oneshot::Receiver<()> {
        let (receipt, committed) = oneshot::channel();
        let heard = Heard {
            device: KIOSK,
            at: self.clock.now(),
            points: PROFILE.all_points().collect(),
            outcome: Ok(Raw::Payload { bytes: payload.into(), retained }),
            receipt: Some(receipt),
        };
        self.pipeline.carry(&mut vec![heard]).await.unwrap();
        committed
    }

    async fn says(&mut self, Says { seq, ago, smoke, retained }: Says) -> oneshot::Receiver<()> {
        let time = self.clock.now().wall - SignedDuration::from_secs(ago);
        let text = format!(r#"{{"time":"{time}","seq":{seq},"smoke":{smoke}}}"#);
        self.hear(text.into_bytes(), retained).await
    }

    /// What was stored of the smoke detector, oldest first.
    async fn stored(&self) -> Vec<String> {
        self.pipeline.telemetry.flush().await.unwrap();
        let reader = TelemetryReader::open(self.dir.path()).unwrap();
        let rows = reader.readings("kiosk", Some("smoke"), Timestamp::MIN, Timestamp::MAX).unwrap();
        rows.map(|row| row.unwrap()).map(|row| format!("{:?} {}", row.value, row.quality.word())).collect()
    }

    fn counts(&self) -> MessageCounts {
        self.pipeline.messages.get("broker").copied().unwrap_or_default()
    }

    /// Whether the smoke alarm would see smoke, no smoke, or nothing it can trust.
    fn smoke(&self) -> Truth {
        let (_, latest) = self.pipeline.engine.device(KIOSK);
        let smoke = PROFILE.point("smoke").unwrap();
        let now = self.clock.now().mono;
        match latest.sample(smoke, now) {
            Some((sample, _)) if sample.is_good() => match sample.value() == Some(&true.into()) {
                true => Truth::True,
                false => Truth::False,
            },
            Some(_) | None => Truth::Unknown,
        }
    }
}

#[tokio::test]
async fn only_news_is_acted_upon() {
    let stories: &[Story] = &[
        ("live", &[says(1, 0, true)], Truth::True, (0, 0)),
        ("kept by the broker, of long ago", &[kept(1, 7_200, true)], Truth::Unknown, (0, 1)),
        ("kept by the broker, and its time proves it fresh", &[kept(1, 5, true)], Truth::True, (0, 0)),
        ("kept, then live", &[kept(1, 7_200, true), says(2, 0, false)], Truth::False, (0, 1)),
        (
            "live, then kept: what is known now is better",
            &[says(2, 0, false), kept(1, 7_200, true)],
            Truth::False,
            (0, 1),
        ),
        ("the same again", &[says(1, 0, true), says(1, 0, true)], Truth::True, (1, 0)),
        (
            "replayed: an older one that says smoke",
            &[says(9, 0, false), says(8, 5, true)],
            Truth::False,
            (0, 1),
        ),
        ("late by itself", &[says(1, 7_200, true)], Truth::Unknown, (0, 1)),
        ("a kiosk that was switched on anew", &[says(70, 5, false), says(0, 0, true)], Truth::True, (0, 0)),
        ("ahead of time: not believed, but live", &[says(1, -7_200, true)], Truth::True, (0, 0)),
    ];
    for (fact, messages, truth, counts) in stories {
        let mut bench = Bench::new();
        for message in *messages {
            let receipt = bench.says(*message).await;
            bench.pipeline.telemetry.flush().await.unwrap();
            assert_eq!(receipt.await, Ok(()), "{fact}: every message is owed a receipt");
        }
        assert_eq!(bench.smoke(), *truth, "{fact}");
        let MessageCounts { duplicates, stale, .. } = bench.counts();
        assert_eq!((duplicates, stale), *counts, "{fact}");
    }
}

#[tokio::test]
async fn what_comes_again_is_stored_once_and_acknowledged_after_the_first() {
    let mut bench = Bench::new();
    let mut first = bench.says(says(1, 0, true)).await;
    let mut again = bench.says(says(1, 0, true)).await;
    let told_early = again.try_recv().is_ok();
    assert!(!told_early || first.try_recv().is_ok(), "never before the first");
    assert_eq!(bench.stored().await, ["Some(Flag(true)) good"]);
    for receipt in [first, again].iter_mut().filter(|receipt| !receipt.is_terminated()) {
        assert_eq!(receipt.await, Ok(()));
    }
    assert_eq!(bench.pipeline.telemetry.stored(), 1);
}

#[tokio::test]
async fn what_nobody_can_read_is_never_a_value() {
    let deep = "[".repeat(10_000);
    for (fact, payload) in [
        ("no JSON", &b"{not json"[..]),
        ("10 000 levels", deep.as_bytes()),
        ("not UTF-8", b"{\"seq\":1,\"smoke\":\"\xFF\"}"),
        ("empty", b""),
        ("a NUL", b"\0"),
    ] {
        let mut bench = Bench::new();
        for retained in [false, true] {
            bench.hear(payload.to_vec(), retained).await;
        }
        assert_eq!(bench.stored().await, ["None decode_error", "None decode_error"], "{fact}");
        assert_eq!(bench.counts().malformed, 2, "{fact}");
        assert_eq!(bench.smoke(), Truth::Unknown, "{fact}");
        let (_, latest) = bench.pipeline.engine.device(KIOSK);
        assert_eq!(latest.link_lost(), Truth::True, "{fact}: it counts as no answer");
    }
}

/// A letter whose body says how durable its event is.
fn to_office(sealed: &Sealed) -> Vec<Letter> {
    let event = &sealed.event;
    vec![Letter {
        row: 0,
        endpoint: "office".into(),
        event_id: event.id.clone(),
        seq: event.seq,
        key: event.key(),
        priority: event.alarm.priority,
        attempts: 0,
        // more than the first page has room for
        body: format!("{:<9000}", format!("{:?}", sealed.durability)).into_bytes().into(),
        content_type: None,
        provisional: false,
    }]
}

#[tokio::test]
async fn a_store_without_room_silences_no_urgent_alarm_and_decides_it_once() {
    for (fact, room, durability) in
        [("room", Size(64 << 20), "Committed"), ("no room", Size(112 << 10), "Volatile")]
    {
        let mut bench = Bench::with_room(room);
        bench.pipeline.address = Box::new(to_office);
        // smoke, for longer than its on-delay
        for seq in 0..6 {
            bench.says(says(seq, 0, true)).await;
            bench.clock.advance(Duration::from_millis(1500));
        }
        let events = bench.pipeline.events.clone();
        let told = events.claim(&"office".into(), Vec::new()).await.unwrap().expect(fact);
        assert_eq!((told.body.trim_ascii(), told.seq), (durability.as_bytes(), 1), "{fact}");
        let next = events.claim(&"office".into(), vec![told.key]).await.unwrap();
        assert!(next.is_none(), "{fact}: {next:?}");
        assert_eq!(bench.pipeline.ledger.next_seq(), 2, "{fact}: it was decided once");
        assert_eq!(bench.pipeline.engine.standing().count(), 1, "{fact}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_behind_slows_the_field_down_for_a_moment_at_a_time() {
    let mut bench = Bench::new();
    bench.pipeline.telemetry = TelemetryStore::without_writer(1);
    let samples = [(PointIx(0), Sample::good("困".repeat(30_000).as_str().into()))];
    let (mut waits, mut rows) = (Vec::new(), 0);
    while bench.pipeline.telemetry.keep_lent(KIOSK, Timestamp::UNIX_EPOCH, &samples, None) == Kept::Queued {
        rows += 1;
        assert!(rows < 1000, "there is always room");
        let begun = tokio::time::Instant::now();
        bench.pipeline.let_store_catch_up().await;
        waits.push(begun.elapsed());
    }
    let half = rows / 2;
    assert!(waits[..half - 2].iter().all(Duration::is_zero), "{waits:?}");
    assert!(waits[half + 2..].iter().all(|wait| BREATHERS.contains(wait)) && waits.is_sorted(), "{waits:?}");
    assert_eq!(waits.last(), BREATHERS.last());
    assert!(bench.pipeline.trouble.telemetry_behind.is_some(), "it was told");
    assert!(bench.pipeline.trouble.breathers as usize > half - 3, "and counted since");
}
