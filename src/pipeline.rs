//! One batch, told as a paragraph: decode → decide → commit → apply → wake. Operators' commands enter here too.
//!
//! The only writer of alarm transitions. It ends when every bus has hung up and its inbox is empty, or when the store can
//! no longer be trusted: then the whole gateway starts anew.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};
use tracing::{debug, error, info, warn};

use crate::{
    alarm::{Acknowledged, Change, Engine, Latest, Truth},
    domain::{
        Acknowledgement, AlarmFacts, AlarmMemory, AlarmState, Clock, DeviceIx, Event, EventId, Failure,
        Heard, Lang, Letter, Mono, OccurrenceId, PointIx, Quality, Raw, ReadingFact, Receipt, Sample,
        SiteFacts, Stamp, TimeQuality, TransitionKind,
        command::{Command, Outcome},
        status::{DeviceStatus, LinkState},
    },
    profile::{Decoded, Device, Link},
    store::{
        AuditEntry, Commit, EventStore, Kept, Recovered, Row, StoreError, TelemetryStore,
        evidence::{Hash, Sealed, seal},
    },
};

/// How many exchanges one batch takes: enough to share a commit, few enough to stay prompt.
const BATCH: usize = 64;
/// After a failed commit the same decisions are made again, this much later.
const RETRY: Duration = Duration::from_secs(1);
/// A pipeline that did not come around for this long was frozen or starved: it comes around every second.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// How often one device's unreadable messages are told at most.
const TELL_AGAIN: Duration = Duration::from_secs(600);
/// A source time further behind than this (and than the heartbeat) makes a reading stale.
const LATE: Duration = Duration::from_secs(600);
/// A source time further ahead than this is not believed.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// What comes in by the door.
#[derive(Debug)]
pub enum Asked {
    /// The answer comes when it is on disk.
    Command(Command, oneshot::Sender<Outcome>),
    /// The devices, and why alarms cannot be stored if they cannot.
    Devices(oneshot::Sender<(Vec<DeviceStatus>, Option<String>)>),
}

/// Who is written to about an event (uplink's router, handed in so that nothing here knows what stands to the right).
pub type Address = Box<dyn Fn(&Sealed) -> Vec<Letter> + Send>;

pub struct Pipeline {
    pub site: SiteFacts,
    pub demo: bool,
    pub devices: Arc<[Device]>,
    pub engine: Engine,
    pub ledger: Ledger,
    pub events: EventStore,
    pub telemetry: TelemetryStore,
    pub address: Address,
    /// One per courier.
    pub wake: Vec<Arc<Notify>>,
    pub clock: Arc<dyn Clock>,
    pub heard: mpsc::Receiver<Heard>,
    pub asked: mpsc::Receiver<Asked>,
    pub progress: Arc<Progress>,
    pub trouble: Trouble,
}

/// Where the next event goes in the chain.
#[derive(Clone, Debug)]
pub struct Ledger {
    epoch: String,
    last_seq: u64,
    last_hash: Hash,
}

impl Ledger {
    pub fn new(recovered: &Recovered) -> Self {
        Self { epoch: recovered.epoch.clone(), last_seq: recovered.last_seq, last_hash: recovered.last_hash }
    }
}

impl Ledger {
    fn seal(&self, event: Event) -> Sealed {
        seal(event, self.last_hash).expect("readings are finite, everything else is text")
    }

    fn advance(&mut self, sealed: &Sealed) {
        self.last_seq = sealed.event.seq;
        self.last_hash = sealed.hash;
    }
}

/// Proof of life for the watchdog: counts rounds in which the pipeline really came around.
#[derive(Debug, Default)]
pub struct Progress(std::sync::atomic::AtomicU64);

impl Progress {
    pub fn rounds(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn came_around(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What has been logged already, so that each trouble is told once when it begins and once when it ends.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Since when commits fail, and when to try again.
    storage: Option<Mono>,
    why_not_stored: Option<String>,
    /// Devices that sent what could not be read, and when that was told last.
    malformed: std::collections::BTreeMap<DeviceIx, Mono>,
    telemetry_full: bool,
    /// When the pipeline came around last.
    last_turn: Option<Mono>,
}

/// A row that waits for the decisions made from it to be on disk.
type Reading = (DeviceIx, Timestamp, Vec<(PointIx, Sample)>, Option<Receipt>);

impl Pipeline {
    /// Carries batches until every bus has hung up; then commits what is left and ends.
    ///
    /// # Errors
    /// If the event store cannot be trusted any more; a full disk is waited out.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wait = self.until_due();
            tokio::select! {
                biased;
                Some(asked) = self.asked.recv() => self.answer(asked).await?,
                count = self.heard.recv_many(&mut batch, BATCH) => match count {
                    0 => return Ok(()),
                    _ => self.carry(&mut batch).await?,
                },
                () = sleep(wait) => {}
            }
            // After every turn: a full inbox must not keep a delay from running out.
            self.look_again().await?;
            self.trouble.last_turn = Some(self.clock.now().mono);
            self.progress.came_around();
        }
    }

    /// A process that was frozen wakes up with old values and long delays: it must look anew before it concludes.
    fn notice_standstill(&mut self) {
        let now = self.clock.now().mono;
        if self.trouble.last_turn.is_some_and(|last| now.since(last) > STOOD_STILL) {
            warn!("The gateway stood still for a while; alarms wait for fresh readings.");
            self.engine.stood_still(now);
            self.trouble.last_turn = Some(now);
        }
    }

    /// Ends alarms that no rule watches any more, so that nobody waits for their end. `last`: the latest event of each.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub async fn close_orphans(&mut self, last: Vec<Event>) -> Result<(), StoreError> {
        for last in last {
            let at = self.clock.now();
            let key = last.key();
            let seq = self.ledger.last_seq + 1;
            let event = Event {
                id: EventId::random().to_string(),
                seq,
                epoch: self.ledger.epoch.clone(),
                kind: TransitionKind::Closed,
                at: at.wall,
                alarm: AlarmFacts {
                    state: AlarmState::Closed,
                    reason: Some("rule_removed".to_owned()),
                    ..last.alarm
                },
                time_quality: self.clock.quality(),
                boot_id: self.clock.boot_id().to_owned(),
                mono_ms: at.mono.0.as_millis() as u64,
                demo: self.demo,
                ..last
            };
            let sealed = self.ledger.seal(event);
            warn!(alarm = %key, "No rule watches this alarm any more; it is closed.");
            let letters = (self.address)(&sealed);
            let alarms = vec![AlarmMemory::normal(key)];
            self.ledger.advance(&sealed);
            self.events.commit(Commit { events: vec![sealed], letters, alarms, audit: vec![] }).await?;
        }
        Ok(())
    }

    async fn carry(&mut self, batch: &mut Vec<Heard>) -> Result<(), StoreError> {
        self.notice_standstill();
        let mut changes: Vec<Change> = Vec::new();
        let mut readings: Vec<Reading> = Vec::new();
        for heard in batch.drain(..) {
            // A device is decided on once per commit: its next decision builds on the one before.
            if changes.iter().any(|change| change.device == heard.device) {
                self.settle(std::mem::take(&mut changes), std::mem::take(&mut readings)).await?;
            }
            let (device, at) = (heard.device, heard.at);
            readings.extend(self.decode(heard));
            changes.extend(self.engine.decide(device, at));
        }
        self.settle(changes, readings).await
    }

    /// Looks at devices whose delays run out though nothing was read.
    async fn look_again(&mut self) -> Result<(), StoreError> {
        self.notice_standstill();
        let now = self.clock.now();
        let (due, _) = self.engine.due(now.mono);
        let changes = due.into_iter().flat_map(|device| self.engine.decide(device, now)).collect();
        self.settle(changes, Vec::new()).await
    }

    /// How long until there is something to do without a reading; also the heartbeat of an idle pipeline.
    fn until_due(&self) -> Duration {
        const IDLE: Duration = Duration::from_secs(1);
        let now = self.clock.now().mono;
        let wait = match self.engine.due(now) {
            (due, _) if !due.is_empty() => Duration::ZERO,
            (_, Some(next)) => next.since(now).min(IDLE),
            (_, None) => IDLE,
        };
        match self.trouble.storage {
            Some(again) => wait.max(again.since(now)),
            None => wait,
        }
    }

    /// Raw to readings; tells the engine what was read.
    fn decode(&mut self, heard: Heard) -> Option<Reading> {
        let Heard { device, at, points, outcome, receipt } = heard;
        let raw = match outcome {
            Ok(raw) => raw,
            Err(why) => {
                self.engine.failed(device, &points, &why, at);
                if why == Failure::NotHeardYet {
                    return None;
                }
                return Some((device, at.wall, without_value(&points, Quality::CommFail), receipt));
            }
        };
        let retained = matches!(raw, Raw::Payload { retained: true, .. });
        let profile = Arc::clone(&self.devices[device.0 as usize].profile);
        let mut decoded = profile.decode(&raw, &points);
        self.note_malformed(device, decoded.malformed.as_deref());
        let wall = self.taken_at(&mut decoded, &profile.link, at.wall);
        let at = Stamp { wall, ..at };
        match (decoded.malformed.is_some(), retained) {
            (false, false) => self.engine.heard(device, &decoded.samples, at),
            (false, true) => self.engine.recalled(device, &decoded.samples, at),
            (true, false) => {
                self.engine.garbled(device, &points, at);
                decoded.samples = without_value(&points, Quality::DecodeError);
            }
            (true, true) => {}
        }
        Some((device, wall, decoded.samples, receipt))
    }

    /// When it was taken: the device's own time where it says so and can be believed. Too old a value is stale.
    fn taken_at(&self, decoded: &mut Decoded, link: &Link, arrived: Timestamp) -> Timestamp {
        let Some(source) = decoded.source_time else { return arrived };
        let lag = arrived.duration_since(source);
        if lag < -AHEAD {
            return arrived;
        }
        let heartbeat = match link {
            Link::Mqtt(link) => link.heartbeat.unwrap_or_default(),
            Link::Serial(_) | Link::Modbus(_) => Duration::ZERO,
        };
        // Only a clock that is certainly right may judge another one: else a step of ours would silence alarms.
        let sure = self.clock.quality() == TimeQuality::Synced;
        if sure && Duration::try_from(lag).is_ok_and(|lag| lag > LATE.max(heartbeat)) {
            let samples = std::mem::take(&mut decoded.samples).into_iter();
            decoded.samples = samples.map(|(point, sample)| (point, sample.aged())).collect();
        }
        source
    }

    /// Commits what was decided, then lets it count; then keeps the readings it came from.
    async fn settle(&mut self, changes: Vec<Change>, readings: Vec<Reading>) -> Result<(), StoreError> {
        let committed = match changes.is_empty() {
            true => true,
            // Not before it is time to try again: what was decided is decided again then.
            false if self.resting() => false,
            false => match self.commit(changes, Vec::new()).await {
                Ok(()) => true,
                Err(StoreError::Full { .. }) => false,
                Err(error) => return Err(error),
            },
        };
        self.progress.came_around();
        for (device, at, samples, receipt) in readings {
            // Without the commit nobody may be told that the message is safe: it will come again.
            let receipt = receipt.filter(|_| committed);
            if samples.is_empty() {
                if let Some(receipt) = receipt {
                    // Nobody waits for it any more: the bus is gone, and its broker will send again.
                    receipt.send(()).unwrap_or_else(|()| debug!("Nobody waits for the receipt."));
                }
                continue;
            }
            let kept = self.telemetry.keep(Row { device, at, samples, receipt });
            self.note_telemetry(kept);
        }
        Ok(())
    }

    /// The disk was full a moment ago.
    fn resting(&self) -> bool {
        self.trouble.storage.is_some_and(|again| self.clock.now().mono < again)
    }

    async fn commit(&mut self, mut changes: Vec<Change>, audit: Vec<AuditEntry>) -> Result<(), StoreError> {
        let (events, ledger) = self.seal(&mut changes);
        let letters = events.iter().flat_map(|sealed| (self.address)(sealed)).collect();
        let alarms = changes.iter().map(Change::stored).collect();
        let told: Vec<Event> = events.iter().map(|sealed| sealed.event.clone()).collect();
        match self.events.commit(Commit { events, letters, alarms, audit }).await {
            Ok(()) => {
                self.ledger = ledger;
                self.engine.apply(changes);
                self.note_storage(None);
                told.iter().for_each(log);
                self.wake.iter().for_each(|courier| courier.notify_one());
                Ok(())
            }
            Err(error) => {
                self.note_storage(Some(&error));
                Err(error)
            }
        }
    }

    /// Gives each transition its event, its number and its link in the chain.
    fn seal(&self, changes: &mut [Change]) -> (Vec<Sealed>, Ledger) {
        let mut ledger = self.ledger.clone();
        let mut events = Vec::new();
        for change in changes {
            let Some(step) = change.step else { continue };
            let seq = ledger.last_seq + 1;
            let fresh = || OccurrenceId::from(format!("{}-{seq}", ledger.epoch.get(..4).unwrap_or("0")));
            let occurrence = change.memory.occurrence.get_or_insert_with(fresh).clone();
            let event = self.event(change, step.kind, step.at, seq, occurrence);
            let sealed = ledger.seal(event);
            ledger.advance(&sealed);
            events.push(sealed);
        }
        (events, ledger)
    }

    fn event(
        &self,
        change: &Change,
        kind: TransitionKind,
        at: Stamp,
        seq: u64,
        occurrence: OccurrenceId,
    ) -> Event {
        let rule = self.engine.rule(change);
        let (_, latest) = self.engine.device(change.device);
        let memory = &change.memory;
        Event {
            id: EventId::random().to_string(),
            seq,
            epoch: self.ledger.epoch.clone(),
            kind,
            at: at.wall,
            site: self.site.clone(),
            device: self.devices[change.device.0 as usize].facts(),
            alarm: AlarmFacts {
                name: rule.alarm.name.clone(),
                occurrence,
                priority: rule.alarm.priority,
                state: memory.state.expect("a transition leads to a state"),
                title: rule.alarm.title.clone(),
                origin: rule.alarm.origin,
                raised_at: memory.raised_at.unwrap_or(at.wall),
                returned_at: memory.returned_at,
                acknowledged: memory.acknowledged.clone(),
                reason: None,
            },
            readings: facts(latest, at.mono),
            time_quality: self.clock.quality(),
            boot_id: self.clock.boot_id().to_owned(),
            mono_ms: at.mono.0.as_millis() as u64,
            demo: self.demo,
        }
    }

    /// Whoever asked may have gone by the time of the answer; what was done is done and stands in the audit.
    async fn answer(&mut self, asked: Asked) -> Result<(), StoreError> {
        match asked {
            Asked::Command(command, reply) if command.fault().is_some() => {
                let why = command.fault().map_or_else(String::new, |fault| fault.en);
                reply
                    .send(Outcome::NotStored { why })
                    .unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
                Ok(())
            }
            Asked::Command(Command::Acknowledge { alarm, by, note, from }, reply) => {
                let (outcome, error) = self.acknowledge(alarm, by, note, from).await;
                reply
                    .send(outcome)
                    .unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
                error.map_or(Ok(()), Err)
            }
            Asked::Devices(reply) => {
                reply
                    .send((self.statuses(), self.trouble.why_not_stored.clone()))
                    .unwrap_or_else(|_| debug!("Nobody waits for the answer."));
                Ok(())
            }
        }
    }

    fn statuses(&self) -> Vec<DeviceStatus> {
        let numbered = self.devices.iter().enumerate();
        numbered
            .map(|(ix, device)| {
                let (_, latest) = self.engine.device(DeviceIx(ix as u32));
                DeviceStatus {
                    id: device.id.clone(),
                    name: device.name.clone(),
                    class: device.profile.class.name.clone(),
                    profile: device.profile.id.to_string(),
                    bus: device.bus.clone(),
                    link: match latest.link_lost() {
                        Truth::True => LinkState::Lost,
                        Truth::False => LinkState::Online,
                        Truth::Unknown => LinkState::Unknown,
                    },
                    answered_at: latest.answered().map(|at| at.wall),
                }
            })
            .collect()
    }

    async fn acknowledge(
        &mut self,
        alarm: OccurrenceId,
        by: String,
        note: Option<String>,
        from: String,
    ) -> (Outcome, Option<StoreError>) {
        let at = self.clock.now();
        let who = Acknowledgement { by: by.clone(), at: at.wall, note: note.clone(), from: from.clone() };
        let (changes, outcome) = match self.engine.acknowledge(&alarm, who, at) {
            Acknowledged::Change(change) => {
                let state = change.memory.state.expect("an acknowledgement leads to a state");
                (vec![*change], Outcome::Acknowledged { alarm: alarm.clone(), state })
            }
            Acknowledged::Already { by } => {
                (vec![], Outcome::AlreadyAcknowledged { alarm: alarm.clone(), by })
            }
            Acknowledged::NoSuchAlarm => (vec![], Outcome::NoSuchAlarm { alarm: alarm.clone() }),
        };
        let said = note.map_or_else(String::new, |note| format!(": {note}"));
        let result = match &outcome {
            Outcome::Acknowledged { .. } => format!("acknowledged{said}"),
            Outcome::AlreadyAcknowledged { by, .. } => format!("already acknowledged by {by}{said}"),
            Outcome::NoSuchAlarm { .. } => "no such alarm".to_owned(),
            Outcome::NotStored { why } => why.clone(),
        };
        let audit = AuditEntry {
            at: at.wall,
            who: by,
            from,
            action: "acknowledge",
            object: alarm.to_string(),
            outcome: result,
        };
        match self.commit(changes, vec![audit]).await {
            Ok(()) => (outcome, None),
            Err(error @ StoreError::Full { .. }) => (Outcome::NotStored { why: error.to_string() }, None),
            Err(error) => (Outcome::NotStored { why: error.to_string() }, Some(error)),
        }
    }

    fn note_storage(&mut self, error: Option<&StoreError>) {
        let again = error.map(|_| self.clock.now().mono + RETRY);
        match (error, self.trouble.storage) {
            (Some(error), None) => {
                error!(%error, "Alarms cannot be stored; they are decided again every second, or after a new start.");
            }
            (None, Some(_)) => info!("Alarms can be stored again."),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.trouble.storage = again;
        self.trouble.why_not_stored = error.map(ToString::to_string);
    }

    fn note_malformed(&mut self, device: DeviceIx, why: Option<&str>) {
        let Some(why) = why else { return };
        let now = self.clock.now().mono;
        if self.trouble.malformed.get(&device).is_none_or(|told| now.since(*told) > TELL_AGAIN) {
            self.trouble.malformed.insert(device, now);
            let id = &self.devices[device.0 as usize].id;
            warn!(device = %id, why, "What the device sends cannot be read; it counts as no answer.");
        }
    }

    fn note_telemetry(&mut self, kept: Kept) {
        match (kept, self.trouble.telemetry_full) {
            (Kept::Full, false) => {
                error!("The disk does not keep up: readings are lost (alarms are not).");
            }
            (Kept::Queued, true) => {
                info!(lost = self.telemetry.dropped(), "Readings are stored again.");
            }
            (Kept::Full, true) | (Kept::Queued, false) => {}
        }
        self.trouble.telemetry_full = kept == Kept::Full;
    }
}

fn without_value(points: &[PointIx], quality: Quality) -> Vec<(PointIx, Sample)> {
    points.iter().map(|point| (*point, Sample::without_value(quality))).collect()
}

/// Everything known of the device at that moment, under the class's names.
fn facts(latest: &Latest, now: Mono) -> std::collections::BTreeMap<crate::domain::PointName, ReadingFact> {
    let profile = latest.profile();
    let points = (0..profile.points.len()).map(|at| PointIx(at as u16));
    let known = points.filter_map(|point| Some((point, latest.sample(point, now)?)));
    known
        .map(|(point, (sample, at))| {
            let class = profile.class_point(point);
            let fact = ReadingFact {
                value: sample.value().cloned(),
                unit: class.unit.clone(),
                quality: sample.quality(),
                at: at.wall,
                data: class.data,
            };
            (class.name.clone(), fact)
        })
        .collect()
}

fn log(event: &Event) {
    let title = event.alarm.title.get(Lang::En);
    info!(
        device = %event.device.id, alarm = %event.alarm.name, occurrence = %event.alarm.occurrence,
        step = ?event.kind, state = ?event.alarm.state, seq = event.seq, title,
        "Alarm changed."
    );
}
