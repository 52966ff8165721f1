//! Modbus RTU on a serial port.
//!
//! Not on tokio-modbus's RTU client (0.17): it takes a reply by unit and function alone, so after one timeout every later read is
//! answered with the registers of the one before; it clears its own buffer but not the kernel's; it does not check how many registers came
//! (a `debug_assert`); and a vendor's framing (NICE3000's two-byte count) has no door.

use tokio_serial::SerialStream;

use super::{
    config::RtuSettings,
    driver::{Opener, WireDriver},
    wire::Wire,
};
use crate::fieldbus::{
    bus::{Bus, BusParts},
    cost::LineCost,
    driver::LineFault,
    port::{self, OpenPort},
};

pub type RtuDriver = WireDriver<SerialLine>;

impl RtuDriver {
    pub fn new(settings: RtuSettings) -> Self {
        Self::over(SerialLine { settings })
    }
}

/// A bus of Modbus RTU units on one port.
pub fn rtu_bus(settings: RtuSettings, parts: BusParts) -> Bus<RtuDriver> {
    Bus::new(RtuDriver::new(settings).recorded(&parts.tape), parts)
}

pub struct SerialLine {
    settings: RtuSettings,
}

impl Opener for SerialLine {
    type Port = SerialStream;

    const CLOSED_WHEN_IDLE: bool = false;

    fn cost(&self) -> LineCost {
        LineCost::serial(&self.settings)
    }

    async fn open(&mut self) -> Result<Wire<SerialStream>, LineFault> {
        let port = OpenPort::new(port::open(&self.settings)?, self.settings.port.clone());
        Ok(Wire::new(port, port::character(&self.settings)))
    }
}

#[cfg(test)]
#[path = "rtu_tests.rs"]
mod tests;
