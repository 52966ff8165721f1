//! One alarm of one device: its rule, where it stands, and what follows from a look at it.

use std::{sync::Arc, time::Duration};

use super::{Acknowledged, Change, Look, Step};
use crate::{
    alarm::{
        ChatteringLimit, History, Latest, Rule, Truth, WorkedOut,
        delay::Delay,
        lifecycle::{self, Held, Input},
    },
    domain::{
        Acknowledgement, AlarmMemory, AlarmState, Mono, OnDelay, Passing, Priority, Raises, Rescue, Stamp,
        TransitionKind,
    },
};

/// A delay shorter than this is not worth a write; a restart simply starts it again.
const KEEP_AFTER: Duration = Duration::from_secs(1);
/// A running delay is written again this often, well within what a restart may bridge.
const KEEP_EVERY: Duration = Duration::from_secs(20);

/// An on-delay of this length is not one of the moment.
const LONG: Duration = Duration::from_secs(3600);

/// Small: every reading of every device comes past the alarms of its device. What is looked at seldom stands elsewhere.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) rule: Arc<Rule>,
    pub(super) worked_out: WorkedOut,
    pub(super) suppression: WorkedOut,
    pub(super) memory: Box<AlarmMemory>,
    pub(super) running: Option<Delay>,
    /// When the running delay was last written.
    pub(super) kept: Option<Mono>,
    /// What a rule has seen that looks at more than the moment, and when it looked last.
    pub(super) history: Option<Box<History>>,
    looked: Mono,
    /// Decided but not on disk yet: it stands, whatever comes after, until it is.
    pub(super) decided: Option<Box<Change>>,
    /// It is normal, nothing runs and nothing lies over it: while its rule does not hold, nothing follows.
    pub(super) rests: bool,
}

impl Slot {
    pub(super) fn restore(rule: Arc<Rule>, memory: AlarmMemory, boot_id: &str) -> Self {
        // Another boot's monotonic time says nothing in this one.
        let same_boot = memory.boot_id == boot_id;
        let delay = memory.delay.filter(|_| same_boot).or_else(|| {
            // What is waited for through days does not begin anew with each boot; what the box was off for is not counted.
            let long = rule.alarm.on_delay >= LONG && !lifecycle::is_active(memory.state);
            memory.delay.filter(|_| long).map(|delay| OnDelay { seen: Mono(Duration::ZERO), ..delay })
        });
        let memory = Box::new(AlarmMemory { delay, ..memory });
        let running = memory.delay.map(Delay::restored);
        let kept = memory.delay.map(|delay| delay.seen);
        let (worked_out, suppression) = (WorkedOut::default(), WorkedOut::default());
        let watch = memory.watch.as_deref();
        let history =
            rule.over_time().map(|over_time| Box::new(History::restored(over_time, watch, boot_id)));
        let looked = Mono(Duration::ZERO);
        let (decided, rests) = (None, false);
        Self { rule, worked_out, suppression, memory, running, kept, history, looked, decided, rests }
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
        let truth = self.truth(latest, look.now.mono);
        if self.rests && truth != Truth::True {
            return None;
        }
        let change = self.look_closely(truth, latest, look);
        self.rests = change.is_none() && self.is_at_rest();
        change
    }

    /// After a look from which nothing followed: whether none will, until its rule holds or a change is applied. (When it was raised lately
    /// may be remembered: that alone begins nothing.)
    fn is_at_rest(&self) -> bool {
        let remembers = self.memory.state.is_some() || !self.memory.overlay.is_plain() || self.kept.is_some();
        let sees_more = self.history.is_some() || self.rule.is_suppressible();
        !remembers && !sees_more && self.running.is_none() && self.decided.is_none()
    }

    fn look_closely(&mut self, truth: Truth, latest: &Latest, look: &Look<'_>) -> Option<Change> {
        let now = look.now.mono;
        if let Some(decided) = &self.decided {
            return Some(Change::clone(decided));
        }
        let suppressed = self.is_suppressed(latest, now);
        if suppressed != self.memory.overlay.suppressed && self.memory.state.is_some() {
            return self.decide(self.turned(look, Held::Suppressed, suppressed));
        }
        if self.begins_to_chatter(look) {
            return self.decide(self.turned(look, Held::Chattering, true));
        }
        let (wanted, limit, input) = self.awaits();
        self.running = Delay::observe(self.running, truth, wanted, limit, now);
        if self.running.is_some_and(|delay| delay.is_over(limit)) {
            return self.decide(self.moved(look, input, suppressed));
        }
        self.time_is_up(look).or_else(|| self.to_keep(look, suppressed))
    }

    /// Whether the rule holds, by all that it has seen.
    fn truth(&mut self, latest: &Latest, now: Mono) -> Truth {
        // what rests is normal: its memory need not be fetched to see that
        let is_active = !self.rests && lifecycle::is_active(self.memory.state);
        let truth = self.rule.truth(latest, now, is_active, &mut self.worked_out);
        self.looked = now;
        match (self.rule.over_time(), &mut self.history) {
            (Some(over_time), Some(history)) => history.observe(over_time, truth, latest, now),
            (Some(_) | None, _) => truth,
        }
    }

    /// Whether it is to be looked at again though nothing is read.
    pub(super) fn runs(&self) -> bool {
        self.running.is_some() || self.history_deadline().is_some()
    }

    fn history_deadline(&self) -> Option<Mono> {
        self.history.as_ref()?.deadline(self.rule.over_time()?)
    }

    /// What its memory says of what was seen is on disk.
    pub(super) fn watch_is_kept(&mut self) {
        if let Some(history) = &mut self.history {
            history.is_kept(self.memory.watch.as_deref(), self.looked);
        }
    }

    /// What was decided stands until it is on disk.
    pub(super) fn decide(&mut self, decided: Option<Change>) -> Option<Change> {
        self.decided = decided.clone().map(Box::new);
        decided
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
            (Some(delay), Some(kept)) => delay.seen.since(kept) >= self.keep_every(),
        };
        let turned = suppressed != self.memory.overlay.suppressed;
        let seen = self.history.as_ref().zip(self.rule.over_time());
        let seen = seen.is_some_and(|(history, over_time)| history.is_to_be_kept(over_time, look.now.mono));
        (keep || turned || seen).then(|| {
            let mut memory =
                AlarmMemory { delay, boot_id: look.boot_id.to_owned(), ..AlarmMemory::clone(&self.memory) };
            memory.watch = self.history.as_ref().and_then(|history| history.watch(look.boot_id));
            memory.overlay.suppressed = suppressed;
            Change { device: look.device, slot: look.slot, step: None, memory }
        })
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        [self.delay_deadline(), self.history_deadline()].into_iter().flatten().min()
    }

    fn keep_every(&self) -> Duration {
        let (_, limit, _) = self.awaits();
        KEEP_EVERY.max(limit / 600)
    }

    fn delay_deadline(&self) -> Option<Mono> {
        let (_, limit, _) = self.awaits();
        let running = self.running?;
        let over = running.deadline(limit)?;
        let keep = match self.kept {
            None => running.since.seen + KEEP_AFTER.saturating_sub(running.since.credited),
            Some(kept) => kept + self.keep_every(),
        };
        Some(over.min(keep))
    }

    pub(super) fn after(&self, state: AlarmState, kind: TransitionKind, at: Stamp) -> AlarmMemory {
        let mut memory = AlarmMemory { state: Some(state), ..AlarmMemory::clone(&self.memory) };
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
            | TransitionKind::Chattering
            | TransitionKind::Calmed
            | TransitionKind::Summary
            | TransitionKind::Drill
            | TransitionKind::Credit => {}
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
            self.note_raise(look, &mut memory);
        }
        let chatters = memory.overlay.chattering.is_some() || self.is_chattering(&memory, look);
        let quiet = held || chatters;
        if kind == TransitionKind::Raised {
            memory.overlay.untold = quiet && (self.memory.state.is_none() || memory.overlay.untold);
            if let Some(limit) = self.rule.alarm.rescue_within {
                let begun = || Box::new(Rescue::begun(limit, look.now.mono, look.boot_id));
                memory.overlay.rescue.get_or_insert_with(begun);
            }
        }
        let withheld = is_withheld(kind, held, chatters, memory.overlay.untold);
        let open = memory.state.is_some_and(|state| state != AlarmState::Closed);
        let announced = memory.overlay.untold && !quiet && open;
        memory.overlay.untold &= quiet;
        self.wait_for_a_person(look, kind, &mut memory);
        memory.watch = self.history.as_ref().and_then(|history| history.watch(look.boot_id));
        let ended = self.memory.overlay.chattering.clone().filter(|_| kind == TransitionKind::Calmed);
        let step = Step { kind, at: look.now, done, withheld, announced, chattered: ended };
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
                Some(first) => {
                    Acknowledged::Already { alarm: self.memory.occurrence.clone(), by: first.by.clone() }
                }
                None => Acknowledged::NoSuchAlarm,
            },
        }
    }
}

impl Slot {
    /// What is critical or a matter of life is told each time.
    fn may_chatter(&self) -> bool {
        let alarm = &self.rule.alarm;
        !alarm.life_safety
            && match alarm.priority {
                Priority::Critical => false,
                Priority::High | Priority::Medium | Priority::Low => true,
            }
    }

    fn note_raise(&self, look: &Look<'_>, memory: &mut AlarmMemory) {
        if !self.may_chatter() {
            return;
        }
        let (now, ChatteringLimit { more_than, within, .. }) = (look.now.mono, look.customs.chattering);
        let before = memory.raises.as_deref();
        let raises = Raises::with(before, now, look.boot_id, within, more_than.saturating_add(1));
        memory.raises = Some(Box::new(raises));
        if let Some(chattering) = &mut memory.overlay.chattering {
            chattering.raises = chattering.raises.saturating_add(1);
            chattering.passing = Passing::begun(now, look.boot_id);
        }
    }

    /// Whether it was raised too often lately, told or not.
    fn is_chattering(&self, memory: &AlarmMemory, look: &Look<'_>) -> bool {
        let ChatteringLimit { more_than, within, .. } = look.customs.chattering;
        let Some(raises) = memory.raises.as_deref().filter(|_| self.may_chatter()) else { return false };
        let (Some(first), Some(last)) = (raises.at.first(), raises.at.last()) else { return false };
        raises.boot_id == look.boot_id && raises.at.len() > more_than && last.since(*first) <= within
    }

    fn begins_to_chatter(&self, look: &Look<'_>) -> bool {
        self.memory.overlay.chattering.is_none() && self.is_chattering(&self.memory, look)
    }
}

/// Whether nobody outside is told of this step. `untold`: nobody was told of the occurrence so far.
fn is_withheld(kind: TransitionKind, held: bool, chatters: bool, untold: bool) -> bool {
    match kind {
        TransitionKind::Raised => held || chatters,
        TransitionKind::Returned => chatters || untold,
        TransitionKind::Acknowledged | TransitionKind::Closed => untold,
        TransitionKind::Chattering | TransitionKind::Calmed => held,
        TransitionKind::Suppressed | TransitionKind::Unsuppressed => held && untold,
        TransitionKind::Shelved
        | TransitionKind::Unshelved
        | TransitionKind::OutOfService
        | TransitionKind::InService
        | TransitionKind::Escalated
        | TransitionKind::Rescue
        | TransitionKind::Summary
        | TransitionKind::Drill
        | TransitionKind::Credit => false,
    }
}
