//! Modbus TCP on tokio-modbus's client: it checks transaction number, protocol, unit and function of every reply.
//!
//! `Client::call` and not its `Reader`: that checks how many registers came with a `debug_assert` only. What goes wrong in any way costs the
//! connection, because a reply that is still under way must not meet a later question; one connection serves all units behind
//! a `host:port`. Bytes that follow the values inside a reply's declared length are not seen here: the client drops them.

use std::time::Duration;

use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_modbus::{
    ProtocolError, Request, Response, Slave,
    client::{Client, Context, tcp::attach_slave},
    slave::SlaveContext,
};

use super::{codec::Question, config::TcpSettings, is_standard, question, refused};
use crate::{
    domain::{Raw, Table},
    fieldbus::{
        bus::{Bus, BusParts},
        cost::LineCost,
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
    },
    profile::{Address, Link, ModbusLink},
};

const OF_ANOTHER_QUESTION: &str = "the answer to another question";
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

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
    client: Context,
    /// When it last carried an answer; a connection that did may since have been closed by a peer that found it idle.
    answered_at: Option<Instant>,
}

/// How a question went wrong, before it is decided what that means for the connection.
enum CallFault {
    Silent,
    Wrong(String),
    Broken(String),
}

impl TcpDriver {
    pub fn new(settings: TcpSettings) -> Self {
        Self { settings, connection: None, reopened: false }
    }

    async fn open(&mut self) -> Result<(), LineFault> {
        let TcpSettings { host, port } = &self.settings;
        let gone = |error: &dyn std::fmt::Display| LineFault::Gone { why: format!("{host}:{port}: {error}") };
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect((host.as_str(), *port)))
            .await
            .map_err(|_elapsed| gone(&format_args!("no connection within {CONNECT_WITHIN:?}")))?
            .map_err(|error| gone(&error))?;
        stream.set_nodelay(true).map_err(|error| gone(&error))?;
        self.connection = Some(Connection { client: attach_slave(stream, Slave(0)), answered_at: None });
        self.reopened = true;
        Ok(())
    }

    async fn call(&mut self, question: &Question, link: &ModbusLink) -> Result<Result<Raw, u16>, CallFault> {
        let Some(connection) = &mut self.connection else {
            return Err(CallFault::Broken("not connected".to_owned()));
        };
        if let Some(answered_at) = connection.answered_at {
            sleep_until(answered_at + link.turnaround).await;
        }
        connection.client.set_slave(Slave(question.unit));
        let called = timeout(link.timeout, connection.client.call(request(question))).await;
        let answer = match called {
            Err(_elapsed) => Err(CallFault::Silent),
            Ok(Err(tokio_modbus::Error::Transport(error))) => Err(transport(&error)),
            Ok(Err(tokio_modbus::Error::Protocol(error))) => Err(CallFault::Wrong(mismatch(&error))),
            Ok(Ok(Err(exception))) => Ok(Err(u16::from(u8::from(exception)))),
            Ok(Ok(Ok(response))) => values(question, response).map(Ok).map_err(CallFault::Wrong),
        };
        match &answer {
            Ok(_) => connection.answered_at = Some(Instant::now()),
            Err(_) => self.connection = None,
        }
        answer
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
        let (question, link) = question(unit, link, ask)?;
        if !is_standard(link.dialect) {
            return Err(AskFault::Garbled { what: "this dialect is spoken on serial lines only".to_owned() });
        }
        let was_idle = self.connection.as_ref().is_some_and(|connection| connection.answered_at.is_some());
        let mut answer = self.call(&question, link).await;
        if was_idle && matches!(answer, Err(CallFault::Broken(_))) {
            self.open().await?;
            answer = self.call(&question, link).await;
        }
        match answer {
            Ok(Ok(raw)) => Ok(raw),
            Ok(Err(code)) => Err(refused(code, link.timeout)),
            Err(CallFault::Silent) => Err(AskFault::Silent { waited: link.timeout }),
            Err(CallFault::Wrong(what) | CallFault::Broken(what)) => Err(AskFault::Garbled { what }),
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

fn request(question: &Question) -> Request<'static> {
    let Question { table, first, count, .. } = *question;
    match table {
        Table::Coil => Request::ReadCoils(first, count),
        Table::Discrete => Request::ReadDiscreteInputs(first, count),
        Table::Holding => Request::ReadHoldingRegisters(first, count),
        Table::Input => Request::ReadInputRegisters(first, count),
    }
}

/// The values, if they are exactly those asked for.
fn values(question: &Question, response: Response) -> Result<Raw, String> {
    let Question { table, first, count, .. } = *question;
    let count = usize::from(count);
    match (table, response) {
        (Table::Holding, Response::ReadHoldingRegisters(words))
        | (Table::Input, Response::ReadInputRegisters(words))
            if words.len() == count =>
        {
            Ok(Raw::Registers { table, first, words })
        }
        (Table::Coil, Response::ReadCoils(mut bits))
        | (Table::Discrete, Response::ReadDiscreteInputs(mut bits))
            if bits.len() == count.next_multiple_of(8) =>
        {
            bits.truncate(count);
            Ok(Raw::Bits { table, first, bits })
        }
        (_, response) => Err(match size(&response) {
            Some(values) => format!("{values} values instead of {count}"),
            None => OF_ANOTHER_QUESTION.to_owned(),
        }),
    }
}

/// How many values came; `None` if it is no answer to a read.
fn size(response: &Response) -> Option<usize> {
    match response {
        Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => Some(words.len()),
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => Some(bits.len()),
        _ => None,
    }
}

/// What the client found not to be ours, in our words.
fn mismatch(error: &ProtocolError) -> String {
    match error {
        ProtocolError::HeaderMismatch { message, .. } => match other_unit(message) {
            Some(unit) => format!("the answer of another unit ({unit})"),
            None => OF_ANOTHER_QUESTION.to_owned(),
        },
        ProtocolError::FunctionCodeMismatch { .. } => OF_ANOTHER_QUESTION.to_owned(),
    }
}

/// The unit that answered, where it is not the one asked: the client tells both only in its text
/// `expected/request = Header { …, unit_id: 1 }, actual/response = Header { …, unit_id: 2 }`.
fn other_unit(message: &str) -> Option<u8> {
    let mut units = message.split("unit_id: ").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<u8>().ok()
    });
    let (asked, answered) = (units.next()??, units.next()??);
    (asked != answered).then_some(answered)
}

/// tokio-modbus reports the end of the stream as whatever error the system had last, so only these kinds mean what they say.
fn transport(error: &std::io::Error) -> CallFault {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => CallFault::Wrong("not Modbus".to_owned()),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::TimedOut
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable => CallFault::Broken(format!("the connection broke: {error}")),
        _ => CallFault::Broken("the connection was closed by the device".to_owned()),
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
