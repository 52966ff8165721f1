//! Numbers for people, printed and not asserted: `cargo test --lib store::tests::measure -- --ignored --nocapture`.

use std::{fs, time::Instant};

use super::*;
use crate::store::{EventStore, TelemetryReader, ledger::Ledger};

const DEVICES: u32 = 100;
const REGISTERS: usize = 50;

fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// A register that walks a little.
fn register(device: u32, point: usize, second: u32) -> f64 {
    let noise =
        (device.wrapping_mul(31) ^ (point as u32).wrapping_mul(17) ^ second.wrapping_mul(2_654_435_761))
            >> 28;
    f64::from((device * 653 + point as u32 * 997) % 65_000 + noise)
}

fn second(scale: f64, second: u32) -> Vec<Entry> {
    let row = |device| {
        let samples: Vec<_> = (0..REGISTERS)
            .map(|n| (PointIx(n as u16), Sample::good(Value::Number(register(device, n, second) * scale))))
            .collect();
        let at_ms = 1_790_000_000_000 + i64::from(second) * 1000 + i64::from(device) * 7;
        Entry { device: DeviceIx(device), at_ms, samples }
    };
    (0..DEVICES).map(row).collect()
}

fn points() -> Vec<(String, String)> {
    (0..REGISTERS).map(|n| (format!("point_{n}"), "V".to_owned())).collect()
}

#[test]
#[ignore = "measures; run by hand"]
fn bytes_written_per_reading_and_reading_an_hour_back() {
    for (fact, scale, seconds) in [("u16 × 1", 1.0, 600), ("u16 × 0.1", 0.1, 3900)] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { telemetry_max: Size(1 << 30), ..settings(dir.path()) };
        fs::create_dir(&settings.dir).unwrap();
        let points = points();
        let points: Vec<_> = points.iter().map(|(name, unit)| (&name[..], &unit[..])).collect();
        let mut ledger = Ledger::open(&settings, catalogue(DEVICES, &points)).unwrap();
        let (before, mut busy) = (written_bytes(), Duration::ZERO);
        for n in 0..seconds {
            let entries = second(scale, n);
            let start = Instant::now();
            ledger.write(&batch(&entries)).unwrap();
            busy += start.elapsed();
        }
        ledger.close().unwrap();
        let readings = u64::from(seconds * DEVICES) * REGISTERS as u64;
        let file = fs::metadata(settings.dir.join("telemetry.db")).unwrap().len();
        println!(
            "{fact}: {:.1} bytes written per reading ({:.1} stay), {:.2} ms a second of {} readings",
            (written_bytes() - before) as f64 / readings as f64,
            file as f64 / readings as f64,
            busy.as_secs_f64() * 1000.0 / f64::from(seconds),
            DEVICES as usize * REGISTERS,
        );
        let reader = TelemetryReader::open(&settings.dir).unwrap();
        let to = Timestamp::from_millisecond(1_790_000_000_000 + i64::from(seconds) * 1000).unwrap();
        let start = Instant::now();
        let found = reader
            .readings("device-42", Some("point_7"), to - Duration::from_secs(3600), to)
            .unwrap()
            .inspect(|reading| assert!(reading.is_ok()))
            .count();
        println!(
            "{fact}: a point's last hour among {DEVICES} devices: {found} readings in {:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
#[ignore = "measures; run by hand"]
async fn claiming_from_a_backlog_of_a_month() {
    let dir = tempfile::tempdir().unwrap();
    let (store, new) =
        EventStore::open(&Settings { events_max: Size(512 << 20), ..settings(dir.path()) }).unwrap();
    let mut chain = Chain::from(&new);
    let start = Instant::now();
    for _ in 0..60 {
        let mut commit = Commit::default();
        for n in 0..1000 {
            let key = key(&format!("lift-{}", n % 200), "door_fault");
            let mut one = transition(&mut chain, &key, TransitionKind::Raised, Priority::High, &["office"]);
            commit.events.append(&mut one.events);
            commit.letters.append(&mut one.letters);
            commit.alarms.append(&mut one.alarms);
        }
        store.commit(commit).await.unwrap();
    }
    println!("60 000 letters in {:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..20 {
        store.claim(&"office".into(), Vec::new()).await.unwrap().unwrap();
    }
    println!("a claim among 60 000 letters of 200 alarms: {:?}", start.elapsed() / 20);
    let before = written_bytes();
    let start = Instant::now();
    for _ in 0..100 {
        let key = key("lift-1", "door_fault");
        let commit = transition(&mut chain, &key, TransitionKind::Raised, Priority::High, &["office"]);
        store.commit(commit).await.unwrap();
    }
    println!(
        "a commit of one transition: {:?}, {} bytes written",
        start.elapsed() / 100,
        (written_bytes() - before) / 100
    );
}
