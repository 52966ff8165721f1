//! A site as checked: every reference resolved, nothing left to doubt at run time. Every secret is read, unless the site was
//! loaded only to look at it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use jiff::tz::TimeZone;

use crate::{
    alarm::Override,
    domain::{BusId, EndpointId, Size, sun::Coordinates, timetable::Schedule},
    fieldbus::{cost::LineCost, dlt645, modbus, mqtt, serial},
    profile, store,
    uplink::{Purpose, Wants, http},
};

#[derive(Debug)]
pub struct Site {
    pub id: String,
    pub name: String,
    pub timezone: TimeZone,
    /// Everything that leaves says that it is not real.
    pub demo: bool,
    pub store: store::Settings,
    pub console_listen: SocketAddr,
    pub buses: Vec<Bus>,
    pub devices: Vec<profile::Device>,
    pub endpoints: Vec<Endpoint>,
    pub overrides: Vec<Override>,
    pub coordinates: Option<Coordinates>,
    pub schedules: Vec<Schedule>,
    /// How much of what its lines carry is kept in memory, of all together; 0: nothing.
    pub tape_memory: Size,
    /// How the gateway's own lines are read.
    pub own_line: Arc<profile::Profile>,
    /// How what it writes to its flash is read, where that has a budget.
    pub own_flash: Option<Arc<profile::Profile>>,
    /// How its own store is read.
    pub own_store: Arc<profile::Profile>,
    /// Where the site file is.
    pub dir: PathBuf,
    /// Folders of profiles besides the shipped ones.
    pub profile_dirs: Vec<PathBuf>,
}

#[derive(Debug)]
pub struct Bus {
    pub id: BusId,
    pub link: BusLink,
}

#[derive(Debug)]
pub enum BusLink {
    ModbusTcp(modbus::config::TcpSettings),
    ModbusRtu(modbus::config::RtuSettings),
    ModbusRtuTcp(modbus::config::RtuTcpSettings),
    ModbusAscii(serial::config::Settings),
    ModbusDtu(modbus::config::DtuSettings),
    Serial(serial::config::Settings),
    Mqtt(mqtt::config::Broker),
    Dlt645(dlt645::config::LineSettings),
    Dlt645Tcp(dlt645::config::TcpSettings),
}

impl BusLink {
    /// Whether its units are asked in Modbus, in whatever frames.
    pub fn is_modbus(&self) -> bool {
        match self {
            BusLink::ModbusTcp(_)
            | BusLink::ModbusRtu(_)
            | BusLink::ModbusRtuTcp(_)
            | BusLink::ModbusAscii(_)
            | BusLink::ModbusDtu(_) => true,
            BusLink::Serial(_) | BusLink::Mqtt(_) | BusLink::Dlt645(_) | BusLink::Dlt645Tcp(_) => false,
        }
    }

    /// What exchanges cost on such a line.
    pub fn cost(&self) -> LineCost {
        match self {
            BusLink::ModbusTcp(_) => LineCost::tcp(),
            BusLink::ModbusRtu(settings) | BusLink::Serial(settings) => LineCost::serial(settings),
            BusLink::ModbusRtuTcp(server) => server.cost(),
            BusLink::ModbusAscii(settings) => LineCost::serial(settings).in_ascii(),
            BusLink::ModbusDtu(modem) => modem.cost(),
            BusLink::Dlt645(settings) => LineCost::serial(&settings.into()),
            BusLink::Dlt645Tcp(_) => LineCost::serial(&dlt645::config::usual_line()),
            BusLink::Mqtt(_) => LineCost::unasked(),
        }
    }
}

impl BusLink {
    /// The modem that dials in, if that is what it is.
    pub fn modem(&self) -> Option<&modbus::config::DtuSettings> {
        match self {
            BusLink::ModbusDtu(modem) => Some(modem),
            BusLink::ModbusTcp(_)
            | BusLink::ModbusRtu(_)
            | BusLink::ModbusRtuTcp(_)
            | BusLink::ModbusAscii(_)
            | BusLink::Serial(_)
            | BusLink::Mqtt(_)
            | BusLink::Dlt645(_)
            | BusLink::Dlt645Tcp(_) => None,
        }
    }
}

#[derive(Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    pub purpose: Purpose,
    pub wants: Wants,
    pub http: http::Receiver,
}
