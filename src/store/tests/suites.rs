//! SHA-256 and Ed25519, or SM3 and SM2, and the way from one to the other: whoever goes it without the key in force is found.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{
    chain::{all_edits_are_found, facts, key_of_the_box, lived, verified, witness},
    *,
};
use crate::{
    domain::Suite::{Guomi, International},
    store::{
        EventStore, Reader,
        chain::{BoxKey, BoxKeys, Broken, Fact, Place, Record, Verified, Witness},
        evidence::{digest, hex, link},
    },
};

fn verify(settings: &Settings, trusted: Option<&BoxKey>) -> Result<Verified, Broken> {
    Reader::open(&settings.dir).unwrap().verify(trusted.map(BoxKey::public)).unwrap()
}

/// Where a chain that does not hold breaks.
fn broken_at(settings: &Settings, trusted: Option<&BoxKey>) -> Place {
    verify(settings, trusted).expect_err("it holds").place
}

/// So many alarms each, one after the other.
async fn lived_by(suites: &[Suite], alarms: usize, dir: &Path) -> Settings {
    let mut settings = settings(dir);
    for suite in suites {
        settings.suite = *suite;
        lived(&settings, alarms).await;
    }
    settings
}

fn rows(conn: &Connection) -> Vec<(i64, Record, Hash)> {
    let mut rows = conn.prepare("SELECT n, record, hash FROM link ORDER BY n").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap)
        .map(|(n, record, hash)| (n, serde_json::from_slice(&record).unwrap(), hash))
        .collect()
}

#[tokio::test]
async fn a_site_of_guomi_has_nothing_else_from_its_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let settings = lived_by(&[Guomi], 4, dir.path()).await;
    let (ours, theirs) = (key_of_the_box(Guomi), key_of_the_box(International));
    let found = verify(&settings, Some(&ours)).unwrap();
    assert_eq!(found.algs.into_iter().collect::<Vec<_>>(), [Guomi]);
    assert_eq!(found.keys.seen.keys().collect::<Vec<_>>(), [&ours.id()]);
    assert_eq!((found.events, found.unsigned), (12, 0));
    assert!(matches!(broken_at(&settings, Some(&theirs)), Place::Link(_)));
    let (mut events, mut receipts) = (0, 0);
    for record in facts(&settings) {
        assert_eq!(record.alg, Guomi);
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("sha256"), "{text}");
        match record.fact {
            Fact::Event { event_alg, .. } => {
                assert_eq!(event_alg, Guomi);
                events += 1;
            }
            Fact::Receipt(_) => {
                assert!(text.contains(r#""said_sm3":""#), "{text}");
                receipts += 1;
            }
            _ => {}
        }
    }
    assert_eq!((events, receipts), (12, 12));
    all_edits_are_found(&settings, 60);
}

/// Nothing is hashed anew: the row that hands over is the last by the old one, the row behind it follows it by the new one.
#[tokio::test]
async fn a_site_goes_over_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = lived_by(&[International], 3, dir.path()).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let before = rows(&conn);
    let settings = lived_by(&[Guomi, International], 3, dir.path()).await;
    let now = rows(&conn);
    assert_eq!(before, now[..before.len()]);
    let [ours, theirs] = [International, Guomi].map(key_of_the_box);
    for trusted in [None, Some(&ours), Some(&theirs)] {
        let found = verify(&settings, trusted).unwrap();
        assert_eq!((found.events, found.unsigned, found.algs.len()), (27, 0, 2), "{trusted:?}");
    }
    let stranger = BoxKey::of_secret(Guomi, &[1; 32]).unwrap();
    assert!(matches!(broken_at(&settings, Some(&stranger)), Place::Link(_)));
    let switches: Vec<usize> =
        (0..now.len()).filter(|at| matches!(now[*at].1.fact, Fact::Switch { .. })).collect();
    assert_eq!(switches.len(), 2);
    for (at, [from, to]) in switches.iter().zip([[International, Guomi], [Guomi, International]]) {
        let [(_, _, prev), (_, switch, hash), (_, first, next)] = &now[at - 1..=at + 1] else { panic!() };
        let bytes = |record| serde_json::to_vec(record).unwrap();
        assert_eq!((switch.alg, first.alg), (from, to));
        assert_eq!(link(from, prev, &digest(from, &bytes(switch))), *hash);
        assert_eq!(link(to, hash, &digest(to, &bytes(first))), *next);
        assert!(
            matches!(now[at - 1].1.fact, Fact::Head { .. }),
            "an end by the key of before is the last before it"
        );
    }
    all_edits_are_found(&settings, 40);
}

/// Without the other key, or without the one that has to hand over, everything goes on as it was.
#[tokio::test]
async fn nobody_goes_over_without_both_keys() {
    for there in Suite::ALL {
        let dir = tempfile::tempdir().unwrap();
        let settings = lived_by(&[International], 1, dir.path()).await;
        let (store, _) = EventStore::open(&settings).unwrap();
        let keys: BoxKeys = [key_of_the_box(there)].into_iter().collect();
        let witness = Witness { keys, ..witness(&Arc::new(ManualClock::new()), Guomi) };
        store.attest(witness).await.unwrap();
        store.close().await.unwrap();
        let found = verified(&settings);
        assert_eq!(found.algs.into_iter().collect::<Vec<_>>(), [International], "{there:?}");
        let starts = facts(&settings).iter().filter(|record| record.fact.word() == "start").count();
        assert_eq!(starts, 2, "{there:?}: the start is told all the same");
        assert_eq!(found.unsigned > 0, there == Guomi, "{there:?}");
    }
}

/// Another process than the gateway changes nothing but what it came for.
#[tokio::test]
async fn a_command_on_a_store_at_rest_does_not_go_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = lived_by(&[International], 1, dir.path()).await;
    let (store, found) = EventStore::open(&settings).unwrap();
    let witness = Witness { starts: false, ..witness(&Arc::new(ManualClock::new()), Guomi) };
    store.attest(witness).await.unwrap();
    let mut chain = Chain { alg: Guomi, ..Chain::from(&found) };
    let raised =
        transition(&mut chain, &key("lift", "trapped"), TransitionKind::Raised, Priority::Critical, &[]);
    store.commit(raised).await.unwrap();
    store.close().await.unwrap();
    let found = verified(&settings);
    assert_eq!((found.algs.len(), found.events), (1, 4), "the event names its own");
    let settings = lived_by(&[Guomi], 1, dir.path()).await;
    assert_eq!(verified(&settings).events, 7);
}

/// Whoever has the file hashes all from row `from` on by `alg`, names and all, and signs every end with `key`. Nobody ever went over.
fn forge(settings: &Settings, from: i64, alg: Suite, key: &BoxKey) {
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let all = rows(&conn);
    let mut prev = all.iter().rev().find(|row| row.0 < from).map_or(Hash::default(), |row| row.2);
    for (n, record, _) in all.into_iter().filter(|row| row.0 >= from) {
        let record = Record { fact: signed_anew(record.fact, n, &prev, alg, key), alg, ..record };
        let bytes = serde_json::to_vec(&record).unwrap();
        prev = link(alg, &prev, &digest(alg, &bytes));
        conn.execute(
            "UPDATE link SET record = ?2, hash = ?3, kind = ?4 WHERE n = ?1",
            params![n, bytes, prev, record.fact.word()],
        )
        .unwrap();
    }
    let name = (alg == Guomi).then(|| alg.word());
    conn.execute("UPDATE meta SET link_hash = ?1, alg = ?2", params![prev, name]).unwrap();
}

fn signed_anew(fact: Fact, n: i64, prev: &Hash, alg: Suite, key: &BoxKey) -> Fact {
    let (Fact::Head { signed, .. } | Fact::Switch { signed, .. }) = &fact else { return fact };
    let known = SignedHead::read(signed).unwrap();
    let statement = HeadStatement { link: n as u64 - 1, link_hash: hex(prev), alg, next: None, ..known };
    let signed = serde_json::to_string(&statement).unwrap();
    let signature = key.sign(&signed).unwrap();
    Fact::Head { signed, signature, public_key: key.public(), configuration: String::new() }
}

#[tokio::test]
async fn whoever_hashes_rows_anew_by_another_algorithm_needs_the_key_in_force() {
    let [ours, theirs] = [International, Guomi].map(key_of_the_box);
    let forgers = |alg| BoxKey::of_secret(alg, &[66; 32]).unwrap();
    for (fact, alg, whole) in [
        ("all of it, by what is older", International, true),
        ("all of it, by what is newer", Guomi, true),
        ("from the switch on, by what is older", International, false),
        ("from the switch on, by what is newer", Guomi, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let settings = lived_by(&[International, Guomi], 2, dir.path()).await;
        let conn = Connection::open(settings.dir.join("events.db")).unwrap();
        let switch: i64 =
            conn.query_row("SELECT n FROM link WHERE kind = 'switch'", [], |row| row.get(0)).unwrap();
        let from = if whole { 1 } else { switch };
        forge(&settings, from, alg, &forgers(alg));
        for trusted in [&ours, &theirs] {
            let place = broken_at(&settings, Some(trusted));
            assert!(matches!(place, Place::Link(_)), "{fact}: {place:?}");
        }
        // who trusts nobody in particular is told whose signatures they are
        match verify(&settings, None) {
            Ok(found) => assert!(found.keys.seen.contains_key(&forgers(alg).id()), "{fact}"),
            Err(broken) => assert!(!whole && alg == Guomi, "{fact}: {broken}"),
        }
    }
}

/// A forger's own signature hands over to nobody, whoever is trusted; nor does the old key once it has handed over.
#[tokio::test]
async fn only_the_key_in_force_hands_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = lived_by(&[International, Guomi], 2, dir.path()).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let (switch, handing) = rows(&conn)
        .into_iter()
        .find_map(|(n, record, _)| matches!(record.fact, Fact::Switch { .. }).then_some((n, record.fact)))
        .unwrap();
    let forger = BoxKey::of_secret(International, &[66; 32]).unwrap();
    let Fact::Switch { signed, .. } = handing else { panic!() };
    let next = NextKey { alg: Guomi, public_key: BoxKey::of_secret(Guomi, &[67; 32]).unwrap().public() };
    let prev = rows(&conn).into_iter().find(|row| row.0 == switch - 1).unwrap().2;
    let statement = SignedHead::read(&signed).unwrap();
    let statement = HeadStatement { link_hash: hex(&prev), next: Some(next.clone()), ..statement };
    let signed = serde_json::to_string(&statement).unwrap();
    let signature = forger.sign(&signed).unwrap();
    let record = Record {
        fact: Fact::Switch { next, signature, public_key: forger.public(), signed },
        when: None,
        alg: International,
    };
    let bytes = serde_json::to_vec(&record).unwrap();
    let hash = link(International, &prev, &digest(International, &bytes));
    conn.execute("UPDATE link SET record = ?2, hash = ?3 WHERE n = ?1", params![switch, bytes, hash])
        .unwrap();
    for trusted in [None, Some(&key_of_the_box(International)), Some(&key_of_the_box(Guomi))] {
        assert_eq!(broken_at(&settings, trusted), Place::Link(switch as u64), "{trusted:?}");
    }
}

/// As a file of the version before has it: a column less, and no name anywhere.
#[tokio::test]
async fn a_file_without_a_name_is_read_as_it_always_was() {
    let dir = tempfile::tempdir().unwrap();
    let settings = lived_by(&[International], 2, dir.path()).await;
    let conn = Connection::open(settings.dir.join("events.db")).unwrap();
    let named: i64 = conn
        .query_row("SELECT count(*) FROM link WHERE instr(record, CAST('\"alg\"' AS BLOB)) > 0", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(named, 0);
    conn.execute_batch("ALTER TABLE meta DROP COLUMN alg; PRAGMA user_version = 7").unwrap();
    drop(conn);
    let (ours, theirs) = (key_of_the_box(International), key_of_the_box(Guomi));
    assert_eq!(verify(&settings, Some(&ours)).unwrap().events, 6);
    let settings = lived_by(&[Guomi], 2, dir.path()).await;
    for trusted in [&ours, &theirs] {
        assert_eq!(verify(&settings, Some(trusted)).unwrap().events, 12);
    }
    assert!(settings.dir.join("events.db.v7").exists(), "the way back");
}

/// The chain of a damaged file goes on as it was, then over.
#[tokio::test]
async fn what_is_saved_of_a_damaged_file_goes_on_by_its_own_algorithm() {
    let dir = tempfile::tempdir().unwrap();
    let settings = lived_by(&[Guomi], 2, dir.path()).await;
    std::fs::write(
        settings.dir.join("events.db.salvaging"),
        std::fs::read(settings.dir.join("events.db")).unwrap(),
    )
    .unwrap();
    std::fs::remove_file(settings.dir.join("events.db")).unwrap();
    let clock = Arc::new(ManualClock::new());
    let damaged = Settings { suite: International, ..settings };
    let (store, found) = EventStore::open_or_go_without(&damaged).unwrap();
    store.attest(witness(&clock, International)).await.unwrap();
    let mut chain = Chain::from(&found);
    let raised =
        transition(&mut chain, &key("lift", "trapped"), TransitionKind::Raised, Priority::Critical, &[]);
    store.commit(raised).await.unwrap();
    store.close().await.unwrap();
    let found = verify(&damaged, Some(&key_of_the_box(Guomi))).unwrap();
    assert_eq!(found.algs.len(), 2, "it was handed over");
    assert_eq!(found.events, 1, "the events begin anew");
}
