//! `events.db`: alarms, outbox, audit. Every commit is on the disk before anyone is told.
//!
//! One thread owns the one writing connection; whoever wants something sends it a job and waits for the answer.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::{
    AuditEntry, Backlog, Commit, Condition, Discarded, Receipted, Recovered, Scribe, Settings, Wanted,
    chain::{Fact, LatestHead, Witness},
    desk::Desk,
    error::{File, StoreError},
    letters,
    outbox::{self, Told},
    ring::{End, Note, PutOff},
    salvage, start,
};
use crate::domain::{AlarmKey, EndpointId, Event, Hindrance, Letter, OccurrenceId, SignedHead};

/// A damaged file up to this size is saved before the start goes on: that takes about a second.
const AT_ONCE_BYTES: u64 = 16 << 20;
/// Jobs that wait for the writer. When it is full the asker waits too: nothing here may be dropped.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

pub(super) enum Errand {
    Job(Job),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// The way to the writer; cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    errands: mpsc::Sender<Errand>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    head: LatestHead,
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
        let (desk, recovered) = start::sound(settings)?;
        Ok((Self::serve(desk)?, recovered))
    }

    /// As [`Self::open`]; but a file that is damaged, or that cannot be written or read now, keeps nobody from starting: alarms
    /// go from memory until it can. What can be read of a damaged one is brought into a new one meanwhile.
    ///
    /// # Errors
    /// `TooLarge`; `InUse`, `SqliteTooOld`, `Newer`, and a `Migration` that is wrong in itself.
    pub fn open_or_go_without(settings: &Settings) -> Result<(EventStore, Recovered), StoreError> {
        Self::open_saving(settings, AT_ONCE_BYTES)
    }

    pub(super) fn open_saving(
        settings: &Settings,
        at_once: u64,
    ) -> Result<(EventStore, Recovered), StoreError> {
        let (desk, recovered) = start::whatever_comes(settings, at_once)?;
        let salvages = desk.is_salvaging();
        let settings = desk.settings.clone();
        let store = Self::serve(desk)?;
        if salvages {
            store.salvage(settings)?;
        }
        Ok((store, recovered))
    }

    fn serve(desk: Desk) -> Result<EventStore, StoreError> {
        let (errands, inbox) = mpsc::channel(WAITING_MAX);
        let head = desk.notary.latest();
        let thread = spawn("events.db", desk.settings.dir.clone(), move || serve(desk, inbox))?;
        Ok(EventStore { errands, thread: Arc::new(Mutex::new(Some(thread))), head })
    }

    /// On a thread of its own; the desk hears of the end.
    fn salvage(&self, settings: Settings) -> Result<(), StoreError> {
        let (errands, dir) = (self.errands.clone(), settings.dir.clone());
        let work = move || {
            let salvaged = salvage::salvage(&settings);
            let job: Job = Box::new(move |desk: &mut Desk| desk.take_over(salvaged));
            if errands.blocking_send(Errand::Job(job)).is_err() {
                warn!("The gateway ended before the damaged file was saved; the next start begins again.");
            }
        };
        spawn("salvage", dir, work).map(drop)
    }

    /// From now on a letter that is found damaged is written anew by `scribe`.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn remake_by(&self, scribe: Scribe) -> Result<(), StoreError> {
        self.ask(move |desk| {
            desk.scribe = Some(scribe);
            Ok(())
        })
        .await
    }

    /// From now on rows of the chain say when they were written, and its end is signed: at once, then as it becomes due.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn attest(&self, witness: Witness) -> Result<(), StoreError> {
        self.ask(move |desk| {
            desk.notary.appoint(witness);
            desk.look_after_the_chain();
            Ok(())
        })
        .await
    }

    /// Adds a row to the chain as soon as it can be written.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn witness(&self, fact: Fact) -> Result<(), StoreError> {
        self.ask(move |desk| {
            desk.notary.wait(fact);
            desk.look_after_the_chain();
            Ok(())
        })
        .await
    }

    /// The latest signed end of the chain that is on the disk.
    pub fn head(&self) -> Option<SignedHead> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores all of `commit` or nothing of it, in one transaction, and returns once it is on the disk.
    ///
    /// # Errors
    /// `OutOfOrder` if its events do not continue the chain; `Full`, or `Away` while the file cannot be used; `Failed` once
    /// the disk has failed and the gateway is to start anew.
    pub async fn commit(&self, commit: impl Into<Arc<Commit>>) -> Result<(), StoreError> {
        let commit = commit.into();
        self.ask(move |desk| desk.commit(&commit)).await
    }

    /// Keeps in memory what could not be committed, with `letters` in place of its own: they are claimed and settled as any, and
    /// it is stored under the same ids as soon as it can be.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn hold(&self, commit: Arc<Commit>, letters: Vec<Letter>) -> Result<(), StoreError> {
        self.ask(move |desk| {
            desk.hold(commit, letters);
            Ok(())
        })
        .await
    }

    /// Looks after the file, as often as it is asked (once a second is right), and says how it stands.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn tend(&self) -> Result<Condition, StoreError> {
        self.ask(|desk| Ok(desk.tend())).await
    }

    /// The next letter for `endpoint`: of each alarm only its oldest undelivered one, alarms in `skip` left out;
    /// still-active critical alarms first, then by priority, then by seq. Claiming changes nothing. While the file cannot be
    /// read, those that memory holds.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn claim(
        &self,
        endpoint: &EndpointId,
        skip: Vec<AlarmKey>,
    ) -> Result<Option<Letter>, StoreError> {
        let endpoint = endpoint.clone();
        self.ask(move |desk| Ok(desk.claim(&endpoint, &skip))).await
    }

    /// The letter as it goes, before anybody tries to deliver it: one that was written while the clock was not set is frozen now, its
    /// times put right if the clock was set since.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn freeze(&self, letter: Letter) -> Result<Letter, StoreError> {
        if !letter.provisional {
            return Ok(letter);
        }
        self.ask(move |desk| Ok(desk.freeze(letter))).await
    }

    /// How many letters wait for endpoints that are not among `known`, by name: no courier carries them.
    ///
    /// # Errors
    /// As SQLite gives them; `Away`.
    pub async fn queued_for_others(
        &self,
        known: &[EndpointId],
    ) -> Result<Vec<(EndpointId, u64)>, StoreError> {
        let queued = |conn: &mut Connection| outbox::queued(conn).map_err(StoreError::sql(File::Events));
        let mut queued = self.ask(move |desk| desk.on_file(queued)).await?;
        queued.retain(|(endpoint, _)| !known.contains(endpoint));
        Ok(queued)
    }

    /// The latest event of an occurrence.
    ///
    /// # Errors
    /// `Damaged` if its record cannot be read, `Away`, or as SQLite gives them.
    pub async fn latest(&self, occurrence: &OccurrenceId) -> Result<Option<Event>, StoreError> {
        let occurrence = occurrence.clone();
        let sql = "SELECT record FROM event WHERE occurrence = ?1 ORDER BY seq DESC LIMIT 1";
        let find = move |conn: &mut Connection| {
            conn.query_row(sql, [occurrence.as_str()], |row| row.get::<_, Vec<u8>>(0))
                .optional()
                .map_err(StoreError::sql(File::Events))
        };
        let record = self.ask(move |desk| desk.on_file(find)).await?;
        let read = |record: Vec<u8>| {
            serde_json::from_slice(&record)
                .map_err(|error| StoreError::Damaged { file: File::Events, what: error.to_string() })
        };
        record.map(read).transpose()
    }

    /// When the latest event of `occurrence` was, and how its letter to `endpoint` stands.
    ///
    /// # Errors
    /// `Away`, or as SQLite gives them.
    pub async fn latest_told(
        &self,
        occurrence: &OccurrenceId,
        endpoint: &EndpointId,
    ) -> Result<Option<(Timestamp, Told)>, StoreError> {
        let (occurrence, endpoint) = (occurrence.clone(), endpoint.clone());
        self.read(move |conn| {
            outbox::latest_told(conn, &occurrence, &endpoint).map_err(StoreError::sql(File::Events))
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
            let settled = desk.note(row, Note::End(End::Delivered(receipt)));
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
        self.note(row, Note::PutOff(PutOff { why, at, next_at })).await
    }

    /// The receiver will never take it: out of the way of the next, kept whole, seen in `delivery show`.
    ///
    /// # Errors
    /// `NoSuchLetter` unless `row` is undelivered.
    pub async fn set_aside(&self, row: i64, why: Hindrance, at: Timestamp) -> Result<(), StoreError> {
        self.note(row, Note::End(End::SetAside { why, at })).await
    }

    async fn note(&self, row: i64, note: Note) -> Result<(), StoreError> {
        self.ask(move |desk| desk.note(row, note)).await
    }

    /// Puts letters that were set aside back to where they stood, and `audit` with it, whose outcome is completed with
    /// their number. Gives how many.
    ///
    /// # Errors
    /// `Full`, `Away`, or as SQLite gives them.
    pub async fn retry(&self, wanted: Wanted, audit: AuditEntry) -> Result<u64, StoreError> {
        self.ask(move |desk| {
            let pen = desk.notary.pen();
            let retried = desk.within_room(|conn| letters::retry(conn, &wanted, &audit, &pen));
            desk.notary.noted(true);
            retried
        })
        .await
    }

    /// Gives up all that was not delivered to `endpoint`, and writes `audit` with it. None: there was nothing.
    ///
    /// # Errors
    /// `Full`, `Away`, or as SQLite gives them.
    pub async fn discard(
        &self,
        endpoint: EndpointId,
        audit: AuditEntry,
    ) -> Result<Option<Discarded>, StoreError> {
        self.ask(move |desk| {
            // what memory holds for it goes too, once it is in the file
            desk.store_held()?;
            let pen = desk.notary.pen();
            let discarded = desk.within_room(|conn| letters::discard(conn, &endpoint, &audit, &pen));
            desk.notary.noted(true);
            discarded
        })
        .await
    }

    /// How many letters wait and how many are set aside, by endpoint: in the file as far as it can be read, and in memory.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn backlog(&self) -> Result<HashMap<EndpointId, Backlog>, StoreError> {
        self.ask(|desk| Ok(desk.backlog())).await
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
        self.ask(move |desk| desk.on_file(|conn| look(conn))).await
    }

    /// `work`, for which room is made if there is none; it may be done again then.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(move |desk| desk.within_room(|conn| work(conn))).await
    }

    /// As if the file had given `error`.
    #[cfg(test)]
    pub(super) async fn fail(&self, error: fn() -> StoreError) {
        let outcome: Result<(), _> = self.ask(move |desk| desk.on_file(|_| Err(error()))).await;
        assert!(outcome.is_err());
    }

    /// How many letters of memory are remembered that are in the file now.
    #[cfg(test)]
    pub(super) async fn moved(&self) -> usize {
        self.ask(|desk| Ok(desk.ring.moved_count())).await.unwrap()
    }

    /// What is tried again later is tried at the next look.
    #[cfg(test)]
    pub(super) async fn hasten(&self) {
        let hastened = self.ask(|desk| {
            desk.hasten();
            Ok(())
        });
        hastened.await.unwrap();
    }

    /// `job` on the writer's thread. It is done even if the asker stops waiting.
    async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |desk: &mut Desk| {
            if reply.send(job(desk)).is_err() {
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

fn spawn(
    name: &str,
    dir: PathBuf,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|source| StoreError::Io {
        doing: "start a thread for",
        path: dir,
        source,
    })
}

/// The thread: jobs in the order they came, until closed or until nobody is left to ask. The lock goes last.
fn serve(mut desk: Desk, mut inbox: mpsc::Receiver<Errand>) {
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
    let outcome = desk.close();
    if let Some(Err(outcome)) = waiting.map(|reply| reply.send(outcome)) {
        warn!(?outcome, "Nobody waited for events.db to close.");
    }
}
