//! The JSON API's place in the whole: its tokens, its certificate, its port, and who answers what it asks.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Notify, mpsc, oneshot, watch},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::Ended;
use crate::{
    console::{
        api::{self, Ask, Desk, Place},
        config::{Settings, TlsFiles},
        door::{Answer, Question, Visit},
        tls::{self, TlsFault},
        token::{TokenFault, Tokens},
    },
    domain::{Clock, drill::Drilled, status::Live},
    pipeline::Asked,
    store::AuditEntry,
};

/// What callers may have asked and nobody has looked at yet; when it is full they hear that the gateway is busy.
const ASKS: usize = 16;
/// How soon a new token counts, and one that was removed does no more.
const LOOK_FOR_TOKENS: Duration = Duration::from_secs(1);
const LOOK_FOR_CERTIFICATE: Duration = Duration::from_secs(10);
/// How soon a port that could not be had is tried again.
const PORT_AGAIN: Duration = Duration::from_secs(5);

pub struct Api {
    pub settings: Settings,
    pub place: Place,
    pub clock: Arc<dyn Clock>,
    pub to_answer: mpsc::Sender<Asked>,
    pub to_porter: mpsc::Sender<Visit>,
    /// Rung after each commit.
    pub committed: Arc<Notify>,
}

impl Api {
    pub fn spawn(self, tasks: &mut JoinSet<Ended>, rest: &Handle, stop: &CancellationToken) {
        let (asks, asked) = mpsc::channel(ASKS);
        let (known, tokens) = watch::channel(Arc::default());
        let (changed, changes) = watch::channel(0);
        let Api { settings, place, clock, to_answer, to_porter, committed } = self;
        let keys =
            Keys { dir: place.dir.clone(), known, record: to_answer.clone(), clock: Arc::clone(&clock) };
        tasks.spawn_on(keys.run(stop.clone()), rest);
        tasks.spawn_on(answer(asked, to_answer, to_porter, stop.clone()), rest);
        tasks.spawn_on(tell(committed, changed, stop.clone()), rest);
        let desk = Desk::new(place, &settings, clock, asks, (tokens.clone(), changes), stop.clone());
        let (renewed, shown) = watch::channel(None);
        if let Some(files) = settings.tls.clone() {
            tasks.spawn_on(renew(files, renewed, stop.clone()), rest);
        }
        tasks.spawn_on(listen(settings, Arc::new(desk), tokens, shown, stop.clone()), rest);
    }
}

/// Takes what callers ask to whoever knows the answer.
async fn answer(
    mut asked: mpsc::Receiver<Ask>,
    pipeline: mpsc::Sender<Asked>,
    porter: mpsc::Sender<Visit>,
    stop: CancellationToken,
) -> Ended {
    let mut looks = JoinSet::new();
    loop {
        let ask = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = looks.join_next() => continue,
            ask = asked.recv() => ask,
        };
        let asked = match ask {
            None => break,
            Some(Ask::Command(command, reply)) => Asked::Command(command, reply),
            Some(Ask::Latest(device, reply)) => Asked::Latest(device, reply),
            Some(Ask::OnRecord(entry, reply)) => Asked::OnRecord(entry, reply),
            Some(Ask::Live(reply)) => {
                looks.spawn(live(porter.clone(), reply));
                continue;
            }
            Some(Ask::Drill(endpoint, by, reply)) => {
                looks.spawn(drill(porter.clone(), Question::Drill { endpoint, by }, reply));
                continue;
            }
        };
        if pipeline.send(asked).await.is_err() {
            break;
        }
    }
    stop.cancelled().await;
    Ok("console's questions")
}

/// Without an answer the caller hears that the gateway stops.
async fn live(porter: mpsc::Sender<Visit>, reply: oneshot::Sender<Box<Live>>) {
    let (to, answer) = oneshot::channel();
    if porter.send((Question::Status, to)).await.is_ok()
        && let Ok(Answer::Status(live)) = answer.await
    {
        reply.send(live).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
    }
}

/// As [`live`].
async fn drill(porter: mpsc::Sender<Visit>, question: Question, reply: oneshot::Sender<Drilled>) {
    let (to, answer) = oneshot::channel();
    if porter.send((question, to)).await.is_ok()
        && let Ok(Answer::Drilled(drilled)) = answer.await
    {
        reply.send(drilled).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
    }
}

/// One bell for many who wait.
async fn tell(committed: Arc<Notify>, changed: watch::Sender<u64>, stop: CancellationToken) -> Ended {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = committed.notified() => changed.send_modify(|count| *count += 1),
        }
    }
    Ok("console's bell")
}

/// Holds the port while there is a token: where nobody may come in, nothing is open.
async fn listen(
    settings: Settings,
    desk: Arc<Desk>,
    mut tokens: watch::Receiver<Arc<Tokens>>,
    mut shown: Certificates,
    stop: CancellationToken,
) -> Ended {
    while let Some(listener) = port(&settings, &mut tokens, &mut shown, &stop).await {
        let (address, tls) = (settings.listen, settings.tls.is_some());
        info!(%address, tls, "The console's API answers.");
        let open = stop.child_token();
        let certificates = tls.then(|| shown.clone());
        let served = api::serve(listener, api::router(Arc::clone(&desk)), certificates, open.clone());
        let none_left = until(&mut tokens, |tokens| tokens.tokens.is_empty());
        tokio::pin!(served);
        tokio::select! {
            () = served.as_mut() => {}
            _ = none_left => {
                open.cancel();
                served.await;
                info!("The last token is gone: the console's API is closed.");
            }
        }
    }
    stop.cancelled().await;
    Ok("console")
}

/// The port, once there are a token and a certificate to show; `None` at the end.
async fn port(
    settings: &Settings,
    tokens: &mut watch::Receiver<Arc<Tokens>>,
    shown: &mut Certificates,
    stop: &CancellationToken,
) -> Option<TcpListener> {
    let mut said = false;
    let opened = async {
        loop {
            until(tokens, |tokens| !tokens.tokens.is_empty()).await?;
            if settings.tls.is_some() {
                until(shown, Option::is_some).await?;
            }
            match TcpListener::bind(settings.listen).await {
                Ok(listener) => return Some(listener),
                Err(error) if !said => {
                    let address = settings.listen;
                    error!(%error, %address, "The console's port cannot be had; it is tried again. Alarms do not need it.");
                    said = true;
                }
                Err(error) => debug!(%error, "The console's port cannot be had yet."),
            }
            sleep(PORT_AGAIN).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => None,
        listener = opened => listener,
    }
}

/// As soon as it is so; `None` if it will never be.
async fn until<T>(watched: &mut watch::Receiver<T>, so: impl FnMut(&T) -> bool) -> Option<()> {
    watched.wait_for(so).await.ok().map(drop)
}

type Certificates = watch::Receiver<Option<Arc<ServerConfig>>>;

/// A new certificate counts from the next connection on; one that cannot be used is said once, and the old one stays.
async fn renew(
    files: TlsFiles,
    shown: watch::Sender<Option<Arc<ServerConfig>>>,
    stop: CancellationToken,
) -> Ended {
    let (mut seen, mut said) = (None, None);
    while !stop.is_cancelled() {
        match read(&files).await {
            Ok((bytes, _)) if seen.as_ref() == Some(&bytes) => {}
            Ok((bytes, config)) => {
                if seen.replace(bytes).is_some() {
                    info!("The console shows a new certificate.");
                }
                shown.send_replace(Some(config));
                said = None;
            }
            Err(why) => {
                let why = why.to_string();
                if said.as_ref() != Some(&why) {
                    error!(
                        why,
                        "The console's certificate or key cannot be used; it is read again until it can."
                    );
                    said = Some(why);
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LOOK_FOR_CERTIFICATE) => {}
        }
    }
    Ok("console's certificate")
}

#[derive(Debug, thiserror::Error)]
enum CertificateFault {
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsFault),
    #[error("read it: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// What is in the certificate's file, and what comes of both. The key's own bytes are not kept.
async fn read(files: &TlsFiles) -> Result<(Vec<u8>, Arc<ServerConfig>), CertificateFault> {
    let files = files.clone();
    spawn_blocking(move || {
        let bytes = |path: &Path| {
            fs::read(path).map_err(|source| CertificateFault::Read { path: path.to_owned(), source })
        };
        let certificate = bytes(&files.certificate)?;
        let config = tls::server(&certificate, &bytes(&files.key)?)?;
        Ok((certificate, config))
    })
    .await?
}

/// Which tokens are good, as the file has them now.
struct Keys {
    dir: PathBuf,
    known: watch::Sender<Arc<Tokens>>,
    record: mpsc::Sender<Asked>,
    clock: Arc<dyn Clock>,
}

impl Keys {
    async fn run(self, stop: CancellationToken) -> Ended {
        let mut said = None;
        let mut first = true;
        while !stop.is_cancelled() {
            let dir = self.dir.clone();
            let read = spawn_blocking(move || Tokens::read(&dir)).await;
            match read {
                Ok(Ok(tokens)) => {
                    said = None;
                    self.replace(tokens, first).await;
                    first = false;
                }
                Ok(Err(fault)) => self.shut(&fault, &mut said),
                Err(broken) => error!(%broken, "The tokens could not be read."),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LOOK_FOR_TOKENS) => {}
            }
        }
        Ok("console's tokens")
    }

    /// A file that cannot be believed lets nobody in.
    fn shut(&self, fault: &TokenFault, said: &mut Option<String>) {
        let why = fault.text().en;
        if said.as_ref() != Some(&why) {
            error!(why, "Nobody can use the console's API until its tokens are in order.");
            *said = Some(why);
        }
        self.known.send_if_modified(|known| {
            let had = !known.tokens.is_empty();
            *known = Arc::default();
            had
        });
    }

    async fn replace(&self, tokens: Tokens, first: bool) {
        let before = Arc::clone(&self.known.borrow());
        if *before == tokens {
            return;
        }
        for entry in changes(&before, &tokens, first, self.clock.now().wall) {
            info!(token = entry.object, by = entry.who, "{}", entry.outcome);
            let (reply, _) = oneshot::channel();
            if self.record.send(Asked::OnRecord(entry, reply)).await.is_err() {
                return;
            }
        }
        self.known.send_replace(Arc::new(tokens));
    }
}

/// What is on record of tokens that came or went. At the start: which there are.
fn changes(before: &Tokens, now: &Tokens, first: bool, at: jiff::Timestamp) -> Vec<AuditEntry> {
    let entry = |who: &str, name: &str, outcome: String| AuditEntry {
        at,
        who: who.to_owned(),
        from: "cli".to_owned(),
        action: "token",
        object: name.to_owned(),
        outcome,
    };
    let known: HashMap<&str, _> = before.tokens.iter().map(|token| (token.name.as_str(), token)).collect();
    let new = now.tokens.iter().filter(|token| known.get(token.name.as_str()) != Some(token));
    let word = if first { "good since the start" } else { "added" };
    let added = new.map(|token| entry(&token.added_by, &token.name, format!("{word}: {}", token.role)));
    let left = before.tokens.iter().filter(|token| !now.tokens.iter().any(|other| other.name == token.name));
    let removed = left.map(|token| {
        let gone = now.gone.iter().rev().find(|gone| gone.name == token.name);
        let who = gone.map_or("?", |gone| gone.removed_by.as_str());
        entry(who, &token.name, format!("removed: {}", token.role))
    });
    removed.chain(added).collect()
}
