//! The store looked after, once a second: what failed is tried again, what was taken away is put back, what fills is emptied,
//! and how it all stands is said.

use std::{
    fs,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tracing::{error, info, warn};

use super::{
    ballast::{self, Ballast},
    book::{Book, Pages, abandon},
    chain::Why,
    commit::{self, Head},
    condition::{Condition, StoreState},
    desk::Desk,
    error::{File, StoreError},
    evict, losses,
    open::{self, Synchronous},
    quarantine,
    salvage::{Salvaged, Told},
    watermark::{Mark, Watermark},
};
use crate::domain::{Loss, LossClass, LossReason};

/// How soon a file that could not be used is tried again, and one on a disk that keeps failing.
const TRY_AGAIN: Duration = Duration::from_secs(3);
const TRY_FAILING_AGAIN: Duration = Duration::from_secs(60);
/// How long after the last refusal for want of room the store counts as full.
const FULL_FOR: Duration = Duration::from_secs(10);
/// Steps of eviction at one look.
const STEPS: usize = 4;

impl Desk {
    /// Looks after the file and says how it stands.
    pub fn tend(&mut self) -> Condition {
        self.try_again();
        self.look_for_the_file();
        if let Err(error) = self.store_held() {
            tracing::debug!(%error, "What memory holds cannot be stored yet.");
        }
        self.look_after_the_chain();
        let used_percent = self.make_room();
        let partition = ballast::partition(&self.settings.dir);
        let mut is_low = false;
        if let Some(partition) = partition {
            let reserve = ballast::reserve(&self.settings, partition);
            is_low = partition.free < reserve;
            if partition.free < reserve / 4 {
                self.full = Some(Instant::now());
            }
            if matches!(self.book, Book::Open(_)) {
                Ballast::of(&self.settings.dir).remake(partition, reserve);
            }
        }
        let losses = self.on_file(|conn| losses::untold(conn).map_err(StoreError::sql(File::Events)));
        let (state, why) = self.state();
        let length = |name: &str| fs::metadata(self.settings.dir.join(name)).map_or(0, |found| found.len());
        Condition {
            state,
            why,
            used_percent,
            free: partition.map(|partition| partition.free),
            is_low,
            log: length("events.db-wal").max(length("telemetry.db-wal")),
            volatile: self.ring.waiting(),
            findings: self.findings,
            losses: losses.unwrap_or_default(),
        }
    }

    /// What the clock did, what waits to be written, and the signature that is due.
    pub fn look_after_the_chain(&mut self) {
        if !self.notary.look() || !matches!(self.book, Book::Open(_)) {
            return;
        }
        let notary = std::mem::take(&mut self.notary);
        let written = self.within_room(|conn| notary.write(conn).map_err(StoreError::sql(File::Events)));
        self.notary = notary;
        match written {
            Ok(head) => {
                self.notary.written(head);
                self.clock_sets = None;
            }
            Err(error) => tracing::debug!(%error, "The chain of evidence cannot be signed now."),
        }
    }

    fn state(&self) -> (StoreState, String) {
        match &self.book {
            Book::Shut(shut) => (shut.state, shut.why.clone()),
            Book::Open(_) if self.full.is_some_and(|at| at.elapsed() < FULL_FOR) => {
                (StoreState::Full, StoreError::Full { file: File::Events }.to_string())
            }
            Book::Open(_) => (StoreState::Sound, String::new()),
        }
    }

    fn make_room(&mut self) -> f64 {
        let pages = self.room.pages;
        // What lies beyond is reserved, for what is urgent and for marks.
        let common = (pages - 2 * self.room.reserve).max(1);
        let mut percent = 0.0;
        let pen = self.notary.pen();
        for _ in 0..STEPS {
            let looked =
                self.on_file(|conn| evict::used_percent(conn, common).map_err(StoreError::sql(File::Events)));
            let Ok(used) = looked else { break };
            percent = used;
            let crowded = evict::is_crowded(self.crowded, used);
            if crowded && !self.crowded {
                warn!(
                    used,
                    "events.db is nearly full: what was delivered long ago makes room, then what is not urgent."
                );
            }
            self.crowded = crowded;
            if !crowded {
                break;
            }
            let took =
                self.on_file(|conn| evict::step(conn, pages, &pen).map_err(StoreError::sql(File::Events)));
            if !matches!(took, Ok(true)) {
                break;
            }
        }
        percent
    }

    fn try_again(&mut self) {
        let Book::Shut(shut) = &mut self.book else { return };
        let state = shut.state;
        let due = Instant::now() >= shut.again_at;
        if !due || matches!(state, StoreState::Leaving | StoreState::Salvaging) {
            return;
        }
        shut.reader = None;
        let blind = shut.blind;
        match self.reopen() {
            Ok(()) if blind => {
                self.shut(StoreState::Leaving, "it can be read again".to_owned());
                warn!("events.db can be read again: the gateway starts anew with what stands in it.");
            }
            Ok(()) => info!("events.db can be written again."),
            Err(error) => {
                tracing::debug!(%error, "events.db cannot be used yet.");
                if let Book::Shut(shut) = &mut self.book {
                    shut.again_at = Instant::now() + pause(state);
                    shut.reader = open::reader(&self.settings.dir, File::Events).ok();
                }
            }
        }
    }

    /// On a new connection. The file must prove that it can be written.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let sql = StoreError::sql(File::Events);
        open::directory(&self.settings.dir)?;
        // On a file system that was mounted anew it is another file.
        if !self.lock.as_ref().is_some_and(|lock| lock.holds(&self.settings.dir)) {
            self.lock = Some(open::lock(&self.settings.dir)?);
        }
        let mut conn =
            open::writer(&self.settings.dir, File::Events, Synchronous::Full, self.settings.events_max)?;
        let blind = matches!(&self.book, Book::Shut(shut) if shut.blind);
        let proven = commit::recover(&conn, self.settings.suite)
            .and_then(|_| conn.execute("UPDATE meta SET created_ms = created_ms", []))
            .map_err(sql)
            .and_then(|_| if blind { Ok(()) } else { self.line_up(&mut conn) });
        if let Err(error) = proven {
            abandon(conn);
            return Err(error);
        }
        self.book = Book::Open(Pages::of(conn, &self.settings));
        if !blind {
            self.watermark.reopen();
            self.watermark.reach(&self.epoch.clone(), self.head.seq);
            self.store_held()?;
        }
        Ok(())
    }

    /// Brings the end of the file's chain in line with what was promised. A commit that the disk said it could not take may be
    /// there after all; and a file that stands further back is not the one that was written last.
    fn line_up(&mut self, conn: &mut Connection) -> Result<(), StoreError> {
        let sql = StoreError::sql(File::Events);
        let (base, pen) = (self.base_of_ring(), self.notary.pen());
        let head = commit::head(conn).map_err(sql)?;
        if head == base {
            return Ok(());
        }
        let tx = conn.transaction().map_err(sql)?;
        if head.seq > base.seq {
            if !self.holds(commit::id_at(&tx, base.seq + 1).map_err(sql)?) {
                commit::undo_after(&tx, base, &pen).map_err(sql)?;
                tx.commit().map_err(sql)?;
            }
            return Ok(());
        }
        let missing = base.seq - head.seq;
        if missing > 0 {
            losses::write(&tx, &gone(head.seq + 1, base.seq)).map_err(sql)?;
        }
        commit::rebase(&tx, &self.epoch, base, Why::Gap, &pen).map_err(sql)?;
        tx.commit().map_err(sql)?;
        self.findings.broken = true;
        self.findings.missing += missing;
        error!(missing, "events.db is not the file that was written last: what it does not hold is lost.");
        Ok(())
    }

    /// Whether memory holds the event of this id.
    fn holds(&self, id: Option<String>) -> bool {
        let mut events = self.ring.contents().flat_map(|(commit, _)| &commit.events);
        id.is_some_and(|id| events.any(|event| event.event.id == id))
    }

    /// A file that was taken away under an open connection is still whole there: it is put back.
    fn look_for_the_file(&mut self) {
        let Book::Open(pages) = &mut self.book else { return };
        if pages.is_in_place(&self.settings) {
            return;
        }
        error!("events.db or its log was removed or replaced while in use: it is written anew.");
        match self.put_back() {
            Ok(()) => {
                self.findings.broken = true;
                info!("events.db is in its place again, with everything that was committed.");
            }
            Err(error) => {
                error!(%error, "events.db cannot be put back.");
                self.shut(StoreState::Away, error.to_string());
            }
        }
    }

    fn put_back(&mut self) -> Result<(), StoreError> {
        let dir = self.settings.dir.clone();
        let (path, rescued) = (dir.join(File::Events.name()), dir.join("events.db.rescued"));
        if !dir.join("gatehouse.lock").exists() {
            open::directory(&dir)?;
            self.lock = Some(open::lock(&dir)?);
        }
        quarantine::remove(&rescued);
        let Book::Open(pages) = &mut self.book else { return Ok(()) };
        let target = rescued.to_string_lossy().into_owned();
        pages.conn.execute("VACUUM INTO ?1", [target]).map_err(StoreError::sql(File::Events))?;
        self.shut(StoreState::Away, "it is being put back".to_owned());
        if let Book::Shut(shut) = &mut self.book {
            shut.reader = None;
        }
        if path.exists() {
            quarantine::put_aside(&dir, File::Events, &path)?;
        }
        quarantine::remove(&path);
        quarantine::rename(&rescued, &path)?;
        self.reopen()
    }

    /// A new file is ready, with what could be read of the damaged one.
    pub fn take_over(&mut self, salvaged: Result<Salvaged, StoreError>) {
        let outcome = salvaged.and_then(|salvaged| {
            let told = salvaged.install(&self.settings, &self.epoch, self.base_of_ring())?;
            if let Book::Shut(shut) = &mut self.book {
                shut.again_at = Instant::now();
                shut.state = StoreState::Away;
            }
            Ok(told)
        });
        match outcome {
            Ok(told) => {
                self.note_salvage(told);
                self.try_again();
            }
            Err(error) => {
                error!(%error, "What is in the damaged events.db cannot be saved now; the next start tries again.");
                if let Book::Shut(shut) = &mut self.book {
                    shut.why = error.to_string();
                }
            }
        }
    }

    pub fn note_salvage(&mut self, told: Told) {
        self.findings.broken = true;
        self.findings.salvaged += told.salvaged;
        self.findings.unreadable += told.unreadable;
        error!(
            salvaged = told.salvaged,
            unreadable = told.unreadable,
            events = told.events,
            "events.db was damaged: what could be read of it is in a new one."
        );
    }

    /// Where the chain stood when memory began to hold what follows.
    fn base_of_ring(&self) -> Head {
        self.ring.base().unwrap_or(self.head)
    }
}

/// What a store that is not there any more held.
pub(super) fn gone(first_seq: u64, last_seq: u64) -> Loss {
    Loss {
        first_seq,
        last_seq,
        count: (last_seq + 1).saturating_sub(first_seq),
        ..Loss::of(LossClass::Alarms, LossReason::StoreGone)
    }
}

/// The chain goes on in a new epoch, whatever is in the file: the mark first, so that either of the two is known.
pub(super) fn begin_epoch(watermark: &mut Watermark, epoch: &str, seq: u64, was: Option<String>) {
    watermark.set(Mark { epoch: epoch.to_owned(), seq, was });
}

pub(super) fn pause(state: StoreState) -> Duration {
    match state {
        StoreState::Failing => TRY_FAILING_AGAIN,
        StoreState::Sound
        | StoreState::Full
        | StoreState::ReadOnly
        | StoreState::Away
        | StoreState::Salvaging
        | StoreState::Leaving => TRY_AGAIN,
    }
}
