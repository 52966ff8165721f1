//! The body of a letter: one CloudEvents 1.0 JSON object, keys in the order of the contract, the same bytes for the same input.
//!
//! A field whose data class the endpoint may not see is not in the body at all: readings by their own class, the device's
//! tags as operational, the person in an acknowledgement as personal.

mod credit;
mod over;
mod summary;

use std::collections::BTreeMap;

use jiff::{Timestamp, fmt::temporal::DateTimePrinter, tz::TimeZone};
use serde::{Serialize, Serializer};

use self::{credit::Credit, over::Over, summary::Summary};
use super::Wants;
use crate::{
    domain::{
        Acknowledgement, AlarmName, AlarmState, ClassName, DataClass, DeviceId, EndpointId, Event,
        HeadStatement, Loss, LossClass, LossReason, OccurrenceId, Origin, PointName, Priority, PutRight,
        Quality, ReadingFact, SignedHead, SiteFacts, Suite, Text, TimeQuality, TransitionKind, Value,
        Voucher,
    },
    store::evidence::{Durability, Sealed, hex},
};

/// The frozen body for an endpoint with these `wants`; times carry the offset of `site_timezone` and milliseconds.
pub fn body(sealed: &Sealed, endpoint: &EndpointId, wants: &Wants, site_timezone: &TimeZone) -> Vec<u8> {
    let view = View {
        event: &sealed.event,
        put_right: sealed.put_right.as_ref(),
        endpoint,
        wants,
        timezone: site_timezone,
    };
    serde_json::to_vec(&view.envelope(sealed)).expect("text keys and finite numbers are always JSON")
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    gatehouseseq: u64,
    gatehouseepoch: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    site: &'a SiteFacts,
    device: Device<'a>,
    #[serde(flatten)]
    told: Told<'a>,
    time_quality: TimeQuality,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_corrected: Option<Corrected>,
    durability: Durability,
    demo: bool,
    evidence: Evidence<'a>,
}

/// The clock was set after this was written down: the times here are by the clock that was set, `time_quality` says what that one
/// is worth. This is how it stands in the evidence.
#[derive(Serialize)]
struct Corrected {
    stamped: String,
    stamped_quality: TimeQuality,
    shift_ms: i64,
}

/// What the event is about.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Alarm { alarm: Alarm<'a>, readings: BTreeMap<&'a PointName, Reading<'a>> },
    Losses { losses: Vec<Lost<'a>> },
    Summary { summary: Summary<'a> },
    Credit { credit: Box<Credit<'a>> },
}

/// Something that was given up.
#[derive(Serialize)]
struct Lost<'a> {
    class: LossClass,
    reason: LossReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seq: Option<u64>,
    count: u64,
    /// There may have been more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    at_least: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

#[derive(Serialize)]
struct Device<'a> {
    id: &'a DeviceId,
    name: &'a str,
    class: &'a ClassName,
    profile: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct Alarm<'a> {
    name: &'a AlarmName,
    occurrence: &'a OccurrenceId,
    priority: Priority,
    state: AlarmState,
    title: &'a Text,
    origin: Origin,
    raised_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Acknowledged<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    over: Box<Over<'a>>,
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    from: &'a str,
    vouched_by: Voucher,
}

#[derive(Serialize)]
struct Reading<'a> {
    value: Shown<'a>,
    unit: &'a str,
    quality: Quality,
    at: String,
}

#[derive(Serialize)]
struct Evidence<'a> {
    seq: u64,
    hash: String,
    prev_hash: String,
    /// What it is hashed with, unless that is SHA-256.
    #[serde(skip_serializing_if = "Suite::is_international")]
    alg: Suite,
    /// The latest signed end of the chain: what the receiver holds, the box cannot take back.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Head<'a>>,
}

#[derive(Serialize)]
struct Head<'a> {
    seq: u64,
    hash: String,
    /// The bytes that were signed; they name `seq` and `hash`, and the time.
    signed: &'a str,
    signature: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Suite::is_international")]
    alg: Suite,
}

impl<'a> Head<'a> {
    fn of(head: &'a SignedHead) -> Option<Self> {
        let HeadStatement { seq, hash, alg, .. } = head.statement()?;
        Some(Self { seq, hash, signed: &head.signed, signature: &head.signature, key: &head.key, alg })
    }
}

/// One event through the eyes of one endpoint.
struct View<'a> {
    event: &'a Event,
    put_right: Option<&'a PutRight>,
    endpoint: &'a EndpointId,
    wants: &'a Wants,
    timezone: &'a TimeZone,
}

impl<'a> View<'a> {
    fn envelope(&self, sealed: &Sealed) -> Envelope<'a> {
        let event = self.event;
        Envelope {
            specversion: "1.0",
            id: &event.id,
            source: format!("/gatehouse/{}", event.site.id),
            kind: type_of(event),
            subject: event.key().to_string(),
            time: self.time(event.at),
            datacontenttype: "application/json",
            gatehouseseq: event.seq,
            gatehouseepoch: &event.epoch,
            data: Data {
                site: &event.site,
                device: self.device(),
                told: self.told(),
                time_quality: self.put_right.map_or(event.time_quality, |put| put.quality),
                time_corrected: self.put_right.map(|put| Corrected {
                    stamped: time(event.at, self.timezone),
                    stamped_quality: event.time_quality,
                    shift_ms: i64::try_from(put.shift.as_millis()).unwrap_or(i64::MAX),
                }),
                durability: sealed.durability,
                demo: event.demo,
                evidence: Evidence {
                    seq: event.seq,
                    hash: hex(&sealed.hash),
                    prev_hash: hex(&sealed.prev_hash),
                    alg: event.alg,
                    head: event.head.as_ref().and_then(Head::of),
                },
            },
        }
    }

    fn device(&self) -> Device<'a> {
        let device = &self.event.device;
        Device {
            id: &device.id,
            name: &device.name,
            class: &device.class,
            profile: &device.profile,
            tags: self.may_see(DataClass::Operational).then_some(&device.tags),
        }
    }

    fn told(&self) -> Told<'a> {
        if self.event.is_loss_report() {
            let mine = self.event.losses.iter().filter(|loss| self.wants.misses(self.endpoint, loss));
            return Told::Losses { losses: mine.map(|loss| self.lost(loss)).collect() };
        }
        if let Some(credit) = &self.event.credit {
            return Told::Credit { credit: Box::new(self.credit(credit)) };
        }
        if self.event.kind == TransitionKind::Summary {
            return Told::Summary { summary: self.summary() };
        }
        Told::Alarm { alarm: self.alarm(), readings: self.readings() }
    }

    fn lost(&self, loss: &'a Loss) -> Lost<'a> {
        let seq = |seq| Some(seq).filter(|seq| *seq > 0);
        Lost {
            class: loss.class,
            reason: loss.reason,
            subject: loss.subject.as_deref(),
            first_seq: seq(loss.first_seq),
            last_seq: seq(loss.last_seq),
            count: loss.count,
            at_least: loss.at_least,
            from: loss.from.map(|at| self.time(at)),
            to: loss.to.map(|at| self.time(at)),
        }
    }

    fn alarm(&self) -> Alarm<'a> {
        let alarm = &self.event.alarm;
        Alarm {
            name: &alarm.name,
            occurrence: &alarm.occurrence,
            priority: alarm.priority,
            state: alarm.state,
            title: &alarm.title,
            origin: alarm.origin,
            raised_at: self.time(alarm.raised_at),
            returned_at: alarm.returned_at.map(|at| self.time(at)),
            acknowledged: alarm.acknowledged.as_ref().map(|ack| self.person(ack)),
            reason: alarm.reason.as_deref(),
            over: Box::new(self.over()),
        }
    }

    fn person(&self, word: &'a Acknowledgement) -> Acknowledged<'a> {
        let person = self.may_see(DataClass::Personal);
        Acknowledged {
            by: person.then_some(word.by.as_str()),
            at: self.time(word.at),
            note: word.note.as_deref().filter(|_| person),
            from: self.from(&word.from),
            vouched_by: word.vouched_by(),
        }
    }

    /// A token may have a person's name.
    fn from(&self, from: &'a str) -> &'a str {
        match Voucher::of(from) {
            Voucher::ApiToken if !self.may_see(DataClass::Personal) => "api",
            Voucher::ApiToken
            | Voucher::LocalCommandLine
            | Voucher::MqttEndpoint
            | Voucher::HttpReply
            | Voucher::Gateway => from,
        }
    }

    fn readings(&self) -> BTreeMap<&'a PointName, Reading<'a>> {
        let visible = self.event.readings.iter().filter(|(_, reading)| match reading.card {
            true => self.wants.may_see_card(),
            false => self.may_see(reading.data),
        });
        visible.map(|(point, reading)| (point, self.reading(reading))).collect()
    }

    fn reading(&self, reading: &'a ReadingFact) -> Reading<'a> {
        Reading {
            value: Shown(reading.value.as_ref()),
            unit: &reading.unit,
            quality: reading.quality,
            at: self.time(reading.at),
        }
    }

    fn may_see(&self, data: DataClass) -> bool {
        self.wants.may_see(data)
    }

    fn time(&self, at: Timestamp) -> String {
        time(self.put_right.map_or(at, |put| put.time(at)), self.timezone)
    }
}

/// RFC 3339 with the site's offset and milliseconds.
pub(super) fn time(at: Timestamp, timezone: &TimeZone) -> String {
    const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    MILLISECONDS.timestamp_with_offset_to_string(&at, timezone.to_offset(at))
}

/// A receiver that knows only `raised` hears of every alarm that is open: also of one that was held back from its beginning.
fn type_of(event: &Event) -> &'static str {
    match event.kind {
        _ if event.is_loss_report() => "gatehouse.loss_report",
        _ if event.alarm.announced => "gatehouse.alarm.raised",
        TransitionKind::Raised => "gatehouse.alarm.raised",
        TransitionKind::Acknowledged => "gatehouse.alarm.acknowledged",
        TransitionKind::Returned => "gatehouse.alarm.returned",
        TransitionKind::Closed => "gatehouse.alarm.closed",
        TransitionKind::Shelved => "gatehouse.alarm.shelved",
        TransitionKind::Unshelved => "gatehouse.alarm.unshelved",
        TransitionKind::Suppressed => "gatehouse.alarm.suppressed",
        TransitionKind::Unsuppressed => "gatehouse.alarm.unsuppressed",
        TransitionKind::OutOfService => "gatehouse.alarm.out_of_service",
        TransitionKind::InService => "gatehouse.alarm.in_service",
        TransitionKind::Escalated => "gatehouse.alarm.escalated",
        TransitionKind::Rescue => "gatehouse.alarm.rescue",
        TransitionKind::Chattering => "gatehouse.alarm.chattering",
        // what was not told meanwhile
        TransitionKind::Calmed if event.alarm.state == AlarmState::ReturnedUnacknowledged => {
            "gatehouse.alarm.returned"
        }
        TransitionKind::Calmed => "gatehouse.alarm.calmed",
        TransitionKind::Summary => "gatehouse.summary",
        TransitionKind::Drill => "gatehouse.drill",
        TransitionKind::Credit => "gatehouse.kiosk.credit",
    }
}

/// A value as it leaves the box: whole numbers without a fraction (7, not 7.0), all others in the shortest text that reads back
/// to the same double.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a>(pub Option<&'a Value>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        write_value(self.0, to)
    }
}

fn write_value<S: Serializer>(value: Option<&Value>, to: S) -> Result<S::Ok, S::Error> {
    /// 2⁵³: up to here every whole double is one whole number and no other.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    match value {
        None => to.serialize_none(),
        Some(Value::Flag(flag)) => to.serialize_bool(*flag),
        Some(Value::Text(text)) => to.serialize_str(text),
        Some(Value::Number(n))
            if n.fract() == 0.0 && n.abs() <= WHOLE && !(*n == 0.0 && n.is_sign_negative()) =>
        {
            to.serialize_i64(*n as i64)
        }
        Some(Value::Number(n)) => to.serialize_f64(*n),
    }
}

#[cfg(test)]
mod tests;
