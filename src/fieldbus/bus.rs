//! One task owns one bus: keeps its line open, asks what is due, listens in between, and hands on what it heard.
//!
//! Out of turn go orders (ahead of everything), probes of lost units (a small share) and inquiries (what time is left). A silent device is
//! data here (`Heard` with a failure), never an error that ends the task. What a full inbox does: the bus waits at `send`, so it
//! polls slower; nothing grows.

mod counted;
mod exchange;
mod line;
mod out_of_turn;
mod parts;
mod report;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub(super) use self::line::Chance;
use self::{counted::Load, line::LineState, out_of_turn::Spare, parts::Splits, report::Reporter};
use super::{
    BusCounters,
    driver::{Driver, Unasked},
    health::{Change, Health},
    order::Inbox,
    probe::Probes,
    record::Tape,
    refusal::Refusals,
    schedule::{Next, Schedule},
    unit::{Layout, Slot, Unit},
};
use crate::{
    domain::{
        BusId, Clock, DeviceId, DeviceIx, Diagnosis, Failure, Heard, Lang, Medium, PointIx, Raw, Receipt,
        Stamp,
    },
    profile::{Address, Profile},
};

/// At most so many unasked messages are taken between two questions: talkers must not keep the others from being asked.
const UNASKED_IN_A_ROW: usize = 64;

/// A device of a bus, as the bus needs to know it.
#[derive(Clone, Debug)]
pub struct BusDevice {
    pub ix: DeviceIx,
    pub id: DeviceId,
    pub address: Address,
    pub medium: Medium,
    pub profile: Arc<Profile>,
}

/// What a bus of any kind is made of.
pub struct BusParts {
    pub id: BusId,
    pub devices: Vec<BusDevice>,
    /// As whom the line itself reports how it is, if it does: a device that speaks by itself.
    pub own: Option<BusDevice>,
    /// To the pipeline. Bounded: a full inbox slows the polls down.
    pub sender: mpsc::Sender<Heard>,
    pub clock: Arc<dyn Clock>,
    pub counters: Arc<BusCounters>,
    /// What it is told and asked out of turn.
    pub inbox: Inbox,
    /// What its line carries is kept here.
    pub tape: Arc<Tape>,
    /// Where the jitter of reconnects comes from.
    pub seed: u64,
}

#[derive(Debug, Error)]
pub enum BusError {
    #[error("hand on what bus {bus} heard: nobody listens")]
    NobodyListens { bus: BusId },
}

/// One bus with its line.
pub struct Bus<D> {
    id: BusId,
    driver: D,
    units: Vec<Unit>,
    slots: Vec<Slot>,
    by_device: HashMap<DeviceIx, usize>,
    schedule: Schedule,
    probes: Probes,
    line: LineState,
    refusals: Refusals,
    splits: Splits,
    /// How often a slot's question was tried in vain and is to be tried again.
    tries: HashMap<usize, u32>,
    sender: mpsc::Sender<Heard>,
    clock: Arc<dyn Clock>,
    counters: Arc<BusCounters>,
    load: Load,
    inbox: Inbox,
    spare: Spare,
    reporter: Reporter,
    chance: Chance,
}

/// What the bus does next by itself.
enum Step {
    Probe(usize),
    Serve(usize),
    /// Nothing before then, or ever.
    Wait(Option<Instant>),
}

impl<D: Driver> Bus<D> {
    pub fn new(driver: D, parts: BusParts) -> Self {
        let now = Instant::now();
        let layout = Layout::new(parts.devices, &driver.cost());
        Self {
            id: parts.id,
            driver,
            schedule: Schedule::new(&layout.beats, now),
            probes: Probes::new(now),
            units: layout.units,
            slots: layout.slots,
            by_device: layout.by_device,
            line: LineState::new(now),
            refusals: Refusals::default(),
            splits: Splits::default(),
            tries: HashMap::new(),
            sender: parts.sender,
            clock: parts.clock,
            counters: parts.counters,
            load: Load::new(now),
            inbox: parts.inbox,
            spare: Spare::new(now),
            reporter: Reporter::new(parts.own, now),
            chance: Chance(parts.seed),
        }
    }

    /// Polls until `stop`.
    ///
    /// # Errors
    /// When nobody takes what it heard: the pipeline is gone.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BusError> {
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                turned = self.turn() => if turned.is_err() { break turned },
            }
        };
        self.driver.finish().await;
        ended
    }

    /// One turn: open the line, then do what goes first; with nothing to do, hear what comes before there is.
    async fn turn(&mut self) -> Result<(), BusError> {
        self.wait_for_line().await?;
        self.report_if_due().await?;
        if let Err(fault) = self.open().await {
            return self.line_down(fault).await;
        }
        if std::mem::take(&mut self.line.just_back) {
            self.tell_back().await?;
        }
        if let Ok(order) = self.inbox.orders.try_recv() {
            return self.tell_device(order).await;
        }
        let now = Instant::now();
        if !self.inbox.inquiries.is_empty()
            && self.spare.is_owed(now, self.schedule.next_alarm())
            && let Ok(inquiry) = self.inbox.inquiries.try_recv()
        {
            return self.inquire(inquiry).await;
        }
        match self.step(now) {
            Step::Probe(unit) => self.probe(unit).await?,
            Step::Serve(slot) => self.serve(slot).await?,
            Step::Wait(until) => return self.wait(now, until).await,
        }
        self.take_unasked().await
    }

    fn step(&mut self, now: Instant) -> Step {
        let others_answer = self.units.iter().any(|unit| unit.health.state() != Health::Lost);
        let probe = self.probes.next(others_answer);
        if let Some((at, unit)) = probe
            && at <= now
        {
            return Step::Probe(unit);
        }
        let probe_at = probe.map(|(at, _)| at);
        match self.schedule.next(now) {
            Next::Serve { slot, late } => {
                if late {
                    BusCounters::add(&self.counters.late);
                }
                Step::Serve(slot)
            }
            Next::At(at) => Step::Wait(Some(probe_at.map_or(at, |probe| probe.min(at)))),
            Next::Nothing => Step::Wait(probe_at),
        }
    }

    /// Nothing to do before `until`: whatever comes first.
    async fn wait(&mut self, now: Instant, until: Option<Instant>) -> Result<(), BusError> {
        let until = [until, self.reporter.due()].into_iter().flatten().min();
        let spare_at = self.spare.free_at(now, self.schedule.next_alarm());
        tokio::select! {
            biased;
            Some(order) = self.inbox.orders.recv() => self.tell_device(order).await,
            () = sleep_until(until.unwrap_or(now)), if until.is_some() => Ok(()),
            Some(inquiry) = after(spare_at, self.inbox.inquiries.recv()) => self.inquire(inquiry).await,
            unasked = self.driver.hear() => self.unasked(unasked).await,
        }
    }

    async fn serve(&mut self, slot: usize) -> Result<(), BusError> {
        match self.slots[slot] {
            Slot::Ask { .. } => self.poll(slot).await,
            Slot::Free => {
                self.schedule.pause(slot);
                Ok(())
            }
            Slot::Watch { unit, heartbeat } => {
                self.schedule.put_off(slot, Instant::now() + heartbeat);
                let change = self.units[unit].health.fell_silent();
                self.log_change(unit, change, "no message within its heartbeat");
                let all = self.units[unit].all.clone();
                self.tell(unit, all, Err(Failure::Silent), None).await
            }
        }
    }

    /// The unit was heard: it is online or on its way, and the line works. `took`: how long its answer took, if it was asked.
    fn answered(&mut self, unit: usize, took: Option<Duration>, now: Instant) {
        self.line_works();
        let change = self.units[unit].health.answered(took);
        self.log_change(unit, change, "");
        let was_lost = change.is_some_and(|change| change.from == Health::Lost);
        if was_lost {
            self.probes.forget(unit);
            self.forget_parts(unit);
            // what brought this one back may have brought the others back too
            self.probes.all_now(now);
        }
        for &slot in &self.units[unit].slots {
            match self.slots[slot] {
                Slot::Ask { .. } if was_lost => self.schedule.put_off(slot, now),
                Slot::Ask { .. } | Slot::Free => {}
                Slot::Watch { heartbeat, .. } => self.schedule.put_off(slot, now + heartbeat),
            }
        }
    }

    /// What came in while the line was asked something.
    async fn take_unasked(&mut self) -> Result<(), BusError> {
        for _ in 0..UNASKED_IN_A_ROW {
            let waiting = tokio::select! {
                biased;
                unasked = self.driver.hear() => unasked,
                () = std::future::ready(()) => break,
            };
            self.unasked(waiting).await?;
        }
        Ok(())
    }

    async fn unasked(&mut self, unasked: Unasked) -> Result<(), BusError> {
        match unasked {
            Unasked::Message { device, raw, receipt } => {
                BusCounters::add(&self.counters.unasked);
                let Some(&unit) = self.by_device.get(&device) else { return Ok(()) };
                // nobody knows how old a retained message is: it is no sign of life
                if !matches!(raw, Raw::Payload { retained: true, .. }) {
                    self.answered(unit, None, Instant::now());
                }
                let points = self.units[unit].points_of(&raw, None);
                self.tell(unit, points, Ok(raw), receipt).await
            }
            Unasked::Stranger => {
                BusCounters::add(&self.counters.unasked);
                if self.counters.strangers.fetch_add(1, Relaxed) == 0 {
                    let checks = Diagnosis::unasked().checks_line(Lang::En);
                    info!(bus = %self.id, checks, "Frames come that nobody asked for; they are ignored.");
                }
                Ok(())
            }
            Unasked::Noise => {
                BusCounters::add(&self.counters.garbled);
                Ok(())
            }
            Unasked::Gone(fault) => self.line_down(fault).await,
        }
    }

    // `&mut`: a driver need not be `Sync` to be waited with
    async fn tell(
        &mut self,
        unit: usize,
        points: Arc<[PointIx]>,
        outcome: Result<Raw, Failure>,
        receipt: Option<Receipt>,
    ) -> Result<(), BusError> {
        self.tell_of(self.clock.now(), unit, points, outcome, receipt).await
    }

    async fn tell_of(
        &mut self,
        at: Stamp,
        unit: usize,
        points: Arc<[PointIx]>,
        outcome: Result<Raw, Failure>,
        receipt: Option<Receipt>,
    ) -> Result<(), BusError> {
        let heard = Heard { device: self.units[unit].device.ix, at, points, outcome, receipt };
        self.sender.send(heard).await.map_err(|_| BusError::NobodyListens { bus: self.id.clone() })
    }

    fn log_change(&self, unit: usize, change: Option<Change>, error: &str) {
        let Some(Change { from, to }) = change else { return };
        let device = &self.units[unit].device.id;
        match (from, to) {
            (_, Health::Lost) => warn!(bus = %self.id, %device, %from, %to, error, "Device health changed."),
            (Health::Lost, _) => info!(bus = %self.id, %device, %from, %to, "Device health changed."),
            (Health::Online | Health::Degraded, _) => {
                debug!(bus = %self.id, %device, %from, %to, error, "Device health changed.");
            }
        }
    }
}

/// What `future` gives, but not before `at`; never where there is no such time. Cancel-safe if `future` is.
async fn after<T>(at: Option<Instant>, future: impl Future<Output = T>) -> T {
    match at {
        Some(at) => {
            sleep_until(at).await;
            future.await
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
