//! A kind of device as the compound's data standard has it, checked.

use std::{sync::Arc, time::Duration};

use crate::domain::{AlarmName, ClassName, DataClass, Kind, Origin, PointName, Priority, Text};

/// A kind of device: its standard points and alarms, whoever made it.
#[derive(Debug)]
pub struct Class {
    pub name: ClassName,
    pub title: Text,
    pub points: Vec<ClassPoint>,
    /// `comm_loss` is always among them.
    pub alarms: Vec<ClassAlarm>,
}

#[derive(Debug, PartialEq)]
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
    pub name: AlarmName,
    pub title: Text,
    pub priority: Priority,
    pub when: When,
    pub on_delay: Duration,
    pub off_delay: Duration,
    pub latching: bool,
    pub life_safety: bool,
    pub origin: Origin,
    /// CEL over the class's points: while it holds, the alarm is not announced.
    pub suppress_when: Option<String>,
    /// Someone may be shut in: within this, help must have arrived.
    pub rescue_within: Option<Duration>,
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

/// The class whose devices nobody tells anything (对电梯只读不写), and whose critical alarms nobody shelves.
const ELEVATOR: &str = "elevator";

impl Class {
    /// Nothing is ever written to a device of this class, whatever its profile says.
    pub fn is_never_told(&self) -> bool {
        self.is_elevator()
    }

    pub fn is_elevator(&self) -> bool {
        self.name.as_str() == ELEVATOR
    }

    pub fn point(&self, name: &str) -> Option<&ClassPoint> {
        self.points.iter().find(|point| point.name.as_str() == name)
    }

    pub fn alarm(&self, name: &str) -> Option<&ClassAlarm> {
        self.alarms.iter().find(|alarm| alarm.name.as_str() == name)
    }
}
