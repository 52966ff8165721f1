//! What alarms, devices and deliveries look like to programs: the command line's `--json` and the network speak the same.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::{
        Acknowledgement, AlarmState, Diagnosis, Event, Hold, Overlay, Period, PointName, Priority, Quality,
        ReadingFact, Rescue, RescueStep, RescueWord, Text, TransitionKind, Voucher,
        status::{BusStatus, DeviceStatus, LinkState},
    },
    store::{AlarmRow, Delivery, Noted},
};

/// A moment in the site's own time, with offset and milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Moment(#[schemars(extend("format" = "date-time"))] String);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl Moment {
    pub fn of(at: Timestamp, zone: &TimeZone) -> Self {
        Self(at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
    }
}

/// Who, when, where from, and what was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Person {
    pub by: String,
    pub at: Moment,
    pub note: Option<String>,
    /// `cli`, `api:<token>(<role>)@<address>`, `mqtt:<endpoint>`, `http:<endpoint>`.
    pub from: String,
    pub vouched_by: Voucher,
}

impl Person {
    pub fn of(word: &Acknowledgement, zone: &TimeZone) -> Self {
        Self {
            by: word.by.clone(),
            at: Moment::of(word.at, zone),
            note: word.note.clone(),
            from: word.from.clone(),
            vouched_by: word.vouched_by(),
        }
    }

    pub fn of_note(noted: &Noted, zone: &TimeZone) -> Self {
        Self {
            by: noted.who.clone(),
            at: Moment::of(noted.at, zone),
            note: Some(noted.note.clone()),
            from: noted.from.clone(),
            vouched_by: Voucher::of(&noted.from),
        }
    }
}

/// Somebody keeps it from being announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    pub until: Moment,
    pub by: String,
    pub at: Moment,
    pub reason: Option<String>,
    pub from: String,
    pub vouched_by: Voucher,
    pub whole_device: bool,
}

impl Held {
    fn of(hold: &Hold, zone: &TimeZone) -> Self {
        Self {
            until: Moment::of(hold.until, zone),
            by: hold.order.by.clone(),
            at: Moment::of(hold.order.at, zone),
            reason: hold.order.note.clone(),
            from: hold.order.from.clone(),
            vouched_by: hold.order.vouched_by(),
            whole_device: hold.whole_device,
        }
    }
}

/// It comes and goes too often to be told each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Chattered {
    pub since: Moment,
    /// How often it was raised since then, and what made it chattering.
    pub raises: u64,
}

/// Nobody acknowledged: how often it was announced anew, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Escalated {
    pub step: u32,
    pub contact: Option<String>,
    pub endpoints: Vec<String>,
}

/// Help for someone shut in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RescueClock {
    pub limit: String,
    pub said: Option<RescueWord>,
    pub warnings: usize,
    pub dispatched: Option<Person>,
    pub arrived: Option<Person>,
    pub released: Option<Person>,
}

impl RescueClock {
    fn of(rescue: &Rescue, zone: &TimeZone) -> Self {
        let step = |step| rescue.step(step).map(|word| Person::of(word, zone));
        Self {
            limit: Period(rescue.limit).to_string(),
            said: rescue.said,
            warnings: rescue.warned,
            dispatched: step(RescueStep::Dispatched),
            arrived: step(RescueStep::Arrived),
            released: step(RescueStep::Released),
        }
    }
}

/// What lies over an alarm's state: only what is the case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Over {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<String>,
    /// False: nobody outside was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shelved: Option<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_service: Option<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chattering: Option<Chattered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<RescueClock>,
}

impl Over {
    pub fn of(overlay: &Overlay, zone: &TimeZone) -> Self {
        let escalation = overlay.escalation.as_ref().filter(|escalation| escalation.step > 0);
        Self {
            overlays: overlay.words().into_iter().map(str::to_owned).collect(),
            announced: overlay.untold.then_some(false),
            shelved: overlay.shelf.as_ref().map(|shelf| Held::of(shelf, zone)),
            out_of_service: overlay.out_of_service.as_ref().map(|out| Held::of(out, zone)),
            chattering: overlay.chattering.as_ref().map(|chattering| Chattered {
                since: Moment::of(chattering.since, zone),
                raises: chattering.raises,
            }),
            escalation: escalation.map(|escalation| Escalated {
                step: escalation.step,
                contact: escalation.contact.clone(),
                endpoints: escalation.endpoints.iter().map(ToString::to_string).collect(),
            }),
            rescue: overlay.rescue.as_ref().map(|rescue| RescueClock::of(rescue, zone)),
        }
    }
}

/// One occurrence of an alarm, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Alarm {
    pub id: String,
    /// The same as `id`.
    pub occurrence: String,
    pub device: String,
    pub alarm: String,
    /// The same as `alarm`.
    pub name: String,
    pub title: Text,
    pub priority: Priority,
    pub state: AlarmState,
    pub raised_at: Moment,
    pub returned_at: Option<Moment>,
    pub acknowledged: Option<Person>,
    /// Why it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub demo: bool,
    #[serde(flatten)]
    pub over: Over,
}

impl Alarm {
    pub fn of(row: &AlarmRow, zone: &TimeZone) -> Self {
        Self {
            id: row.occurrence.clone(),
            occurrence: row.occurrence.clone(),
            device: row.device.clone(),
            alarm: row.alarm.clone(),
            name: row.alarm.clone(),
            title: row.title.clone(),
            priority: row.priority,
            state: row.state,
            raised_at: Moment::of(row.raised_at, zone),
            returned_at: row.returned_at.map(|at| Moment::of(at, zone)),
            acknowledged: row.acknowledged.as_ref().map(|word| Person::of(word, zone)),
            reason: row.reason.clone(),
            demo: row.demo,
            over: Over::of(&row.overlay, zone),
        }
    }
}

/// One step of an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    pub seq: u64,
    pub id: String,
    pub at: Moment,
    pub step: TransitionKind,
    pub state: AlarmState,
    pub rescue: Option<RescueWord>,
    pub who: Option<Person>,
    /// False: it is on record, and nobody outside was told.
    pub announced: bool,
}

impl Step {
    pub fn of(event: &Event, zone: &TimeZone) -> Self {
        Self {
            seq: event.seq,
            id: event.id.clone(),
            at: Moment::of(event.at, zone),
            step: event.kind,
            state: event.alarm.state,
            rescue: said(event),
            who: who(event).map(|word| Person::of(word, zone)),
            announced: !event.alarm.withheld,
        }
    }
}

/// What was said of the rescue, if that is what the step is.
pub fn said(event: &Event) -> Option<RescueWord> {
    let rescue = event.alarm.overlay.rescue.as_ref().filter(|_| event.kind == TransitionKind::Rescue);
    rescue.and_then(|rescue| rescue.said)
}

/// Who took the step, if a person did.
pub fn who(event: &Event) -> Option<&Acknowledgement> {
    let acknowledged = event.alarm.acknowledged.as_ref();
    event.alarm.done.as_ref().or(acknowledged.filter(|_| event.kind == TransitionKind::Acknowledged))
}

/// One alarm from its first step to its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct History {
    pub occurrence: String,
    pub device: String,
    pub alarm: String,
    pub title: Text,
    pub priority: Priority,
    pub state: AlarmState,
    pub raised_at: Moment,
    pub acknowledged: Option<Person>,
    /// Why it was closed.
    pub reason: Option<String>,
    pub steps: Vec<Step>,
    /// What people left word of, and who acknowledged it again.
    pub notes: Vec<Person>,
    #[serde(flatten)]
    pub over: Over,
}

impl History {
    /// None of no events.
    pub fn of(events: &[Event], notes: &[Noted], overlay: &Overlay, zone: &TimeZone) -> Option<Self> {
        let Event { device, alarm, .. } = events.last()?;
        Some(Self {
            occurrence: alarm.occurrence.to_string(),
            device: device.id.to_string(),
            alarm: alarm.name.to_string(),
            title: alarm.title.clone(),
            priority: alarm.priority,
            state: alarm.state,
            raised_at: Moment::of(alarm.raised_at, zone),
            acknowledged: alarm.acknowledged.as_ref().map(|word| Person::of(word, zone)),
            reason: alarm.reason.clone(),
            steps: events.iter().map(|event| Step::of(event, zone)).collect(),
            notes: notes.iter().map(|noted| Person::of_note(noted, zone)).collect(),
            over: Over::of(overlay, zone),
        })
    }
}

/// A number, a flag, a word; null without one.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Reading {
    #[schemars(schema_with = "any_value")]
    pub value: Option<crate::domain::Value>,
    pub unit: String,
    pub quality: Quality,
    pub at: Moment,
    /// There is a value, and it is not for these eyes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// How a value looks.
pub fn any_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["number", "boolean", "string", "null"] })
}

pub type Readings = BTreeMap<PointName, Reading>;

/// Readings as whoever may see only what `may_see` says sees them.
pub fn readings(
    facts: &BTreeMap<PointName, ReadingFact>,
    may_see: impl Fn(&ReadingFact) -> bool,
    zone: &TimeZone,
) -> Readings {
    let shown = facts.iter().map(|(point, fact)| {
        let visible = may_see(fact);
        let reading = Reading {
            value: fact.value.clone().filter(|_| visible),
            unit: fact.unit.clone(),
            quality: fact.quality,
            at: Moment::of(fact.at, zone),
            masked: fact.value.is_some() && !visible,
        };
        (point.clone(), reading)
    });
    shown.collect()
}

/// A device, whether it answers, and what its points showed last.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Device {
    pub id: String,
    pub name: String,
    pub class: String,
    pub profile: String,
    pub bus: String,
    pub link: LinkState,
    pub answered_at: Option<Moment>,
    /// What is wrong with it, and what to look at, the likeliest first.
    pub trouble: Option<Trouble>,
    pub readings: Readings,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Trouble {
    pub kind: String,
    pub what: Text,
    pub checks: Vec<Text>,
}

impl Trouble {
    fn of(diagnosis: Diagnosis) -> Self {
        let Diagnosis { kind, what, checks } = diagnosis;
        Self { kind, what, checks }
    }
}

impl Device {
    pub fn of(status: DeviceStatus, readings: Readings, zone: &TimeZone) -> Self {
        Self {
            id: status.id.to_string(),
            name: status.name,
            class: status.class.to_string(),
            profile: status.profile,
            bus: status.bus.to_string(),
            link: status.link,
            answered_at: status.answered_at.map(|at| Moment::of(at, zone)),
            trouble: status.diagnosis.map(Trouble::of),
            readings,
        }
    }
}

/// What a line did since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bus {
    pub id: String,
    pub requests: u64,
    pub answers: u64,
    pub silences: u64,
    pub garbled: u64,
    pub refusals: u64,
    pub late: u64,
    /// How much of its time the line was busy lately, in thousandths.
    pub busy_permille: u64,
}

impl Bus {
    pub fn of(bus: &BusStatus) -> Self {
        Self {
            id: bus.id.to_string(),
            requests: bus.requests,
            answers: bus.answers,
            silences: bus.silences,
            garbled: bus.garbled,
            refusals: bus.refusals,
            late: bus.late,
            busy_permille: bus.busy_permille,
        }
    }
}

/// How an endpoint's letters stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Endpoint {
    pub id: String,
    pub queued: u64,
    pub delivered: u64,
    pub set_aside: u64,
    /// Of what is queued: of critical alarms.
    pub critical: u64,
    /// When the event of the oldest queued letter was.
    pub oldest: Option<Moment>,
    pub last_delivered: Option<Moment>,
    pub next_at: Option<Moment>,
    /// The kind of trouble, as a word, and what it was.
    pub trouble: Option<String>,
    pub failing: Option<Text>,
}

impl Endpoint {
    pub fn of(id: &str, delivery: Option<&Delivery>, zone: &TimeZone) -> Self {
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::of(at, zone));
        Self {
            id: id.to_owned(),
            queued: delivery.map_or(0, |delivery| delivery.queued),
            delivered: delivery.map_or(0, |delivery| delivery.delivered),
            set_aside: delivery.map_or(0, |delivery| delivery.set_aside),
            critical: delivery.map_or(0, |delivery| delivery.critical),
            oldest: moment(delivery.and_then(|delivery| delivery.oldest)),
            last_delivered: moment(delivery.and_then(|delivery| delivery.last_delivered)),
            next_at: moment(delivery.and_then(|delivery| delivery.next_at)),
            trouble: delivery.and_then(|delivery| delivery.hindrance.clone()),
            failing: delivery.and_then(|delivery| delivery.last_error.clone()),
        }
    }
}
