//! What lies over an alarm's state, as it leaves the box. Absent where nothing does: then a body is what it always was.

use serde::Serialize;

use super::{Acknowledged, View};
use crate::domain::{DataClass, Hold, Period, Rescue, RescueWord};

#[derive(Serialize)]
pub(super) struct Over<'a> {
    /// `shelved`, `suppressed`, `out_of_service`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlays: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shelved: Option<Held<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_service: Option<Held<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalation: Option<Escalated<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chattering: Option<Chatters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rescue: Option<RescueClock<'a>>,
    /// Who took this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Acknowledged<'a>>,
}

/// A person holds it back: the reason is for all who are told, the name for those who may see names.
#[derive(Serialize)]
struct Held<'a> {
    until: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    from: &'a str,
    /// It holds the whole device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    whole_device: bool,
}

/// It came so often since then; `over` when it is calm again.
#[derive(Serialize)]
struct Chatters {
    since: String,
    raises: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    over: bool,
}

#[derive(Serialize)]
struct Escalated<'a> {
    /// How many times it was announced anew.
    step: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
}

#[derive(Serialize)]
struct RescueClock<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    said: Option<RescueWord>,
    limit: Period,
    /// As of the step, warning or minute before it.
    elapsed_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatched: Option<Acknowledged<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrived: Option<Acknowledged<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<Acknowledged<'a>>,
}

impl<'a> View<'a> {
    pub(super) fn over(&self) -> Over<'a> {
        let alarm = &self.event.alarm;
        let overlay = &alarm.overlay;
        let escalation = overlay.escalation.as_ref().filter(|escalation| escalation.step > 0);
        Over {
            overlays: overlay.words(),
            shelved: overlay.shelf.as_ref().map(|hold| self.held(hold)),
            out_of_service: overlay.out_of_service.as_ref().map(|hold| self.held(hold)),
            escalation: escalation.map(|escalation| Escalated {
                step: escalation.step,
                contact: escalation.contact.as_deref().filter(|_| self.may_see(DataClass::Personal)),
            }),
            chattering: alarm.chattered.as_deref().or(overlay.chattering.as_deref()).map(|chattering| {
                let over = alarm.chattered.is_some();
                Chatters { since: self.time(chattering.since), raises: chattering.raises, over }
            }),
            rescue: overlay
                .rescue
                .as_ref()
                .filter(|rescue| rescue.said.is_some())
                .map(|rescue| self.rescue(rescue)),
            done: alarm.done.as_ref().map(|done| self.person(done)),
        }
    }

    fn held(&self, hold: &'a Hold) -> Held<'a> {
        Held {
            until: self.time(hold.until),
            at: self.time(hold.order.at),
            by: self.may_see(DataClass::Personal).then_some(hold.order.by.as_str()),
            reason: hold.order.note.as_deref().filter(|_| self.may_see(DataClass::Operational)),
            from: self.from(&hold.order.from),
            whole_device: hold.whole_device,
        }
    }

    fn rescue(&self, rescue: &'a Rescue) -> RescueClock<'a> {
        let person = |word: &'a Option<_>| word.as_ref().map(|word| self.person(word));
        RescueClock {
            said: rescue.said,
            limit: Period(rescue.limit),
            elapsed_s: rescue.passing.credited.as_secs(),
            dispatched: person(&rescue.dispatched),
            arrived: person(&rescue.arrived),
            released: person(&rescue.released),
        }
    }
}
