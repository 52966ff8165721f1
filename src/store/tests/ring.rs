//! What memory holds while the disk takes nothing has an end.

use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::{
    domain::{LossClass, LossReason},
    store::{
        EventStore, Receipted,
        chain::Pen,
        losses,
        ring::{End, Note, Ring},
    },
};

#[tokio::test]
async fn when_there_is_no_more_room_the_least_urgent_goes_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (store, new) = EventStore::open(&settings).unwrap();
    store.close().await.unwrap();
    let (mut chain, mut ring) = (Chain::from(&new), Ring::of(3));
    let mut hold = |ring: &mut Ring, alarm: &str, priority| {
        let of = key("lift-1", alarm);
        let mut commit =
            transition(&mut chain, &of, TransitionKind::Raised, priority, &["inspection", "property"]);
        let letters = std::mem::take(&mut commit.letters);
        ring.hold(Arc::new(commit), letters);
    };
    for (alarm, priority) in
        [("trapped", Priority::Critical), ("told", Priority::High), ("door", Priority::Medium)]
    {
        hold(&mut ring, alarm, priority);
    }
    // letters are numbered as they came: both of the second commit
    for row in [-3, -4] {
        let receipt = Receipted { at: at("2026-11-23T06:05:00Z"), status: 200, said: String::new() };
        ring.note(row, Note::End(End::Delivered(receipt))).unwrap();
    }
    for (alarm, priority) in [("lamp", Priority::Low), ("heat", Priority::High), ("light", Priority::Low)] {
        hold(&mut ring, alarm, priority);
    }
    // who was told of everything went first, then the one of low priority, then of the rest the least urgent
    let kept: Vec<_> =
        ring.contents().map(|(commit, _)| commit.events[0].event.alarm.name.to_string()).collect();
    assert_eq!(kept, ["trapped", "heat", "light"]);
    let mut conn = Connection::open(settings.dir.join("events.db")).unwrap();
    ring.store(&mut conn, &Pen::default()).unwrap();
    let lost = |endpoint: Option<&str>| {
        let untold = losses::untold(&conn).unwrap().into_iter().map(|untold| untold.loss);
        let mine = untold.filter(|loss| loss.endpoint.as_ref().map(|id| id.as_str()) == endpoint);
        mine.inspect(|loss| assert_eq!((loss.class, loss.reason), (LossClass::Alarms, LossReason::NotStored)))
            .map(|loss| loss.count)
            .sum::<u64>()
    };
    assert_eq!([lost(Some("inspection")), lost(Some("property")), lost(None)], [2, 2, 3]);
}
