//! The line of an MQTT bus: a session with the broker that is only listened to.
//!
//! A message is acknowledged after its receipt, so what was not committed comes again. It may come twice.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rumqttc::{MqttOptions, Publish, QoS};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    codec::{self, Routes, TopicError},
    config::Broker,
    connect::{self, SettingsError},
    session::{News, Session, Uncommitted},
    sieve::Mark,
};
use crate::{
    domain::{BusId, DeviceId, DeviceIx, Garble, Raw},
    fieldbus::{
        Bus, BusParts,
        bus::Chance,
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
        record::Tape,
    },
    profile::{Address, Link},
};

/// A connection that did not last this long is no good one: the next one waits longer.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// At the end, so long for what is being committed to be acknowledged.
const GRACE: Duration = Duration::from_secs(3);
/// Topics that are named in the log once each; what comes after is only counted.
const MOST_NAMED: usize = 100;
const LONGEST_NAMED: usize = 200;

/// A bus that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("build bus {bus}: failed to {fault}")]
    Settings { bus: BusId, fault: SettingsError },
    #[error("build bus {bus}: failed to {fault}")]
    Topic { bus: BusId, fault: TopicError },
    /// Its profile speaks another protocol, or its address is a number.
    #[error("build bus {bus}: failed to listen for {device}, which is no MQTT device")]
    Foreign { bus: BusId, device: DeviceId },
}

/// The bus of these devices behind this broker.
///
/// # Errors
/// If the settings name no broker, or a device's topic cannot be subscribed to.
pub fn bus(parts: BusParts, broker: &Broker) -> Result<Bus<MqttDriver>, SetupError> {
    let driver = MqttDriver::new(&parts, broker)?;
    Ok(Bus::new(driver, parts))
}

pub struct MqttDriver {
    bus: BusId,
    options: MqttOptions,
    tape: Arc<Tape>,
    mark: Mark,
    routes: Routes,
    /// The devices, as `routes` numbers them.
    devices: Vec<DeviceIx>,
    session: Option<Open>,
    rest: Rest,
    /// What a message that went to several devices still has to tell.
    ready: VecDeque<Unasked>,
    /// Topics that the log has named.
    named: HashSet<String>,
}

struct Open {
    session: Session,
    since: Instant,
}

/// How long the broker is left alone before the next connection.
struct Rest {
    until: Instant,
    wait: Duration,
    chance: Chance,
}

impl MqttDriver {
    fn new(parts: &BusParts, broker: &Broker) -> Result<Self, SetupError> {
        let bus = &parts.id;
        let refused = |fault: SettingsError| SetupError::Settings { bus: bus.clone(), fault };
        let mark = Mark::random().map_err(|error| refused(error.into()))?;
        let options = connect::options(broker, mark).map_err(refused)?;
        let mut routes = Routes::default();
        for (member, device) in parts.devices.iter().enumerate() {
            let (Link::Mqtt(link), Address::Text(address)) = (&device.profile.link, &device.address) else {
                return Err(SetupError::Foreign { bus: bus.clone(), device: device.id.clone() });
            };
            let filter = codec::filter(&link.topic, address);
            routes.add(filter.map_err(|fault| SetupError::Topic { bus: bus.clone(), fault })?, member);
        }
        Ok(Self {
            bus: bus.clone(),
            options,
            tape: Arc::clone(&parts.tape),
            mark,
            routes,
            devices: parts.devices.iter().map(|device| device.ix).collect(),
            session: None,
            rest: Rest { until: Instant::now(), wait: FIRST_REST, chance: Chance(!parts.seed) },
            ready: VecDeque::new(),
            named: HashSet::new(),
        })
    }

    /// Whose message it is: what the bus is to be told, and what the broker may be told after that.
    fn sort(&mut self, publish: Publish) -> Option<Uncommitted> {
        self.tape.message(&publish.topic, &publish.payload, publish.retain);
        let acknowledged = publish.qos != QoS::AtMostOnce;
        let members =
            str::from_utf8(&publish.topic).map_or_else(|_| Vec::new(), |topic| self.routes.of(topic));
        let mut receipts = Vec::new();
        if let Some(bytes) = self.mark.length(&publish.payload) {
            if let Some(topic) = self.news(&publish.topic) {
                warn!(bus = %self.bus, ?topic, bytes, "A message is too long and is left out.");
            }
            self.ready.push_back(Unasked::Noise);
        } else if members.is_empty() {
            if let Some(topic) = self.news(&publish.topic) {
                warn!(bus = %self.bus, ?topic, "Messages come on a topic that is no device's.");
            }
            self.ready.push_back(Unasked::Stranger);
        } else {
            for member in members {
                let (receipt, committed) = oneshot::channel();
                receipts.extend(acknowledged.then_some(committed));
                self.ready.push_back(Unasked::Message {
                    device: self.devices[member],
                    raw: Raw::Payload { bytes: publish.payload.clone(), retained: publish.retain },
                    receipt: acknowledged.then_some(receipt),
                });
            }
        }
        acknowledged.then_some(Uncommitted { packet_id: publish.pkid, receipts })
    }

    /// The topic for the log: once for each, shortened, and no more of them than the log can bear.
    fn news(&mut self, topic: &[u8]) -> Option<String> {
        let named = String::from_utf8_lossy(&topic[..topic.len().min(LONGEST_NAMED)]).into_owned();
        (self.named.len() < MOST_NAMED && self.named.insert(named.clone())).then_some(named)
    }

    /// The session is over: the next one waits, longer if this one was no good.
    fn over(&mut self) {
        let rest = &mut self.rest;
        if self.session.take().is_some_and(|open| open.since.elapsed() >= GOOD_CONNECTION) {
            rest.wait = FIRST_REST;
        }
        rest.until = Instant::now() + rest.chance.jitter(rest.wait);
        rest.wait = (rest.wait * 2).min(LONGEST_REST);
    }
}

impl Driver for MqttDriver {
    async fn connect(&mut self) -> Result<Line, LineFault> {
        if self.session.is_some() {
            return Ok(Line::Kept);
        }
        sleep_until(self.rest.until).await;
        match Session::open(self.options.clone(), &self.routes.filters()).await {
            Ok(session) => {
                self.session = Some(Open { session, since: Instant::now() });
                Ok(Line::Opened)
            }
            Err(error) => {
                self.over();
                Err(LineFault::Gone { why: error.to_string() })
            }
        }
    }

    /// MQTT devices are heard, not asked: the plan has no questions for them.
    async fn ask(&mut self, _unit: &Address, _link: &Link, _ask: &Ask) -> Result<Raw, AskFault> {
        Err(AskFault::Garbled { what: Garble::Unaskable })
    }

    async fn hear(&mut self) -> Unasked {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            let Some(Open { session, .. }) = &mut self.session else { return std::future::pending().await };
            // room first: a message that is taken has to be remembered
            let room = session.uncommitted.clone().reserve_owned().await;
            match session.news.recv().await {
                Some(News::Message(publish)) => {
                    let uncommitted = self.sort(publish);
                    // without room the connection is over: the broker sends it again
                    if let (Ok(room), Some(uncommitted)) = (room, uncommitted) {
                        room.send(uncommitted);
                    }
                }
                Some(News::Over(why)) => {
                    self.over();
                    return Unasked::Gone(LineFault::Gone { why });
                }
                None => {
                    self.over();
                    return Unasked::Gone(LineFault::Gone { why: "the session's task is gone".to_owned() });
                }
            }
        }
    }

    fn close(&mut self) {
        if self.session.is_some() {
            self.over();
        }
    }

    async fn finish(&mut self) {
        // what nobody took is not committed
        self.ready.clear();
        if let Some(Open { session, .. }) = self.session.take() {
            session.finish(GRACE).await;
        }
    }
}
