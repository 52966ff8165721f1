//! Simulated devices behind Modbus TCP: the library's server, answering from the devices' registers.

use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    sync::Arc,
};

use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::{
    ExceptionCode, Request, Response, SlaveRequest,
    server::{
        Service,
        tcp::{Server, accept_tcp_connection},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::SimDevice;
use crate::domain::Table;

/// The devices of one line, by unit id.
#[derive(Clone, Debug, Default)]
pub struct Units(Arc<BTreeMap<u8, Arc<SimDevice>>>);

impl Units {
    pub fn new(devices: impl IntoIterator<Item = (u8, Arc<SimDevice>)>) -> Self {
        Self(Arc::new(devices.into_iter().collect()))
    }

    pub(super) fn get(&self, unit: u8) -> Option<&SimDevice> {
        self.0.get(&unit).map(Arc::as_ref)
    }

    fn answer(&self, unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        let device = self.get(unit).ok_or(ExceptionCode::GatewayTargetDevice)?;
        let words = |table, first, count| {
            device.registers(table, first, count).ok_or(ExceptionCode::IllegalDataAddress)
        };
        let bits =
            |table, first, count| device.bits(table, first, count).ok_or(ExceptionCode::IllegalDataAddress);
        match *request {
            Request::ReadHoldingRegisters(first, count) => {
                words(Table::Holding, first, count).map(Response::ReadHoldingRegisters)
            }
            Request::ReadInputRegisters(first, count) => {
                words(Table::Input, first, count).map(Response::ReadInputRegisters)
            }
            Request::ReadCoils(first, count) => bits(Table::Coil, first, count).map(Response::ReadCoils),
            Request::ReadDiscreteInputs(first, count) => {
                bits(Table::Discrete, first, count).map(Response::ReadDiscreteInputs)
            }
            // The library's list; this gateway only reads.
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

impl Service for Units {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, asked: Self::Request) -> Self::Future {
        ready(self.answer(asked.slave, &asked.request))
    }
}

/// Answers on `listener` until told to stop.
///
/// # Errors
/// If no connection can be accepted any more.
pub async fn serve_tcp(listener: TcpListener, units: Units, stop: CancellationToken) -> io::Result<()> {
    let server = Server::new(listener);
    let connected = |stream: TcpStream, from: SocketAddr| {
        let units = units.clone();
        async move { accept_tcp_connection(stream, from, |_| Ok(Some(units.clone()))) }
    };
    let hung_up = |error| debug!(%error, "A Modbus connection of the demo ended.");
    tokio::select! {
        ended = server.serve(&connected, hung_up) => ended,
        () = stop.cancelled() => Ok(()),
    }
}
