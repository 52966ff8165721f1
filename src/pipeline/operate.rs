//! A device is told something: asked on disk → sent once → read back → its end on disk → answered.
//!
//! The pipeline has the latest readings, which interlocks and read-backs need. It never waits for a bus: what is on its way stands
//! in a bounded table.

mod outcome;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinSet};
use tracing::{debug, warn};

use super::Pipeline;
use crate::{
    alarm::Truth,
    domain::{
        CommandName, DeviceIx, Ending, EventId, Instruction, Mono, PointIx, Reply, Text, Value,
        command::{Attempt, Operate, Outcome},
    },
    profile::{Command, Interlock},
    store::{AuditEntry, Commit, OpenOperation, OperationStep, StoreError},
    text,
};

/// How many devices may be told something at the same time.
const MOST_OPEN: usize = 32;

/// Sends an instruction to the bus of a device, once (handed in, so that nothing here knows the buses).
pub type Tell = Box<dyn Fn(DeviceIx, Instruction) -> Telling + Send>;
pub type Telling = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What is on its way to devices.
pub struct Operations {
    tell: Tell,
    tellings: JoinSet<(u64, Reply)>,
    open: BTreeMap<u64, Open>,
    next: u64,
    /// Who told a device last, and when it had been told.
    last: HashMap<(DeviceIx, CommandName), (String, Mono)>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").field("open", &self.open).finish_non_exhaustive()
    }
}

/// One thing that one device is told.
#[derive(Debug)]
struct Open {
    id: String,
    device: DeviceIx,
    asked: Operate,
    read_back: Option<PointIx>,
    reply: oneshot::Sender<Outcome>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Telling,
    /// It went out; the read-back point is watched.
    Watching {
        accepted: Result<(), Text>,
        since: Mono,
        until: Mono,
    },
    /// Known, not on disk yet.
    Ended(Ending),
}

/// Nothing speaks against it.
struct Permitted {
    device: DeviceIx,
    instruction: Instruction,
    value: Value,
    read_back: Option<PointIx>,
}

impl Operations {
    pub fn new(tell: Tell) -> Self {
        Self { tell, tellings: JoinSet::new(), open: BTreeMap::new(), next: 0, last: HashMap::new() }
    }

    /// Of a gateway without buses: nothing is sent.
    pub fn nowhere() -> Self {
        Self::new(Box::new(|_, _| {
            let why = text!("网关没有运行", "the gateway does not run");
            Box::pin(std::future::ready(Reply::NotSent { why }))
        }))
    }

    /// What came back next; pending for ever while nothing is on its way. Cancel-safe.
    pub(super) async fn next_reply(&mut self) -> (u64, Reply) {
        loop {
            match self.tellings.join_next().await {
                Some(Ok(told)) => return told,
                // Its entry is closed as unknown when the pipeline ends.
                Some(Err(broken)) => warn!(%broken, "Telling a device broke off."),
                None => return pending().await,
            }
        }
    }

    fn is_busy(&self, device: DeviceIx) -> bool {
        self.open.len() >= MOST_OPEN || self.open.values().any(|open| open.device == device)
    }
}

impl Pipeline {
    pub(super) async fn operate(
        &mut self,
        asked: Operate,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<(), StoreError> {
        match self.permit(&asked) {
            Ok(permitted) => self.send(asked, permitted, reply).await,
            Err(outcome) => self.turn_down(&asked, *outcome, reply).await,
        }
    }

    /// What is to be sent, or why nothing is.
    fn permit(&self, asked: &Operate) -> Result<Permitted, Box<Outcome>> {
        let place = self.devices.iter().position(|device| device.id == asked.device);
        let Some(place) = place else {
            return Err(Box::new(Outcome::NoSuchDevice { device: asked.device.clone() }));
        };
        let (device, profile) = (DeviceIx(place as u32), &self.devices[place].profile);
        let no = |ending| Err(Box::new(asked.ended(asked.value.clone(), ending)));
        if profile.class.is_never_told() {
            return no(Ending::NeverTold);
        }
        let Some(command) = profile.command(&asked.command) else {
            let known = profile.commands.iter().map(|command| command.name.clone()).collect();
            return Err(Box::new(Outcome::NoSuchCommand { device: asked.device.clone(), known }));
        };
        let setting = match command.setting(&asked.value) {
            Ok(setting) => setting,
            Err(unfit) => return no(Ending::Unfit { why: unfit.text() }),
        };
        if let Some(ending) = self.needless(device, command, asked, &setting.value) {
            return no(ending);
        }
        if let Some(interlock) = &command.interlock {
            match self.forbids(device, interlock) {
                None => {}
                // A schedule can wait until it is known, as after a start.
                Some((Truth::Unknown, _)) if asked.firing.is_some() => return no(Ending::NotYet),
                Some((_, why)) => {
                    return no(Ending::Interlock { condition: interlock.source.clone(), why });
                }
            }
        }
        if self.operations.is_busy(device) {
            return no(Ending::Busy);
        }
        let (instruction, value) = (setting.instruction, setting.value);
        Ok(Permitted { device, instruction, value, read_back: command.read_back })
    }

    /// A schedule that had its turn already: what is doubtful is told again only if a reading from after it shows it undone.
    fn needless(
        &self,
        device: DeviceIx,
        command: &Command,
        asked: &Operate,
        value: &Value,
    ) -> Option<Ending> {
        let attempt = asked.firing.as_ref()?.attempt;
        if attempt == Attempt::First {
            return None;
        }
        let (_, latest) = self.engine.device(device);
        if attempt == Attempt::NotSent {
            return (latest.link_lost() != Truth::False).then_some(Ending::NotYet);
        }
        let last = self.operations.last.get(&(device, command.name.clone()));
        if last.is_some_and(|(by, _)| *by != asked.by) {
            return Some(Ending::NotNeeded);
        }
        let Some(point) = command.read_back else { return Some(Ending::NotNeeded) };
        let Some((sample, at)) = latest.sample(point, self.clock.now().mono) else {
            return Some(Ending::NotYet);
        };
        let since = last.map_or(Mono(Duration::ZERO), |(_, told)| *told);
        match sample.value().filter(|_| sample.is_good() && at.mono > since) {
            None => Some(Ending::NotYet),
            Some(seen) if latest.profile().shows(command, point, value, seen) => Some(Ending::NotNeeded),
            Some(_) => None,
        }
    }

    /// Why the interlock does not let it through: it does not hold, or nobody knows whether it does.
    fn forbids(&self, device: DeviceIx, interlock: &Interlock) -> Option<(Truth, Text)> {
        let (_, latest) = self.engine.device(device);
        let now = self.clock.now().mono;
        let profile = latest.profile();
        let name = |point: &PointIx| &profile.points[usize::from(point.0)].name;
        if let Some(point) = interlock.points.iter().find(|point| !latest.good(**point, now)) {
            let (name, sample) = (name(point), latest.sample(*point, now));
            let quality = sample.map_or("absent", |(sample, _)| sample.quality().word());
            return Some((
                Truth::Unknown,
                text!("{name} 未知（{quality}）", "{name} is not known ({quality})"),
            ));
        }
        if interlock.expression.truth(latest) == Ok(true) {
            return None;
        }
        let shown = interlock.points.iter().filter_map(|point| {
            let (sample, _) = latest.sample(*point, now)?;
            Some(format!("{} = {}", name(point), sample.value()?))
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        Some((Truth::False, Text::new(shown.clone(), shown)))
    }

    /// One row says both that it was asked and why it was not sent.
    async fn turn_down(
        &mut self,
        asked: &Operate,
        outcome: Outcome,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<(), StoreError> {
        let (said, settled) = match &outcome {
            Outcome::Operated { ending: Ending::NotYet, .. } => return answer(reply, outcome),
            Outcome::Operated { ending, .. } => {
                (format!("{}: {}", ending.word(), ending.text().en), ending.is_settled())
            }
            _ => ("no such device or command".to_owned(), true),
        };
        let audit = self.audit_row(asked, &asked.value, said);
        let busy = matches!(&outcome, Outcome::Operated { ending: Ending::Busy, .. });
        let operations = if busy { Vec::new() } else { asked.fired(settled) };
        let commit = Commit { audit: vec![audit], operations, ..Commit::default() };
        self.keep(commit, reply, outcome).await
    }

    /// Asked on disk, then sent.
    async fn send(
        &mut self,
        asked: Operate,
        permitted: Permitted,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<(), StoreError> {
        let Permitted { device, instruction, value, read_back } = permitted;
        let id = EventId::random().to_string();
        let open = OpenOperation {
            id: id.clone(),
            at: self.clock.now().wall,
            device: asked.device.clone(),
            command: asked.command.clone(),
            who: asked.by.clone(),
            from: asked.from.clone(),
        };
        let overruled =
            OperationStep::Overruled { device: asked.device.clone(), command: asked.command.clone() };
        let mut operations = vec![OperationStep::Asked(open)];
        operations.extend(if asked.firing.is_some() { asked.fired(false) } else { vec![overruled] });
        let note = asked.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
        let audit = vec![self.audit_row(&asked, &value, format!("asked{note}"))];
        if let Err(error) = self.events.commit(Commit { audit, operations, ..Commit::default() }).await {
            return self.not_stored(error, reply);
        }
        let asked = Operate { value, ..asked };
        let table = &mut self.operations;
        table.last.insert((device, asked.command.clone()), (asked.by.clone(), self.clock.now().mono));
        table.next += 1;
        let (number, telling) = (table.next, (table.tell)(device, instruction));
        table.open.insert(number, Open { id, device, asked, read_back, reply, stage: Stage::Telling });
        table.tellings.spawn(async move { (number, telling.await) });
        Ok(())
    }

    fn audit_row(&self, asked: &Operate, value: &Value, outcome: String) -> AuditEntry {
        AuditEntry {
            at: self.clock.now().wall,
            who: asked.by.clone(),
            from: asked.from.clone(),
            action: "operate",
            object: format!("{}/{} = {value}", asked.device, asked.command),
            outcome,
        }
    }

    async fn keep(
        &mut self,
        commit: Commit,
        reply: oneshot::Sender<Outcome>,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        match self.events.commit(commit).await {
            Ok(()) => answer(reply, outcome),
            Err(error) => self.not_stored(error, reply),
        }
    }

    /// Nothing was sent; a full disk is waited out, anything else ends the gateway.
    fn not_stored(&mut self, error: StoreError, reply: oneshot::Sender<Outcome>) -> Result<(), StoreError> {
        self.note_storage(Some(&error));
        answer(reply, Outcome::NotStored { why: error.to_string() })?;
        self.survive(error)
    }
}

impl Operate {
    fn ended(&self, value: Value, ending: Ending) -> Outcome {
        Outcome::Operated { device: self.device.clone(), command: self.command.clone(), value, ending }
    }

    /// For which day its schedule has told the device, if one did.
    fn fired(&self, settled: bool) -> Vec<OperationStep> {
        let fired = self.firing.clone().map(|firing| OperationStep::Fired {
            firing,
            device: self.device.clone(),
            command: self.command.clone(),
            settled,
        });
        fired.into_iter().collect()
    }

    fn unfired(&self) -> Vec<OperationStep> {
        let schedule = self.firing.as_ref().map(|firing| firing.schedule.clone());
        let unfired =
            schedule.map(|schedule| OperationStep::Unfired { schedule, device: self.device.clone() });
        unfired.into_iter().collect()
    }
}

/// Whoever asked may have gone; what was done stands in the audit.
fn answer(reply: oneshot::Sender<Outcome>, outcome: Outcome) -> Result<(), StoreError> {
    reply.send(outcome).unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
    Ok(())
}

#[cfg(test)]
#[path = "operate_tests.rs"]
mod tests;
