//! Who is told of a transition. Pure: it runs inside the commit, so that letter and event are stored together or not at all.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::tz::TimeZone;
use tracing::error;

use super::{Drill, Template, Wants, envelope};
use crate::{
    domain::{
        ClassName, DataClass, DeviceId, EndpointId, Event, Letter, OccurrenceId, Summarised, TransitionKind,
    },
    store::{evidence::Sealed, privacy::Privacy},
};

/// The endpoint as a device of the gateway's own; no device of a site can be called so.
pub fn own_device(endpoint: &EndpointId) -> DeviceId {
    format!("endpoint:{endpoint}").into()
}

pub struct Router {
    timezone: TimeZone,
    endpoints: Vec<(EndpointId, Wants)>,
    /// Who was written to, before the start, about what was open then.
    told: HashMap<OccurrenceId, Vec<EndpointId>>,
    /// Whose letters have a form of their own.
    templates: HashMap<EndpointId, Template>,
    /// The classes of the devices on the gateway's own lines.
    classes_on: HashMap<DeviceId, BTreeSet<ClassName>>,
    /// Seals bodies with fields of persons in them.
    privacy: Option<Arc<Privacy>>,
}

impl Router {
    /// `timezone`: the site's, for the times in the bodies.
    pub fn new(timezone: TimeZone, endpoints: Vec<(EndpointId, Wants)>) -> Self {
        Self {
            timezone,
            endpoints,
            told: HashMap::new(),
            templates: HashMap::new(),
            classes_on: HashMap::new(),
            privacy: None,
        }
    }

    /// Keeps telling those who were `told` of an occurrence that was open at the start (`store::Recovered::told`), though
    /// the site's priorities or their `wants` are others now.
    pub fn keep_telling(mut self, told: Vec<(OccurrenceId, EndpointId)>) -> Self {
        for (occurrence, endpoint) in told {
            self.told.entry(occurrence).or_default().push(endpoint);
        }
        self
    }

    /// A line's own alarms go to whoever wants those of any class that hangs on it: while it is down, none of them can raise one.
    pub fn standing_for(self, classes_on: HashMap<DeviceId, BTreeSet<ClassName>>) -> Self {
        Self { classes_on, ..self }
    }

    /// Letters to these endpoints are written in the platform's own words.
    pub fn in_their_words(self, templates: HashMap<EndpointId, Template>) -> Self {
        Self { templates, ..self }
    }

    /// Bodies with fields of persons in them lie sealed until they go.
    pub fn sealing(self, privacy: Option<Arc<Privacy>>) -> Self {
        Self { privacy, ..self }
    }

    /// One letter for each endpoint that wants the alarm or was told of it, its body frozen here.
    pub fn address(&self, sealed: &Sealed) -> Vec<Letter> {
        let event = &sealed.event;
        if event.kind == TransitionKind::Drill {
            let meant = self.endpoints.iter().filter(|(endpoint, _)| event.device.id == own_device(endpoint));
            return meant.map(|(endpoint, wants)| self.letter(endpoint, wants, sealed)).collect();
        }
        if event.is_loss_report() {
            let addressed =
                self.endpoints.iter().filter(|(endpoint, wants)| concerns(event, endpoint, wants));
            return addressed.map(|(endpoint, wants)| self.letter(endpoint, wants, sealed)).collect();
        }
        if event.credit.is_some() {
            let addressed =
                self.endpoints.iter().filter(|(_, wants)| wants.is_credit_wanted(&event.device.class));
            return addressed.map(|(endpoint, wants)| self.letter(endpoint, wants, sealed)).collect();
        }
        if event.kind == TransitionKind::Summary {
            // A platform with words of its own was told singly.
            let addressed = self.endpoints.iter().filter(|(endpoint, wants)| {
                let wanted =
                    |one: &Summarised| wants.is_alarm_wanted(one.priority, std::iter::once(&one.class));
                !self.templates.contains_key(endpoint) && event.summary.iter().any(wanted)
            });
            return addressed.map(|(endpoint, wants)| self.letter(endpoint, wants, sealed)).collect();
        }
        if event.alarm.withheld {
            return Vec::new();
        }
        let told = self.told.get(&event.alarm.occurrence).map_or(&[][..], Vec::as_slice);
        // who only has to hear how it ends sees no reading, tag or person of what it does not want
        let nothing_more = Wants::default();
        let addressed =
            self.endpoints.iter().filter_map(|(endpoint, wants)| match self.is_wanted(wants, event) {
                true => Some((endpoint, wants)),
                // the next contact is named by the site itself: it may see what its `wants` let it
                false if is_called(event, endpoint) => Some((endpoint, wants)),
                false => told.contains(endpoint).then_some((endpoint, &nothing_more)),
            });
        let singly = addressed
            .filter(|(endpoint, _)| !event.alarm.summarised || self.templates.contains_key(*endpoint));
        singly.map(|(endpoint, wants)| self.letter(endpoint, wants, sealed)).collect()
    }

    /// Never by kind of transition: who was told of the raise is told of the end.
    fn is_wanted(&self, wants: &Wants, event: &Event) -> bool {
        let on_it = self.classes_on.get(&event.device.id).into_iter().flatten();
        wants.is_alarm_wanted(event.alarm.priority, on_it.chain([&event.device.class]))
    }

    fn letter(&self, endpoint: &EndpointId, wants: &Wants, sealed: &Sealed) -> Letter {
        let event = &sealed.event;
        let (body, content_type) = self.body(endpoint, sealed, wants);
        Letter {
            row: 0,
            endpoint: endpoint.clone(),
            event_id: event.id.clone(),
            seq: event.seq,
            key: event.key(),
            priority: event.alarm.priority,
            attempts: 0,
            body: body.into(),
            content_type,
            provisional: false,
        }
    }
}

impl Router {
    /// What a template cannot say goes as it is: an alarm that the receiver finds odd is better than none.
    fn dress(&self, endpoint: &EndpointId, object: Vec<u8>) -> (Vec<u8>, Option<String>) {
        let Some(template) = self.templates.get(endpoint) else { return (object, None) };
        match template.render(&object) {
            Ok(body) => (body, Some(template.content_type().to_owned())),
            Err(error) => {
                let why = error.text().en;
                error!(%endpoint, why, "The template has no words for an alarm; it is sent as a CloudEvents object.");
                (object, None)
            }
        }
    }

    /// As it lies in the outbox, and what it is sent as.
    fn body(&self, endpoint: &EndpointId, sealed: &Sealed, wants: &Wants) -> (Vec<u8>, Option<String>) {
        if sealed.event.kind == TransitionKind::Drill {
            let object = Drill::of(&sealed.event).object(&sealed.event.id, &self.timezone);
            return self.dress(endpoint, object);
        }
        let open =
            |wants: &Wants| self.dress(endpoint, envelope::body(sealed, endpoint, wants, &self.timezone));
        let (body, content_type) = open(wants);
        match &self.privacy {
            Some(privacy) if has_private(&sealed.event, wants) => match privacy.seal_body(&body) {
                Some(body) => (body, content_type),
                // no key to seal it under: then without what would need one
                None => {
                    let data = wants.data.iter().copied().filter(|data| !data.is_private()).collect();
                    open(&Wants { data, ..wants.clone() })
                }
            },
            Some(_) | None => (body, content_type),
        }
    }
}

/// Whether a body for these `wants` has a field of a person.
fn has_private(event: &Event, wants: &Wants) -> bool {
    let seen = |data: DataClass| data.is_private() && wants.may_see(data);
    let alarm = &event.alarm;
    let named = alarm.acknowledged.is_some() || alarm.done.is_some() || !alarm.overlay.is_plain();
    let named = named || event.credit.is_some();
    (named && seen(DataClass::Personal)) || event.readings.values().any(|reading| seen(reading.data))
}

/// Nobody acknowledged, and it was this one's turn; from then on it hears how it goes on.
fn is_called(event: &Event, endpoint: &EndpointId) -> bool {
    let escalation = event.alarm.overlay.escalation.as_ref();
    escalation.is_some_and(|escalation| escalation.endpoints.contains(endpoint))
}

/// Whether something of what was lost was meant for it.
fn concerns(event: &Event, endpoint: &EndpointId, wants: &Wants) -> bool {
    event.losses.iter().any(|loss| wants.misses(endpoint, loss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Escalation, Priority},
        uplink::sample,
    };

    fn told(wants: Wants) -> bool {
        let router = Router::new(TimeZone::UTC, vec![("inspection".into(), wants)]);
        !router.address(&sample::sealed(sample::raised())).is_empty()
    }

    fn wants(classes: &[&str], priorities: &[Priority]) -> Wants {
        Wants {
            classes: classes.iter().map(|&class| class.into()).collect(),
            priorities: priorities.to_vec(),
            ..Wants::default()
        }
    }

    #[test]
    fn a_drill_goes_to_the_endpoint_that_it_tests() {
        let endpoints =
            vec![("a".into(), Wants::default()), ("b".into(), wants(&["endpoint"], &[Priority::Medium]))];
        let mut drill = sample::raised();
        drill.kind = TransitionKind::Drill;
        drill.device.id = own_device(&"a".into());
        let letters = Router::new(TimeZone::UTC, endpoints).address(&sample::sealed(drill));
        let to = letters.iter().map(|letter| letter.endpoint.as_str()).collect::<Vec<_>>();
        assert_eq!(to, ["a"]);
        let body: serde_json::Value = serde_json::from_slice(&letters[0].body).unwrap();
        assert_eq!(
            (&body["type"], &body["id"]),
            (&"gatehouse.drill".into(), &letters[0].event_id.as_str().into())
        );
        assert_eq!((body["data"].get("alarm"), body["data"].get("device")), (None, None), "it is no alarm");
    }

    #[test]
    fn nothing_leaves_that_is_not_named() {
        use Priority::{Critical, High, Low, Medium};
        // the sample is a critical alarm of an elevator
        let facts = [
            ("nothing is wanted", Wants::default(), false),
            ("the class alone", wants(&["elevator"], &[]), false),
            ("the priority alone", wants(&[], &[Critical]), false),
            ("another class", wants(&["street-light"], &[Critical]), false),
            ("other priorities", wants(&["elevator"], &[High, Medium, Low]), false),
            ("class and priority", wants(&["elevator"], &[Critical]), true),
            ("one of several", wants(&["street-light", "elevator"], &[High, Critical]), true),
            (
                "data and readings alone",
                Wants { data: vec![DataClass::Operational], readings: true, ..Wants::default() },
                false,
            ),
        ];
        for (fact, wants, expected) in facts {
            assert_eq!(told(wants), expected, "{fact}");
        }
    }

    #[test]
    fn who_wants_a_class_hears_that_its_line_is_down() {
        let mut line = sample::raised();
        line.device.id = "bus:lifts".into();
        line.device.class = "field-bus".into();
        let told = |class: &str, on_it: &str| {
            let classes_on = HashMap::from([("bus:lifts".into(), BTreeSet::from([ClassName::from(on_it)]))]);
            let endpoints = vec![("inspection".into(), wants(&[class], &[Priority::Critical]))];
            let router = Router::new(TimeZone::UTC, endpoints).standing_for(classes_on);
            !router.address(&sample::sealed(line.clone())).is_empty()
        };
        assert!(told("elevator", "elevator"));
        assert!(told("field-bus", "elevator"), "or asks for lines as such");
        assert!(!told("elevator", "street-light"));
    }

    #[test]
    fn who_is_told_of_the_raise_is_told_of_every_step_after_it() {
        let router =
            Router::new(TimeZone::UTC, vec![("a".into(), wants(&["elevator"], &[Priority::Critical]))]);
        let steps = [
            TransitionKind::Raised,
            TransitionKind::Acknowledged,
            TransitionKind::Returned,
            TransitionKind::Closed,
        ];
        for kind in steps {
            let mut event = sample::raised();
            event.kind = kind;
            assert_eq!(router.address(&sample::sealed(event)).len(), 1, "{kind:?}");
        }
    }

    #[test]
    fn who_was_told_before_a_restart_is_told_of_the_end() {
        let lamps =
            Wants { data: vec![DataClass::Operational], ..wants(&["street-light"], &[Priority::Low]) };
        let sealed = sample::sealed(sample::raised());
        let this = &sealed.event.alarm.occurrence;
        let other = OccurrenceId::from("9c1e77-1");
        for (fact, told, expected) in [
            ("of another occurrence", vec![(other.clone(), "a".into())], vec![]),
            ("of this one", vec![(other, "a".into()), (this.clone(), "a".into())], vec!["a"]),
            ("both", vec![(this.clone(), "a".into()), (this.clone(), "b".into())], vec!["a", "b"]),
            ("somebody who is no longer in the site", vec![(this.clone(), "gone".into())], vec![]),
        ] {
            let endpoints = vec![("a".into(), lamps.clone()), ("b".into(), lamps.clone())];
            let letters = Router::new(TimeZone::UTC, endpoints).keep_telling(told).address(&sealed);
            let to = letters.iter().map(|letter| letter.endpoint.as_str()).collect::<Vec<_>>();
            assert_eq!(to, expected, "{fact}");
            for letter in &letters {
                let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
                assert_eq!(body["data"]["alarm"]["occurrence"], this.as_str(), "{fact}");
                assert_eq!(
                    body["data"]["readings"],
                    serde_json::json!({}),
                    "{fact}: nothing it does not want"
                );
                assert_eq!(body["data"]["device"].get("tags"), None, "{fact}");
            }
        }
    }

    #[test]
    fn nobody_is_told_of_what_is_held_back() {
        let router =
            Router::new(TimeZone::UTC, vec![("a".into(), wants(&["elevator"], &[Priority::Critical]))]);
        let mut event = sample::raised();
        event.alarm.withheld = true;
        let told = vec![(event.alarm.occurrence.clone(), "a".into())];
        assert_eq!(router.address(&sample::sealed(event.clone())), [], "who wants it");
        assert_eq!(router.keep_telling(told).address(&sample::sealed(event)), [], "who was told before");
    }

    #[test]
    fn the_next_contact_is_told_from_its_step_on_and_sees_what_it_may() {
        let duty = Wants { data: vec![DataClass::Operational], ..wants(&["power-line"], &[Priority::Low]) };
        let endpoints = vec![
            ("a".into(), wants(&["elevator"], &[Priority::Critical])),
            ("duty".into(), duty.clone()),
            ("other".into(), duty),
        ];
        let router = Router::new(TimeZone::UTC, endpoints);
        let to = |event: &Event| {
            let letters = router.address(&sample::sealed(event.clone()));
            letters.into_iter().map(|letter| (letter.endpoint.to_string(), letter.body)).collect::<Vec<_>>()
        };
        let mut event = sample::raised();
        assert_eq!(to(&event).len(), 1);
        let escalation = Escalation {
            step: 1,
            waiting: None,
            endpoints: vec!["duty".into(), "gone".into()],
            contact: None,
        };
        event.alarm.overlay.escalation = Some(Box::new(escalation));
        for kind in [TransitionKind::Escalated, TransitionKind::Acknowledged, TransitionKind::Closed] {
            event.kind = kind;
            let letters = to(&event);
            let names: Vec<_> = letters.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["a", "duty"], "{kind:?}");
            let body: serde_json::Value = serde_json::from_slice(&letters[1].1).unwrap();
            assert_eq!(body["data"]["readings"]["door"]["value"], "closed");
        }
    }

    #[test]
    fn who_wants_the_alarm_gets_one_letter_with_all_it_may_see() {
        let all = Wants { data: vec![DataClass::Operational], ..wants(&["elevator"], &[Priority::Critical]) };
        let sealed = sample::sealed(sample::raised());
        let new = || Router::new(TimeZone::UTC, vec![("a".into(), all.clone())]);
        let told = vec![(sealed.event.alarm.occurrence.clone(), "a".into())];
        assert_eq!(new().keep_telling(told).address(&sealed), new().address(&sealed));
    }

    #[test]
    fn each_endpoint_gets_its_own_letter() {
        let elevator = wants(&["elevator"], &[Priority::Critical]);
        let open = Wants { data: vec![DataClass::Operational], ..elevator.clone() };
        let router = Router::new(
            TimeZone::UTC,
            vec![("a".into(), elevator), ("no".into(), Wants::default()), ("b".into(), open)],
        );
        let sealed = sample::sealed(sample::raised());
        let letters = router.address(&sealed);
        let to = letters.iter().map(|letter| letter.endpoint.as_str()).collect::<Vec<_>>();
        assert_eq!(to, ["a", "b"]);
        for letter in &letters {
            assert_eq!((letter.row, letter.attempts, letter.seq), (0, 0, 5512));
            assert_eq!((&letter.event_id, &letter.key), (&sealed.event.id, &sealed.event.key()));
        }
        assert_ne!(letters[0].body, letters[1].body);
    }
}
