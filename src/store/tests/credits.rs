//! Credits are stored with their event, once each, and outlive what the event does not.

use std::fs;

use super::*;
use crate::{
    domain::{
        DeviceId, EventId,
        credit::{Account, Credit, credit_id},
    },
    store::{CreditRow, EventStore, Reader, StoreState},
};

fn row(device: &str, transaction: &str, weight_g: i64, seq: u64) -> CreditRow {
    let device = DeviceId::from(device);
    CreditRow {
        id: credit_id("yard", &device, transaction),
        device,
        seq,
        credit: Credit {
            transaction: transaction.to_owned(),
            category: Some("纸".to_owned()),
            weight_g,
            points: Some(250),
            card: None,
            card_pseudonym: Some("ab".to_owned()),
            total_g: Some(9000),
            at: at("2026-11-23T06:00:00Z"),
        },
    }
}

/// With its event, and the device's books.
fn given(chain: &mut Chain, transaction: &str, weight_g: i64) -> Commit {
    let key = key("kiosk-1", "credit");
    let mut commit = transition(chain, &key, TransitionKind::Credit, Priority::High, &["service"]);
    let seq = commit.events[0].event.seq;
    commit.alarms.clear();
    commit.credits.push(row("kiosk-1", transaction, weight_g, seq));
    let account = Account { total_g: Some(9000), credits: seq, weight_g, ..Account::default() };
    commit.accounts.push(("kiosk-1".into(), account));
    commit
}

async fn weights(store: &EventStore, transactions: &[&str]) -> Vec<Option<i64>> {
    let ids: Vec<EventId> =
        transactions.iter().map(|transaction| credit_id("yard", &"kiosk-1".into(), transaction)).collect();
    let known = store.credited(ids.clone()).await.unwrap();
    ids.iter().map(|id| known.get(id).copied()).collect()
}

#[tokio::test]
async fn a_transaction_is_stored_once_with_all_that_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    store.commit(given(&mut chain, "t1", 1200)).await.unwrap();
    let again = given(&mut chain, "t1", 3400);
    assert!(store.commit(again).await.is_err(), "nothing of it is stored");
    assert_eq!(weights(&store, &["t1", "t2"]).await, [Some(1200), None]);
    let accounts = store.accounts().await.unwrap();
    assert_eq!(accounts[&DeviceId::from("kiosk-1")].weight_g, 1200);
    let reader = Reader::open(&settings.dir).unwrap();
    let day = |from: &str, before: &str| reader.credits("kiosk-1", at(from), at(before)).unwrap();
    assert_eq!(day("2026-11-23T06:00:00Z", "2026-11-23T06:00:01Z"), [row("kiosk-1", "t1", 1200, 1)]);
    assert_eq!(day("2026-11-22T00:00:00Z", "2026-11-23T06:00:00Z"), []);
    assert_eq!(reader.account("kiosk-2").unwrap(), None);
}

#[tokio::test]
async fn a_damaged_file_gives_up_no_credit_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    for n in 0..40 {
        store.commit(given(&mut chain, &format!("t{n}"), 100 + n)).await.unwrap();
    }
    store.close().await.unwrap();
    // as a start finds it that was cut off while it saved what could be read
    fs::rename(settings.dir.join("events.db"), settings.dir.join("events.db.salvaging")).unwrap();
    let (store, _) = EventStore::open_or_go_without(&settings).unwrap();
    assert_eq!(store.tend().await.unwrap().state, StoreState::Sound);
    let names: Vec<String> = (0..41).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let expected: Vec<_> = (0..40).map(|n| Some(100 + n)).chain([None]).collect();
    assert_eq!(weights(&store, &names).await, expected);
    assert_eq!(store.accounts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_commit_that_is_taken_back_leaves_the_books_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    let mut chain = Chain::from(&new);
    let books = |credits, grams| Account {
        total_g: Some(9000),
        counted_g: 9000,
        credited_g: grams,
        credits,
        weight_g: grams,
        points: 250 * i64::try_from(credits).unwrap(),
        ..Account::default()
    };
    for (transaction, weight_g, after) in [("t1", 1200, books(1, 1200)), ("t2", 3400, books(2, 4600))] {
        let mut commit = given(&mut chain, transaction, weight_g);
        commit.accounts = vec![("kiosk-1".into(), after)];
        store.commit(commit).await.unwrap();
    }
    store.close().await.unwrap();
    let conn = rusqlite::Connection::open(settings.dir.join("events.db")).unwrap();
    crate::store::credits::undo_after(&conn, 1).unwrap();
    drop(conn);
    let (store, _) = EventStore::open(&settings).unwrap();
    assert_eq!(weights(&store, &["t1", "t2"]).await, [Some(1200), None]);
    assert_eq!(store.accounts().await.unwrap()[&DeviceId::from("kiosk-1")], books(1, 1200));
}
