//! How a product is spoken to: what a driver must know of it.

use std::time::Duration;

use crate::domain::{Diagnosis, Failure};

#[derive(Clone, Debug)]
pub enum Link {
    Modbus(ModbusLink),
    Serial(SerialLink),
    Mqtt(MqttLink),
}

impl Link {
    /// A failure in words, as this product means it. `None` where nothing is wrong yet.
    pub fn diagnose(&self, failure: &Failure) -> Option<Diagnosis> {
        match (self, failure) {
            (Link::Modbus(link), Failure::Refused { code }) => Some(link.dialect.refusal(*code)),
            (Link::Serial(_) | Link::Mqtt(_), Failure::Refused { code }) => {
                Some(Diagnosis::vendor_error(*code))
            }
            (_, failure) => failure.diagnosis(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusLink {
    pub dialect: Dialect,
    pub max_registers: u16,
    pub max_gap: u16,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
    /// How many requests a TCP server of this product takes at once; serial lines carry one at a time.
    pub pipeline: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Standard,
    /// Replies carry a two-byte byte count (Monarch NICE3000+).
    Nice3000,
}

impl Dialect {
    /// A refusal in words, or as the vendor's number.
    pub fn refusal(self, code: u16) -> Diagnosis {
        match self {
            Dialect::Standard => Diagnosis::exception(code),
            // its error words share this place with exceptions and mean other things
            Dialect::Nice3000 => Diagnosis::vendor_error(code),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialLink {
    pub frame: FrameShape,
    pub requests: Vec<SerialRequest>,
    pub events: Vec<SerialEvent>,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
    pub heartbeat: Option<Duration>,
}

/// How a frame is cut from the stream (keys: see the serial table of a profile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameShape {
    pub start: Vec<u8>,
    pub length: FrameLength,
    pub max: usize,
    pub checksum: Option<Checksum>,
    /// Where the device's address stands, and which bits of that byte are it.
    pub address: Option<(usize, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameLength {
    Fixed(usize),
    EndsWith(Vec<u8>),
    Field { at: usize, size: usize, little: bool, adds: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub kind: ChecksumKind,
    pub from: usize,
    /// Negative counts from the frame's end; exclusive. The checksum stands right after.
    pub to: i64,
    pub little: bool,
    /// Written as ASCII hex digits.
    pub hex: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumKind {
    Sum8,
    Twos8,
    Xor8,
    Lrc8,
    Crc16Modbus,
    Crc16Osdp,
    Crc16Arc,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialRequest {
    pub name: String,
    /// The bytes to send before the checksum; `None` stands for the device's address.
    pub send: Vec<Option<u8>>,
    pub every: Duration,
    pub matches: Vec<ByteMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialEvent {
    pub name: String,
    pub matches: Vec<ByteMatch>,
    /// Indices of the requests whose wait it ends.
    pub answers: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteMatch {
    pub at: usize,
    pub bytes: Vec<u8>,
}

impl ByteMatch {
    /// Whether `frame` has these bytes at that place; a frame that ends before it does not.
    pub fn holds(&self, frame: &[u8]) -> bool {
        frame.get(self.at..).is_some_and(|rest| rest.starts_with(&self.bytes))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttLink {
    /// With `{address}` in it.
    pub topic: String,
    pub heartbeat: Option<Duration>,
}
