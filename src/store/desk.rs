//! The writer of `events.db`: the connection, whether it may still be believed, and what memory holds while it may not.
//!
//! A connection on which reading, writing or fsync failed is never used again. The first failures within an hour end the
//! gateway, so that it starts anew and recovers what was committed; on a disk that keeps failing it stays up.

use std::{collections::HashMap, sync::Arc, time::Instant};

use rusqlite::{Connection, TransactionBehavior};
use tracing::{error, info, warn};

use super::{
    Backlog, Commit, Settings,
    ballast::{self, NO_ROOM},
    book::{Book, Room, Shut, abandon},
    chain::{self, Notary},
    commit::{self, Head},
    condition::{Findings, StoreState},
    error::{Fault, File, StoreError},
    freeze::{self, Known},
    incidents::{Incidents, Kind},
    letters, mend,
    open::{self, DirLock},
    outbox::{self, Stored},
    remake::{self, Scribe},
    ring::{End, Note, PutOff, Ring},
    salvage, spool,
    watermark::Watermark,
};
use crate::domain::{AlarmKey, ClockSet, EndpointId, Letter};

pub(super) struct Desk {
    pub settings: Settings,
    pub book: Book,
    pub room: Room,
    pub ring: Ring,
    /// The end of the chain, stored or held, and its epoch.
    pub epoch: String,
    pub head: Head,
    pub watermark: Watermark,
    pub incidents: Incidents,
    pub findings: Findings,
    pub lock: Option<DirLock>,
    /// When there was no room last.
    pub full: Option<Instant>,
    pub crowded: bool,
    /// Memory came from a file of an earlier end, which is still there.
    pub spooled: bool,
    /// Who can write a damaged letter anew.
    pub scribe: Option<Scribe>,
    pub notary: Notary,
    /// When the clock was set, as the file has it; read when somebody asks.
    pub clock_sets: Option<Vec<ClockSet>>,
}

/// What the store is opened with.
pub(super) struct Start {
    pub epoch: String,
    pub head: Head,
    pub watermark: Watermark,
    pub incidents: Incidents,
    pub findings: Findings,
    pub lock: Option<DirLock>,
    pub ring: Ring,
    pub spooled: bool,
}

impl Desk {
    pub fn new(settings: &Settings, book: Book, start: Start) -> Self {
        let Start { epoch, head, watermark, incidents, findings, lock, ring, spooled } = start;
        Self {
            settings: settings.clone(),
            book,
            room: Room::of(settings),
            ring,
            epoch,
            head,
            watermark,
            incidents,
            findings,
            lock,
            full: None,
            crowded: false,
            spooled,
            scribe: None,
            notary: Notary::default(),
            clock_sets: None,
        }
    }

    pub fn is_salvaging(&self) -> bool {
        matches!(&self.book, Book::Shut(shut) if shut.state == StoreState::Salvaging)
    }

    /// # Errors
    /// `Full`; `Away` while the file cannot be used; `Failed` when the gateway is to start anew.
    pub fn commit(&mut self, wanted: &Commit) -> Result<(), StoreError> {
        self.store_held()?;
        let pages = self.room.for_commit(wanted);
        let pen = self.notary.pen();
        let signed = self.within(pages, |conn| commit::commit(conn, wanted, &pen))?;
        self.reached(wanted);
        match signed {
            Some(head) => self.notary.signed(head),
            None => self.notary.noted(!wanted.audit.is_empty()),
        }
        Ok(())
    }

    /// Keeps what could not be stored. Its letters go from here; it is stored as soon as it can be.
    pub fn hold(&mut self, wanted: Arc<Commit>, letters: Vec<Letter>) {
        self.reached(&wanted);
        self.ring.hold(wanted, letters);
    }

    fn reached(&mut self, wanted: &Commit) {
        if let Some(last) = wanted.events.last() {
            self.epoch.clone_from(&last.event.epoch);
            self.head = Head { seq: last.event.seq, hash: last.hash };
            self.watermark.reach(&self.epoch, self.head.seq);
        }
    }

    /// From the file and from memory, whichever is more urgent; of each alarm the oldest.
    pub fn claim(&mut self, endpoint: &EndpointId, skip: &[AlarmKey]) -> Option<Letter> {
        let stored = self.claim_whole(endpoint, skip);
        let held = self.claim_held(endpoint, skip);
        match (stored, held) {
            (Some(stored), Some(held)) => {
                let held_first = (held.priority, held.seq) < (stored.priority, stored.seq);
                Some(if held_first { held } else { stored })
            }
            (stored, held) => stored.or(held),
        }
    }

    /// From the file. A letter whose body is not what was written is made anew, or it is no letter any more: that is told, and it
    /// holds up nobody.
    fn claim_whole(&mut self, endpoint: &EndpointId, skip: &[AlarmKey]) -> Option<Letter> {
        let mut skip = skip.to_vec();
        loop {
            let conn = match &self.book {
                Book::Open(pages) => Some(&pages.conn),
                Book::Shut(shut) => shut.reader.as_ref(),
            };
            let stored = match claim_stored(conn?, &self.ring, endpoint, &skip) {
                Ok(stored) => stored?,
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            };
            if stored.is_whole() {
                return Some(stored.letter);
            }
            if let Some(remade) = self.remake(&stored) {
                return Some(remade);
            }
            let letter = stored.letter;
            error!(%endpoint, alarm = %letter.key, seq = letter.seq, "A letter is damaged in the file: it is set aside.");
            match self.give_up(&letter) {
                Ok(()) => {
                    self.findings.broken = true;
                    self.findings.unreadable += 1;
                }
                Err(_until_it_can_be_written) => skip.push(letter.key),
            }
        }
    }

    fn give_up(&mut self, letter: &Letter) -> Result<(), StoreError> {
        let pen = self.notary.pen();
        self.on_file(|conn| salvage::give_up(conn, letter, &pen))
    }

    fn remake(&mut self, damaged: &Stored) -> Option<Letter> {
        let scribe = self.scribe.clone()?;
        let remade = self.on_file(|conn| remake::remake(conn, &scribe, damaged)).ok().flatten()?;
        let Letter { endpoint, key, seq, .. } = &remade;
        warn!(%endpoint, alarm = %key, seq, "A letter was damaged in the file: it is made anew from its event.");
        self.findings.broken = true;
        Some(remade)
    }

    /// Before the first attempt: from here on it is what it is. A letter goes also where that cannot be written.
    pub fn freeze(&mut self, letter: Letter) -> Letter {
        let row = self.ring.moved(letter.row).unwrap_or(letter.row);
        let Some(at) = self.notary.wall().filter(|_| row > 0) else { return letter };
        // the clock may have been set a moment ago
        self.look_after_the_chain();
        if self.clock_sets.is_none() {
            let sets = self.on_file(|conn| chain::clock_sets(conn).map_err(StoreError::sql(File::Events)));
            self.clock_sets = sets.ok();
        }
        let (scribe, sets) = (self.scribe.clone(), self.clock_sets.take().unwrap_or_default());
        let known = Known { scribe: scribe.as_ref(), sets: &sets, at };
        let frozen = self.within_room(|conn| freeze::freeze(conn, &letter, row, &known));
        self.clock_sets = Some(sets);
        frozen.unwrap_or_else(|error| {
            tracing::debug!(%error, seq = letter.seq, "A letter goes with the times it was written with.");
            letter
        })
    }

    fn claim_held(&self, endpoint: &EndpointId, skip: &[AlarmKey]) -> Option<Letter> {
        let conn = match &self.book {
            Book::Open(pages) => Some(&pages.conn),
            Book::Shut(shut) => shut.reader.as_ref(),
        };
        self.ring.claim(endpoint, skip, |key| {
            let before = conn.map(|conn| outbox::next_of(conn, endpoint, key, |row| self.ring.is_done(row)));
            before.is_some_and(|found| found.is_ok_and(|found| found.is_some()))
        })
    }

    /// How many letters wait and how many are set aside; in the file as far as it can be read.
    pub fn backlog(&mut self) -> HashMap<EndpointId, Backlog> {
        let mut backlog = HashMap::new();
        let conn = match &self.book {
            Book::Open(pages) => Some(&pages.conn),
            Book::Shut(shut) => shut.reader.as_ref(),
        };
        let stored = conn.map_or(Ok(HashMap::new()), letters::backlog);
        match stored.map_err(StoreError::sql(File::Events)) {
            Ok(stored) => backlog = stored,
            Err(error) => drop(self.fail(error)),
        }
        self.ring.count(&mut backlog);
        backlog
    }

    /// What a courier says of a letter; in memory, if it cannot be written now.
    pub fn note(&mut self, row: i64, note: Note) -> Result<(), StoreError> {
        let row = self.ring.moved(row).unwrap_or(row);
        let ends = matches!(note, Note::End(_));
        let noted = self.note_at(row, note);
        if ends && noted.is_ok() {
            self.ring.settled(row);
        }
        noted
    }

    fn note_at(&mut self, row: i64, note: Note) -> Result<(), StoreError> {
        if row < 0 || self.ring.marks().contains_key(&row) {
            return self.ring.note(row, note);
        }
        let (pen, ends) = (self.notary.pen(), matches!(note, Note::End(_)));
        let sql = StoreError::sql(File::Events);
        let written = self.within_room(|conn| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
            match &note {
                Note::PutOff(PutOff { why, at, next_at }) => outbox::put_off(&tx, row, why, *at, *next_at),
                Note::End(End::Delivered(receipt)) => outbox::settle(&tx, row, receipt, &pen),
                Note::End(End::SetAside { why, at }) => outbox::set_aside(&tx, row, why, *at, &pen),
            }?;
            tx.commit().map_err(sql)
        });
        if written.is_ok() && ends {
            self.notary.noted(true);
        }
        match written {
            Err(StoreError::Full { .. } | StoreError::Away { .. } | StoreError::Failed { .. }) => {
                self.ring.note(row, note)
            }
            written => written,
        }
    }

    /// `work` on the file.
    pub fn on_file<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = match &mut self.book {
            Book::Open(pages) => work(&mut pages.conn),
            Book::Shut(shut) => return Err(shut.error()),
        };
        outcome.map_err(|error| self.fail(error))
    }

    /// Does `work`, letting go of what may go for as long as there is no room for it.
    pub fn within_room<T>(
        &mut self,
        work: impl Fn(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.within(self.room.pages, work)
    }

    /// As [`Self::within_room`], with the file limited to `pages`.
    fn within<T>(
        &mut self,
        pages: i64,
        work: impl Fn(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let sql = StoreError::sql(File::Events);
        let most = self.room.pages;
        loop {
            let outcome = self.on_file(|conn| {
                open::limit(conn, pages).map_err(sql)?;
                let outcome = work(conn);
                open::limit(conn, most).map_err(sql)?;
                outcome
            });
            match outcome {
                Err(StoreError::Full { file }) => {
                    let gone = self.on_file(|conn| commit::make_room(conn).map_err(sql));
                    let more = matches!(gone, Ok(1..)) || ballast::give_way(&self.settings.dir);
                    if !more {
                        self.full = Some(Instant::now());
                        return Err(self.no_room(file));
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// At its limit the file takes what is urgent, and the rest is decided again. A disk that somebody else has filled says nothing
    /// about what is urgent: whatever happens then goes from memory.
    fn no_room(&self, file: File) -> StoreError {
        let full = StoreError::Full { file };
        let partition = ballast::partition(&self.settings.dir);
        match partition.is_some_and(|partition| partition.free < NO_ROOM) {
            true => StoreError::Away { file, why: full.to_string() },
            false => full,
        }
    }

    /// Brings what memory holds into the file.
    pub fn store_held(&mut self) -> Result<(), StoreError> {
        if self.ring.is_empty() {
            return Ok(());
        }
        let mut ring = std::mem::take(&mut self.ring);
        let pen = self.notary.pen();
        let pages = self.room.pages - self.room.reserve;
        let sql = StoreError::sql(File::Events);
        let most = self.room.pages;
        let outcome = self.on_file(|conn| {
            open::limit(conn, pages).map_err(sql)?;
            let outcome = ring.store(conn, &pen);
            open::limit(conn, most).map_err(sql)?;
            outcome
        });
        self.ring = ring;
        if outcome.is_ok() {
            info!("What could not be stored is stored now.");
            if std::mem::take(&mut self.spooled) {
                spool::remove(&self.settings.dir);
            }
        } else if let Err(StoreError::Full { .. }) = outcome {
            self.full = Some(Instant::now());
            ballast::give_way(&self.settings.dir);
        }
        outcome.map_err(|error| match error {
            StoreError::Full { file } => self.no_room(file),
            error => error,
        })
    }

    /// What `error` means for the file; gives what the asker is told.
    fn fail(&mut self, error: StoreError) -> StoreError {
        let kind = match error.fault() {
            None | Some(Fault::Room) => return error,
            Some(Fault::Reach) => None,
            Some(Fault::Disk) => Some(Kind::Disk),
            Some(Fault::Damage) => Some(Kind::Damage),
        };
        let why = error.to_string();
        let partition = ballast::partition(&self.settings.dir);
        let state = if ballast::is_read_only(&self.settings.dir) {
            StoreState::ReadOnly
        } else if kind != Some(Kind::Damage) && partition.is_some_and(|partition| partition.free < NO_ROOM) {
            ballast::give_way(&self.settings.dir);
            StoreState::Full
        } else {
            match kind {
                None => StoreState::Away,
                Some(kind) if self.incidents.note(kind) => StoreState::Failing,
                Some(_) => StoreState::Leaving,
            }
        };
        error!(%error, state = state.word(), "The disk failed under events.db: alarms go from memory until it can be written again.");
        self.shut(state, why)
    }

    pub fn shut(&mut self, state: StoreState, why: String) -> StoreError {
        let reader = match state {
            StoreState::Leaving | StoreState::Salvaging => None,
            StoreState::Sound
            | StoreState::Full
            | StoreState::ReadOnly
            | StoreState::Away
            | StoreState::Failing => Some(()),
        };
        let shut =
            Shut { state, why, again_at: Instant::now() + mend::pause(state), blind: false, reader: None };
        let told = shut.error();
        if let Book::Open(pages) = std::mem::replace(&mut self.book, Book::Shut(shut)) {
            abandon(pages.conn);
        }
        if let (Some(()), Book::Shut(shut)) = (reader, &mut self.book) {
            shut.reader = open::reader(&self.settings.dir, File::Events).ok();
        }
        told
    }

    #[cfg(test)]
    pub fn hasten(&mut self) {
        if let Book::Shut(shut) = &mut self.book {
            shut.again_at = Instant::now();
        }
    }

    /// # Errors
    /// What the last checkpoint met.
    pub fn close(mut self) -> Result<(), StoreError> {
        let stored = self.store_held();
        self.notary.hasten();
        self.look_after_the_chain();
        if !self.ring.is_empty() {
            spool::write(&self.settings.dir, &self.ring);
        }
        let closed = match self.book {
            Book::Open(pages) => open::checkpoint_all(&pages.conn)
                .and_then(|()| pages.conn.close().map_err(|(_, error)| error))
                .map_err(StoreError::sql(File::Events)),
            Book::Shut(_) => Ok(()),
        };
        drop(self.lock);
        match stored {
            Err(StoreError::Away { .. } | StoreError::Failed { .. } | StoreError::Full { .. }) | Ok(()) => {
                closed
            }
            Err(error) => Err(error),
        }
    }
}

fn claim_stored(
    conn: &Connection,
    ring: &Ring,
    endpoint: &EndpointId,
    skip: &[AlarmKey],
) -> Result<Option<Stored>, StoreError> {
    let sql = StoreError::sql(File::Events);
    let mut skip = skip.to_vec();
    loop {
        match outbox::claim(conn, endpoint, &skip).map_err(sql)? {
            Some(Stored { letter, .. }) if ring.is_done(letter.row) => {
                let next = outbox::next_of(conn, endpoint, &letter.key, |row| ring.is_done(row));
                if let Some(next) = next.map_err(sql)? {
                    return Ok(Some(next));
                }
                skip.push(letter.key);
            }
            found => return Ok(found),
        }
    }
}
