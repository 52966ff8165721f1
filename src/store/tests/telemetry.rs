use tokio::sync::oneshot;

use super::*;
use crate::store::{Kept, StoreError, StoredReading, TelemetryReader, TelemetryStore};

const POINTS: [(&str, &str); 3] = [("floor", ""), ("speed", "m/s"), ("door", "")];

fn number(value: f64) -> Sample {
    Sample::good(Value::Number(value))
}

fn read(settings: &Settings, device: &str, point: Option<&str>) -> Vec<StoredReading> {
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    reader.readings(device, point, Timestamp::MIN, Timestamp::MAX).unwrap().collect::<Result<_, _>>().unwrap()
}

fn brief(reading: &StoredReading) -> (String, String, Option<Value>, &'static str) {
    (reading.at.to_string(), reading.point.to_string(), reading.value.clone(), reading.quality.word())
}

#[tokio::test]
async fn what_was_kept_is_read_with_names_units_and_qualities() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let store = TelemetryStore::open(&settings, catalogue(2, &POINTS)).unwrap();
    let door = Sample::good(Value::Text("closed".into()));
    for (at, samples) in [
        ("2026-11-23T06:00:02.5Z", vec![(0, number(8.0)), (2, Sample::without_value(Quality::CommFail))]),
        ("2026-11-23T06:00:01.482Z", vec![(0, number(7.0)), (1, number(1.5)), (2, door.clone())]),
        ("2026-11-23T06:00:03Z", vec![(1, Sample::stale(Value::Number(1.5)))]),
    ] {
        let samples = samples.into_iter().map(|(ix, sample)| (PointIx(ix), sample)).collect();
        let row = Row { device: DeviceIx(1), at: at.parse().unwrap(), samples, receipt: None };
        assert_eq!(store.keep(row), Kept::Queued);
    }
    assert_eq!(store.keep(numbers(0, at("2026-11-23T06:00:00Z"), &[1.0])), Kept::Queued);
    store.flush().await.unwrap();
    assert_eq!((store.stored(), store.dropped()), (4, 0));

    let all = read(&settings, "device-1", None);
    let row = |at: &str, point: &str, value: Option<Value>, quality| {
        (at.to_owned(), point.to_owned(), value, quality)
    };
    let is = |n| Some(Value::Number(n));
    assert_eq!(
        all.iter().map(brief).collect::<Vec<_>>(),
        [
            row("2026-11-23T06:00:01.482Z", "floor", is(7.0), "good"),
            row("2026-11-23T06:00:01.482Z", "speed", is(1.5), "good"),
            row("2026-11-23T06:00:01.482Z", "door", Some(Value::Text("closed".into())), "good"),
            row("2026-11-23T06:00:02.5Z", "floor", is(8.0), "good"),
            row("2026-11-23T06:00:02.5Z", "door", None, "comm_fail"),
            row("2026-11-23T06:00:03Z", "speed", is(1.5), "stale"),
        ]
    );
    assert_eq!(&*all[1].unit, "m/s");
    assert_eq!(read(&settings, "device-1", Some("speed")).len(), 2);
    assert_eq!(read(&settings, "device-0", None).len(), 1);
    assert_eq!(read(&settings, "device-7", None).len(), 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_receipt_comes_after_the_commit_and_never_from_a_closed_store() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let store = TelemetryStore::open(&settings, catalogue(1, &POINTS)).unwrap();
    let (receipt, stored) = oneshot::channel();
    let row = Row { receipt: Some(receipt), ..numbers(0, at("2026-11-23T06:00:00Z"), &[1.0]) };
    assert_eq!(store.keep(row), Kept::Queued);
    stored.await.unwrap();
    assert_eq!(read(&settings, "device-0", None).len(), 1, "no flush was needed");

    let clone = store.clone();
    store.close().await.unwrap();
    let (receipt, lost) = oneshot::channel();
    let late = Row { receipt: Some(receipt), ..numbers(0, at("2026-11-23T06:00:01Z"), &[1.0]) };
    assert_eq!(clone.keep(late), Kept::Full);
    assert!(lost.await.is_err());
    assert_eq!(clone.dropped(), 1);
    assert!(matches!(clone.flush().await, Err(StoreError::Closed { .. })));
    assert!(matches!(clone.close().await, Err(StoreError::Closed { .. })));
}

#[tokio::test]
async fn a_series_is_used_again_and_a_changed_profile_makes_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let moment = |n: i64| at("2026-11-23T06:00:00Z") + Duration::from_secs(n as u64);
    let other = [("speed", "km/h"), ("floor", "")];
    for (n, points) in [(0, &POINTS[..]), (1, &POINTS[..]), (2, &other[..])] {
        let store = TelemetryStore::open(&settings, catalogue(1, points)).unwrap();
        assert_eq!(store.keep(numbers(0, moment(n), &[n as f64])), Kept::Queued);
        store.close().await.unwrap();
    }
    let found: Vec<_> = read(&settings, "device-0", None)
        .iter()
        .map(|reading| (reading.point.to_string(), reading.unit.to_string()))
        .collect();
    let want = [("floor", ""), ("floor", ""), ("speed", "km/h")];
    assert_eq!(found, want.map(|(point, unit)| (point.to_owned(), unit.to_owned())));
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    assert_eq!(reader.series_count(), 2);
    assert_eq!(reader.devices().unwrap(), ["device-0"]);
    let points: Vec<_> = reader.points("device-0").unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(points, ["speed", "floor", "door"], "the present profile's first");
}

#[tokio::test]
async fn many_rows_are_read_whole_across_looks_gaps_and_equal_times() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let store = TelemetryStore::open(&settings, catalogue(3, &POINTS)).unwrap();
    let start = at("2026-11-23T06:00:00Z");
    let mut want = Vec::new();
    for n in 0..2500u32 {
        // three rows to a moment, and a hole of a day every 700 moments
        let moment = start + Duration::from_secs(u64::from(n / 3) + u64::from(n / 3 / 250) * 86_400);
        assert_eq!(store.keep(numbers(1, moment, &[f64::from(n)])), Kept::Queued);
        assert_eq!(store.keep(numbers(n % 2 * 2, moment, &[0.5])), Kept::Queued);
        want.push(f64::from(n));
    }
    store.flush().await.unwrap();
    let found: Vec<_> = read(&settings, "device-1", Some("floor"))
        .into_iter()
        .map(|reading| match reading.value {
            Some(Value::Number(number)) => number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, want);

    let reader = TelemetryReader::open(&settings.dir).unwrap();
    let between =
        |from: Timestamp, to: Timestamp| reader.readings("device-1", None, from, to).unwrap().count();
    let second = Duration::from_secs(1);
    for (fact, from, to, count) in [
        ("both ends are in", start, start + second, 6),
        ("before", start - second, start - second, 0),
        ("nothing between the two", start + second, start, 0),
        ("from the last on", start + Duration::from_secs(833 + 3 * 86_400), Timestamp::MAX, 1),
    ] {
        assert_eq!(between(from, to), count, "{fact}");
    }
}

#[tokio::test]
async fn a_full_file_lets_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { telemetry_max: Size(1 << 20), ..settings(dir.path()) };
    let store = TelemetryStore::open(&settings, catalogue(1, &POINTS)).unwrap();
    let start = at("2026-11-23T06:00:00Z");
    let rows = 120_000u32; // some 2 MiB: no two are alike
    let noise = |n: u32, by: f64| (f64::from(n) * by).sin();
    for n in 0..rows {
        let values = [f64::from(n), noise(n, 1.1), noise(n, 2.3)];
        let row = numbers(0, start + Duration::from_secs(u64::from(n)), &values);
        assert_eq!(store.keep(row), Kept::Queued);
        if n % 1000 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    assert_eq!((store.dropped(), store.stored()), (0, u64::from(rows)));
    let kept = read(&settings, "device-0", Some("floor"));
    assert!((20_000..90_000).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap().value, Some(Value::Number(f64::from(rows - 1))), "the newest is there");
    store.close().await.unwrap();
    let bytes = std::fs::metadata(settings.dir.join("telemetry.db")).unwrap().len();
    assert!(bytes <= 1 << 20, "{bytes}");
}

#[tokio::test]
async fn a_store_that_is_not_there_loses_rows_counts_them_and_holds_nobody_up() {
    let store = TelemetryStore::absent(1);
    let (receipt, told) = oneshot::channel();
    let row = Row { receipt: Some(receipt), ..numbers(0, at("2026-11-23T06:00:00Z"), &[1.0]) };
    assert_eq!(store.keep(row), Kept::Full);
    told.await.unwrap();
    assert_eq!(store.dropped(), 1);
    store.flush().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_behind_says_so_long_before_it_loses_anything() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let store = TelemetryStore::open(&settings, catalogue(1, &POINTS)).unwrap();
    let file = rusqlite::Connection::open(settings.dir.join("telemetry.db")).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap(); // nobody else can write now
    let text = Value::Text("困".repeat(20_000).into());
    let row = |n: i64| Row {
        device: DeviceIx(0),
        at: at("2026-11-23T06:00:00Z") + Duration::from_secs(n as u64),
        samples: vec![(PointIx(0), Sample::good(text.clone()))],
        receipt: None,
    };
    let (mut kept, mut behind_at) = (0, None);
    while store.keep(row(kept)) == Kept::Queued {
        kept += 1;
        if store.is_behind() {
            behind_at.get_or_insert(kept);
        }
        assert!(kept < 2000, "there is no end to it");
    }
    let behind_at = behind_at.expect("it said so");
    assert!(behind_at < kept - 100, "{behind_at} of {kept}");
    assert_eq!(store.dropped(), 1);
    file.execute_batch("COMMIT").unwrap();
    store.flush().await.unwrap();
    assert!(!store.is_behind());
    assert_eq!(store.stored(), kept as u64);
    store.close().await.unwrap();
}
