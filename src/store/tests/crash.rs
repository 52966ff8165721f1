//! kill -9 in the middle: what was reported as committed is there, and the chain is whole.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use rusqlite::Connection;

use super::*;
use crate::store::{EventStore, Kept, Reader, StoreError, StoredReading, TelemetryReader, TelemetryStore};

const DIR: &str = "GATEHOUSE_TEST_CRASH_DIR";
const ROUNDS: u32 = 25;

/// The victim: only does something when the test below starts it in a process of its own.
#[tokio::test]
async fn victim() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    let settings = settings(&dir);
    let (store, found) = EventStore::open(&settings).unwrap();
    let telemetry = TelemetryStore::open(&settings, catalogue(1, &[("floor", "")])).unwrap();
    let mut chain = Chain::from(&found);
    let mut out = std::io::stdout();
    writeln!(out).unwrap(); // ends the harness's own line
    loop {
        let key = key(&format!("lift-{}", chain.seq % 7), "door_fault");
        let commit = transition(&mut chain, &key, TransitionKind::Raised, Priority::High, &["office"]);
        let row = commit.letters[0].clone();
        store.commit(commit).await.unwrap();
        writeln!(out, "committed {}", chain.seq).unwrap();
        if chain.seq.is_multiple_of(3) {
            let next = store.claim(&row.endpoint, Vec::new()).await.unwrap().unwrap();
            let said =
                crate::store::Receipted { at: at("2026-11-23T06:00:00Z"), status: 200, said: String::new() };
            store.settle(next.row, said).await.unwrap();
            writeln!(out, "settled {}", next.row).unwrap();
        }
        let moment = at("2026-11-23T06:00:00Z") + Duration::from_secs(chain.seq);
        assert_eq!(telemetry.keep(numbers(0, moment, &[chain.seq as f64])), Kept::Queued);
        telemetry.flush().await.unwrap();
        writeln!(out, "kept {}", chain.seq).unwrap();
    }
}

#[derive(Default, Debug)]
struct Reported {
    committed: u64,
    kept: u64,
    settled: Vec<i64>,
}

/// Runs the victim until it has said `lines` lines, then kills it. What it had said by then.
fn run_and_kill(dir: &Path, lines: usize, reported: &mut Reported) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["store::tests::crash::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut take = |line: String| {
        let mut words = line.split(' ');
        let (word, number) = (words.next(), words.next().and_then(|word| word.parse::<i64>().ok()));
        match (word, number) {
            (Some("committed"), Some(seq)) => reported.committed = seq as u64,
            (Some("kept"), Some(seq)) => reported.kept = seq as u64,
            (Some("settled"), Some(row)) => reported.settled.push(row),
            _ => return false,
        }
        true
    };
    let mut count = 0;
    while count < lines {
        count += usize::from(take(said.next().expect("the victim goes on until it is killed")));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What was in the pipe was said too. A line cut in half was not.
    said.for_each(|line| {
        take(line);
    });
}

#[test]
fn what_was_reported_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut reported = Reported::default();
    let mut epoch = None;
    for round in 0..ROUNDS {
        let mut chance = [0];
        getrandom::fill(&mut chance).unwrap();
        let before = reported.committed;
        run_and_kill(dir.path(), 1 + usize::from(chance[0]) % 60, &mut reported);
        assert!(reported.committed > before, "round {round} did something");

        // As the kill left it, before anybody recovers it.
        let reader = Reader::open(&settings.dir).unwrap();
        let verified = reader.verify_chain().unwrap().unwrap();
        assert!(verified.last_seq >= reported.committed, "round {round}: {verified:?} {reported:?}");
        assert_eq!(*epoch.get_or_insert(verified.epoch.clone()), verified.epoch, "round {round}");
        check(&settings, &reported, verified.last_seq);
        reported.committed = verified.last_seq;
    }
    let (_store, found) = EventStore::open(&settings).unwrap();
    assert_eq!(found.last_seq, reported.committed);
    assert_eq!(found.alarms.len(), 7);
    println!("{ROUNDS} kills, {} commits, {} rows", reported.committed, reported.kept);
}

fn kept(settings: &Settings) -> Vec<u64> {
    let reader = TelemetryReader::open(&settings.dir).unwrap();
    let readings = reader.readings("device-0", None, Timestamp::MIN, Timestamp::MAX).unwrap();
    let value = |reading: Result<StoredReading, StoreError>| match reading.unwrap().value {
        Some(Value::Number(number)) => number as u64,
        other => panic!("{other:?}"),
    };
    readings.map(value).collect()
}

fn check(settings: &Settings, reported: &Reported, last_seq: u64) {
    let one = |file: &str, sql: &str| -> i64 {
        let conn = Connection::open(settings.dir.join(file)).unwrap();
        let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "{file}");
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let letters = one("events.db", "SELECT count(*) FROM outbox");
    assert_eq!(letters as u64, last_seq, "an event and its letter are stored together");
    let delivered = one("events.db", "SELECT count(*) FROM outbox WHERE state = 'delivered'");
    assert!(delivered >= reported.settled.len() as i64, "{delivered} {reported:?}");
    let kept = kept(settings);
    let distinct: BTreeSet<u64> = kept.iter().copied().collect();
    assert_eq!(distinct.len(), kept.len(), "none twice");
    assert!(distinct.len() as u64 + 25 >= reported.kept, "{} {reported:?}", distinct.len());
}
