//! What a bus hands on: raw, with its time, undecoded.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Garble, LineFault, Stamp};

/// A device's place in the site's list of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceIx(pub u32);

/// A point's place in its profile's list of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointIx(pub u16);

/// The four tables of Modbus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    Holding,
    Input,
    Coil,
    Discrete,
}

/// What came over the wire, checked as a frame, not yet understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// Registers of one table, from `first` on.
    Registers { table: Table, first: u16, words: Vec<u16> },
    /// Coils or discrete inputs, from `first` on.
    Bits { table: Table, first: u16, bits: Vec<bool> },
    /// One whole serial frame, `frame` = its place in the profile's requests followed by its events. DL/T 645: the data of the
    /// profile's item of that place, behind the identifier, 0x33 taken off.
    Frame { frame: u16, bytes: Bytes },
    /// One MQTT message. `retained`: the broker kept it; nobody knows how old it is.
    Payload { bytes: Bytes, retained: bool },
}

/// What a device is told to do. Elevators are never told anything: their profiles have no commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Holding registers from `first` on, as they go over the wire. `multiple`: this product takes function 16 only, also for one.
    Registers { first: u16, words: Vec<u16>, multiple: bool },
    /// Coils from `first` on. `multiple`: function 15, also for one.
    Coils { first: u16, bits: Vec<bool>, multiple: bool },
}

impl Instruction {
    /// The Modbus function that carries it (Application Protocol V1.1b3, 6.5, 6.6, 6.11, 6.12).
    pub fn function(&self) -> u8 {
        match self {
            Instruction::Coils { bits, multiple, .. } if bits.len() == 1 && !multiple => 5,
            Instruction::Registers { words, multiple, .. } if words.len() == 1 && !multiple => 6,
            Instruction::Coils { .. } => 15,
            Instruction::Registers { .. } => 16,
        }
    }
}

/// Why there is nothing to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    Silent,
    /// Something came that is not a valid answer to this question.
    Garbled { what: Garble },
    /// The device is there and said no (Modbus exception code, vendor error word).
    Refused { code: u16 },
    /// The line itself is down: port gone, connection refused, broker away.
    LineDown { fault: LineFault },
    /// The line is back; a device that speaks only by itself has not spoken on it yet: nobody knows how it is.
    NotHeardYet,
}

impl Failure {
    /// A refusal proves that the device is alive; the others do not.
    pub fn device_answered(&self) -> bool {
        matches!(self, Failure::Refused { .. })
    }
}

/// Sent once what was heard is committed: only then may a broker forget its message.
pub type Receipt = oneshot::Sender<()>;

/// One exchange with, or message from, one device.
#[derive(Debug)]
pub struct Heard {
    pub device: DeviceIx,
    pub at: Stamp,
    /// The points this exchange was about: on failure these have no value.
    pub points: Arc<[PointIx]>,
    pub outcome: Result<Raw, Failure>,
    pub receipt: Option<Receipt>,
}
