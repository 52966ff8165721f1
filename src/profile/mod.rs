//! Products as people describe them, compiled into plans that turn raw bytes into readings.

mod decode;
mod device;

pub use decode::Decoded;
pub use device::{Address, Device};

use std::{sync::Arc, time::Duration};

use crate::domain::{ClassName, DataClass, Kind, Origin, PointName, Priority, ProfileId, Table, Text};

/// A kind of device: its standard points and alarms, whoever made it.
#[derive(Debug)]
pub struct Class {
    pub name: ClassName,
    pub title: Text,
    pub points: Vec<ClassPoint>,
    /// `comm_loss` is always among them.
    pub alarms: Vec<ClassAlarm>,
}

#[derive(Debug)]
pub struct ClassPoint {
    pub name: PointName,
    pub title: Text,
    pub kind: Kind,
    pub unit: String,
    /// For `Kind::Choice`.
    pub values: Vec<Arc<str>>,
    pub data: DataClass,
    pub required: bool,
}

#[derive(Clone, Debug)]
pub struct ClassAlarm {
    pub name: crate::domain::AlarmName,
    pub title: Text,
    pub priority: Priority,
    pub when: When,
    pub on_delay: Duration,
    pub off_delay: Duration,
    pub latching: bool,
    pub life_safety: bool,
    pub origin: Origin,
    pub cause: Text,
    pub response: Text,
}

/// What an alarm watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// CEL over the class's points.
    Expression(String),
    /// The link to the device itself (`comm_loss`).
    LinkLost,
}

/// One product, compiled.
#[derive(Debug)]
pub struct Profile {
    pub id: ProfileId,
    pub revision: u32,
    pub title: Text,
    pub products: Vec<String>,
    pub source: String,
    pub class: Arc<Class>,
    pub points: Vec<Point>,
    pub link: Link,
}

#[derive(Debug)]
pub struct Point {
    pub name: PointName,
    /// Index into `class.points`.
    pub class_point: usize,
    pub every: Duration,
    pub read: Read,
    // + the compiled decode steps (private)
}

impl Profile {
    /// The class's definition of a point of this profile.
    pub fn class_point(&self, point: crate::domain::PointIx) -> &ClassPoint {
        &self.class.points[self.points[usize::from(point.0)].class_point]
    }
}

/// Where a point's raw value stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// `span` registers (or coils) from `address` on.
    Modbus {
        table: Table,
        address: u16,
        span: u16,
    },
    /// `frame` = index into the link's requests followed by its events.
    Serial {
        frame: u16,
    },
    Mqtt,
}

/// How the product is spoken to.
#[derive(Debug)]
pub enum Link {
    Modbus(ModbusLink),
    Serial(SerialLink),
    Mqtt(MqttLink),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusLink {
    pub dialect: Dialect,
    pub max_registers: u16,
    pub max_gap: u16,
    pub timeout: Duration,
    pub retries: u8,
    pub turnaround: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Standard,
    /// Replies carry a two-byte byte count (Monarch NICE3000+).
    Nice3000,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttLink {
    /// With `{address}` in it.
    pub topic: String,
    pub heartbeat: Option<Duration>,
}
