//! Asking a unit: what is due, again if it failed, in parts if it was refused; or, when the unit is lost, whether it is back.

use std::time::Duration;

use tokio::time::Instant;

use super::{Bus, BusError};
use crate::{
    domain::{Failure, Garble, Lang, Raw, Stamp},
    fieldbus::{
        driver::{AskFault, Asked, Driver},
        health::{Health, LOST_AFTER},
        plan::Request,
        unit::{Slot, Unit},
    },
};

/// So many questions may wait for another try.
const MOST_TRIED_AGAIN: usize = 2;

type Outcome = Result<Raw, AskFault>;

/// When an exchange was over. Read once for all its answers: they came together, and a clock takes longer than most of what is done with one.
#[derive(Clone, Copy)]
struct Over {
    took: Duration,
    now: Instant,
    at: Stamp,
}

/// Whether the line carried the question and was listened to until its time was over: then it is not the line.
fn is_of_a_working_line(fault: &AskFault) -> bool {
    match fault {
        AskFault::Silent { .. } | AskFault::Refused { .. } => true,
        AskFault::Garbled { what } => !matches!(what, Garble::HungUp { .. } | Garble::Unaskable),
        AskFault::LineDown(_) => false,
    }
}

impl<D: Driver> Bus<D> {
    /// Asks what `slot` stands for, and where the line can do that what else is due of units that answer.
    pub(super) async fn poll(&mut self, slot: usize) -> Result<(), BusError> {
        match self.together(slot)[..] {
            [slot] => self.poll_one(slot).await.map(|_stands| ()),
            ref several => self.poll_several(several).await,
        }
    }

    /// Returns whether the line still stands.
    async fn poll_one(&mut self, slot: usize) -> Result<bool, BusError> {
        let began = Instant::now();
        let outcome = self.ask(slot).await;
        let now = Instant::now();
        self.load.carried(began, now, &self.counters);
        if let Err(AskFault::LineDown(fault)) = outcome {
            self.line_down(fault).await?;
            return Ok(false);
        }
        let over = self.over(began, now);
        self.came(slot, outcome, over).await?;
        Ok(true)
    }

    /// Several at once. Who got no answer may have suffered for another: it is asked again by itself, once the others' answers are told.
    async fn poll_several(&mut self, slots: &[usize]) -> Result<(), BusError> {
        let began = Instant::now();
        let outcomes = self.ask_all(slots).await;
        let now = Instant::now();
        self.load.carried(began, now, &self.counters);
        let over = self.over(began, now);
        let (mut again, mut down) = (Vec::new(), None);
        for (slot, outcome) in slots.iter().zip(outcomes) {
            match outcome {
                // what had come by then has come
                Err(AskFault::LineDown(fault)) => down = Some(fault),
                Err(AskFault::Silent { .. } | AskFault::Garbled { .. }) => again.push(*slot),
                // how long each took nobody knows, but no longer than all of them
                Ok(_) | Err(AskFault::Refused { .. }) => self.came(*slot, outcome, over).await?,
            }
        }
        if let Some(fault) = down {
            return self.line_down(fault).await;
        }
        for slot in again {
            // a unit that is lost by now is only probed
            if self.is_asked(slot) && !self.poll_one(slot).await? {
                break;
            }
        }
        Ok(())
    }

    /// What came of a question to a unit: what it says of the unit, and what it says.
    async fn came(&mut self, slot: usize, outcome: Outcome, over: Over) -> Result<(), BusError> {
        let Some((unit, _)) = self.request(slot) else { return Ok(()) };
        if outcome.as_ref().err().is_some_and(is_of_a_working_line) {
            self.line_works();
        }
        match &outcome {
            Ok(_) | Err(AskFault::Refused { .. }) => {
                self.tries.remove(&slot);
                self.answered(unit, Some(over.took), over.now);
            }
            // so many at once are no noise: their tries would take the line from those who answer
            Err(fault) if self.tries.len() > MOST_TRIED_AGAIN => {
                self.tries.remove(&slot);
                self.missed(unit, LOST_AFTER, fault);
            }
            Err(_) if self.is_tried_again(unit, slot) => return Ok(()),
            Err(fault) => {
                let tries = 1 + self.tries.remove(&slot).unwrap_or(0);
                self.missed(unit, tries, fault);
            }
        }
        self.polled(slot, outcome, over).await
    }

    fn over(&self, began: Instant, now: Instant) -> Over {
        Over { took: now - began, now, at: self.clock.now() }
    }

    fn is_asked(&self, slot: usize) -> bool {
        self.request(slot).is_some_and(|(unit, _)| self.units[unit].health.state() != Health::Lost)
    }

    /// The slots of one exchange: `first`, and as many others that are due as the products take at once.
    fn together(&self, first: usize) -> Vec<usize> {
        let pipeline = |slot: usize| match self.request(slot) {
            Some((unit, _)) if self.units[unit].health.state() == Health::Online => {
                self.units[unit].pipeline()
            }
            Some(_) | None => 1,
        };
        let most = pipeline(first);
        let mut together = vec![first];
        if most > 1 && self.driver.pipelines() {
            together.extend(self.schedule.also_due(first, most - 1, |slot| pipeline(slot) >= most));
        }
        together
    }

    /// As many tries as the profile grants a unit that is online; each waits behind those that are due already.
    fn is_tried_again(&mut self, unit: usize, slot: usize) -> bool {
        let granted = match self.units[unit].health.state() {
            Health::Online if self.units[unit].health.was_heard() => self.units[unit].retries().into(),
            // retries are for noise; at a dead unit they would only cost the others their time
            Health::Online | Health::Degraded | Health::Lost => 0,
        };
        if self.tries.get(&slot).is_some_and(|tried| *tried >= granted) || granted == 0 {
            return false;
        }
        *self.tries.entry(slot).or_default() += 1;
        self.schedule.put_off(slot, Instant::now());
        true
    }

    fn request(&self, slot: usize) -> Option<(usize, &Request)> {
        match &self.slots[slot] {
            Slot::Ask { unit, request } => Some((*unit, request)),
            Slot::Watch { .. } | Slot::Free => None,
        }
    }

    async fn ask_all(&mut self, slots: &[usize]) -> Vec<Outcome> {
        if let Err(fault) = self.open().await {
            return slots.iter().map(|_| Err(fault.clone().into())).collect();
        }
        let asked = slots.iter().filter_map(|slot| match &self.slots[*slot] {
            Slot::Ask { unit, request } => {
                let device = &self.units[*unit].device;
                Some(Asked { unit: &device.address, link: &device.profile.link, ask: &request.ask })
            }
            Slot::Watch { .. } | Slot::Free => None,
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let outcomes = self.driver.ask_all(&asked).await;
        outcomes.iter().for_each(|outcome| self.counters.asked(outcome));
        outcomes
    }

    async fn ask(&mut self, slot: usize) -> Outcome {
        self.open().await?;
        let Slot::Ask { unit, request } = &self.slots[slot] else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        let unit = &self.units[*unit];
        let link = unit.link();
        let outcome = self.driver.ask(&unit.device.address, &link, &request.ask).await;
        self.counters.asked(&outcome);
        outcome
    }

    /// What came of one question: told, remembered, and its slot put on its next beat.
    async fn polled(
        &mut self,
        slot: usize,
        outcome: Outcome,
        Over { now, at, .. }: Over,
    ) -> Result<(), BusError> {
        let Some((unit, request)) = self.request(slot).map(|(unit, request)| (unit, request.clone())) else {
            return Ok(());
        };
        let lost = self.units[unit].health.state() == Health::Lost;
        if !lost && self.is_for_its_parts(slot, outcome.is_ok(), now) {
            return Ok(());
        }
        if !lost {
            if outcome.is_ok() {
                self.schedule.set_period(slot, request.every);
            }
            self.schedule.served(slot, now);
        }
        let (points, outcome) = match outcome {
            Ok(raw) => {
                self.refusals.answered(&self.id, &self.units[unit].device, &request.ask);
                (self.units[unit].points_of(&raw, Some(&request.points)), Ok(raw))
            }
            Err(AskFault::Refused { code }) if self.split(unit, slot, &request, code, now) => return Ok(()),
            Err(fault @ AskFault::Refused { code }) => {
                self.refusals.refused(&self.id, &self.units[unit].device, &request.ask, code);
                (request.points.clone(), Err(Failure::from(&fault)))
            }
            Err(fault) => {
                let points = if lost { &self.units[unit].all } else { &request.points };
                (points.clone(), Err(Failure::from(&fault)))
            }
        };
        self.tell_of(at, unit, points, outcome, None).await
    }

    /// A whole exchange without a valid answer. A unit that is lost now is only probed.
    fn missed(&mut self, unit: usize, tries: u32, fault: &AskFault) {
        let change = self.units[unit].health.missed(tries, matches!(fault, AskFault::Silent { .. }));
        let device = &self.units[unit].device;
        let told = device.profile.link.diagnose(&Failure::from(fault), device.medium);
        let checks = told.map_or_else(String::new, |told| told.checks_line(Lang::En));
        self.log_change(unit, change, &format!("{fault}; {checks}"));
        if let Some(at) = self.units[unit].health.probe_at(Instant::now()) {
            let Unit { slots, health, .. } = &self.units[unit];
            for slot in slots {
                self.schedule.pause(*slot);
                self.tries.remove(slot);
            }
            self.probes.put(unit, at, health.lost_just_now());
        }
    }

    /// Whether a lost unit is back: one cheap question, without retries.
    pub(super) async fn probe(&mut self, unit: usize) -> Result<(), BusError> {
        self.probes.forget(unit);
        let Some((slot, request)) =
            self.units[unit].probe.and_then(|slot| Some((slot, self.request(slot)?.1.clone())))
        else {
            return Ok(());
        };
        let began = Instant::now();
        let link = self.units[unit].link();
        let outcome = self.driver.ask(&self.units[unit].device.address, &link, &request.ask).await;
        let now = Instant::now();
        self.counters.asked(&outcome);
        self.load.carried(began, now, &self.counters);
        self.probes.spent(now - began, now);
        if let Err(AskFault::LineDown(fault)) = outcome {
            self.probes.put(unit, now, true);
            return self.line_down(fault).await;
        }
        let over = self.over(began, now);
        self.came(slot, outcome, over).await
    }
}
