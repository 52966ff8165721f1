//! `events.held`: what memory holds when the gateway ends, for the next start. Written whole beside its name, then renamed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::{
    AuditEntry, Commit,
    evidence::{Durability, Hash, Sealed},
    ring::{Fate, HeldLetter, Ring},
};
use crate::domain::{AlarmKey, AlarmMemory, EndpointId, Letter, Priority};

#[derive(Serialize, Deserialize)]
struct Spooled {
    held: Vec<HeldRecord>,
    marks: BTreeMap<i64, Fate>,
}

/// A commit as it is written: events by their records, which their hashes cover.
#[derive(Serialize, Deserialize)]
struct HeldRecord {
    events: Vec<EventRecord>,
    alarms: Vec<AlarmMemory>,
    told_losses: Vec<i64>,
    letters: Vec<LetterRecord>,
}

#[derive(Serialize, Deserialize)]
struct EventRecord {
    record: String,
    hash: Hash,
    prev_hash: Hash,
}

#[derive(Serialize, Deserialize)]
struct LetterRecord {
    endpoint: EndpointId,
    event_id: String,
    seq: u64,
    key: AlarmKey,
    priority: Priority,
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    fate: Fate,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("events.held")
}

/// Keeps what `ring` holds for the next start. Whoever ends next can do no more if it fails: that is said.
pub(super) fn write(dir: &Path, ring: &Ring) {
    let held: Vec<HeldRecord> = ring.contents().map(|(commit, letters)| record(commit, &letters)).collect();
    let commits = held.len();
    let spooled = Spooled { held, marks: ring.marks().clone() };
    let written = serde_json::to_vec(&spooled).map_err(std::io::Error::from).and_then(|bytes| {
        let beside = dir.join("events.held.new");
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        // A disk that fails may refuse this one too; what is in the page cache outlives the process all the same.
        if let Err(error) = file.sync_all() {
            warn!(%error, "What memory held may not survive a power cut.");
        }
        fs::rename(&beside, path(dir))
    });
    match written {
        Ok(()) => info!(commits, "What could not be stored is kept for the next start."),
        Err(error) => {
            error!(%error, commits, "What could not be stored is lost with this process; it was sent as far as endpoints took it.")
        }
    }
}

/// What an earlier end left, into `ring`. It stays on the disk until [`remove`].
pub(super) fn read(dir: &Path, ring: &mut Ring) {
    let Ok(bytes) = fs::read(path(dir)) else { return };
    let spooled: Spooled = match serde_json::from_slice(&bytes) {
        Ok(spooled) => spooled,
        Err(error) => {
            error!(%error, "What memory held at the last end cannot be read; it is put aside as events.held.damaged.");
            if let Err(error) = fs::rename(path(dir), dir.join("events.held.damaged")) {
                warn!(%error, "It cannot be put aside.");
            }
            return;
        }
    };
    for held in spooled.held {
        if let Some((commit, letters)) = restore(held) {
            ring.take_in(Arc::new(commit), letters);
        }
    }
    ring.add_marks(spooled.marks);
}

/// It is all in the file now.
pub(super) fn remove(dir: &Path) {
    if let Err(error) = fs::remove_file(path(dir))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(%error, "What memory held once is stored now, but its file cannot be removed.");
    }
}

fn record(commit: &Commit, letters: &[&HeldLetter]) -> HeldRecord {
    let event = |sealed: &Sealed| EventRecord {
        record: String::from_utf8_lossy(&sealed.record).into_owned(),
        hash: sealed.hash,
        prev_hash: sealed.prev_hash,
    };
    let letter = |held: &&HeldLetter| LetterRecord {
        endpoint: held.letter.endpoint.clone(),
        event_id: held.letter.event_id.clone(),
        seq: held.letter.seq,
        key: held.letter.key.clone(),
        priority: held.letter.priority,
        body: BASE64.encode(&held.letter.body),
        content_type: held.letter.content_type.clone(),
        fate: held.fate.clone(),
    };
    HeldRecord {
        events: commit.events.iter().map(event).collect(),
        alarms: commit.alarms.clone(),
        told_losses: commit.told_losses.clone(),
        letters: letters.iter().map(letter).collect(),
    }
}

/// `None` if an event cannot be read: then nothing of its commit can be stored.
fn restore(held: HeldRecord) -> Option<(Commit, Vec<HeldLetter>)> {
    let events = held.events.into_iter().map(|event| {
        Some(Sealed {
            event: serde_json::from_str(&event.record).ok()?,
            record: event.record.into_bytes(),
            hash: event.hash,
            prev_hash: event.prev_hash,
            durability: Durability::Volatile,
            put_right: None,
        })
    });
    let events = events.collect::<Option<Vec<_>>>()?;
    let letters = held.letters.into_iter().map(|letter| {
        let body = BASE64.decode(letter.body).ok()?;
        Some(HeldLetter {
            letter: Letter {
                row: 0,
                endpoint: letter.endpoint,
                event_id: letter.event_id,
                seq: letter.seq,
                key: letter.key,
                priority: letter.priority,
                attempts: 0,
                body: body.into(),
                content_type: letter.content_type,
                provisional: false,
            },
            fate: letter.fate,
        })
    });
    let letters = letters.collect::<Option<Vec<_>>>()?;
    let audit: Vec<AuditEntry> = Vec::new();
    let (alarms, told_losses) = (held.alarms, held.told_losses);
    Some((Commit { events, alarms, audit, told_losses, ..Commit::default() }, letters))
}
