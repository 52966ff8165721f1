//! One batch, told as a paragraph: decode → decide → commit → apply → wake. Operators' commands enter here too.
//!
//! The only writer of alarm transitions. It ends when every bus has hung up and its inbox is empty, or when the store can
//! no longer be trusted: then the whole gateway starts anew.

mod credit;
mod drill;
mod flood;
mod ledger;
mod letters;
mod messages;
mod operate;
mod people;
mod private;
mod recency;
mod trouble;
mod upkeep;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};
use tracing::warn;

pub use self::{
    credit::Credits,
    drill::{DrillFiled, occurrence as drill_occurrence},
    flood::Tide,
    ledger::{Ledger, Orphaned},
    operate::{Operations, Tell, Telling},
    private::Private,
    recency::Recent,
    trouble::{Progress, Trouble},
    upkeep::Upkeep,
};
use self::{messages::Message, trouble::log};
use crate::{
    alarm::{Change, Engine},
    domain::{
        BusId, Clock, DeviceId, DeviceIx, EndpointId, Event, Failure, Heard, Letter, PointIx, Priority,
        Quality, Raw, Receipt, Sample, SiteFacts,
        command::{Command, Outcome},
        status::{DeviceStatus, LatestReadings, MessageCounts},
    },
    profile::Device,
    store::{AuditEntry, Commit, EventStore, StoreError, TelemetryStore, evidence::Sealed},
};

/// How many exchanges one batch takes: enough to share a commit, few enough to stay prompt.
const BATCH: usize = 256;
/// After a failed commit the same decisions are made again, this much later.
const RETRY: Duration = Duration::from_secs(1);
/// A pipeline that did not come around for this long was frozen or starved: it comes around every second.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// How long the pipeline waits after a batch for a store that is behind, by its pressure: no longer than an alarm may well wait.
const BREATHERS: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(80)];
/// How often one device's unreadable messages are told at most.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// What comes in by the door.
#[derive(Debug)]
pub enum Asked {
    /// The answer comes when it is on disk.
    Command(Command, oneshot::Sender<Outcome>),
    Devices(oneshot::Sender<Standing>),
    /// What the points of a device, or of all, showed last.
    Latest(Option<DeviceId>, oneshot::Sender<Vec<LatestReadings>>),
    /// Something that is no command and must be on record: a caller who was turned away, a token that came or went.
    /// Answered when it is on disk; not at all if it could not be stored.
    OnRecord(AuditEntry, oneshot::Sender<()>),
    /// An endpoint is to be tested. The answer comes when the drill is on disk, and on its way.
    Drill(EndpointId, oneshot::Sender<DrillFiled>),
}

/// How things stand, as far as the pipeline knows.
#[derive(Debug)]
pub struct Standing {
    pub devices: Vec<DeviceStatus>,
    /// Why alarms cannot be stored, if they cannot.
    pub storage: Option<String>,
    /// Of the buses on which messages came that did not become good readings.
    pub messages: BTreeMap<BusId, MessageCounts>,
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
    pub upkeep: Upkeep,
    pub tide: Tide,
    /// What devices that number or time their messages said lately.
    pub recent: Recent,
    pub messages: BTreeMap<BusId, MessageCounts>,
    /// What is on its way to devices.
    pub operations: Operations,
    pub private: Private,
    pub credits: Credits,
    pub spare: Spare,
}

/// Memory of rows that are stored, for the next ones: on the field's thread every reading goes through some.
#[derive(Debug, Default)]
pub struct Spare(Vec<Vec<(PointIx, Sample)>>);

impl Spare {
    fn give(&mut self) -> Vec<(PointIx, Sample)> {
        self.0.pop().unwrap_or_default()
    }

    /// No more than one batch needs, and no large ones: those are few.
    fn take_back(&mut self, mut samples: Vec<(PointIx, Sample)>) {
        const LARGE: usize = 128;
        if self.0.len() < BATCH && (1..=LARGE).contains(&samples.capacity()) {
            samples.clear();
            self.0.push(samples);
        }
    }
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
                (number, reply) = self.operations.next_reply() => self.told(number, reply).await?,
                count = self.heard.recv_many(&mut batch, BATCH) => match count {
                    0 => return self.end_operations().await,
                    _ => {
                        self.take_more(&mut batch).await;
                        self.carry(&mut batch).await?;
                        self.let_store_catch_up().await;
                    }
                },
                () = sleep(wait) => {}
            }
            // After every turn: a full inbox must not keep a delay from running out.
            self.look_again().await?;
            self.watch_operations().await?;
            self.look_after_the_store().await?;
            self.look_after_the_flood().await?;
            self.look_after_the_credits().await?;
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

    /// Buses that have more at hand get the time to say it: one round for many exchanges costs little more than for one.
    async fn take_more(&mut self, batch: &mut Vec<Heard>) {
        tokio::task::yield_now().await;
        while batch.len() < BATCH
            && let Ok(heard) = self.heard.try_recv()
        {
            batch.push(heard);
        }
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
            let reading = self.decode(heard);
            changes.extend(self.engine.decide(device, at));
            match reading {
                // While nothing waits for the disk a row goes on at once: its memory, still at hand, is the next one's.
                Some(reading) if changes.is_empty() && readings.is_empty() && !self.credits.is_waiting() => {
                    self.keep_row(reading, true);
                }
                reading => readings.extend(reading),
            }
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
        let wait = match self.trouble.storage {
            Some(again) => wait.max(again.since(now)),
            None => wait,
        };
        self.next_upkeep().map_or(wait, |next| wait.min(next.since(now)))
    }

    /// Raw to readings; tells the engine what was read.
    fn decode(&mut self, heard: Heard) -> Option<Reading> {
        let Heard { device, at, points, outcome, receipt } = heard;
        let raw = match outcome {
            Ok(Raw::Payload { bytes, retained }) => {
                return Some(self.message(Message { device, at, points, bytes, retained, receipt }));
            }
            Ok(raw) => raw,
            Err(why) => {
                self.engine.failed(device, &points, &why, at);
                if why == Failure::NotHeardYet {
                    return None;
                }
                return Some((device, at.wall, without_value(&points, Quality::CommFail), receipt));
            }
        };
        let memory = self.spare.give();
        let samples = self.devices[device.0 as usize].profile.decode_into(memory, &raw, &points).samples;
        self.claim(device, &samples, at.wall, false);
        self.engine.heard(device, &samples, at);
        Some((device, at.wall, samples, receipt))
    }

    /// Commits what was decided, then lets it count; then keeps the readings it came from.
    async fn settle(&mut self, changes: Vec<Change>, readings: Vec<Reading>) -> Result<(), StoreError> {
        let committed = match changes.is_empty() {
            true => true,
            // Not before it is time to try again: what was decided is decided again then. What is urgent goes from memory at once.
            false if self.resting() && !self.is_urgent(&changes) => false,
            false => match self.commit(changes, Vec::new()).await {
                Ok(()) => true,
                Err(error) => self.survive(error).map(|()| false)?,
            },
        };
        let entered = self.enter_claims().await?;
        self.progress.came_around();
        for reading in readings {
            let earns = self.devices[reading.0.0 as usize].profile.credit.is_some();
            self.keep_row(reading, committed && (entered || !earns));
        }
        Ok(())
    }

    /// `is_safe`: what the row's message says beside it is on disk.
    fn keep_row(&mut self, (device, at, samples, receipt): Reading, is_safe: bool) {
        // Without the commit nobody may be told that the message is safe: it will come again.
        let receipt = receipt.filter(|_| is_safe);
        // Nothing to keep: a receipt waits behind the rows before it all the same, one of them may be what came twice.
        if samples.is_empty() && receipt.is_none() {
            return;
        }
        let samples = self.private.kept(device, samples);
        let kept = self.telemetry.keep_lent(device, at, &samples, receipt);
        self.note_telemetry(kept);
        self.spare.take_back(samples);
    }

    fn is_urgent(&self, changes: &[Change]) -> bool {
        changes.iter().filter(|change| change.step.is_some()).any(|change| {
            match self.engine.rule(change).alarm.priority {
                Priority::Critical | Priority::High => true,
                Priority::Medium | Priority::Low => false,
            }
        })
    }

    /// The disk was full a moment ago.
    fn resting(&self) -> bool {
        self.trouble.storage.is_some_and(|again| self.clock.now().mono < again)
    }

    async fn commit(&mut self, mut changes: Vec<Change>, audit: Vec<AuditEntry>) -> Result<(), StoreError> {
        let (events, ledger, mut flood) = self.seal(&mut changes);
        let letters = events.iter().flat_map(|sealed| (self.address)(sealed)).collect();
        let kept = changes.iter().map(Change::stored);
        let alarms = kept.chain(self.flood_memory(&flood)).collect();
        let told: Vec<Event> = events.iter().map(|sealed| sealed.event.clone()).collect();
        let commit = Arc::new(Commit { events, letters, alarms, audit, ..Commit::default() });
        match self.events.commit(Arc::clone(&commit)).await {
            Ok(()) => {
                crash_point!("pipeline.committed");
                self.note_storage(None);
            }
            Err(error) => {
                self.note_storage(Some(&error));
                if !Self::goes_all_the_same(&error, &commit) {
                    return Err(error);
                }
                self.hold(commit).await?;
                self.survive(error)?;
            }
        }
        flood.is_kept();
        (self.ledger, self.tide.flood) = (ledger, flood);
        self.engine.apply(changes);
        told.iter().for_each(log);
        self.wake.iter().for_each(|courier| courier.notify_one());
        crash_point!("pipeline.woken");
        Ok(())
    }
}

fn without_value(points: &[PointIx], quality: Quality) -> Vec<(PointIx, Sample)> {
    points.iter().map(|point| (*point, Sample::without_value(quality))).collect()
}
