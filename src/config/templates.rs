//! A body template, tried on every alarm that its endpoint wants before anything is sent by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use secrecy::ExposeSecret;

use super::{desk::Desk, secret::Secrets};
use crate::{
    document::Step,
    domain::{
        Acknowledgement, AlarmFacts, AlarmName, AlarmState, DeviceFacts, Event, Kind as PointKind, Overlay,
        Quality, ReadingFact, SiteFacts, Suite, Text, TimeQuality, TransitionKind, Value,
    },
    profile::{Class, ClassAlarm, ClassPoint, Device, Library},
    store::evidence,
    text,
    uplink::{Drill, Template, Wants, envelope},
};

/// What `template` is for, if nothing is said.
const JSON: &str = "application/json";

/// Where it is written, and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub path: &'a [Step<'a>],
    pub file: &'a Path,
    pub content_type: Option<&'a str>,
    pub codes: &'a BTreeMap<String, String>,
    pub wants: &'a Wants,
}

/// What the site has that alarms can be of.
#[derive(Clone, Copy)]
pub(super) struct Fleet<'a> {
    pub profiles: &'a Library,
    pub devices: &'a [Device],
}

/// The steps that every alarm takes, and how it stands then.
const STEPS: [(TransitionKind, AlarmState); 4] = [
    (TransitionKind::Raised, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Acknowledged, AlarmState::ActiveAcknowledged),
    (TransitionKind::Returned, AlarmState::ReturnedUnacknowledged),
    (TransitionKind::Closed, AlarmState::Closed),
];
/// Those that only people, a design or time bring about.
const STEPS_OVER_IT: [(TransitionKind, AlarmState); 10] = [
    (TransitionKind::Shelved, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Unshelved, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Suppressed, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Unsuppressed, AlarmState::ActiveUnacknowledged),
    (TransitionKind::OutOfService, AlarmState::ActiveUnacknowledged),
    (TransitionKind::InService, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Escalated, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Rescue, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Chattering, AlarmState::ActiveUnacknowledged),
    (TransitionKind::Calmed, AlarmState::ActiveUnacknowledged),
];

/// The template, if it can say everything it will have to say. It is no secret: where files are only named, it is had if it
/// can be, for what is written while the gateway rests.
pub(super) fn template(desk: &mut Desk<'_>, written: Written<'_>, fleet: Fleet<'_>) -> Option<Template> {
    let Written { path, file, content_type, codes, wants } = written;
    if desk.vault.secrets == Secrets::Named {
        let kept = desk.vault.read(file).ok()?;
        let source = String::from_utf8(kept.bytes.expose_secret().to_vec()).ok()?;
        return Template::compile(source, content_type.unwrap_or(JSON), codes).ok();
    }
    let kept = desk.vault.read(file).map_err(|why| desk.error(path, why)).ok()?;
    let Ok(source) = String::from_utf8(kept.bytes.expose_secret().to_vec()) else {
        desk.error(path, text!("模板不是 UTF-8 文本", "the template is not UTF-8 text"));
        return None;
    };
    let compiled =
        Template::compile(source, content_type.unwrap_or(JSON), codes).map_err(|error| error.text());
    let template = compiled.and_then(|template| tell_all(&template, wants, fleet, &STEPS).map(|()| template));
    let template = match template {
        Ok(template) => template,
        Err(Text { zh, en }) => {
            let file = file.display();
            desk.error(path, text!("模板 {file} 不能用：{zh}", "the template {file} cannot be used: {en}"));
            return None;
        }
    };
    if let Err(error) = template.render(&Drill::specimen().body(&TimeZone::UTC)) {
        let Text { zh, en } = error.text();
        let told = text!(
            "模板说不了演练（type == \"gatehouse.drill\"）：{zh}；delivery test 和定时演练因此不能用",
            "the template cannot tell of a drill (type == \"gatehouse.drill\"), so there is no `delivery test` and no drill by the clock: {en}"
        );
        desk.warning(path, told);
    }
    if let Err(Text { zh, en }) = tell_all(&template, wants, fleet, &STEPS_OVER_IT) {
        let told = text!(
            "模板说不了搁置、停用、升级或救援：{zh}；这些消息改用 CloudEvents 格式发送",
            "the template cannot tell of shelving, service, escalation or rescue, so that such letters go as CloudEvents: {en}"
        );
        desk.warning(path, told);
    }
    Some(template)
}

/// Every alarm of every kind of device that is wanted, at each of these steps.
fn tell_all(
    template: &Template,
    wants: &Wants,
    fleet: Fleet<'_>,
    steps: &[(TransitionKind, AlarmState)],
) -> Result<(), Text> {
    for class in wants.classes.iter().filter_map(|name| fleet.profiles.class(name)) {
        for device in kinds(&class, fleet.devices) {
            for (alarm, event) in device.specimens(&class, steps) {
                let device = &device.facts.id;
                tried(template, event, wants).map_err(|Text { zh, en }| {
                    text!(
                        "说不了 {device} 的报警 {alarm}：{zh}",
                        "it cannot tell of {alarm} of {device}: {en}"
                    )
                })?;
            }
        }
    }
    Ok(())
}

fn tried(template: &Template, event: Event, wants: &Wants) -> Result<(), Text> {
    let sealed =
        evidence::seal(event, evidence::Hash::default()).map_err(|error| text!("{error}", "{error}"))?;
    let object = envelope::body(&sealed, &"specimen".into(), wants, &TimeZone::UTC);
    template.render(&object).map(drop).map_err(|error| error.text())
}

/// A device as far as an alarm of it tells.
struct Kind<'a> {
    facts: DeviceFacts,
    points: Vec<&'a ClassPoint>,
}

/// The devices of a class that differ in what can be told of them: one for each product and set of tags. A class without a
/// device gets one that has every point.
fn kinds<'a>(class: &'a Class, devices: &[Device]) -> Vec<Kind<'a>> {
    let mut seen = BTreeSet::new();
    let of_class = devices.iter().filter(|device| device.profile.class.name == class.name);
    let new = of_class.filter(|device| {
        let tags: Vec<&str> = device.tags.keys().map(String::as_str).collect();
        seen.insert((device.profile.id.as_str(), tags))
    });
    let kinds: Vec<Kind> = new
        .map(|device| {
            let points = device.profile.points.iter().filter_map(|point| class.point(&point.name));
            Kind { facts: device.facts(), points: points.collect() }
        })
        .collect();
    if !kinds.is_empty() {
        return kinds;
    }
    let facts = DeviceFacts {
        id: class.name.as_str().into(),
        name: class.title.zh.clone(),
        class: class.name.clone(),
        profile: format!("{}/specimen@1", class.name),
        tags: BTreeMap::new(),
    };
    vec![Kind { facts, points: class.points.iter().collect() }]
}

impl Kind<'_> {
    /// Every alarm at each of the steps: with all values there, and with none.
    fn specimens(&self, class: &Class, steps: &[(TransitionKind, AlarmState)]) -> Vec<(AlarmName, Event)> {
        let mut specimens = Vec::new();
        for alarm in &class.alarms {
            for step in steps {
                for there in [true, false] {
                    specimens.push((alarm.name.clone(), self.specimen(alarm, *step, there)));
                }
            }
        }
        specimens
    }

    fn specimen(
        &self,
        alarm: &ClassAlarm,
        (kind, state): (TransitionKind, AlarmState),
        there: bool,
    ) -> Event {
        let at = Timestamp::UNIX_EPOCH;
        let later = kind != TransitionKind::Raised && there;
        let (by, from) = ("张伟".to_owned(), "cli".to_owned());
        let acknowledged = later.then(|| Acknowledgement { by, at, note: Some("-".to_owned()), from });
        Event {
            id: "0".repeat(32),
            seq: 1,
            epoch: "0".to_owned(),
            kind,
            at,
            site: SiteFacts { id: "site".to_owned(), name: "小区".to_owned() },
            device: self.facts.clone(),
            alarm: AlarmFacts {
                name: alarm.name.clone(),
                occurrence: "0-1".into(),
                priority: alarm.priority,
                state,
                title: alarm.title.clone(),
                origin: alarm.origin,
                raised_at: at,
                returned_at: later.then_some(at),
                acknowledged,
                reason: None,
                overlay: Overlay::default(),
                done: None,
                withheld: false,
                announced: false,
                chattered: None,
                summarised: false,
            },
            readings: self.points.iter().map(|point| (point.name.clone(), reading(point, there))).collect(),
            time_quality: TimeQuality::Synced,
            boot_id: "0".to_owned(),
            mono_ms: 0,
            demo: false,
            losses: Vec::new(),
            summary: Vec::new(),
            more: 0,
            credit: None,
            head: None,
            alg: Suite::default(),
        }
    }
}

fn reading(point: &ClassPoint, there: bool) -> ReadingFact {
    let value = match point.kind {
        PointKind::Number => Value::Number(1.5),
        PointKind::Flag => Value::Flag(true),
        PointKind::Choice => {
            Value::Text(point.values.first().map_or_else(|| "-".into(), |word| word.to_string().into()))
        }
        PointKind::Text => Value::Text("字".into()),
    };
    ReadingFact {
        value: there.then_some(value),
        unit: point.unit.clone(),
        quality: if there { Quality::Good } else { Quality::CommFail },
        at: Timestamp::UNIX_EPOCH,
        data: point.data,
        card: point.card,
    }
}
