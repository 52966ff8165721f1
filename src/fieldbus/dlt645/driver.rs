//! The line of a bus of meters: a port, or a connection to a serial server, opened and given back around the wire that speaks on it.

use std::{future, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::{
    codec::Question,
    config::{LineSettings, TcpSettings, usual_line},
    station::Station,
    wire::Wire,
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

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A serial server that lost its power or its path says nothing of it: a connection that was silent for so long is opened anew, which
/// either mends it or shows that it is gone.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// A bus of meters on one port.
pub fn line_bus(settings: &LineSettings, parts: BusParts) -> Bus<Dlt645Driver> {
    Bus::new(
        Dlt645Driver { way: Way::Port(settings.into()), wire: None, tape: Arc::clone(&parts.tape) },
        parts,
    )
}

/// A bus of meters behind one serial server.
pub fn tcp_bus(settings: TcpSettings, parts: BusParts) -> Bus<Dlt645Driver> {
    Bus::new(Dlt645Driver { way: Way::Server(settings), wire: None, tape: Arc::clone(&parts.tape) }, parts)
}

pub struct Dlt645Driver {
    way: Way,
    wire: Option<Wire<Box<dyn Port>>>,
    tape: Arc<Tape>,
}

/// How the line is reached.
enum Way {
    Port(serial::config::Settings),
    Server(TcpSettings),
}

impl Way {
    async fn open(&self, tape: &Arc<Tape>) -> Result<Wire<Box<dyn Port>>, LineFault> {
        let (port, settings): (Box<dyn Port>, _) = match self {
            Way::Port(settings) => (Box::new(port::open(settings)?), settings.clone()),
            Way::Server(TcpSettings { host, port }) => {
                let gone = |error: io::Error| port::gone(self.name(), &error);
                let stream = timeout(CONNECT_WITHIN, TcpStream::connect((host.as_str(), *port)))
                    .await
                    .map_err(|_elapsed| LineFault::no_connection(self.name().display(), CONNECT_WITHIN))?
                    .map_err(gone)?;
                stream.set_nodelay(true).map_err(gone)?;
                (Box::new(stream), usual_line())
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
        self.wire = None;
        let mut wire = self.way.open(&self.tape).await?;
        wire.settle().await?;
        self.wire = Some(wire);
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
        self.wire = None;
    }
}
