//! Who signs, by which clock, and what of the clock is worth a row.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use rusqlite::{Connection, params};
use tracing::warn;

use super::{
    append::{self, sign},
    fact::{Configuration, Fact, When, Writing},
    key::BoxKeys,
};
use crate::{
    domain::{Clock, Mono, Priority, SignedHead, Stamp, Suite, TimeQuality},
    store::{
        Commit,
        evidence::{digest, hex},
    },
};

/// The end of the chain is signed at least so often while anything is added …
const HOURLY: Duration = Duration::from_secs(3600);
/// … and so soon after a receipt or an act of a person: those who are asked afterwards hold the next one.
const SOON: Duration = Duration::from_secs(60);
/// A wall clock that moved by more than this against the time since boot was set.
const STEP_MS: i64 = 1000;
/// Rows that wait while the file cannot be written.
const MOST_WAITING: usize = 64;

/// What the gateway brings to its evidence.
#[derive(Debug)]
pub struct Witness {
    pub clock: ClockBox,
    pub zone: TimeZone,
    /// Without the right one nothing is signed; the chain stands all the same.
    pub keys: BoxKeys,
    /// What the site wants to be hashed and signed with, from its start on.
    pub suite: Suite,
    pub version: String,
    /// The first is the site file.
    pub writings: Vec<Writing>,
    /// The gateway runs from now on; else it is one command on a store at rest.
    pub starts: bool,
}

/// A clock that can be shown.
#[derive(Clone)]
pub struct ClockBox(pub Arc<dyn Clock>);

impl std::fmt::Debug for ClockBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// What a row is written with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pen {
    pub when: Option<When>,
    pub boot_id: String,
    pub keys: BoxKeys,
    /// What is in force, as its digest is made of.
    pub configuration: Arc<str>,
}

/// The latest signed end, where the pipeline looks it up.
pub(crate) type LatestHead = Arc<Mutex<Option<SignedHead>>>;

#[derive(Debug, Default)]
pub(crate) struct Notary {
    witness: Option<Witness>,
    configuration: Arc<str>,
    latest: LatestHead,
    seen: Option<Seen>,
    signed_at: Option<Mono>,
    due_at: Option<Mono>,
    /// Rows that could not be written yet.
    waiting: VecDeque<Fact>,
    writings: Vec<(Vec<u8>, Writing)>,
}

/// The clock at the last look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    offset_ms: i64,
    quality: TimeQuality,
}

impl Notary {
    pub fn latest(&self) -> LatestHead {
        Arc::clone(&self.latest)
    }

    pub fn appoint(&mut self, witness: Witness) {
        let digest = |writing: &Writing| digest(witness.suite, writing.body.as_bytes());
        let (site, profiles) = witness.writings.split_at(witness.writings.len().min(1));
        let configuration = Configuration {
            site: site.first().map_or_else(String::new, |site| hex(&digest(site))),
            profiles: profiles.iter().map(|profile| (profile.name.clone(), hex(&digest(profile)))).collect(),
            alg: witness.suite,
        };
        self.configuration = configuration.text().into();
        if witness.starts {
            self.writings =
                witness.writings.iter().map(|writing| (digest(writing).to_vec(), writing.clone())).collect();
            self.waiting.push_back(Fact::Start {
                version: witness.version.clone(),
                boot_id: witness.clock.0.boot_id().to_owned(),
                timezone: witness.zone.iana_name().unwrap_or_default().to_owned(),
                configuration,
            });
        }
        self.seen = Some(seen(&witness));
        self.witness = Some(witness);
    }

    /// The wall clock's label for now.
    pub fn wall(&self) -> Option<Timestamp> {
        self.witness.as_ref().map(|witness| witness.clock.0.now().wall)
    }

    pub fn pen(&self) -> Pen {
        let Some(witness) = &self.witness else { return Pen::default() };
        let boot_id = witness.clock.0.boot_id().to_owned();
        Pen {
            when: Some(when(witness, witness.clock.0.now())),
            keys: witness.keys.clone(),
            configuration: Arc::clone(&self.configuration),
            boot_id,
        }
    }

    fn now(&self) -> Option<Mono> {
        self.witness.as_ref().map(|witness| witness.clock.0.now().mono)
    }

    /// What was committed is to be signed: by when.
    pub fn noted(&mut self, soon: bool) {
        let Some(now) = self.now() else { return };
        let hourly = self.signed_at.map_or(now, |at| at + HOURLY);
        let wanted = if soon { hourly.min(now + SOON) } else { hourly };
        self.due_at = Some(self.due_at.map_or(wanted, |due| due.min(wanted)));
    }

    /// The end comes: what is to be signed is signed now.
    pub fn hasten(&mut self) {
        self.due_at = self.due_at.and_then(|_| self.now());
    }

    /// It is on the disk.
    pub fn signed(&mut self, head: SignedHead) {
        self.signed_at = self.now();
        self.due_at = None;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    /// A row that is written at the next look.
    pub fn wait(&mut self, fact: Fact) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(fact);
        } else {
            warn!(
                kind = fact.word(),
                "The chain of evidence cannot be written for long: it will not tell of this."
            );
        }
    }

    /// Looks at the clock; whether there is something to write.
    pub fn look(&mut self) -> bool {
        let (Some(witness), Some(before)) = (&self.witness, self.seen) else { return false };
        let now = seen(witness);
        let stepped_ms = now.offset_ms - before.offset_ms;
        let stepped = stepped_ms.abs() > STEP_MS;
        // slewing is no step: what it comes to is forgotten from look to look
        self.seen = Some(now);
        if stepped || now.quality != before.quality {
            let stepped_ms = if stepped { stepped_ms } else { 0 };
            self.wait(Fact::Clock { from: before.quality, to: now.quality, stepped_ms });
            self.due_at = self.now();
        }
        let is_due = self.now().zip(self.due_at).is_some_and(|(now, due)| now >= due);
        !self.waiting.is_empty() || !self.writings.is_empty() || is_due
    }

    /// What waits, in one transaction, and the signature over it.
    pub fn write(&self, conn: &mut Connection) -> rusqlite::Result<Option<SignedHead>> {
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for (digest, Writing { name, body }) in &self.writings {
            tx.execute(
                "INSERT OR IGNORE INTO writing (digest, name, body) VALUES (?1, ?2, ?3)",
                params![digest, name, body.as_bytes()],
            )?;
        }
        let pen = self.pen();
        if let Some(witness) = self.witness.as_ref().filter(|witness| witness.starts) {
            append::switch(&tx, &pen, witness.suite)?;
        }
        for fact in &self.waiting {
            append::append(&tx, &pen, fact.clone())?;
        }
        if !self.writings.is_empty() {
            forget_writings(&tx)?;
        }
        let head = sign(&tx, &pen)?;
        tx.commit()?;
        Ok(head)
    }

    pub fn written(&mut self, head: Option<SignedHead>) {
        self.waiting.clear();
        self.writings.clear();
        match head {
            Some(head) => self.signed(head),
            // nobody signs
            None => self.due_at = None,
        }
    }
}

/// What was in force at no start that the chain still tells of.
fn forget_writings(conn: &Connection) -> rusqlite::Result<()> {
    let named =
        "SELECT 1 FROM link WHERE kind = 'start' AND instr(CAST(record AS TEXT), lower(hex(digest))) > 0";
    conn.execute(&format!("DELETE FROM writing WHERE NOT EXISTS ({named})"), []).map(drop)
}

impl Pen {
    /// Signs at once what is urgent, in its own transaction.
    pub fn sign_if_urgent(&self, conn: &Connection, commit: &Commit) -> rusqlite::Result<Option<SignedHead>> {
        let urgent = commit.events.iter().any(|event| event.event.alarm.priority == Priority::Critical);
        if urgent { sign(conn, self) } else { Ok(None) }
    }
}

fn when(witness: &Witness, now: Stamp) -> When {
    let boot = witness.clock.0.boot_id();
    When {
        at: local(now.wall, &witness.zone),
        boot: boot.chars().take(8).collect(),
        mono_ms: u64::try_from(now.mono.0.as_millis()).unwrap_or(u64::MAX),
        clock: witness.clock.0.quality(),
    }
}

/// With the site's offset, milliseconds.
pub(super) fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

fn seen(witness: &Witness) -> Seen {
    Seen { offset_ms: witness.clock.0.now().offset_ms(), quality: witness.clock.0.quality() }
}
