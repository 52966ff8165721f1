//! What an installer asks on the line of a running gateway: one read-only exchange, in the time that alarm points leave.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BusId, DeviceId, Diagnosis, Table};

/// One exchange to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inquire {
    pub whom: Whom,
    pub wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Whom {
    /// A Modbus unit, whether the site knows it or not, spoken to in plain Modbus.
    Unit { bus: BusId, unit: u8, timeout_ms: u64 },
    /// A device of the site, spoken to as its profile says.
    Device(DeviceId),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wanted {
    /// `count` registers or bits from `first` on, counted from 0.
    Block { table: Table, first: u16, count: u16 },
    /// The serial request of that number in the device's profile.
    Frame { request: u16 },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inquired {
    Words(Vec<u16>),
    Bits(Vec<bool>),
    Frame(Vec<u8>),
    Silent {
        waited_ms: u64,
        told: Diagnosis,
    },
    /// The device is there and said no.
    Refused {
        code: u16,
        told: Diagnosis,
    },
    /// Something came that is no answer.
    Garbled(Diagnosis),
    /// Nobody on this line can be asked now.
    LineDown(Diagnosis),
    /// The line had no time left.
    Busy,
    /// No such bus or device, or not one that can be asked.
    Unknown,
}

impl Whom {
    /// A unit that takes longer than this is asked by its own profile.
    const LONGEST: Duration = Duration::from_secs(5);

    /// How long a unit may take, within reason.
    pub fn patience(timeout_ms: u64) -> Duration {
        Duration::from_millis(timeout_ms).clamp(Duration::from_millis(10), Self::LONGEST)
    }
}
