//! A drill: a letter that shows whether an endpoint hears us, and can be taken for no alarm. One that is asked for goes past the
//! queue; one by the clock (`turns`) is an event of the chain, and goes the way of every alarm.

pub mod turns;

use jiff::{Timestamp, fmt::temporal::DateTimePrinter, tz::TimeZone};
use serde::Serialize;

pub use self::turns::{DrillTurns, Turns};
use super::{Template, TemplateError, own_device};
use crate::domain::{AlarmKey, EndpointId, Event, EventId, Letter, Priority, SiteFacts, TimeQuality};

/// Who asks for the drills by the clock.
const BY_CLOCK: &str = "schedule";

/// Who practises, where and when.
#[derive(Clone, Debug)]
pub struct Drill {
    pub site: SiteFacts,
    pub at: Timestamp,
    pub time_quality: TimeQuality,
    /// Who asked for it.
    pub by: String,
    pub demo: bool,
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'static str,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    site: &'a SiteFacts,
    drill: By<'a>,
    time_quality: TimeQuality,
    demo: bool,
}

#[derive(Serialize)]
struct By<'a> {
    by: &'a str,
}

impl Drill {
    /// One to try templates on.
    pub fn specimen() -> Self {
        Self {
            site: SiteFacts { id: "site".to_owned(), name: "小区".to_owned() },
            at: Timestamp::UNIX_EPOCH,
            time_quality: TimeQuality::Synced,
            by: "张伟".to_owned(),
            demo: false,
        }
    }

    /// What of a drill by the clock is told.
    pub fn of(event: &Event) -> Self {
        Self {
            site: event.site.clone(),
            at: event.at,
            time_quality: event.time_quality,
            by: BY_CLOCK.to_owned(),
            demo: event.demo,
        }
    }

    /// The CloudEvents object, under an id of its own.
    pub fn body(&self, timezone: &TimeZone) -> Vec<u8> {
        self.object(&EventId::random().to_string(), timezone)
    }

    /// # Errors
    /// If the endpoint's template has no words for a drill.
    pub fn letter(
        &self,
        endpoint: &EndpointId,
        template: Option<&Template>,
        timezone: &TimeZone,
    ) -> Result<Letter, TemplateError> {
        let id = EventId::random().to_string();
        let object = self.object(&id, timezone);
        let (body, content_type) = match template {
            Some(template) => (template.render(&object)?, Some(template.content_type().to_owned())),
            None => (object, None),
        };
        Ok(Letter {
            row: 0,
            endpoint: endpoint.clone(),
            event_id: id,
            seq: 0,
            key: AlarmKey { device: own_device(endpoint), alarm: "drill".into() },
            priority: Priority::Low,
            attempts: 0,
            body: body.into(),
            content_type,
            provisional: false,
        })
    }

    pub(super) fn object(&self, id: &str, timezone: &TimeZone) -> Vec<u8> {
        const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let envelope = Envelope {
            specversion: "1.0",
            id,
            source: format!("/gatehouse/{}", self.site.id),
            kind: "gatehouse.drill",
            subject: "gatehouse/drill",
            time: MILLISECONDS.timestamp_with_offset_to_string(&self.at, timezone.to_offset(self.at)),
            datacontenttype: "application/json",
            data: Data {
                site: &self.site,
                drill: By { by: &self.by },
                time_quality: self.time_quality,
                demo: self.demo,
            },
        };
        serde_json::to_vec(&envelope).expect("text keys and text are always JSON")
    }
}
