//! Where modems dial in: one listener an address, each modem handed to its bus by the bytes it registers with.
//!
//! Whoever reaches the address may connect, so nothing here grows: so many may be about to register, each for so long, and the one that
//! waits longest makes room; a bus has one connection in use and one that waits.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::config::{DtuSettings, Said};
use crate::{domain::Text, fieldbus::port, text};

const REGISTER_WITHIN: Duration = Duration::from_secs(10);
const MOST_UNREGISTERED: usize = 32;
/// An address that cannot be listened on is tried again after this.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// The system is out of descriptors, or the caller has gone already.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Strangers are told of no more often than this: an address on the Internet is knocked at all day.
const TELL_STRANGERS_EVERY: Duration = Duration::from_secs(60);
/// Mobile networks lose packets for a while and go on.
const DEAD_AFTER: Duration = Duration::from_secs(60);
const LOCK: &str = "no one panics at the reception";

/// All addresses at which the modems of a site dial in.
#[derive(Default)]
pub struct Receptions(Vec<Arc<Reception>>);

/// One address, and the modems that dial in there.
pub struct Reception {
    listen: SocketAddr,
    berths: Vec<Arc<Berth>>,
}

/// Where the connection of one bus waits until it is taken.
pub struct Berth {
    registration: Said,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    arrival: Option<Arrival>,
    /// What keeps modems from dialling in at all.
    trouble: Option<Text>,
}

/// A modem that has registered.
pub struct Arrival {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    /// What came behind its registration.
    pub said: Vec<u8>,
}

impl Receptions {
    pub fn new<'a>(modems: impl Iterator<Item = &'a DtuSettings>) -> Self {
        let mut receptions: Vec<Reception> = Vec::new();
        for DtuSettings { listen, registration, .. } in modems {
            let berth = Arc::new(Berth {
                registration: registration.clone(),
                waiting: Mutex::default(),
                news: Notify::new(),
            });
            match receptions.iter_mut().find(|reception| reception.listen == *listen) {
                Some(reception) => reception.berths.push(berth),
                None => receptions.push(Reception { listen: *listen, berths: vec![berth] }),
            }
        }
        Self(receptions.into_iter().map(Arc::new).collect())
    }

    pub fn all(&self) -> &[Arc<Reception>] {
        &self.0
    }

    pub(super) fn berth(&self, modem: &DtuSettings) -> Option<Arc<Berth>> {
        let reception = self.0.iter().find(|reception| reception.listen == modem.listen)?;
        reception.berths.iter().find(|berth| berth.registration == modem.registration).cloned()
    }
}

impl Berth {
    /// The newest connection waits; one that waited before it is closed: modems dial again without hanging up.
    fn put(&self, arrival: Arrival) {
        *self.waiting.lock().expect(LOCK) = Waiting { arrival: Some(arrival), trouble: None };
        self.news.notify_one();
    }

    fn set_trouble(&self, trouble: Option<Text>) {
        self.waiting.lock().expect(LOCK).trouble = trouble;
    }

    pub fn trouble(&self) -> Option<Text> {
        self.waiting.lock().expect(LOCK).trouble.clone()
    }

    pub fn is_taken(&self) -> bool {
        self.waiting.lock().expect(LOCK).arrival.is_some()
    }

    /// Waits for a connection. Cancel-safe.
    pub async fn next(&self) -> Arrival {
        loop {
            if let Some(arrival) = self.waiting.lock().expect(LOCK).arrival.take() {
                return arrival;
            }
            self.news.notified().await;
        }
    }

    /// Waits until there may be one. Cancel-safe.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

impl Reception {
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Receives modems until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.listen() => {}
        }
    }

    async fn listen(&self) {
        loop {
            match TcpListener::bind(self.listen).await {
                Ok(listener) => {
                    self.berths.iter().for_each(|berth| berth.set_trouble(None));
                    info!(listen = %self.listen, "Modems can dial in.");
                    return self.receive(listener).await;
                }
                Err(cause) => {
                    let listen = self.listen;
                    let trouble = text!("{listen} 不能监听：{cause}", "listen on {listen}: {cause}");
                    let first = self.berths.iter().all(|berth| berth.trouble().is_none());
                    if first {
                        error!(listen = %self.listen, error = %cause, "No modem can dial in; trying again.");
                    }
                    self.berths.iter().for_each(|berth| berth.set_trouble(Some(trouble.clone())));
                    sleep(LISTEN_AGAIN).await;
                }
            }
        }
    }

    async fn receive(&self, listener: TcpListener) {
        let strangers = Arc::new(Strangers { listen: self.listen, told: Mutex::new(None) });
        let mut callers = JoinSet::new();
        let mut oldest_first = VecDeque::<AbortHandle>::new();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(caller) => caller,
                Err(error) => {
                    debug!(listen = %self.listen, %error, "A caller was not received.");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            while callers.try_join_next().is_some() {}
            oldest_first.retain(|caller| !caller.is_finished());
            if oldest_first.len() >= MOST_UNREGISTERED
                && let Some(oldest) = oldest_first.pop_front()
            {
                oldest.abort();
            }
            let caller = welcome(stream, peer, self.berths.clone(), Arc::clone(&strangers));
            oldest_first.push_back(callers.spawn(caller));
        }
    }
}

/// Takes one caller from its first byte to its berth, or shows it the door.
async fn welcome(
    mut stream: TcpStream,
    peer: SocketAddr,
    berths: Vec<Arc<Berth>>,
    strangers: Arc<Strangers>,
) {
    match timeout(REGISTER_WITHIN, registered(&mut stream, &berths)).await {
        Ok(Ok(Registered { berth, said })) => match port::watch_over(&stream, DEAD_AFTER) {
            Ok(()) => {
                info!(registration = %berth.registration, %peer, "A modem has dialled in.");
                berth.put(Arrival { stream, peer, said });
            }
            Err(error) => debug!(%peer, %error, "A modem hung up at once."),
        },
        Ok(Err(Unregistered::Says(said))) => strangers.tell(peer, &Said(said).to_string()),
        Ok(Err(Unregistered::Gone(error))) => debug!(%peer, %error, "A caller hung up unregistered."),
        Err(_elapsed) => strangers.tell(peer, ""),
    }
}

struct Registered {
    berth: Arc<Berth>,
    said: Vec<u8>,
}

enum Unregistered {
    Says(Vec<u8>),
    Gone(io::Error),
}

async fn registered(stream: &mut TcpStream, berths: &[Arc<Berth>]) -> Result<Registered, Unregistered> {
    let mut said = Vec::new();
    loop {
        let mut chunk = [0; 128];
        match stream.read(&mut chunk).await {
            Ok(0) => return Err(Unregistered::Gone(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) => return Err(Unregistered::Gone(error)),
        }
        match recognised(&said, berths.iter().map(|berth| &berth.registration)) {
            Caller::Registered(which) => {
                let berth = Arc::clone(&berths[which]);
                let said = said.split_off(berth.registration.0.len());
                return Ok(Registered { berth, said });
            }
            Caller::Perhaps => {}
            Caller::Stranger => {
                said.truncate(Said::LONGEST);
                return Err(Unregistered::Says(said));
            }
        }
    }
}

/// Who somebody is that has dialled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// That of this number, and what it said goes on behind its registration.
    Registered(usize),
    /// More bytes will tell.
    Perhaps,
    /// Nobody who is waited for.
    Stranger,
}

/// Who it is that said this so far, of those who register so. Pure.
pub fn recognised<'a>(said: &[u8], registrations: impl Iterator<Item = &'a Said>) -> Caller {
    let mut caller = Caller::Stranger;
    for (which, Said(registration)) in registrations.enumerate() {
        if said.starts_with(registration) {
            return Caller::Registered(which);
        }
        if registration.starts_with(said) {
            caller = Caller::Perhaps;
        }
    }
    caller
}

/// Callers that no bus waits for.
struct Strangers {
    listen: SocketAddr,
    told: Mutex<Option<Instant>>,
}

impl Strangers {
    fn tell(&self, peer: SocketAddr, said: &str) {
        let listen = self.listen;
        let mut told = self.told.lock().expect(LOCK);
        if told.is_some_and(|told| told.elapsed() < TELL_STRANGERS_EVERY) {
            debug!(%listen, %peer, said, "A caller did not register as any bus expects.");
            return;
        }
        *told = Some(Instant::now());
        warn!(%listen, %peer, said, "A caller did not register as any bus expects; it was hung up on.");
    }
}

#[cfg(test)]
#[path = "reception_tests.rs"]
mod tests;
