//! What people do about alarms: the commands of the command line, each with who, in what role, from where.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    desk::Desk,
    read::{Named, Said},
};
use crate::{
    console::{problem::Problem, shapes::Moment, token::Role, visitor::Visitor},
    domain::{
        AlarmState, EndpointId, OccurrenceId, Period, RescueStep, Text,
        command::{Act, Command, Order, Outcome},
    },
    text,
};

/// An inspector keeps an alarm quiet for one shift's half at most.
const INSPECTOR_SHELVES_FOR: Duration = Duration::from_secs(4 * 3600);

/// Who does it, and a word with it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Word")]
pub struct WordSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as")]
    pub by: Option<String>,
    pub note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Note")]
pub struct NoteSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    note: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Shelve")]
pub struct ShelveSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    reason: String,
    /// For how long: "30m", "2h".
    #[serde(rename = "for")]
    length: Period,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OutOfService")]
pub struct OutSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    reason: String,
    /// For how long at most: "8h", "30d".
    #[serde(rename = "for")]
    length: Period,
    /// Also what is a matter of life: somebody watches meanwhile. An administrator only.
    #[serde(default)]
    life_safety: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Close")]
pub struct CloseSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Discard")]
pub struct DiscardSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RescueStepSaid")]
pub struct RescueSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    step: RescueStep,
    #[serde(default)]
    note: Option<String>,
}

/// It is done, and on disk.
#[derive(Serialize, JsonSchema)]
pub struct Done {
    result: Upshot,
    /// Of one alarm: how it stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AlarmState>,
    /// Who was first, where somebody was.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<String>,
    /// To how many alarms it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarms: Option<usize>,
    /// How many letters are offered again, or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    letters: Option<u64>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
    /// Under which name it is on record, and where it came from.
    by: String,
    from: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Result")]
pub enum Upshot {
    Acknowledged,
    /// Somebody was first: the note is kept, nothing else changes.
    AlreadyAcknowledged,
    Noted,
    Done,
    Retried,
    Discarded,
}

type Answered = Result<Json<Done>, Problem>;
type Desks = State<Arc<Desk>>;
type Who = Extension<Visitor>;

pub async fn acknowledge(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<WordSaid>,
) -> Answered {
    let alarm = occurrence(&desk, &id).await?;
    let by = person(&who, said.by);
    carry(&desk, &id, Command::Acknowledge { alarm, by, note: said.note, from: who.from() }).await
}

pub async fn note(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<NoteSaid>,
) -> Answered {
    let alarm = occurrence(&desk, &id).await?;
    let by = person(&who, said.by);
    carry(&desk, &id, Command::Note { alarm, by, note: said.note, from: who.from() }).await
}

pub async fn shelve(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<ShelveSaid>,
) -> Answered {
    let length = said.length.0;
    if who.role < Role::Operator && length > INSPECTOR_SHELVES_FOR {
        return Err(Problem::shelved_too_long(INSPECTOR_SHELVES_FOR.as_secs() / 3600));
    }
    order(&desk, who, id, Act::Shelve { length }, (said.by, Some(said.reason))).await
}

pub async fn unshelve(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<WordSaid>,
) -> Answered {
    order(&desk, who, id, Act::Unshelve, (said.by, said.note)).await
}

pub async fn close(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<CloseSaid>,
) -> Answered {
    order(&desk, who, id, Act::Close, (said.by, Some(said.reason))).await
}

pub async fn rescue(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<RescueSaid>,
) -> Answered {
    order(&desk, who, id, Act::Rescue { step: said.step }, (said.by, said.note)).await
}

/// An alarm, or a whole device.
pub async fn take_out(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<OutSaid>,
) -> Answered {
    if said.life_safety && who.role < Role::Admin {
        return Err(Problem::role(who.role, Role::Admin));
    }
    let act = Act::TakeOut { length: said.length.0, life_safety: said.life_safety };
    order(&desk, who, id, act, (said.by, Some(said.reason))).await
}

pub async fn put_back(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<WordSaid>,
) -> Answered {
    order(&desk, who, id, Act::PutBack, (said.by, said.note)).await
}

/// Letters that were set aside are offered again.
pub async fn retry(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<WordSaid>,
) -> Answered {
    if !desk.place.endpoints.iter().any(|endpoint| **endpoint == *id) {
        return Err(no_such_endpoint(&id));
    }
    let (endpoint, by) = (EndpointId::from(id.as_str()), person(&who, said.by));
    carry(&desk, &id, Command::Retry { endpoint, letter: None, by, from: who.from() }).await
}

/// What waits for an endpoint that the site does not name any more is given up.
pub async fn discard(
    State(desk): Desks,
    Extension(who): Who,
    Named(id): Named,
    Said(said): Said<DiscardSaid>,
) -> Answered {
    if desk.place.endpoints.iter().any(|endpoint| **endpoint == *id) {
        return Err(Problem::turned_down(text!(
            "配置里还有上报目标 {id}，它的消息会送出：先从配置里删掉它并重启网关",
            "{id} is an endpoint of this site, its letters will go: take it out of the site file and restart first"
        )));
    }
    let kept = desk.look(|reader| reader.deliveries()).await?;
    if !kept.iter().any(|delivery| *delivery.endpoint == *id) {
        return Err(no_such_endpoint(&id));
    }
    if said.reason.trim().is_empty() {
        return Err(Problem::bad(text!("要写原因", "it takes a reason")));
    }
    let (endpoint, by) = (EndpointId::from(id.as_str()), person(&who, said.by));
    carry(&desk, &id, Command::Discard { endpoint, by, note: Some(said.reason), from: who.from() }).await
}

pub fn no_such_endpoint(id: &str) -> Problem {
    Problem::no_such(
        text!("没有上报目标 {id}", "there is no endpoint {id}"),
        text!("编号见 GET /api/v1/delivery", "ids are in GET /api/v1/delivery"),
    )
}

/// The name that was given with it, or the token's.
pub fn person(who: &Visitor, named: Option<String>) -> String {
    named.map_or_else(|| who.token.clone(), |name| name.trim().to_owned())
}

async fn order(
    desk: &Desk,
    who: Visitor,
    subject: String,
    act: Act,
    (named, note): (Option<String>, Option<String>),
) -> Answered {
    let (by, from, id) = (person(&who, named), who.from(), subject.clone());
    carry(desk, &id, Command::Alarm(Order { subject, act, by, note, from })).await
}

/// The number of the alarm that is meant: its own, or that of the one that is open as `device/alarm`.
async fn occurrence(desk: &Desk, id: &str) -> Result<OccurrenceId, Problem> {
    if !id.contains('/') {
        return Ok(id.into());
    }
    let asked = id.to_owned();
    let events = desk.look(move |reader| reader.history(&asked)).await?;
    events.last().map(|event| event.alarm.occurrence.clone()).ok_or_else(|| Problem::no_such_alarm(id))
}

async fn carry(desk: &Desk, id: &str, command: Command) -> Answered {
    if let Some(fault) = command.fault() {
        return Err(Problem::bad(fault));
    }
    let (by, from) = (command.by().to_owned(), command.from().to_owned());
    let done = |result| Done {
        result,
        state: None,
        acknowledged_by: None,
        alarms: None,
        letters: None,
        until: None,
        by,
        from,
    };
    let done = match desk.command(command).await? {
        Outcome::Acknowledged { state, .. } => Done { state: Some(state), ..done(Upshot::Acknowledged) },
        Outcome::AlreadyAcknowledged { by: first, .. } => {
            Done { acknowledged_by: Some(first), ..done(Upshot::AlreadyAcknowledged) }
        }
        Outcome::Noted { .. } => done(Upshot::Noted),
        Outcome::Ordered { alarms, state, until } => {
            let until = until.map(|at| Moment::of(at, &desk.place.zone));
            Done { alarms: Some(alarms), state, until, ..done(Upshot::Done) }
        }
        Outcome::Retried { letters, .. } => Done { letters: Some(letters), ..done(Upshot::Retried) },
        Outcome::Discarded { letters, .. } => Done { letters: Some(letters), ..done(Upshot::Discarded) },
        Outcome::NoSuchAlarm { .. } => return Err(Problem::no_such_alarm(id)),
        Outcome::TurnedDown { no_such: true, .. } => return Err(Problem::no_such_alarm(id)),
        Outcome::TurnedDown { why, at, .. } => {
            let at = at.map(|at| Moment::of(at, &desk.place.zone));
            return Err(Problem::turned_down(at.map_or(why.clone(), |at| with(&why, &at))));
        }
        Outcome::NotStored { why } => return Err(Problem::not_stored(&why)),
        Outcome::NoSuchDevice { .. }
        | Outcome::NoSuchCommand { .. }
        | Outcome::Operated { .. }
        | Outcome::Settled { .. } => return Err(Problem::unexpected()),
    };
    Ok(Json(done))
}

fn with(why: &Text, at: &Moment) -> Text {
    let (zh, en) = (&why.zh, &why.en);
    text!("{zh}（{at}）", "{en} ({at})")
}
