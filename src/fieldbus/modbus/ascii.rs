//! Modbus ASCII on a serial port: `:` hex LRC CR LF (Modbus over Serial Line V1.02, section 2.5.2).
//!
//! A frame says the same as in RTU, so it is turned into one: with a right CRC where its LRC is right, with a wrong one where it is not.

use std::time::Duration;

use tokio::time::Instant;
use tokio_serial::SerialStream;

use super::{
    clothes::{Clothes, Dressed},
    codec,
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

const CRC_BYTES: usize = 2;
/// Between `:` and CR LF: unit, function, 252 bytes of the PDU and the LRC, two characters each (2.5.2.1).
const MOST_BYTES: usize = 255;
/// "Intervals of up to one second may elapse between characters within the message" (2.5.2.1).
const CHARACTERS_APART: Duration = Duration::from_secs(1);
/// Stands for each character that belongs to no frame: no function has this number, so no answer is ever made of it.
const NOISE: u8 = 0xFF;

pub type AsciiDriver = WireDriver<AsciiLine>;

/// A bus of Modbus ASCII units on one port.
pub fn ascii_bus(settings: RtuSettings, parts: BusParts) -> Bus<AsciiDriver> {
    Bus::new(AsciiDriver::over(AsciiLine { settings }).recorded(&parts.tape), parts)
}

pub struct AsciiLine {
    settings: RtuSettings,
}

impl Opener for AsciiLine {
    type Port = Dressed<SerialStream, Ascii>;

    const CLOSED_WHEN_IDLE: bool = false;

    fn cost(&self) -> LineCost {
        LineCost::serial(&self.settings).in_ascii()
    }

    async fn open(&mut self) -> Result<Wire<Self::Port>, LineFault> {
        let port = Dressed::new(port::open(&self.settings)?, Ascii::default());
        let character = port::character(&self.settings);
        // n bytes of an RTU frame are 2n + 1 characters here
        Ok(Wire::new(OpenPort::new(port, self.settings.port.clone()), character * 5 / 2))
    }
}

/// Turns each byte into RTU as it comes, so that half a frame is heard as that: only the last one is kept, which may be the LRC.
#[derive(Debug, Default)]
pub struct Ascii {
    begun: Option<Begun>,
    heard: Option<Instant>,
}

/// A frame whose `:` has come.
#[derive(Debug, Default)]
struct Begun {
    bytes: Vec<u8>,
    /// The first digit of the next byte.
    high: Option<u8>,
    /// All is there but the LF.
    ends: bool,
}

impl Clothes for Ascii {
    fn put_on(&self, frame: &[u8]) -> Vec<u8> {
        let body = &frame[..frame.len().saturating_sub(CRC_BYTES)];
        let bytes = body.iter().copied().chain([lrc(body)]);
        let digits: String = bytes.map(|byte| format!("{byte:02X}")).collect();
        format!(":{digits}\r\n").into_bytes()
    }

    fn take_off(&mut self, came: &[u8], now: Instant, bare: &mut Vec<u8>) {
        if self.heard.replace(now).is_some_and(|heard| now - heard > CHARACTERS_APART) {
            self.give_up(bare);
        }
        for &character in came {
            self.take(character, bare);
        }
    }

    fn forget(&mut self) {
        self.begun = None;
    }
}

impl Ascii {
    fn take(&mut self, character: u8, bare: &mut Vec<u8>) {
        if character == b':' {
            self.give_up(bare);
            self.begun = Some(Begun::default());
            return;
        }
        let Some(begun) = &mut self.begun else { return bare.push(NOISE) };
        let digit = char::from(character).to_digit(16).map(|digit| digit as u8);
        match (character, digit) {
            (b'\n', _) if begun.ends => {
                bare.extend(begun.checksum());
                self.begun = None;
            }
            (b'\r', _) if !begun.ends && begun.high.is_none() && begun.bytes.len() > 1 => begun.ends = true,
            (_, Some(digit)) if !begun.ends && begun.bytes.len() < MOST_BYTES => {
                bare.extend(begun.push(digit))
            }
            (_, _) => self.give_up(bare),
        }
    }

    /// What has begun is no frame.
    fn give_up(&mut self, bare: &mut Vec<u8>) {
        if self.begun.take().is_some() {
            bare.push(NOISE);
        }
    }
}

impl Begun {
    /// Takes one more digit. The byte that is certainly not the LRC, if there is one more of them.
    fn push(&mut self, digit: u8) -> Option<u8> {
        let Some(high) = self.high.take() else {
            self.high = Some(digit);
            return None;
        };
        let before = self.bytes.last().copied();
        self.bytes.push(high << 4 | digit);
        before
    }

    /// That of the RTU frame that says the same: wrong where the LRC is.
    fn checksum(&self) -> [u8; CRC_BYTES] {
        let (given, body) = self.bytes.split_last().expect("a frame ends after two bytes at least");
        let crc = codec::crc(body);
        if lrc(body) == *given { crc } else { crc.map(|byte| !byte) }
    }
}

/// The two's complement of the sum of all bytes (6.2.1).
fn lrc(body: &[u8]) -> u8 {
    body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
#[path = "ascii_tests.rs"]
mod tests;
