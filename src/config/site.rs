//! A site as checked: every reference resolved, nothing left to doubt at run time. Every secret is read, unless the site was
//! loaded only to look at it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use jiff::tz::TimeZone;

use super::own::OwnProfiles;
use crate::{
    alarm::{Customs, Override},
    console,
    domain::{BusId, EndpointId, Period, Size, credit::Tariff, sun::Coordinates, timetable::Schedule},
    fieldbus::{cost::LineCost, dlt645, modbus, serial},
    mqtt::{Broker, BrokerAddress},
    profile, store,
    uplink::{self, DrillTurns, Purpose, Template, Wants, http},
};

#[derive(Debug)]
pub struct Site {
    pub id: String,
    pub name: String,
    pub timezone: TimeZone,
    /// Everything that leaves says that it is not real.
    pub demo: bool,
    pub store: store::Settings,
    /// Without it values of persons are stored as they are.
    pub private: Option<PrivateStore>,
    pub console: console::config::Settings,
    pub buses: Vec<Bus>,
    pub devices: Vec<profile::Device>,
    pub endpoints: Vec<Endpoint>,
    pub overrides: Vec<Override>,
    pub customs: Customs,
    /// What is given for a kilogram, where the device does not say.
    pub tariff: Tariff,
    pub coordinates: Option<Coordinates>,
    pub schedules: Vec<Schedule>,
    /// How much of what its lines carry is kept in memory, of all together; 0: nothing.
    pub tape_memory: Size,
    pub own: OwnProfiles,
    /// SHA-256 of the site file as it was read, in hexadecimal.
    pub digest: String,
    /// Where the site file is.
    pub dir: PathBuf,
    /// The site file with every default, then the profiles of its devices: what is in force, for the evidence.
    pub writings: Vec<store::Writing>,
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
    Mqtt { broker: Broker, discover: bool },
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
            BusLink::Serial(_) | BusLink::Mqtt { .. } | BusLink::Dlt645(_) | BusLink::Dlt645Tcp(_) => false,
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
            BusLink::Mqtt { .. } => LineCost::unasked(),
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
            | BusLink::Mqtt { .. }
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
    pub receiver: Receiver,
    pub drill: Option<DrillTurns>,
    /// From one batch of readings to the next.
    pub upload_every: Duration,
}

/// How values of persons are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateStore {
    /// The key that lies outside of the databases; it may not be there yet.
    pub key_file: PathBuf,
    pub keep: Period,
    /// If it is not there.
    pub may_be_made: bool,
}

/// Where letters go.
#[derive(Debug)]
pub enum Receiver {
    Http(Box<http::Receiver>),
    Mqtt(Box<uplink::mqtt::Receiver>),
}

impl Receiver {
    /// Scheme, host and port: a path or query may hold what is nobody's business.
    pub fn place(&self) -> String {
        match self {
            Receiver::Http(http) => http.url.origin().ascii_serialization(),
            Receiver::Mqtt(mqtt) => {
                let BrokerAddress { host, port, tls } = &mqtt.broker.address;
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("{}://{host}:{port}", if *tls { "mqtts" } else { "mqtt" })
            }
        }
    }

    pub fn is_encrypted(&self) -> bool {
        match self {
            Receiver::Http(http) => http.url.scheme() == "https",
            Receiver::Mqtt(mqtt) => mqtt.broker.address.tls,
        }
    }

    /// What goes there does not leave this box.
    pub fn is_on_this_box(&self) -> bool {
        let host = match self {
            Receiver::Http(http) => http.url.host_str().unwrap_or_default().trim_matches(['[', ']']),
            Receiver::Mqtt(mqtt) => &mqtt.broker.address.host,
        };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The body in the receiver's own words.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Receiver::Http(http) => http.template.as_ref(),
            Receiver::Mqtt(mqtt) => mqtt.template.as_ref(),
        }
    }

    /// Where people at the endpoint acknowledge alarms.
    pub fn ack_topic(&self) -> Option<&str> {
        match self {
            Receiver::Http(_) => None,
            Receiver::Mqtt(mqtt) => mqtt.ack_topic.as_deref(),
        }
    }

    /// What the endpoint may tell devices, `class/command` each.
    pub fn commands(&self) -> Vec<String> {
        match self {
            Receiver::Http(_) => Vec::new(),
            Receiver::Mqtt(mqtt) => {
                let allowed = mqtt.commands.iter().flat_map(|(_, commands)| &commands.0);
                allowed.map(|(class, command)| format!("{class}/{command}")).collect()
            }
        }
    }
}
