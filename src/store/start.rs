//! How `events.db` is found at a start, and what follows: it is sound; it is not the one that was written last; it is damaged;
//! it cannot be written; it cannot be reached at all. Only the first needs nothing said.

use std::time::Instant;

use rusqlite::Connection;
use tracing::{error, warn};

use super::{
    Recovered, Settings, ballast,
    book::{Book, Pages, Shut},
    chain::{Pen, Why},
    commit::{self, Head},
    condition::{Findings, StoreState},
    desk::{Desk, Start},
    error::{Fault, File, StoreError},
    incidents::Incidents,
    losses, mend,
    open::{self, DirLock, Synchronous},
    ring::Ring,
    salvage, spool,
    watermark::Watermark,
};
use crate::domain::{EventId, OccurrenceId};

/// A chain of which nothing can be known begins behind every number that was ever used.
const UNKNOWN_SEQ: u64 = 1 << 40;

/// # Errors
/// Whatever keeps the file from being used.
pub(super) fn sound(settings: &Settings) -> Result<(Desk, Recovered), StoreError> {
    open::directory(&settings.dir)?;
    let lock = open::lock(&settings.dir)?;
    let was_there = settings.dir.join(File::Events.name()).exists();
    if salvage::is_underway(&settings.dir)? {
        let what = "saving what it holds was cut off".to_owned();
        return Err(StoreError::Damaged { file: File::Events, what });
    }
    let mut incidents = Incidents::open(&settings.dir);
    let mut conn = open::writer(&settings.dir, File::Events, Synchronous::Full, settings.events_max)?;
    open::check(&conn, File::Events, incidents.suspects_damage())?;
    incidents.looked_at();
    let mut recovered = commit::recover(&conn, settings.suite).map_err(StoreError::sql(File::Events))?;
    let mut ring = Ring::default();
    spool::read(&settings.dir, &mut ring);
    let spooled = !ring.is_empty();
    if spooled {
        recovered = take_up(&mut conn, &mut ring, recovered, settings)?;
    }
    let mut watermark = Watermark::open(&settings.dir);
    let findings = compare(&mut conn, &mut watermark, &mut recovered, was_there)?;
    let head = Head { seq: recovered.last_seq, hash: recovered.last_hash };
    watermark.set(super::watermark::Mark { epoch: recovered.epoch.clone(), seq: head.seq, was: None });
    let spooled = spooled && !ring.is_empty();
    let start = Start {
        epoch: recovered.epoch.clone(),
        head,
        watermark,
        incidents,
        findings,
        lock: Some(lock),
        ring,
        spooled,
    };
    let book = Book::Open(Pages::of(conn, settings));
    Ok((Desk::new(settings, book, start), recovered))
}

/// What memory held at the last end goes into the file, or stays in memory if there is still no room for it.
fn take_up(
    conn: &mut Connection,
    ring: &mut Ring,
    recovered: Recovered,
    settings: &Settings,
) -> Result<Recovered, StoreError> {
    let unended = unmentioned(&recovered, ring);
    match ring.store(conn, &Pen::default()) {
        Ok(()) => {
            spool::remove(&settings.dir);
            let now = commit::recover(conn, settings.suite).map_err(StoreError::sql(File::Events))?;
            let still_open =
                |open: &OccurrenceId| now.alarms.iter().any(|alarm| alarm.occurrence.as_ref() == Some(open));
            let superseded = unended.into_iter().filter(|open| !still_open(open)).collect();
            Ok(Recovered { superseded, ..now })
        }
        Err(StoreError::Full { .. }) => Ok(with_held(recovered, ring)),
        Err(error) => Err(error),
    }
}

/// Occurrences that are open in the file, and of which memory says nothing.
fn unmentioned(recovered: &Recovered, ring: &Ring) -> Vec<OccurrenceId> {
    let events = || ring.contents().flat_map(|(commit, _)| &commit.events);
    let open = recovered.alarms.iter().filter_map(|alarm| alarm.occurrence.clone());
    open.filter(|open| !events().any(|event| event.event.alarm.occurrence == *open)).collect()
}

/// How things stand when what memory holds is counted in.
fn with_held(mut recovered: Recovered, ring: &Ring) -> Recovered {
    for (commit, _) in ring.contents() {
        if let Some(last) = commit.events.last() {
            recovered.epoch.clone_from(&last.event.epoch);
            (recovered.last_seq, recovered.last_hash) = (last.event.seq, last.hash);
        }
        for memory in &commit.alarms {
            recovered.alarms.retain(|known| known.key != memory.key);
            if memory.state.is_some() || memory.delay.is_some() {
                recovered.alarms.push(memory.clone());
            }
        }
    }
    recovered
}

/// Whether the file is the one that was written last. If it is not, the chain goes on in a new epoch, behind every number
/// that was used.
fn compare(
    conn: &mut Connection,
    watermark: &mut Watermark,
    recovered: &mut Recovered,
    was_there: bool,
) -> Result<Findings, StoreError> {
    let sql = StoreError::sql(File::Events);
    let Some(mark) = watermark.mark().cloned() else { return Ok(Findings::default()) };
    let same = mark.epoch == recovered.epoch || mark.was.as_ref() == Some(&recovered.epoch);
    let missing = mark.seq.saturating_sub(recovered.last_seq);
    if same && missing == 0 || !was_there && mark.seq == 0 {
        return Ok(Findings::default());
    }
    let seq = mark.seq.max(recovered.last_seq);
    error!(
        missing,
        was_there,
        stored = recovered.last_seq,
        reached = mark.seq,
        "events.db is not the one that was written last: it was removed, replaced by an older one, or lost its log. What is missing is lost."
    );
    let epoch = EventId::random().to_string();
    mend::begin_epoch(watermark, &epoch, seq, Some(recovered.epoch.clone()));
    let tx = conn.transaction().map_err(sql)?;
    if missing > 0 {
        losses::write(&tx, &mend::gone(recovered.last_seq + 1, mark.seq)).map_err(sql)?;
    }
    commit::rebase(&tx, &epoch, Head { seq, hash: recovered.last_hash }, Why::Gap, &Pen::default())
        .map_err(sql)?;
    tx.commit().map_err(sql)?;
    (recovered.epoch, recovered.last_seq) = (epoch, seq);
    Ok(Findings { broken: true, missing, ..Findings::default() })
}

/// # Errors
/// Only what nobody can go on with: see [`super::EventStore::open_or_go_without`].
///
/// A damaged file of at most `at_once` bytes is saved before anything else begins, a larger one while the gateway runs.
pub(super) fn whatever_comes(settings: &Settings, at_once: u64) -> Result<(Desk, Recovered), StoreError> {
    ballast::check_fit(settings)?;
    let error = loop {
        match sound(settings) {
            Ok(opened) => return Ok(opened),
            // Opening takes a little room too.
            Err(error) if error.fault().is_some() && ballast::give_way(&settings.dir) => {
                warn!(%error, "The disk is full: what can be spared makes room for the start.");
            }
            Err(error) => break error,
        }
    };
    match error.fault() {
        None => Err(error),
        Some(Fault::Damage) => damaged(settings, &error, at_once),
        Some(Fault::Room | Fault::Disk | Fault::Reach) => out_of_reach(settings, &error),
    }
}

fn damaged(settings: &Settings, error: &StoreError, at_once: u64) -> Result<(Desk, Recovered), StoreError> {
    error!(%error, "events.db is damaged: what can be read of it is brought into a new one; alarms go from memory until then.");
    let lock = open::lock(&settings.dir)?;
    let glanced = salvage::begin(&settings.dir).and_then(|()| salvage::glance(&settings.dir));
    let recovered = match glanced {
        Ok(recovered) => recovered,
        Err(error) => {
            drop(lock);
            return out_of_reach(settings, &error);
        }
    };
    if salvage::bytes(&settings.dir) <= at_once {
        match save_at_once(settings, &recovered, lock) {
            Ok(saved) => return Ok(saved),
            Err(Unsaved { error, lock: Some(lock) }) => {
                warn!(%error, "It is saved while the gateway runs.");
                return Ok(save_behind(settings, &error, lock, recovered));
            }
            Err(Unsaved { error, lock: None }) => return Err(error),
        }
    }
    Ok(save_behind(settings, error, lock, recovered))
}

struct Unsaved {
    error: StoreError,
    /// Gone if another took it meanwhile.
    lock: Option<DirLock>,
}

fn save_at_once(settings: &Settings, found: &Recovered, lock: DirLock) -> Result<(Desk, Recovered), Unsaved> {
    let mut watermark = Watermark::open(&settings.dir);
    let marked = watermark.mark().map_or(0, |mark| mark.seq);
    let mut held = Ring::default();
    spool::read(&settings.dir, &mut held);
    let known = Head { seq: marked.max(found.last_seq), hash: found.last_hash };
    let base = held.base().unwrap_or(known);
    let epoch = EventId::random().to_string();
    let told = salvage::salvage(settings).and_then(|salvaged| {
        mend::begin_epoch(&mut watermark, &epoch, base.seq, None);
        salvaged.install(settings, &epoch, base)
    });
    let told = match told {
        Ok(told) => told,
        Err(error) => return Err(Unsaved { error, lock: Some(lock) }),
    };
    drop(lock);
    let (mut desk, recovered) = sound(settings).map_err(|error| Unsaved { error, lock: None })?;
    desk.note_salvage(told);
    Ok((desk, recovered))
}

fn save_behind(
    settings: &Settings,
    error: &StoreError,
    lock: DirLock,
    recovered: Recovered,
) -> (Desk, Recovered) {
    let why = error.to_string();
    let shut =
        Shut { state: StoreState::Salvaging, why, again_at: Instant::now(), blind: false, reader: None };
    let findings = Findings { broken: true, ..Findings::default() };
    without_file(settings, shut, Some(lock), recovered, findings)
}

/// It may be readable all the same, as on a file system that turned read-only; else nothing is known of what it holds.
fn out_of_reach(settings: &Settings, error: &StoreError) -> Result<(Desk, Recovered), StoreError> {
    let lock = match open::lock(&settings.dir) {
        Ok(lock) => Some(lock),
        Err(in_use @ StoreError::InUse { .. }) => return Err(in_use),
        Err(_) => None,
    };
    let reader = open::reader(&settings.dir, File::Events);
    let read =
        reader.and_then(|conn| Ok((commit::stands(&conn).map_err(StoreError::sql(File::Events))?, conn)));
    let read_only = ballast::is_read_only(&settings.dir);
    let state = match error.fault() {
        _ if read_only => StoreState::ReadOnly,
        Some(Fault::Room) => StoreState::Full,
        Some(Fault::Disk | Fault::Damage | Fault::Reach) | None => StoreState::Away,
    };
    let (recovered, reader) = match read {
        Ok((recovered, conn)) => (recovered, Some(conn)),
        Err(StoreError::Newer { file, found, known }) => {
            return Err(StoreError::Newer { file, found, known });
        }
        Err(_) => (Recovered::nothing(), None),
    };
    let blind = reader.is_none();
    warn!(%error, blind, "events.db cannot be used: alarms go from memory until it can.");
    let shut = Shut { state, why: error.to_string(), again_at: Instant::now(), blind, reader };
    Ok(without_file(settings, shut, lock, recovered, Findings::default()))
}

/// A start that goes on from memory. Unless the file can be read the chain is a new one.
fn without_file(
    settings: &Settings,
    shut: Shut,
    lock: Option<DirLock>,
    mut recovered: Recovered,
    findings: Findings,
) -> (Desk, Recovered) {
    let watermark = Watermark::open(&settings.dir);
    let mut ring = Ring::default();
    spool::read(&settings.dir, &mut ring);
    let spooled = !ring.is_empty();
    if shut.blind || shut.state == StoreState::Salvaging {
        let marked = watermark.mark().map(|mark| mark.seq);
        let known = marked.into_iter().chain((recovered.last_seq > 0).then_some(recovered.last_seq)).max();
        recovered.epoch = EventId::random().to_string();
        recovered.last_seq = known.unwrap_or_else(unknown_seq);
    }
    recovered = with_held(recovered, &ring);
    let start = Start {
        epoch: recovered.epoch.clone(),
        head: Head { seq: recovered.last_seq, hash: recovered.last_hash },
        watermark,
        incidents: Incidents::open(&settings.dir),
        findings,
        lock,
        ring,
        spooled,
    };
    (Desk::new(settings, Book::Shut(shut), start), recovered)
}

/// Later starts begin behind earlier ones, if the clock is any good.
fn unknown_seq() -> u64 {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    now.max(UNKNOWN_SEQ)
}
