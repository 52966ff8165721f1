//! The line of a bus of meters: a port, or a connection to a serial server, opened and given back around the wire that speaks on it.

use std::{future, path::PathBuf, sync::Arc, time::Duration};

use super::{
    codec::Question,
    config::{LineSettings, TcpSettings, usual_line},
    station::Station,
    wire::{Owed, Wire},
};
use crate::{
    domain::{Garble, Raw},
    fieldbus::{
        Bus, BusParts,
        cost::LineCost,
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
        port::{self, OpenPort, Port},
        record::Tape,
        serial,
    },
    profile::{Address, Link},
};

/// A serial server that lost its power or its path says nothing of it: a connection that was silent for so long is opened anew, which
/// either mends it or shows that it is gone.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// A bus of meters on one port.
pub fn line_bus(settings: &LineSettings, parts: BusParts) -> Bus<Dlt645Driver> {
    Bus::new(Dlt645Driver::over(Way::Port(settings.into()), &parts.tape), parts)
}

/// A bus of meters behind one serial server.
pub fn tcp_bus(settings: TcpSettings, parts: BusParts) -> Bus<Dlt645Driver> {
    Bus::new(Dlt645Driver::over(Way::Server(settings), &parts.tape), parts)
}

pub struct Dlt645Driver {
    way: Way,
    wire: Option<Wire<Box<dyn Port>>>,
    /// Of the one that was closed.
    owed: Owed,
    tape: Arc<Tape>,
}

impl Dlt645Driver {
    pub(super) fn over(way: Way, tape: &Arc<Tape>) -> Self {
        Self { way, wire: None, owed: Owed::default(), tape: Arc::clone(tape) }
    }
}

/// How the line is reached.
pub(super) enum Way {
    Port(serial::config::Settings),
    Server(TcpSettings),
}

impl Way {
    async fn open(&self, tape: &Arc<Tape>) -> Result<Wire<Box<dyn Port>>, LineFault> {
        let (port, settings): (Box<dyn Port>, _) = match self {
            Way::Port(settings) => (Box::new(port::open(settings)?), settings.clone()),
            Way::Server(TcpSettings { host, port }) => {
                (Box::new(port::connect(host, *port).await?), usual_line())
            }
        };
        Ok(Wire::new(
            OpenPort::new(port, self.name()).recorded(Some(Arc::clone(tape))),
            port::character(&settings),
        ))
    }

    fn is_stale(&self, wire: &Wire<Box<dyn Port>>) -> bool {
        match self {
            Way::Port(_) => false,
            Way::Server(_) => wire.unanswered_since().is_some_and(|since| since.elapsed() > STALE_AFTER),
        }
    }

    /// What it is called when it fails.
    fn name(&self) -> PathBuf {
        match self {
            Way::Port(settings) => settings.port.clone(),
            Way::Server(TcpSettings { host, port }) => PathBuf::from(format!("{host}:{port}")),
        }
    }
}

impl Driver for Dlt645Driver {
    fn cost(&self) -> LineCost {
        match &self.way {
            Way::Port(settings) => LineCost::serial(settings),
            Way::Server(_) => LineCost::serial(&usual_line()),
        }
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        if self.wire.as_ref().is_some_and(|wire| !self.way.is_stale(wire)) {
            return Ok(Line::Kept);
        }
        self.close();
        let mut wire = self.way.open(&self.tape).await?;
        wire.settle().await?;
        self.wire = Some(wire.heir_to(std::mem::take(&mut self.owed)));
        Ok(Line::Opened)
    }

    async fn ask(&mut self, unit: &Address, link: &Link, ask: &Ask) -> Result<Raw, AskFault> {
        let no_such = || AskFault::Garbled { what: Garble::Unaskable };
        let (Address::Text(address), Link::Dlt645(link), Ask::Frame { request }) = (unit, link, ask) else {
            return Err(no_such());
        };
        let station = Station::of(address).ok_or_else(no_such)?;
        let item = link.items.get(usize::from(*request)).ok_or_else(no_such)?;
        let Some(wire) = &mut self.wire else {
            return Err(port::not_open(self.way.name()).into());
        };
        let values = wire.ask(Question { station, item: item.id }, item, link).await?;
        Ok(Raw::Frame { frame: *request, bytes: values.into() })
    }

    async fn hear(&mut self) -> Unasked {
        match &mut self.wire {
            None => future::pending().await,
            Some(wire) => wire.hear().await,
        }
    }

    fn close(&mut self) {
        // the descriptor must go at once: as long as it is held, the adapter comes back under another name
        if let Some(wire) = self.wire.take() {
            self.owed = wire.leave();
        }
    }
}
