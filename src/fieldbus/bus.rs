//! One task owns one bus: keeps its line open, asks what is due, listens in between, and hands on what it heard.
//!
//! A silent device is data here (`Heard` with a failure), never an error that ends the task. What a full inbox does: the bus waits
//! at `send`, so it polls slower; nothing grows.

use std::{collections::HashMap, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    BusCounters,
    driver::{AskFault, Driver, Line, LineFault, Unasked},
    health::{Change, Health},
    order::{Inbox, Inquiry, Order},
    plan::{Ask, Request},
    record::Tape,
    refusal::Refusals,
    schedule::Schedule,
    unit::{Layout, Slot, Unit},
};
use crate::{
    domain::{BusId, Clock, DeviceId, DeviceIx, Failure, Heard, Lang, PointIx, Raw, Receipt},
    profile::{Address, Profile},
};

/// A line that does not open is tried again after this, doubled each time, up to the longest.
const FIRST_REOPEN: Duration = Duration::from_millis(500);
const LONGEST_REOPEN: Duration = Duration::from_secs(10);
/// How long a line is left alone on which somebody babbles.
const BABBLE_REST: Duration = Duration::from_secs(30);
/// At most so many unasked messages are taken between two questions: talkers must not keep the others from being asked.
const UNASKED_IN_A_ROW: usize = 64;

/// A device of a bus, as the bus needs to know it.
#[derive(Clone, Debug)]
pub struct BusDevice {
    pub ix: DeviceIx,
    pub id: DeviceId,
    pub address: Address,
    pub profile: Arc<Profile>,
}

/// What a bus of any kind is made of.
pub struct BusParts {
    pub id: BusId,
    pub devices: Vec<BusDevice>,
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
    line: LineState,
    refusals: Refusals,
    sender: mpsc::Sender<Heard>,
    clock: Arc<dyn Clock>,
    counters: Arc<BusCounters>,
    inbox: Inbox,
    chance: Chance,
}

/// What is known of the line.
struct LineState {
    opened_before: bool,
    /// Not to be tried before.
    retry_at: Instant,
    /// How long the next wait is; short again once something was heard.
    wait: Duration,
    /// Its devices were told that it is down, and nothing was heard since.
    told_down: bool,
    /// It was opened again after they were told; they do not know yet.
    just_back: bool,
}

impl<D: Driver> Bus<D> {
    pub fn new(driver: D, parts: BusParts) -> Self {
        let now = Instant::now();
        let layout = Layout::new(parts.devices);
        let periods = layout.periods();
        Self {
            id: parts.id,
            driver,
            schedule: Schedule::new(&periods, now),
            units: layout.units,
            slots: layout.slots,
            by_device: layout.by_device,
            line: LineState {
                opened_before: false,
                retry_at: now,
                wait: FIRST_REOPEN,
                told_down: false,
                just_back: false,
            },
            refusals: Refusals::default(),
            sender: parts.sender,
            clock: parts.clock,
            counters: parts.counters,
            inbox: parts.inbox,
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

    /// One step: open the line, then ask what is due or hear what comes before that.
    async fn turn(&mut self) -> Result<(), BusError> {
        sleep_until(self.line.retry_at).await;
        if let Err(fault) = self.open().await {
            return self.line_down(fault).await;
        }
        if std::mem::take(&mut self.line.just_back) {
            self.tell_back().await?;
        }
        let next = self.schedule.next();
        tokio::select! {
            biased;
            Some(order) = self.inbox.orders.recv() => self.tell_device(order).await,
            slot = due(next) => {
                self.serve(slot).await?;
                self.take_unasked().await
            }
            Some(inquiry) = self.inbox.inquiries.recv() => self.inquire(inquiry).await,
            unasked = self.driver.hear() => self.unasked(unasked).await,
        }
    }

    /// Once: what comes of it, nobody knows better than the caller.
    async fn tell_device(&mut self, order: Order) -> Result<(), BusError> {
        let Order { device, instruction, reply } = order;
        let Some(&unit) = self.by_device.get(&device) else { return Ok(()) };
        let device = &self.units[unit].device;
        BusCounters::add(&self.counters.requests);
        let outcome = self.driver.tell(&device.address, &device.profile.link, &instruction).await;
        self.count(&outcome);
        self.settle(outcome, reply).await
    }

    /// An installer's question: no device's health follows from it.
    async fn inquire(&mut self, inquiry: Inquiry) -> Result<(), BusError> {
        let Inquiry { unit, link, ask, reply } = inquiry;
        if reply.is_closed() {
            return Ok(());
        }
        BusCounters::add(&self.counters.requests);
        let outcome = self.driver.ask(&unit, &link, &ask).await;
        self.count(&outcome);
        self.settle(outcome, reply).await
    }

    /// Whoever asked may have gone; a line that went down meanwhile is everybody's business.
    async fn settle<T>(
        &mut self,
        outcome: Result<T, AskFault>,
        reply: oneshot::Sender<Result<T, AskFault>>,
    ) -> Result<(), BusError> {
        let down = match &outcome {
            Err(AskFault::LineDown(fault)) => Some(fault.clone()),
            _ => None,
        };
        if reply.send(outcome).is_err() {
            debug!(bus = %self.id, "Nobody waits for the answer.");
        }
        match down {
            Some(fault) => self.line_down(fault).await,
            None => Ok(()),
        }
    }

    async fn open(&mut self) -> Result<(), LineFault> {
        match self.driver.connect().await? {
            Line::Kept => {}
            Line::Opened => {
                let first = !std::mem::replace(&mut self.line.opened_before, true);
                if !first {
                    BusCounters::add(&self.counters.reconnects);
                }
                if first || self.line.told_down {
                    self.start_afresh();
                }
                self.line.just_back = self.line.told_down;
            }
        }
        Ok(())
    }

    /// The line is back: devices that speak only by themselves may be quiet for hours, which is no loss of them.
    async fn tell_back(&mut self) -> Result<(), BusError> {
        let quiet = self.units.iter().map(|unit| unit.probe.is_none()).collect::<Vec<_>>();
        for unit in (0..quiet.len()).filter(|unit| quiet[*unit]) {
            let all = self.units[unit].all.clone();
            self.tell(unit, all, Err(Failure::NotHeardYet), None).await?;
        }
        if quiet.iter().all(|quiet| *quiet) {
            self.line.told_down = false;
            info!(bus = %self.id, "Bus is back.");
        }
        Ok(())
    }

    async fn serve(&mut self, slot: usize) -> Result<(), BusError> {
        match self.slots[slot].clone() {
            Slot::Ask { unit, request } => {
                let outcome = self.ask(unit, &request.ask).await;
                self.asked(slot, unit, &request, outcome).await
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

    /// One exchange: as many tries as the profile grants a unit that is online.
    async fn ask(&mut self, unit: usize, ask: &Ask) -> Result<Raw, AskFault> {
        let mut retries = match self.units[unit].health.state() {
            Health::Online => self.units[unit].retries(),
            // retries are for noise; at a dead unit they would only cost the others their time
            Health::Degraded | Health::Lost => 0,
        };
        loop {
            self.open().await?;
            let device = &self.units[unit].device;
            BusCounters::add(&self.counters.requests);
            let outcome = self.driver.ask(&device.address, &device.profile.link, ask).await;
            self.count(&outcome);
            match outcome {
                Err(AskFault::Silent { .. } | AskFault::Garbled { .. }) if retries > 0 => retries -= 1,
                outcome => return outcome,
            }
        }
    }

    /// What came of an exchange: told, remembered, and the slot put on its next beat.
    async fn asked(
        &mut self,
        slot: usize,
        unit: usize,
        request: &Request,
        outcome: Result<Raw, AskFault>,
    ) -> Result<(), BusError> {
        let (points, outcome) = match outcome {
            Err(AskFault::LineDown(fault)) => return self.line_down(fault).await,
            Err(fault @ (AskFault::Silent { .. } | AskFault::Garbled { .. })) => {
                let lost = self.missed(slot, unit, &fault);
                let points = if lost { &self.units[unit].all } else { &request.points };
                (points.clone(), Err(Failure::from(&fault)))
            }
            Err(fault @ AskFault::Refused { code }) => {
                self.answered(unit);
                self.refusals.refused(slot, &self.id, &self.units[unit].device, &request.ask, code);
                self.schedule.served(slot, Instant::now());
                (request.points.clone(), Err(Failure::from(&fault)))
            }
            Ok(raw) => {
                self.answered(unit);
                self.refusals.answered(slot, &self.id, &self.units[unit].device, &request.ask);
                self.schedule.served(slot, Instant::now());
                (self.units[unit].points_of(&raw, Some(&request.points)), Ok(raw))
            }
        };
        self.tell(unit, points, outcome, None).await
    }

    /// The unit was heard: it is online, and the line works.
    fn answered(&mut self, unit: usize) {
        if std::mem::take(&mut self.line.told_down) {
            info!(bus = %self.id, "Bus is back.");
        }
        self.line.wait = FIRST_REOPEN;
        let now = Instant::now();
        let change = self.units[unit].health.answered();
        self.log_change(unit, change, "");
        let was_lost = change.is_some_and(|change| change.from == Health::Lost);
        for slot in self.units[unit].slots.clone() {
            match self.slots[slot] {
                Slot::Ask { .. } if was_lost => self.schedule.put_off(slot, now),
                Slot::Ask { .. } => {}
                Slot::Watch { heartbeat, .. } => self.schedule.put_off(slot, now + heartbeat),
            }
        }
    }

    /// The unit missed an exchange. Returns whether it is lost (and so only probed).
    fn missed(&mut self, slot: usize, unit: usize, fault: &AskFault) -> bool {
        let now = Instant::now();
        let change = self.units[unit].health.missed(now);
        self.log_change(unit, change, &fault.to_string());
        let Unit { health, slots, probe, .. } = &self.units[unit];
        match health.probe_at() {
            None => self.schedule.served(slot, now),
            Some(at) => {
                slots.clone().for_each(|slot| self.schedule.pause(slot));
                self.schedule.put_off(probe.unwrap_or(slot), at);
            }
        }
        health.state() == Health::Lost
    }

    /// The line is down: every device is told once, until something was heard again.
    async fn line_down(&mut self, fault: LineFault) -> Result<(), BusError> {
        self.driver.close();
        let rest = match &fault {
            LineFault::Missing { .. }
            | LineFault::Busy { .. }
            | LineFault::Denied { .. }
            | LineFault::Gone { .. } => self.chance.jitter(self.line.wait),
            LineFault::Babble { .. } => BABBLE_REST,
        };
        self.line.retry_at = Instant::now() + rest;
        self.line.wait = (self.line.wait * 2).min(LONGEST_REOPEN);
        if std::mem::replace(&mut self.line.told_down, true) {
            return Ok(());
        }
        let checks = fault.diagnosis().checks_line(Lang::En);
        warn!(bus = %self.id, error = %fault, checks, "Bus is down.");
        for unit in 0..self.units.len() {
            let all = self.units[unit].all.clone();
            self.tell(unit, all, Err(Failure::LineDown { fault: fault.clone() }), None).await?;
        }
        Ok(())
    }

    /// The line is open again: lost units get their chance at once, silence counts from now.
    fn start_afresh(&mut self) {
        let now = Instant::now();
        for unit in &self.units {
            if let (Health::Lost, Some(probe)) = (unit.health.state(), unit.probe) {
                self.schedule.put_off(probe, now);
            }
            for slot in unit.slots.clone() {
                if let Slot::Watch { heartbeat, .. } = self.slots[slot] {
                    self.schedule.put_off(slot, now + heartbeat);
                }
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
                    self.answered(unit);
                }
                let points = self.units[unit].points_of(&raw, None);
                self.tell(unit, points, Ok(raw), receipt).await
            }
            Unasked::Stranger => {
                BusCounters::add(&self.counters.unasked);
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
        let device = self.units[unit].device.ix;
        let heard = Heard { device, at: self.clock.now(), points, outcome, receipt };
        self.sender.send(heard).await.map_err(|_| BusError::NobodyListens { bus: self.id.clone() })
    }

    fn count<T>(&self, outcome: &Result<T, AskFault>) {
        let counters = &self.counters;
        match outcome {
            Ok(_) => BusCounters::add(&counters.answers),
            Err(AskFault::Silent { .. }) => BusCounters::add(&counters.silences),
            Err(AskFault::Garbled { .. }) => BusCounters::add(&counters.garbled),
            Err(AskFault::Refused { .. }) => BusCounters::add(&counters.refusals),
            Err(AskFault::LineDown(_)) => {}
        }
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

/// `slot` once its time has come; never where nothing is due.
async fn due(next: Option<(Instant, usize)>) -> usize {
    match next {
        Some((at, slot)) => {
            sleep_until(at).await;
            slot
        }
        None => std::future::pending().await,
    }
}

/// A small deterministic source of chance (SplitMix64): enough to keep a compound's gateways from reconnecting in step.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// Between half of `wait` and all of it.
    pub(super) fn jitter(&mut self, wait: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = ((mixed ^ (mixed >> 31)) >> 40) as u32;
        wait / 2 + (wait / 2).mul_f64(f64::from(share) / f64::from(1u32 << 24))
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
