//! Damaged pages of real files: what can be read is saved, what cannot is counted, and alarms go on meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::store::{
    EventStore, File, Receipted, Scribe, StoreError, StoreState, UploadCursor,
    privacy::{OuterKey, Privacy},
};

use Priority::{Critical, High};
use TransitionKind::{Raised, Returned};

const OFFICE: &str = "safety-inspection";
const LETTERS: usize = 240;
const PAGE: u64 = 4096;

/// A store with delivered and undelivered letters of several alarms, some of them longer than a page, closed. The undelivered.
async fn filled(settings: &Settings) -> BTreeMap<String, Arc<[u8]>> {
    let (store, new) = EventStore::open(settings).unwrap();
    let mut chain = Chain::from(&new);
    let mut waiting = BTreeMap::new();
    for n in 0..LETTERS {
        let key = key(&format!("lift-{}", n % 40), "passenger_trapped");
        let mut commit = transition(&mut chain, &key, Raised, Critical, &[OFFICE]);
        for letter in &mut commit.letters {
            letter.body = Arc::from(body(letter, if n % 20 == 0 { 9000 } else { 1200 }));
            waiting.insert(letter.event_id.clone(), Arc::clone(&letter.body));
        }
        store.commit(commit).await.unwrap();
    }
    for _ in 0..LETTERS / 4 {
        let letter = store.claim(&OFFICE.into(), Vec::new()).await.unwrap().unwrap();
        waiting.remove(&letter.event_id);
        let receipt = Receipted { at: at("2026-11-23T07:00:00Z"), status: 200, said: String::new() };
        store.settle(letter.row, receipt).await.unwrap();
    }
    store.close().await.unwrap();
    waiting
}

fn body(letter: &Letter, length: usize) -> Vec<u8> {
    let body = serde_json::json!({
        "id": letter.event_id, "gatehouseseq": letter.seq,
        "data": { "alarm": { "priority": "critical" }, "padding": "x".repeat(length) },
    });
    serde_json::to_vec(&body).unwrap()
}

/// Starts on the damaged file and waits until what can be saved is; what is then to be delivered, and the counts.
async fn saved(settings: &Settings, at_once: u64) -> (BTreeMap<String, Arc<[u8]>>, u64, u64) {
    let started = Instant::now();
    let (store, recovered) = EventStore::open_saving(settings, at_once).unwrap();
    let mut chain = Chain::from(&recovered);
    let fresh = Arc::new(transition(&mut chain, &key("new", "fire"), Raised, Critical, &["police"]));
    // Whether the salvage is still going on or not: the alarm goes.
    if store.commit(Arc::clone(&fresh)).await.is_err() {
        store.hold(Arc::clone(&fresh), fresh.letters.clone()).await.unwrap();
    }
    assert!(store.claim(&"police".into(), Vec::new()).await.unwrap().is_some());
    let condition = loop {
        let condition = store.tend().await.unwrap();
        if condition.state == StoreState::Sound {
            break condition;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{condition:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut found = BTreeMap::new();
    while let Some(letter) = store.claim(&OFFICE.into(), Vec::new()).await.unwrap() {
        let receipt = Receipted { at: at("2026-11-23T07:00:00Z"), status: 200, said: String::new() };
        store.settle(letter.row, receipt).await.unwrap();
        found.insert(letter.event_id, letter.body);
    }
    store.commit(transition(&mut chain, &key("new", "fire"), Returned, High, &[])).await.unwrap();
    store.close().await.unwrap();
    let verified = crate::store::Reader::open(&settings.dir).unwrap().verify_chain().unwrap().unwrap();
    assert_eq!(verified.last_seq, chain.seq);
    assert!(condition.findings.broken);
    (found, condition.findings.salvaged, condition.findings.unreadable)
}

fn spoil(settings: &Settings, pages: &[u64]) {
    let file = fs::OpenOptions::new().write(true).open(settings.dir.join("events.db")).unwrap();
    let mut noise = [0; PAGE as usize];
    for page in pages {
        getrandom::fill(&mut noise).unwrap();
        file.write_all_at(&noise, (page - 1) * PAGE).unwrap();
    }
}

#[tokio::test]
async fn every_letter_that_can_be_read_is_saved_with_its_id_and_the_others_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let whole = settings(dir.path());
    let waiting = filled(&whole).await;
    let pages = fs::metadata(whole.dir.join("events.db")).unwrap().len() / PAGE;
    let spread = |start: u64| (start..=pages).step_by(13).collect::<Vec<_>>();
    // The first pages are the header and the roots of all tables: rows do not stand there.
    let roots: Vec<u64> = (1..=8).collect();
    let (at_once, behind) = (u64::MAX, 0);
    for (fact, spoilt, when, least) in [
        ("the header", vec![1], behind, 1.0),
        ("the header, before the start goes on", vec![1], at_once, 1.0),
        ("header and roots", roots, behind, 0.98),
        ("pages all over it", spread(9), behind, 0.8),
        ("other pages", spread(14), at_once, 0.8),
    ] {
        let damaged = Settings { dir: dir.path().join(fact), ..whole.clone() };
        fs::create_dir(&damaged.dir).unwrap();
        for name in ["events.db", "events.mark"] {
            fs::copy(whole.dir.join(name), damaged.dir.join(name)).unwrap();
        }
        spoil(&damaged, &spoilt);
        let (found, salvaged, unreadable) = saved(&damaged, when).await;
        let right = found.iter().filter(|(id, body)| waiting.get(*id) == Some(body)).count();
        assert!(right as f64 >= least * waiting.len() as f64, "{fact}: {right} of {}", waiting.len());
        assert!(
            found.iter().all(|(id, body)| waiting.get(id).is_none_or(|known| known == body)),
            "{fact}: none was changed"
        );
        assert_eq!(found.len() as u64, salvaged, "{fact}: as it was told");
        let lost = (waiting.len() - right) as u64;
        assert!(unreadable >= lost, "{fact}: {lost} are lost, {unreadable} were told");
        assert!(damaged.dir.join("events.db.damaged-1").exists(), "{fact}: it is kept");
    }
}

/// What the router does: the body is made from the record.
fn scribe() -> Scribe {
    Arc::new(|sealed| {
        let mut letter = letter(sealed, OFFICE);
        letter.body = Arc::from(body(&letter, 1200));
        vec![letter]
    })
}

/// As a bit that flipped on the disk, in the letter with this row.
fn flip(settings: &Settings, row: i64) {
    let conn = rusqlite::Connection::open(settings.dir.join("events.db")).unwrap();
    let body = "SELECT body FROM body WHERE row = ?1";
    let mut body: Vec<u8> = conn.query_row(body, [row], |row| row.get(0)).unwrap();
    let middle = body.len() / 2;
    body[middle] ^= 1; // within the padding: it is JSON as before
    conn.execute("UPDATE body SET body = ?2 WHERE row = ?1", rusqlite::params![row, body]).unwrap();
}

fn rows(settings: &Settings, which: &str) -> Vec<(i64, i64)> {
    let conn = rusqlite::Connection::open(settings.dir.join("events.db")).unwrap();
    let mut rows = conn.prepare(&format!("SELECT row, seq FROM outbox WHERE {which} ORDER BY row")).unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// Everything that is offered, delivered.
async fn delivered(store: &EventStore) -> BTreeMap<String, Arc<[u8]>> {
    let mut delivered = BTreeMap::new();
    while let Some(letter) = store.claim(&OFFICE.into(), Vec::new()).await.unwrap() {
        let receipt = Receipted { at: at("2026-11-23T07:00:00Z"), status: 200, said: String::new() };
        store.settle(letter.row, receipt).await.unwrap();
        delivered.insert(letter.event_id, letter.body);
    }
    delivered
}

#[tokio::test]
async fn a_letter_damaged_within_a_sound_page_is_made_anew_from_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let waiting = filled(&settings).await;
    let (row, _) = rows(&settings, "state = 'queued' AND row % 20 = 2")[0]; // one of 1200
    flip(&settings, row);
    let (store, _) = EventStore::open_or_go_without(&settings).unwrap();
    store.remake_by(scribe()).await.unwrap();
    assert_eq!(delivered(&store).await, waiting, "to the byte");
    let condition = store.tend().await.unwrap();
    assert_eq!((condition.findings.broken, condition.findings.unreadable), (true, 0), "a person is told");
    assert_eq!(condition.losses, []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_letter_that_cannot_be_made_anew_is_set_aside_and_told_and_holds_up_nobody() {
    for fact in ["nobody can write it", "its event is damaged too", "it went out once in other words"] {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let waiting = filled(&settings).await;
        let (row, seq) = rows(&settings, "state = 'queued' AND row % 20 = 1")[0]; // one of 9000: other words
        flip(&settings, row);
        let conn = rusqlite::Connection::open(settings.dir.join("events.db")).unwrap();
        match fact {
            "its event is damaged too" => {
                conn.execute("UPDATE event SET record = CAST('{}' AS BLOB) WHERE seq = ?1", [seq]).unwrap()
            }
            "it went out once in other words" => {
                conn.execute("UPDATE outbox SET attempts = 1 WHERE row = ?1", [row]).unwrap()
            }
            _ => 0,
        };
        drop(conn);
        let (store, _) = EventStore::open_or_go_without(&settings).unwrap();
        if fact != "nobody can write it" {
            store.remake_by(scribe()).await.unwrap();
        }
        let delivered = delivered(&store).await;
        assert_eq!(delivered.len(), waiting.len() - 1, "{fact}");
        assert!(delivered.iter().all(|(id, body)| waiting[id] == *body), "{fact}");
        let condition = store.tend().await.unwrap();
        assert_eq!((condition.findings.broken, condition.findings.unreadable), (true, 1), "{fact}");
        let [told] = &condition.losses[..] else { panic!("{fact}: {:?}", condition.losses) };
        assert_eq!((told.loss.first_seq as i64, told.loss.count), (seq, 1), "{fact}");
        store.close().await.unwrap();
        assert_eq!(rows(&settings, "state = 'set_aside'"), [(row, seq)], "{fact}");
    }
}

/// A platform's own words may begin as JSON does and be none.
#[tokio::test]
async fn a_letter_in_a_platforms_own_words_is_whole_whatever_it_begins_with() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut commit = transition(&mut Chain::from(&new), &key("a", "b"), Raised, High, &[OFFICE]);
    let body: Arc<[u8]> = Arc::from(&b"{{ALARM}} lift-1"[..]);
    commit.letters[0].body = Arc::clone(&body);
    store.commit(commit).await.unwrap();
    store.close().await.unwrap();
    spoil(&settings, &[1]);
    let (store, _) = EventStore::open_saving(&settings, u64::MAX).unwrap();
    assert_eq!(delivered(&store).await.into_values().collect::<Vec<_>>(), [body], "salvaged, and offered");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_salvage_that_was_cut_off_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let waiting = filled(&settings).await;
    spoil(&settings, &[1]);
    // as a kill leaves it: renamed, and a new file begun
    fs::rename(settings.dir.join("events.db"), settings.dir.join("events.db.salvaging")).unwrap();
    fs::write(settings.dir.join("events.db.new"), "half").unwrap();
    let (found, salvaged, _) = saved(&settings, 0).await;
    assert_eq!((found.len(), salvaged), (waiting.len(), waiting.len() as u64));
}

#[tokio::test]
async fn what_memory_held_at_the_end_before_joins_what_is_saved() {
    for at_once in [u64::MAX, 0] {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let (store, found) = EventStore::open(&settings).unwrap();
        let mut chain = Chain::from(&found);
        let door = key("lift-1", "door_fault");
        store.commit(transition(&mut chain, &door, Raised, High, &[OFFICE])).await.unwrap();
        store.close().await.unwrap();
        let (store, _) = EventStore::open(&settings).unwrap();
        store.fail(|| StoreError::Damaged { file: File::Events, what: "a page".to_owned() }).await;
        let held = Arc::new(transition(&mut chain, &door, Returned, High, &[OFFICE]));
        store.hold(Arc::clone(&held), held.letters.clone()).await.unwrap();
        store.close().await.unwrap();
        spoil(&settings, &[1]);
        let (found, salvaged, _) = saved(&settings, at_once).await;
        assert_eq!((found.len(), salvaged), (2, 1));
        assert!(found.contains_key(&held.events[0].event.id));
    }
}

#[tokio::test]
async fn keys_how_far_readings_went_and_the_forms_of_letters_are_saved_too() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    filled(&settings).await;
    let keys = async |store: &EventStore| {
        let privacy = Arc::new(Privacy::new(OuterKey::load_or_make(&dir.path().join("key")).unwrap()));
        let now = Some(at("2026-11-23T07:00:00Z"));
        store.tend_private_keys(&privacy, now, "30d".parse().unwrap()).await.unwrap();
        privacy
    };
    let (store, recovered) = EventStore::open(&settings).unwrap();
    let mut commit =
        transition(&mut Chain::from(&recovered), &key("gate", "forced"), Raised, High, &["city"]);
    commit.letters[0].content_type = Some("text/plain".to_owned());
    store.commit(commit).await.unwrap();
    let went = UploadCursor { since: 1_000, until: 3_000, device: "lift-1".to_owned(), at: 2_000, number: 7 };
    store.set_upload_cursor(&"city".into(), went.clone()).await.unwrap();
    let person = Value::from("张伟");
    let sealed = keys(&store).await.seal(&person).unwrap();
    store.close().await.unwrap();
    spoil(&settings, &[1]);

    let (store, _) = EventStore::open_saving(&settings, u64::MAX).unwrap();
    let condition = store.tend().await.unwrap();
    assert_eq!((condition.state, condition.findings.broken), (StoreState::Sound, true));
    let letter = store.claim(&"city".into(), Vec::new()).await.unwrap().unwrap();
    assert_eq!(letter.content_type.as_deref(), Some("text/plain"));
    assert_eq!(store.upload_cursor(&"city".into()).await.unwrap(), Some(went));
    assert_eq!(keys(&store).await.open(&sealed), Some(person));
    store.close().await.unwrap();
}
