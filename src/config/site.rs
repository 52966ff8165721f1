//! A site as checked: every reference resolved, every secret read, nothing left to doubt at run time.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use jiff::tz::TimeZone;
use secrecy::{SecretSlice, SecretString};
use url::Url;

use crate::{
    domain::{AlarmName, BusId, ClassName, DeviceId, EndpointId, Priority},
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
    pub overrides: Vec<RuleOverride>,
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
    pub http: HttpReceiver,
}

/// `[endpoint.http]` with its address understood, secrets and certificates read.
#[derive(Debug)]
pub struct HttpReceiver {
    pub url: Url,
    /// Signs each request.
    pub secret: Option<SecretString>,
    /// PEM; given, no other authority is trusted.
    pub authorities: Option<Vec<u8>>,
    /// PEM, certificates and then the key: who we are, for mutual TLS.
    pub identity: Option<SecretSlice<u8>>,
    pub login: Option<Login>,
    pub accept: http::config::AcceptSettings,
    /// For the whole exchange.
    pub timeout: Duration,
}

#[derive(Debug)]
pub enum Login {
    Bearer(SecretString),
    Basic { username: String, password: SecretString },
}

/// What a site changes of a class's alarm: for one device, or for all of a class. Exactly one of the two is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOverride {
    pub device: Option<DeviceId>,
    pub class: Option<ClassName>,
    pub name: AlarmName,
    pub on_delay: Option<Duration>,
    pub off_delay: Option<Duration>,
    pub priority: Option<Priority>,
    pub latching: Option<bool>,
    /// `Some(false)`: the rule is off. Never for life-safety alarms.
    pub enabled: Option<bool>,
}
