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
    driver::LineFault,
    port::{self, OpenPort},
};

const CRC_BYTES: usize = 2;
/// Between `:` and CR LF: unit, function, 252 bytes of the PDU and the LRC, two characters each (2.5.2.1).
const MOST_DIGITS: usize = 2 * 255;
/// "Intervals of up to one second may elapse between characters within the message" (2.5.2.1).
const CHARACTERS_APART: Duration = Duration::from_secs(1);
/// Stands for each character that belongs to no frame: no function has this number, so no answer is ever made of it.
const NOISE: u8 = 0xFF;

pub type AsciiDriver = WireDriver<AsciiLine>;

/// A bus of Modbus ASCII units on one port.
pub fn ascii_bus(settings: RtuSettings, parts: BusParts) -> Bus<AsciiDriver> {
    Bus::new(AsciiDriver::over(AsciiLine { settings }), parts)
}

pub struct AsciiLine {
    settings: RtuSettings,
}

impl Opener for AsciiLine {
    type Port = Dressed<SerialStream, Ascii>;

    const CLOSED_WHEN_IDLE: bool = false;

    async fn open(&mut self) -> Result<Wire<Self::Port>, LineFault> {
        let port = Dressed::new(port::open(&self.settings)?, Ascii::default());
        let character = port::character(&self.settings);
        // n bytes of an RTU frame are 2n + 1 characters here
        Ok(Wire::new(OpenPort::new(port, self.settings.port.clone()), character * 5 / 2))
    }
}

/// The characters of a frame that has begun: what followed its `:`.
#[derive(Debug, Default)]
pub struct Ascii {
    begun: Option<Vec<u8>>,
    heard: Option<Instant>,
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
        match (&mut self.begun, character) {
            (_, b':') => {
                self.give_up(bare);
                self.begun = Some(Vec::new());
            }
            (None, _) => bare.push(NOISE),
            (Some(begun), b'\n') if begun.last() == Some(&b'\r') => {
                begun.pop();
                match bytes(begun) {
                    Some(bytes) => {
                        bare.extend(as_rtu(&bytes));
                        self.begun = None;
                    }
                    None => self.give_up(bare),
                }
            }
            (Some(begun), _) => {
                begun.push(character);
                // one more: the CR
                if begun.len() > MOST_DIGITS + 1 {
                    self.give_up(bare);
                }
            }
        }
    }

    /// What has begun is no frame.
    fn give_up(&mut self, bare: &mut Vec<u8>) {
        let lost = self.begun.take().map_or(0, |begun| begun.len() + 1);
        bare.extend(std::iter::repeat_n(NOISE, lost));
    }
}

/// The RTU frame that says the same; its checksum is wrong where that of `bytes` is.
fn as_rtu(bytes: &[u8]) -> Vec<u8> {
    let Some((given, body)) = bytes.split_last() else { return vec![NOISE] };
    let crc = if lrc(body) == *given { codec::crc(body) } else { codec::crc(body).map(|byte| !byte) };
    [body, &crc].concat()
}

/// The two's complement of the sum of all bytes (6.2.1).
fn lrc(body: &[u8]) -> u8 {
    body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
#[path = "ascii_tests.rs"]
mod tests;
