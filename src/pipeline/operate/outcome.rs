//! What came of telling a device: what the bus says, what the read-back point shows, and what is left open at an end or a kill.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::{Open, Stage, answer};
use crate::{
    domain::{Ending, PointIx, PointName, Quality, Reply, Text, Value, command::Operate},
    pipeline::Pipeline,
    profile::Profile,
    store::{AuditEntry, Commit, OpenOperation, OperationStep, StoreError},
    text,
};

/// A read-back point shows a command within this many of its polls, but not less than `READ_BACK_LEAST`.
const READ_BACK_POLLS: u32 = 3;
pub(super) const READ_BACK_LEAST: Duration = Duration::from_secs(10);
const READ_BACK_MOST: Duration = Duration::from_secs(120);
/// How long the end waits for what the buses still have to say; they have hung up by then.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Pipeline {
    /// The bus has said what came of it.
    pub(in crate::pipeline) async fn told(&mut self, number: u64, reply: Reply) -> Result<(), StoreError> {
        let now = self.clock.now().mono;
        let Some(open) = self.operations.open.get_mut(&number) else { return Ok(()) };
        let key = (open.device, open.asked.command.clone());
        self.operations.last.insert(key, (open.asked.by.clone(), now));
        open.stage = match (reply, open.read_back) {
            (Reply::Refused { why }, _) => Stage::Ended(Ending::Refused { why }),
            (Reply::NotSent { why }, _) => Stage::Ended(Ending::NotSent { why }),
            (Reply::Accepted, None) => Stage::Ended(Ending::Accepted),
            (Reply::Unknown { why }, None) => Stage::Ended(Ending::Unknown { why }),
            (Reply::Accepted, Some(point)) => {
                let profile = &self.devices[open.device.0 as usize].profile;
                Stage::Watching { accepted: Ok(()), since: now, until: now + patience(profile, point) }
            }
            (Reply::Unknown { why }, Some(point)) => {
                let profile = &self.devices[open.device.0 as usize].profile;
                Stage::Watching { accepted: Err(why), since: now, until: now + patience(profile, point) }
            }
        };
        self.watch_operations().await
    }

    /// Looks at the read-back points, and puts on disk what has ended.
    pub(in crate::pipeline) async fn watch_operations(&mut self) -> Result<(), StoreError> {
        let ended: Vec<(u64, Ending)> = self
            .operations
            .open
            .iter()
            .filter_map(|(number, open)| Some((*number, self.ending(open)?)))
            .collect();
        for (number, ending) in ended {
            self.end(number, ending).await?;
        }
        Ok(())
    }

    fn ending(&self, open: &Open) -> Option<Ending> {
        let (accepted, since, until) = match &open.stage {
            Stage::Telling => return None,
            Stage::Ended(ending) => return Some(ending.clone()),
            Stage::Watching { accepted, since, until } => (accepted, *since, *until),
        };
        let point = open.read_back?;
        let now = self.clock.now().mono;
        let (_, latest) = self.engine.device(open.device);
        let profile = latest.profile();
        let fresh = latest
            .sample(point, now)
            .filter(|(sample, at)| at.mono > since && sample.quality() == Quality::Good);
        let seen = fresh.and_then(|(sample, at)| Some((sample.value()?.clone(), at)));
        let command = profile.command(&open.asked.command)?;
        let name = profile.points[usize::from(point.0)].name.clone();
        match seen {
            Some((seen, at)) if profile.shows(command, point, &open.asked.value, &seen) => {
                let after_ms = at.mono.since(since).as_millis() as u64;
                Some(Ending::ReadBack { point: name, after_ms })
            }
            _ if now < until => None,
            seen => Some(undone(name, seen.map(|(value, _)| value), accepted.clone())),
        }
    }

    /// The end on disk, then the answer. On a full disk it waits in the table until there is room.
    async fn end(&mut self, number: u64, ending: Ending) -> Result<(), StoreError> {
        let resting = self.resting();
        let Some(open) = self.operations.open.get_mut(&number) else { return Ok(()) };
        open.stage = Stage::Ended(ending.clone());
        if resting {
            return Ok(());
        }
        let (asked, id) = (open.asked.clone(), open.id.clone());
        let said = format!("{}: {}", ending.word(), ending.text().en);
        let mut operations = vec![OperationStep::Ended { id }];
        operations.extend(match &ending {
            // Its turn is still to come.
            Ending::NotSent { .. } => asked.unfired(),
            ending => asked.fired(ending.is_settled()),
        });
        let audit = vec![self.audit_row(&asked, &asked.value, said)];
        match self.events.commit(Commit { audit, operations, ..Commit::default() }).await {
            Ok(()) => self.note_storage(None),
            Err(error) => {
                self.note_storage(Some(&error));
                return self.survive(error);
            }
        }
        log(&asked, &ending);
        let Some(open) = self.operations.open.remove(&number) else { return Ok(()) };
        answer(open.reply, asked.ended(asked.value.clone(), ending))
    }

    /// The buses have hung up: what is still open ends with what is known of it.
    pub(in crate::pipeline) async fn end_operations(&mut self) -> Result<(), StoreError> {
        while !self.operations.tellings.is_empty() {
            match timeout(LAST_WORDS, self.operations.next_reply()).await {
                Ok((number, reply)) => self.told(number, reply).await?,
                Err(_silent) => break,
            }
        }
        let stopped = || text!("网关停止了", "the gateway was stopped");
        let endings = self.operations.open.iter().map(|(number, open)| {
            let ending = match &open.stage {
                Stage::Telling => Ending::Unknown { why: stopped() },
                Stage::Watching { accepted: Err(why), .. } => Ending::Unknown { why: why.clone() },
                Stage::Watching { accepted: Ok(()), .. } => Ending::Accepted,
                Stage::Ended(ending) => ending.clone(),
            };
            (*number, ending)
        });
        for (number, ending) in endings.collect::<Vec<_>>() {
            self.end(number, ending).await?;
        }
        Ok(())
    }

    /// What the last run told devices and did not live to see the end of.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn close_operations(&mut self, open: Vec<OpenOperation>) -> Result<(), StoreError> {
        for OpenOperation { id, device, command, who, from, .. } in open {
            warn!(%device, %command, who, "Nobody knows whether the device did it: the gateway was stopped.");
            let ending = Ending::Unknown { why: text!("网关停止了", "the gateway was stopped") };
            let audit = AuditEntry {
                at: self.clock.now().wall,
                who,
                from,
                action: "operate",
                object: format!("{device}/{command}"),
                outcome: format!("{}: {}", ending.word(), ending.text().en),
            };
            let operations = vec![OperationStep::Ended { id }];
            self.events.commit(Commit { audit: vec![audit], operations, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

fn patience(profile: &Profile, point: PointIx) -> Duration {
    let polls = profile.points[usize::from(point.0)].every * READ_BACK_POLLS;
    polls.clamp(READ_BACK_LEAST, READ_BACK_MOST)
}

/// The read-back point did not show it in time.
fn undone(point: PointName, shows: Option<Value>, accepted: Result<(), Text>) -> Ending {
    match (accepted, shows) {
        (Err(why), None) => Ending::Unknown { why },
        (accepted, shows) => Ending::NotShown { point, shows, accepted: accepted.is_ok() },
    }
}

fn log(asked: &Operate, ending: &Ending) {
    let (device, command, value, by) = (&asked.device, &asked.command, &asked.value, &asked.by);
    let (ending, why, good) = (ending.word(), ending.text().en, ending.is_good());
    if good {
        info!(%device, %command, %value, by, ending, why, "A device was told.");
    } else {
        warn!(%device, %command, %value, by, ending, why, "A device was told, and it is not known to be done.");
    }
}
