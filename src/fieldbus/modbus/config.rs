//! `[bus.modbus_tcp]` and `[bus.modbus_rtu]` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Modbus TCP server, or a gateway with units behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpSettings {
    /// A name or an IPv4 or IPv6 address, without brackets.
    pub host: String,
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// Modbus RTU asks of a line what any serial line asks.
pub type RtuSettings = crate::fieldbus::serial::config::Settings;

/// Registered with IANA as `mbap`.
fn default_port() -> u16 {
    502
}
