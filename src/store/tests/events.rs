use std::{fs, os::unix::fs::PermissionsExt};

use rusqlite::Connection;
use rusqlite_migration::M;

use super::*;
use crate::{
    domain::{Hindrance, HindranceKind},
    store::{
        AuditEntry, Backlog, Delivery, Discarded, EventStore, File, LetterFilter, LetterState, Reader,
        Receipted, StoreError, Wanted, migrate,
    },
};

use Priority::{Critical, High, Low};
use TransitionKind::{Acknowledged, Closed, Raised, Returned};

const OFFICE: &str = "safety-inspection";

fn receipt(said: &str) -> Receipted {
    Receipted { at: at("2026-11-23T07:00:00Z"), status: 200, said: said.to_owned() }
}

async fn claimed(store: &EventStore, skip: &[AlarmKey]) -> Option<(i64, u64)> {
    let letter = store.claim(&OFFICE.into(), skip.to_vec()).await.unwrap()?;
    Some((letter.row, letter.seq))
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    assert_eq!((new.last_seq, new.last_hash, new.alarms.len()), (0, [0; 32], 0));
    assert_eq!(new.epoch.len(), 32);
    assert_eq!(fs::metadata(&settings.dir).unwrap().permissions().mode() & 0o777, 0o750);

    let mut chain = Chain::from(&new);
    let trapped = key("lift-1", "passenger_trapped");
    let door = key("lift-1", "door_fault");
    store.commit(transition(&mut chain, &trapped, Raised, Critical, &[OFFICE])).await.unwrap();
    store.commit(transition(&mut chain, &door, Raised, Low, &[])).await.unwrap();
    store.commit(transition(&mut chain, &door, Closed, Low, &[])).await.unwrap();
    store.close().await.unwrap();

    let (store, found) = EventStore::open(&settings).unwrap();
    assert_eq!((found.epoch, found.last_seq, found.last_hash), (new.epoch, 3, chain.hash));
    assert_eq!(found.alarms, [memory(&trapped, Some(AlarmState::ActiveUnacknowledged))]);
    assert_eq!(claimed(&store, &[]).await, Some((1, 1)));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_running_delay_is_remembered_and_a_finished_one_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, _) = EventStore::open(&settings).unwrap();
    let delayed = AlarmMemory {
        delay: Some(OnDelay { credited: Duration::from_millis(12_345), seen: Mono(Duration::from_nanos(7)) }),
        boot_id: "boot".to_owned(),
        ..memory(&key("a", "b"), None)
    };
    store.commit(Commit { alarms: vec![delayed.clone()], ..Commit::default() }).await.unwrap();
    store.close().await.unwrap();

    let (store, found) = EventStore::open(&settings).unwrap();
    assert_eq!(found.alarms, [delayed]);
    let normal = memory(&key("a", "b"), None);
    store.commit(Commit { alarms: vec![normal], ..Commit::default() }).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(EventStore::open(&settings).unwrap().1.alarms, []);
}

#[tokio::test]
async fn an_event_that_is_not_the_next_is_refused_with_everything_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, new) = EventStore::open(&settings(dir.path())).unwrap();
    let door = key("lift-1", "door_fault");
    let first = transition(&mut Chain::from(&new), &door, Raised, Low, &[]);
    store.commit(first).await.unwrap();

    let mut gap = Chain::from(&new);
    gap.seq = 5;
    let fork = transition(&mut Chain::from(&new), &door, Returned, Low, &[OFFICE]);
    for (fact, commit) in
        [("a gap", transition(&mut gap, &door, Returned, Low, &[OFFICE])), ("a fork: the second seq 1", fork)]
    {
        let refused = store.commit(commit).await;
        assert!(matches!(refused, Err(StoreError::OutOfOrder { last: 1, .. })), "{fact}: {refused:?}");
    }
    assert_eq!(claimed(&store, &[]).await, None, "no letter of a refused commit");
}

#[tokio::test]
async fn letters_go_in_order_within_an_alarm_and_by_urgency_across_alarms() {
    let dir = tempfile::tempdir().unwrap();
    let (store, new) = EventStore::open(&settings(dir.path())).unwrap();
    let mut chain = Chain::from(&new);
    let [low, over, high, active] = ["low", "over", "high", "active"].map(|alarm| key("lift-1", alarm));
    for (key, kind, priority) in [
        (&low, Raised, Low),       // 1
        (&over, Raised, Critical), // 2
        (&over, Returned, Critical),
        (&high, Raised, High),       // 4
        (&active, Raised, Critical), // 5
        (&active, Acknowledged, Critical),
        (&low, Returned, Low), // 7
    ] {
        store.commit(transition(&mut chain, key, kind, priority, &[OFFICE, "other"])).await.unwrap();
    }

    let mut seqs = Vec::new();
    while let Some((row, seq)) = claimed(&store, &[]).await {
        assert_eq!(claimed(&store, &[]).await, Some((row, seq)), "claiming changes nothing");
        store.settle(row, receipt("ok")).await.unwrap();
        seqs.push(seq);
    }
    assert_eq!(seqs, [5, 6, 2, 3, 4, 1, 7], "active critical, critical, high, low");
    let other = store.claim(&"other".into(), Vec::new()).await.unwrap().unwrap();
    assert_eq!(other.seq, 5, "another endpoint has its own");
}

#[tokio::test]
async fn a_reopened_store_knows_who_was_told_of_what_is_still_open() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    assert_eq!(new.told, []);
    let mut chain = Chain::from(&new);
    let [door, fire, over, quiet] = ["door", "fire", "over", "quiet"].map(|alarm| key("lift-1", alarm));
    for (key, kind, told) in [
        (&door, Raised, &[OFFICE, "service"][..]),
        (&door, Returned, &["property"]),
        (&fire, Raised, &["service"]),
        (&over, Raised, &[OFFICE]),
        (&over, Closed, &[OFFICE]),
        (&quiet, Raised, &[]),
    ] {
        store.commit(transition(&mut chain, key, kind, High, told)).await.unwrap();
    }
    // delivered or not, they were told
    store.settle(1, receipt("ok")).await.unwrap();
    store.close().await.unwrap();

    let (_store, found) = EventStore::open(&settings).unwrap();
    let pairs = [(&door, "property"), (&door, OFFICE), (&door, "service"), (&fire, "service")];
    assert_eq!(found.told, pairs.map(|(key, endpoint)| (occurrence(key), endpoint.into())));
}

#[tokio::test]
async fn letters_that_no_courier_carries_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, new) = EventStore::open(&settings(dir.path())).unwrap();
    let mut chain = Chain::from(&new);
    let door = key("lift-1", "door_fault");
    for (kind, endpoints) in [
        (Raised, &[OFFICE, "gone", "settled"][..]),
        (Returned, &[OFFICE, "gone", "aside"]),
        (Closed, &[OFFICE]),
    ] {
        store.commit(transition(&mut chain, &door, kind, High, endpoints)).await.unwrap();
    }
    let row = async |endpoint: &str| store.claim(&endpoint.into(), Vec::new()).await.unwrap().unwrap().row;
    store.settle(row("settled").await, receipt("ok")).await.unwrap();
    store.set_aside(row("aside").await, why("by hand"), next_at()).await.unwrap();
    for (fact, known, others) in [
        ("all are known", &[OFFICE, "gone"][..], &[][..]),
        ("one is gone; what is settled or set aside does not wait", &[OFFICE, "new"], &[("gone", 2)]),
        ("no endpoint is left", &[], &[("gone", 2), (OFFICE, 3)]),
    ] {
        let known: Vec<EndpointId> = known.iter().map(|&id| id.into()).collect();
        let others: Vec<(EndpointId, u64)> = others.iter().map(|&(id, count)| (id.into(), count)).collect();
        assert_eq!(store.queued_for_others(&known).await.unwrap(), others, "{fact}");
    }
}

fn why(said: &str) -> Hindrance {
    Hindrance::new(HindranceKind::Unreachable, Text::new(format!("中 {said}"), said))
}

fn next_at() -> Timestamp {
    at("2026-11-23T06:05:00Z")
}

fn audit(action: &'static str) -> AuditEntry {
    AuditEntry {
        at: at("2026-11-23T06:06:00Z"),
        who: "张伟".into(),
        from: "cli".into(),
        action,
        object: OFFICE.into(),
        outcome: String::new(),
    }
}

fn audited(settings: &Settings) -> Vec<(String, String)> {
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let mut rows = conn.prepare("SELECT action, outcome FROM audit ORDER BY number").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn what_was_set_aside_goes_back_to_where_it_stood() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let door = key("lift-1", "door_fault");
    for kind in [Raised, Returned, Closed] {
        store.commit(transition(&mut chain, &door, kind, High, &[OFFICE])).await.unwrap();
    }
    store.set_aside(1, why("422"), next_at()).await.unwrap();
    store.set_aside(2, why("422"), next_at()).await.unwrap();
    assert_eq!(claimed(&store, &[]).await, Some((3, 3)));
    let rows =
        Reader::open(&settings.dir).unwrap().letters(&LetterFilter { limit: 9, ..LetterFilter::default() });
    let rows = rows.unwrap();
    let seen: Vec<_> =
        rows.iter().map(|row| (row.number, row.state, row.attempts, row.kind.as_deref())).collect();
    let aside = LetterState::SetAside;
    assert_eq!(
        seen,
        [
            (3, LetterState::Queued, 0, Some("closed")),
            (2, aside, 1, Some("returned")),
            (1, aside, 1, Some("raised"))
        ]
    );
    assert_eq!((&rows[2].last_error, rows[2].tried_at), (&Some(why("422").said), Some(next_at())));

    assert_eq!(
        store.retry(Wanted { endpoint: OFFICE.into(), number: Some(2) }, audit("retry")).await.unwrap(),
        1
    );
    assert_eq!(claimed(&store, &[]).await, Some((2, 2)), "before what comes after it");
    assert_eq!(
        store.retry(Wanted { endpoint: OFFICE.into(), number: None }, audit("retry")).await.unwrap(),
        1
    );
    assert_eq!(claimed(&store, &[]).await, Some((1, 1)));
    assert_eq!(
        store.retry(Wanted { endpoint: OFFICE.into(), number: Some(2) }, audit("retry")).await.unwrap(),
        0,
        "it is not set aside"
    );
    let said = |n| ("retry".to_owned(), format!("{n} letters"));
    assert_eq!(audited(&settings), [said(1), said(1), said(0)]);
}

#[tokio::test]
async fn what_is_discarded_is_gone_and_audited_and_what_was_delivered_stays() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let door = key("lift-1", "door_fault");
    for kind in [Raised, Returned, Closed] {
        store.commit(transition(&mut chain, &door, kind, High, &[OFFICE, "other"])).await.unwrap();
    }
    store.settle(1, receipt("ok")).await.unwrap();
    store.set_aside(3, why("422"), next_at()).await.unwrap();
    let backlog = store.backlog().await.unwrap();
    assert_eq!(backlog[OFFICE], Backlog { queued: 1, set_aside: 1 });
    let gone = store.discard(OFFICE.into(), audit("discard")).await.unwrap();
    assert_eq!(gone, Some(Discarded { letters: 2, first_seq: 2, last_seq: 3 }));
    assert_eq!(store.discard(OFFICE.into(), audit("discard")).await.unwrap(), None);
    let losses = store.tend().await.unwrap().losses;
    let told =
        losses.iter().map(|untold| (untold.loss.reason, untold.loss.subject.as_deref(), untold.loss.count));
    let subject = format!("endpoint:{OFFICE}");
    assert_eq!(told.collect::<Vec<_>>(), [(LossReason::Discarded, Some(&*subject), 2)], "and reported, once");
    assert_eq!((losses[0].loss.first_seq, losses[0].loss.last_seq), (2, 3));
    let of = |deliveries: Vec<Delivery>| {
        deliveries.into_iter().map(|d| (d.endpoint, d.queued, d.set_aside, d.delivered)).collect::<Vec<_>>()
    };
    let deliveries = of(Reader::open(&settings.dir).unwrap().deliveries().unwrap());
    assert_eq!(deliveries, [("other".to_owned(), 3, 0, 0), (OFFICE.to_owned(), 0, 0, 1)]);
    let said = |n| ("discard".to_owned(), format!("{n} letters"));
    assert_eq!(audited(&settings), [said(2), said(0)]);
}

#[tokio::test]
async fn a_letter_is_put_off_skipped_set_aside_and_settled_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let (door, fire) = (key("lift-1", "door_fault"), key("lift-2", "fire"));
    for (key, kind) in [(&door, Raised), (&door, Returned), (&fire, Raised)] {
        store.commit(transition(&mut chain, key, kind, High, &[OFFICE])).await.unwrap();
    }
    let (tried, next_at) = (at("2026-11-23T06:04:00Z"), next_at());
    store.put_off(1, why("connection refused"), tried, next_at).await.unwrap();
    let first = store.claim(&OFFICE.into(), Vec::new()).await.unwrap().unwrap();
    assert_eq!((first.row, first.attempts), (1, 1));
    assert_eq!(
        claimed(&store, std::slice::from_ref(&door)).await,
        Some((3, 3)),
        "a stuck alarm blocks no other"
    );
    assert_eq!(claimed(&store, &[door.clone(), fire.clone()]).await, None);

    let reader = Reader::open(&settings.dir).unwrap();
    let stuck = &reader.deliveries().unwrap()[0];
    assert_eq!((stuck.queued, stuck.delivered, stuck.set_aside), (3, 0, 0));
    assert_eq!(stuck.oldest, Some(at("2026-11-23T06:00:01Z")));
    assert_eq!((&stuck.last_error, stuck.next_at), (&Some(why("connection refused").said), Some(next_at)));
    assert_eq!((stuck.hindrance.as_deref(), stuck.critical), (Some("unreachable"), 0));

    store.set_aside(1, why("422"), tried).await.unwrap();
    assert_eq!(claimed(&store, &[]).await, Some((2, 2)), "its successor moves on");
    store.settle(2, receipt(&"收".repeat(1000))).await.unwrap();
    for again in [store.settle(2, receipt("")).await, store.set_aside(2, why(""), tried).await] {
        assert!(matches!(again, Err(StoreError::NoSuchLetter { row: 2 })), "{again:?}");
    }
    let now = &reader.deliveries().unwrap()[0];
    assert_eq!((now.queued, now.delivered, now.set_aside), (1, 1, 1));
    assert_eq!((&now.last_error, now.next_at), (&Some(why("422").said), None));
    let said: String = Connection::open(settings.dir.join("events.db"))
        .unwrap()
        .query_row("SELECT receipt_said FROM outbox WHERE row = 2", [], |row| row.get(0))
        .unwrap();
    assert_eq!(said, "收".repeat(341));
}

#[tokio::test]
async fn one_directory_has_one_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, _) = EventStore::open(&settings).unwrap();
    match EventStore::open(&settings) {
        Err(StoreError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("a second instance: {:?}", other.map(drop)),
    }
    let clone = store.clone();
    store.close().await.unwrap();
    assert!(matches!(clone.commit(Commit::default()).await, Err(StoreError::Closed { .. })));
    EventStore::open(&settings).unwrap();
}

#[test]
fn an_older_schema_is_brought_up_and_a_newer_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.db");
    let steps = [M::up("CREATE TABLE one (x);"), M::up("ALTER TABLE one ADD COLUMN y DEFAULT 7;")];
    let mut conn = Connection::open(&path).unwrap();
    migrate::migrate(&mut conn, &path, File::Events, &steps[..1]).unwrap();
    conn.execute("INSERT INTO one VALUES (1)", []).unwrap();
    for _ in 0..2 {
        migrate::migrate(&mut conn, &path, File::Events, &steps).unwrap();
    }
    let y: i64 = conn.query_row("SELECT y FROM one", [], |row| row.get(0)).unwrap();
    assert_eq!(y, 7);
    let copy = Connection::open(dir.path().join("events.db.v1")).unwrap();
    assert!(copy.query_row("SELECT x FROM one", [], |row| row.get::<_, i64>(0)).is_ok(), "the way back");
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);

    let mut settings = settings(dir.path());
    settings.dir = dir.path().to_owned();
    match EventStore::open(&settings) {
        Err(StoreError::Newer { found: 99, known: 8, .. }) => {}
        other => panic!("a newer schema: {:?}", other.map(drop)),
    }
    assert!(matches!(Reader::open(&settings.dir), Err(StoreError::Newer { .. })));
}

#[test]
fn the_shipped_migrations_are_valid() {
    for file in [File::Events, File::Telemetry] {
        migrate::validate(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[tokio::test]
async fn a_full_file_says_so_loses_nothing_and_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { events_max: Size(512 << 10), ..settings(dir.path()) };
    let (store, new) = EventStore::open(&small).unwrap();
    let mut chain = Chain::from(&new);
    let door = key("lift-1", "door_fault");
    let mut reached = Vec::new();
    for priority in [Low, High] {
        let refused = loop {
            let mut next = Chain { epoch: chain.epoch.clone(), ..chain };
            match store.commit(transition(&mut next, &door, Raised, priority, &[OFFICE])).await {
                Ok(()) => chain = next,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
        reached.push(chain.seq);
    }
    assert!(reached[0] > 50 && reached[1] > reached[0] + 10, "the urgent go further: {reached:?}");
    let committed = reached[1];

    // What was delivered makes room for what was not; what was not stays whole.
    for row in 1..=committed as i64 / 2 {
        store.settle(row, receipt("ok")).await.unwrap();
    }
    for _ in 0..10 {
        store.commit(transition(&mut chain, &door, Raised, High, &[OFFICE])).await.unwrap();
    }
    let next = store.claim(&OFFICE.into(), Vec::new()).await.unwrap().unwrap();
    assert_eq!(next.seq, committed / 2 + 1);
    assert!(!next.body.is_empty());
    store.close().await.unwrap();

    let (_store, found) = EventStore::open(&Settings { events_max: Size(1 << 20), ..small }).unwrap();
    assert_eq!((found.last_seq, found.last_hash), (committed + 10, chain.hash));
}

#[tokio::test]
async fn after_the_disk_failed_nothing_is_promised() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = EventStore::open(&settings(dir.path())).unwrap();
    let fsync = || StoreError::Sqlite {
        file: File::Events,
        source: rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC),
            None,
        ),
    };
    store.fail(fsync).await;
    let refused = store.commit(Commit::default()).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn hostile_text_is_stored_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let texts =
        ["'; DROP TABLE event; --", "\u{0}nul", "<script>alert(1)</script>", "\u{202e}右到左", "a/b", ""];
    for text in texts {
        let key = key(text, text);
        let entry = AuditEntry {
            at: at("2026-11-23T06:00:00Z"),
            who: text.to_owned(),
            from: "cli".to_owned(),
            action: "acknowledge",
            object: text.to_owned(),
            outcome: text.to_owned(),
        };
        let mut commit = transition(&mut chain, &key, Raised, High, &[text]);
        commit.audit.push(entry);
        store.commit(commit).await.unwrap();
        let letter = store.claim(&text.into(), Vec::new()).await.unwrap().unwrap();
        assert_eq!(letter.key, key, "{text:?}");
        assert_eq!(store.claim(&text.into(), vec![key]).await.unwrap(), None, "{text:?}");
    }
    let reader = Reader::open(&settings.dir).unwrap();
    let stored: Vec<_> =
        reader.events(0, 100).unwrap().into_iter().map(|sealed| sealed.event.device.id.to_string()).collect();
    assert_eq!(stored, texts);
    assert_eq!(reader.verify_chain().unwrap().unwrap().events, texts.len() as u64);
}
