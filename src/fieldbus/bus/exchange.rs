//! Asking a unit: what is due, again if it failed, in parts if it was refused; or, when the unit is lost, whether it is back.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::{Bus, BusError};
use crate::{
    domain::{Failure, Lang, Raw},
    fieldbus::{
        driver::{AskFault, Driver},
        health::Health,
        plan::{Ask, Request},
        split,
        unit::{Slot, Unit},
    },
};

/// A place that a device refuses is not asked more often than this: it costs the line and gives nothing.
const REFUSED_PERIOD: Duration = Duration::from_secs(10);

type Outcome = Result<Raw, AskFault>;

impl<D: Driver> Bus<D> {
    /// Asks `slot`, and where the line can do that what else is due of the same unit.
    pub(super) async fn poll(&mut self, unit: usize, slot: usize) -> Result<(), BusError> {
        let slots = self.together(unit, slot);
        let asks: Vec<Ask> = slots.iter().filter_map(|slot| Some(self.request(*slot)?.ask.clone())).collect();
        let began = Instant::now();
        let outcomes = self.exchange(unit, &asks).await;
        let now = Instant::now();
        self.load.carried(began, now, &self.counters);
        let took = (now - began) / asks.len().max(1) as u32;
        if let Some(Err(AskFault::LineDown(fault))) =
            outcomes.iter().find(|outcome| matches!(outcome, Err(AskFault::LineDown(_))))
        {
            return self.line_down(fault.clone()).await;
        }
        // one exchange with the unit, however many questions: it misses it only if it answers none
        let heard = outcomes.iter().any(|outcome| matches!(outcome, Ok(_) | Err(AskFault::Refused { .. })));
        if heard {
            self.answered(unit, Some(took));
        } else if let Some(Err(fault)) = outcomes.first() {
            self.missed(unit, fault);
        }
        for (slot, outcome) in slots.into_iter().zip(outcomes) {
            self.polled(unit, slot, outcome).await?;
        }
        Ok(())
    }

    /// The slots of one exchange.
    fn together(&self, unit: usize, slot: usize) -> Vec<usize> {
        let Unit { slots, health, .. } = &self.units[unit];
        let most = self.units[unit].pipeline();
        let mut together = vec![slot];
        if most > 1 && self.driver.pipelines() && health.state() == Health::Online {
            let more = self.schedule.also_due(slots, slot, Instant::now());
            together.extend(more.into_iter().take(most - 1));
        }
        together
    }

    fn request(&self, slot: usize) -> Option<&Request> {
        match &self.slots[slot] {
            Slot::Ask { request, .. } => Some(request),
            Slot::Watch { .. } => None,
        }
    }

    /// As many tries as the profile grants a unit that is online; only what failed is asked again.
    async fn exchange(&mut self, unit: usize, asks: &[Ask]) -> Vec<Outcome> {
        let mut retries = match self.units[unit].health.state() {
            Health::Online => self.units[unit].retries(),
            // retries are for noise; at a dead unit they would only cost the others their time
            Health::Degraded | Health::Lost => 0,
        };
        let mut outcomes = self.ask(unit, asks).await;
        while retries > 0 && outcomes.iter().any(is_worth_a_retry) {
            retries -= 1;
            let failed: Vec<usize> = (0..asks.len()).filter(|n| is_worth_a_retry(&outcomes[*n])).collect();
            let again: Vec<Ask> = failed.iter().map(|n| asks[*n].clone()).collect();
            for (n, outcome) in failed.into_iter().zip(self.ask(unit, &again).await) {
                outcomes[n] = outcome;
            }
        }
        outcomes
    }

    async fn ask(&mut self, unit: usize, asks: &[Ask]) -> Vec<Outcome> {
        if let Err(fault) = self.open().await {
            return asks.iter().map(|_| Err(fault.clone().into())).collect();
        }
        let device = &self.units[unit].device;
        let outcomes = match asks {
            [ask] => vec![self.driver.ask(&device.address, &device.profile.link, ask).await],
            asks => self.driver.ask_all(&device.address, &device.profile.link, asks).await,
        };
        outcomes.iter().for_each(|outcome| self.counters.asked(outcome));
        outcomes
    }

    /// What came of one question: told, remembered, and its slot put on its next beat.
    async fn polled(&mut self, unit: usize, slot: usize, outcome: Outcome) -> Result<(), BusError> {
        let Some(request) = self.request(slot).cloned() else { return Ok(()) };
        let now = Instant::now();
        let lost = self.units[unit].health.state() == Health::Lost;
        if !lost {
            if outcome.is_ok() {
                self.schedule.set_period(slot, request.every);
            }
            self.schedule.served(slot, now);
        }
        let (points, outcome) = match outcome {
            Ok(raw) => {
                self.refusals.answered(slot, &self.id, &self.units[unit].device, &request.ask);
                (self.units[unit].points_of(&raw, Some(&request.points)), Ok(raw))
            }
            Err(AskFault::Refused { code }) if self.split(unit, slot, &request, code, now) => return Ok(()),
            Err(fault @ AskFault::Refused { code }) => {
                self.refusals.refused(slot, &self.id, &self.units[unit].device, &request.ask, code);
                (request.points.clone(), Err(Failure::from(&fault)))
            }
            Err(fault) => {
                let points = if lost { &self.units[unit].all } else { &request.points };
                (points.clone(), Err(Failure::from(&fault)))
            }
        };
        self.tell(unit, points, outcome, None).await
    }

    /// A refused block is asked in two parts from now on, and so on down to what it is that is refused: its neighbours keep their values.
    fn split(&mut self, unit: usize, slot: usize, request: &Request, code: u16, now: Instant) -> bool {
        let profile = &self.units[unit].device.profile;
        if !split::is_about_the_block(&profile.link, code) {
            return false;
        }
        let Some([low, high]) = split::halves(request, profile) else {
            self.schedule.set_period(slot, request.every.max(REFUSED_PERIOD));
            self.schedule.served(slot, now);
            return false;
        };
        let device = &self.units[unit].device.id;
        info!(bus = %self.id, %device, code, points = request.points.len(), "Device refuses a block; it is asked in parts.");
        let added = self.schedule.add_beside(slot, now);
        self.schedule.put_off(slot, now);
        self.slots[slot] = Slot::Ask { unit, request: low };
        self.slots.push(Slot::Ask { unit, request: high });
        self.units[unit].slots.push(added);
        true
    }

    /// A whole exchange without a valid answer. A unit that is lost now is only probed.
    fn missed(&mut self, unit: usize, fault: &AskFault) {
        let change = self.units[unit].health.missed(matches!(fault, AskFault::Silent { .. }));
        let told = self.units[unit].device.profile.link.diagnose(&Failure::from(fault));
        let checks = told.map_or_else(String::new, |told| told.checks_line(Lang::En));
        self.log_change(unit, change, &format!("{fault}; {checks}"));
        if let Some(at) = self.units[unit].health.probe_at(Instant::now()) {
            self.units[unit].slots.iter().for_each(|slot| self.schedule.pause(*slot));
            self.probes.put(unit, at);
        }
    }

    /// Whether a lost unit is back: one cheap question, without retries.
    pub(super) async fn probe(&mut self, unit: usize) -> Result<(), BusError> {
        self.probes.forget(unit);
        let Some((slot, request)) =
            self.units[unit].probe.and_then(|slot| Some((slot, self.request(slot)?.clone())))
        else {
            return Ok(());
        };
        let link = self.units[unit].probing();
        let began = Instant::now();
        let outcome = self.driver.ask(&self.units[unit].device.address, &link, &request.ask).await;
        let now = Instant::now();
        self.counters.asked(&outcome);
        self.load.carried(began, now, &self.counters);
        self.probes.spent(now - began, now);
        match &outcome {
            Err(AskFault::LineDown(fault)) => {
                self.probes.put(unit, now);
                return self.line_down(fault.clone()).await;
            }
            Ok(_) | Err(AskFault::Refused { .. }) => self.answered(unit, Some(now - began)),
            Err(fault) => self.missed(unit, fault),
        }
        self.polled(unit, slot, outcome).await
    }
}

fn is_worth_a_retry(outcome: &Outcome) -> bool {
    matches!(outcome, Err(AskFault::Silent { .. } | AskFault::Garbled { .. }))
}
