//! `[bus.serial]` as written, and what every serial line needs to be opened.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::Period;

/// A serial port or pty with its line settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SerialLine")]
pub struct Settings {
    /// `/dev/serial/by-id/…` keeps its name when the adapter is plugged in elsewhere.
    pub port: PathBuf,
    /// Bits per second, one of `STANDARD_BAUDS`.
    #[serde(default = "default_baud")]
    pub baud: u32,
    #[serde(default)]
    pub framing: Framing,
    /// Left out where the adapter switches between sending and listening by itself, as USB ones do.
    pub rs485: Option<Rs485>,
}

/// RS-485 direction control by the port's driver: RTS drives the transceiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rs485 {
    pub rts: Rts,
    /// Between switching to sending and the first bit.
    pub delay_before: Option<Period>,
    /// Between the last bit and switching back.
    pub delay_after: Option<Period>,
}

/// When RTS is high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Rts {
    #[default]
    OnSend,
    AfterSend,
}

/// What serial adapters and RS-485 transceivers agree on.
pub const STANDARD_BAUDS: [u32; 14] =
    [300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115_200, 230_400, 460_800];

pub(crate) fn default_baud() -> u32 {
    9600
}

/// The standard baud rate nearest to the written one; itself if it is one.
pub fn nearest_baud(baud: u32) -> u32 {
    let nearest = STANDARD_BAUDS.into_iter().min_by_key(|standard| standard.abs_diff(baud));
    nearest.unwrap_or(default_baud())
}

/// Data bits, parity, stop bits: written `8N1`.
#[derive(Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline, extend("enum" = FRAMINGS))]
pub struct Framing {
    /// 7 or 8.
    pub data_bits: u8,
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    None,
    Even,
    Odd,
}

const FRAMINGS: [&str; 12] =
    ["8N1", "8E1", "8O1", "8N2", "8E2", "8O2", "7N1", "7E1", "7O1", "7N2", "7E2", "7O2"];

impl Default for Framing {
    fn default() -> Self {
        Self { data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }
}

impl Framing {
    /// How long one character takes at `baud`: start bit, data, parity, stop.
    pub fn character(self, baud: u32) -> Duration {
        let parity = u32::from(self.parity != Parity::None);
        let bits = 1 + u32::from(self.data_bits) + parity + u32::from(self.stop_bits);
        Duration::from_secs(1) * bits / baud.max(1)
    }
}

impl FromStr for Framing {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a framing such as \"8N1\", \"8E1\" or \"7E1\"";
        let [data @ (b'7' | b'8'), parity, stop @ (b'1' | b'2')] = *text.as_bytes() else {
            return Err(EXPECTED);
        };
        let parity = match parity {
            b'N' => Parity::None,
            b'E' => Parity::Even,
            b'O' => Parity::Odd,
            _ => return Err(EXPECTED),
        };
        Ok(Self { data_bits: data - b'0', parity, stop_bits: stop - b'0' })
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{}{parity}{}", self.data_bits, self.stop_bits)
    }
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Framing {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Framing {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(|expected| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_framing_survives_reading_and_writing_and_nothing_else_is_one() {
        for text in FRAMINGS {
            assert_eq!(text.parse::<Framing>().unwrap().to_string(), text);
        }
        for text in ["", "8N", "9N1", "8n1", "8N3", "8N1 ", "8M1", "８N1"] {
            assert!(text.parse::<Framing>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_nearest_standard_baud_is_named() {
        for (written, nearest) in
            [(9601, 9600), (0, 300), (115_000, 115_200), (u32::MAX, 460_800), (19200, 19200)]
        {
            assert_eq!(nearest_baud(written), nearest, "{written}");
        }
    }
}
