//! What happens, as it happens: a caller waits for the next event (long poll), and comes back with its number.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{desk::Desk, read::Asked};
use crate::{
    console::{
        problem::Problem,
        shapes::{Readings, Step, readings},
        visitor::Visitor,
    },
    domain::{Event, Priority, Text, TimeQuality},
};

/// Proxies cut off what is silent for longer.
const LONGEST_WAIT_S: u64 = 25;
const USUAL: u64 = 100;
const MOST: u64 = 500;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsQuery {
    /// Those after this number; left out: what happens from now on.
    after: Option<u64>,
    /// Seconds to wait for one, 25 at most.
    #[schemars(range(min = 0, max = 25))]
    wait: u64,
    /// At most so many: 100, 500 at most.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub struct Events {
    events: Vec<Happened>,
    /// What to ask for next time.
    after: u64,
}

/// One transition of one alarm, or a drill, or a report of what was lost.
#[derive(Serialize, JsonSchema)]
pub struct Happened {
    device: String,
    device_name: String,
    class: String,
    alarm: String,
    occurrence: String,
    title: Text,
    priority: Priority,
    time_quality: TimeQuality,
    demo: bool,
    readings: Readings,
    #[serde(flatten)]
    step: Step,
}

pub async fn events(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Asked(query): Asked<EventsQuery>,
) -> Result<Json<Events>, Problem> {
    let until = Instant::now() + Duration::from_secs(query.wait.min(LONGEST_WAIT_S));
    let limit = query.limit.unwrap_or(USUAL).clamp(1, MOST);
    let Ok(place) = Arc::clone(&desk.waiters).try_acquire_owned() else { return Err(Problem::busy()) };
    let mut changes = desk.changes.clone();
    let mut after = query.after;
    let found = loop {
        changes.mark_unchanged();
        let since = after;
        let (found, last) =
            desk.look(move |reader| reader.events_after(since.unwrap_or(u64::MAX), limit)).await?;
        // a number from another epoch is beyond the last one: the caller begins anew
        let known = *after.get_or_insert(last);
        if !found.is_empty() || known > last {
            after = Some(found.last().map_or(last, |event| event.seq));
            break found;
        }
        tokio::select! {
            changed = timeout_at(until, changes.changed()) => match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break found,
            },
            () = desk.stop.cancelled() => break found,
        }
    };
    drop(place);
    let zone = &desk.place.zone;
    let happened = found.iter().map(|event| {
        let seen = readings(&event.readings, |fact| visitor.may_see(fact, false), zone);
        Happened::of(event, seen, Step::of(event, zone))
    });
    Ok(Json(Events { events: happened.collect(), after: after.unwrap_or_default() }))
}

impl Happened {
    fn of(event: &Event, readings: Readings, step: Step) -> Self {
        let Event { device, alarm, .. } = event;
        Self {
            device: device.id.to_string(),
            device_name: device.name.clone(),
            class: device.class.to_string(),
            alarm: alarm.name.to_string(),
            occurrence: alarm.occurrence.to_string(),
            title: alarm.title.clone(),
            priority: alarm.priority,
            time_quality: event.time_quality,
            demo: event.demo,
            readings,
            step,
        }
    }
}
