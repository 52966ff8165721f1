//! A drill: a letter that shows whether an endpoint hears us, and can be taken for no alarm.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter, tz::TimeZone};
use serde::Serialize;

use super::{Template, TemplateError};
use crate::domain::{AlarmKey, EndpointId, EventId, Letter, Priority, SiteFacts, TimeQuality};

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
            key: AlarmKey { device: "gatehouse".into(), alarm: "drill".into() },
            priority: Priority::Low,
            attempts: 0,
            body: body.into(),
            content_type,
        })
    }

    fn object(&self, id: &str, timezone: &TimeZone) -> Vec<u8> {
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
