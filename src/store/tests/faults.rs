//! The disk fails under the store: alarms go from memory, are stored later under the same ids, and what cannot be is known.

use std::{fs, sync::Arc};

use rusqlite::{Connection, ffi};

use super::*;
use crate::store::{
    Backlog, Condition, EventStore, File, LetterFilter, LetterState, Reader, Receipted, StoreError,
    StoreState, condition::Findings,
};

use Priority::{Critical, High, Low};
use TransitionKind::{Closed, Raised, Returned};

const OFFICE: &str = "safety-inspection";

fn sqlite(code: i32) -> StoreError {
    let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
    StoreError::Sqlite { file: File::Events, source }
}

fn read_only() -> StoreError {
    sqlite(ffi::SQLITE_READONLY)
}

fn fsync_failed() -> StoreError {
    sqlite(ffi::SQLITE_IOERR_FSYNC)
}

fn receipt() -> Receipted {
    Receipted { at: at("2026-11-23T07:00:00Z"), status: 200, said: String::new() }
}

async fn claim(store: &EventStore) -> Option<Letter> {
    store.claim(&OFFICE.into(), Vec::new()).await.unwrap()
}

/// What the pipeline does: stored if it can be, else held.
async fn commit_or_hold(store: &EventStore, commit: Commit) -> bool {
    let commit = Arc::new(commit);
    match store.commit(Arc::clone(&commit)).await {
        Ok(()) => true,
        Err(_) => {
            let letters = commit.letters.clone();
            store.hold(commit, letters).await.unwrap();
            false
        }
    }
}

/// (event id, state, attempts) of every letter on the disk, and whether the chain is whole.
fn on_disk(settings: &Settings) -> Vec<(String, String, i64)> {
    assert!(Reader::open(&settings.dir).unwrap().verify_chain().unwrap().is_ok());
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let mut letters = conn.prepare("SELECT event_id, state, attempts FROM outbox ORDER BY row").unwrap();
    let letters = letters.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    letters.map(Result::unwrap).collect()
}

struct Stage {
    store: EventStore,
    settings: Settings,
    chain: Chain,
    _dir: tempfile::TempDir,
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open_or_go_without(&settings).unwrap();
    Stage { store, settings, chain: Chain::from(&new), _dir: dir }
}

#[tokio::test]
async fn what_cannot_be_stored_goes_from_memory_in_order_and_is_stored_once_later() {
    let Stage { store, settings, mut chain, _dir } = stage();
    let (door, fire) = (key("lift-1", "door_fault"), key("lift-2", "fire"));
    assert!(commit_or_hold(&store, transition(&mut chain, &door, Raised, High, &[OFFICE])).await);
    store.fail(read_only).await;
    for (key, kind, priority) in [(&door, Returned, High), (&fire, Raised, Critical)] {
        assert!(!commit_or_hold(&store, transition(&mut chain, key, kind, priority, &[OFFICE])).await);
    }
    let condition = store.tend().await.unwrap();
    assert_eq!((condition.state, condition.volatile), (StoreState::Away, 2));
    let backlog = store.backlog().await.unwrap();
    assert_eq!(backlog[OFFICE], Backlog { queued: 3, set_aside: 0 }, "in the file and in memory");

    // the urgent one first; of the door what is on the disk before what is in memory
    let first = claim(&store).await.unwrap();
    assert_eq!((first.seq, first.row < 0), (3, true));
    store.settle(first.row, receipt()).await.unwrap();
    let second = claim(&store).await.unwrap();
    assert_eq!((second.seq, second.row), (1, 1));
    store.settle(second.row, receipt()).await.unwrap();
    let third = claim(&store).await.unwrap();
    assert_eq!((third.seq, third.row < 0), (2, true));
    let busy = Hindrance::new(HindranceKind::Busy, Text::new("答 503", "answered 503"));
    let (tried, next_at) = (at("2026-11-23T07:00:00Z"), at("2026-11-23T07:00:01Z"));
    store.put_off(third.row, busy, tried, next_at).await.unwrap();

    store.hasten().await;
    let condition = store.tend().await.unwrap();
    assert_eq!((condition.state, condition.volatile), (StoreState::Sound, 0));
    let filter = LetterFilter { state: Some(LetterState::Queued), limit: 9, ..LetterFilter::default() };
    let [waiting] = &Reader::open(&settings.dir).unwrap().letters(&filter).unwrap()[..] else {
        panic!("one waits")
    };
    assert_eq!((waiting.seq, waiting.tried_at, waiting.next_at), (2, Some(tried), Some(next_at)));
    assert_eq!(
        (waiting.hindrance.as_deref(), &waiting.last_error.as_ref().unwrap().zh[..]),
        (Some("busy"), "答 503")
    );
    // a courier that still has the letter of memory in hand settles the one on the disk
    store.settle(third.row, receipt()).await.unwrap();
    assert_eq!(claim(&store).await, None);
    let again = commit_or_hold(&store, transition(&mut chain, &fire, Closed, Critical, &[OFFICE])).await;
    assert!(again, "the chain goes on where memory left it");
    store.close().await.unwrap();
    let expected = [
        (second.event_id, "delivered".to_owned(), 1),
        (third.event_id, "delivered".to_owned(), 2),
        (first.event_id, "delivered".to_owned(), 1),
    ];
    assert_eq!(on_disk(&settings)[..3], expected);
    assert_eq!(on_disk(&settings).len(), 4);
}

#[tokio::test]
async fn where_a_letter_went_is_forgotten_once_it_is_settled_there() {
    let Stage { store, settings, mut chain, _dir } = stage();
    let door = key("lift-1", "door_fault");
    store.fail(read_only).await;
    for kind in [Raised, Returned] {
        commit_or_hold(&store, transition(&mut chain, &door, kind, High, &[OFFICE])).await;
    }
    let held = claim(&store).await.unwrap();
    store.hasten().await;
    store.tend().await.unwrap();
    assert_eq!(store.moved().await, 2);
    store.settle(held.row, receipt()).await.unwrap();
    assert_eq!(store.moved().await, 1, "by the number that its courier knew");
    let second = claim(&store).await.unwrap();
    assert!(second.row > 0);
    store.settle(second.row, receipt()).await.unwrap();
    assert_eq!(store.moved().await, 0, "and by the one it has now");
    store.close().await.unwrap();
    assert!(on_disk(&settings).iter().all(|(_, state, _)| state == "delivered"));
}

#[tokio::test]
async fn after_a_failed_fsync_the_next_start_stores_what_memory_held() {
    let Stage { store, settings, mut chain, _dir } = stage();
    let door = key("lift-1", "door_fault");
    commit_or_hold(&store, transition(&mut chain, &door, Raised, High, &[OFFICE])).await;
    store.fail(fsync_failed).await;
    let refused = store.commit(transition(
        &mut Chain { epoch: chain.epoch.clone(), ..chain },
        &door,
        Returned,
        High,
        &[],
    ));
    assert!(matches!(refused.await, Err(StoreError::Failed { .. })));
    let mut last = transition(&mut chain, &door, Returned, High, &[OFFICE, "police"]);
    last.letters[1].content_type = Some("text/plain".to_owned());
    commit_or_hold(&store, last).await;
    store.hasten().await;
    assert_eq!(
        store.tend().await.unwrap().state,
        StoreState::Leaving,
        "never tried again on the same handle"
    );
    let sent = claim(&store).await.unwrap();
    store.settle(sent.row, receipt()).await.unwrap();
    store.close().await.unwrap();

    let (store, found) = EventStore::open_or_go_without(&settings).unwrap();
    assert_eq!((found.epoch, found.last_seq, found.last_hash), (chain.epoch.clone(), 2, chain.hash));
    assert_eq!(found.alarms, [memory(&door, Some(AlarmState::ReturnedUnacknowledged))]);
    assert_eq!(store.tend().await.unwrap().findings, Findings::default(), "nothing is missing");
    assert!(!settings.dir.join("events.held").exists());
    let police = store.claim(&"police".into(), Vec::new()).await.unwrap().unwrap();
    assert_eq!((police.seq, police.content_type.as_deref()), (2, Some("text/plain")));
    store.close().await.unwrap();
    let states: Vec<_> = on_disk(&settings).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, ["queued", "delivered", "queued"]);
}

#[tokio::test]
async fn a_disk_that_keeps_failing_is_stayed_with() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    for round in 1..=4 {
        let (store, found) = EventStore::open_or_go_without(&settings).unwrap();
        let mut chain = Chain::from(&found);
        store.fail(fsync_failed).await;
        let state = store.tend().await.unwrap().state;
        assert_eq!(
            state,
            if round < 4 { StoreState::Leaving } else { StoreState::Failing },
            "failure {round}"
        );
        commit_or_hold(&store, transition(&mut chain, &key("a", "b"), Raised, High, &[OFFICE])).await;
        if round == 4 {
            store.hasten().await;
            assert_eq!(store.tend().await.unwrap().state, StoreState::Sound, "it is tried now and then");
        }
        store.close().await.unwrap();
        assert_eq!(on_disk(&settings).len() + usize::from(round < 4), round);
    }
}

#[tokio::test]
async fn a_commit_that_reached_the_disk_after_all_is_not_doubled() {
    let Stage { store, settings, mut chain, _dir } = stage();
    let door = key("lift-1", "door_fault");
    let raised = Arc::new(transition(&mut chain, &door, Raised, High, &[OFFICE]));
    store.commit(Arc::clone(&raised)).await.unwrap();
    // the disk lied: what it refused is there
    store.fail(read_only).await;
    store.hold(Arc::clone(&raised), raised.letters.clone()).await.unwrap();
    let sent = claim(&store).await.unwrap();
    store.settle(sent.row, receipt()).await.unwrap();
    store.hasten().await;
    assert_eq!(store.tend().await.unwrap().state, StoreState::Sound);
    store.commit(transition(&mut chain, &door, Returned, High, &[])).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(on_disk(&settings).len(), 1);
}

/// What was found at a start.
async fn found(settings: &Settings) -> (Condition, Recovered) {
    let (store, recovered) = EventStore::open_or_go_without(settings).unwrap();
    let condition = store.tend().await.unwrap();
    store.close().await.unwrap();
    (condition, recovered)
}

#[tokio::test]
async fn a_store_that_is_not_the_last_one_is_never_taken_for_it() {
    for (fact, kept, missing) in [("removed", 0, 5), ("replaced by an older one", 2, 3)] {
        let Stage { store, settings, mut chain, _dir } = stage();
        let db = settings.dir.join("events.db");
        let mut store = store;
        for n in 1..=5 {
            store.commit(transition(&mut chain, &key("a", "b"), Raised, High, &[OFFICE])).await.unwrap();
            if n == kept {
                store.close().await.unwrap();
                fs::copy(&db, settings.dir.join("older")).unwrap();
                store = EventStore::open(&settings).unwrap().0;
            }
        }
        store.close().await.unwrap();
        fs::remove_file(&db).unwrap();
        if kept > 0 {
            fs::rename(settings.dir.join("older"), &db).unwrap();
        }
        let (condition, recovered) = found(&settings).await;
        assert_eq!((condition.findings.broken, condition.findings.missing), (true, missing), "{fact}");
        assert!(recovered.epoch != chain.epoch && recovered.last_seq == 5, "{fact}: no number is used twice");
        let losses: Vec<Loss> = condition.losses.into_iter().map(|untold| untold.loss).collect();
        let [loss] = &losses[..] else { panic!("{fact}: {losses:?}") };
        assert_eq!((loss.first_seq, loss.last_seq, loss.count), (kept as u64 + 1, 5, missing), "{fact}");
        let (condition, again) = found(&settings).await;
        assert_eq!((condition.findings, again.epoch), (Findings::default(), recovered.epoch), "{fact}: once");
    }
}

#[tokio::test]
async fn a_log_that_was_taken_away_after_a_kill_is_missed() {
    let Stage { store, settings, mut chain, _dir } = stage();
    for _ in 0..3 {
        store.commit(transition(&mut chain, &key("a", "b"), Raised, High, &[OFFICE])).await.unwrap();
    }
    // as a kill leaves it: the store is open, its files are copied
    let copied = Settings { dir: settings.dir.with_extension("copied"), ..settings.clone() };
    fs::create_dir(&copied.dir).unwrap();
    for name in ["events.db", "events.mark"] {
        fs::copy(settings.dir.join(name), copied.dir.join(name)).unwrap();
    }
    let (condition, _) = found(&copied).await;
    assert_eq!((condition.findings.broken, condition.findings.missing), (true, 3));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_file_taken_away_while_it_is_in_use_is_put_back_whole() {
    for fact in ["removed", "its log removed", "replaced", "with its directory"] {
        let Stage { store, settings, mut chain, _dir } = stage();
        for _ in 0..3 {
            store.commit(transition(&mut chain, &key("a", "b"), Raised, High, &[OFFICE])).await.unwrap();
        }
        assert_eq!(store.tend().await.unwrap().findings, Findings::default(), "{fact}");
        let db = settings.dir.join("events.db");
        match fact {
            "removed" => fs::remove_file(&db).unwrap(),
            "its log removed" => fs::remove_file(settings.dir.join("events.db-wal")).unwrap(),
            "replaced" => {
                fs::write(settings.dir.join("other"), "another").unwrap();
                fs::rename(settings.dir.join("other"), &db).unwrap();
            }
            _ => fs::remove_dir_all(&settings.dir).unwrap(),
        }
        let condition = store.tend().await.unwrap();
        assert_eq!(condition.state, StoreState::Sound, "{fact}: {condition:?}");
        assert!(condition.findings.broken && condition.findings.missing == 0, "{fact}");
        store.commit(transition(&mut chain, &key("a", "b"), Returned, High, &[OFFICE])).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(on_disk(&settings).len(), 4, "{fact}");
    }
}

#[tokio::test]
async fn room_is_made_in_order_and_every_row_that_goes_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { events_max: Size(512 << 10), ..settings(dir.path()) };
    let (store, new) = EventStore::open(&small).unwrap();
    let mut chain = Chain::from(&new);
    let (light, lift) = (key("lamp", "lamp_fault"), key("lift", "passenger_trapped"));
    let fill = async |chain: &mut Chain, key: &AlarmKey, priority, count: usize| {
        let mut stored = 0;
        for _ in 0..count {
            let mut next = Chain { epoch: chain.epoch.clone(), ..*chain };
            let commit = transition(&mut next, key, Raised, priority, &[OFFICE]);
            if store.commit(commit).await.is_err() {
                break;
            }
            (*chain, stored) = (next, stored + 1);
        }
        stored
    };
    // delivered ones, urgent ones that wait, then what is not urgent until nothing more of it is taken
    let door = key("lift", "door_fault");
    for kind in [Raised, Closed, Raised, Closed] {
        store.commit(transition(&mut chain, &door, kind, High, &[OFFICE])).await.unwrap();
    }
    for row in 1..=4 {
        store.settle(row, receipt()).await.unwrap();
    }
    let urgent = fill(&mut chain, &lift, Critical, 30).await;
    let idle = fill(&mut chain, &light, Low, 5000).await;
    assert!(idle > 20, "{idle}");
    let mut losses = Vec::new();
    for _ in 0..50 {
        let condition = store.tend().await.unwrap();
        losses = condition.losses;
        if condition.used_percent < 90.0 {
            break;
        }
    }
    let count = |reason| -> u64 {
        let alike = losses.iter().filter(|untold| untold.loss.reason == reason);
        alike.map(|untold| untold.loss.count).sum()
    };
    let (retired, coalesced) = (count(LossReason::Retired), count(LossReason::Coalesced));
    let conn = Connection::open(small.dir.join("events.db")).unwrap();
    let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM outbox WHERE state = 'queued' AND priority = 0"), urgent as i64);
    let left = one("SELECT count(*) FROM outbox WHERE priority = 3") as u64;
    assert_eq!(coalesced + left, idle as u64, "of what is not urgent");
    assert!(coalesced > 0 && left >= 2, "never the first nor the latest: {left}");
    let events = one("SELECT count(*) FROM event") as u64;
    assert!(retired > 0 && retired + events == chain.seq, "of delivered events: {retired} + {events}");
    assert!(Reader::open(&small.dir).unwrap().verify_chain().unwrap().is_ok(), "from where it begins now");
    assert!(fill(&mut chain, &light, Low, 1).await == 1, "there is room again");

    let told: Vec<i64> = losses.iter().map(|untold| untold.number).collect();
    store.commit(Commit { told_losses: told, ..Commit::default() }).await.unwrap();
    assert_eq!(store.tend().await.unwrap().losses, [], "told once");
    store.close().await.unwrap();
}

#[tokio::test]
async fn limits_that_do_not_fit_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let large = Settings { events_max: Size(1 << 49), ..settings(dir.path()) };
    fs::create_dir(&large.dir).unwrap();
    let Err(refused @ StoreError::TooLarge { .. }) = EventStore::open_or_go_without(&large).map(drop) else {
        panic!("it was taken")
    };
    assert!(refused.text().en.contains("Lower events_max or telemetry_max"), "{refused}");
    assert!(!large.dir.join("events.db").exists(), "nothing was touched");
}

#[tokio::test]
async fn an_alarm_that_was_raised_anew_while_the_store_could_not_be_read_is_known_twice() {
    let Stage { store, settings, mut chain, _dir } = stage();
    let door = key("lift-1", "door_fault");
    store.commit(transition(&mut chain, &door, Raised, High, &[OFFICE])).await.unwrap();
    store.close().await.unwrap();
    // a directory in its place: nobody can read it, and nobody takes it for damaged
    let (db, away) = (settings.dir.join("events.db"), settings.dir.join("away"));
    fs::rename(&db, &away).unwrap();
    fs::create_dir(&db).unwrap();
    let (store, blind) = EventStore::open_or_go_without(&settings).unwrap();
    assert_eq!(store.tend().await.unwrap().state, StoreState::Away);
    assert!(blind.alarms.is_empty() && blind.epoch != chain.epoch && blind.last_seq == 1);
    let mut anew = Chain::from(&blind);
    let mut commit = transition(&mut anew, &door, Raised, High, &[OFFICE]);
    let mut event = commit.events[0].event.clone();
    event.alarm.occurrence = "another".into();
    commit.events = vec![evidence::seal(event, blind.last_hash).unwrap()];
    commit.alarms[0].occurrence = Some("another".into());
    assert!(!commit_or_hold(&store, commit).await);

    fs::remove_dir(&db).unwrap();
    fs::rename(&away, &db).unwrap();
    store.hasten().await;
    assert_eq!(
        store.tend().await.unwrap().state,
        StoreState::Leaving,
        "it starts anew with what stands there"
    );
    store.close().await.unwrap();
    let (store, found) = EventStore::open_or_go_without(&settings).unwrap();
    assert_eq!(found.superseded, [occurrence(&door)]);
    assert_eq!((found.last_seq, found.epoch), (2, blind.epoch));
    assert_eq!(found.alarms[0].occurrence.as_deref(), Some("another"));
    store.close().await.unwrap();
    assert_eq!(on_disk(&settings).len(), 2);
}
