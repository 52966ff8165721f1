//! A line with misbehaving slaves at its other end, on paused time: thousands of exchanges take no time at all.

use std::{collections::VecDeque, path::PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::{
    domain::{Garble, Table},
    profile::Dialect::{self, Nice3000, Standard},
};

const CHARACTER: Duration = Duration::from_micros(1042);
const TIMEOUT: Duration = Duration::from_millis(300);

fn link() -> ModbusLink {
    ModbusLink {
        dialect: Standard,
        max_registers: 10,
        max_gap: 0,
        align: 1,
        timeout: TIMEOUT,
        retries: 0,
        turnaround: Duration::ZERO,
        pipeline: 1,
    }
}

fn block(unit: u8, first: u16, count: u16) -> Question {
    Question { unit, table: Table::Holding, first, count, dialect: Standard }
}

/// What every register of every unit holds: no two are alike.
fn held(unit: u8, address: u16) -> u16 {
    (u16::from(unit) * 1000).wrapping_add(address).wrapping_mul(0x9E37)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(body).to_le_bytes();
    [body, &crc].concat()
}

fn truth(question: &Question) -> Vec<u8> {
    let mut body = vec![question.unit, 3];
    match question.dialect {
        Dialect::Standard => body.push(2 * question.count as u8),
        Dialect::Nice3000 => body.extend((2 * question.count).to_be_bytes()),
    }
    (0..question.count).for_each(|n| body.extend(held(question.unit, question.first + n).to_be_bytes()));
    frame(&body)
}

fn assert_true(fact: &str, question: &Question, raw: &Raw) {
    let words = (0..question.count).map(|n| held(question.unit, question.first + n)).collect();
    let want = Raw::Registers { table: question.table, first: question.first, words };
    assert_eq!(raw, &want, "{fact}: {question:?}");
}

/// SplitMix64, so that a failing seed fails again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// How the slaves of a line behave.
enum Habit {
    /// Each request is answered after so long, one after the other.
    After(Duration),
    /// At once, but after so many requests only after a while.
    Slows(usize, Dice),
    /// Each request is answered at once, with the reply to the one before.
    OneBehind(Option<Vec<u8>>),
    /// The n-th request (from 0) of each of these numbers is not answered.
    Misses(Vec<usize>),
    Any(Dice),
    /// As `Any`, and some requests are refused for the moment, as by a slave that is busy.
    Moody(Dice),
    Echo,
}

/// `(first, count)` of each, or anything.
type Blocks = Option<Vec<(u16, u16)>>;

struct Slaves {
    end: DuplexStream,
    habit: Habit,
    /// What each unit lets itself be asked; `None`: anything.
    blocks: Blocks,
    /// Silent to other blocks rather than refusing them.
    deaf: bool,
    dialect: Dialect,
    asked: usize,
    outbox: VecDeque<(Instant, Vec<u8>)>,
}

impl Slaves {
    fn new(end: DuplexStream, habit: Habit) -> Self {
        let outbox = VecDeque::new();
        Self { end, habit, blocks: None, deaf: false, dialect: Standard, asked: 0, outbox }
    }

    async fn serve(mut self) {
        let mut request = [0; 8];
        let mut have = 0;
        loop {
            let due = self.outbox.front().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = async { tokio::time::sleep_until(due.unwrap()).await }, if due.is_some() => {
                    let (_, bytes) = self.outbox.pop_front().unwrap();
                    if self.end.write_all(&bytes).await.is_err() { return }
                }
                got = self.end.read(&mut request[have..]) => {
                    match got { Ok(0) | Err(_) => return, Ok(count) => have += count }
                    if have == 8 {
                        have = 0;
                        self.take(request);
                    }
                }
            }
        }
    }

    fn take(&mut self, request: [u8; 8]) {
        let [unit, function, first_high, first_low, _, count, ..] = request;
        assert_eq!(frame(&request[..6]), request, "a request is a valid frame");
        let first = u16::from_be_bytes([first_high, first_low]);
        let asked = Question { dialect: self.dialect, ..block(unit, first, count.into()) };
        let known =
            self.blocks.as_ref().is_none_or(|blocks| blocks.iter().any(|&b| b == (first, count.into())));
        let reply = match (known, self.deaf) {
            (true, _) => truth(&asked),
            (false, true) => return,
            (false, false) => frame(&[unit, function | 0x80, 2]),
        };
        self.asked += 1;
        let after = |ms: u64| Duration::from_millis(ms);
        match &mut self.habit {
            Habit::After(delay) => {
                let delay = *delay;
                self.send(delay, reply);
            }
            Habit::Slows(many, dice) => {
                let delay = after(if self.asked > *many { 40 + dice.below(460) } else { 5 });
                self.send(delay, reply);
            }
            Habit::OneBehind(before) => {
                if let Some(before) = before.replace(reply) {
                    self.send(after(5), before);
                }
            }
            Habit::Misses(which) => {
                if !which.contains(&(self.asked - 1)) {
                    self.send(after(5), reply);
                }
            }
            Habit::Echo => self.send(after(1), [&request[..], &reply].concat()),
            Habit::Any(dice) => {
                let (delay, bytes) = misbehave(dice, unit, reply);
                self.send(delay, bytes);
            }
            Habit::Moody(dice) => {
                let busy = frame(&[unit, function | 0x80, [2, 3, 4, 6][dice.below(4) as usize]]);
                let reply = if dice.below(6) == 0 { busy } else { reply };
                let (delay, bytes) = misbehave(dice, unit, reply);
                self.send(delay, bytes);
            }
        }
    }

    /// In order: nothing overtakes.
    fn send(&mut self, delay: Duration, bytes: Vec<u8>) {
        let at = Instant::now() + delay;
        let at = self.outbox.back().map_or(at, |(before, _)| at.max(*before));
        self.outbox.push_back((at, bytes));
    }
}

fn misbehave(dice: &mut Dice, unit: u8, reply: Vec<u8>) -> (Duration, Vec<u8>) {
    let mut ms = 1 + dice.below(100);
    let mut bytes = reply.clone();
    match dice.below(20) {
        0 => bytes.clear(),
        1 | 2 => ms = dice.below(1400),
        3 => bytes.extend(reply),
        4 => bytes.truncate(dice.below(reply.len() as u64) as usize),
        5 => {
            for _ in 0..=dice.below(3) {
                let bit = dice.below(8 * reply.len() as u64) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        6 => bytes = [truth(&block(unit ^ 1, 7, 4)), reply].concat(),
        7 => bytes = [vec![0; dice.below(4) as usize], reply].concat(),
        8 => bytes.extend((0..dice.below(30)).map(|n| n as u8)),
        _ => {}
    }
    (Duration::from_millis(ms), bytes)
}

fn wire(end: DuplexStream) -> Wire<DuplexStream> {
    Wire::new(OpenPort::new(end, PathBuf::from("pipe")), CHARACTER)
}

/// A wire with slaves of this habit, and the task that plays them.
fn line(habit: Habit, set: impl FnOnce(&mut Slaves)) -> (Wire<DuplexStream>, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let mut slaves = Slaves::new(theirs, habit);
    set(&mut slaves);
    (wire(ours), tokio::spawn(slaves.serve()))
}

#[tokio::test(start_paused = true)]
async fn no_register_ever_shows_what_another_holds_whatever_the_line_does() {
    let anything = [block(1, 0, 4), block(1, 100, 4), block(1, 200, 2), block(3, 0, 10), block(3, 60, 10)];
    let single = [block(1, 0, 1), block(1, 50, 1), block(2, 0, 1), block(2, 50, 1)];
    for (fact, questions, fussy) in
        [("any block", &anything[..], false), ("no other blocks", &single[..], true)]
    {
        for (seed, moody) in [(1, false), (2, false), (3, false), (4, true), (30, true)] {
            let habit = if moody { Habit::Moody(Dice(seed)) } else { Habit::Any(Dice(seed)) };
            let (mut wire, _slaves) = line(habit, |slaves| {
                slaves.blocks = fussy.then(|| vec![(0, 1), (50, 1)]);
            });
            let mut dice = Dice(seed ^ 0xFFFF);
            let (mut answered, asked) = (0, 4_000);
            for _ in 0..asked {
                let question = questions[dice.below(questions.len() as u64) as usize];
                if let Ok(raw) = wire.ask(&question, &link()).await {
                    assert_true(&format!("{fact}, seed {seed}"), &question, &raw);
                    answered += 1;
                }
            }
            assert!(answered > asked / 3, "{fact}, seed {seed}: only {answered} answers");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_is_one_answer_behind_is_never_believed() {
    let cases = [
        ("blocks of one length", [block(1, 0, 4), block(1, 100, 4)], None),
        ("one block only", [block(1, 0, 4), block(1, 0, 4)], None),
        ("single registers, others refused", [block(1, 0, 1), block(1, 50, 1)], Some(vec![(0, 1), (50, 1)])),
        ("single registers", [block(1, 0, 1), block(1, 50, 1)], None),
    ];
    // what it still has to say to whoever asked before we came
    let mut from_before = vec![None, Some(frame(&[1, 0x83, 2]))];
    from_before.extend((1..=4).map(|count| Some(truth(&block(1, 100, count)))));
    for (fact, questions, blocks) in cases {
        for before in &from_before {
            let habit = Habit::OneBehind(before.clone());
            let (mut wire, _slaves) = line(habit, |slaves| slaves.blocks = blocks.clone());
            let mut dice = Dice(7);
            for _ in 0..200 {
                let question = questions[dice.below(2) as usize];
                let answer = wire.ask(&question, &link()).await;
                assert!(answer.is_err(), "{fact}, {before:02x?} from before: {question:?} was believed");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_is_always_too_late_is_never_believed() {
    for late in [310, 400, 600, 700, 900, 1300] {
        let (mut wire, _slaves) = line(Habit::After(Duration::from_millis(late)), |_| {});
        for n in 0..600 {
            let question = [block(1, 0, 4), block(1, 100, 4)][n % 2];
            if let Ok(raw) = wire.ask(&question, &link()).await {
                assert!(late < 350, "{late} ms are within the time that the bytes need besides the timeout");
                assert_true("late", &question, &raw);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_missed_questions_is_soon_believed_again() {
    let cases: [(&str, usize, u16, bool, Blocks); 7] = [
        ("one reply was lost", 1, 4, false, None),
        ("it was dead for long", 50, 4, false, None),
        ("single registers", 50, 1, false, None),
        ("single registers, others refused", 50, 1, false, Some(vec![(0, 1)])),
        ("others refused, one reply lost", 1, 1, false, Some(vec![(0, 1)])),
        ("deaf to other blocks", 50, 4, true, Some(vec![(0, 4)])),
        ("deaf to other blocks, one reply lost", 1, 4, true, Some(vec![(0, 4)])),
    ];
    for (fact, missed, count, deaf, blocks) in cases {
        let (mut wire, _slaves) = line(Habit::Misses((0..missed).collect()), |slaves| {
            slaves.blocks = blocks;
            slaves.deaf = deaf;
        });
        let question = block(1, 0, count);
        let mut asks = 0;
        while let Err(fault) = wire.ask(&question, &link()).await {
            asks += 1;
            assert!(asks < missed + 4 || deaf && asks < 3 * missed + 4, "{fact}: {fault} after {asks}");
        }
        for _ in 0..3 {
            let raw = wire.ask(&question, &link()).await.expect(fact);
            assert_true(fact, &question, &raw);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_unit_costs_the_line_two_response_times_and_no_more() {
    let (mut wire, _slaves) = line(Habit::Misses((0..10).collect()), |_| {});
    for _ in 0..10 {
        let began = Instant::now();
        assert!(matches!(wire.ask(&block(1, 0, 4), &link()).await, Err(AskFault::Silent { .. })));
        let took = began.elapsed();
        assert!(took < 2 * TIMEOUT + Duration::from_millis(100), "{took:?}");
    }
}

/// A line of units that answer after 5 ms and the time that the bytes would take, 2 ms each; who was asked after how long a silence.
fn timed() -> (Wire<DuplexStream>, tokio::sync::mpsc::UnboundedReceiver<(u8, Duration)>) {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut request, mut silent_since) = ([0; 8], Instant::now());
        while theirs.read_exact(&mut request).await.is_ok() {
            let [unit, _, high, low, _, count, ..] = request;
            tell.send((unit, silent_since.elapsed())).unwrap();
            let reply = truth(&block(unit, u16::from_be_bytes([high, low]), count.into()));
            // it knows the end of the question by the silence of 3.5 characters
            tokio::time::sleep(SLOW * (8 + reply.len() as u32) + SLOW * 7 / 2 + Duration::from_millis(5))
                .await;
            theirs.write_all(&reply).await.unwrap();
            silent_since = Instant::now();
        }
    });
    let mut wire = Wire::new(OpenPort::new(ours, PathBuf::from("pipe")), SLOW);
    wire.disturbed = false;
    (1..=9).for_each(|unit| wire.debts.settled(unit));
    (wire, told)
}

/// Such that 3.5 of them are whole milliseconds, as the clock of a test is.
const SLOW: Duration = Duration::from_millis(2);

fn resting(turnaround: u64) -> ModbusLink {
    ModbusLink { turnaround: Duration::from_millis(turnaround), ..link() }
}

#[tokio::test(start_paused = true)]
async fn a_unit_has_the_silence_that_it_asks_for_and_the_next_one_waits_until_it_let_go() {
    let (mut wire, mut told) = timed();
    let needs = |unit| resting([0, 0, 20, 3][usize::from(unit)]);
    let rows = [
        ("the first", 1, 7),
        ("the same unit, which asks for nothing: 3.5 characters", 1, 7),
        ("another that wants 20 ms", 2, 20),
        ("the same: what its product asks for", 2, 20),
        ("one that asks for nothing: the one before must let go", 1, 20),
        ("the same: 3.5 characters again", 1, 7),
        ("one that asks for less than that", 3, 7),
        ("one that asks for more", 2, 20),
        ("and one for less", 3, 20),
    ];
    for (fact, unit, silence) in rows {
        // the last answer may be long ago; only a question in haste waits for its turn
        wire.ask(&block(unit, 0, 1), &needs(unit)).await.unwrap();
        let asked = told.recv().await.unwrap();
        assert_eq!(asked, (unit, Duration::from_millis(silence)), "{fact}");
    }
    wire.ask(&block(2, 0, 1), &needs(2)).await.unwrap();
    told.recv().await.unwrap();
    tokio::time::sleep(Duration::from_millis(15)).await;
    wire.ask(&block(1, 0, 1), &needs(1)).await.unwrap();
    assert_eq!(told.recv().await.unwrap().1, Duration::from_millis(20), "15 ms of it were over");
}

/// What `check --plan` counts is what the wire does, to the microsecond.
#[tokio::test(start_paused = true)]
async fn the_plan_counts_the_silences_that_the_wire_keeps() {
    use crate::{
        fieldbus::{
            budget::{Budget, Prices},
            cost::LineCost,
            fixtures::registers,
            serial::config::Settings,
        },
        profile::Profile,
    };
    const SECOND: Duration = Duration::from_secs(1);
    let line =
        |port| LineCost::serial(&Settings { port, baud: 5000, framing: "8N1".parse().unwrap(), rs485: None });
    let cost = line("/dev/ttyS0".into()).answering_after(Duration::from_millis(5));
    for (fact, turnarounds) in [
        ("all alike, at once", [0, 0, 0]),
        ("all alike, slow to let go", [20, 20, 20]),
        ("two products", [20, 0, 0]),
        ("one asks for less than the gap", [20, 3, 20]),
    ] {
        // two blocks of each: what is due of a unit is asked in a row
        let products: Vec<Arc<Profile>> =
            turnarounds.iter().map(|ms| registers(resting(*ms), &[(0, SECOND), (100, SECOND)])).collect();
        let (mut wire, mut told) = timed();
        let mut began = Instant::now();
        for _round in 0..2 {
            began = Instant::now();
            for (unit, turnaround) in (1..).zip(turnarounds) {
                for first in [0, 100] {
                    wire.ask(&block(unit, first, 1), &resting(turnaround)).await.unwrap();
                    told.recv().await.unwrap();
                }
            }
        }
        let round = began.elapsed();
        let planned = Budget::new(cost, products, &mut Prices::default()).cycle();
        assert_eq!(planned, round, "{fact}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_echoes_and_a_vendors_dialect_are_read() {
    let (mut wire, _slaves) = line(Habit::Echo, |_| {});
    let question = block(1, 0x0200, 5);
    assert_true("echo", &question, &wire.ask(&question, &link()).await.unwrap());

    let (mut wire, _slaves) =
        line(Habit::After(Duration::from_millis(20)), |slaves| slaves.dialect = Nice3000);
    let question = Question { dialect: Nice3000, ..block(1, 0x1018, 1) };
    assert_true("NICE3000", &question, &wire.ask(&question, &link()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_only_echoes_is_named() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let mut wire = wire(ours);
    let (question, link) = (block(1, 0, 1), link());
    let looped = async {
        let mut request = [0; 8];
        loop {
            theirs.read_exact(&mut request).await.unwrap();
            theirs.write_all(&request).await.unwrap();
        }
    };
    let asking = async {
        for n in 0..5 {
            let want = AskFault::Garbled { what: Garble::Echo };
            assert_eq!(wire.ask(&question, &link).await, Err(want), "question {n}");
        }
    };
    tokio::select! {
        () = asking => {}
        () = looped => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_exception_is_a_refusal_but_a_gateways_word_about_a_unit_is_silence() {
    for (code, want) in [
        (2, AskFault::Refused { code: 2 }),
        (6, AskFault::Refused { code: 6 }),
        (0x0B, AskFault::Silent { waited: TIMEOUT }),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut wire = wire(ours);
        let question = block(1, 0, 1);
        let link = link();
        let slave = async {
            loop {
                theirs.read_exact(&mut [0; 8]).await.unwrap();
                theirs.write_all(&frame(&[1, 0x83, code])).await.unwrap();
            }
        };
        let answer = tokio::select! {
            answer = wire.ask(&question, &link) => answer,
            () = slave => continue,
        };
        assert_eq!(answer, Err(want), "exception {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_babbler_is_named_and_a_port_that_is_gone_is_a_line_fault() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let babbler = tokio::spawn(async move {
        while theirs.write_all(&[0x55; 200]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let mut line = wire(ours);
    let fault = line.ask(&block(1, 0, 4), &link()).await.unwrap_err();
    assert!(
        matches!(fault, AskFault::LineDown(LineFault::Babble { bytes, .. }) if bytes > 100_000),
        "{fault}"
    );
    drop(line);
    babbler.await.unwrap();

    let (ours, theirs) = tokio::io::duplex(64);
    let mut line = wire(ours);
    drop(theirs);
    let fault = line.ask(&block(1, 0, 4), &link()).await.unwrap_err();
    assert!(matches!(fault, AskFault::LineDown(LineFault::Gone { .. })), "{fault}");
}

/// A line with one slave of another kind: it holds what it is told, confirms by `confirms`, and answers reads.
fn obedient(
    mut confirms: impl FnMut(usize) -> Option<Duration> + Send + 'static,
    echoes: bool,
) -> (Wire<DuplexStream>, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut request, mut writes) = ([0; 8], 0);
        while theirs.read_exact(&mut request).await.is_ok() {
            if echoes {
                theirs.write_all(&request).await.unwrap();
            }
            let [unit, function, high, low, _, count, ..] = request;
            if function == 3 {
                let first = u16::from_be_bytes([high, low]);
                theirs.write_all(&truth(&block(unit, first, count.into()))).await.unwrap();
                continue;
            }
            tell.send(request.to_vec()).unwrap();
            if let Some(after) = confirms(writes) {
                tokio::time::sleep(after).await;
                theirs.write_all(&request).await.unwrap();
            }
            writes += 1;
        }
    });
    (wire(ours), told)
}

fn dim(to: u16) -> Telling {
    let instruction = crate::domain::Instruction::Registers { first: 0x20, words: vec![to], multiple: false };
    Telling::new(&instruction).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_unit_is_told_once_and_believed_only_when_it_confirms() {
    const MS: Duration = Duration::from_millis(1);
    for echoes in [false, true] {
        let (mut wire, mut told) = obedient(|write| (write != 1).then_some(5 * MS), echoes);
        assert_eq!(
            wire.tell(1, &dim(9), &link()).await,
            Err(AskFault::Silent { waited: Duration::ZERO }),
            "not before it has answered anything"
        );
        assert!(told.try_recv().is_err());
        wire.ask(&block(1, 4, 2), &link()).await.unwrap();
        assert_eq!(wire.tell(1, &dim(40), &link()).await, Ok(()));
        let unconfirmed = wire.tell(1, &dim(50), &link()).await;
        assert!(unconfirmed.is_err(), "echo {echoes}: {unconfirmed:?}");
        assert_eq!(wire.tell(1, &dim(60), &link()).await, Ok(()), "after it has answered a question");
        let values: Vec<u8> = std::iter::from_fn(|| told.try_recv().ok()).map(|request| request[5]).collect();
        assert_eq!(values, [40, 50, 60], "each once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_confirmation_is_not_taken_for_that_of_the_same_order_again() {
    let late = TIMEOUT * 5 / 2;
    let (mut wire, mut told) = obedient(move |write| (write == 0).then_some(late), false);
    wire.ask(&block(1, 4, 2), &link()).await.unwrap();
    assert!(wire.tell(1, &dim(40), &link()).await.is_err());
    assert!(wire.tell(1, &dim(40), &link()).await.is_err(), "the first one's confirmation came meanwhile");
    assert!(std::iter::from_fn(|| told.try_recv().ok()).count() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_product_that_takes_even_counts_only_is_asked_for_no_others() {
    for count in [2, 4, 10] {
        let (mut wire, _slaves) = line(Habit::After(Duration::from_millis(20)), |slaves| {
            slaves.blocks = Some((1..=5).map(|pairs| (0, 2 * pairs)).collect());
            slaves.deaf = true;
        });
        let (question, link) = (block(1, 0, count), ModbusLink { align: 2, ..link() });
        assert_true(
            "even",
            &question,
            &wire.ask(&question, &link).await.expect("its first answer is believed"),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_became_slower_than_it_is_waited_for_is_not_believed_too_soon() {
    for (seed, deaf) in (1..=20).flat_map(|seed| [(seed, true), (seed, false)]) {
        let (mut wire, _slaves) = line(Habit::Slows(20, Dice(seed)), |slaves| {
            slaves.blocks = deaf.then(|| vec![(0, 1), (50, 1)]);
            slaves.deaf = deaf;
        });
        let learned = ModbusLink { timeout: TIMEOUT / 4, ..link() };
        let (mut believed, mut dice) = (0, Dice(seed ^ 0xFFFF));
        for n in 0..400 {
            let question = [block(1, 0, 1), block(1, 50, 1)][dice.below(2) as usize];
            let link = if n < 10 { link() } else { learned.clone() };
            if let Ok(raw) = wire.ask(&question, &link).await {
                assert_true(&format!("seed {seed}, deaf {deaf}, question {n}"), &question, &raw);
                believed += 1;
            }
        }
        assert!(believed > 0, "while it was quick");
    }
}

/// A port that once it is asked always has something to say, each time a millisecond later, for a minute.
struct Flood {
    asked: bool,
    reads: u32,
}

impl tokio::io::AsyncRead for Flood {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if !self.asked {
            return std::task::Poll::Pending;
        }
        let advancing = std::pin::pin!(tokio::time::advance(Duration::from_millis(1)));
        assert!(advancing.poll(cx).is_pending(), "the clock is ahead, the task need not wait");
        self.reads += 1;
        if self.reads < 60_000 {
            into.put_slice(&[0x55; 16]);
        }
        std::task::Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Flood {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.asked = true;
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

impl Port for Flood {
    fn clear_input(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_always_has_something_to_say_outlasts_no_question() {
    let flooded = || {
        let port = OpenPort::new(Flood { asked: false, reads: 0 }, PathBuf::from("flood"));
        Wire { disturbed: false, ..Wire::new(port, CHARACTER) }
    };
    let mut wire = flooded();
    let fault = wire.exchange(&block(1, 0, 4), &link()).await.unwrap_err();
    assert!(matches!(fault, AskFault::LineDown(LineFault::Babble { .. })), "a question: {fault}");
    let mut wire = flooded();
    wire.debts.settled(1);
    let fault = wire.tell(1, &dim(40), &link()).await.unwrap_err();
    assert!(matches!(fault, AskFault::LineDown(LineFault::Babble { .. })), "an order: {fault}");
}
