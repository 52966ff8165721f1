use std::collections::VecDeque;

use tokio::{
    sync::{mpsc::Receiver, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::{
    domain::Instruction,
    fieldbus::{
        cost::LineCost,
        driver::{AskFault, Line, LineFault, Unasked},
        fixtures::{self, modbus_link, product, registers, serial_link},
        order::{Begun, Counter, Inquiry, Order},
        plan::Ask,
    },
    profile::{Link, MqttLink},
    text,
};

const SECOND: Duration = Duration::from_secs(1);
/// As whom the line itself reports.
const OWN: DeviceIx = DeviceIx(1000);

/// What the line under test does, as the test says while it runs.
enum Scene {
    /// Units with this address answer from now on, the others are silent.
    Answering(Vec<u8>),
    Refusing(Vec<u8>),
    /// No unit has these registers.
    Lacking(Vec<u16>),
    /// All are silent when they are asked for these registers.
    Mute(Vec<u16>),
    /// The line breaks when somebody is asked for this register, and stands again at once.
    Breaking(Option<u16>),
    LineDown,
    Open,
    Says(Unasked),
}

/// A line that does what the scenes say, and writes down when it was asked what.
struct Stage {
    scenes: Receiver<Scene>,
    answering: Vec<u8>,
    refusing: Vec<u8>,
    lacking: Vec<u16>,
    mute: Vec<u16>,
    breaking: Option<u16>,
    told: Vec<Instruction>,
    works: bool,
    open: bool,
    says: VecDeque<Unasked>,
    asked: mpsc::UnboundedSender<Question>,
}

/// When which unit was asked for how many registers.
type Question = (Instant, u8, u16);

impl Stage {
    fn look(&mut self) {
        while let Ok(scene) = self.scenes.try_recv() {
            self.play(scene);
        }
    }

    fn play(&mut self, scene: Scene) {
        match scene {
            Scene::Answering(units) => self.answering = units,
            Scene::Refusing(units) => self.refusing = units,
            Scene::Lacking(registers) => self.lacking = registers,
            Scene::Mute(registers) => self.mute = registers,
            Scene::Breaking(register) => self.breaking = register,
            Scene::LineDown => (self.works, self.open) = (false, false),
            Scene::Open => self.works = true,
            Scene::Says(unasked) => self.says.push_back(unasked),
        }
    }
}

fn gone() -> LineFault {
    LineFault::down(text!("拔了", "unplugged"))
}

impl Driver for Stage {
    fn cost(&self) -> LineCost {
        LineCost::tcp()
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        self.look();
        match (self.works, std::mem::replace(&mut self.open, self.works)) {
            (false, _) => Err(gone()),
            (true, true) => Ok(Line::Kept),
            (true, false) => Ok(Line::Opened),
        }
    }

    async fn ask(
        &mut self,
        unit: &Address,
        _link: &crate::profile::Link,
        ask: &Ask,
    ) -> Result<Raw, AskFault> {
        self.look();
        let (Address::Unit(unit), Ask::Block { table, first, count }) = (unit, ask) else {
            unreachable!("these tests ask registers")
        };
        self.asked.send((Instant::now(), *unit, *count)).unwrap();
        if !self.works || self.breaking == Some(*first) {
            return Err(gone().into());
        }
        if self.refusing.contains(unit) {
            return Err(AskFault::Refused { code: 4 });
        }
        if self.lacking.iter().any(|register| (*first..first + count).contains(register)) {
            return Err(AskFault::Refused { code: 2 });
        }
        if self.answering.contains(unit) && !self.mute.contains(first) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return Ok(Raw::Registers {
                table: *table,
                first: *first,
                words: vec![u16::from(*unit); usize::from(*count)],
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Err(AskFault::Silent { waited: Duration::from_millis(300) })
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn tell(
        &mut self,
        unit: &Address,
        _link: &crate::profile::Link,
        instruction: &Instruction,
    ) -> Result<(), AskFault> {
        let Address::Unit(unit) = unit else { unreachable!("these tests tell units") };
        self.told.push(instruction.clone());
        match self.answering.contains(unit) {
            true => Ok(()),
            false => Err(AskFault::Silent { waited: Duration::from_millis(300) }),
        }
    }

    async fn hear(&mut self) -> Unasked {
        loop {
            if let Some(unasked) = self.says.pop_front() {
                return unasked;
            }
            match self.scenes.recv().await {
                Some(scene) => self.play(scene),
                None => std::future::pending().await,
            }
            if !self.works && self.open {
                return Unasked::Gone(gone());
            }
        }
    }

    fn close(&mut self) {
        self.open = false;
    }
}

/// A bus that runs, and all that a test sees of it.
struct Show {
    scenes: mpsc::Sender<Scene>,
    heard: Receiver<Heard>,
    asked: mpsc::UnboundedReceiver<Question>,
    counters: Arc<BusCounters>,
    counter: Counter,
    stop: CancellationToken,
    task: JoinHandle<Result<(), BusError>>,
    began: Instant,
}

impl Show {
    /// `devices`: their unit and product.
    fn start(devices: &[(u8, Arc<Profile>)], answering: &[u8]) -> Show {
        Self::start_as(devices, answering, None)
    }

    /// `own`: as whom the line itself reports.
    fn start_as(devices: &[(u8, Arc<Profile>)], answering: &[u8], own: Option<DeviceIx>) -> Show {
        let texts: Vec<String> = devices.iter().map(|(unit, _)| unit.to_string()).collect();
        let named: Vec<(&str, Arc<Profile>)> =
            texts.iter().zip(devices).map(|(text, (_, product))| (text.as_str(), product.clone())).collect();
        let (mut parts, heard) = fixtures::parts(&named);
        let (counter, inbox) = crate::fieldbus::counter();
        parts.inbox = inbox;
        parts.own = own.map(|ix| BusDevice {
            ix,
            id: "bus:test".into(),
            address: Address::Text("test".into()),
            medium: Medium::Inside,
            profile: product(Link::Mqtt(MqttLink { topic: String::new(), heartbeat: None })),
        });
        for (device, (unit, _)) in parts.devices.iter_mut().zip(devices) {
            device.address = Address::Unit(*unit);
        }
        let (scenes, from_test) = mpsc::channel(64);
        let (tell, asked) = mpsc::unbounded_channel();
        let stage = Stage {
            scenes: from_test,
            answering: answering.to_vec(),
            refusing: vec![],
            lacking: vec![],
            mute: vec![],
            breaking: None,
            told: vec![],
            works: true,
            open: false,
            says: VecDeque::new(),
            asked: tell,
        };
        let counters = parts.counters.clone();
        let stop = CancellationToken::new();
        let task = tokio::spawn(Bus::new(stage, parts).run(stop.clone()));
        Show { scenes, heard, asked, counters, counter, stop, task, began: Instant::now() }
    }

    async fn set(&self, scene: Scene) {
        self.scenes.send(scene).await.unwrap();
    }

    /// What is heard in the next `time`: the device, its points and what came of it.
    async fn hear_for(&mut self, time: Duration) -> Vec<(u32, usize, Result<u16, Failure>)> {
        let until = Instant::now() + time;
        let mut all = Vec::new();
        while let Ok(heard) = tokio::time::timeout_at(until, self.heard.recv()).await {
            let Heard { device, points, outcome, .. } = heard.expect("the bus goes on");
            let outcome = outcome.map(|raw| match raw {
                Raw::Registers { words, .. } => words[0],
                Raw::Bits { .. } | Raw::Frame { .. } | Raw::Payload { .. } => 0,
            });
            all.push((device.0, points.len(), outcome));
        }
        all
    }

    /// When `unit` was asked, in milliseconds since the start.
    fn times(&mut self, unit: u8) -> Vec<u64> {
        let asked = std::iter::from_fn(|| self.asked.try_recv().ok());
        asked
            .filter(|(_, asked, _)| *asked == unit)
            .map(|(at, ..)| (at - self.began).as_millis() as u64)
            .collect()
    }

    /// For how many registers the units were asked, each time in the next `time`.
    async fn counts(&mut self, time: Duration) -> Vec<u16> {
        while self.asked.try_recv().is_ok() {}
        self.hear_for(time).await;
        std::iter::from_fn(|| self.asked.try_recv().ok()).map(|(.., count)| count).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Two blocks each second.
fn two_blocks() -> Arc<Profile> {
    registers(modbus_link(), &[(1, SECOND), (9, SECOND)])
}

fn one_block() -> Arc<Profile> {
    registers(modbus_link(), &[(1, SECOND)])
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_asked_and_handed_on() {
    let mut show = Show::start(&[(1, two_blocks()), (2, two_blocks())], &[1, 2]);
    let heard = show.hear_for(Duration::from_millis(1900)).await;
    let good = |device| (device, 1, Ok(device as u16 + 1));
    assert_eq!(heard, [good(0), good(0), good(1), good(1), good(0), good(0), good(1), good(1)]);
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_unit_costs_the_others_little_and_is_back_with_its_first_answer() {
    let mut show = Show::start(&[(1, one_block()), (2, two_blocks()), (3, one_block())], &[1, 3]);
    let heard = show.hear_for(60 * SECOND).await;
    for (unit, most) in [(1, 62), (3, 62)] {
        let answered = heard.iter().filter(|(device, ..)| *device == unit - 1).count();
        assert!((58..=most).contains(&answered), "unit {unit}: {answered} answers in a minute");
    }
    let failures: Vec<usize> =
        heard.iter().filter(|(device, ..)| *device == 1).map(|(_, points, _)| *points).collect();
    assert!(
        failures.iter().all(|points| *points == 2),
        "it is lost at once, with all its points: {failures:?}"
    );
    let asked = show.times(2);
    let waits: Vec<u64> = asked[2..].windows(2).map(|pair| (pair[1] - pair[0]).div_ceil(1000)).collect();
    assert_eq!(waits, [6, 9, 17], "probes, further and further apart, and never more than 5 % of the line");

    show.set(Scene::Answering(vec![1, 2, 3])).await;
    let heard = show.hear_for(31 * SECOND).await;
    let back: Vec<_> = heard.iter().filter(|(device, ..)| *device == 1).take(3).collect();
    assert_eq!(back, [&(1, 1, Ok(2)), &(1, 1, Ok(2)), &(1, 1, Ok(2))]);
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn retries_are_for_units_that_are_online() {
    let mut show = Show::start(&[(7, one_block())], &[]);
    let silent = || [(0, 1, Err(Failure::Silent))];
    assert_eq!(show.hear_for(SECOND).await, silent());
    assert_eq!(show.times(7).len(), 1, "one that was never heard is tried once");
    show.set(Scene::Answering(vec![7])).await;
    show.hear_for(5 * SECOND).await;
    show.times(7);
    show.set(Scene::Answering(vec![])).await;
    assert_eq!(show.hear_for(SECOND * 8 / 10).await, silent(), "told once, after both tries");
    assert_eq!(show.times(7).len(), 2, "one that answers is tried again");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_answer() {
    let mut show = Show::start(&[(1, one_block())], &[]);
    show.set(Scene::Refusing(vec![1])).await;
    let heard = show.hear_for(Duration::from_millis(9500)).await;
    assert_eq!(heard, vec![(0, 1, Err(Failure::Refused { code: 4 })); 10]);
    show.end().await;
}

/// Six registers, read together each second.
fn one_wide_block() -> Arc<Profile> {
    registers(modbus_link(), &[1, 2, 3, 4, 5, 6].map(|address| (address, SECOND)))
}

#[tokio::test(start_paused = true)]
async fn a_register_that_is_not_there_costs_its_neighbours_nothing() {
    let mut show = Show::start(&[(1, one_wide_block())], &[1]);
    show.set(Scene::Lacking(vec![4])).await;
    let heard = show.hear_for(SECOND / 2).await;
    let (good, refused): (Vec<_>, Vec<_>) = heard.iter().partition(|(.., outcome)| outcome.is_ok());
    let points =
        |of: &[&(u32, usize, Result<u16, Failure>)]| of.iter().map(|(_, points, _)| points).sum::<usize>();
    assert_eq!(
        (points(&good), points(&refused)),
        (5, 1),
        "in the first second, all that is there: {heard:?}"
    );
    show.times(1);
    let heard = show.hear_for(30 * SECOND).await;
    let (good, refused): (Vec<_>, Vec<_>) = heard.iter().partition(|(.., outcome)| outcome.is_ok());
    assert_eq!(points(&good), 150, "{heard:?}");
    assert_eq!(refused.len(), 3, "what is refused is asked less often");
    show.set(Scene::Lacking(vec![])).await;
    show.hear_for(11 * SECOND).await;
    let heard = show.hear_for(10 * SECOND).await;
    let good: Vec<_> = heard.iter().collect();
    assert_eq!(points(&good), 60, "and as often as the others once it is there");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_refused_everything_while_it_booted_is_read_in_blocks_again() {
    let mut show = Show::start(&[(1, one_wide_block())], &[1]);
    show.set(Scene::Lacking((1..=6).collect())).await;
    show.hear_for(20 * SECOND).await;
    show.set(Scene::Lacking(vec![])).await;
    assert_eq!(show.counts(20 * SECOND).await.iter().max(), Some(&1), "register by register for now");
    show.hear_for(25 * SECOND).await;
    assert_eq!(show.counts(10 * SECOND).await, [6; 10], "after a minute the block is tried, and that is all");

    show.set(Scene::Lacking(vec![4])).await;
    show.hear_for(10 * SECOND).await;
    show.set(Scene::Lacking(vec![])).await;
    show.set(Scene::Answering(vec![])).await;
    show.hear_for(10 * SECOND).await;
    show.set(Scene::Answering(vec![1])).await;
    show.hear_for(10 * SECOND).await;
    assert_eq!(show.counts(10 * SECOND).await, [6; 10], "one that was lost may have been replaced: at once");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_always_refused_is_tried_less_and_less_often_and_costs_no_value() {
    let mut show = Show::start(&[(1, one_wide_block())], &[1]);
    show.set(Scene::Lacking(vec![4])).await;
    show.hear_for(SECOND).await;
    while show.asked.try_recv().is_ok() {}
    let heard = show.hear_for(3600 * SECOND).await;
    let whole = std::iter::from_fn(|| show.asked.try_recv().ok()).filter(|(.., count)| *count == 6).count();
    assert_eq!(whole, 5, "after 1, 3, 7, 15 and 31 minutes");
    let good: usize = heard.iter().filter(|(.., outcome)| outcome.is_ok()).map(|(_, points, _)| points).sum();
    assert_eq!(good, 5 * 3600);
    let refused = heard.iter().filter(|(.., outcome)| outcome.is_err());
    assert!(refused.clone().all(|(_, points, _)| *points == 1), "its neighbours hear nothing of that");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_block_and_its_parts_that_are_asked_together_leave_no_part_behind() {
    let link = crate::profile::ModbusLink { pipeline: 16, ..modbus_link() };
    let wide = registers(link, &[1, 2, 3, 4, 5, 6].map(|address| (address, SECOND)));
    let mut show = Show::start(&[(1, wide)], &[1]);
    show.set(Scene::Lacking((1..=6).collect())).await;
    show.hear_for(20 * SECOND).await;
    show.set(Scene::Lacking(vec![])).await;
    show.hear_for(60 * SECOND).await;
    assert_eq!(show.counts(30 * SECOND).await, [6; 30]);
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_had_come_when_the_line_broke_is_told() {
    let link = crate::profile::ModbusLink { pipeline: 4, ..modbus_link() };
    let product = registers(link, &[1, 9, 17].map(|address| (address, SECOND)));
    let mut show = Show::start(&[(1, product)], &[1]);
    show.hear_for(SECOND * 3 / 2).await;
    show.set(Scene::Breaking(Some(9))).await;
    let down = (0, 3, Err(Failure::LineDown { fault: gone() }));
    assert_eq!(show.hear_for(SECOND * 7 / 10).await, [(0, 1, Ok(1)), (0, 1, Ok(1)), down]);
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn many_dead_units_cost_the_line_no_more_than_one_part_in_twenty() {
    let dead: Vec<u8> = (2..=9).collect();
    let devices: Vec<_> = (1..=9).map(|unit| (unit, one_block())).collect();
    let mut show = Show::start(&devices, &[1]);
    show.hear_for(30 * SECOND).await;
    dead.iter().for_each(|unit| drop(show.times(*unit)));
    let before = show.counters.silences.load(std::sync::atomic::Ordering::Relaxed);
    let heard = show.hear_for(600 * SECOND).await;
    let probes = show.counters.silences.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!((50..=100).contains(&probes), "{probes} probes of 0.3 s in 600 s");
    let answered = heard.iter().filter(|(device, ..)| *device == 0).count();
    assert!(answered >= 599, "{answered} answers of the unit that lives");

    show.set(Scene::Answering((1..=9).collect())).await;
    let heard = show.hear_for(12 * SECOND).await;
    let back: std::collections::BTreeSet<u32> =
        heard.iter().filter(|(.., outcome)| outcome.is_ok()).map(|(device, ..)| *device).collect();
    assert_eq!(back.len(), 9, "the first that is back is a sign for the others");
    show.end().await;
}

fn order(device: u32) -> (Order, oneshot::Receiver<Result<(), AskFault>>) {
    let (reply, outcome) = oneshot::channel();
    let instruction = Instruction::Registers { first: 1, words: vec![40], multiple: false };
    (Order { device: DeviceIx(device), instruction, reply, begun: Begun::default() }, outcome)
}

#[tokio::test(start_paused = true)]
async fn an_order_is_carried_out_once_and_told_what_came_of_it() {
    let mut show = Show::start(&[(1, one_block()), (2, one_block())], &[1]);
    show.hear_for(SECOND).await;
    let (to_one, done) = order(0);
    show.counter.orders.send(to_one).await.unwrap();
    assert_eq!(done.await.unwrap(), Ok(()));
    let (to_other, done) = order(1);
    show.counter.orders.send(to_other).await.unwrap();
    assert!(matches!(done.await.unwrap(), Err(AskFault::Silent { .. })));
    show.set(Scene::LineDown).await;
    show.hear_for(SECOND).await;
    let (to_nobody, done) = order(0);
    show.counter.orders.send(to_nobody).await.unwrap();
    assert!(matches!(done.await.unwrap(), Err(AskFault::LineDown(_))), "at once, not when the line is back");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_inquiry_is_answered_and_takes_nobodys_time() {
    let mut show = Show::start(&[(1, one_block())], &[1, 77]);
    show.hear_for(SECOND).await;
    let (to_stranger, answer) = inquiry(77);
    show.counter.inquiries.send(to_stranger).await.unwrap();
    assert!(answer.await.unwrap().is_ok(), "a unit that is not in the site");
    for unit in 100..140u8 {
        let (to_nobody, answer) = inquiry(unit);
        show.counter.inquiries.send(to_nobody).await.unwrap();
        assert!(answer.await.unwrap().is_err());
    }
    let heard = show.hear_for(SECOND).await;
    assert!(
        heard.iter().all(|(device, _, outcome)| *device == 0 && outcome.is_ok()),
        "no device is judged by it"
    );
    let asked = show.times(1);
    let late = asked.windows(2).filter(|pair| pair[1] - pair[0] > 1310).count();
    assert_eq!(late, 0, "{asked:?}");
    show.end().await;
}

fn inquiry(unit: u8) -> (Inquiry, oneshot::Receiver<Result<Raw, AskFault>>) {
    let (reply, answer) = oneshot::channel();
    let ask = Ask::Block { table: crate::domain::Table::Holding, first: 5, count: 2 };
    (Inquiry { unit: Address::Unit(unit), link: Link::Modbus(modbus_link()), ask, reply }, answer)
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_never_idle_still_finds_time_for_an_inquiry() {
    let restless = registers(modbus_link(), &[1, 9, 17].map(|address| (address, SECOND / 50)));
    let all_dead: Vec<_> = (1..=60).map(|unit| (unit, one_block())).collect();
    for (fact, devices) in
        [("more is due than it can carry", vec![(1, restless)]), ("all are lost", all_dead)]
    {
        let mut show = Show::start(&devices, if devices.len() == 1 { &[1, 77] } else { &[77] });
        show.hear_for(5 * SECOND).await;
        for _ in 0..3 {
            let (inquiry, answer) = inquiry(77);
            show.counter.inquiries.send(inquiry).await.unwrap();
            let heard = async {
                loop {
                    show.heard.recv().await.expect("the bus goes on");
                }
            };
            tokio::select! {
                answer = answer => assert!(answer.unwrap().is_ok(), "{fact}"),
                () = heard => {}
                () = tokio::time::sleep(5 * SECOND) => panic!("{fact}: no time for it"),
            }
        }
        show.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_of_several_questions_is_told_before_any_is_asked_again() {
    let product = registers(
        crate::profile::ModbusLink { pipeline: 4, retries: 3, ..modbus_link() },
        &[1, 9].map(|address| (address, SECOND)),
    );
    let mut show = Show::start(&[(1, product)], &[1]);
    show.hear_for(3 * SECOND).await;
    show.set(Scene::Mute(vec![9])).await;
    show.times(1);
    let heard = tokio::time::timeout(2 * SECOND, show.heard.recv()).await.unwrap().unwrap();
    assert!(heard.outcome.is_ok());
    assert!(show.times(1).len() <= 3, "both, and the next one is under way");
    show.end().await;
}

/// A line on which all answers take the same time, whether one is under way or several.
struct Far;

impl Driver for Far {
    fn cost(&self) -> LineCost {
        LineCost::tcp()
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        Ok(Line::Kept)
    }

    async fn ask(&mut self, _unit: &Address, _link: &Link, _ask: &Ask) -> Result<Raw, AskFault> {
        tokio::time::sleep(SECOND / 4).await;
        Ok(Raw::Registers { table: crate::domain::Table::Holding, first: 1, words: vec![7] })
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn ask_all(&mut self, asked: &[crate::fieldbus::driver::Asked<'_>]) -> Vec<Result<Raw, AskFault>> {
        let answer = self.ask(asked[0].unit, asked[0].link, asked[0].ask).await;
        asked.iter().map(|_| answer.clone()).collect()
    }

    async fn hear(&mut self) -> Unasked {
        std::future::pending().await
    }

    fn close(&mut self) {}
}

#[tokio::test(start_paused = true)]
async fn a_unit_is_not_thought_quicker_because_several_questions_are_under_way() {
    let link = crate::profile::ModbusLink { pipeline: 4, ..modbus_link() };
    let product = registers(link, &[1, 9, 17, 25].map(|address| (address, SECOND)));
    let (parts, _heard) = fixtures::parts(&[("1", product)]);
    let mut bus = Bus::new(Far, parts);
    assert_eq!(bus.schedule.next(Instant::now()), Next::Serve { slot: 0, late: false });
    bus.poll(0).await.unwrap();
    assert_eq!(bus.units[0].health.latency().mean(), Some(SECOND / 4));
}

/// What is logged on this thread from now on.
fn logged() -> (Arc<std::sync::Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct Ink(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Ink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let text = Arc::new(std::sync::Mutex::new(Vec::new()));
    let paper = text.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Ink(paper.clone())).finish();
    (text, tracing::subscriber::set_default(log))
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_logged_once_and_its_end_too() {
    let (text, _guard) = logged();
    let mut show = Show::start(&[(1, two_blocks())], &[1]);
    for refusing in [vec![1], vec![], vec![1], vec![]] {
        show.set(Scene::Refusing(refusing)).await;
        show.hear_for(20 * SECOND).await;
    }
    show.end().await;
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    let lines = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    assert_eq!((lines(" WARN "), lines("Device answers a request it refused.")), (2, 2), "{text}");
    assert_eq!(lines("exception 04: the device failed"), 2, "{text}");
    assert_eq!(lines("holding registers 9 to 9, counted from 0"), 2, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_down_is_told_once_and_tried_again() {
    let mut show = Show::start(&[(1, two_blocks()), (2, one_block())], &[1, 2]);
    show.hear_for(3 * SECOND).await;
    show.set(Scene::LineDown).await;
    let down = |device, points| {
        (device, points, Err(Failure::LineDown { fault: LineFault::down(text!("拔了", "unplugged")) }))
    };
    assert_eq!(show.hear_for(60 * SECOND).await, [down(0, 2), down(1, 1)]);
    show.times(1);
    show.set(Scene::Open).await;
    let back = show.hear_for(11 * SECOND).await;
    let devices: Vec<u32> = back.iter().map(|(device, ..)| *device).take(3).collect();
    assert_eq!(devices, [0, 0, 1], "what is overdue is asked at once");
    assert!(back.iter().all(|(.., outcome)| outcome.is_ok()));
    assert_eq!(show.counters.reconnects.load(std::sync::atomic::Ordering::Relaxed), 1);
    show.set(Scene::LineDown).await;
    assert_eq!(show.hear_for(20 * SECOND).await.len(), 2, "after it worked it is told again");
    show.end().await;
}

/// What the line says of itself in the next `time`.
async fn reports(show: &mut Show, time: Duration) -> Vec<serde_json::Value> {
    let until = Instant::now() + time;
    let mut reports = Vec::new();
    while let Ok(heard) = tokio::time::timeout_at(until, show.heard.recv()).await {
        if let Heard { device: OWN, outcome: Ok(Raw::Payload { bytes, .. }), .. } = heard.unwrap() {
            reports.push(serde_json::from_slice(&bytes).unwrap());
        }
    }
    reports
}

#[tokio::test(start_paused = true)]
async fn a_line_reports_on_itself_on_a_beat_and_when_its_state_changes() {
    let mut show = Show::start_as(&[(1, two_blocks()), (2, one_block())], &[1], Some(OWN));
    let up = reports(&mut show, 35 * SECOND).await;
    let states = |reports: &[serde_json::Value]| -> Vec<String> {
        reports.iter().map(|report| report["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&up), ["up", "up", "up"]);
    assert_eq!((&up[2]["devices"], &up[2]["devices_lost"]), (&2.into(), &1.into()));
    assert!(up[2]["utilisation"].as_f64().is_some_and(|percent| percent > 0.0 && percent < 10.0), "{up:?}");
    show.set(Scene::LineDown).await;
    let down = reports(&mut show, SECOND).await;
    assert_eq!(
        (states(&down), &down[0]["why"]),
        (vec!["down".to_owned()], &"use the line: unplugged".into())
    );
    show.set(Scene::Open).await;
    assert_eq!(states(&reports(&mut show, 9 * SECOND).await), ["up"], "at once, not on the beat");
    let babble = LineFault::Babble { bytes: 5_000_000, over: 5 * SECOND };
    show.set(Scene::Says(Unasked::Gone(babble))).await;
    let babbling = reports(&mut show, SECOND).await;
    assert_eq!((states(&babbling), &babbling[0]["losses"]), (vec!["babbling".to_owned()], &2.into()));
    let rested = reports(&mut show, 295 * SECOND).await;
    assert_eq!(
        rested.last().map(|report| &report["losses"]),
        Some(&1.into()),
        "after five minutes it is forgotten"
    );
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_open_again_is_up_though_nobody_on_it_answers() {
    let mut show = Show::start_as(&[(1, one_block()), (2, one_block())], &[1, 2], Some(OWN));
    reports(&mut show, 15 * SECOND).await;
    show.set(Scene::LineDown).await;
    reports(&mut show, 20 * SECOND).await;
    show.set(Scene::Answering(vec![])).await;
    let still = reports(&mut show, 10 * SECOND).await;
    assert!(still.iter().all(|report| report["state"] == "down"), "{still:?}");
    show.set(Scene::Open).await;
    let back = reports(&mut show, 10 * SECOND).await;
    assert_eq!(back[0]["state"], "up", "with the first silence");
    let later = reports(&mut show, 20 * SECOND).await;
    assert_eq!((&later[1]["state"], &later[1]["devices_lost"]), (&"up".into(), &2.into()), "{later:?}");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_babbled_on_is_left_alone_for_a_while() {
    let mut show = Show::start(&[(1, one_block())], &[1]);
    show.hear_for(SECOND / 2).await;
    show.times(1);
    let babble = LineFault::Babble { bytes: 5_000_000, over: 5 * SECOND };
    show.set(Scene::Says(Unasked::Gone(babble))).await;
    let heard = show.hear_for(29 * SECOND).await;
    assert!(matches!(heard[..], [(0, 1, Err(Failure::LineDown { .. }))]), "{heard:?}");
    assert_eq!(show.times(1), [] as [u64; 0]);
    assert!(show.hear_for(3 * SECOND).await.iter().all(|(.., outcome)| outcome.is_ok()));
    assert_ne!(show.times(1), [] as [u64; 0]);
    show.end().await;
}

fn message(device: u32, retained: bool) -> Unasked {
    let raw = Raw::Payload { bytes: bytes::Bytes::new(), retained };
    Unasked::Message { device: DeviceIx(device), raw, receipt: None }
}

#[tokio::test(start_paused = true)]
async fn a_talker_is_heard_and_missed() {
    let heartbeat = Some(60 * SECOND);
    let talker = product(Link::Mqtt(MqttLink { topic: String::new(), heartbeat }));
    let mut show = Show::start(&[(1, talker)], &[]);
    assert_eq!(show.hear_for(50 * SECOND).await, []);
    show.set(Scene::Says(message(0, false))).await;
    assert_eq!(show.hear_for(50 * SECOND).await, [(0, 0, Ok(0))]);
    show.set(Scene::Says(message(0, true))).await;
    assert_eq!(
        show.hear_for(11 * SECOND).await,
        [(0, 0, Ok(0)), (0, 0, Err(Failure::Silent))],
        "retained is no life"
    );
    assert_eq!(show.hear_for(121 * SECOND).await, vec![(0, 0, Err(Failure::Silent)); 2]);
    show.set(Scene::Says(Unasked::Stranger)).await;
    show.set(Scene::Says(message(99, false))).await;
    assert_eq!(show.hear_for(SECOND).await, [], "of nobody we know");
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn talkers_do_not_keep_the_others_from_being_asked() {
    let talker = product(Link::Serial(serial_link(0, 1)));
    let mut show = Show::start(&[(1, one_block()), (2, talker)], &[1]);
    let scenes = show.scenes.clone();
    let talking =
        tokio::spawn(async move { while scenes.send(Scene::Says(message(1, false))).await.is_ok() {} });
    let mut asked = 0;
    while asked < 5 {
        asked += usize::from(show.heard.recv().await.unwrap().device == DeviceIx(0));
        // the talkers never let the runtime idle, so the clock is turned by hand
        tokio::time::advance(Duration::from_millis(3)).await;
    }
    talking.abort();
    show.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_slows_the_polls_down_and_a_closed_one_ends_the_bus() {
    let mut show = Show::start(&[(1, one_block())], &[1]);
    tokio::time::sleep(1000 * SECOND).await;
    let asked = show.times(1).len();
    assert!((256..260).contains(&asked), "{asked} questions for an inbox of 256");
    drop(show.heard);
    assert!(matches!(show.task.await.unwrap(), Err(BusError::NobodyListens { .. })));
}

#[test]
fn jitter_stays_between_half_and_all_of_the_wait() {
    let mut chance = Chance(1);
    let waits: Vec<Duration> = (0..1000).map(|_| chance.jitter(SECOND)).collect();
    assert!(waits.iter().all(|wait| (SECOND / 2..=SECOND).contains(wait)));
    assert!(
        waits.iter().any(|wait| *wait < SECOND * 6 / 10) && waits.iter().any(|wait| *wait > SECOND * 9 / 10)
    );
}
