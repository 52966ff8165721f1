//! Modbus TCP: one connection for all units behind a `host:port`, several questions under way where the product takes them.
//!
//! Every reply is held against its question in every byte: transaction, protocol, length, unit, function, count. What goes wrong in any way
//! costs the connection, because a reply that is still under way must not meet a later question.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout, timeout_at},
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
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
    },
    profile::{Address, Link, ModbusLink},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// More than the longest reply, so that most come in one read.
const CHUNK: usize = 1024;

/// A bus of the units behind one Modbus TCP server.
pub fn tcp_bus(settings: TcpSettings, parts: BusParts) -> Bus<TcpDriver> {
    Bus::new(TcpDriver::new(settings), parts)
}

pub struct TcpDriver {
    settings: TcpSettings,
    connection: Option<Connection>,
    /// Opened since `connect` was last asked.
    reopened: bool,
}

struct Connection {
    stream: TcpStream,
    cutter: Cutter,
    chunk: Box<[u8; CHUNK]>,
    /// Of the last request.
    transaction: u16,
    /// When it last carried an answer; a connection that did may since have been closed by a peer that found it idle.
    answered_at: Option<Instant>,
}

/// What goes out: the protocol data unit, and what comes back of it.
struct Call {
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
    fn new(pdu: Vec<u8>) -> Self {
        Self { pdu, transaction: 0, answer: None }
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
        Self { settings, connection: None, reopened: false }
    }

    async fn open(&mut self) -> Result<&mut Connection, LineFault> {
        let TcpSettings { host, port } = &self.settings;
        let gone = |error: &dyn std::fmt::Display| LineFault::Gone { why: format!("{host}:{port}: {error}") };
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect((host.as_str(), *port)))
            .await
            .map_err(|_elapsed| gone(&format_args!("no connection within {CONNECT_WITHIN:?}")))?
            .map_err(|error| gone(&error))?;
        stream.set_nodelay(true).map_err(|error| gone(&error))?;
        self.reopened = true;
        Ok(self.connection.insert(Connection::new(stream)))
    }

    /// The connection, if the peer has not closed it meanwhile; else a new one.
    async fn ready(&mut self) -> Result<&mut Connection, LineFault> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            return self.open().await;
        }
        Ok(self.connection.as_mut().expect("looked at just now"))
    }

    /// All of `calls`, in order, on one connection. Those that were answered keep their answers, whatever happened to the others.
    async fn call(&mut self, unit: u8, calls: &mut [Call], link: &ModbusLink) -> Result<(), AskFault> {
        let called = self.ready().await?.call(unit, calls, link).await;
        if called.is_err() {
            self.connection = None;
        }
        called.map_err(|fault| fault.told(link.timeout))
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
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            cutter: Cutter::default(),
            chunk: Box::new([0; CHUNK]),
            transaction: 0,
            answered_at: None,
        }
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

    async fn call(&mut self, unit: u8, calls: &mut [Call], link: &ModbusLink) -> Result<(), CallFault> {
        let broken = |error: std::io::Error| CallFault::Broken(error.to_string());
        if let Some(answered_at) = self.answered_at.filter(|_| !link.turnaround.is_zero()) {
            sleep_until(answered_at + link.turnaround).await;
        }
        let before = self.transaction;
        let mut request = Vec::new();
        for call in calls.iter_mut() {
            self.transaction = self.transaction.wrapping_add(1);
            call.transaction = self.transaction;
            request.extend(mbap::framed(call.transaction, unit, &call.pdu));
        }
        let mut until = Instant::now() + link.timeout;
        timeout_at(until, self.stream.write_all(&request))
            .await
            .map_err(|_elapsed| CallFault::Silent)?
            .map_err(broken)?;
        while calls.iter().any(|call| call.answer.is_none()) {
            let read = timeout_at(until, self.stream.read(&mut self.chunk[..]));
            match read.await.map_err(|_elapsed| CallFault::Silent)?.map_err(broken)? {
                0 => return Err(CallFault::Broken("end of stream".to_owned())),
                count => self.cutter.push(&self.chunk[..count]),
            }
            while let Some(frame) = self.cutter.cut().map_err(CallFault::Wrong)? {
                let Some(call) = calls.iter_mut().find(|call| call.transaction == frame.transaction) else {
                    // a second copy of an answer is nobody's; anything else was never asked on this connection
                    if is_past(frame.transaction, before) {
                        continue;
                    }
                    return Err(CallFault::Wrong(Garble::OtherQuestion));
                };
                if frame.unit != unit {
                    return Err(CallFault::Wrong(Garble::OtherUnit { unit: frame.unit }));
                }
                if call.answer.is_none() {
                    call.answer = Some(frame.pdu);
                    until = Instant::now() + link.timeout;
                }
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

impl Driver for TcpDriver {
    async fn connect(&mut self) -> Result<Line, LineFault> {
        if self.connection.is_none() {
            self.open().await?;
        }
        Ok(if std::mem::take(&mut self.reopened) { Line::Opened } else { Line::Kept })
    }

    async fn ask(&mut self, unit: &Address, link: &Link, ask: &Ask) -> Result<Raw, AskFault> {
        let asks = std::slice::from_ref(ask);
        self.ask_all(unit, link, asks)
            .await
            .pop()
            .unwrap_or(Err(AskFault::Garbled { what: Garble::Unaskable }))
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn ask_all(&mut self, unit: &Address, link: &Link, asks: &[Ask]) -> Vec<Result<Raw, AskFault>> {
        let (mut questions, mut calls) = (Vec::with_capacity(asks.len()), Vec::with_capacity(asks.len()));
        let unaskable = |fault: AskFault| asks.iter().map(|_| Err(fault.clone())).collect();
        let Link::Modbus(modbus) = link else {
            return unaskable(AskFault::Garbled { what: Garble::Unaskable });
        };
        if !is_standard(modbus.dialect) {
            return unaskable(AskFault::Garbled { what: Garble::Unaskable });
        }
        for ask in asks {
            match question(unit, link, ask) {
                Ok((question, _)) => {
                    calls.push(Call::new(question.pdu().to_vec()));
                    questions.push(question);
                }
                Err(fault) => return unaskable(fault),
            }
        }
        let Some(unit) = questions.first().map(|question| question.unit) else { return Vec::new() };
        let was_idle = self.connection.as_ref().is_some_and(|connection| connection.answered_at.is_some());
        let mut called = self.call(unit, &mut calls, modbus).await;
        let hung_up = matches!(called, Err(AskFault::Garbled { what: Garble::HungUp { .. } }));
        // it was closed in the moment of asking: a read may be asked again
        if was_idle && hung_up && calls.iter().all(|call| call.answer.is_none()) {
            called = self.call(unit, &mut calls, modbus).await;
        }
        let fault = called.err().unwrap_or(AskFault::Silent { waited: modbus.timeout });
        let answers = questions.iter().zip(calls);
        answers
            .map(|(question, call)| match call.answer {
                Some(pdu) => self.outcome(question, &pdu, modbus.timeout),
                None => Err(fault.clone()),
            })
            .collect()
    }

    async fn tell(&mut self, unit: &Address, link: &Link, instruction: &Instruction) -> Result<(), AskFault> {
        let (Some((unit, modbus)), Some(telling)) = (standard_unit(unit, link), Telling::new(instruction))
        else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        let mut calls = [Call::new(telling.pdu().to_vec())];
        self.call(unit, &mut calls, modbus).await?;
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
