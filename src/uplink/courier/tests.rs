//! The courier on a real outbox, with a scripted endpoint, in paused time.
//!
//! Paused time runs on by itself when all wait: a test that counts time commits its letters before it starts.

mod month;

use std::{collections::HashSet, pin::Pin, sync::Mutex};

use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use super::*;
use crate::{
    domain::{AlarmKey, EventId, ManualClock, Priority, Size},
    store::{Commit, Settings},
    text,
    uplink::{
        Terms,
        spoken::{listen, spoken},
    },
};

type Answer = Pin<Box<dyn Future<Output = Verdict> + Send>>;
type Script = Box<dyn FnMut(&Letter) -> Answer + Send>;

struct Scripted {
    terms: Terms,
    script: Mutex<Script>,
    seen: mpsc::UnboundedSender<(Duration, Letter)>,
    started: Instant,
}

impl Endpoint for Scripted {
    fn terms(&self) -> Terms {
        self.terms
    }

    async fn deliver(&self, letter: &Letter) -> Verdict {
        self.seen.send((self.started.elapsed(), letter.clone())).unwrap();
        let answer = (self.script.lock().unwrap())(letter);
        answer.await
    }
}

fn now(verdict: Verdict) -> Answer {
    Box::pin(std::future::ready(verdict))
}

fn accepted() -> Verdict {
    Verdict::Accepted { status: 200, said: "ok".into() }
}

fn busy() -> Hindrance {
    Hindrance::new(HindranceKind::Busy, text!("应答 503：busy", "answered 503: busy"))
}

fn what() -> Hindrance {
    Hindrance::new(HindranceKind::LetterRefused, text!("应答 422：what?", "answered 422: what?"))
}

fn try_again(after: Option<u64>) -> Verdict {
    Verdict::TryAgain { why: busy(), after: after.map(Duration::from_secs) }
}

fn refused() -> Verdict {
    Verdict::Refused { why: what(), how: Refusal::Unreadable }
}

fn unwanted() -> Verdict {
    Verdict::Refused { why: what(), how: Refusal::Unwanted }
}

struct Office {
    clock: Arc<ManualClock>,
    store: EventStore,
    _dir: TempDir,
    written: u64,
}

impl Office {
    fn open(events_max: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { events_max: Size(events_max), ..Settings::of_a_test(dir.path()) };
        let (store, _) = EventStore::open(&settings).unwrap();
        Self { clock: Arc::new(ManualClock::new()), store, _dir: dir, written: 0 }
    }

    /// Commits a letter for each `(alarm, priority)`, in this order.
    async fn post(&mut self, letters: &[(&str, Priority)]) {
        for (alarm, priority) in letters {
            let letter = self.letter(alarm, *priority);
            let commit = Commit { letters: vec![letter], ..Commit::default() };
            self.store.commit(commit).await.unwrap();
        }
    }

    fn letter(&mut self, alarm: &str, priority: Priority) -> Letter {
        self.written += 1;
        Letter {
            row: 0,
            endpoint: "inspection".into(),
            event_id: EventId::random().to_string(),
            seq: self.written,
            key: AlarmKey { device: "lift-3-1".into(), alarm: alarm.into() },
            priority,
            attempts: 0,
            content_type: None,
            provisional: false,
            body: format!("{alarm} {}", self.written).into_bytes().into(),
        }
    }

    /// Commits a letter with a body of so many bytes; false if there is no room for it.
    async fn fits(&mut self, alarm: &str, bytes: usize) -> bool {
        let letter = Letter { body: vec![b'x'; bytes].into(), ..self.letter(alarm, Priority::High) };
        match self.store.commit(Commit { letters: vec![letter], ..Commit::default() }).await {
            Ok(()) => true,
            Err(StoreError::Full { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    fn start(&self, script: impl FnMut(&Letter) -> Answer + Send + 'static) -> Round {
        self.start_on(Terms::ONE_BY_ONE, script)
    }

    fn start_on(&self, terms: Terms, script: impl FnMut(&Letter) -> Answer + Send + 'static) -> Round {
        let (seen, attempts) = mpsc::unbounded_channel();
        let endpoint =
            Scripted { terms, script: Mutex::new(Box::new(script)), seen, started: Instant::now() };
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let clock = self.clock.clone();
        let (courier, gauge) =
            Courier::new("inspection".into(), endpoint, self.store.clone(), clock, || 1.0, wake.clone());
        let task = tokio::spawn(courier.run(stop.clone()));
        Round { attempts, gauge, wake, stop, task }
    }

    /// The endpoints that have letters set aside.
    fn aside(&self) -> Vec<String> {
        let deliveries = crate::store::Reader::open(self._dir.path()).unwrap().deliveries().unwrap();
        deliveries.into_iter().filter(|delivery| delivery.set_aside > 0).map(|d| d.endpoint).collect()
    }

    async fn next(&self) -> Option<Letter> {
        self.store.claim(&"inspection".into(), vec![]).await.unwrap()
    }
}

/// A courier at work.
struct Round {
    attempts: mpsc::UnboundedReceiver<(Duration, Letter)>,
    gauge: EndpointGauge,
    wake: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), CourierError>>,
}

impl Round {
    /// The next `count` attempts: when, in milliseconds, and the letter's body.
    async fn attempts(&mut self, count: usize) -> Vec<(u128, String)> {
        let mut attempts = Vec::new();
        for _ in 0..count {
            let (at, letter) = self.attempts.recv().await.unwrap();
            attempts.push((at.as_millis(), String::from_utf8(letter.body.to_vec()).unwrap()));
        }
        attempts
    }

    /// Stops the courier; fails if it made attempts that nobody asked about.
    async fn end(mut self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        assert!(self.attempts.try_recv().is_err(), "an attempt too many");
    }
}

fn bodies(attempts: &[(u128, String)]) -> Vec<&str> {
    attempts.iter().map(|(_, body)| body.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn letters_of_an_alarm_go_in_order_and_the_urgent_before_the_rest() {
    let mut office = Office::open(1 << 24);
    let (critical, low) = (Priority::Critical, Priority::Low);
    office.post(&[("lamp", low), ("lamp", low), ("trapped", critical), ("trapped", critical)]).await;
    let mut round = office.start(|_| now(accepted()));
    let attempts = round.attempts(4).await;
    assert_eq!(bodies(&attempts), ["trapped 3", "trapped 4", "lamp 1", "lamp 2"]);
    round.end().await;
    assert_eq!(office.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_letter_holds_up_its_own_alarm_only() {
    let mut office = Office::open(1 << 24);
    let high = Priority::High;
    office.post(&[("door", high), ("door", high), ("motor", high), ("motor", high)]).await;
    let mut refusals = 3;
    let mut round = office.start(move |letter| {
        let refuse = letter.body.starts_with(b"door 1") && refusals > 0;
        refusals -= i32::from(refuse);
        now(if refuse { unwanted() } else { accepted() })
    });
    let attempts = round.attempts(7).await;
    let expected = [
        (0, "door 1"),
        (200, "motor 3"),
        (400, "motor 4"),
        (1000, "door 1"),
        (3000, "door 1"),
        (7000, "door 1"),
        (7000, "door 2"),
    ];
    assert_eq!(attempts, expected.map(|(at, body)| (at, body.to_owned())));
    round.end().await;
    assert_eq!(office.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_refused_again_and_again_calls_somebody_once() {
    listen();
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High), ("motor", Priority::High)]).await;
    let mut round =
        office.start(|letter| now(if letter.body.starts_with(b"door") { unwanted() } else { accepted() }));
    // door, motor, door
    round.attempts(3).await;
    assert_eq!((spoken("WARN").len(), spoken("ERROR").len()), (1, 0), "twice refused: odd");
    round.attempts(4).await;
    let errors = spoken("ERROR");
    let [error] = &errors[..] else { panic!("one line, not {errors:?}") };
    for (fact, part) in [
        ("who refuses", "endpoint=inspection"),
        ("which alarm", "alarm=lift-3-1/door"),
        ("why", "answered 422: what?"),
        ("what the gateway does", "set aside"),
        ("what a person can do", "correct `accept`"),
    ] {
        assert!(error.contains(part), "{fact}: {error}");
    }
    let failing = round.gauge.read().failing.expect("it can be seen");
    assert_eq!((failing.alarms, failing.why), (1, what()));
    round.end().await;
    assert_eq!(office.next().await.unwrap().attempts, 6, "it is still offered");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_there_is_set_aside_and_what_follows_goes_on() {
    listen();
    let mut office = Office::open(1 << 24);
    let high = Priority::High;
    office.post(&[("door", high), ("door", high), ("motor", high)]).await;
    let mut round =
        office.start(|letter| now(if letter.body.starts_with(b"door 1") { refused() } else { accepted() }));
    let attempts = round.attempts(5).await;
    let expected = [(0, "door 1"), (200, "motor 3"), (1000, "door 1"), (3000, "door 1"), (3000, "door 2")];
    assert_eq!(attempts, expected.map(|(at, body)| (at, body.to_owned())));
    let errors = spoken("ERROR");
    let [error] = &errors[..] else { panic!("one line, not {errors:?}") };
    for part in
        ["endpoint=inspection", "alarm=lift-3-1/door", "answered 422: what?", "times=3", "delivery retry"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    round.end().await;
    assert_eq!(office.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_everything_costs_no_letter() {
    let mut office = Office::open(1 << 24);
    let alarms = ["door", "motor", "lamp", "gate", "pump"];
    office.post(&alarms.map(|alarm| (alarm, Priority::High))).await;
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let script = well.clone();
    let mut round = office.start(move |_| {
        now(if script.load(std::sync::atomic::Ordering::Relaxed) { accepted() } else { refused() })
    });
    round.attempts(12).await;
    let failing = round.gauge.read().failing.expect("it can be seen");
    assert_eq!((failing.alarms, failing.why.kind), (0, HindranceKind::RefusesAll));
    well.store(true, std::sync::atomic::Ordering::Relaxed);
    round.attempts(5).await;
    round.end().await;
    assert_eq!(office.next().await, None);
    assert!(office.aside().is_empty(), "none was set aside");
}

/// Answers when the test says so: by the letter's first word.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<std::collections::HashMap<String, Arc<Notify>>>>);

impl Gates {
    fn of(&self, body: &[u8]) -> Arc<Notify> {
        let word = String::from_utf8_lossy(body).split(' ').next().unwrap().to_owned();
        self.0.lock().unwrap().entry(word).or_default().clone()
    }

    fn behind(&self, verdict: Verdict) -> impl FnMut(&Letter) -> Answer + Send + 'static {
        let gates = self.clone();
        move |letter| {
            let (gate, verdict) = (gates.of(&letter.body), verdict.clone());
            Box::pin(async move {
                gate.notified().await;
                verdict
            })
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_lets_several_alarms_go_at_once_and_of_each_one_letter() {
    let mut office = Office::open(1 << 24);
    let high = Priority::High;
    office.post(&[("door", high), ("door", high), ("motor", high), ("lamp", high), ("gate", high)]).await;
    let (terms, gates) = (Terms { window: 3, gap: Duration::ZERO }, Gates::default());
    let mut round = office.start_on(terms, gates.behind(accepted()));
    let expected = [(0, "door 1"), (200, "motor 3"), (400, "lamp 4")];
    assert_eq!(round.attempts(3).await, expected.map(|(at, body)| (at, body.to_owned())));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(round.attempts.try_recv().is_err(), "three are on their way");
    gates.of(b"motor").notify_one();
    assert_eq!(bodies(&round.attempts(1).await), ["gate 5"], "not the next of the door");
    gates.of(b"door").notify_one();
    assert_eq!(bodies(&round.attempts(1).await), ["door 2"]);
    for word in ["gate", "lamp", "door"] {
        gates.of(word.as_bytes()).notify_one();
    }
    round.end().await;
    assert_eq!(office.next().await, None, "each settled on its own");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_fails_together_is_probed_by_one_letter() {
    let mut office = Office::open(1 << 24);
    let high = Priority::High;
    office.post(&[("door", high), ("motor", high), ("lamp", high), ("gate", high)]).await;
    let (terms, gates) = (Terms { window: 3, gap: Duration::ZERO }, Gates::default());
    let mut round = office.start_on(terms, gates.behind(try_again(None)));
    round.attempts(3).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    for word in ["door", "motor", "lamp"] {
        gates.of(word.as_bytes()).notify_one();
    }
    // failed at 1000, once for the three: a probe after 1 s, the next 2 s after that one failed, then 4 s
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(round.attempts(1).await[0].0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(round.attempts.try_recv().is_err(), "one probe at a time");
        gates.of(b"door").notify_one();
    }
    assert_eq!(times, [2000, 5000, 10_000]);
    round.stop.cancel();
    round.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_can_call_its_courier_back() {
    struct Called(Scripted, Arc<Notify>);
    impl Endpoint for Called {
        async fn deliver(&self, letter: &Letter) -> Verdict {
            self.0.deliver(letter).await
        }

        async fn attend(&self, bell: Bell, stop: CancellationToken) {
            self.1.notified().await;
            bell.ring();
            stop.cancelled().await;
        }
    }
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High)]).await;
    let (seen, mut attempts) = mpsc::unbounded_channel();
    let mut answers = vec![accepted(), try_again(Some(600))];
    let script: Script = Box::new(move |_| now(answers.pop().unwrap()));
    let terms = Terms::ONE_BY_ONE;
    let mended = Arc::new(Notify::new());
    let scripted = Scripted { terms, script: Mutex::new(script), seen, started: Instant::now() };
    let endpoint = Called(scripted, mended.clone());
    let (clock, wake) = (Arc::new(ManualClock::new()), Arc::new(Notify::new()));
    let (courier, _) = Courier::new("inspection".into(), endpoint, office.store.clone(), clock, || 1.0, wake);
    let stop = CancellationToken::new();
    let task = tokio::spawn(courier.run(stop.clone()));
    assert_eq!(attempts.recv().await.unwrap().0.as_secs(), 0);
    tokio::time::sleep(Duration::from_secs(50)).await;
    mended.notify_one();
    assert_eq!(attempts.recv().await.unwrap().0.as_secs(), 50, "not 600");
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_breaks_is_made_again() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High)]).await;
    let mut first = true;
    let mut round = office.start(move |_| {
        let breaks = std::mem::take(&mut first);
        Box::pin(async move {
            assert!(!breaks, "a mistake");
            accepted()
        })
    });
    assert_eq!(round.attempts(2).await.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1000]);
    round.end().await;
    assert_eq!(office.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_probed_ever_more_rarely_with_the_same_bytes() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High), ("motor", Priority::High)]).await;
    let id = office.next().await.unwrap().event_id;
    let mut round = office.start(|_| now(try_again(None)));
    let mut last = 0;
    let mut waits = Vec::new();
    for attempt in 0..12 {
        let (at, letter) = round.attempts.recv().await.unwrap();
        assert_eq!((letter.attempts, &letter.event_id), (attempt, &id), "one probe at a time, counted");
        assert_eq!(&*letter.body, b"door 1");
        waits.push(at.as_secs() - last);
        last = at.as_secs();
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    round.end().await;
    assert!(office.next().await.is_some_and(|letter| letter.attempts == 12));
}

#[tokio::test(start_paused = true)]
async fn what_the_endpoint_asks_for_is_done() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::Critical)]).await;
    let mut answers = vec![accepted(), try_again(Some(900)), try_again(Some(7))];
    let mut round = office.start(move |_| now(answers.pop().unwrap()));
    let attempts = round.attempts(3).await;
    assert_eq!(attempts.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 7_000, 907_000]);
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_drains_gently() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High); 6]).await;
    let mut round = office.start(|_| now(accepted()));
    let attempts = round.attempts(6).await;
    let times = attempts.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    assert_eq!(times, [0, 200, 400, 600, 800, 1000]);
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_critical_alarm_does_not_wait_for_the_backlog() {
    let mut office = Office::open(1 << 24);
    office.post(&["a", "b", "c", "d", "e", "f"].map(|alarm| (alarm, Priority::Low))).await;
    let mut round = office.start(|_| now(accepted()));
    round.attempts(2).await;
    office.post(&[("trapped", Priority::Critical)]).await;
    round.wake.notify_one();
    let (at, body) = &round.attempts(1).await[0];
    assert_eq!(
        (body.as_str(), *at <= 5000),
        ("trapped 7", true),
        "at {at} ms, with four before it in the queue"
    );
    round.attempts(4).await;
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_wakes_the_courier() {
    let mut office = Office::open(1 << 24);
    let mut round = office.start(|_| now(accepted()));
    for body in ["door 1", "door 2", "door 3"] {
        office.post(&[("door", Priority::High)]).await;
        round.wake.notify_one();
        assert_eq!(bodies(&round.attempts(1).await), [body]);
    }
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_gauge_tells_how_it_stands() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High), ("motor", Priority::High)]).await;
    let mut answers = vec![accepted(), accepted(), refused(), try_again(None)];
    let mut round = office.start(move |_| now(answers.pop().unwrap()));
    let mut state = round.gauge.state.clone();
    let mut states = vec![];
    while states.len() < 3 {
        state.changed().await.unwrap();
        states.push(state.borrow_and_update().clone());
    }
    let since = ManualClock::new().now().wall;
    let failing = EndpointState::Failing { since, why: busy(), next_try: since + Duration::from_secs(1) };
    let refusing = EndpointState::Refusing { alarms: 1, why: what() };
    assert_eq!(states, [failing, refusing, EndpointState::Delivering]);
    round.attempts(4).await;
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_answer_in_hand() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High), ("door", Priority::High)]).await;
    let mut round = office.start(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            accepted()
        })
    });
    assert_eq!(bodies(&round.attempts(1).await), ["door 1"]);
    round.end().await;
    assert_eq!(office.next().await.unwrap().seq, 2, "the first is settled, the second not begun");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High)]).await;
    let mut round = office.start(|_| Box::pin(std::future::pending()));
    round.attempts(1).await;
    let stopped = Instant::now();
    round.end().await;
    assert_eq!(stopped.elapsed().as_secs(), 5);
    assert!(office.next().await.is_some_and(|letter| letter.attempts == 1), "it is still to be delivered");
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_receipt_doubles_the_letter_and_loses_none() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High), ("door", Priority::High)]).await;
    let mut round = office.start(|_| Box::pin(std::future::pending()));
    let (_, first) = round.attempts.recv().await.unwrap();
    round.task.abort();
    assert!(round.task.await.unwrap_err().is_cancelled());

    let mut round = office.start(|_| now(accepted()));
    let (_, again) = round.attempts.recv().await.unwrap();
    assert_eq!(again, first);
    assert_eq!(bodies(&round.attempts(1).await), ["door 2"]);
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_withdrawn_meanwhile_stops_nobody() {
    let mut office = Office::open(1 << 24);
    office.post(&[("door", Priority::High), ("motor", Priority::High)]).await;
    let store = office.store.clone();
    let mut round = office.start(move |letter| {
        let (store, row) = (store.clone(), letter.row);
        Box::pin(async move {
            store.set_aside(row, what(), Timestamp::UNIX_EPOCH).await.unwrap();
            accepted()
        })
    });
    assert_eq!(bodies(&round.attempts(2).await), ["door 1", "motor 2"]);
    round.end().await;
}

#[tokio::test(start_paused = true)]
async fn from_a_full_store_letters_still_go_and_are_marked() {
    let mut office = Office::open(256 << 10);
    for bytes in [3900, 1] {
        while office.fits("door", bytes).await {}
    }
    let long = Verdict::Accepted { status: 200, said: "y".repeat(1024) };
    let mut round = office.start(move |_| now(long.clone()));
    let mut sent = HashSet::new();
    for _ in 0..20 {
        let (_, letter) = round.attempts.recv().await.unwrap();
        assert!(sent.insert(letter.event_id), "sent twice");
    }
    round.stop.cancel();
    round.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_refuses_for_the_clocks_sake_is_asked_until_it_is_set_and_then_at_once() {
    let mut office = Office::open(1 << 24);
    office.clock.be(TimeQuality::Unset);
    office.post(&[("door", Priority::High)]).await;
    let clock = office.clock.clone();
    let mut round = office
        .start(move |_| now(if clock.quality() == TimeQuality::Unset { refused() } else { accepted() }));
    let attempts = round.attempts(8).await;
    assert!(office.aside().is_empty(), "three times would be enough else: {attempts:?}");
    let failing = round.gauge.read().failing.expect("it can be seen");
    assert!(failing.why.said.en.contains("answered 422"), "{failing:?}");
    office.clock.be(TimeQuality::Synced);
    round.wake.notify_one();
    let last = round.attempts(1).await;
    assert!(last[0].0 - attempts[7].0 <= 1000, "{attempts:?} {last:?}");
    round.end().await;
    assert_eq!(office.next().await, None);
}
