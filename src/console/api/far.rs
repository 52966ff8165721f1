//! What reaches beyond the gateway: a device is told something, an endpoint is tried. Each at a pace of its own, and on record before it
//! is done.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    desk::Desk,
    orders::{WordSaid, no_such_endpoint, person},
    read::{Named, Said},
};
use crate::{
    console::{problem::Problem, shapes::any_value, visitor::Visitor},
    domain::{
        CommandName, DeviceId, EndpointId, Text, Value,
        command::{Command, Operate, Outcome, person_fault},
        drill::Drilled,
        ending::Ending,
    },
    store::AuditEntry,
    text,
};

/// As `gatehouse commands list` shows it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeviceCommand")]
pub struct OperateSaid {
    /// The person's name; the token's, if it is left out.
    #[serde(rename = "as", default)]
    by: Option<String>,
    command: String,
    /// A number, true or false, or a word.
    #[schemars(schema_with = "any_value")]
    value: Value,
    #[serde(default)]
    note: Option<String>,
}

/// The device was told, once; it says that it did it, or a point shows it.
#[derive(Serialize, JsonSchema)]
pub struct Operated {
    device: String,
    command: String,
    /// As it was really set.
    #[schemars(schema_with = "any_value")]
    value: Value,
    /// `done`: the point that reads it back shows it; `accepted`: nothing can show it.
    result: &'static str,
    text: Text,
    /// Under which name it is on record, and where it came from.
    by: String,
    from: String,
}

pub async fn operate(
    State(desk): State<Arc<Desk>>,
    Extension(who): Extension<Visitor>,
    Named(id): Named,
    Said(said): Said<OperateSaid>,
) -> Result<Json<Operated>, Problem> {
    desk.gate.may_tell(&id, desk.clock.now().mono)?;
    let (by, from) = (person(&who, said.by), who.from());
    let command = Command::Operate(Operate {
        device: DeviceId::from(id.as_str()),
        command: CommandName::from(said.command.as_str()),
        value: said.value,
        by: by.clone(),
        from: from.clone(),
        note: said.note,
        firing: None,
    });
    if let Some(fault) = command.fault() {
        return Err(Problem::bad(fault));
    }
    match desk.far_command(command).await? {
        Outcome::Operated { device, command, value, ending } if ending.is_good() => Ok(Json(Operated {
            device: device.to_string(),
            command: command.to_string(),
            value,
            result: ending.word(),
            text: ending.text(),
            by,
            from,
        })),
        Outcome::Operated { ending, .. } => Err(not_done(&ending)),
        Outcome::NoSuchDevice { device } => Err(Problem::no_such_device(&device)),
        Outcome::NoSuchCommand { device, known } => Err(no_such_command(&device, &said.command, &known)),
        Outcome::NotStored { why } => Err(Problem::not_stored(&why)),
        Outcome::Acknowledged { .. }
        | Outcome::AlreadyAcknowledged { .. }
        | Outcome::NoSuchAlarm { .. }
        | Outcome::Noted { .. }
        | Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::Retried { .. }
        | Outcome::Discarded { .. }
        | Outcome::Settled { .. } => Err(Problem::unexpected()),
    }
}

fn not_done(ending: &Ending) -> Problem {
    match ending {
        Ending::Unfit { .. } => Problem::bad(ending.text()),
        Ending::NeverTold => Problem::never_told(ending.text()),
        Ending::Unknown { .. } | Ending::NotShown { .. } => Problem::nobody_knows(ending.text()),
        Ending::Refused { .. }
        | Ending::NotSent { .. }
        | Ending::Interlock { .. }
        | Ending::Busy
        | Ending::NotYet
        | Ending::NotNeeded
        | Ending::ReadBack { .. }
        | Ending::Accepted => Problem::not_done(ending.text()),
    }
}

fn no_such_command(device: &DeviceId, command: &str, known: &[CommandName]) -> Problem {
    let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
    let known = known.join(", ");
    let todo = match known.is_empty() {
        true => text!("它没有可下发的命令", "there is nothing that it can be told"),
        false => text!("它有：{known}", "it has: {known}"),
    };
    Problem::no_such(text!("{device} 没有命令 {command}", "{device} has no command {command}"), todo)
}

/// The endpoint has the drill, and says so.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Drilled")]
pub struct DrillTaken {
    endpoint: String,
    /// Under which id the receiver got it.
    event: String,
    /// Of an HTTP receiver; 0 from a broker.
    status: u16,
    /// The beginning of what it said.
    said: String,
    /// Under which name it is on record, and where it came from.
    by: String,
    from: String,
}

pub async fn drill(
    State(desk): State<Arc<Desk>>,
    Extension(who): Extension<Visitor>,
    Named(id): Named,
    Said(said): Said<WordSaid>,
) -> Result<Json<DrillTaken>, Problem> {
    if !desk.place.endpoints.iter().any(|endpoint| **endpoint == *id) {
        return Err(no_such_endpoint(&id));
    }
    let now = desk.clock.now();
    desk.gate.may_drill(&id, now.mono)?;
    let (note, by, from) = (said.note, person(&who, said.by), who.from());
    let endpoint = EndpointId::from(id.as_str());
    if let Some(fault) = person_fault(&by, note.as_deref()) {
        return Err(Problem::bad(fault));
    }
    let outcome = note.map_or_else(|| "asked for".to_owned(), |note| format!("asked for: {note}"));
    let entry = AuditEntry {
        at: now.wall,
        who: by.clone(),
        from: from.clone(),
        action: "drill",
        object: id.clone(),
        outcome,
    };
    desk.put_on_record(entry).await?;
    match desk.drill(endpoint, by.clone()).await? {
        Drilled::Accepted { event, status, said } => {
            Ok(Json(DrillTaken { endpoint: id, event, status, said, by, from }))
        }
        Drilled::Hindered { why, .. } => Err(Problem::hindered(why.said, why.kind.advice())),
        Drilled::NoWords { why: Text { zh, en } } => Err(Problem::not_done(text!(
            "{id} 的模板说不了演练：{zh}",
            "the template of {id} cannot tell of a drill: {en}"
        ))),
        Drilled::NoSuchEndpoint => Err(no_such_endpoint(&id)),
    }
}
