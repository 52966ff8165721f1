//! What people ask of the running gateway: acknowledged once it is on disk, told with who was first.

use tracing::{debug, warn};

use super::{Asked, Pipeline, Standing};
use crate::{
    alarm::{Acknowledged, Change, Truth, TurnedDown},
    domain::{
        Acknowledgement, DeviceId, DeviceIx, OccurrenceId, PointIx, ReadingFact,
        command::{Act, Command, Order, Outcome},
        status::{DeviceStatus, LatestReadings, LinkState},
    },
    profile::Device,
    store::{AuditEntry, StoreError},
};

impl Pipeline {
    /// Whoever asked may have gone by the time of the answer; what was done is done and stands in the audit.
    pub(super) async fn answer(&mut self, asked: Asked) -> Result<(), StoreError> {
        match asked {
            Asked::Command(command, reply) if command.fault().is_some() => {
                let why = command.fault().map_or_else(String::new, |fault| fault.en);
                reply
                    .send(Outcome::NotStored { why })
                    .unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
                Ok(())
            }
            Asked::Command(Command::Acknowledge { alarm, by, note, from }, reply) => {
                let (outcome, error) = self.acknowledge(alarm, by, note, from).await;
                reply
                    .send(outcome)
                    .unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
                error.map_or(Ok(()), Err)
            }
            Asked::Command(Command::Note { alarm, by, note, from }, reply) => {
                let (outcome, error) = self.note(alarm, by, note, from).await;
                reply
                    .send(outcome)
                    .unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
                error.map_or(Ok(()), Err)
            }
            Asked::Command(Command::Alarm(order), reply) => {
                let (outcome, error) = self.order(order).await;
                reply
                    .send(outcome)
                    .unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
                error.map_or(Ok(()), Err)
            }
            Asked::Command(Command::Operate(asked), reply) => self.operate(asked, reply).await,
            Asked::Command(Command::Retry { endpoint, letter, by, from }, reply) => {
                let outcome = self.retry(endpoint, letter, by, from).await;
                self.hand_over(outcome, reply)
            }
            Asked::Command(Command::Discard { endpoint, by, note, from }, reply) => {
                let outcome = self.discard(endpoint, by, note, from).await;
                self.hand_over(outcome, reply)
            }
            Asked::Command(Command::Settle { device, by, note, from }, reply) => {
                let outcome = self.settle_books(device, by, note, from).await;
                self.hand_over(outcome, reply)
            }
            Asked::Drill(endpoint, reply) => {
                let (drilled, error) = self.drill(endpoint).await;
                reply.send(drilled).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
                error.map_or(Ok(()), Err)
            }
            Asked::Latest(device, reply) => {
                let latest = self.latest(device.as_ref());
                reply.send(latest).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
                Ok(())
            }
            Asked::OnRecord(entry, reply) => match self.commit(Vec::new(), vec![entry]).await {
                Ok(()) => {
                    reply.send(()).unwrap_or_else(|()| debug!("Nobody waits for the answer."));
                    Ok(())
                }
                Err(error) => {
                    warn!(%error, "What was to be on record could not be stored.");
                    self.survive(error)
                }
            },
            Asked::Devices(reply) => {
                let standing = Standing {
                    devices: self.statuses(),
                    storage: self.trouble.why_not_stored.clone(),
                    messages: self.messages.clone(),
                };
                reply.send(standing).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
                Ok(())
            }
        }
    }

    /// Of the site's own devices; what was never read is not there.
    fn latest(&self, only: Option<&DeviceId>) -> Vec<LatestReadings> {
        let now = self.clock.now().mono;
        let wanted = |device: &Device| !device.is_own() && only.is_none_or(|only| *only == device.id);
        let numbered = self.devices.iter().enumerate().filter(|(_, device)| wanted(device));
        numbered
            .map(|(ix, device)| {
                let (_, latest) = self.engine.device(DeviceIx(ix as u32));
                let points = device.profile.points.iter().enumerate();
                let readings = points.filter_map(|(point, of)| {
                    let (sample, at) = latest.sample(PointIx(point as u16), now)?;
                    let class = &device.profile.class.points[of.class_point];
                    let fact = ReadingFact {
                        value: sample.value().cloned(),
                        unit: class.unit.to_string(),
                        quality: sample.quality(),
                        at: at.wall,
                        data: class.data,
                        card: class.card,
                    };
                    Some((of.name.clone(), fact))
                });
                LatestReadings { device: device.id.clone(), readings: readings.collect() }
            })
            .collect()
    }

    fn statuses(&self) -> Vec<DeviceStatus> {
        let numbered = self.devices.iter().enumerate().filter(|(_, device)| !device.is_own());
        numbered
            .map(|(ix, device)| {
                let (_, latest) = self.engine.device(DeviceIx(ix as u32));
                DeviceStatus {
                    id: device.id.clone(),
                    name: device.name.clone(),
                    class: device.profile.class.name.clone(),
                    profile: device.profile.id.to_string(),
                    bus: device.bus.clone(),
                    link: match latest.link_lost() {
                        Truth::True => LinkState::Lost,
                        Truth::False => LinkState::Online,
                        Truth::Unknown => LinkState::Unknown,
                    },
                    answered_at: latest.answered().map(|at| at.wall),
                    diagnosis: latest.trouble().and_then(|why| device.diagnose(&why)),
                }
            })
            .collect()
    }

    async fn order(&mut self, order: Order) -> (Outcome, Option<StoreError>) {
        let at = self.clock.now();
        let Order { subject, act, by, note, from } = order;
        let who = Acknowledgement { by: by.clone(), at: at.wall, note: note.clone(), from: from.clone() };
        let said = note.map_or_else(String::new, |note| format!(": {note}"));
        let (changes, result, outcome) = match self.engine.order(&subject, &act, &who, at) {
            Ok(changes) => {
                let outcome = ordered(&changes, &act);
                (changes, format!("done{said}"), outcome)
            }
            Err(turned_down) => {
                let (why, at) = (turned_down.text(), turned_down.at());
                let no_such = turned_down == TurnedDown::NoSuchAlarm;
                let result = format!("turned down: {}{said}", why.en);
                (Vec::new(), result, Outcome::TurnedDown { no_such, why, at })
            }
        };
        let audit =
            AuditEntry { at: at.wall, who: by, from, action: act.word(), object: subject, outcome: result };
        match self.commit(changes, vec![audit]).await {
            Ok(()) => (outcome, None),
            Err(error) => {
                let outcome = Outcome::NotStored { why: error.to_string() };
                (outcome, self.survive(error).err())
            }
        }
    }

    /// Left with an alarm that is on record, open or not.
    async fn note(
        &mut self,
        alarm: OccurrenceId,
        by: String,
        note: String,
        from: String,
    ) -> (Outcome, Option<StoreError>) {
        let not_stored = |error: &StoreError| Outcome::NotStored { why: error.to_string() };
        let known = match self.events.latest(&alarm).await {
            Ok(event) => event.is_some(),
            Err(error) => return (not_stored(&error), self.survive(error).err()),
        };
        let outcome = match known {
            true => Outcome::Noted { alarm: alarm.clone() },
            false => Outcome::NoSuchAlarm { alarm: alarm.clone() },
        };
        let said = if known { note } else { "no such alarm".to_owned() };
        let (at, object) = (self.clock.now().wall, alarm.to_string());
        let audit = AuditEntry { at, who: by, from, action: "note", object, outcome: said };
        match self.commit(Vec::new(), vec![audit]).await {
            Ok(()) => (outcome, None),
            Err(error) => (not_stored(&error), self.survive(error).err()),
        }
    }

    async fn acknowledge(
        &mut self,
        alarm: OccurrenceId,
        by: String,
        note: Option<String>,
        from: String,
    ) -> (Outcome, Option<StoreError>) {
        let at = self.clock.now();
        let who = Acknowledgement { by: by.clone(), at: at.wall, note: note.clone(), from: from.clone() };
        let said = note.map_or_else(String::new, |note| format!(": {note}"));
        // on record under the occurrence, however it was named: there its history finds it
        let mut object = alarm.clone();
        let (changes, result, outcome) = match self.engine.acknowledge(&alarm, who, at) {
            Acknowledged::Change(change) => {
                object = change.memory.occurrence.clone().unwrap_or(object);
                let state = change.memory.state.expect("an acknowledgement leads to a state");
                let outcome = Outcome::Acknowledged { alarm: alarm.clone(), state };
                (vec![*change], format!("acknowledged{said}"), outcome)
            }
            Acknowledged::Already { alarm: known, by } => {
                object = known.unwrap_or(object);
                let result = format!("already acknowledged by {by}{said}");
                (vec![], result, Outcome::AlreadyAcknowledged { alarm: alarm.clone(), by })
            }
            Acknowledged::NoSuchAlarm => {
                (vec![], "no such alarm".to_owned(), Outcome::NoSuchAlarm { alarm: alarm.clone() })
            }
        };
        let audit = AuditEntry {
            at: at.wall,
            who: by,
            from,
            action: "acknowledge",
            object: object.to_string(),
            outcome: result,
        };
        match self.commit(changes, vec![audit]).await {
            Ok(()) => (outcome, None),
            Err(error) => {
                let outcome = Outcome::NotStored { why: error.to_string() };
                (outcome, self.survive(error).err())
            }
        }
    }
}

fn ordered(changes: &[Change], act: &Act) -> Outcome {
    let memory = changes.first().map(|change| &change.memory);
    let overlay = memory.map(|memory| &memory.overlay);
    let hold = match act {
        Act::Shelve { .. } => overlay.and_then(|overlay| overlay.shelf.as_ref()),
        Act::TakeOut { .. } => overlay.and_then(|overlay| overlay.out_of_service.as_ref()),
        Act::Unshelve | Act::PutBack | Act::Close | Act::Rescue { .. } => None,
    };
    Outcome::Ordered {
        alarms: changes.len(),
        state: memory.filter(|_| changes.len() == 1).and_then(|memory| memory.state),
        until: hold.map(|hold| hold.until),
    }
}
