//! Files that are not what they should be, and what age and size take away.

use std::{
    fs,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::*;
use crate::store::{EventStore, File, StoreError, ledger::Ledger, open, retention::Retention};

fn entry(at_ms: i64) -> Entry {
    let samples = vec![(PointIx(0), Sample::good(Value::Number(at_ms as f64)))];
    Entry { device: DeviceIx(0), at_ms, samples }
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

/// A file with a row every second from `from` on in blocks of a minute, and its connection.
fn seconds(settings: &Settings, from_ms: i64, rows: i64) -> Connection {
    fs::create_dir_all(&settings.dir).unwrap();
    let mut ledger = Ledger::open(settings, catalogue(1, &[("floor", "")])).unwrap();
    let entries: Vec<_> = (0..rows).map(|n| entry(from_ms + n * 1000)).collect();
    for minute in entries.chunks(60) {
        ledger.write(&batch(minute)).unwrap();
        ledger.pack();
    }
    ledger.close().unwrap();
    open::writer(&settings.dir, File::Telemetry, open::Synchronous::Normal, settings.telemetry_max).unwrap()
}

fn one(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn rows(conn: &Connection) -> i64 {
    one(conn, "SELECT sum(rows) FROM block")
}

#[test]
fn age_takes_as_much_recorded_time_as_has_passed_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Period(Duration::from_secs(600));
    let settings = Settings { telemetry_keep: keep, ..settings(dir.path()) };
    let conn = seconds(&settings, 960_000, 1020);
    let newest = 960_000 + 1_019_000;
    let start = Instant::now();
    let mut retention = Retention::new(&settings, start);
    let in_2038 = 2_145_916_800_000;
    let hour = Duration::from_secs(3600);
    for (fact, newest_ms, passed, left) in [
        ("nothing has passed", newest, Duration::ZERO, 1020),
        ("a clock in 2038, a minute later", in_2038, Duration::from_secs(60), 960),
        ("the clock is right again, an hour later", newest, hour, 660),
        ("still an hour later", newest, hour * 2, 660),
        ("a clock before 1970", -5, hour * 3, 660),
    ] {
        retention.step(&conn, newest_ms, false, start + passed).unwrap();
        assert_eq!(rows(&conn), left, "{fact}");
    }
    assert_eq!(one(&conn, "SELECT count(*) FROM hour"), 1, "what they came to is kept longer");
}

#[test]
fn hours_and_days_have_ages_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let days = |n: u64| Period(Duration::from_secs(n * 86_400));
    let settings = Settings {
        telemetry_keep: days(1),
        hourly_keep: days(3),
        daily_keep: days(5),
        ..settings(dir.path())
    };
    fs::create_dir_all(&settings.dir).unwrap();
    let mut ledger = Ledger::open(&settings, catalogue(1, &[("floor", "")])).unwrap();
    for hour in 0..10 * 24 {
        ledger.write(&batch(&[entry(hour * 3_600_000)])).unwrap();
        ledger.pack();
    }
    ledger.close().unwrap();
    let conn =
        open::writer(&settings.dir, File::Telemetry, open::Synchronous::Normal, settings.telemetry_max)
            .unwrap();
    let counts =
        || ["block", "hour", "day"].map(|table| one(&conn, &format!("SELECT count(*) FROM {table}")));
    assert_eq!(counts(), [240, 240, 10]);
    let start = Instant::now();
    let mut retention = Retention::new(&settings, start);
    let newest = 239 * 3_600_000;
    for passed in 1..=12 {
        // never more than a day of them for a day that has passed
        let before = counts();
        for _ in 0..20 {
            retention.step(&conn, newest, false, start + Duration::from_secs(86_400) * passed).unwrap();
        }
        let after = counts();
        assert!(
            before[0] - after[0] <= 25 && before[1] - after[1] <= 25 && before[2] - after[2] <= 1,
            "{before:?} {after:?}"
        );
    }
    assert_eq!(counts(), [25, 73, 6]);
}

#[test]
fn a_lowered_limit_shrinks_the_file_in_steps_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let conn = seconds(&settings, 0, 60_000);
    let max = Size(160 << 10);
    let now = Instant::now();
    let mut retention = Retention::new(&Settings { telemetry_max: max, ..settings.clone() }, now);
    let steps = (0..1000).take_while(|_| retention.step(&conn, 60_000_000, false, now).unwrap().more).count();
    assert!((3..500).contains(&steps), "{steps}");
    let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    assert!(pages as u64 * 4096 <= max.0, "{pages} pages");
    assert_eq!(one(&conn, "SELECT max(to_ms) FROM block"), 59_999_000);
    assert!(rows(&conn) > 1000);
}

#[test]
fn on_a_partition_that_wants_for_room_an_eighth_is_left_and_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let conn = seconds(&settings, 0, 60_000);
    let before = one(&conn, "SELECT * FROM pragma_page_count");
    let left = before / 2;
    let max = Size(left as u64 * 8 * 4096);
    let now = Instant::now();
    let mut retention = Retention::new(&Settings { telemetry_max: max, ..settings.clone() }, now);
    assert!(!retention.step(&conn, 60_000_000, false, now).unwrap().more, "nothing goes without need");
    let steps = (0..1000).take_while(|_| retention.step(&conn, 60_000_000, true, now).unwrap().more).count();
    assert!((3..500).contains(&steps), "{steps}");
    let after = one(&conn, "SELECT * FROM pragma_page_count");
    assert!(after <= left && after > left / 2, "{after} of {before} pages");
    assert_eq!(one(&conn, "SELECT max(to_ms) FROM block"), 59_999_000);
}
