//! `[bus.dlt645]` and `[bus.dlt645_tcp]` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fieldbus::serial::config::{Framing, Parity, Settings};

/// A line of meters. Most are set to 2400 baud, even parity, when they leave the works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MeterLine")]
pub struct LineSettings {
    /// `/dev/serial/by-id/…` keeps its name when the adapter is plugged in elsewhere.
    pub port: PathBuf,
    /// Bits per second, one of `STANDARD_BAUDS`.
    #[serde(default = "default_baud")]
    pub baud: u32,
    #[serde(default = "default_framing")]
    pub framing: Framing,
}

/// A line of meters behind a serial server, which hands bytes on as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MeterLineOverTcp")]
pub struct TcpSettings {
    /// A name or an IPv4 or IPv6 address, without brackets.
    pub host: String,
    /// Each make of serial server has its own.
    #[schemars(range(min = 1))]
    pub port: u16,
}

fn default_baud() -> u32 {
    2400
}

fn default_framing() -> Framing {
    Framing { data_bits: 8, parity: Parity::Even, stop_bits: 1 }
}

impl From<&LineSettings> for Settings {
    fn from(line: &LineSettings) -> Settings {
        Settings { port: line.port.clone(), baud: line.baud, framing: line.framing, rs485: None }
    }
}

/// What any such line is set to until somebody changes it: the line behind a serial server, whose rate we are not told.
pub fn usual_line() -> Settings {
    Settings { port: PathBuf::new(), baud: default_baud(), framing: default_framing(), rs485: None }
}
