//! `events.db`: alarms, outbox, audit. Every commit is on the disk before anyone is told.
//!
//! One thread owns the one writing connection; whoever wants something sends it a job and waits for the answer.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::{
    AuditEntry, Backlog, Commit, Discarded, Receipted, Recovered, Settings, Wanted, commit,
    error::{File, StoreError},
    evidence::Sealed,
    letters,
    open::{self, DirLock, Synchronous},
    outbox::{self, Told},
};
use crate::domain::{AlarmKey, EndpointId, Event, Hindrance, Letter, OccurrenceId, Priority};

/// Jobs that wait for the writer. When it is full the asker waits too: nothing here may be dropped.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

enum Errand {
    Job(Job),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// The way to the writer; cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    errands: mpsc::Sender<Errand>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for EventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStore")
    }
}

impl EventStore {
    /// Opens or creates `events.db`, takes the directory's lock, and says what stood there.
    ///
    /// Blocks while the file is checked; call it before anything else runs.
    ///
    /// # Errors
    /// `InUse` at once beside a second instance; `SqliteTooOld`, `Newer`, `Damaged`, `Io`, `Migration`.
    pub fn open(settings: &Settings) -> Result<(EventStore, Recovered), StoreError> {
        open::directory(&settings.dir)?;
        let lock = open::lock(&settings.dir)?;
        let conn = open::writer(&settings.dir, File::Events, Synchronous::Full, settings.events_max)?;
        open::check(&conn, File::Events)?;
        let recovered = commit::recover(&conn).map_err(StoreError::sql(File::Events))?;

        let (errands, inbox) = mpsc::channel(WAITING_MAX);
        let desk = Desk { conn, room: Room::of(settings), failed: None };
        let thread = thread::Builder::new()
            .name("events.db".to_owned())
            .spawn(move || serve(desk, inbox, lock))
            .map_err(|source| StoreError::Io {
                doing: "start the writer of",
                path: settings.dir.clone(),
                source,
            })?;
        Ok((EventStore { errands, thread: Arc::new(Mutex::new(Some(thread))) }, recovered))
    }

    /// Stores all of `commit` or nothing of it, in one transaction, and returns once it is on the disk.
    ///
    /// # Errors
    /// `OutOfOrder` if its events do not continue the chain; `Full`; `Failed` once the disk has failed.
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.ask(move |desk| desk.commit(&commit)).await
    }

    /// The next letter for `endpoint`: of each alarm only its oldest undelivered one, alarms in `skip` left out;
    /// still-active critical alarms first, then by priority, then by seq. Claiming changes nothing.
    ///
    /// # Errors
    /// As SQLite gives them.
    pub async fn claim(
        &self,
        endpoint: &EndpointId,
        skip: Vec<AlarmKey>,
    ) -> Result<Option<Letter>, StoreError> {
        let endpoint = endpoint.clone();
        self.ask(move |desk| {
            outbox::claim(&desk.conn, &endpoint, &skip).map_err(StoreError::sql(File::Events))
        })
        .await
    }

    /// How many letters wait for endpoints that are not among `known`, by name: no courier carries them.
    ///
    /// # Errors
    /// As SQLite gives them.
    pub async fn queued_for_others(
        &self,
        known: &[EndpointId],
    ) -> Result<Vec<(EndpointId, u64)>, StoreError> {
        let mut queued =
            self.ask(|desk| outbox::queued(&desk.conn).map_err(StoreError::sql(File::Events))).await?;
        queued.retain(|(endpoint, _)| !known.contains(endpoint));
        Ok(queued)
    }

    /// The latest event of an occurrence.
    ///
    /// # Errors
    /// `Damaged` if its record cannot be read, or as SQLite gives them.
    pub async fn latest(&self, occurrence: &OccurrenceId) -> Result<Option<Event>, StoreError> {
        let occurrence = occurrence.clone();
        self.ask(move |desk| {
            let sql = "SELECT record FROM event WHERE occurrence = ?1 ORDER BY seq DESC LIMIT 1";
            let record: Option<Vec<u8>> = desk
                .conn
                .query_row(sql, [occurrence.as_str()], |row| row.get(0))
                .optional()
                .map_err(StoreError::sql(File::Events))?;
            let read = |record: Vec<u8>| {
                serde_json::from_slice(&record)
                    .map_err(|error| StoreError::Damaged { file: File::Events, what: error.to_string() })
            };
            record.map(read).transpose()
        })
        .await
    }

    /// When the latest event of `occurrence` was, and how its letter to `endpoint` stands.
    ///
    /// # Errors
    /// As SQLite gives them.
    pub async fn latest_told(
        &self,
        occurrence: &OccurrenceId,
        endpoint: &EndpointId,
    ) -> Result<Option<(Timestamp, Told)>, StoreError> {
        let (occurrence, endpoint) = (occurrence.clone(), endpoint.clone());
        self.ask(move |desk| {
            outbox::latest_told(&desk.conn, &occurrence, &endpoint).map_err(StoreError::sql(File::Events))
        })
        .await
    }

    /// Delivered: the receiver said so.
    ///
    /// # Errors
    /// `NoSuchLetter` unless `row` is undelivered.
    pub async fn settle(&self, row: i64, receipt: Receipted) -> Result<(), StoreError> {
        self.ask(move |desk| {
            crash_point!("settle.begin");
            let settled = desk.within_room(|conn| outbox::settle(conn, row, &receipt));
            crash_point!("settle.done");
            settled
        })
        .await
    }

    /// One attempt more that failed, `at`; `next_at` is a label for people.
    ///
    /// # Errors
    /// `NoSuchLetter` unless `row` is undelivered.
    pub async fn put_off(
        &self,
        row: i64,
        why: Hindrance,
        at: Timestamp,
        next_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.ask(move |desk| desk.within_room(|conn| outbox::put_off(conn, row, &why, at, next_at))).await
    }

    /// The receiver will never take it: out of the way of the next, kept whole, seen in `delivery show`.
    ///
    /// # Errors
    /// `NoSuchLetter` unless `row` is undelivered.
    pub async fn set_aside(&self, row: i64, why: Hindrance, at: Timestamp) -> Result<(), StoreError> {
        self.ask(move |desk| desk.within_room(|conn| outbox::set_aside(conn, row, &why, at))).await
    }

    /// Puts letters that were set aside back to where they stood, and `audit` with it, whose outcome is completed with
    /// their number. Gives how many.
    ///
    /// # Errors
    /// `Full`, or as SQLite gives them.
    pub async fn retry(&self, wanted: Wanted, audit: AuditEntry) -> Result<u64, StoreError> {
        self.ask(move |desk| desk.within_room(|conn| letters::retry(conn, &wanted, &audit))).await
    }

    /// Gives up all that was not delivered to `endpoint`, and writes `audit` with it. None: there was nothing.
    ///
    /// # Errors
    /// `Full`, or as SQLite gives them.
    pub async fn discard(
        &self,
        endpoint: EndpointId,
        audit: AuditEntry,
    ) -> Result<Option<Discarded>, StoreError> {
        self.ask(move |desk| desk.within_room(|conn| letters::discard(conn, &endpoint, &audit))).await
    }

    /// How many letters wait and how many are set aside, by endpoint.
    ///
    /// # Errors
    /// As SQLite gives them.
    pub async fn backlog(&self) -> Result<HashMap<EndpointId, Backlog>, StoreError> {
        let look = |conn: &Connection| {
            let mut backlog: HashMap<EndpointId, Backlog> = HashMap::new();
            for (endpoint, queued) in outbox::queued(conn)? {
                backlog.entry(endpoint).or_default().queued = queued;
            }
            for (endpoint, aside) in letters::aside(conn)? {
                backlog.entry(endpoint).or_default().set_aside = aside;
            }
            Ok(backlog)
        };
        self.ask(move |desk| look(&desk.conn).map_err(StoreError::sql(File::Events))).await
    }

    /// Does what is already asked for, brings the WAL into the file and lets go of the directory.
    ///
    /// # Errors
    /// `Closed` if it was; what the last checkpoint met.
    pub async fn close(self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.errands.send(Errand::Close(reply)).await.map_err(|_| closed())?;
        let outcome = answer.await.map_err(|_| closed())?;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("The writer of events.db panicked.");
        }
        outcome
    }

    /// A look at the file, by the one who writes it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(move |desk| look(&desk.conn)).await
    }

    /// `work`, for which room is made if there is none; it may be done again then.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(move |desk| desk.within_room(|conn| work(conn))).await
    }

    #[cfg(test)]
    pub(super) async fn fail(&self, why: &str) {
        let failed = StoreError::Failed { file: File::Events, why: why.to_owned() };
        let outcome: Result<(), _> = self.ask(|_| Err(failed)).await;
        assert!(outcome.is_err());
    }

    /// `job` on the writer's thread. It is done even if the asker stops waiting.
    async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |desk: &mut Desk| {
            if reply.send(desk.attempt(job)).is_err() {
                warn!("Nobody waited for an answer from events.db.");
            }
        });
        self.errands.send(Errand::Job(job)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::Closed { file: File::Events }
}

/// The writer: the connection, and whether it may still be believed.
struct Desk {
    conn: Connection,
    room: Room,
    failed: Option<String>,
}

impl Desk {
    fn attempt<T>(&mut self, job: impl FnOnce(&mut Desk) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(why) = &self.failed {
            return Err(StoreError::Failed { file: File::Events, why: why.clone() });
        }
        let outcome = job(self);
        if let Err(error) = &outcome
            && error.ends_trust()
        {
            error!(%error, "The disk failed: nothing more is written to events.db until a restart.");
            self.failed = Some(error.to_string());
        }
        outcome
    }

    fn commit(&mut self, wanted: &Commit) -> Result<(), StoreError> {
        let pages = self.room.for_commit(wanted);
        open::limit(&self.conn, pages).map_err(StoreError::sql(File::Events))?;
        let outcome = self.within_room(|conn| commit::commit(conn, wanted));
        open::limit(&self.conn, self.room.pages).map_err(StoreError::sql(File::Events))?;
        outcome
    }

    /// Does `work`, letting go of delivered bodies for as long as there is no room for it.
    fn within_room<T>(
        &mut self,
        work: impl Fn(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match work(&mut self.conn) {
                Err(StoreError::Full { file }) => {
                    if commit::make_room(&self.conn).map_err(StoreError::sql(file))? == 0 {
                        return Err(StoreError::Full { file });
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

/// How many pages the file may have, and who may use the last of them. If new events took them all, no delivered mark
/// could be written any more, and so no room be made, ever.
#[derive(Clone, Copy)]
struct Room {
    pages: i64,
    reserve: i64,
}

impl Room {
    fn of(settings: &Settings) -> Self {
        let pages = open::pages(settings.events_max);
        Room { pages, reserve: (pages / 32).max(16) }
    }

    /// Critical and high events may go further than the others; the last reserve is for marks.
    fn for_commit(self, commit: &Commit) -> i64 {
        let pressing = |event: &Sealed| match event.event.alarm.priority {
            Priority::Critical | Priority::High => true,
            Priority::Medium | Priority::Low => false,
        };
        let urgent = commit.events.is_empty() || commit.events.iter().any(pressing);
        self.pages - if urgent { self.reserve } else { 2 * self.reserve }
    }
}

/// The thread: jobs in the order they came, until closed or until nobody is left to ask. The lock goes last.
fn serve(mut desk: Desk, mut inbox: mpsc::Receiver<Errand>, lock: DirLock) {
    let mut waiting = None;
    while let Some(errand) = inbox.blocking_recv() {
        match errand {
            Errand::Job(job) => job(&mut desk),
            Errand::Close(reply) => {
                waiting = Some(reply);
                inbox.close();
            }
        }
    }
    let outcome = open::checkpoint_all(&desk.conn)
        .and_then(|()| desk.conn.close().map_err(|(_, error)| error))
        .map_err(StoreError::sql(File::Events));
    drop(lock);
    if let Some(Err(outcome)) = waiting.map(|reply| reply.send(outcome)) {
        warn!(?outcome, "Nobody waited for events.db to close.");
    }
}
