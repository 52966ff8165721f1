//! A damaged `telemetry.db`: what can be read of it is kept, the rest is told, and nothing waits meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

use super::*;
use crate::store::{
    Kept, Span, TelemetryReader, TelemetryStore, Untold,
    ledger::Ledger,
    patrol::{self, Found},
};

const DEVICES: u32 = 3;
const POINTS: [(&str, &str); 2] = [("speed", "m/s"), ("load", "kg")];

fn entry(device: u32, at_ms: i64) -> Entry {
    // no two alike, so that blocks are of some length
    let noise = |by: f64| Sample::good(Value::Number((at_ms as f64 * by + f64::from(device)).sin()));
    let samples = vec![(PointIx(0), noise(0.7)), (PointIx(1), noise(0.3))];
    Entry { device: DeviceIx(device), at_ms, samples }
}

/// `packings` minutes of a row a second of each device, packed, and half a minute that is not; closed.
fn filled(settings: &Settings, packings: i64) {
    fs::create_dir_all(&settings.dir).unwrap();
    let mut ledger = Ledger::open(settings, catalogue(DEVICES, &POINTS)).unwrap();
    let rows = |seconds: std::ops::Range<i64>| {
        let each = seconds.flat_map(|second| (0..DEVICES).map(move |device| entry(device, second * 1000)));
        each.collect::<Vec<_>>()
    };
    for minute in 0..packings {
        ledger.write(&batch(&rows(minute * 60..minute * 60 + 60))).unwrap();
        ledger.pack();
    }
    ledger.write(&batch(&rows(packings * 60..packings * 60 + 30))).unwrap();
    ledger.close().unwrap();
}

fn damage(settings: &Settings, pages: impl Iterator<Item = u64>) {
    let file = fs::OpenOptions::new().write(true).open(settings.dir.join("telemetry.db")).unwrap();
    for page in pages {
        file.write_all_at(&[0x5a; 4096], (page - 1) * 4096).unwrap();
    }
}

fn pages(settings: &Settings) -> u64 {
    fs::metadata(settings.dir.join("telemetry.db")).unwrap().len() / 4096
}

/// When each row of a device was, and that none came twice.
fn moments(settings: &Settings, device: u32) -> Vec<i64> {
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    let name = format!("device-{device}");
    let readings = reader.readings(&name, Some("speed"), Timestamp::MIN, Timestamp::MAX).unwrap();
    let moments: Vec<i64> = readings
        .map(|reading| {
            let reading = reading.unwrap();
            let at_ms = reading.at.as_millisecond();
            assert_eq!(reading.value.as_ref(), entry(device, at_ms).samples[0].1.value(), "as it was read");
            at_ms
        })
        .collect();
    assert!(moments.is_sorted_by(|one, next| one < next), "none twice");
    moments
}

/// As the writer's thread does between two commits; how many steps it took.
fn work(ledger: &mut Ledger, most: usize) -> usize {
    let mut now = Instant::now();
    (0..most)
        .take_while(|_| {
            now += Duration::from_secs(1);
            let due = ledger.is_rescuing();
            ledger.housekeep(now);
            due
        })
        .count()
}

fn sound(settings: &Settings) {
    let conn = Connection::open(settings.dir.join("telemetry.db")).unwrap();
    let said: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
}

fn lost(untold: &[Untold]) -> BTreeMap<String, u64> {
    let of = |untold: &Untold| (untold.loss.subject.clone().unwrap_or_default(), untold.loss.count);
    untold.iter().map(of).collect()
}

#[test]
fn what_can_be_read_is_kept_and_the_rest_is_told_by_device_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    filled(&settings, 40);
    // the first pages are the header and the roots
    damage(&settings, (24..=pages(&settings)).step_by(9));
    let found = patrol::look(&settings.dir, || false).unwrap().expect("it is seen");
    let mut ledger = Ledger::open(&settings, catalogue(DEVICES, &POINTS)).unwrap();
    assert!(matches!(found, Found::File { .. }), "{found:?}");
    ledger.mend(found.clone());
    ledger.mend(found); // seen twice, the second time in what has another name now
    let fresh: Vec<Entry> = (0..DEVICES).map(|device| entry(device, 9_000_000)).collect();
    ledger.write(&batch(&fresh)).unwrap();
    assert_eq!(moments(&settings, 0), [9_000_000], "it goes on at once");
    assert!(work(&mut ledger, 1000) < 1000);
    let untold = ledger.untold();
    ledger.close().unwrap();
    sound(&settings);
    let told = lost(&untold);
    for device in 0..DEVICES {
        let kept = moments(&settings, device).len() as u64;
        let missing = told.get(&format!("device-{device}")).copied().unwrap_or(0);
        assert_eq!(kept + missing, 40 * 60 + 30 + 1, "device-{device}: {told:?}");
        assert!(missing < 40 * 60 / 2, "device-{device}: {missing}");
    }
    assert!(told.values().sum::<u64>() > 0, "something was lost");
    for Untold { loss, .. } in &untold {
        assert_eq!(
            (loss.class, loss.reason, loss.at_least),
            (LossClass::Readings, LossReason::Damaged, false)
        );
        let (from, to) = (loss.from.unwrap().as_millisecond(), loss.to.unwrap().as_millisecond());
        assert!(from >= 0 && to >= from && to < 40 * 60_000, "{loss:?}");
    }
    assert!(settings.dir.join("telemetry.db.damaged-1").exists());
    assert!(!settings.dir.join("telemetry.db.rescued").exists());
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    let zone = jiff::tz::TimeZone::UTC;
    let hours = reader
        .rollups("device-0", Some("speed"), Span::Hour, (Timestamp::MIN, Timestamp::MAX), &zone)
        .unwrap();
    assert_eq!(hours.len(), 2, "what the hours came to is kept too");
}

#[test]
fn a_rescue_that_is_cut_off_again_and_again_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    filled(&settings, 60);
    damage(&settings, [1].into_iter());
    let points = catalogue(DEVICES, &POINTS);
    let mut starts = 0;
    loop {
        let mut ledger = Ledger::open(&settings, points.clone()).unwrap();
        // one step more each time: a start surveys the file anew
        starts += 1;
        work(&mut ledger, starts);
        let done = !ledger.is_rescuing();
        // as a kill leaves it: nothing of what was done is undone, the rest was never begun
        ledger.close().unwrap();
        if done {
            break;
        }
        assert!(starts < 100);
    }
    assert!(starts > 3, "{starts}");
    sound(&settings);
    let all: Vec<i64> = (0..60 * 60 + 30).map(|second| second * 1000).collect();
    for device in 0..DEVICES {
        assert_eq!(moments(&settings, device), all);
    }
    let conn = Connection::open(settings.dir.join("telemetry.db")).unwrap();
    let counted = |span: Span| {
        let reader = TelemetryReader::open(&settings.dir).unwrap();
        let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(3500));
        let zone = jiff::tz::TimeZone::UTC;
        reader.rollups("device-1", Some("load"), span, (from, to), &zone).unwrap()[0].count
    };
    assert_eq!((counted(Span::Hour), counted(Span::Day)), (3600, 3630), "hours and days count each once");
    let left: i64 = conn.query_row("SELECT count(*) FROM lost", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "nothing was lost");
}

#[test]
fn a_file_that_is_none_is_told_as_a_loss_of_nobody_knows_what() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    fs::create_dir(&settings.dir).unwrap();
    let path = settings.dir.join("telemetry.db");
    fs::write(&path, "this was a photograph once".repeat(1000)).unwrap();
    let mut ledger = Ledger::open(&settings, catalogue(1, &POINTS)).unwrap();
    ledger.write(&batch(&[entry(0, 1000)])).unwrap();
    work(&mut ledger, 100);
    let [Untold { number, loss }] = &ledger.untold()[..] else { panic!("one loss") };
    assert_eq!((loss.count, loss.at_least, &loss.subject, loss.from), (1, true, &None, None));
    ledger.told(&[*number]);
    assert_eq!(ledger.untold(), []);
    ledger.close().unwrap();
    assert!(fs::read(settings.dir.join("telemetry.db.damaged-1")).unwrap().starts_with(b"this was"));
    assert_eq!(moments(&settings, 0), [1000]);
}

#[tokio::test]
async fn a_block_that_is_damaged_within_a_sound_page_is_found_and_told_and_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    filled(&settings, 5);
    let conn = Connection::open(settings.dir.join("telemetry.db")).unwrap();
    let (id, mut bytes, from_ms, rows): (i64, Vec<u8>, i64, u64) = conn
        .query_row(
            "SELECT block.id, bytes, from_ms, rows FROM block JOIN series ON series.id = series
             WHERE device = 'device-1' ORDER BY from_ms LIMIT 1 OFFSET 2",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)? as u64)),
        )
        .unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x04;
    conn.execute("UPDATE block SET bytes = ?2 WHERE id = ?1", params![id, bytes]).unwrap();
    drop(conn);
    assert_eq!(patrol::look(&settings.dir, || false).unwrap(), Some(Found::Blocks(vec![id])));
    let left = 5 * 60 + 30 - rows as usize;
    assert_eq!(moments(&settings, 1).len(), left, "nobody is shown what was never read");

    let store = TelemetryStore::open(&settings, catalogue(DEVICES, &POINTS)).unwrap();
    let found = async {
        loop {
            let lost = store.lost();
            if !lost.is_empty() {
                return lost;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let lost = tokio::time::timeout(Duration::from_secs(20), found).await.expect("the patrol finds it");
    let [Untold { number, loss }] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!((loss.subject.as_deref(), loss.count), (Some("device-1"), rows));
    assert_eq!(loss.from.map(Timestamp::as_millisecond), Some(from_ms));
    assert_eq!(store.keep(numbers(0, at("2026-11-23T06:00:00Z"), &[1.0, 2.0])), Kept::Queued);
    store.told(vec![*number]);
    assert_eq!(store.lost(), [], "told once");
    store.close().await.unwrap();
    assert_eq!(patrol::look(&settings.dir, || false).unwrap(), None, "it is gone");
    let mut again = Ledger::open(&settings, catalogue(DEVICES, &POINTS)).unwrap();
    assert_eq!(again.untold(), []);
    again.close().unwrap();
    assert_eq!(moments(&settings, 1).len(), left);
}

#[test]
fn whoever_closes_the_store_does_not_wait_for_the_look() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    filled(&settings, 200);
    assert!(patrol::look(&settings.dir, || true).is_err(), "it is interrupted");
}

/// As a file of schema 3 is: no sums, and an index that does not say how many rows a block has.
fn back_to_schema_3(settings: &Settings) {
    let conn = Connection::open(settings.dir.join("telemetry.db")).unwrap();
    conn.execute_batch(
        "ALTER TABLE block DROP COLUMN sum; DROP INDEX block_at; CREATE INDEX block_at ON block (from_ms, series, to_ms);
         DROP TABLE lost; DROP TABLE rescue; PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
}

#[test]
fn a_file_of_schema_3_is_read_as_it_is_and_brought_up_and_rescued() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    filled(&settings, 5);
    back_to_schema_3(&settings);
    let all: Vec<i64> = (0..5 * 60 + 30).map(|second| second * 1000).collect();
    assert_eq!(moments(&settings, 2), all, "by a reader that is newer than the file");
    Ledger::open(&settings, catalogue(DEVICES, &POINTS)).unwrap().close().unwrap();
    assert_eq!(moments(&settings, 2), all, "brought up");
    assert_eq!(patrol::look(&settings.dir, || false).unwrap(), None);
    back_to_schema_3(&settings);
    damage(&settings, [1].into_iter());
    let mut ledger = Ledger::open(&settings, catalogue(DEVICES, &POINTS)).unwrap();
    work(&mut ledger, 100);
    ledger.close().unwrap();
    assert_eq!(moments(&settings, 2), all, "and what stood in it without a sum is kept");
}
