//! Drills that people ask for: a real letter to a real endpoint, at once, whatever waits.

use std::{collections::HashMap, sync::Arc};

use jiff::tz::TimeZone;

use crate::{
    domain::{Clock, EndpointId, SiteFacts, drill::Drilled},
    uplink::{Drill, EndpointGauge, Template},
};

pub struct Drills {
    pub site: SiteFacts,
    pub timezone: TimeZone,
    pub demo: bool,
    pub templates: HashMap<EndpointId, Template>,
    pub clock: Arc<dyn Clock>,
    pub gauges: Vec<EndpointGauge>,
}

impl Drills {
    pub async fn hold(&self, endpoint: &EndpointId, by: String) -> Drilled {
        let Some(gauge) = self.gauges.iter().find(|gauge| gauge.id == *endpoint) else {
            return Drilled::NoSuchEndpoint;
        };
        let drill = Drill {
            site: self.site.clone(),
            at: self.clock.now().wall,
            time_quality: self.clock.quality(),
            by,
            demo: self.demo,
        };
        match drill.letter(endpoint, self.templates.get(endpoint), &self.timezone) {
            Ok(letter) => gauge.try_out(letter).await,
            Err(error) => Drilled::NoWords { why: error.text() },
        }
    }
}
