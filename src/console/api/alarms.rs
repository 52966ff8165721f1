//! Alarms as they stand and as they went.

use std::sync::Arc;

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    desk::Desk,
    read::{Asked, Named},
};
use crate::{
    console::{
        problem::Problem,
        shapes::{Alarm, History},
    },
    domain::TransitionKind,
    store::{AlarmFilter, Page},
};

/// On one page.
const USUAL: usize = 50;
const MOST: usize = 500;

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// What is open or held back, the most urgent first; all of it on one page.
    #[default]
    Standing,
    /// Closed ones too, the latest first, page by page.
    All,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmsQuery {
    state: Which,
    /// Of this device only.
    device: Option<String>,
    /// The `before` of the page before.
    before: Option<u64>,
    /// So many on a page: 50, 500 at most.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub struct Alarms {
    alarms: Vec<Alarm>,
    /// Where the next page begins; null: this is the last.
    before: Option<u64>,
    /// How many more stand than are listed.
    left_out: u64,
}

pub async fn alarms(
    State(desk): State<Arc<Desk>>,
    Asked(query): Asked<AlarmsQuery>,
) -> Result<Json<Alarms>, Problem> {
    let AlarmsQuery { state, device, before, limit } = query;
    let (rows, before, left_out) = match state {
        Which::Standing => {
            let filter = AlarmFilter { closed: false, device, limit: limit.unwrap_or(MOST).clamp(1, MOST) };
            let found = desk.look(move |reader| reader.alarms(&filter)).await?;
            (found.rows, None, found.left_out)
        }
        Which::All => {
            let limit = limit.unwrap_or(USUAL).clamp(1, MOST);
            let page = desk.look(move |reader| reader.alarms_before(before, device.as_deref(), limit));
            let Page { rows, before } = page.await?;
            (rows, before, 0)
        }
    };
    let zone = &desk.place.zone;
    Ok(Json(Alarms { alarms: rows.iter().map(|row| Alarm::of(row, zone)).collect(), before, left_out }))
}

/// By its number, or by `device/alarm` (its slash as %2F) where one is open or held back.
pub async fn alarm(State(desk): State<Arc<Desk>>, Named(id): Named) -> Result<Json<History>, Problem> {
    let asked = id.clone();
    let found = desk
        .look(move |reader| {
            let events = reader.history(&asked)?;
            let Some(last) = events.last() else { return Ok(None) };
            // An alarm that closed has only what lies over the next one.
            let closed = last.kind == TransitionKind::Closed;
            let now = reader.overlay(&last.key())?.filter(|_| !closed);
            let overlay = now.unwrap_or_else(|| last.alarm.overlay.clone());
            let notes = reader.notes(&last.alarm.occurrence)?;
            Ok(Some((events, notes, overlay)))
        })
        .await?;
    let history =
        found.and_then(|(events, notes, overlay)| History::of(&events, &notes, &overlay, &desk.place.zone));
    history.map(Json).ok_or_else(|| Problem::no_such_alarm(&id))
}
