//! Files that are not what they should be, and what age and size take away.

use std::{
    fs,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::*;
use crate::store::{
    EventStore, File, Kept, StoreError, TelemetryReader, TelemetryStore,
    ledger::{Entry, Ledger},
    open,
    retention::Retention,
    samples,
};

fn entry(at_ms: i64) -> Entry {
    let samples = samples::encode(&[(PointIx(0), Sample::good(Value::Number(at_ms as f64)))]);
    Entry { device: DeviceIx(0), at_ms, samples, receipt: None }
}

#[tokio::test]
async fn a_damaged_telemetry_file_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    fs::create_dir(&settings.dir).unwrap();
    let path = settings.dir.join("telemetry.db");
    fs::write(&path, "this was a photograph once".repeat(1000)).unwrap();
    let store = TelemetryStore::open(&settings, catalogue(1, &[("floor", "")])).unwrap();
    assert_eq!(store.keep(numbers(0, at("2026-11-23T06:00:00Z"), &[1.0])), Kept::Queued);
    store.close().await.unwrap();
    assert!(fs::read(settings.dir.join("telemetry.db.damaged-1")).unwrap().starts_with(b"this was"));
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    assert_eq!(reader.readings("device-0", None, Timestamp::MIN, Timestamp::MAX).unwrap().count(), 1);
}

#[test]
fn damage_found_while_writing_costs_only_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    fs::create_dir(&settings.dir).unwrap();
    let points = catalogue(1, &[("floor", "")]);
    let mut ledger = Ledger::open(&settings, points.clone()).unwrap();
    ledger.write(&(0..5000).map(entry).collect::<Vec<_>>()).unwrap();
    ledger.close().unwrap();
    // Every page but the first two (header, schema) becomes noise.
    let path = settings.dir.join("telemetry.db");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 3..pages {
        file.write_all_at(&[0x5a; 4096], page * 4096).unwrap();
    }
    let mut ledger = Ledger::open(&settings, points).unwrap();
    ledger.write(&[entry(9000)]).unwrap();
    ledger.close().unwrap();
    assert!(settings.dir.join("telemetry.db.damaged-1").exists());
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    assert_eq!(reader.readings("device-0", None, Timestamp::MIN, Timestamp::MAX).unwrap().count(), 1);
}

#[test]
fn a_damaged_events_file_is_never_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    fs::create_dir(&settings.dir).unwrap();
    fs::write(settings.dir.join("events.db"), "not a database".repeat(1000)).unwrap();
    let opened = EventStore::open(&settings).map(drop);
    assert!(matches!(opened, Err(StoreError::Damaged { file: File::Events, .. })), "{opened:?}");
    assert!(fs::read(settings.dir.join("events.db")).unwrap().starts_with(b"not a database"));
}

/// A file with a row every second from `from` on, and its connection.
fn seconds(settings: &Settings, from_ms: i64, rows: i64) -> Connection {
    fs::create_dir_all(&settings.dir).unwrap();
    let mut ledger = Ledger::open(settings, catalogue(1, &[("floor", "")])).unwrap();
    let entries: Vec<_> = (0..rows).map(|n| entry(from_ms + n * 1000)).collect();
    ledger.write(&entries).unwrap();
    ledger.close().unwrap();
    open::writer(&settings.dir, File::Telemetry, open::Synchronous::Normal, settings.telemetry_max).unwrap()
}

fn rows(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM row", [], |row| row.get(0)).unwrap()
}

#[test]
fn age_takes_as_much_recorded_time_as_has_passed_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { telemetry_keep: Period(Duration::from_secs(600)), ..settings(dir.path()) };
    let conn = seconds(&settings, 1_000_000, 1000);
    let newest = 1_000_000 + 999_000;
    let start = Instant::now();
    let mut retention = Retention::new(&settings, start);
    let in_2038 = 2_145_916_800_000;
    let hour = Duration::from_secs(3600);
    for (fact, newest_ms, passed, left) in [
        ("nothing has passed", newest, Duration::ZERO, 1000),
        ("a clock in 2038, a minute later", in_2038, Duration::from_secs(60), 940),
        ("the clock is right again, an hour later", newest, hour, 601),
        ("still an hour later", newest, hour * 2, 601),
        ("a clock before 1970", -5, hour * 3, 601),
    ] {
        retention.step(&conn, newest_ms, start + passed).unwrap();
        assert_eq!(rows(&conn), left, "{fact}");
    }
}

#[test]
fn a_lowered_limit_shrinks_the_file_in_steps_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let conn = seconds(&settings, 0, 40_000);
    let max = Size(256 << 10);
    let now = Instant::now();
    let mut retention = Retention::new(&Settings { telemetry_max: max, ..settings.clone() }, now);
    let steps = (0..1000).take_while(|_| retention.step(&conn, 40_000_000, now).unwrap().more).count();
    assert!((5..500).contains(&steps), "{steps}");
    let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    assert!(pages as u64 * 4096 <= max.0, "{pages} pages");
    let newest: i64 = conn.query_row("SELECT max(at_ms) FROM row", [], |row| row.get(0)).unwrap();
    assert_eq!(newest, 39_999_000);
    assert!(rows(&conn) > 1000);
}
