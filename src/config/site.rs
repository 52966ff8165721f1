//! A site as checked: every reference resolved, nothing left to doubt at run time. Every secret is read, unless the site was
//! loaded only to look at it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use jiff::tz::TimeZone;

use crate::{
    alarm::Override,
    domain::{BusId, EndpointId},
    fieldbus::{modbus, mqtt, serial},
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
    /// How the gateway's own lines are read.
    pub own_line: Arc<profile::Profile>,
    /// Where the site file is.
    pub dir: PathBuf,
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
    Serial(serial::config::Settings),
    Mqtt(mqtt::config::Broker),
}

#[derive(Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    pub purpose: Purpose,
    pub wants: Wants,
    pub http: http::Receiver,
}
