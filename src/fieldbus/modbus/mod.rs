//! Modbus over TCP and over serial lines (RTU, ASCII), also those behind serial servers and modems.

pub mod ascii;
pub mod clothes;
pub mod codec;
pub mod config;
mod debt;
mod driver;
mod dtu;
pub mod heartbeat;
pub mod knock;
pub mod mbap;
mod overheard;
pub mod reception;
mod rtu;
mod rtu_tcp;
mod tcp;
pub mod telling;
mod wire;

pub use ascii::{AsciiDriver, ascii_bus};
pub use dtu::{DtuDriver, dtu_bus};
pub use reception::{Reception, Receptions};
pub use rtu::{RtuDriver, rtu_bus};
pub use rtu_tcp::{RtuTcpDriver, rtu_tcp_bus};
pub use tcp::{TcpDriver, tcp_bus};

use std::time::Duration;

use super::{driver::AskFault, plan::Ask};
use crate::{
    domain::Garble,
    profile::{Address, Dialect, Link, ModbusLink},
};
use codec::Question;

/// Gateway path unavailable, gateway target failed to respond (Modbus Application Protocol V1.1b3, section 7): a gateway says them
/// *about* a unit, so they are that unit's silence, not its refusal.
const SAID_BY_GATEWAYS: [u16; 2] = [0x0A, 0x0B];

fn refused(code: u16, waited: Duration) -> AskFault {
    if SAID_BY_GATEWAYS.contains(&code) { AskFault::Silent { waited } } else { AskFault::Refused { code } }
}

/// The question in Modbus terms, and how long this product may take.
fn question<'a>(unit: &Address, link: &'a Link, ask: &Ask) -> Result<(Question, &'a ModbusLink), AskFault> {
    let (Address::Unit(unit), Link::Modbus(link), Ask::Block { table, first, count }) = (unit, link, ask)
    else {
        return Err(AskFault::Garbled { what: Garble::Unaskable });
    };
    let question =
        Question { unit: *unit, table: *table, first: *first, count: *count, dialect: link.dialect };
    Ok((question, link))
}

/// A unit that can be told something: one that speaks the standard.
fn standard_unit<'a>(unit: &Address, link: &'a Link) -> Option<(u8, &'a ModbusLink)> {
    match (unit, link) {
        (Address::Unit(unit), Link::Modbus(link)) if is_standard(link.dialect) => Some((*unit, link)),
        (
            Address::Unit(_) | Address::Text(_),
            Link::Modbus(_) | Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_),
        ) => None,
    }
}

/// Only serial lines have dialects.
fn is_standard(dialect: Dialect) -> bool {
    match dialect {
        Dialect::Standard => true,
        Dialect::Nice3000 => false,
    }
}
