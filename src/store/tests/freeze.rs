//! Letters that were written while the clock was not set: put right until somebody tries them, never after.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::*;
use crate::{
    domain::{Priority::*, TransitionKind::*},
    store::{
        EventStore, Reader, Scribe,
        chain::{BoxKeys, ClockBox, Witness},
    },
};

const OFFICE: &str = "inspection";

async fn open(settings: &Settings, clock: &Arc<ManualClock>) -> (EventStore, Recovered) {
    let (store, recovered) = EventStore::open(settings).unwrap();
    let witness = Witness {
        clock: ClockBox(clock.clone()),
        zone: TimeZone::get("Asia/Shanghai").unwrap(),
        keys: BoxKeys::default(),
        suite: Suite::default(),
        version: "test".into(),
        writings: Vec::new(),
        starts: true,
    };
    store.attest(witness).await.unwrap();
    store.remake_by(scribe()).await.unwrap();
    (store, recovered)
}

/// Writes when it was, and what that is worth.
fn written(sealed: &Sealed) -> Letter {
    let (at, quality) = match &sealed.put_right {
        Some(put) => (put.time(sealed.event.at), put.quality),
        None => (sealed.event.at, sealed.event.time_quality),
    };
    Letter { body: format!("{at} {}", quality.word()).into_bytes().into(), ..letter(sealed, OFFICE) }
}

fn scribe() -> Scribe {
    Arc::new(|sealed| vec![written(sealed)])
}

/// What happens to `device` now, by this clock.
async fn raise(store: &EventStore, chain: &mut Chain, clock: &ManualClock, device: &str) {
    let key = key(device, "trapped");
    let event = Event {
        at: clock.now().wall,
        time_quality: clock.quality(),
        boot_id: clock.boot_id().to_owned(),
        mono_ms: clock.now().mono.0.as_millis() as u64,
        ..super::event(&chain.epoch, chain.seq + 1, &key, Raised, High)
    };
    let sealed = evidence::seal(event, chain.hash).unwrap();
    (chain.seq, chain.hash) = (chain.seq + 1, sealed.hash);
    let letters = vec![written(&sealed)];
    store.commit(Commit { events: vec![sealed], letters, ..Commit::default() }).await.unwrap();
}

/// What goes of `device`: the letter as it is claimed, whether it could still be changed, and as it goes.
async fn goes(store: &EventStore, device: &str) -> (String, bool, String) {
    let others = ["a", "b", "c", "d"].iter().filter(|other| **other != device);
    let skip = others.map(|other| key(other, "trapped")).collect();
    let letter = store.claim(&OFFICE.into(), skip).await.unwrap().unwrap();
    let text = |letter: &Letter| String::from_utf8(letter.body.to_vec()).unwrap();
    let (claimed, provisional) = (text(&letter), letter.provisional);
    let frozen = store.freeze(letter).await.unwrap();
    assert!(!frozen.provisional);
    (claimed, provisional, text(&frozen))
}

fn told(claimed: &str, provisional: bool, gone: &str) -> (String, bool, String) {
    (claimed.to_owned(), provisional, gone.to_owned())
}

#[tokio::test]
async fn what_nobody_tried_is_put_right_and_what_was_tried_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let clock = Arc::new(ManualClock::new());
    clock.step_wall(at("1970-01-01T00:01:00Z"));
    clock.be(TimeQuality::Unset);
    let (store, new) = open(&settings, &clock).await;
    assert_eq!(new.newest, None);
    let mut chain = Chain::from(&new);
    for device in ["a", "b", "c"] {
        raise(&store, &mut chain, &clock, device).await;
    }
    let wrong = "1970-01-01T00:01:00Z unset";
    assert_eq!(goes(&store, "a").await, told(wrong, true, wrong), "it goes at once");

    clock.advance(Duration::from_secs(600));
    clock.step_wall(at("2026-11-26T08:11:00Z"));
    clock.be(TimeQuality::Synced);
    raise(&store, &mut chain, &clock, "d").await;
    let right = "2026-11-26T08:01:00Z synced";
    assert_eq!(goes(&store, "a").await, told(wrong, false, wrong), "byte by byte what was tried");
    assert_eq!(goes(&store, "b").await, told(wrong, true, right));
    assert_eq!(goes(&store, "b").await, told(right, false, right), "from here on it stays");
    let now = "2026-11-26T08:11:00Z synced";
    assert_eq!(goes(&store, "d").await, told(now, false, now));
    store.close().await.unwrap();

    let (store, known) = open(&settings, &clock).await;
    assert_eq!(known.newest, Some(at("2026-11-26T08:11:00Z")));
    assert_eq!(goes(&store, "a").await, told(wrong, false, wrong), "it was tried, in another run");
    assert_eq!(goes(&store, "c").await, told(wrong, true, right), "another run knows when the clock was set");
    store.close().await.unwrap();
    let verified = Reader::open(&settings.dir).unwrap().verify_chain().unwrap().unwrap();
    assert_eq!(verified.events, 4, "the evidence is what it was");
}

#[tokio::test]
async fn the_newest_is_the_last_that_a_believed_clock_said() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let clock = Arc::new(ManualClock::new());
    for (quality, wall, newest) in [
        (TimeQuality::Holdover, "2026-11-26T08:00:00Z", "2026-11-26T08:00:00Z"),
        (TimeQuality::Unset, "1970-01-01T00:01:00Z", "2026-11-26T08:00:00Z"),
        (TimeQuality::Restored, "2026-11-26T08:00:01Z", "2026-11-26T08:00:00Z"),
        (TimeQuality::Holdover, "2038-01-19T00:00:00Z", "2038-01-19T00:00:00Z"),
        (TimeQuality::Synced, "2026-11-26T09:00:00Z", "2026-11-26T09:00:00Z"),
    ] {
        clock.be(quality);
        clock.step_wall(at(wall));
        let (store, _) = open(&settings, &clock).await;
        store.tend().await.unwrap();
        store.close().await.unwrap();
        let (store, known) = EventStore::open(&settings).unwrap();
        assert_eq!(known.newest, Some(at(newest)), "{quality:?} {wall}");
        store.close().await.unwrap();
    }
}
