//! Whatever is changed in what counts as evidence is found, and the report says where.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use rusqlite::{Connection, params_from_iter, types::Value as Sql};

use super::*;
use crate::{
    domain::{Priority::*, TransitionKind::*},
    store::{
        AuditEntry, EventStore, Reader, Receipted,
        chain::{BoxKey, BoxKeys, ClockBox, Fact, Place, Record, Verified, Witness, Writing, key_id},
    },
};

const OFFICE: &str = "inspection";

struct Told {
    at: usize,
}

/// A gateway that attests, by a clock that the test turns.
async fn attesting(settings: &Settings, clock: &Arc<ManualClock>) -> (EventStore, Chain) {
    let (store, new) = EventStore::open(settings).unwrap();
    store.attest(witness(clock, settings.suite)).await.unwrap();
    (store, Chain { alg: settings.suite, ..Chain::from(&new) })
}

pub(super) fn witness(clock: &Arc<ManualClock>, suite: Suite) -> Witness {
    let writing = |name: &str, body: &str| Writing { name: name.into(), body: body.into() };
    Witness {
        clock: ClockBox(clock.clone()),
        zone: TimeZone::get("Asia/Shanghai").unwrap(),
        keys: keys_of_the_box(),
        suite,
        version: "test".into(),
        writings: vec![writing("gatehouse.toml", "[site]"), writing("elevator/x@1", "profile = 1")],
        starts: true,
    }
}

pub(super) fn key_of_the_box(suite: Suite) -> BoxKey {
    BoxKey::of_secret(suite, &[9; 32]).unwrap()
}

fn keys_of_the_box() -> BoxKeys {
    Suite::ALL.into_iter().map(key_of_the_box).collect()
}

fn receipt(said: &str) -> Receipted {
    Receipted { at: at("2026-11-23T06:05:00Z"), status: 200, said: said.into() }
}

fn audit(number: usize) -> AuditEntry {
    AuditEntry {
        at: at("2026-11-23T06:06:00Z"),
        who: "张伟".into(),
        from: "cli".into(),
        action: "acknowledge",
        object: format!("9c1e-{number}"),
        outcome: "acknowledged".into(),
    }
}

/// Alarms of all kinds with their letters, receipts and acts of people; the last is signed.
pub(super) async fn lived(settings: &Settings, alarms: usize) -> Arc<ManualClock> {
    let clock = Arc::new(ManualClock::new());
    let (store, mut chain) = attesting(settings, &clock).await;
    let mut told = Told { at: 0 };
    for n in 0..alarms {
        let trapped = key(&format!("lift-{}", n % 7), "trapped");
        let priority = if n % 3 == 0 { Critical } else { Low };
        for kind in [Raised, Acknowledged, Closed] {
            let mut commit = transition(&mut chain, &trapped, kind, priority, &[OFFICE]);
            if kind == Acknowledged {
                commit.audit.push(audit(n));
            }
            store.commit(commit).await.unwrap();
        }
        deliver(&store, &mut told).await;
        clock.advance(Duration::from_secs(20));
        store.tend().await.unwrap();
    }
    clock.advance(Duration::from_secs(3600));
    store.tend().await.unwrap();
    store.close().await.unwrap();
    clock
}

/// Every letter but each seventh, which is set aside.
async fn deliver(store: &EventStore, told: &mut Told) {
    while let Some(letter) = store.claim(&OFFICE.into(), Vec::new()).await.unwrap() {
        told.at += 1;
        if told.at.is_multiple_of(7) {
            let why = Hindrance::new(HindranceKind::Unreachable, Text::new("拒", "no"));
            store.set_aside(letter.row, why, at("2026-11-23T06:07:00Z")).await.unwrap();
        } else {
            store.settle(letter.row, receipt(r#"{"ok":true}"#)).await.unwrap();
        }
    }
}

pub(super) fn verified(settings: &Settings) -> Verified {
    Reader::open(&settings.dir).unwrap().verify_chain().unwrap().unwrap_or_else(|broken| panic!("{broken}"))
}

pub(super) fn facts(settings: &Settings) -> Vec<Record> {
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let mut rows = conn.prepare("SELECT record FROM link ORDER BY n").unwrap();
    let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|record| serde_json::from_slice(&record.unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn all_that_happened_is_in_the_chain_and_signed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    lived(&settings, 6).await;
    let verified = verified(&settings);
    let (receipts, audit) = (18, 6);
    assert_eq!((verified.events, verified.receipts, verified.audit), (18, receipts, audit));
    assert_eq!(verified.unsigned, 0, "an hour went by");
    let (id, (public, _)) = verified.keys.seen.first_key_value().unwrap();
    assert_eq!((Some(id.clone()), public), (key_id(public), &key_of_the_box(Suite::International).public()));
    let head = verified.head.unwrap();
    assert_eq!((head.seq, head.boot_id.as_str()), (18, "manual"));
    assert!(head.at.ends_with("+08:00"), "{}", head.at);
    let facts = facts(&settings);
    let count = |word: &str| facts.iter().filter(|record| record.fact.word() == word).count();
    assert_eq!((count("base"), count("start"), count("event")), (1, 1, 18));
    // with a gap below a minute between them, each alarm's own signature apart
    assert!(count("head") >= 7, "every commit of a critical alarm is signed: {}", count("head"));
    let whens = facts.iter().filter(|record| !matches!(record.fact, Fact::Event { .. } | Fact::Base(_)));
    assert!(whens.clone().count() > 20 && whens.clone().all(|record| record.when.is_some()));
}

/// What one row costs is no secret.
#[tokio::test]
async fn a_receipt_is_one_small_row() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    lived(&settings, 3).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let mut rows = conn
        .prepare("SELECT kind, avg(length(record) + 32 + length(kind) + 8) FROM link GROUP BY kind")
        .unwrap();
    let sizes = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, f64>(1)?))).unwrap();
    let sizes: BTreeMap<String, f64> = sizes.map(Result::unwrap).collect();
    println!("bytes a row, by kind: {sizes:?}");
    assert!(sizes["receipt"] < 450.0 && sizes["event"] < 200.0, "{sizes:?}");
}

#[tokio::test]
async fn what_the_clock_does_is_in_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let clock = Arc::new(ManualClock::new());
    let (store, _) = attesting(&settings, &clock).await;
    clock.advance(Duration::from_secs(60));
    store.tend().await.unwrap();
    clock.step_wall(clock.now().wall + Duration::from_secs(100));
    store.tend().await.unwrap();
    store.close().await.unwrap();
    let steps: Vec<i64> = facts(&settings)
        .iter()
        .filter_map(|record| match &record.fact {
            Fact::Clock { stepped_ms, .. } => Some(*stepped_ms),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [100_000]);
    assert_eq!(verified(&settings).unsigned, 0, "and signed at once");
}

#[tokio::test]
async fn the_latest_signature_is_there_for_what_is_delivered_next() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let clock = Arc::new(ManualClock::new());
    let (store, mut chain) = attesting(&settings, &clock).await;
    let first = store.head().unwrap().statement().unwrap();
    assert_eq!(first.seq, 0, "at the start already");
    let (lamp, lift) = (key("lamp", "dark"), key("lift", "trapped"));
    store.commit(transition(&mut chain, &lamp, Raised, Low, &[])).await.unwrap();
    assert_eq!(store.head().unwrap().statement().unwrap(), first, "within the hour");
    store.commit(transition(&mut chain, &lift, Raised, Critical, &[])).await.unwrap();
    assert_eq!(store.head().unwrap().statement().unwrap().seq, 2, "at once");
    store.commit(transition(&mut chain, &lamp, Closed, Low, &[])).await.unwrap();
    for (seconds, seq) in [(3500, 2), (100, 3)] {
        clock.advance(Duration::from_secs(seconds));
        store.tend().await.unwrap();
        assert_eq!(store.head().unwrap().statement().unwrap().seq, seq, "after {seconds} s more");
    }
    clock.advance(Duration::from_secs(36_000));
    let signed = store.head();
    store.tend().await.unwrap();
    assert_eq!(store.head(), signed, "nothing was added, nothing is signed");
}

#[tokio::test]
async fn another_key_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    lived(&settings, 1).await;
    let reader = Reader::open(&settings.dir).unwrap();
    assert!(reader.verify(Some(key_of_the_box(Suite::International).public())).unwrap().is_ok());
    let other = BoxKey::of_secret(Suite::International, &[1; 32]).unwrap().public();
    let broken = reader.verify(Some(other)).unwrap().unwrap_err();
    assert!(matches!(broken.place, Place::Link(_)), "{broken}");
}

/// What an older version wrote is vouched for from the first start on.
#[tokio::test]
async fn a_file_of_an_older_version_gets_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    lived(&settings, 2).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    conn.execute_batch(
        "DELETE FROM link; UPDATE audit SET link = NULL; UPDATE outbox SET link = NULL;
         UPDATE meta SET link_n = 0, link_hash = zeroblob(32), link_base_n = 0, link_told = 0;",
    )
    .unwrap();
    let (store, new) = EventStore::open(&settings).unwrap();
    store.attest(witness(&Arc::new(ManualClock::new()), settings.suite)).await.unwrap();
    let mut chain = Chain::from(&new);
    store.commit(transition(&mut chain, &key("lift", "trapped"), Raised, Critical, &[])).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(verified(&settings).events, 7);
    conn.execute("UPDATE audit SET who = 'nobody' WHERE number = 1", []).unwrap();
    let broken = Reader::open(&settings.dir).unwrap().verify_chain().unwrap().unwrap_err();
    assert_eq!(broken.place, Place::Audit(2), "{broken}: known to be among the first two");
}

/// The columns that count, by table; the first is the key.
const EVIDENCE: &[(&str, &str, &[&str])] = &[
    (
        "event",
        "seq",
        &["seq", "id", "kind", "device", "alarm", "occurrence", "at_ms", "record", "hash", "prev_hash"],
    ),
    ("link", "n", &["n", "kind", "record", "hash"]),
    ("audit", "number", &["number", "at_ms", "who", "origin", "action", "object", "outcome", "link"]),
    (
        "outbox",
        "row",
        &[
            "endpoint",
            "event_id",
            "seq",
            "state",
            "delivered_at_ms",
            "receipt_status",
            "receipt_said",
            "link",
        ],
    ),
    (
        "meta",
        "only",
        &[
            "epoch",
            "base_seq",
            "base_hash",
            "last_seq",
            "last_hash",
            "link_base_n",
            "link_base_hash",
            "link_n",
            "link_hash",
            "link_told",
            "alg",
        ],
    ),
];

/// A random generator that says the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

/// One edit, as somebody with the file in hand would make it; in words. `None`: it changed nothing.
fn edit(conn: &Connection, dice: &mut Dice) -> Option<String> {
    let (table, key, columns) = *dice.of(EVIDENCE);
    let settled = if table == "outbox" { " WHERE state = 'delivered'" } else { "" };
    let mut keys = conn.prepare(&format!("SELECT {key} FROM {table}{settled}")).unwrap();
    let keys: Vec<i64> = keys.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let one = *dice.of(&keys);
    match dice.roll(if table == "meta" { 1 } else { 4 }) {
        0 => change(conn, dice, (table, key, columns), one),
        1 => {
            conn.execute(&format!("DELETE FROM {table} WHERE {key} = ?1"), [one]).unwrap();
            Some(format!("{table} {one} deleted"))
        }
        2 => swap(conn, (table, key, columns), one, *dice.of(&keys)),
        _ => {
            let from = keys[keys.len() - 1 - dice.roll(keys.len().min(20))];
            conn.execute(&format!("DELETE FROM {table} WHERE {key} >= ?1"), [from]).unwrap();
            Some(format!("{table} cut off from {from}"))
        }
    }
}

fn change(
    conn: &Connection,
    dice: &mut Dice,
    (table, key, columns): (&str, &str, &[&str]),
    one: i64,
) -> Option<String> {
    let column = *dice.of(columns);
    let sql = format!("SELECT {column} FROM {table} WHERE {key} = ?1");
    let was: Sql = conn.query_row(&sql, [one], |row| row.get(0)).unwrap();
    let flip = |bytes: &mut Vec<u8>, dice: &mut Dice, mask: u8| {
        if !bytes.is_empty() {
            let at = dice.roll(bytes.len());
            bytes[at] ^= mask;
        }
    };
    let now = match was.clone() {
        Sql::Null => Sql::Integer(1),
        Sql::Integer(n) => Sql::Integer(n ^ (1 << dice.roll(12))),
        Sql::Blob(mut bytes) => {
            let mask = 1 << dice.roll(8);
            flip(&mut bytes, dice, mask);
            Sql::Blob(bytes)
        }
        Sql::Text(text) if column == "state" => {
            Sql::Text(if text == "delivered" { "queued" } else { "delivered" }.into())
        }
        Sql::Text(text) => Sql::Text(format!("{text}.")),
        Sql::Real(_) => return None,
    };
    if now == was {
        return None;
    }
    let changed = conn.execute(
        &format!("UPDATE {table} SET {column} = ?2 WHERE {key} = ?1"),
        params_from_iter([Sql::Integer(one), now]),
    );
    // what a constraint forbids nobody can write
    changed.ok().map(|_| format!("{table} {one}: {column} changed"))
}

/// Two rows exchange all but their places.
fn swap(
    conn: &Connection,
    (table, key, columns): (&str, &str, &[&str]),
    one: i64,
    other: i64,
) -> Option<String> {
    let moved: Vec<&str> = columns.iter().copied().filter(|column| *column != key).collect();
    let list = moved.join(", ");
    let read = |row: i64| -> Vec<Sql> {
        conn.query_row(&format!("SELECT {list} FROM {table} WHERE {key} = ?1"), [row], |found| {
            (0..moved.len()).map(|at| found.get(at)).collect()
        })
        .unwrap()
    };
    let (a, b) = (read(one), read(other));
    if a == b {
        return None;
    }
    conn.execute(&format!("DELETE FROM {table} WHERE {key} IN (?1, ?2)"), [one, other]).unwrap();
    let marks: Vec<String> = (2..moved.len() + 2).map(|n| format!("?{n}")).collect();
    let sql = match table {
        "outbox" => format!(
            "INSERT INTO outbox (device, alarm, priority, {key}, {list}) VALUES ('d', 'a', 0, ?1, {})",
            marks.join(", ")
        ),
        "link" => format!("INSERT INTO link (seq, {key}, {list}) VALUES (0, ?1, {})", marks.join(", ")),
        _ => format!("INSERT INTO {table} ({key}, {list}) VALUES (?1, {})", marks.join(", ")),
    };
    for (place, values) in [(one, b), (other, a)] {
        let all = std::iter::once(Sql::Integer(place)).chain(values);
        conn.execute(&sql, params_from_iter(all)).unwrap();
    }
    Some(format!("{table} {one} and {other} exchanged"))
}

/// `GATEHOUSE_EDITS=10000` for the long form.
#[tokio::test]
async fn every_single_edit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    lived(&settings, 12).await;
    assert!(verified(&settings).receipts > 20);
    all_edits_are_found(&settings, 300);
}

pub(super) fn all_edits_are_found(settings: &Settings, edits: usize) {
    let edits: usize = std::env::var("GATEHOUSE_EDITS").map_or(edits, |text| text.parse().unwrap());
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF").unwrap();
    // a savepoint of its own for each: one connection sees the edit, nobody keeps it
    let reader = Reader::over(conn);
    let (mut made, mut dice, mut tables) = (0, Dice(20_261_126), BTreeMap::<String, u64>::new());
    while made < edits {
        reader.conn().execute_batch("SAVEPOINT edit").unwrap();
        if let Some(what) = edit(reader.conn(), &mut dice) {
            made += 1;
            let verdict = reader.verify_within(None).unwrap();
            assert!(verdict.is_err(), "edit {made} was not found: {what}");
            let table = what.split(' ').next().unwrap().to_owned();
            *tables.entry(table).or_default() += 1;
        }
        reader.conn().execute_batch("ROLLBACK TO edit; RELEASE edit").unwrap();
    }
    assert!(reader.verify_within(None).unwrap().is_ok(), "and without one it holds");
    assert_eq!(tables.len(), EVIDENCE.len(), "every table had its turn: {tables:?}");
    println!("{made} edits, all found: {tables:?}");
}

/// The oldest made room: the chain begins later, and still holds.
#[tokio::test]
async fn what_makes_room_leaves_a_chain_that_holds() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    lived(&settings, 30).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let links = |conn: &Connection| {
        conn.query_row("SELECT count(*) FROM link", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = links(&conn);
    let mut writer = Connection::open(settings.dir.join("events.db")).unwrap();
    let pages = crate::store::open::pages(settings.events_max);
    assert!(crate::store::evict::step(&mut writer, pages, &crate::store::chain::Pen::default()).unwrap());
    assert!(links(&conn) < before, "its rows went too");
    let now = verified(&settings);
    let begins = now.begins.clone().unwrap();
    assert!(begins.link > 0 && begins.seq > 0 && begins.audit > 0, "{begins:?}");
    for (fact, sql) in [
        ("an old audit entry", "UPDATE audit SET who = 'nobody' WHERE number = 1"),
        ("the beginning of the events moved", "UPDATE meta SET base_seq = base_seq + 1"),
        ("a younger one", "DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)"),
    ] {
        conn.execute_batch(&format!("SAVEPOINT edit; {sql}; RELEASE edit")).unwrap();
        assert!(Reader::open(&settings.dir).unwrap().verify_chain().unwrap().is_err(), "{fact}");
        let undo = match fact {
            "an old audit entry" => "UPDATE audit SET who = '张伟' WHERE number = 1",
            _ => "UPDATE meta SET base_seq = base_seq - 1",
        };
        if fact != "a younger one" {
            conn.execute_batch(undo).unwrap();
            verified(&settings);
        }
    }
}

/// What was told of the audit once is gone on from: reading it again would vouch for what somebody changed since, and take ever longer.
#[tokio::test]
async fn making_room_again_does_not_vouch_for_what_was_changed_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let make_room = || {
        let mut writer = Connection::open(settings.dir.join("events.db")).unwrap();
        let pages = crate::store::open::pages(settings.events_max);
        assert!(crate::store::evict::step(&mut writer, pages, &crate::store::chain::Pen::default()).unwrap());
        verified(&settings).begins.unwrap().audit
    };
    lived(&settings, 10).await;
    let first = make_room();
    lived(&settings, 10).await;
    let second = make_room();
    assert!(0 < first && first < second, "{first} {second}");
    lived(&settings, 10).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    conn.execute("UPDATE audit SET who = 'nobody' WHERE number = 1", []).unwrap();
    let mut writer = Connection::open(settings.dir.join("events.db")).unwrap();
    let pages = crate::store::open::pages(settings.events_max);
    assert!(crate::store::evict::step(&mut writer, pages, &crate::store::chain::Pen::default()).unwrap());
    let broken = Reader::open(&settings.dir).unwrap().verify_chain().unwrap().unwrap_err();
    assert!(matches!(broken.place, Place::Audit(until) if until > second), "{broken}");
}
