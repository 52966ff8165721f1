//! The tables of the Modbus buses as written: `[bus.modbus_tcp]`, `modbus_rtu`, `modbus_rtu_tcp`, `modbus_ascii`, `modbus_dtu`.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    domain::Period,
    fieldbus::{
        cost::LineCost,
        serial::config::{Framing, Parity, Rs485, Settings as SerialSettings, default_baud},
    },
};

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
pub type RtuSettings = SerialSettings;

/// A serial server: Modbus RTU frames as they are, over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RtuTcpSettings {
    /// A name or an IPv4 or IPv6 address, without brackets.
    pub host: String,
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Bits per second on the line behind it, which is how long a frame takes.
    #[serde(default = "default_baud")]
    pub baud: u32,
    #[serde(default)]
    pub framing: Framing,
    /// What the network adds to the time that a device may take.
    #[serde(default = "RtuTcpSettings::latency")]
    pub latency: Period,
}

/// Modbus ASCII on a serial port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AsciiSettings {
    /// `/dev/serial/by-id/…` keeps its name when the adapter is plugged in elsewhere.
    pub port: PathBuf,
    #[serde(default = "default_baud")]
    pub baud: u32,
    #[serde(default = "AsciiSettings::framing")]
    pub framing: Framing,
    /// As in `[bus.serial]`.
    pub rs485: Option<Rs485>,
}

/// A modem (DTU) that dials in to us and carries Modbus RTU frames as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DtuSettings {
    /// Where it dials in, `"192.168.1.2:9000"`; several buses may share one address.
    #[schemars(with = "String", extend("pattern" = LISTEN, "examples" = ["192.168.1.2:9000"]))]
    pub listen: SocketAddr,
    /// What it says first, which tells it from the others.
    pub registration: Said,
    /// What it says from time to time so that the connection stays open.
    pub heartbeat: Option<Said>,
    /// A modem that has a heartbeat and says nothing for so long is waited for anew.
    #[serde(default = "DtuSettings::silence")]
    pub silence: Period,
    /// Bits per second on the line behind it, which is how long a frame takes.
    #[serde(default = "default_baud")]
    pub baud: u32,
    #[serde(default)]
    pub framing: Framing,
    /// What the network adds to the time that a device may take.
    #[serde(default = "DtuSettings::latency")]
    pub latency: Period,
}

/// What a modem says: written as text, or after `0x` as hexadecimal bytes.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline, extend("pattern" = Said::PATTERN, "examples" = ["LIFTS-3", "0xFE01"]))]
pub struct Said(pub Vec<u8>);

/// An IP address of ours with a port.
const LISTEN: &str = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$";

impl RtuTcpSettings {
    /// What exchanges cost on the line behind it.
    pub fn cost(&self) -> LineCost {
        LineCost::behind_server(self.baud, self.framing, self.latency.into())
    }

    fn latency() -> Period {
        Period(Duration::from_millis(200))
    }
}

impl AsciiSettings {
    /// The default of the standard (Modbus over Serial Line V1.02, 2.5.2).
    fn framing() -> Framing {
        Framing { data_bits: 7, parity: Parity::Even, stop_bits: 1 }
    }

    /// The port that it is.
    pub fn line(&self) -> SerialSettings {
        let AsciiSettings { port, baud, framing, rs485 } = self.clone();
        SerialSettings { port, baud, framing, rs485 }
    }
}

impl DtuSettings {
    fn silence() -> Period {
        Period(Duration::from_secs(180))
    }

    /// What exchanges cost on the line behind it.
    pub fn cost(&self) -> LineCost {
        LineCost::behind_server(self.baud, self.framing, self.latency.into())
    }

    /// Mobile networks are slow to wake.
    fn latency() -> Period {
        Period(Duration::from_secs(2))
    }
}

impl Said {
    /// How it is written: pairs of digits after `0x`, or anything that does not begin so.
    const PATTERN: &str = r"^(0x( ?[0-9A-Fa-f]{2})+|0|(0[^x]|[^0])[\s\S]*)$";
    pub const LONGEST: usize = 64;

    fn parse(text: &str) -> Option<Self> {
        let bytes = match text.strip_prefix("0x") {
            None => text.as_bytes().to_vec(),
            Some(digits) => hex(&digits.replace(' ', ""))?,
        };
        (!bytes.is_empty()).then_some(Self(bytes))
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| match *pair {
        [high, low] => Some((high << 4 | low) as u8),
        _ => None,
    };
    digits?.chunks(2).map(byte).collect()
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readable = |text: &&str| !text.starts_with("0x") && !text.contains(char::is_control);
        match std::str::from_utf8(&self.0).ok().filter(readable) {
            Some(text) => f.write_str(text),
            None => {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
        }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Said {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        const EXPECTED: &str =
            "1 to 64 bytes, as text such as \"LIFTS-3\" or as hexadecimal such as \"0xFE01\"";
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &EXPECTED))
    }
}

/// Registered with IANA as `mbap`.
fn default_port() -> u16 {
    502
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_modem_says_is_text_or_hexadecimal() {
        let pattern = regex::Regex::new(Said::PATTERN).unwrap();
        for (written, bytes) in [
            ("LIFTS-3", Some(&b"LIFTS-3"[..])),
            ("岗", Some("岗".as_bytes())),
            ("0xFE01", Some(&[0xFE, 0x01])),
            ("0xfe 01", Some(&[0xFE, 0x01])),
            ("0", Some(b"0")),
            ("01\r\n", Some(b"01\r\n")),
            ("", None),
            ("0x", None),
            ("0xF", None),
            ("0xFG", None),
        ] {
            let said = Said::parse(written);
            assert_eq!(said.as_ref().map(|said| &said.0[..]), bytes, "{written}");
            assert_eq!(pattern.is_match(written), bytes.is_some(), "{written}");
            if let Some(said) = said {
                assert_eq!(Said::parse(&said.to_string()), Some(said), "{written}: written and read again");
            }
        }
        assert_eq!(Said(b"0x1".to_vec()).to_string(), "0x307831", "text that would be read as hexadecimal");
    }
}
