//! Deliveries to a kiosk, before a pipeline with its stores.

use super::*;
use crate::domain::credit::{Tariff, credit_id};

/// What a kiosk says of a delivery; the counter stands at `total`.
fn delivery(seq: u64, transaction: &str, kg: f64, scale: &str, total: f64) -> Vec<u8> {
    let text = format!(
        r#"{{"seq":{seq},"scale":"{scale}","transaction":"{transaction}","delivered_kg":{kg},"category":"paper","card":"02468AC0","total_kg":{total}}}"#
    );
    text.into_bytes()
}

impl Bench {
    fn earning(room: Size) -> Self {
        let mut bench = Self::with_room(room);
        bench.pipeline.address = Box::new(to_office);
        let tariff = Tariff(BTreeMap::from([("paper".to_owned(), 200)]));
        bench.pipeline.credits = crate::pipeline::Credits::new(tariff, None);
        bench
    }

    /// Hears it, and does what comes with every turn.
    async fn turn(&mut self, payload: Vec<u8>) -> oneshot::Receiver<()> {
        let receipt = self.hear(payload, false).await;
        self.pipeline.look_after_the_credits().await.unwrap();
        receipt
    }

    /// All letters, settled.
    async fn letters(&self) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(letter) = self.pipeline.events.claim(&"office".into(), Vec::new()).await.unwrap() {
            let at = Timestamp::UNIX_EPOCH;
            let receipt = crate::store::Receipted { at, status: 200, said: String::new() };
            self.pipeline.events.settle(letter.row, receipt).await.unwrap();
            ids.push(letter.event_id);
        }
        ids
    }

    fn value(&self, point: &str) -> Option<crate::domain::Value> {
        let (_, latest) = self.pipeline.engine.device(KIOSK);
        let (sample, _) = latest.sample(PROFILE.point(point).unwrap(), self.clock.now().mono)?;
        sample.value().cloned()
    }
}

fn id(transaction: &str) -> String {
    credit_id("yard", &"kiosk".into(), transaction).to_string()
}

#[tokio::test]
async fn a_delivery_is_credited_once_however_often_it_is_said() {
    let mut bench = Bench::earning(Size(64 << 20));
    for (seq, payload) in [
        delivery(71, "a", 4.0, "unstable", 104.0),
        delivery(72, "a", 4.0, "stable", 104.0),
        delivery(72, "a", 4.0, "stable", 104.0),
        delivery(73, "a", 4.0, "stable", 104.0),
        delivery(74, "b", 1.5, "stable", 105.5),
        delivery(0, "a", 4.0, "stable", 105.5),
        delivery(1, "c", 0.0, "stable", 105.5),
    ]
    .into_iter()
    .enumerate()
    {
        let receipt = bench.turn(payload).await;
        bench.pipeline.telemetry.flush().await.unwrap();
        assert_eq!(receipt.await, Ok(()), "message {seq} is owed a receipt");
    }
    assert_eq!(bench.letters().await, [id("a"), id("b")]);
    assert_eq!(bench.pipeline.ledger.next_seq(), 3);
    let account = &bench.pipeline.events.accounts().await.unwrap()["kiosk"];
    assert_eq!((account.weight_g, account.points, account.difference_g()), (5500, 1100, Some(0)));
    assert_eq!(account.refused, 2);
    assert_eq!(bench.value("totals_difference"), Some(0.0.into()));
    assert_eq!(bench.value("credits_refused"), Some(1.0.into()));
}

#[tokio::test]
async fn what_is_lost_is_seen_by_the_alarm_after_a_restart_too() {
    let mut bench = Bench::earning(Size(64 << 20));
    bench.turn(delivery(1, "a", 4.0, "stable", 104.0)).await;
    bench.pipeline.credits = crate::pipeline::Credits::default();
    bench.turn(br#"{"seq":2,"total_kg":107.25}"#.to_vec()).await;
    assert_eq!(bench.value("totals_difference"), Some(3.25.into()));
    bench.clock.advance(Duration::from_secs(601));
    bench.turn(br#"{"seq":3,"total_kg":107.25}"#.to_vec()).await;
    bench.clock.advance(Duration::from_secs(601));
    bench.turn(br#"{"seq":4,"total_kg":107.25}"#.to_vec()).await;
    let standing: Vec<String> =
        bench.pipeline.engine.standing().map(|alarm| format!("{:?}", alarm)).collect();
    assert!(standing.iter().any(|alarm| alarm.contains("totals_differ")), "{standing:?}");
}

#[tokio::test]
async fn what_cannot_be_stored_is_neither_given_nor_confirmed() {
    // as large a letter as this finds no room in so small a file
    let mut bench = Bench::earning(Size(112 << 10));
    let receipt = bench.turn(delivery(1, "a", 4.0, "stable", 104.0)).await;
    bench.pipeline.telemetry.flush().await.unwrap();
    assert!(receipt.await.is_err(), "it comes again");
    assert_eq!((bench.letters().await.len(), bench.pipeline.ledger.next_seq()), (0, 1));
    assert!(bench.pipeline.trouble.storage.is_some(), "and that is told");
}
