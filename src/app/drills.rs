//! Drills: a real letter to a real endpoint. Those that people ask for go at once, whatever waits; those by the clock go the way
//! of every alarm (`watch`).

mod watch;

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::watch::{DrillStanding, Watch};
use super::{
    Parts,
    upward::{WayOut, classes},
};
use crate::{
    config::{Receiver, Site},
    domain::{Clock, EndpointId, Hindrance, HindranceKind, SiteFacts, Text, drill::Drilled},
    text,
    uplink::{Bell, Drill, Endpoint, Template, http::HttpEndpoint, mqtt::MqttEndpoint},
};

pub struct Drills {
    pub site: SiteFacts,
    pub timezone: TimeZone,
    pub demo: bool,
    pub templates: HashMap<EndpointId, Template>,
    pub clock: Arc<dyn Clock>,
    pub ways: Arc<[WayOut]>,
}

impl Drills {
    pub async fn hold(&self, endpoint: &EndpointId, by: String) -> Drilled {
        let Some(way) = self.ways.iter().find(|way| way.id == *endpoint) else {
            return Drilled::NoSuchEndpoint;
        };
        let drill = Drill {
            site: self.site.clone(),
            at: self.clock.now().wall,
            time_quality: self.clock.quality(),
            by,
            demo: self.demo,
        };
        let letter = match drill.letter(endpoint, self.templates.get(endpoint), &self.timezone) {
            Ok(letter) => letter,
            Err(error) => return Drilled::NoWords { why: error.text() },
        };
        match &way.gauge {
            Ok(gauge) => gauge.try_out(letter).await,
            Err(why) => Drilled::Hindered { event: letter.event_id, why: why.clone() },
        }
    }
}

/// A drill to an endpoint of a gateway that does not run: the same letter, over a connection of its own.
pub async fn drill_at_rest(site: Site, clock: Arc<dyn Clock>, endpoint: &EndpointId, by: String) -> Drilled {
    let Parts { core, endpoints, .. } = Parts::of(site);
    let Some(receiver) = endpoints.into_iter().find(|known| known.id == *endpoint) else {
        return Drilled::NoSuchEndpoint;
    };
    let site = core.site.id.clone();
    let drill =
        Drill { site: core.site, at: clock.now().wall, time_quality: clock.quality(), by, demo: core.demo };
    let letter = match drill.letter(endpoint, core.templates.get(endpoint), &core.timezone) {
        Ok(letter) => letter,
        Err(error) => return Drilled::NoWords { why: error.text() },
    };
    let event = letter.event_id.clone();
    let unusable = |error: &dyn std::error::Error| Hindrance::new(HindranceKind::Unusable, unusable(error));
    match receiver.receiver {
        Receiver::Http(http) => match HttpEndpoint::new(*http, clock) {
            Ok(http) => http.deliver(&letter).await.drilled(event),
            Err(error) => Drilled::Hindered { event, why: unusable(&error) },
        },
        Receiver::Mqtt(mqtt) => {
            // nobody takes what people ask: it is not confirmed to the broker and comes again
            let (people, _) = mpsc::channel(1);
            match MqttEndpoint::new(endpoint.clone(), *mqtt, &site, classes(&core.devices), people, &clock) {
                Ok(mqtt) => {
                    let over = CancellationToken::new();
                    let attended = mqtt.attend(Bell::default(), over.clone());
                    let delivered = async {
                        let verdict = mqtt.deliver(&letter).await;
                        over.cancel();
                        verdict
                    };
                    let ((), verdict) = tokio::join!(attended, delivered);
                    verdict.drilled(event)
                }
                Err(error) => Drilled::Hindered { event, why: unusable(&error) },
            }
        }
    }
}

/// Why an endpoint cannot be set up.
pub(super) fn unusable(error: &dyn std::error::Error) -> Text {
    text!("上报目标不能用：{error}", "the endpoint cannot be used: {error}")
}
