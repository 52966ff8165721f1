//! The line of a serial bus: the port, opened and given back, around the wire that speaks on it.

use std::sync::Arc;

use tokio_serial::SerialStream;

use super::{
    config::Settings,
    members::{Members, Question, SetupError},
    wire::Wire,
};
use crate::{
    domain::{Garble, Raw},
    fieldbus::{
        Bus, BusParts,
        cost::LineCost,
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
        port::{self, OpenPort},
        record::Tape,
    },
    profile::{Address, Link},
};

/// The bus of these devices on one port.
///
/// # Errors
/// If they cannot share a line: other protocols, frames of different shapes, two with one address.
pub fn bus(parts: BusParts, settings: &Settings) -> Result<Bus<SerialDriver>, SetupError> {
    let members = Arc::new(Members::new(&parts.id, &parts.devices)?);
    let tape = Arc::clone(&parts.tape);
    let driver = SerialDriver { settings: settings.clone(), members, tape, wire: None };
    Ok(Bus::new(driver, parts))
}

pub struct SerialDriver {
    settings: Settings,
    members: Arc<Members>,
    tape: Arc<Tape>,
    wire: Option<Wire<SerialStream>>,
}

impl Driver for SerialDriver {
    fn cost(&self) -> LineCost {
        LineCost::serial(&self.settings)
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        if self.wire.is_some() {
            return Ok(Line::Kept);
        }
        let port = OpenPort::new(port::open(&self.settings)?, self.settings.port.clone());
        let port = port.recorded(Some(Arc::clone(&self.tape)));
        let mut wire = Wire::new(port, port::character(&self.settings), self.members.clone());
        wire.settle().await?;
        self.wire = Some(wire);
        Ok(Line::Opened)
    }

    async fn ask(&mut self, unit: &Address, _link: &Link, ask: &Ask) -> Result<Raw, AskFault> {
        let member = self.members.find(unit);
        let (Some(member), Ask::Frame { request }) = (member, ask) else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        let Some(wire) = &mut self.wire else {
            return Err(port::not_open(&self.settings.port).into());
        };
        wire.ask(Question { member, request: *request }).await
    }

    async fn hear(&mut self) -> Unasked {
        match &mut self.wire {
            None => std::future::pending().await,
            Some(wire) => wire.hear().await,
        }
    }

    fn close(&mut self) {
        // the descriptor must go at once: as long as it is held, the adapter comes back under another name
        self.wire = None;
    }
}
