//! The line of an MQTT bus: a session with the broker that is only listened to.
//!
//! A message is acknowledged after its receipt, so what was not committed comes again. It may come twice.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rumqttc::{MqttOptions, Publish, QoS};
use tokio::{
    sync::{mpsc::OwnedPermit, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{
    codec::{self, Routes, TopicError},
    discover::Discovery,
    session::{News, Session, Uncommitted},
    unknown::{Messages, Pattern},
};
use crate::{
    domain::{BusId, Clock, DeviceId, DeviceIx, Garble, Raw},
    fieldbus::{
        Bus, BusParts,
        bus::Chance,
        cost::LineCost,
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
        record::Tape,
    },
    mqtt::{Broker, SettingsError, connect, reason::Reason, sieve::Mark},
    profile::{Address, Link},
    text,
};

/// A connection that did not last this long is no good one: the next one waits longer.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// So many doubts, and the next connection has to last before the bus is called open: a broker that talks nonsense, or throws us
/// out again and again, would have all its devices told, and the log filled, each time.
const ON_TRIAL: u8 = 2;
/// Messages taken from a connection on trial; more wait at the broker.
const MOST_EARLY: usize = 16;
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

/// The bus of these devices behind this broker; `discover`: also look for devices that the site does not know.
///
/// # Errors
/// If the settings name no broker, or a device's topic cannot be subscribed to.
pub fn bus(parts: BusParts, broker: &Broker, discover: bool) -> Result<Bus<MqttDriver>, SetupError> {
    let driver = MqttDriver::new(&parts, broker, discover)?;
    Ok(Bus::new(driver, parts))
}

pub struct MqttDriver {
    bus: BusId,
    options: MqttOptions,
    tape: Arc<Tape>,
    mark: Mark,
    routes: Arc<Routes>,
    /// The devices, as `routes` numbers them.
    devices: Vec<DeviceIx>,
    messages: Arc<Messages>,
    clock: Arc<dyn Clock>,
    /// Where devices speak that the site does not know.
    patterns: Vec<Pattern>,
    search: Search,
    session: Option<Open>,
    rest: Rest,
    /// By packet id: what was handed on over an earlier connection, and may come again.
    owed: HashMap<u16, Uncommitted>,
    /// What a message that went to several devices still has to tell.
    ready: VecDeque<Unasked>,
    /// Topics that the log has named.
    named: HashSet<String>,
}

struct Open {
    session: Session,
    since: Instant,
    on_trial: bool,
    /// Came during the trial.
    early: VecDeque<Publish>,
    /// Something came over it.
    heard: bool,
}

/// The search for unknown devices.
enum Search {
    No,
    Wanted(Box<Discovery>),
    Goes { _task: AbortOnDropHandle<()> },
}

/// How long the broker is left alone before the next connection.
struct Rest {
    until: Instant,
    wait: Duration,
    /// How bad the last connections were.
    doubt: u8,
    chance: Chance,
}

impl MqttDriver {
    fn new(parts: &BusParts, broker: &Broker, discover: bool) -> Result<Self, SetupError> {
        let bus = &parts.id;
        let refused = |fault: SettingsError| SetupError::Settings { bus: bus.clone(), fault };
        let mark = Mark::random().map_err(|error| refused(error.into()))?;
        let options = connect::options(broker, mark, &parts.clock).map_err(refused)?;
        let (routes, patterns) = routes(parts)?;
        let messages = parts.counters.messages.get_or_init(Arc::default);
        let mut driver = Self {
            bus: bus.clone(),
            options,
            tape: Arc::clone(&parts.tape),
            mark,
            routes: Arc::new(routes),
            devices: parts.devices.iter().map(|device| device.ix).collect(),
            messages: Arc::clone(messages),
            clock: Arc::clone(&parts.clock),
            patterns,
            search: Search::No,
            session: None,
            rest: Rest { until: Instant::now(), wait: FIRST_REST, doubt: 0, chance: Chance(!parts.seed) },
            owed: HashMap::new(),
            ready: VecDeque::new(),
            named: HashSet::new(),
        };
        if discover && !driver.patterns.is_empty() {
            let options = connect::passing_options(broker, mark, &parts.clock).map_err(refused)?;
            driver.search = Search::Wanted(Box::new(driver.discovery(options, parts.seed)));
        }
        Ok(driver)
    }

    fn discovery(&self, options: MqttOptions, seed: u64) -> Discovery {
        Discovery {
            bus: self.bus.clone(),
            options,
            patterns: self.patterns.clone(),
            routes: Arc::clone(&self.routes),
            messages: Arc::clone(&self.messages),
            clock: Arc::clone(&self.clock),
            chance: Chance(seed.rotate_left(32)),
        }
    }

    /// Whose message it is: what the bus is to be told, and what the broker may be told after that.
    fn sort(&mut self, publish: Publish) -> Option<Uncommitted> {
        self.tape.message(&publish.topic, &publish.payload, publish.retain);
        let acknowledged = publish.qos != QoS::AtMostOnce;
        if let Some(original) = self.original(&publish) {
            self.messages.came_again();
            return Some(original);
        }
        let topic = str::from_utf8(&publish.topic).ok();
        let members = topic.map_or_else(Vec::new, |topic| self.routes.of(topic));
        let mut receipts = Vec::new();
        if let Some(bytes) = self.mark.length(&publish.payload) {
            self.messages.too_long();
            if let Some(topic) = self.news(&publish.topic) {
                warn!(bus = %self.bus, ?topic, bytes, "A message is too long and is left out.");
            }
            self.ready.push_back(Unasked::Noise);
        } else if members.is_empty() {
            if let Some(topic) = topic {
                self.messages.stranger(topic, &self.patterns, self.clock.now().wall);
            }
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
        acknowledged.then(|| Uncommitted::new(&publish, receipts))
    }

    /// The message that was handed on already and comes again, with the receipts that are still to come for it.
    fn original(&mut self, publish: &Publish) -> Option<Uncommitted> {
        if publish.qos == QoS::AtMostOnce {
            return None;
        }
        // whatever comes under its packet id, it is out of the broker's hands
        let mut original = self.owed.remove(&publish.pkid)?;
        if !original.comes_again_as(publish) {
            return None;
        }
        if original.is_refused() {
            // all behind it are to come after it once more: alone it would turn time back
            self.owed.clear();
            return None;
        }
        Some(original)
    }

    /// The topic for the log: once for each, shortened, and no more of them than the log can bear.
    fn news(&mut self, topic: &[u8]) -> Option<String> {
        let named = String::from_utf8_lossy(&topic[..topic.len().min(LONGEST_NAMED)]).into_owned();
        (self.named.len() < MOST_NAMED && self.named.insert(named.clone())).then_some(named)
    }

    /// The session is over: the next one waits, longer if this one was no good. Returns what the bus is told.
    fn over(&mut self, reason: Reason) -> LineFault {
        let rest = &mut self.rest;
        if let Some(open) = self.session.take() {
            let short = open.since.elapsed() < GOOD_CONNECTION;
            rest.doubt = match (reason.nonsense, short) {
                (true, _) => ON_TRIAL,
                (false, true) if !open.heard => (rest.doubt + 1).min(ON_TRIAL),
                (false, _) => 0,
            };
            if !short {
                rest.wait = FIRST_REST;
            }
        }
        rest.until = Instant::now() + rest.chance.jitter(rest.wait);
        rest.wait = (rest.wait * 2).min(LONGEST_REST);
        let why = reason.text.clone();
        self.messages.in_trouble(Some(reason.text));
        LineFault::down(why)
    }

    fn opened(&mut self, session: Session) {
        if !session.resumed {
            self.owed.clear();
        }
        let on_trial = self.rest.doubt >= ON_TRIAL;
        let (since, early) = (Instant::now(), VecDeque::new());
        self.session = Some(Open { session, since, on_trial, early, heard: false });
    }

    /// A connection after bad ones has to last; what comes meanwhile is kept for later. Cancel-safe.
    async fn pass_trial(&mut self) -> Result<(), LineFault> {
        while let Some(open) = self.session.as_mut().filter(|open| open.on_trial) {
            let room = open.early.len() < MOST_EARLY;
            let news = tokio::select! {
                news = open.session.news.recv(), if room => Some(news),
                () = sleep_until(open.since + GOOD_CONNECTION) => None,
            };
            match news {
                None => open.on_trial = false,
                Some(Some(News::Message(publish))) => {
                    open.early.push_back(publish);
                }
                Some(Some(News::Over(reason, owed))) => {
                    self.remember(owed);
                    return Err(self.over(reason));
                }
                Some(None) => return Err(self.over(task_is_gone())),
            }
        }
        Ok(())
    }

    fn remember(&mut self, owed: Vec<Uncommitted>) {
        self.owed.extend(owed.into_iter().map(|message| (message.packet_id(), message)));
    }

    /// A message that came in is looked at once there is room to remember it.
    fn take(&mut self, publish: Publish, room: Option<OwnedPermit<Uncommitted>>) {
        let Some(uncommitted) = self.sort(publish) else { return };
        match room.filter(|_| self.session.as_ref().is_some_and(|open| !open.session.uncommitted.is_closed()))
        {
            Some(room) => {
                room.send(uncommitted);
            }
            // the connection is over: the broker sends it again
            None => self.remember(vec![uncommitted]),
        }
    }
}

/// Who is heard where, and where others like them would be.
fn routes(parts: &BusParts) -> Result<(Routes, Vec<Pattern>), SetupError> {
    let bus = &parts.id;
    let mut routes = Routes::default();
    let mut patterns = HashMap::new();
    for (member, device) in parts.devices.iter().enumerate() {
        let (Link::Mqtt(link), Address::Text(address)) = (&device.profile.link, &device.address) else {
            return Err(SetupError::Foreign { bus: bus.clone(), device: device.id.clone() });
        };
        let filter = codec::filter(&link.topic, address);
        routes.add(filter.map_err(|fault| SetupError::Topic { bus: bus.clone(), fault })?, member);
        if let Some(pattern) = Pattern::of(&device.profile.id, &link.topic) {
            patterns.insert(device.profile.id.clone(), pattern);
        }
    }
    let mut patterns: Vec<_> = patterns.into_iter().collect();
    patterns.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok((routes, patterns.into_iter().map(|(_, pattern)| pattern).collect()))
}

fn task_is_gone() -> Reason {
    Reason::of(text!("连接任务已结束", "the session's task is gone"))
}

impl Driver for MqttDriver {
    fn cost(&self) -> LineCost {
        LineCost::unasked()
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        if let Search::Wanted(_) = &self.search
            && let Search::Wanted(discovery) = std::mem::replace(&mut self.search, Search::No)
        {
            let task = tokio::spawn(async move { match discovery.run().await {} });
            self.search = Search::Goes { _task: AbortOnDropHandle::new(task) };
        }
        if self.session.as_ref().is_some_and(|open| !open.on_trial) {
            return Ok(Line::Kept);
        }
        if self.session.is_none() {
            sleep_until(self.rest.until).await;
            match Session::open(self.options.clone(), &self.routes.filters()).await {
                Ok(session) => self.opened(session),
                Err(error) => return Err(self.over(error.reason())),
            }
        }
        self.pass_trial().await?;
        self.messages.in_trouble(None);
        Ok(Line::Opened)
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
            let Some(Open { session, early, heard, .. }) = &mut self.session else {
                return std::future::pending().await;
            };
            // room first: a message that is taken has to be remembered
            let room = session.uncommitted.clone().reserve_owned().await.ok();
            let news = match early.pop_front() {
                Some(publish) => Some(News::Message(publish)),
                None => session.news.recv().await,
            };
            match news {
                Some(News::Message(publish)) => {
                    *heard = true;
                    self.take(publish, room);
                }
                Some(News::Over(reason, owed)) => {
                    self.remember(owed);
                    return Unasked::Gone(self.over(reason));
                }
                None => return Unasked::Gone(self.over(task_is_gone())),
            }
        }
    }

    fn close(&mut self) {
        if self.session.is_some() {
            self.over(Reason::of(text!("连接已断开", "the connection was closed")));
        }
    }

    async fn finish(&mut self) {
        // what nobody took is not committed
        self.ready.clear();
        self.search = Search::No;
        if let Some(Open { session, .. }) = self.session.take() {
            session.finish(GRACE).await;
        }
    }
}
