//! One alarm of one device: its rule, where it stands, and what follows from a look at it.

use std::time::Duration;

use super::{Acknowledged, Change, Look, Step};
use crate::{
    alarm::{
        Latest, Rule, Truth, WorkedOut,
        delay::Delay,
        lifecycle::{self, Held, Input},
    },
    domain::{Acknowledgement, AlarmMemory, AlarmState, Mono, Rescue, Stamp, TransitionKind},
};

/// A delay shorter than this is not worth a write; a restart simply starts it again.
const KEEP_AFTER: Duration = Duration::from_secs(1);
/// A running delay is written again this often, well within what a restart may bridge.
const KEEP_EVERY: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) rule: Rule,
    pub(super) worked_out: WorkedOut,
    pub(super) suppression: WorkedOut,
    pub(super) memory: AlarmMemory,
    pub(super) running: Option<Delay>,
    /// When the running delay was last written.
    pub(super) kept: Option<Mono>,
    /// Decided but not on disk yet: it stands, whatever comes after, until it is.
    pub(super) decided: Option<Change>,
}

impl Slot {
    pub(super) fn restore(rule: Rule, memory: AlarmMemory, boot_id: &str) -> Self {
        // Another boot's monotonic time says nothing in this one.
        let same_boot = memory.boot_id == boot_id;
        let memory = AlarmMemory { delay: memory.delay.filter(|_| same_boot), ..memory };
        let running = memory.delay.map(Delay::restored);
        let kept = memory.delay.map(|delay| delay.seen);
        let (worked_out, suppression) = (WorkedOut::default(), WorkedOut::default());
        Self { rule, worked_out, suppression, memory, running, kept, decided: None }
    }

    /// The truth that the running delay waits for, how long, and what then happens.
    pub(super) fn awaits(&self) -> (Truth, Duration, Input) {
        if !lifecycle::is_active(self.memory.state) {
            (Truth::True, self.rule.alarm.on_delay, Input::Raise)
        } else if self.memory.overlay.untold && !self.rule.alarm.life_safety {
            (Truth::False, self.rule.alarm.off_delay, Input::ReturnUntold)
        } else {
            (Truth::False, self.rule.alarm.off_delay, Input::Return)
        }
    }

    pub(super) fn look(&mut self, latest: &Latest, look: &Look<'_>) -> Option<Change> {
        if let Some(decided) = &self.decided {
            return Some(decided.clone());
        }
        let now = look.now.mono;
        let suppressed = self.is_suppressed(latest, now);
        if suppressed != self.memory.overlay.suppressed && self.memory.state.is_some() {
            return self.decide(self.turned(look, Held::Suppressed, suppressed));
        }
        let (wanted, limit, input) = self.awaits();
        let truth = self.rule.truth(latest, now, &mut self.worked_out);
        self.running = Delay::observe(self.running, truth, wanted, limit, now);
        if self.running.is_some_and(|delay| delay.is_over(limit)) {
            return self.decide(self.moved(look, input, suppressed));
        }
        self.time_is_up(look).or_else(|| self.to_keep(look, suppressed))
    }

    /// What was decided stands until it is on disk.
    pub(super) fn decide(&mut self, decided: Option<Change>) -> Option<Change> {
        self.decided = decided;
        self.decided.clone()
    }

    /// Nothing unknown begins or ends it.
    pub(super) fn is_suppressed(&mut self, latest: &Latest, now: Mono) -> bool {
        match self.rule.suppression(latest, now, &mut self.suppression) {
            Some(Truth::Unknown) => self.memory.overlay.suppressed,
            Some(Truth::True) => true,
            Some(Truth::False) | None => false,
        }
    }

    /// The condition has come or gone for long enough.
    pub(super) fn moved(&self, look: &Look<'_>, input: Input, suppressed: bool) -> Option<Change> {
        let (state, kind) = lifecycle::next(self.memory.state, input, self.rule.alarm.latching)?;
        let mut memory = self.after(state, kind, look.now);
        memory.delay = None;
        memory.overlay.suppressed = suppressed;
        Some(self.change(look, kind, memory, None))
    }

    /// What is worth a write though nothing happened: a delay that runs or ended, a suppression without an alarm.
    pub(super) fn to_keep(&self, look: &Look<'_>, suppressed: bool) -> Option<Change> {
        let delay = self.running.map(|delay| delay.since);
        let keep = match (delay, self.kept) {
            (None, kept) => kept.is_some(),
            (Some(delay), None) => delay.credited >= KEEP_AFTER,
            (Some(delay), Some(kept)) => delay.seen.since(kept) >= KEEP_EVERY,
        };
        let turned = suppressed != self.memory.overlay.suppressed;
        (keep || turned).then(|| {
            let mut memory = AlarmMemory { delay, boot_id: look.boot_id.to_owned(), ..self.memory.clone() };
            memory.overlay.suppressed = suppressed;
            Change { device: look.device, slot: look.slot, step: None, memory }
        })
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let (_, limit, _) = self.awaits();
        let running = self.running?;
        let over = running.deadline(limit)?;
        let keep = match self.kept {
            None => running.since.seen + KEEP_AFTER.saturating_sub(running.since.credited),
            Some(kept) => kept + KEEP_EVERY,
        };
        Some(over.min(keep))
    }

    pub(super) fn after(&self, state: AlarmState, kind: TransitionKind, at: Stamp) -> AlarmMemory {
        let mut memory = AlarmMemory { state: Some(state), ..self.memory.clone() };
        match kind {
            TransitionKind::Raised => {
                memory.raised_at = Some(memory.raised_at.unwrap_or(at.wall));
                memory.returned_at = None;
                memory.acknowledged = None;
            }
            TransitionKind::Returned | TransitionKind::Closed if memory.returned_at.is_none() => {
                memory.returned_at = Some(at.wall);
            }
            TransitionKind::Returned
            | TransitionKind::Closed
            | TransitionKind::Acknowledged
            | TransitionKind::Shelved
            | TransitionKind::Unshelved
            | TransitionKind::Suppressed
            | TransitionKind::Unsuppressed
            | TransitionKind::OutOfService
            | TransitionKind::InService
            | TransitionKind::Escalated
            | TransitionKind::Rescue
            | TransitionKind::Drill => {}
        }
        memory
    }

    /// The step `kind` that leads to `memory`: who is told, and what is waited for from now on.
    pub(super) fn change(
        &self,
        look: &Look<'_>,
        kind: TransitionKind,
        mut memory: AlarmMemory,
        done: Option<Acknowledgement>,
    ) -> Change {
        let held = memory.overlay.is_held();
        if kind == TransitionKind::Raised {
            memory.overlay.untold = held && (self.memory.state.is_none() || memory.overlay.untold);
            if let Some(limit) = self.rule.alarm.rescue_within {
                let begun = || Box::new(Rescue::begun(limit, look.now.mono, look.boot_id));
                memory.overlay.rescue.get_or_insert_with(begun);
            }
        }
        let withheld = is_withheld(kind, held, memory.overlay.untold);
        let open = memory.state.is_some_and(|state| state != AlarmState::Closed);
        let announced = memory.overlay.untold && !held && open;
        memory.overlay.untold &= held;
        self.wait_for_a_person(look, kind, &mut memory);
        let step = Step { kind, at: look.now, done, withheld, announced };
        Change { device: look.device, slot: look.slot, step: Some(step), memory }
    }

    pub(super) fn acknowledge(&self, look: &Look<'_>, who: Acknowledgement) -> Acknowledged {
        match lifecycle::next(self.memory.state, Input::Acknowledge, self.rule.alarm.latching) {
            Some((state, kind)) => {
                let mut memory = self.after(state, kind, look.now);
                memory.acknowledged = Some(who);
                Acknowledged::Change(Box::new(self.change(look, kind, memory, None)))
            }
            None => match &self.memory.acknowledged {
                Some(first) => Acknowledged::Already { by: first.by.clone() },
                None => Acknowledged::NoSuchAlarm,
            },
        }
    }
}

/// Whether nobody outside is told of this step. `untold`: nobody was told of the occurrence so far.
fn is_withheld(kind: TransitionKind, held: bool, untold: bool) -> bool {
    match kind {
        TransitionKind::Raised => held,
        TransitionKind::Acknowledged | TransitionKind::Returned | TransitionKind::Closed => untold,
        TransitionKind::Suppressed | TransitionKind::Unsuppressed => held && untold,
        TransitionKind::Shelved
        | TransitionKind::Unshelved
        | TransitionKind::OutOfService
        | TransitionKind::InService
        | TransitionKind::Escalated
        | TransitionKind::Rescue
        | TransitionKind::Drill => false,
    }
}
