//! From the tail into blocks: nothing that was committed is lost, nothing doubled, wherever it is cut off; and what schema 1 left.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::store::{
    File, Kept, Rollup, Span, TelemetryReader, TelemetryStore, ledger::Ledger, migrate, samples,
};

const HOUR_MS: i64 = 3_600_000;

fn row(device: u32, at_ms: i64, values: &[f64]) -> Entry {
    let samples =
        (0..).map(PointIx).zip(values.iter().map(|value| Sample::good(Value::Number(*value)))).collect();
    Entry { device: DeviceIx(device), at_ms, samples }
}

fn read(dir: &Path, device: &str, point: Option<&str>) -> Vec<(i64, f64)> {
    let reader = TelemetryReader::open(dir).unwrap();
    let found = reader.readings(device, point, Timestamp::MIN, Timestamp::MAX).unwrap();
    let number = |reading: crate::store::StoredReading| match reading.value {
        Some(Value::Number(number)) => (reading.at.as_millisecond(), number),
        other => panic!("{other:?}"),
    };
    found.map(|reading| number(reading.unwrap())).collect()
}

fn rollups(dir: &Path, device: &str, span: Span) -> Vec<Rollup> {
    let reader = TelemetryReader::open(dir).unwrap();
    let all = (Timestamp::MIN, Timestamp::MAX);
    reader.rollups(device, None, span, all, &jiff::tz::TimeZone::UTC).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u32, i64, Vec<f64>)>),
    Pack,
    /// As after kill -9: nothing is closed, what was not committed is gone.
    Die,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![Just(7.0), (0i32..90).prop_map(|m| f64::from(m) / 10.0), any::<f64>()];
    let value = value.prop_filter("a number", |value| !value.is_nan());
    let row = (0u32..3, 0i64..50 * HOUR_MS, prop::collection::vec(value, 1..4));
    prop_oneof![
        6 => prop::collection::vec(row, 1..30).prop_map(Step::Write),
        2 => Just(Step::Pack),
        2 => Just(Step::Die),
        1 => Just(Step::Checkpoint),
    ]
}

/// A directory as a process that died left it: the files are copied under its open connection.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["telemetry.db", "telemetry.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

fn sum_of(rows: &[(i64, f64)], span_ms: i64) -> BTreeMap<i64, (u64, f64, f64)> {
    let mut sums = BTreeMap::new();
    for (at_ms, value) in rows {
        let sum =
            sums.entry(at_ms - at_ms.rem_euclid(span_ms)).or_insert((0, f64::INFINITY, f64::NEG_INFINITY));
        *sum = (sum.0 + 1, sum.1.min(*value), sum.2.max(*value));
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn committed_rows_are_read_once_wherever_the_plug_is_pulled(steps in prop::collection::vec(step(), 1..16)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut place, mut life) = (dir.path().join("0"), 0);
        fs::create_dir_all(&place).unwrap();
        let points = catalogue(3, &[("a", ""), ("b", ""), ("c", "")]);
        let open = |place: &Path| {
            let settings = Settings { dir: place.to_owned(), ..settings(place) };
            Ledger::open(&settings, points.clone()).unwrap()
        };
        let mut ledger = open(&place);
        let mut truth: BTreeMap<u32, Vec<(i64, Vec<f64>)>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Write(rows) => {
                    let entries: Vec<_> = rows.iter().map(|(device, at_ms, values)| row(*device, *at_ms, values)).collect();
                    ledger.write(&batch(&entries)).unwrap();
                    for (device, at_ms, values) in rows {
                        truth.entry(device).or_default().push((at_ms, values));
                    }
                }
                Step::Pack => ledger.pack(),
                Step::Checkpoint => ledger.checkpoint(),
                Step::Die => {
                    life += 1;
                    let next = dir.path().join(life.to_string());
                    copied(&place, &next);
                    drop(ledger);
                    place = next;
                    ledger = open(&place);
                }
            }
            for (device, rows) in &truth {
                let mut rows = rows.clone();
                rows.sort_by_key(|(at_ms, _)| *at_ms);
                let want: Vec<_> =
                    rows.iter().flat_map(|(at_ms, values)| values.iter().map(|value| (*at_ms, *value))).collect();
                let name = format!("device-{device}");
                prop_assert_eq!(read(&place, &name, None), want.clone());
                let first: Vec<_> = rows.iter().map(|(at_ms, values)| (*at_ms, values[0])).collect();
                prop_assert_eq!(read(&place, &name, Some("a")), first.clone());
                for (span, ms) in [(Span::Hour, HOUR_MS), (Span::Day, 24 * HOUR_MS)] {
                    let found = rollups(&place, &name, span).into_iter().filter(|rollup| &*rollup.point == "a");
                    let found: BTreeMap<_, _> = found
                        .map(|of| (of.from.as_millisecond(), (of.count, of.min.unwrap(), of.max.unwrap())))
                        .collect();
                    prop_assert_eq!(found, sum_of(&first, ms));
                }
            }
        }
    }
}

/// What an earlier version left: rows, an index, nothing else.
fn file_of_schema_1(dir: &Path, rows: i64) {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join("telemetry.db");
    let mut conn = Connection::open(&path).unwrap();
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    let first = [rusqlite_migration::M::up(include_str!("../telemetry_v1.sql"))];
    migrate::migrate(&mut conn, &path, File::Telemetry, &first).unwrap();
    conn.execute("INSERT INTO series VALUES (1, 'device-0', '[[\"floor\",\"m\"]]', 1)", []).unwrap();
    for n in 0..rows {
        let blob = samples::encode(&[(PointIx(0), Sample::good(Value::Number(n as f64)))]);
        conn.execute("INSERT INTO row (at_ms, series, samples) VALUES (?1, 1, ?2)", (n * 1000, blob))
            .unwrap();
    }
}

#[tokio::test]
async fn rows_of_schema_1_stay_readable_where_they_are_and_go_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Period(Duration::from_secs(3600));
    let settings = Settings { telemetry_keep: keep, ..settings(dir.path()) };
    file_of_schema_1(&settings.dir, 100);
    let old: Vec<_> = (0..100).map(|n| (n * 1000, n as f64)).collect();
    assert_eq!(read(&settings.dir, "device-0", None), old, "before anybody has brought it up");
    assert_eq!(rollups(&settings.dir, "device-0", Span::Hour)[0].count, 100);

    let store = TelemetryStore::open(&settings, catalogue(1, &[("floor", "m")])).unwrap();
    let at = Timestamp::from_millisecond(100_000).unwrap();
    assert_eq!(store.keep(numbers(0, at, &[100.0])), Kept::Queued);
    store.close().await.unwrap();
    let all: Vec<_> = (0..101).map(|n| (n * 1000, n as f64)).collect();
    assert_eq!(read(&settings.dir, "device-0", None), all);
    let hour = &rollups(&settings.dir, "device-0", Span::Hour)[0];
    assert_eq!((hour.count, hour.mean, &*hour.unit), (101, Some(50.0), "m"));
    assert!(!settings.dir.join("telemetry.db.v1").exists(), "a GiB is not written twice");

    let conn = Connection::open(settings.dir.join("telemetry.db")).unwrap();
    let start = std::time::Instant::now();
    let mut retention = crate::store::retention::Retention::new(&settings, start);
    retention.step(&conn, 8_000_000, false, start + Duration::from_secs(86_400)).unwrap();
    let left: i64 = conn.query_row("SELECT count(*) FROM row", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    let hour = &rollups(&settings.dir, "device-0", Span::Hour)[0];
    assert_eq!((hour.count, hour.min, hour.max), (101, Some(0.0), Some(100.0)), "what they came to stays");
}

#[test]
fn what_an_hour_came_to_counts_good_readings_only_and_goes_by_the_sites_clock() {
    let dir = tempfile::tempdir().unwrap();
    let zone = jiff::tz::TimeZone::get("Asia/Shanghai").unwrap();
    let settings = Settings { timezone: zone.clone(), ..settings(dir.path()) };
    fs::create_dir_all(&settings.dir).unwrap();
    let mut ledger =
        Ledger::open(&settings, catalogue(1, &[("speed", "m/s"), ("lit", ""), ("door", "")])).unwrap();
    let number = |n| Sample::good(Value::Number(n));
    let samples = |n: i64| match n {
        0 => [number(0.1), Sample::good(Value::Flag(true)), Sample::good(Value::Text("open".into()))],
        1 => [number(0.2), Sample::good(Value::Flag(false)), Sample::good(Value::Text("closed".into()))],
        2 => [
            Sample::without_value(Quality::CommFail),
            Sample::good(Value::Flag(true)),
            Sample::without_value(Quality::Absent),
        ],
        _ => [
            Sample::stale(Value::Number(9.0)),
            Sample::good(Value::Flag(true)),
            Sample::stale(Value::Text("open".into())),
        ],
    };
    let midnight = at("2026-11-22T16:00:00Z"); // in Shanghai
    for n in 0..4 {
        let at_ms = midnight.as_millisecond() - 1000 + n * 400;
        let samples = (0..).map(PointIx).zip(samples(n)).collect();
        ledger.write(&batch(&[Entry { device: DeviceIx(0), at_ms, samples }])).unwrap();
        if n == 1 {
            ledger.pack(); // half of it is in blocks, half is not
        }
    }
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    let days = reader.rollups("device-0", None, Span::Day, (Timestamp::MIN, Timestamp::MAX), &zone).unwrap();
    let brief: Vec<_> = days
        .iter()
        .map(|of| {
            (
                of.from,
                &*of.point,
                of.count,
                of.mean.map(|mean| (mean * 1e6).round() / 1e6),
                of.share,
                of.last.clone(),
            )
        })
        .collect();
    let (before, text) =
        (midnight - Duration::from_secs(86_400), |text: &str| Some(Value::Text(text.into())));
    let third = Some(2.0 / 3.0);
    assert_eq!(
        brief,
        [
            (before, "door", 2, None, None, text("closed")),
            (before, "lit", 3, None, third, Some(Value::Flag(true))),
            (before, "speed", 2, Some(0.15), None, Some(Value::Number(0.2))),
            (midnight, "lit", 1, None, Some(1.0), Some(Value::Flag(true))),
        ]
    );
    let point = |point| {
        reader.rollups("device-0", Some(point), Span::Hour, (midnight, Timestamp::MAX), &zone).unwrap()
    };
    assert_eq!(point("lit").len(), 1);
    assert!(point("speed").is_empty(), "a stale reading is none of that hour");
}

#[test]
fn a_damaged_page_of_the_tail_costs_itself_and_the_gateway_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    fs::create_dir_all(&settings.dir).unwrap();
    let points = catalogue(2, &[("a", "")]);
    let mut ledger = Ledger::open(&settings, points.clone()).unwrap();
    for n in 0..4 {
        ledger.write(&batch(&[row(0, n * 1000, &[n as f64]), row(1, n * 1000, &[0.5])])).unwrap();
    }
    ledger.close().unwrap();
    let conn = Connection::open(settings.dir.join("telemetry.db")).unwrap();
    let mut bytes: Vec<u8> = conn.query_row("SELECT bytes FROM tail", [], |row| row.get(0)).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 0x10;
    conn.execute("UPDATE tail SET bytes = ?1", [bytes]).unwrap();
    drop(conn);
    let mut ledger = Ledger::open(&settings, points).unwrap();
    ledger.write(&batch(&[row(0, 9000, &[9.0])])).unwrap();
    let want = vec![(0, 0.0), (1000, 1.0), (2000, 2.0), (9000, 9.0)];
    assert_eq!(read(&settings.dir, "device-0", None), want, "the last frame is lost, nothing else");
    ledger.pack();
    assert_eq!(read(&settings.dir, "device-0", None), want);
    assert_eq!(ledger.damage.frames, 1, "and it is counted");
}
