//! The line under the bus: opened, lost, tried again; its devices are told once of each.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{Bus, BusError};
use crate::{
    domain::{BusId, Failure, Lang},
    fieldbus::{
        BusCounters,
        driver::{AskFault, Driver, Line, LineFault},
        unit::Slot,
    },
};

/// A line that does not open is tried again after this, doubled each time, up to the longest: an adapter that is plugged in again is read
/// within ten seconds.
const FIRST_REOPEN: Duration = Duration::from_millis(500);
const LONGEST_REOPEN: Duration = Duration::from_secs(8);
/// A line that is lost again and again within so long is unsteady.
const UNSTEADY_WITHIN: Duration = Duration::from_secs(5 * 60);
/// More losses than this say nothing more.
const MOST_LOSSES: usize = 100;
/// How long a line is left alone on which somebody babbles.
const BABBLE_REST: Duration = Duration::from_secs(30);

/// What is known of the line.
pub(super) struct LineState {
    opened_before: bool,
    /// Not to be tried before.
    retry_at: Instant,
    /// How long the next wait is; short again once something was heard.
    wait: Duration,
    /// Its devices were told that it is down, and it has not proved since that it works.
    pub told_down: Option<LineFault>,
    /// It was opened again after they were told; they do not know yet.
    pub just_back: bool,
    /// When it went down of late, the oldest first.
    losses: VecDeque<Instant>,
    /// Why it went down last.
    pub last_fault: Option<LineFault>,
}

impl LineState {
    pub fn new(now: Instant) -> Self {
        Self {
            opened_before: false,
            retry_at: now,
            wait: FIRST_REOPEN,
            told_down: None,
            just_back: false,
            losses: VecDeque::new(),
            last_fault: None,
        }
    }

    /// How often it went down within the last five minutes.
    pub fn losses(&self, now: Instant) -> usize {
        self.losses.iter().filter(|lost| now.duration_since(**lost) < UNSTEADY_WITHIN).count()
    }

    fn lost(&mut self, fault: LineFault, now: Instant) {
        if self.losses.len() == MOST_LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back(now);
        self.last_fault = Some(fault);
    }

    /// Something was heard on it, or a question waited out. Returns whether that is news.
    pub fn works(&mut self, bus: &BusId) -> bool {
        let was_down = self.told_down.take().is_some();
        if was_down {
            info!(%bus, "Bus is back.");
        }
        self.wait = FIRST_REOPEN;
        was_down
    }
}

impl<D: Driver> Bus<D> {
    /// Until the line may be tried again. Who gives an order or asks meanwhile hears why not.
    pub(super) async fn wait_for_line(&mut self) -> Result<(), BusError> {
        loop {
            let why = match &self.line.told_down {
                Some(fault) if Instant::now() < self.line.retry_at => AskFault::from(fault.clone()),
                Some(_) | None => return Ok(()),
            };
            tokio::select! {
                biased;
                () = sleep_until(self.line.retry_at) => return Ok(()),
                Some(order) = self.inbox.orders.recv() => self.answer(order.reply, Err(why)),
                Some(inquiry) = self.inbox.inquiries.recv() => self.answer(inquiry.reply, Err(why)),
            }
        }
    }

    pub(super) async fn open(&mut self) -> Result<(), LineFault> {
        match self.driver.connect().await? {
            Line::Kept => {}
            Line::Opened => {
                let first = !std::mem::replace(&mut self.line.opened_before, true);
                if !first {
                    BusCounters::add(&self.counters.reconnects);
                }
                let told_down = self.line.told_down.is_some();
                if first || told_down {
                    self.start_afresh();
                }
                self.line.just_back = told_down;
            }
        }
        Ok(())
    }

    /// The line is back: devices that speak only by themselves may be quiet for hours, which is no loss of them.
    pub(super) async fn tell_back(&mut self) -> Result<(), BusError> {
        let quiet = self.units.iter().map(|unit| unit.probe.is_none()).collect::<Vec<_>>();
        for unit in (0..quiet.len()).filter(|unit| quiet[*unit]) {
            let all = self.units[unit].all.clone();
            self.tell(unit, all, Err(Failure::NotHeardYet), None).await?;
        }
        if quiet.iter().all(|quiet| *quiet) {
            self.line_works();
        }
        Ok(())
    }

    pub(super) fn line_works(&mut self) {
        if self.line.works(&self.id) {
            self.reporter.now(Instant::now());
        }
    }

    /// The line is down: every device is told once, until something was heard again.
    pub(super) async fn line_down(&mut self, fault: LineFault) -> Result<(), BusError> {
        self.driver.close();
        let rest = match &fault {
            LineFault::Missing { .. }
            | LineFault::Busy { .. }
            | LineFault::Denied { .. }
            | LineFault::NoDirection { .. }
            | LineFault::Gone { .. } => self.chance.jitter(self.line.wait),
            LineFault::Babble { .. } => BABBLE_REST,
        };
        self.line.retry_at = Instant::now() + rest;
        self.line.wait = (self.line.wait * 2).min(LONGEST_REOPEN);
        if self.line.told_down.replace(fault.clone()).is_some() {
            return Ok(());
        }
        self.line.lost(fault.clone(), Instant::now());
        let checks = fault.diagnosis().checks_line(Lang::En);
        warn!(bus = %self.id, error = %fault, checks, "Bus is down.");
        for unit in 0..self.units.len() {
            let all = self.units[unit].all.clone();
            self.tell(unit, all, Err(Failure::LineDown { fault: fault.clone() }), None).await?;
        }
        self.reporter.now(Instant::now());
        self.report_if_due().await
    }

    /// The line is open again: lost units get their chance at once, silence counts from now.
    fn start_afresh(&mut self) {
        let now = Instant::now();
        self.probes.all_now(now);
        for slot in self.units.iter().flat_map(|unit| &unit.slots) {
            if let Slot::Watch { heartbeat, .. } = self.slots[*slot] {
                self.schedule.put_off(*slot, now + heartbeat);
            }
        }
    }
}

/// A small deterministic source of chance (SplitMix64): enough to keep a compound's gateways from reconnecting in step.
pub(in crate::fieldbus) struct Chance(pub(in crate::fieldbus) u64);

impl Chance {
    /// Between half of `wait` and all of it.
    pub(in crate::fieldbus) fn jitter(&mut self, wait: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = ((mixed ^ (mixed >> 31)) >> 40) as u32;
        wait / 2 + (wait / 2).mul_f64(f64::from(share) / f64::from(1u32 << 24))
    }
}
