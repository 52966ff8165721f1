//! Modbus TCP: one connection for all units behind a `host:port`, several questions under way where the product takes them.
//!
//! Every reply is held against its question in every byte: transaction, protocol, length, unit, function, count. What goes wrong in any way
//! costs the connection, because a reply that is still under way must not meet a later question.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    codec::{Question, Reply},
    config::TcpSettings,
    is_standard,
    mbap::{self, Cutter},
    question, refused, standard_unit,
    telling::Telling,
};
use crate::{
    domain::{Garble, Instruction, Raw},
    fieldbus::{
        bus::{Bus, BusParts},
        cost::LineCost,
        driver::{AskFault, Asked, Driver, Line, LineFault, Unasked},
        plan::Ask,
        port,
        record::Tape,
    },
    profile::{Address, Link, ModbusLink},
};

/// More than a dozen long replies, so that most come in one read.
const CHUNK: usize = 4096;
/// As long as a read's request.
const REQUEST: usize = 12;

/// A bus of the units behind one Modbus TCP server.
pub fn tcp_bus(settings: TcpSettings, parts: BusParts) -> Bus<TcpDriver> {
    Bus::new(TcpDriver::new(settings).recorded(&parts.tape), parts)
}

pub struct TcpDriver {
    settings: TcpSettings,
    tape: Option<Arc<Tape>>,
    connection: Option<Connection>,
    /// Opened since `connect` was last asked.
    reopened: bool,
    /// Of the last request, on whichever connection: there are gateways that hand a late answer to whoever is connected by then.
    transaction: u16,
}

struct Connection {
    stream: TcpStream,
    tape: Option<Arc<Tape>>,
    cutter: Cutter,
    chunk: Box<[u8; CHUNK]>,
    /// When it last carried an answer; a connection that did may since have been closed by a peer that found it idle.
    answered_at: Option<Instant>,
}

/// What goes out to whom: the protocol data unit, and what comes back of it.
struct Call {
    unit: u8,
    pdu: Vec<u8>,
    transaction: u16,
    answer: Option<Vec<u8>>,
}

/// How a call went wrong, before it is decided what that means for the connection.
#[derive(Clone)]
enum CallFault {
    Silent,
    Wrong(Garble),
    Broken(String),
}

impl Call {
    fn new(unit: u8, pdu: Vec<u8>) -> Self {
        Self { unit, pdu, transaction: 0, answer: None }
    }
}

/// What a product asks of those who ask it; of several, what suits all.
#[derive(Clone, Copy)]
struct Pace {
    timeout: Duration,
    turnaround: Duration,
}

impl Pace {
    fn of<'a>(links: impl Iterator<Item = &'a ModbusLink>) -> Self {
        let none = Self { timeout: Duration::ZERO, turnaround: Duration::ZERO };
        links.fold(none, |pace, link| Self {
            timeout: pace.timeout.max(link.timeout),
            turnaround: pace.turnaround.max(link.turnaround),
        })
    }
}

impl CallFault {
    fn told(self, waited: Duration) -> AskFault {
        match self {
            CallFault::Silent => AskFault::Silent { waited },
            CallFault::Wrong(what) => AskFault::Garbled { what },
            CallFault::Broken(why) => AskFault::Garbled { what: Garble::HungUp { why } },
        }
    }
}

impl TcpDriver {
    pub fn new(settings: TcpSettings) -> Self {
        Self { settings, tape: None, connection: None, reopened: false, transaction: 0 }
    }

    pub fn recorded(mut self, tape: &Arc<Tape>) -> Self {
        self.tape = Some(Arc::clone(tape));
        self
    }

    async fn open(&mut self) -> Result<&mut Connection, LineFault> {
        let connected = port::connect(&self.settings.host, self.settings.port).await;
        if let (Err(_), Some(tape)) = (&connected, &self.tape) {
            tape.lost();
        }
        let stream = connected?;
        self.reopened = true;
        if let Some(tape) = &self.tape {
            tape.opened();
        }
        Ok(self.connection.insert(Connection::new(stream, self.tape.clone())))
    }

    /// The connection, if the peer has not closed it meanwhile; else a new one.
    async fn ready(&mut self) -> Result<&mut Connection, LineFault> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            return self.open().await;
        }
        Ok(self.connection.as_mut().expect("looked at just now"))
    }

    /// All of `calls`, in order, on one connection. Those that were answered keep their answers, whatever happened to the others.
    async fn call(&mut self, calls: &mut [Call], pace: Pace) -> Result<(), AskFault> {
        let before = self.transaction;
        for call in calls.iter_mut() {
            self.transaction = self.transaction.wrapping_add(1);
            call.transaction = self.transaction;
        }
        let called = self.ready().await?.call(calls, before, pace).await;
        if called.is_err() {
            self.connection = None;
        }
        called.map_err(|fault| fault.told(pace.timeout))
    }

    fn outcome(&mut self, question: &Question, answer: &[u8], waited: Duration) -> Result<Raw, AskFault> {
        match mbap::answer(question, answer) {
            Ok(Reply::Values(raw)) => Ok(raw),
            Ok(Reply::Refused(code)) => Err(refused(code, waited)),
            Err(what) => {
                self.connection = None;
                Err(AskFault::Garbled { what })
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, tape: Option<Arc<Tape>>) -> Self {
        Self { stream, tape, cutter: Cutter::default(), chunk: Box::new([0; CHUNK]), answered_at: None }
    }

    /// Whether the peer hung up while nobody was asked.
    fn is_closed(&self) -> bool {
        let mut byte = [0; 1];
        match self.answered_at {
            None => false,
            // a server never speaks first: what came by itself belongs to nothing, and would have to be thrown away
            Some(_) => {
                !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
            }
        }
    }

    /// `before`: the transaction of the last request before these.
    async fn call(&mut self, calls: &mut [Call], before: u16, pace: Pace) -> Result<(), CallFault> {
        let broken = |error: std::io::Error| CallFault::Broken(error.to_string());
        if let Some(answered_at) = self.answered_at.filter(|_| !pace.turnaround.is_zero()) {
            sleep_until(answered_at + pace.turnaround).await;
        }
        // Buses that were answered in one moment ask in one moment: whoever sleeps at the other end is woken once.
        tokio::task::yield_now().await;
        let mut request = Vec::with_capacity(calls.len() * REQUEST);
        calls.iter().for_each(|call| mbap::frame(&mut request, call.transaction, call.unit, &call.pdu));
        if let Some(tape) = &self.tape {
            tape.sent(&request);
        }
        let mut until = Instant::now() + pace.timeout;
        timeout_at(until, self.stream.write_all(&request))
            .await
            .map_err(|_elapsed| CallFault::Silent)?
            .map_err(broken)?;
        while calls.iter().any(|call| call.answer.is_none()) {
            let read = timeout_at(until, self.stream.read(&mut self.chunk[..]));
            match read.await.map_err(|_elapsed| CallFault::Silent)?.map_err(broken)? {
                0 => return Err(CallFault::Broken("end of stream".to_owned())),
                count => {
                    if let Some(tape) = &self.tape {
                        tape.heard(&self.chunk[..count]);
                    }
                    self.cutter.push(&self.chunk[..count]);
                }
            }
            while let Some(frame) = self.cutter.cut().map_err(CallFault::Wrong)? {
                let Some(call) = calls.iter_mut().find(|call| call.transaction == frame.transaction) else {
                    // a second copy of an answer is nobody's; anything else was never asked on this connection
                    if is_past(frame.transaction, before) {
                        continue;
                    }
                    return Err(CallFault::Wrong(Garble::OtherQuestion));
                };
                if frame.unit != call.unit {
                    return Err(CallFault::Wrong(Garble::OtherUnit { unit: frame.unit }));
                }
                if call.answer.is_none() {
                    call.answer = Some(frame.pdu);
                    until = Instant::now() + pace.timeout;
                }
            }
            // a timeout alone looks at the clock only when there is nothing to read
            if Instant::now() >= until {
                return Err(CallFault::Silent);
            }
        }
        self.answered_at = Some(Instant::now());
        Ok(())
    }
}

/// Whether `transaction` is one of the last that were asked before `now`'s.
fn is_past(transaction: u16, now: u16) -> bool {
    const REMEMBERED: u16 = 64;
    let age = now.wrapping_sub(transaction);
    age < REMEMBERED.min(now)
}

/// The question in Modbus terms; dialects are spoken on serial lines only.
fn standard_question<'a>(
    unit: &Address,
    link: &'a Link,
    ask: &Ask,
) -> Result<(Question, &'a ModbusLink), AskFault> {
    let (question, link) = question(unit, link, ask)?;
    match is_standard(link.dialect) {
        true => Ok((question, link)),
        false => Err(AskFault::Garbled { what: Garble::Unaskable }),
    }
}

impl Driver for TcpDriver {
    fn cost(&self) -> LineCost {
        LineCost::tcp()
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        if self.connection.is_none() {
            self.open().await?;
        }
        Ok(if std::mem::take(&mut self.reopened) { Line::Opened } else { Line::Kept })
    }

    async fn ask(&mut self, unit: &Address, link: &Link, ask: &Ask) -> Result<Raw, AskFault> {
        let answer = self.ask_all(&[Asked { unit, link, ask }]).await.pop();
        answer.unwrap_or(Err(AskFault::Garbled { what: Garble::Unaskable }))
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn ask_all(&mut self, asked: &[Asked<'_>]) -> Vec<Result<Raw, AskFault>> {
        let questions: Result<Vec<_>, _> =
            asked.iter().map(|Asked { unit, link, ask }| standard_question(unit, link, ask)).collect();
        let questions = match questions {
            Ok(questions) => questions,
            Err(fault) => return asked.iter().map(|_| Err(fault.clone())).collect(),
        };
        let mut calls: Vec<Call> =
            questions.iter().map(|(question, _)| Call::new(question.unit, question.pdu().to_vec())).collect();
        let pace = Pace::of(questions.iter().map(|(_, link)| *link));
        let was_idle = self.connection.as_ref().is_some_and(|connection| connection.answered_at.is_some());
        let mut called = self.call(&mut calls, pace).await;
        let hung_up = matches!(called, Err(AskFault::Garbled { what: Garble::HungUp { .. } }));
        // it was closed in the moment of asking: a read may be asked again
        if was_idle && hung_up && calls.iter().all(|call| call.answer.is_none()) {
            called = self.call(&mut calls, pace).await;
        }
        let fault = called.err().unwrap_or(AskFault::Silent { waited: pace.timeout });
        let answers = questions.iter().zip(calls);
        answers
            .map(|((question, link), call)| match call.answer {
                Some(pdu) => self.outcome(question, &pdu, link.timeout),
                None => Err(fault.clone()),
            })
            .collect()
    }

    async fn tell(&mut self, unit: &Address, link: &Link, instruction: &Instruction) -> Result<(), AskFault> {
        let (Some((unit, modbus)), Some(telling)) = (standard_unit(unit, link), Telling::new(instruction))
        else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        let mut calls = [Call::new(unit, telling.pdu().to_vec())];
        self.call(&mut calls, Pace::of([modbus].into_iter())).await?;
        let answer = calls[0].answer.take().unwrap_or_default();
        match *answer.as_slice() {
            ref done if done == telling.confirmation() => Ok(()),
            [function, code] if function == telling.function() | 0x80 => {
                Err(refused(code.into(), modbus.timeout))
            }
            _ => {
                self.connection = None;
                Err(AskFault::Garbled { what: Garble::OtherQuestion })
            }
        }
    }

    async fn hear(&mut self) -> Unasked {
        // a Modbus TCP server never speaks first
        std::future::pending().await
    }

    fn close(&mut self) {
        self.connection = None;
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
