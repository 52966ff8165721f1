//! What every request is answered from.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    console::{config::Settings, problem::Problem, token::Tokens, visitor::Gate},
    domain::{
        Clock, DeviceId, EndpointId, SiteFacts, Text,
        command::{Command, Outcome},
        drill::Drilled,
        status::{LatestReadings, Live},
    },
    store::{AuditEntry, Reader, StoreError},
};

/// How long an answer may take: a commit on a slow disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// What goes to a device or an endpoint and back: within what any request may take.
const PATIENCE_BEYOND: Duration = Duration::from_secs(35);
/// How many look into the store at once, and how many may wait for events.
const LOOKS: usize = 2;
const WAITERS: usize = 16;
const PATIENCE_FOR_A_LOOK: Duration = Duration::from_secs(5);

/// What is asked of the running gateway.
#[derive(Debug)]
pub enum Ask {
    /// The answer comes when it is on disk.
    Command(Command, oneshot::Sender<Outcome>),
    Live(oneshot::Sender<Box<Live>>),
    /// A drill to an endpoint, by a person.
    Drill(EndpointId, String, oneshot::Sender<Drilled>),
    /// What the points of a device, or of all, showed last.
    Latest(Option<DeviceId>, oneshot::Sender<Vec<LatestReadings>>),
    /// Answered when it is on disk; not at all if it could not be stored.
    OnRecord(AuditEntry, oneshot::Sender<()>),
}

/// The site, as far as whoever looks may know.
#[derive(Clone, Debug)]
pub struct Place {
    pub site: SiteFacts,
    pub zone: TimeZone,
    pub demo: bool,
    /// SHA-256 of the site file as it was read at the start.
    pub digest: String,
    pub endpoints: Vec<EndpointId>,
    /// Of the store.
    pub dir: PathBuf,
}

pub struct Desk {
    pub place: Place,
    /// Names, besides IP addresses and localhost, by which it may be called.
    pub hosts: Vec<String>,
    /// Who is believed when it says for whom it asks.
    pub proxies: Vec<IpAddr>,
    pub clock: Arc<dyn Clock>,
    pub tokens: watch::Receiver<Arc<Tokens>>,
    /// Told after each commit.
    pub changes: watch::Receiver<u64>,
    pub gate: Gate,
    pub stop: CancellationToken,
    asks: mpsc::Sender<Ask>,
    looks: Arc<Semaphore>,
    pub waiters: Arc<Semaphore>,
}

impl Desk {
    pub fn new(
        place: Place,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        asks: mpsc::Sender<Ask>,
        (tokens, changes): (watch::Receiver<Arc<Tokens>>, watch::Receiver<u64>),
        stop: CancellationToken,
    ) -> Self {
        Self {
            place,
            hosts: settings.hosts.clone(),
            proxies: settings.proxies.clone(),
            clock,
            tokens,
            changes,
            gate: Gate::default(),
            stop,
            asks,
            looks: Arc::new(Semaphore::new(LOOKS)),
            waiters: Arc::new(Semaphore::new(WAITERS)),
        }
    }

    pub async fn command(&self, command: Command) -> Result<Outcome, Problem> {
        self.ask(|reply| Ask::Command(command, reply)).await
    }

    /// One that goes to a device.
    pub async fn far_command(&self, command: Command) -> Result<Outcome, Problem> {
        self.ask_for(PATIENCE_BEYOND, |reply| Ask::Command(command, reply)).await
    }

    pub async fn drill(&self, endpoint: EndpointId, by: String) -> Result<Drilled, Problem> {
        self.ask_for(PATIENCE_BEYOND, |reply| Ask::Drill(endpoint, by, reply)).await
    }

    pub async fn live(&self) -> Result<Box<Live>, Problem> {
        self.ask(Ask::Live).await
    }

    pub async fn latest(&self, device: Option<DeviceId>) -> Result<Vec<LatestReadings>, Problem> {
        self.ask(|reply| Ask::Latest(device, reply)).await
    }

    /// What must be on record before it is done.
    pub async fn put_on_record(&self, entry: AuditEntry) -> Result<(), Problem> {
        self.ask(|reply| Ask::OnRecord(entry, reply)).await
    }

    /// Whoever floods the gate must not hold it up: what does not fit is in the log only.
    pub fn on_record(&self, entry: AuditEntry) {
        let (reply, _) = oneshot::channel();
        if let Err(error) = self.asks.try_send(Ask::OnRecord(entry, reply)) {
            debug!(%error, "A refusal could not be put on record.");
        }
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Problem> {
        self.ask_for(PATIENCE, ask).await
    }

    async fn ask_for<T>(
        &self,
        patience: Duration,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        match self.asks.try_send(ask(reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Problem::busy()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Problem::stopping()),
        }
        match timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_stopped)) => Err(Problem::stopping()),
            Err(_late) => Err(Problem::unsure()),
        }
    }

    /// One short look into the store, away from the threads that deliver.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = timeout(PATIENCE_FOR_A_LOOK, Arc::clone(&self.looks).acquire_owned());
        let Ok(Ok(place)) = place.await else { return Err(Problem::busy()) };
        let dir = self.place.dir.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let found = Reader::open(&dir).and_then(|reader| look(&reader));
            drop(place);
            found
        });
        match timeout(PATIENCE, looked).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(Problem::unreadable(&error.text())),
            Ok(Err(_broken)) => Err(Problem::unexpected()),
            Err(_late) => {
                Err(Problem::unreadable(&Text::new("磁盘没有按时应答", "the disk did not answer in time")))
            }
        }
    }
}
