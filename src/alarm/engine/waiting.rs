//! What happens to an alarm because time passed: a shelf ends, nobody acknowledged, help has not arrived. All of it goes by
//! [`Passing`](crate::domain::Passing): monotonic, kept, counted on the safe side after a reboot.

use std::time::Duration;

use super::{Change, Look, Slot};
use crate::{
    alarm::{
        Customs, EscalationPlan,
        lifecycle::{self, Held},
    },
    domain::{
        AlarmMemory, Chattering, Escalation, Hold, Mono, Passed, Passing, Rescue, Stamp, TransitionKind,
        event::of_no_occurrence,
    },
};

/// A rescue's time is written down this often: what a reboot takes of it is no more.
const KEEP_RESCUE_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether the calendar has ended what the box's own time cannot.
const LOOK_AT_CALENDAR: Duration = Duration::from_secs(3600);

impl Slot {
    /// When the first of its timers wants a look.
    pub(super) fn next_timer(&self, customs: &Customs, boot_id: &str) -> Option<Mono> {
        let overlay = &self.memory.overlay;
        let shelf = overlay.shelf.as_ref().map(|shelf| shelf.passing.over_at(shelf.length, boot_id));
        let out = overlay.out_of_service.as_ref().map(|hold| out_at(hold, boot_id));
        let escalation = self.escalates_at(&customs.escalation, boot_id);
        let rescue = self.rescue_at(boot_id);
        let calm = self.calm_at(customs.chattering.calm, boot_id);
        [shelf, out, escalation, rescue, calm].into_iter().flatten().min()
    }

    /// A reboot is a pause too.
    fn calm_at(&self, calm: Duration, boot_id: &str) -> Option<Mono> {
        self.memory.overlay.chattering.as_ref().map(|chattering| chattering.passing.over_at(calm, boot_id))
    }

    fn escalates_at(&self, plan: &EscalationPlan, boot_id: &str) -> Option<Mono> {
        let Escalation { step, waiting, .. } = self.memory.overlay.escalation.as_deref()?;
        Some(waiting.as_ref()?.over_at(plan.wait_after(*step)?, boot_id))
    }

    fn rescue_at(&self, boot_id: &str) -> Option<Mono> {
        let rescue = self.running_rescue()?;
        let warning = rescue.next_warning().map(|after| rescue.passing.reaches(after, boot_id))?;
        let keep = Mono(rescue.passing.seen.0.saturating_add(KEEP_RESCUE_EVERY));
        Some(if rescue.passing.boot_id == boot_id { warning.min(keep) } else { Mono(Duration::ZERO) })
    }

    /// Not while it is held back: then nobody is told anything.
    fn running_rescue(&self) -> Option<&Rescue> {
        let overlay = &self.memory.overlay;
        let rescue = overlay.rescue.as_deref()?;
        (rescue.runs() && !overlay.is_held() && self.memory.state.is_some()).then_some(rescue)
    }

    /// One thing that is due at a time; the next is due right after it.
    pub(super) fn time_is_up(&mut self, look: &Look<'_>) -> Option<Change> {
        let overlay = &self.memory.overlay;
        if overlay.shelf.as_ref().is_some_and(|shelf| is_over(shelf, look)) {
            return self.decide(self.turned(look, Held::Shelved, false));
        }
        if overlay.out_of_service.as_ref().is_some_and(|hold| is_out_over(hold, look.now, look.boot_id)) {
            return self.decide(self.turned(look, Held::OutOfService, false));
        }
        if overlay.out_of_service.as_ref().is_some_and(|hold| out_at(hold, look.boot_id) <= look.now.mono) {
            return self.out_goes_on(look);
        }
        if self.calm_at(look.customs.chattering.calm, look.boot_id).is_some_and(|at| at <= look.now.mono) {
            return self.decide(self.turned(look, Held::Chattering, false));
        }
        if self.escalates_at(&look.customs.escalation, look.boot_id).is_some_and(|at| at <= look.now.mono) {
            return self.decide(self.escalated(look));
        }
        let rescue = self.rescue(look)?;
        if rescue.step.is_some() { self.decide(Some(rescue)) } else { Some(rescue) }
    }

    /// `held` begins or ends.
    pub(super) fn turned(&self, look: &Look<'_>, held: Held, begins: bool) -> Option<Change> {
        let overlay = &self.memory.overlay;
        let is = match held {
            Held::Shelved => overlay.shelf.is_some(),
            Held::Suppressed => overlay.suppressed,
            Held::OutOfService => overlay.out_of_service.is_some(),
            Held::Chattering => overlay.chattering.is_some(),
        };
        let kind = lifecycle::turn(held, is, begins)?;
        let mut memory = AlarmMemory::clone(&self.memory);
        match held {
            Held::Shelved => memory.overlay.shelf = None,
            Held::Suppressed => memory.overlay.suppressed = begins,
            Held::OutOfService => memory.overlay.out_of_service = None,
            Held::Chattering => chatter(look, &mut memory, begins),
        }
        let quiet = held == Held::OutOfService
            && overlay.out_of_service.as_ref().is_some_and(|hold| hold.quiet)
            && memory.state.is_none();
        if quiet {
            return Some(Change { device: look.device, slot: look.slot, step: None, memory });
        }
        Some(self.change(look, kind, memory, None))
    }

    /// Not over in this boot either: counted on from here.
    fn out_goes_on(&self, look: &Look<'_>) -> Option<Change> {
        let mut memory = AlarmMemory::clone(&self.memory);
        let hold = memory.overlay.out_of_service.as_mut()?;
        hold.passing = hold.passing.kept(look.now.mono, look.boot_id);
        hold.rebooted = true;
        Some(Change { device: look.device, slot: look.slot, step: None, memory })
    }

    fn escalated(&self, look: &Look<'_>) -> Option<Change> {
        let mut memory = AlarmMemory::clone(&self.memory);
        let escalation = memory.overlay.escalation.as_mut()?;
        let planned = look.customs.escalation.step(escalation.step);
        escalation.step = escalation.step.saturating_add(1);
        escalation.waiting = Some(Passing::begun(look.now.mono, look.boot_id));
        escalation.contact = planned.and_then(|step| step.contact.clone());
        for endpoint in planned.into_iter().flat_map(|step| &step.endpoints) {
            if !escalation.endpoints.contains(endpoint) {
                escalation.endpoints.push(endpoint.clone());
            }
        }
        Some(self.change(look, TransitionKind::Escalated, memory, None))
    }

    /// A warning that is due, or the time that is to be kept.
    fn rescue(&self, look: &Look<'_>) -> Option<Change> {
        if self.rescue_at(look.boot_id)? > look.now.mono {
            return None;
        }
        let rescue = self.running_rescue()?;
        let mut rescue =
            Rescue { passing: rescue.passing.kept(look.now.mono, look.boot_id), ..rescue.clone() };
        let due = rescue.due_after(rescue.passing.credited);
        let warns = due > rescue.warned;
        if warns {
            rescue.warned = due;
            rescue.said = Some(Rescue::warning(due));
        }
        let mut memory = AlarmMemory::clone(&self.memory);
        memory.overlay.rescue = Some(Box::new(rescue));
        if warns {
            return Some(self.change(look, TransitionKind::Rescue, memory, None));
        }
        Some(Change { device: look.device, slot: look.slot, step: None, memory })
    }

    /// Whether somebody is waited for after the step `kind`, and since when.
    pub(super) fn wait_for_a_person(&self, look: &Look<'_>, kind: TransitionKind, memory: &mut AlarmMemory) {
        let alarm = &self.rule.alarm;
        let waits = look.customs.escalation.concerns(alarm.priority)
            && lifecycle::wants_a_person(memory.state, alarm.latching)
            && !memory.overlay.is_held();
        let begun = || Some(Passing::begun(look.now.mono, look.boot_id));
        match (waits, &mut memory.overlay.escalation) {
            (true, Some(under_way)) if under_way.waiting.is_some() && kind != TransitionKind::Raised => {}
            (true, Some(under_way)) => {
                (under_way.step, under_way.contact, under_way.waiting) = (0, None, begun());
            }
            (true, none) => {
                let endpoints = Vec::new();
                let escalation = Escalation { step: 0, waiting: begun(), endpoints, contact: None };
                *none = Some(Box::new(escalation));
            }
            (false, Some(under_way)) => under_way.waiting = None,
            (false, None) => {}
        }
    }
}

/// When it is calm again, it is counted anew.
fn chatter(look: &Look<'_>, memory: &mut AlarmMemory, begins: bool) {
    let told_as = memory.occurrence.clone().unwrap_or_else(|| of_no_occurrence(&memory.key));
    memory.overlay.chattering = begins.then(|| {
        let raises = memory.raises.as_ref().map_or(0, |raises| raises.at.len() as u64);
        let passing = Passing::begun(look.now.mono, look.boot_id);
        Box::new(Chattering { told_as, since: look.now.wall, raises, passing })
    });
    if !begins {
        memory.raises = None;
    }
}

/// A shelf never lasts longer than was asked for: it does not outlive the boot.
fn is_over(shelf: &Hold, look: &Look<'_>) -> bool {
    shelf.passing.may_be_over(shelf.length, look.now.mono, look.boot_id)
}

/// What is taken out for weeks stays out over a reboot, until the box has run for that long or the calendar says so.
fn is_out_over(hold: &Hold, now: Stamp, boot_id: &str) -> bool {
    let (over, off) = match hold.passing.passed(now.mono, boot_id) {
        Passed::Exactly(passed) => (passed >= hold.length, hold.rebooted),
        Passed::AtLeast(passed) => (passed >= hold.length, true),
    };
    over || (off && now.wall >= hold.until)
}

/// When it is to be looked at: in a new boot at once, and from then on with an eye on the calendar.
fn out_at(hold: &Hold, boot_id: &str) -> Mono {
    if hold.passing.boot_id != boot_id {
        return Mono(Duration::ZERO);
    }
    let own = hold.passing.reaches(hold.length, boot_id);
    let look = Mono(hold.passing.seen.0.saturating_add(LOOK_AT_CALENDAR));
    if hold.rebooted { own.min(look) } else { own }
}
