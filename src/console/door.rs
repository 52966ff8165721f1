//! The door: a unix socket beside the store, one JSON question a line, one JSON answer a line.
//!
//! Who may open it is decided by the file's permissions; the command line and (later) the console come in here.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::domain::{
    EndpointId,
    command::{Command, Outcome},
    drill::Drilled,
    inquiry::{Inquire, Inquired},
    status::Live,
    tape::{TapePage, TapeWish},
};

/// Longest question accepted, in bytes.
const QUESTION_MAX: u64 = 16 * 1024;
/// Who says nothing for this long is shown out.
const SILENCE: Duration = Duration::from_secs(3);
/// How long an answer may take: a commit on a slow disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many may stand in the door at once.
const VISITORS: usize = 64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    Command(Command),
    Status,
    /// One exchange on a line, for an installer's tool.
    Inquire(Inquire),
    /// What a line carried lately, page by page.
    Tape(TapeWish),
    /// A drill to an endpoint, asked for by a person.
    Drill {
        endpoint: EndpointId,
        by: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Outcome(Outcome),
    Status(Box<Live>),
    Inquired(Inquired),
    Tape(TapePage),
    Drilled(Drilled),
    NotUnderstood(String),
    /// Too many stand in the door; ask again.
    Busy,
    Stopping,
}

/// Somebody at the door, and where the answer goes.
pub type Visit = (Question, oneshot::Sender<Answer>);

/// Where the door of the gateway that keeps its store in `dir` is.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("gatehouse.sock")
}

/// Opens the door. The store's lock is held by now, so a socket file that lies here is a dead one's.
///
/// # Errors
/// If the socket cannot be made.
pub fn open(dir: &Path) -> io::Result<UnixListener> {
    let path = path(dir);
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let door = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
    Ok(door)
}

/// Answers at the door until told to stop.
pub async fn serve(door: UnixListener, visits: mpsc::Sender<Visit>, stop: CancellationToken) {
    let mut visitors = JoinSet::new();
    let places = Arc::new(Semaphore::new(VISITORS));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = visitors.join_next() => {}
            accepted = door.accept() => match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, _)), Ok(place)) => {
                    let visits = visits.clone();
                    visitors.spawn(async move {
                        if let Err(error) = receive(stream, visits).await {
                            debug!(%error, "A visitor at the door left early.");
                        }
                        drop(place);
                    });
                }
                (Ok((mut stream, _)), Err(_full)) => {
                    debug!("The door is crowded; a visitor was turned away.");
                    let busy = serde_json::to_vec(&Answer::Busy).unwrap_or_default();
                    // A few bytes fit the socket's buffer; who does not read them is gone anyway.
                    if let Err(error) = timeout(Duration::from_millis(100), stream.write_all(&busy)).await {
                        debug!(%error, "The visitor did not wait to hear it.");
                    }
                }
                (Err(error), _) => {
                    debug!(%error, "Nobody could come in.");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn receive(stream: UnixStream, visits: mpsc::Sender<Visit>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader.take(QUESTION_MAX));
    let mut line = String::new();
    timeout(SILENCE, lines.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => ask(question, &visits).await,
        Err(error) => Answer::NotUnderstood(error.to_string()),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    timeout(PATIENCE, writer.write_all(&answer)).await?
}

async fn ask(question: Question, visits: &mpsc::Sender<Visit>) -> Answer {
    let (reply, answer) = oneshot::channel();
    if visits.send((question, reply)).await.is_err() {
        return Answer::Stopping;
    }
    answer.await.unwrap_or(Answer::Stopping)
}

/// Goes to the door of a running gateway with one question.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` if no gateway runs there.
pub async fn visit(dir: &Path, question: &Question) -> io::Result<Answer> {
    visit_for(dir, question, PATIENCE).await
}

/// The same, where the answer may take longer.
///
/// # Errors
/// As [`visit`].
pub async fn visit_for(dir: &Path, question: &Question, patience: Duration) -> io::Result<Answer> {
    let (reader, mut writer) = UnixStream::connect(path(dir)).await?.into_split();
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    // Who is turned away at a crowded door hears so, though nobody reads the question.
    let asked = writer.write_all(&line).await;
    let mut answer = String::new();
    timeout(patience, BufReader::new(reader).read_line(&mut answer)).await??;
    if answer.is_empty() {
        asked?;
        return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the gateway hung up without an answer"));
    }
    Ok(serde_json::from_str(&answer)?)
}
