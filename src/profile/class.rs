//! A kind of device as the compound's data standard has it, checked.

use std::{sync::Arc, time::Duration};

use super::points_named;
use crate::domain::{AlarmName, ClassName, DataClass, Kind, Origin, PointName, Priority, Text};

/// A kind of device: its standard points and alarms, whoever made it.
#[derive(Debug)]
pub struct Class {
    pub name: ClassName,
    pub title: Text,
    pub points: Vec<ClassPoint>,
    /// `comm_loss` is always among them.
    pub alarms: Vec<ClassAlarm>,
    pub credit: Option<CreditPoints>,
}

/// The points that make a delivery for which points are given; see `ClassCreditFile`.
#[derive(Debug)]
pub struct CreditPoints {
    pub transaction: PointName,
    pub weight: PointName,
    pub scale: PointName,
    pub category: PointName,
    pub points: PointName,
    pub card: PointName,
    pub total: PointName,
    pub refused: PointName,
    pub counted: PointName,
    pub credited: PointName,
    pub difference: PointName,
}

impl CreditPoints {
    /// Those that the gateway reckons.
    pub fn reckoned(&self) -> [&PointName; 4] {
        [&self.refused, &self.counted, &self.credited, &self.difference]
    }
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
    /// Of a flag: once true, it counts as true in conditions until it was false for so long.
    pub hold: Option<Duration>,
    /// Whose points are given: only a service sees it.
    pub card: bool,
    /// By the gateway, from other points: no profile has it.
    pub reckoned: bool,
}

#[derive(Clone, Debug)]
pub struct ClassAlarm {
    pub name: AlarmName,
    pub title: Text,
    pub priority: Priority,
    pub when: When,
    /// Looks at more than the moment.
    pub over_time: Option<OverTime>,
    /// While it is active it stays so until this holds: its deadband.
    pub clear_when: Option<String>,
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

/// What must have been seen over a time, besides `when`.
#[derive(Clone, Debug, PartialEq)]
pub enum OverTime {
    /// `when` became true so many times.
    Count { times: usize, within: Duration },
    /// A number rose or fell by so much, while `when` held at the end of it.
    Rate { point: PointName, rise: Option<f64>, fall: Option<f64>, within: Duration },
    /// A value did not change by more than `deadband`, though `when` held all the time.
    Stuck { point: PointName, lasting: Duration, deadband: f64 },
}

impl OverTime {
    /// Of which point, if it is not those of `when` alone.
    pub fn point(&self) -> Option<&PointName> {
        match self {
            Self::Count { .. } => None,
            Self::Rate { point, .. } | Self::Stuck { point, .. } => Some(point),
        }
    }
}

impl ClassAlarm {
    /// The points that its condition speaks of. What cannot be read is the class's mistake and told there.
    pub fn points_named(&self) -> Vec<String> {
        let when = match &self.when {
            When::LinkLost => None,
            When::Expression(when) => Some(when),
        };
        let written = when.into_iter().chain(&self.clear_when);
        let mut names: Vec<String> =
            written.flat_map(|source| points_named(source).unwrap_or_default()).collect();
        names.extend(self.over_time.as_ref().and_then(OverTime::point).map(ToString::to_string));
        names.sort();
        names.dedup();
        names
    }
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
