//! Readings on their way from a real file to an endpoint that says what it likes.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::*;
use crate::{
    domain::{DeviceIx, Hindrance, HindranceKind, ManualClock, PointIx, Sample, SiteFacts},
    store::{CatalogueEntry, Row, Settings, TelemetryStore},
    text,
};

/// Answers from a script, then takes everything.
struct Scripted {
    answers: Mutex<Vec<Verdict>>,
    heard: Mutex<Vec<(String, serde_json::Value)>>,
    /// Of them, those that were taken.
    taken: Mutex<Vec<(String, serde_json::Value)>>,
    longest: AtomicUsize,
}

impl Endpoint for Scripted {
    async fn deliver(&self, letter: &Letter) -> Verdict {
        self.longest.fetch_max(letter.body.len(), Relaxed);
        let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
        let heard = (letter.event_id.clone(), body);
        self.heard.lock().unwrap().push(heard.clone());
        let mut answers = self.answers.lock().unwrap();
        if answers.is_empty() {
            self.taken.lock().unwrap().push(heard);
            return Verdict::Accepted { status: 200, said: String::new() };
        }
        answers.remove(0)
    }
}

const BEGIN: i64 = 1_764_000_000_000;

struct Bench {
    uploader: Uploader<Scripted>,
    telemetry: TelemetryStore,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(answers: Vec<Verdict>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::of_a_test(dir.path());
        let store = EventStore::open(&settings).unwrap().0;
        let points = vec![("voltage_a".into(), "V".to_owned()), ("owner".into(), String::new())];
        let catalogue = Arc::new([CatalogueEntry { device: "meter".into(), points }]);
        let telemetry = TelemetryStore::open(&settings, catalogue).unwrap();
        let clock = Arc::new(ManualClock::new());
        clock.step_wall(moment(BEGIN));
        let endpoint = Scripted {
            answers: Mutex::new(answers),
            heard: Mutex::default(),
            taken: Mutex::default(),
            longest: AtomicUsize::new(0),
        };
        let uploader = Uploader {
            id: "city".into(),
            endpoint: Arc::new(endpoint),
            store,
            dir: dir.path().to_owned(),
            devices: Arc::new([Visible {
                device: "meter".into(),
                class: "power-line".into(),
                points: ["voltage_a".into()].into(),
            }]),
            every: Duration::from_secs(1),
            origin: Origin {
                site: SiteFacts { id: "yard".into(), name: "yard".into() },
                epoch: "9c1e".into(),
                zone: jiff::tz::TimeZone::UTC,
                demo: false,
            },
            privacy: None,
            clock: clock.clone(),
            chance: || 0.0,
            state: watch::channel(EndpointState::Delivering).1,
        };
        Self { uploader, telemetry, clock, _dir: dir }
    }

    /// A row a second, from `first` on.
    async fn read(&self, first: i64, rows: i64) {
        for n in first..first + rows {
            let samples = vec![
                (PointIx(0), Sample::good((230.0 + n as f64).into())),
                (PointIx(1), Sample::good("王芳".into())),
            ];
            let row = Row { device: DeviceIx(0), at: moment(BEGIN + n * 1000), samples, receipt: None };
            assert_eq!(self.telemetry.keep(row), crate::store::Kept::Queued);
        }
        self.telemetry.flush().await.unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// What was heard, once `rows` rows were taken.
    async fn after(
        self,
        rows: usize,
    ) -> (Vec<(String, serde_json::Value)>, Uploader<Scripted>, Arc<Scripted>) {
        let Self { uploader, .. } = self;
        let endpoint = Arc::clone(&uploader.endpoint);
        let again = Uploader {
            id: uploader.id.clone(),
            endpoint: Arc::clone(&endpoint),
            store: uploader.store.clone(),
            dir: uploader.dir.clone(),
            devices: Arc::clone(&uploader.devices),
            every: uploader.every,
            origin: uploader.origin.clone(),
            privacy: None,
            clock: Arc::clone(&uploader.clock),
            chance: uploader.chance,
            state: uploader.state.clone(),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(uploader.run(stop.clone()));
        let enough = async {
            while values(&endpoint.taken.lock().unwrap()).len() < rows {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), enough).await.expect("they go");
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
        running.await.unwrap();
        let heard = std::mem::take(&mut *endpoint.heard.lock().unwrap());
        (heard, again, endpoint)
    }
}

/// The values, each batch once however often it came.
fn values(heard: &[(String, serde_json::Value)]) -> Vec<f64> {
    let mut seen = std::collections::BTreeMap::new();
    for (id, body) in heard {
        let number = body["gatehouseseq"].as_u64().unwrap();
        seen.entry((number, id.clone())).or_insert_with(|| body.clone());
    }
    let blocks = seen.values().flat_map(|body| body["data"]["batch"].as_array().cloned().unwrap_or_default());
    let rows = blocks.flat_map(|block| block["rows"].as_array().cloned().unwrap());
    rows.map(|row| row["values"][0].as_f64().unwrap()).collect()
}

fn again() -> Verdict {
    let why = Hindrance::new(HindranceKind::NoReply, text!("断", "cut"));
    Verdict::TryAgain { why, after: Some(Duration::from_millis(1)) }
}

fn unreadable() -> Verdict {
    let why = Hindrance::new(HindranceKind::LetterRefused, text!("太长", "too long"));
    Verdict::Refused { why, how: Refusal::Unreadable }
}

#[tokio::test]
async fn readings_go_once_in_order_under_the_same_id_until_they_are_confirmed() {
    let bench = Bench::new(vec![again(), again()]);
    bench
        .uploader
        .store
        .set_upload_cursor(&"city".into(), (&Cursor::stands_at(BEGIN, 0)).into())
        .await
        .unwrap();
    bench.read(1, 30).await;
    bench.pass(60);
    let (heard, next, _) = bench.after(30).await;
    assert_eq!(values(&heard), (1..=30).map(|n| 230.0 + f64::from(n)).collect::<Vec<_>>());
    assert!(heard.len() >= 3 && heard[0] == heard[1] && heard[1] == heard[2], "byte for byte the same");
    assert!(!heard[0].1.to_string().contains("王芳"));
    // another run goes on where this one ended
    let cursor: Cursor = next.store.upload_cursor(&"city".into()).await.unwrap().unwrap().into();
    assert_eq!((cursor.since, cursor.number), (BEGIN + 50_000, 1));
}

#[tokio::test]
async fn what_is_too_long_for_a_receiver_goes_in_shorter_batches() {
    let bench = Bench::new(vec![unreadable(), unreadable()]);
    bench
        .uploader
        .store
        .set_upload_cursor(&"city".into(), (&Cursor::stands_at(BEGIN, 0)).into())
        .await
        .unwrap();
    bench.read(1, 400).await;
    bench.pass(500);
    let (_, _, endpoint) = bench.after(400).await;
    let taken = endpoint.taken.lock().unwrap();
    assert_eq!(values(&taken), (1..=400).map(|n| 230.0 + f64::from(n)).collect::<Vec<_>>());
    assert!(taken.len() > 1 && endpoint.longest.load(Relaxed) > taken[0].1.to_string().len());
}

#[tokio::test]
async fn what_retention_took_before_it_went_is_reported() {
    let bench = Bench::new(vec![]);
    // it wants what is long gone
    let long_ago = Cursor::stands_at(BEGIN - 86_400_000, 8);
    bench.uploader.store.set_upload_cursor(&"city".into(), (&long_ago).into()).await.unwrap();
    bench.read(1, 5).await;
    bench.pass(60);
    let (heard, _, _) = bench.after(5).await;
    let (_, report) = &heard[0];
    assert_eq!((&report["type"], &report["gatehouseseq"]), (&"gatehouse.loss_report".into(), &9.into()));
    let loss = &report["data"]["losses"][0];
    assert_eq!((&loss["class"], &loss["reason"]), (&"readings".into(), &"retention".into()));
    assert_eq!(values(&heard), [231.0, 232.0, 233.0, 234.0, 235.0]);
}

#[tokio::test]
async fn a_clock_that_was_put_back_stops_nothing() {
    let bench = Bench::new(vec![]);
    let ahead = Cursor::stands_at(BEGIN + 86_400_000, 1);
    bench.uploader.store.set_upload_cursor(&"city".into(), (&ahead).into()).await.unwrap();
    let opened = bench.uploader.open_window(ahead);
    assert_eq!((opened.since, opened.is_within_window()), (BEGIN, false));
    bench.pass(15);
    assert!(bench.uploader.open_window(opened).is_within_window());
}

#[tokio::test(start_paused = true)]
async fn readings_without_a_time_stay_here_and_it_is_told_which() {
    let bench = Bench::new(vec![]);
    bench.clock.step_wall(moment(9_000));
    bench.clock.be(TimeQuality::Unset);
    let somebody_sets_it = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bench.pass(1);
        }
        bench.clock.step_wall(moment(BEGIN));
        bench.clock.be(TimeQuality::Holdover);
    };
    let (stood, stop) = (Cursor::stands_at(BEGIN - 60_000, 3), CancellationToken::new());
    let (cursor, ()) = tokio::join!(bench.uploader.wait_for_the_time(stood.clone(), &stop), somebody_sets_it);
    assert_eq!(cursor, Some(Cursor { number: 4, ..stood }), "it goes on where it stood");
    let taken = std::mem::take(&mut *bench.uploader.endpoint.taken.lock().unwrap());
    let [(_, report)] = &taken[..] else { panic!("one report: {taken:?}") };
    let loss = &report["data"]["losses"][0];
    assert_eq!((&loss["class"], &loss["reason"]), (&"readings".into(), &"clock_unset".into()));
    assert_eq!(loss["from"], "1970-01-01T00:00:09.000+00:00");
    assert!(loss["to"].as_str().unwrap() > "1970-01-01T00:00:16", "{loss}");
    assert_eq!(bench.uploader.wait_for_the_time(cursor.clone().unwrap(), &stop).await, cursor, "once");
}

#[tokio::test]
async fn a_time_that_the_clock_leapt_over_is_passed_in_one_step() {
    let bench = Bench::new(vec![]);
    bench.read(1, 5).await;
    bench.clock.step_wall(moment(BEGIN + 100_000));
    let years = Cursor::stands_at(BEGIN - 50 * 365 * 86_400_000, 2);
    let past = bench.uploader.past_the_gap(years).await;
    assert_eq!(past, Cursor::stands_at(BEGIN + 999, 2), "to what there is");
    let behind = Cursor::stands_at(BEGIN + 5_000, 2);
    assert_eq!(bench.uploader.past_the_gap(behind.clone()).await, behind, "a minute and a half is no gap");
    bench.pass(86_400);
    let past = bench.uploader.past_the_gap(behind).await;
    assert_eq!(past, Cursor::stands_at(BEGIN + 86_490_000, 2), "nothing was read for a day");
}
