//! One product, compiled: what to ask for, and how to understand what comes.

use std::{sync::Arc, time::Duration};

use super::{
    Class, ClassPoint, Command, Link, credit::CreditPlan, decode::Decoder, plan::Plan, quick::Quick,
};
use crate::domain::{PointIx, PointName, ProfileId, Table, Text};

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
    /// What it can be told to do; empty for elevators, always.
    pub commands: Vec<Command>,
    pub link: Link,
    /// Points are given for what people bring.
    pub credit: Option<CreditPlan>,
    /// What holds for a message as a whole.
    pub(super) decoder: Decoder,
    /// The short way of those points that have one.
    pub(super) quick: Quick,
}

#[derive(Debug)]
pub struct Point {
    pub name: PointName,
    /// Index into `class.points`.
    pub class_point: usize,
    pub every: Duration,
    pub read: Read,
    /// From the raw bytes to the value.
    pub(super) plan: Plan,
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
    /// `frame` = index into the link's requests followed by its events; DL/T 645: into its items.
    Serial {
        frame: u16,
    },
    Mqtt,
    /// Nowhere: the gateway reckons it from others.
    Reckoned,
}

impl Profile {
    /// The class's definition of a point of this profile.
    pub fn class_point(&self, point: PointIx) -> &ClassPoint {
        &self.class.points[self.points[usize::from(point.0)].class_point]
    }

    /// The place of the point called `name`.
    pub fn point(&self, name: &str) -> Option<PointIx> {
        (0u16..).zip(&self.points).find(|(_, point)| point.name.as_str() == name).map(|(ix, _)| PointIx(ix))
    }

    /// The command called `name`.
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.name.as_str() == name)
    }

    /// All points, in the profile's order.
    pub fn all_points(&self) -> impl Iterator<Item = PointIx> + use<> {
        (0u16..).take(self.points.len()).map(PointIx)
    }
}
