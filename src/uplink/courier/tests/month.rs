//! An endpoint that is down for thirty days, which pass by themselves: every event of the month is there in the end, in order.
//! `EVENTS=60000` for the month of a large compound, whose file may have 512 MiB; without it two hours and some hundred events.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::*;
use crate::{
    store::{
        Recovered,
        evidence::{self, Hash},
    },
    uplink::{Router, Wants, sample},
};

const MONTH: Duration = Duration::from_secs(30 * 86_400);
const ALARMS: u64 = 200;
const MOST: u64 = 512 << 20;

/// How many events, and how long the endpoint is down.
fn outage() -> (u64, Duration) {
    let events = std::env::var("EVENTS").ok().and_then(|text| text.parse().ok());
    events.map_or((300, Duration::from_secs(7200)), |events| (events, MONTH))
}

/// What a pipeline does: an event in the chain, and a letter as it is sent.
struct Compound {
    office: Office,
    router: Router,
    epoch: String,
    hash: Hash,
}

impl Compound {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { events_max: Size(MOST), ..Settings::of_a_test(dir.path()) };
        let (store, Recovered { epoch, last_hash, .. }) = EventStore::open(&settings).unwrap();
        let wants = Wants {
            classes: vec!["elevator".into()],
            priorities: vec![Priority::Critical, Priority::High, Priority::Medium],
            data: vec![crate::domain::DataClass::Operational],
            ..Wants::default()
        };
        let router = Router::new(jiff::tz::TimeZone::UTC, vec![("inspection".into(), wants)]);
        Self {
            office: Office { clock: Arc::new(ManualClock::new()), store, _dir: dir, written: 0 },
            router,
            epoch,
            hash: last_hash,
        }
    }

    /// Its id.
    async fn happens(&mut self, device: &str, priority: Priority) -> String {
        self.office.written += 1;
        let mut event = sample::raised();
        (event.id, event.seq) = (EventId::random().to_string(), self.office.written);
        (event.device.id, event.alarm.priority) = (device.into(), priority);
        event.epoch.clone_from(&self.epoch);
        let sealed = evidence::seal(event, self.hash).unwrap();
        self.hash = sealed.hash;
        let id = sealed.event.id.clone();
        let letters = self.router.address(&sealed);
        let commit = Commit { letters, events: vec![sealed], ..Commit::default() };
        self.office.store.commit(commit).await.unwrap();
        id
    }

    fn bytes(&self) -> u64 {
        let length =
            |name: &str| std::fs::metadata(self.office._dir.path().join(name)).map_or(0, |file| file.len());
        length("events.db") + length("events.db-wal")
    }
}

#[tokio::test(start_paused = true)]
async fn a_month_without_the_endpoint_loses_nothing() {
    let (mut compound, (count, down)) = (Compound::open(), outage());
    let up = Arc::new(AtomicBool::new(false));
    let taken = Arc::new(Mutex::new(Vec::<Letter>::new()));
    let (is_up, ledger) = (Arc::clone(&up), Arc::clone(&taken));
    let mut round = compound.office.start(move |letter| {
        if !is_up.load(Relaxed) {
            return now(try_again(None));
        }
        ledger.lock().unwrap().push(letter.clone());
        now(accepted())
    });
    let begun = Instant::now();
    let mut ids = Vec::new();
    for n in 0..count {
        tokio::time::sleep(down / u32::try_from(count).unwrap()).await;
        let priority = [Priority::Critical, Priority::High, Priority::Medium][n as usize % 3];
        ids.push(compound.happens(&format!("lift-{}", n % ALARMS), priority).await);
        round.wake.notify_one();
        while round.attempts.try_recv().is_ok() {}
    }
    assert!(begun.elapsed() >= down && round.gauge.read().failing.is_some());
    let bytes = compound.bytes();
    assert!(bytes <= MOST && bytes <= (8 << 20) + count * 8 * 1024, "{bytes} bytes for {count} events");

    up.store(true, Relaxed);
    let drain = Instant::now();
    let has = |id: &str| taken.lock().unwrap().iter().any(|letter| letter.event_id == id);
    let mut urgent = None;
    while taken.lock().unwrap().len() < ids.len() {
        round.attempts.recv().await.unwrap();
        if taken.lock().unwrap().len() as u64 == count / 2 && urgent.is_none() {
            let at = Instant::now();
            let id = compound.happens("lift-new", Priority::Critical).await;
            round.wake.notify_one();
            while !has(&id) {
                round.attempts.recv().await.unwrap();
            }
            let told = at.elapsed();
            assert!(told <= Duration::from_secs(5), "a new alarm went after {told:?}");
            ids.push(id);
            urgent = Some(told);
        }
    }
    let took = drain.elapsed();
    println!(
        "{count} events in {:.1} days, {:.1} MiB; drained in {:.2} h, a new critical one after {:?}",
        begun.elapsed().as_secs_f64() / 86_400.0,
        bytes as f64 / (1 << 20) as f64,
        took.as_secs_f64() / 3600.0,
        urgent.expect("there was one")
    );
    let hour = Duration::from_secs(3600);
    assert!(took <= 7 * hour, "drained in {took:?}");
    round.end().await;
    assert_eq!(compound.office.next().await, None, "nothing is left");
    let seen = taken.lock().unwrap();
    let found: HashSet<&str> = seen.iter().map(|letter| &*letter.event_id).collect();
    assert_eq!(found.len(), seen.len(), "none twice");
    assert!(ids.iter().all(|id| found.contains(&**id)) && found.len() == ids.len(), "every one");
    let mut last: HashMap<&AlarmKey, u64> = HashMap::new();
    for letter in seen.iter() {
        let before = last.insert(&letter.key, letter.seq);
        assert!(before.is_none_or(|before| before < letter.seq), "{} out of order", letter.key);
    }
}
