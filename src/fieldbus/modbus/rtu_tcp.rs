//! Modbus RTU frames through a serial server: its TCP port is the line, its units all stand behind one connection.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{
    config::RtuTcpSettings,
    driver::{Opener, WireDriver},
    wire::Wire,
};
use crate::fieldbus::{
    bus::{Bus, BusParts},
    cost::LineCost,
    driver::LineFault,
    port::{self, OpenPort},
};

/// A peer that acknowledges nothing for so long has lost its power or its way: a request into nowhere looks like a silent unit.
const DEAD_AFTER: Duration = Duration::from_secs(10);

pub type RtuTcpDriver = WireDriver<SerialServer>;

/// A bus of the RTU units behind one serial server.
pub fn rtu_tcp_bus(settings: RtuTcpSettings, parts: BusParts) -> Bus<RtuTcpDriver> {
    Bus::new(RtuTcpDriver::over(SerialServer { settings }).recorded(&parts.tape), parts)
}

pub struct SerialServer {
    settings: RtuTcpSettings,
}

impl Opener for SerialServer {
    type Port = TcpStream;

    const CLOSED_WHEN_IDLE: bool = true;

    fn cost(&self) -> LineCost {
        self.settings.cost()
    }

    async fn open(&mut self) -> Result<Wire<TcpStream>, LineFault> {
        let RtuTcpSettings { host, port, baud, framing, latency } = &self.settings;
        let name = format!("{host}:{port}");
        let stream = port::connect(host, *port).await?;
        port::watch_over(&stream, DEAD_AFTER).map_err(|error| port::gone(&name, &error))?;
        Ok(Wire::new(OpenPort::new(stream, name.into()), framing.character(*baud)).behind(latency.0))
    }
}
