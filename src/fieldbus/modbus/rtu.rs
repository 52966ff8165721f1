//! Modbus RTU on a serial port.
//!
//! Not on tokio-modbus's RTU client (0.17): it takes a reply by unit and function alone, so after one timeout every later read is
//! answered with the registers of the one before; it clears its own buffer but not the kernel's; it does not check how many registers came
//! (a `debug_assert`); and a vendor's framing (NICE3000's two-byte count) has no door. TCP is built on its client, see `tcp.rs`.

use super::{config::RtuSettings, question, standard_unit, telling::Telling, wire::Wire};
use crate::{
    domain::{Garble, Instruction, Raw},
    fieldbus::{
        bus::{Bus, BusParts},
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
        port::{self, OpenPort},
    },
    profile::{Address, Link},
};
use tokio_serial::SerialStream;

/// A bus of Modbus RTU units on one port.
pub fn rtu_bus(settings: RtuSettings, parts: BusParts) -> Bus<RtuDriver> {
    Bus::new(RtuDriver::new(settings), parts)
}

pub struct RtuDriver {
    settings: RtuSettings,
    wire: Option<Wire<SerialStream>>,
}

impl RtuDriver {
    pub fn new(settings: RtuSettings) -> Self {
        Self { settings, wire: None }
    }
}

impl Driver for RtuDriver {
    async fn connect(&mut self) -> Result<Line, LineFault> {
        if self.wire.is_some() {
            return Ok(Line::Kept);
        }
        let port = OpenPort::new(port::open(&self.settings)?, self.settings.port.clone());
        self.wire = Some(Wire::new(port, port::character(&self.settings)));
        Ok(Line::Opened)
    }

    async fn ask(&mut self, unit: &Address, link: &Link, ask: &Ask) -> Result<Raw, AskFault> {
        let (question, link) = question(unit, link, ask)?;
        let Some(wire) = &mut self.wire else {
            return Err(port::gone(&self.settings.port, &"not open").into());
        };
        wire.ask(&question, link).await
    }

    async fn tell(&mut self, unit: &Address, link: &Link, instruction: &Instruction) -> Result<(), AskFault> {
        let (Some((unit, link)), Some(telling)) = (standard_unit(unit, link), Telling::new(instruction))
        else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        let Some(wire) = &mut self.wire else {
            return Err(port::gone(&self.settings.port, &"not open").into());
        };
        wire.tell(unit, &telling, link).await
    }

    async fn hear(&mut self) -> Unasked {
        match &mut self.wire {
            None => std::future::pending().await,
            Some(wire) => match wire.listen().await {
                Ok(true) => Unasked::Stranger,
                Ok(false) => Unasked::Noise,
                Err(fault) => Unasked::Gone(fault),
            },
        }
    }

    fn close(&mut self) {
        // the descriptor must go at once: as long as it is held, the adapter comes back under another name
        self.wire = None;
    }
}

#[cfg(test)]
#[path = "rtu_tests.rs"]
mod tests;
