//! Listens under wildcards for devices that the site does not know.
//!
//! On a connection of its own: a broker may send a message twice to whoever asked twice for it, and what strangers send must not
//! hold up the devices. QoS 0 and no session, so the broker keeps nothing for it.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilterInput};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{
    codec::Routes,
    unknown::{Messages, Pattern},
};
use crate::{
    domain::{BusId, Clock},
    fieldbus::bus::Chance,
    mqtt::reason::{Reason, reason},
};

const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Looked at; what comes above that waits at the broker, which throws it away.
const MOST_A_SECOND: usize = 500;

pub struct Discovery {
    pub bus: BusId,
    pub options: MqttOptions,
    pub patterns: Vec<Pattern>,
    pub routes: Arc<Routes>,
    pub messages: Arc<Messages>,
    pub clock: Arc<dyn Clock>,
    pub chance: Chance,
}

impl Discovery {
    /// Until it is dropped.
    pub async fn run(mut self) -> Infallible {
        let mut rest = FIRST_REST;
        let mut told = false;
        loop {
            let (began, reason) = (Instant::now(), self.listen().await);
            if began.elapsed() > LONGEST_REST {
                (rest, told) = (FIRST_REST, false);
            }
            if !std::mem::replace(&mut told, true) {
                warn!(bus = %self.bus, why = %reason.text.en, "Unknown devices are not looked for.");
            }
            sleep(self.chance.jitter(rest)).await;
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    /// One connection; why it ended.
    async fn listen(&mut self) -> Reason {
        let filters: BTreeSet<String> = self.patterns.iter().map(Pattern::filter).collect();
        let (client, mut wire) = AsyncClient::builder(self.options.clone()).capacity(4).build();
        let mut second = Instant::now();
        let mut seen = 0;
        loop {
            match self.next(&mut wire).await {
                Err(reason) => return reason,
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let wanted =
                        filters.iter().map(|filter| SubscribeFilterInput::new(filter, QoS::AtMostOnce));
                    if let Err(error) = client.try_subscribe_many(wanted) {
                        return Reason::other(&error);
                    }
                    info!(bus = %self.bus, ?filters, "Unknown devices are looked for.");
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if second.elapsed() >= Duration::from_secs(1) {
                        (second, seen) = (Instant::now(), 0);
                    }
                    seen += 1;
                    if seen > MOST_A_SECOND {
                        sleep_until(second + Duration::from_secs(1)).await;
                    }
                    self.note(&publish.topic);
                }
                Ok(Event::Incoming(_) | Event::Outgoing(_)) => {}
            }
        }
    }

    async fn next(&self, wire: &mut EventLoop) -> Result<Event, Reason> {
        wire.poll().await.map_err(|error| reason(&error))
    }

    fn note(&self, topic: &[u8]) {
        if let Ok(topic) = str::from_utf8(topic)
            && self.routes.of(topic).is_empty()
        {
            self.messages.stranger(topic, &self.patterns, self.clock.now().wall);
        }
    }
}
