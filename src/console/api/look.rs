//! What only looks: the site, how it stands, its devices, what is delivered.

use std::{collections::HashMap, sync::Arc};

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    desk::Desk,
    read::{Asked, Named},
};
use crate::{
    console::{
        problem::Problem,
        shapes::{Bus, Device, Endpoint, Moment, readings},
        token::Role,
        visitor::Visitor,
    },
    domain::{AlarmState, DeviceId, Overlay, TimeQuality, status::LinkState},
    store::{AlarmFilter, AlarmRow, AuditEntry},
};

/// It runs: nothing more is said to strangers.
#[derive(Serialize, JsonSchema)]
pub struct Health {
    status: &'static str,
}

pub async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Which gateway this is, and what it was told to be.
#[derive(Serialize, JsonSchema)]
pub struct Site {
    id: String,
    name: String,
    timezone: Option<String>,
    demo: bool,
    version: &'static str,
    /// Of the site file as it was read at the start.
    config_sha256: String,
    /// Sequence numbers count within it: another one means that the store was made anew.
    epoch: String,
    /// What the token of this request may do, and its name.
    token: String,
    role: Role,
}

pub async fn site(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Json<Site>, Problem> {
    let place = &desk.place;
    let epoch = desk.look(|reader| reader.epoch()).await?;
    Ok(Json(Site {
        id: place.site.id.clone(),
        name: place.site.name.clone(),
        timezone: place.zone.iana_name().map(str::to_owned),
        demo: place.demo,
        version: env!("CARGO_PKG_VERSION"),
        config_sha256: place.digest.clone(),
        epoch,
        token: visitor.token,
        role: visitor.role,
    }))
}

#[derive(Serialize, JsonSchema)]
pub struct Status {
    version: String,
    started_at: Moment,
    demo: bool,
    time_quality: TimeQuality,
    /// Why alarms cannot be stored, if they cannot.
    storage: Option<String>,
    readings_lost: u64,
    alarms: AlarmCounts,
    devices: DeviceCounts,
    buses: Vec<Bus>,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, JsonSchema)]
pub struct AlarmCounts {
    open: usize,
    /// What somebody has to take on: what is held back is not among them.
    unacknowledged: usize,
    shelved: usize,
    suppressed: usize,
    out_of_service: usize,
}

impl AlarmCounts {
    fn of(alarms: &[AlarmRow]) -> Self {
        let count = |is: &dyn Fn(&Overlay) -> bool| alarms.iter().filter(|alarm| is(&alarm.overlay)).count();
        let waits = |alarm: &&AlarmRow| alarm.state.is_unacknowledged() && !alarm.overlay.is_held();
        Self {
            open: alarms.iter().filter(|alarm| alarm.state != AlarmState::Closed).count(),
            unacknowledged: alarms.iter().filter(waits).count(),
            shelved: count(&|over| over.shelf.is_some()),
            suppressed: count(&|over| over.suppressed),
            out_of_service: count(&|over| over.out_of_service.is_some()),
        }
    }
}

#[derive(Default, Serialize, JsonSchema)]
pub struct DeviceCounts {
    online: usize,
    lost: usize,
    /// Not heard of since the start.
    unknown: usize,
}

pub async fn status(State(desk): State<Arc<Desk>>) -> Result<Json<Status>, Problem> {
    let live = desk.live().await?;
    let (alarms, endpoints) = desk
        .look(|reader| {
            let every_open = AlarmFilter { limit: usize::MAX, ..AlarmFilter::default() };
            Ok((reader.alarms(&every_open)?.rows, reader.deliveries()?))
        })
        .await?;
    let mut devices = DeviceCounts::default();
    for device in &live.devices {
        match device.link {
            LinkState::Online => devices.online += 1,
            LinkState::Lost => devices.lost += 1,
            LinkState::Unknown => devices.unknown += 1,
        }
    }
    let zone = &desk.place.zone;
    let endpoints = live.endpoints.iter().map(|endpoint| {
        let delivery = endpoints.iter().find(|delivery| *endpoint.id == *delivery.endpoint);
        let mut shown = Endpoint::of(&endpoint.id, delivery, zone);
        let failing = endpoint.failing.as_ref();
        shown.trouble = failing.map(|failing| failing.why.kind.word().to_owned());
        shown.failing = failing.map(|failing| failing.why.said.clone());
        shown
    });
    Ok(Json(Status {
        started_at: Moment::of(live.started_at, zone),
        demo: live.demo,
        time_quality: live.time_quality,
        readings_lost: live.readings_lost,
        alarms: AlarmCounts::of(&alarms),
        devices,
        buses: live.buses.iter().map(Bus::of).collect(),
        endpoints: endpoints.collect(),
        version: live.version.clone(),
        storage: live.storage,
    }))
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DevicesQuery {
    /// Values of persons too: an administrator only, and it is on record.
    private: bool,
    /// Of this class only.
    class: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub struct Devices {
    devices: Vec<Device>,
}

pub async fn devices(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Asked(query): Asked<DevicesQuery>,
) -> Result<Json<Devices>, Problem> {
    let mut devices = seen(&desk, &visitor, None, query.private).await?;
    if let Some(class) = query.class {
        devices.retain(|device| device.class == class);
    }
    Ok(Json(Devices { devices }))
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceQuery {
    /// Values of persons too: an administrator only, and it is on record.
    private: bool,
}

pub async fn device(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Named(id): Named,
    Asked(query): Asked<DeviceQuery>,
) -> Result<Json<Device>, Problem> {
    let only = DeviceId::from(id.as_str());
    let found = seen(&desk, &visitor, Some(only), query.private).await?.pop();
    found.map(Json).ok_or_else(|| Problem::no_such_device(&id))
}

async fn seen(
    desk: &Desk,
    visitor: &Visitor,
    only: Option<DeviceId>,
    private: bool,
) -> Result<Vec<Device>, Problem> {
    if private {
        may_see_private(desk, visitor, only.as_ref()).await?;
    }
    let (live, latest) = (desk.live().await?, desk.latest(only.clone()).await?);
    let zone = &desk.place.zone;
    let mut latest: HashMap<DeviceId, _> =
        latest.into_iter().map(|latest| (latest.device, latest.readings)).collect();
    let wanted =
        live.devices.into_iter().filter(|device| only.as_ref().is_none_or(|only| *only == device.id));
    let shown = wanted.map(|status| {
        let facts = latest.remove(&status.id).unwrap_or_default();
        Device::of(status, readings(&facts, |fact| visitor.may_see(fact, private), zone), zone)
    });
    Ok(shown.collect())
}

/// Who looked at what of persons stands in the audit before it is shown.
async fn may_see_private(desk: &Desk, visitor: &Visitor, device: Option<&DeviceId>) -> Result<(), Problem> {
    if visitor.role < Role::Admin {
        return Err(Problem::role(visitor.role, Role::Admin));
    }
    desk.put_on_record(AuditEntry {
        at: desk.clock.now().wall,
        who: visitor.token.clone(),
        from: visitor.from(),
        action: "api",
        object: device.map_or_else(|| "devices".to_owned(), ToString::to_string),
        outcome: "values of persons shown".to_owned(),
    })
    .await
}

#[derive(Serialize, JsonSchema)]
pub struct Deliveries {
    endpoints: Vec<Endpoint>,
}

/// Of the site's endpoints, and of those that it does not name any more but has letters for.
pub async fn deliveries(State(desk): State<Arc<Desk>>) -> Result<Json<Deliveries>, Problem> {
    let kept = desk.look(|reader| reader.deliveries()).await?;
    let zone = &desk.place.zone;
    let find = |id: &str| kept.iter().find(|delivery| delivery.endpoint == id);
    let mut endpoints: Vec<Endpoint> =
        desk.place.endpoints.iter().map(|id| Endpoint::of(id, find(id), zone)).collect();
    let strangers =
        kept.iter().filter(|delivery| !desk.place.endpoints.iter().any(|id| **id == *delivery.endpoint));
    endpoints.extend(strangers.map(|delivery| Endpoint::of(&delivery.endpoint, Some(delivery), zone)));
    Ok(Json(Deliveries { endpoints }))
}
