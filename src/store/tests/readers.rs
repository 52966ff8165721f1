use rusqlite::{Connection, params};

use super::*;
use crate::store::{Access, AlarmFilter, EventStore, Reader, StoreError, TelemetryReader, chain::Place};

use Priority::{Critical, Low};
use TransitionKind::{Closed, Raised, Returned};

#[tokio::test]
async fn open_alarms_are_listed_by_urgency_and_closed_ones_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let [one, two, gone] =
        [("lift-1", "low"), ("lift-2", "critical"), ("lift-3", "gone")].map(|(d, a)| key(d, a));
    for (key, kind, priority) in [
        (&one, Raised, Low),
        (&gone, Raised, Critical),
        (&two, Raised, Critical),
        (&gone, Closed, Critical),
        (&one, Returned, Low),
    ] {
        store.commit(transition(&mut chain, key, kind, priority, &[])).await.unwrap();
    }
    let reader = Reader::open(&settings.dir).unwrap();
    let listed = |filter: AlarmFilter| {
        let rows = reader.alarms(&filter).unwrap().rows;
        rows.into_iter().map(|row| (row.device, row.state)).collect::<Vec<_>>()
    };
    let open = AlarmFilter::default;
    let (raised, returned, closed) =
        (AlarmState::ActiveUnacknowledged, AlarmState::ReturnedUnacknowledged, AlarmState::Closed);
    for (fact, filter, want) in [
        ("open", open(), vec![("lift-2", raised), ("lift-1", returned)]),
        (
            "all, the latest first",
            AlarmFilter { closed: true, ..open() },
            vec![("lift-1", returned), ("lift-3", closed), ("lift-2", raised)],
        ),
        (
            "one device",
            AlarmFilter { device: Some("lift-1".to_owned()), ..open() },
            vec![("lift-1", returned)],
        ),
        ("no such device", AlarmFilter { device: Some("lift-9".to_owned()), ..open() }, vec![]),
    ] {
        let want: Vec<_> = want.into_iter().map(|(device, state)| (device.to_owned(), state)).collect();
        assert_eq!(listed(filter), want, "{fact}");
    }
    let row = &reader.alarms(&open()).unwrap().rows[0];
    assert_eq!((&row.title.zh[..], &row.occurrence[..]), ("困人", "occurrence of lift-2/critical"));
    let after: Vec<_> = reader.events(3, 10).unwrap().iter().map(|sealed| sealed.event.seq).collect();
    assert_eq!(after, [4, 5]);
}

#[tokio::test]
async fn what_was_announced_is_counted_once_and_what_was_withheld_when_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let facts = [
        ("told", Raised, false, false),
        ("told", TransitionKind::Shelved, false, false),
        ("told", TransitionKind::Unshelved, false, false),
        ("untold", Raised, true, false),
        ("untold", TransitionKind::Unsuppressed, false, true),
        ("told", Closed, false, false),
    ];
    for (alarm, kind, withheld, announced) in facts {
        let mut commit = transition(&mut chain, &key("lift-1", alarm), kind, Low, &[]);
        let facts = &mut commit.events[0].event.alarm;
        (facts.withheld, facts.announced) = (withheld, announced);
        commit.events[0].record = serde_json::to_vec(&commit.events[0].event).unwrap();
        store.commit(commit).await.unwrap();
    }
    let reader = Reader::open(&settings.dir).unwrap();
    let said = |from: &str, until: &str| {
        let (said, begins) = reader.announced(at(from), at(until)).unwrap();
        let said = said.into_iter().map(|one| (one.key.alarm.to_string(), one.at.to_string()));
        (said.collect::<Vec<_>>(), begins.map(|begins| begins.to_string()))
    };
    let begins = Some("2026-11-23T06:00:01Z".to_owned());
    let (first, second) = (("told", "2026-11-23T06:00:01Z"), ("untold", "2026-11-23T06:00:05Z"));
    let named =
        |list: &[(&str, &str)]| list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    assert_eq!(
        said("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
        (named(&[first, second]), begins.clone())
    );
    assert_eq!(said("2026-11-23T06:00:02Z", "2026-11-24T00:00:00Z"), (named(&[second]), begins.clone()));
    assert_eq!(
        said("2026-11-23T00:00:00Z", "2026-11-23T06:00:05Z"),
        (named(&[first]), begins),
        "the end is not in it"
    );
}

#[tokio::test]
async fn what_a_person_holds_back_is_listed_though_nothing_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let by = |by: &str| Acknowledgement {
        by: by.to_owned(),
        at: at("2026-11-23T06:00:00Z"),
        note: Some("维保".to_owned()),
        from: "cli".to_owned(),
    };
    let (open, shelved, quiet, suppressed) =
        (key("lift-1", "low"), key("lift-2", "e_bike"), key("lift-3", "fault"), key("lift-4", "door"));
    store.commit(transition(&mut chain, &open, Raised, Low, &[])).await.unwrap();
    let mut over = transition(&mut chain, &shelved, TransitionKind::Shelved, Critical, &[]);
    let told_as = over.events[0].event.alarm.occurrence.clone();
    let hold = Hold::begun(by("张伟"), told_as, Duration::from_secs(60), Mono(Duration::ZERO), "boot");
    let held = |key: &AlarmKey, hold: Hold| AlarmMemory {
        overlay: Overlay { shelf: Some(Box::new(hold)), ..Overlay::default() },
        ..memory(key, None)
    };
    over.alarms = vec![held(&shelved, hold.clone())];
    store.commit(over).await.unwrap();
    let out = Overlay {
        out_of_service: Some(Box::new(Hold { quiet: true, ..hold.clone() })),
        ..Overlay::default()
    };
    let alarms = vec![
        AlarmMemory { overlay: out, ..memory(&quiet, None) },
        AlarmMemory {
            overlay: Overlay { suppressed: true, ..Overlay::default() },
            ..memory(&suppressed, None)
        },
    ];
    store.commit(Commit { alarms, ..Commit::default() }).await.unwrap();

    let reader = Reader::open(&settings.dir).unwrap();
    let rows = reader.alarms(&AlarmFilter::default()).unwrap().rows;
    let listed: Vec<_> = rows.iter().map(|row| (row.device.as_str(), row.overlay.words())).collect();
    assert_eq!(listed, [("lift-1", vec![]), ("lift-2", vec!["shelved"])], "what is held back comes last");
    let history =
        |id: &str| reader.history(id).unwrap().into_iter().map(|event| event.seq).collect::<Vec<_>>();
    assert_eq!(
        (history("lift-2/e_bike"), history("lift-1/low"), history("nobody/none")),
        (vec![2], vec![1], vec![])
    );
    store.close().await.unwrap();
    let recovered = EventStore::open(&settings).unwrap().1.alarms;
    let found = recovered.iter().find(|memory| memory.key == shelved).unwrap();
    assert_eq!(found.overlay.shelf.as_deref(), Some(&hold), "it outlives a restart");
}

#[tokio::test]
async fn a_limit_never_hides_what_is_urgent_and_says_what_it_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    for n in 0..7 {
        store
            .commit(transition(&mut chain, &key(&format!("space-{n}"), "low"), Raised, Low, &[]))
            .await
            .unwrap();
    }
    let newest = key("lift-1", "trapped");
    store.commit(transition(&mut chain, &newest, Raised, Critical, &[])).await.unwrap();
    let reader = Reader::open(&settings.dir).unwrap();
    let space = |device: &str| Some(device.to_owned());
    for (fact, closed, device, limit, first, (rows, left_out)) in [
        ("open", false, None, 3, "lift-1", (3, 5)),
        ("open, room for all", false, None, 8, "lift-1", (8, 0)),
        ("all", true, None, 3, "lift-1", (3, 5)),
        ("all, exactly as many as there are", true, None, 8, "lift-1", (8, 0)),
        ("one device's", true, space("space-2"), 1, "space-2", (1, 0)),
    ] {
        let found = reader.alarms(&AlarmFilter { closed, device, limit }).unwrap();
        assert_eq!(found.rows[0].device, first, "{fact}");
        assert_eq!((found.rows.len(), found.left_out), (rows, left_out), "{fact}");
    }
}

#[tokio::test]
async fn whoever_changes_an_event_breaks_the_chain_there() {
    let made = || async {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let (store, new) = EventStore::open(&settings).unwrap();
        let mut chain = Chain::from(&new);
        for _ in 0..5 {
            let commit = transition(&mut chain, &key("lift-1", "door_fault"), Raised, Low, &[]);
            store.commit(commit).await.unwrap();
        }
        store.close().await.unwrap();
        (dir, settings.dir)
    };
    for (fact, sql, seq) in [
        ("untouched", "", None),
        (
            "a record changed",
            "UPDATE event SET record = replace(CAST(record AS TEXT), 'lift-1', 'lift-2') WHERE seq = 3",
            Some(3),
        ),
        ("one taken out", "DELETE FROM event WHERE seq = 2", Some(2)),
        ("the first taken out", "DELETE FROM event WHERE seq = 1", Some(1)),
        ("the last taken out", "DELETE FROM event WHERE seq = 5", Some(5)),
        ("the end moved back too", "DELETE FROM event WHERE seq = 5; UPDATE meta SET last_seq = 4", Some(5)),
        ("all taken out", "DELETE FROM event", Some(1)),
        (
            "two exchanged",
            "UPDATE event SET seq = -seq WHERE seq IN (2, 3); UPDATE event SET seq = 5 + seq WHERE seq < 0",
            Some(2),
        ),
    ] {
        let (_keep, dir) = made().await;
        let conn = Connection::open(dir.join("events.db")).unwrap();
        // STRICT tables do not take text for a blob.
        conn.execute_batch(&sql.replace(
            "replace(CAST(record AS TEXT), 'lift-1', 'lift-2')",
            "CAST(replace(CAST(record AS TEXT), 'lift-1', 'lift-2') AS BLOB)",
        ))
        .unwrap();
        let verdict = Reader::open(&dir).unwrap().verify_chain().unwrap();
        assert_eq!(verdict.err().map(|broken| broken.place), seq.map(Place::Event), "{fact}");
    }
}

#[tokio::test]
async fn a_store_where_nothing_was_stored_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(StoreError::Missing { .. })));
    assert!(matches!(TelemetryReader::open(dir.path()), Err(StoreError::Missing { .. })));
    Connection::open(dir.path().join("events.db")).unwrap().execute_batch("VACUUM").unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(StoreError::Missing { .. })), "an empty file");
}

#[test]
fn what_cannot_be_seen_is_not_taken_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Reader::open(&file), Err(StoreError::Io { .. })), "not a directory");
    let missing = Reader::open(dir.path()).unwrap_err().text();
    assert_eq!(missing.en, format!("nothing was ever stored in {}", dir.path().display()));
}

#[test]
fn permission_troubles_say_who_may() {
    for (fact, access, en, zh) in [
        (
            "reading",
            Access::Read,
            "this user may not read s/events.db: run as a member of group gatehouse",
            "当前用户无权读取 s/events.db：请用 gatehouse 组的用户运行",
        ),
        (
            "writing",
            Access::Write,
            "this user may not write s/events.db: run as user gatehouse (sudo -u gatehouse)",
            "当前用户无权写入 s/events.db：请用 gatehouse 用户运行（sudo -u gatehouse）",
        ),
    ] {
        let denied = std::io::ErrorKind::PermissionDenied.into();
        let error = StoreError::io("open", Path::new("s/events.db"), access, denied);
        assert!(matches!(error, StoreError::NotPermitted { .. }), "{fact}");
        assert_eq!((&error.text().en[..], &error.text().zh[..]), (en, zh), "{fact}");
    }
}

#[tokio::test]
async fn readers_read_while_the_writer_writes_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let reader = Reader::open(&settings.dir).unwrap();
    for seq in 1..=3 {
        store.commit(transition(&mut chain, &key("a", "b"), Raised, Low, &[])).await.unwrap();
        assert_eq!(reader.verify_chain().unwrap().unwrap().last_seq, seq, "seen at once");
    }
    let refused = reader.conn().execute("DELETE FROM event WHERE seq = ?1", params![1]);
    assert!(refused.is_err());
}
