//! Connections: so many and no more, none for ever, each with a clock.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{debug, error, info, warn};

use super::admit::Peer;

/// All together, and from one address; a proxy on this box speaks for many.
const CONNECTIONS: usize = 64;
const FROM_ONE: usize = 16;
const FROM_THIS_BOX: usize = 48;
/// Who has not said what it wants by then is shown out; also between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const TLS_WITHIN: Duration = Duration::from_secs(10);
const HEAD_MAX: usize = 16 * 1024;
/// No connection is older; then it ends after the request in hand, and a little later in any case.
const OLDEST: Duration = Duration::from_secs(300);
const LAST_REQUEST: Duration = Duration::from_secs(45);
/// The same when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Who is connected, by address.
type Guests = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Answers until told to stop. With `tls` nothing is said in the clear.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<watch::Receiver<Option<Arc<ServerConfig>>>>,
    stop: CancellationToken,
) {
    let guests = Guests::default();
    let mut connections = JoinSet::new();
    let mut crowded = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(broken) = ended {
                    error!(%broken, "A request broke off inside the gateway; others go on.");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                debug!(%error, "Nobody could come in.");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = (connections.len() < CONNECTIONS).then(|| Place::take(&guests, address)).flatten();
        match (place, crowded) {
            (Some(place), _) => {
                crowded = false;
                let encrypted = match &tls {
                    None => Encryption::None,
                    Some(tls) => tls
                        .borrow()
                        .clone()
                        .map_or(Encryption::NotYet, |config| Encryption::Tls(config.into())),
                };
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    receive(stream, address, router, encrypted, stop).await;
                    drop(place);
                });
            }
            (None, true) => {}
            (None, false) => {
                crowded = true;
                warn!(%address, "Too many connections to the console; new ones are closed until others end.");
            }
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_WORDS + Duration::from_millis(500), ended).await.is_err() {
        info!("Connections to the console were cut off.");
    }
}

/// One of the places for connections from an address; free again when it is dropped.
struct Place {
    guests: Guests,
    address: IpAddr,
}

impl Place {
    fn take(guests: &Guests, address: IpAddr) -> Option<Self> {
        let most = if address.is_loopback() { FROM_THIS_BOX } else { FROM_ONE };
        let mut known = guests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = known.entry(address).or_insert(0);
        (*count < most).then(|| {
            *count += 1;
            Self { guests: Arc::clone(guests), address }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                known.remove(&self.address);
            }
        }
    }
}

enum Encryption {
    None,
    NotYet,
    Tls(TlsAcceptor),
}

async fn receive(
    stream: TcpStream,
    address: IpAddr,
    router: Router,
    encrypted: Encryption,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "Answers on this connection may be held up.");
    }
    match encrypted {
        Encryption::None => answer(stream, address, router, stop).await,
        Encryption::NotYet => debug!(%address, "There is no certificate to show yet."),
        Encryption::Tls(acceptor) => match timeout(TLS_WITHIN, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => answer(stream, address, router, stop).await,
            Ok(Err(error)) => debug!(%error, %address, "A caller did not get as far as TLS."),
            Err(_late) => debug!(%address, "A caller said nothing."),
        },
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: IpAddr,
    router: Router,
    stop: CancellationToken,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(address));
        let mut router = router.clone();
        async move {
            Ok::<Response, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let patience = tokio::select! {
        ended = connection.as_mut() => return told(ended, address),
        () = stop.cancelled() => LAST_WORDS,
        () = sleep(OLDEST) => LAST_REQUEST,
    };
    connection.as_mut().graceful_shutdown();
    match timeout(patience, connection).await {
        Ok(ended) => told(ended, address),
        Err(_late) => debug!(%address, "A connection was cut off."),
    }
}

fn told(ended: hyper::Result<()>, address: IpAddr) {
    if let Err(error) = ended {
        debug!(%error, %address, "A connection broke off.");
    }
}
