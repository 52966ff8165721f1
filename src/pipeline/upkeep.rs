//! The store, looked after once a second: how it stands becomes readings of the gateway's own, what it had to give up becomes a
//! report that is delivered. And what to do when a commit fails: an alarm is never silenced by its store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use tracing::{error, info, warn};

use super::{Pipeline, drill::OwnWord};
use crate::{
    domain::{
        DeviceIx, Event, Heard, Loss, LossClass, LossReason, Mono, Priority, Raw, Text, TransitionKind,
    },
    store::{Commit, Condition, StoreError, StoreState, Untold},
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Well within the heartbeat that `gateway-store/gatehouse-store` promises.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// While room is being made a report gathers what goes meanwhile.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Losses of readings are told this often at most.
const TELL_READINGS_EVERY: Duration = Duration::from_secs(60);
/// How long what memory holds has to go out before the gateway starts anew.
const LAST_WORDS: Duration = Duration::from_millis(2500);

const MIB: u64 = 1 << 20;

/// What the pipeline knows of its store.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// As whom the store reports; without it nobody is told how it stands.
    own: Option<DeviceIx>,
    next_look: Option<Mono>,
    report: Option<(Report, Mono)>,
    state: Option<StoreState>,
    /// Until when the gateway stays, though its disk failed.
    leave_at: Option<Mono>,
    /// Events that are known to be missing from the file.
    missing: u64,
    /// When losses were told last.
    told_at: Option<Mono>,
    readings: ReadingsTold,
}

impl Upkeep {
    pub fn reporting_as(own: Option<DeviceIx>) -> Self {
        Self { own, ..Self::default() }
    }
}

/// What was told of lost readings, and when.
#[derive(Debug, Default)]
struct ReadingsTold {
    at: Option<Mono>,
    dropped: u64,
}

/// As `gateway-store/gatehouse-store` reads it. Whole numbers, so that it changes when something does.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    state: &'static str,
    why: String,
    used: u64,
    free: u64,
    low: bool,
    log: u64,
    volatile: usize,
    broken: bool,
    salvaged: u64,
    unreadable: u64,
    missing: u64,
    readings_lost: u64,
}

impl Report {
    fn of(condition: &Condition, readings_lost: u64) -> Self {
        let findings = condition.findings;
        Self {
            state: condition.state.word(),
            why: condition.why.clone(),
            used: condition.used_percent as u64,
            free: condition.free.unwrap_or(0) / MIB,
            low: condition.is_low,
            log: condition.log / MIB,
            volatile: condition.volatile,
            broken: findings.broken,
            salvaged: findings.salvaged,
            unreadable: findings.unreadable,
            missing: findings.missing,
            readings_lost,
        }
    }

    /// Whether an alarm may follow from the difference.
    fn is_news(&self, told: &Report) -> bool {
        let held = |report: &Report| report.log >= 32;
        let filling = |report: &Report| report.used >= 80;
        let alarming = |report: &Report| {
            let counts = (report.salvaged, report.unreadable, report.missing);
            (report.state, report.low, report.broken, held(report), filling(report), counts)
        };
        alarming(self) != alarming(told)
    }
}

impl Pipeline {
    /// # Errors
    /// `Failed` when the gateway is to start anew; what ends it anyway.
    pub(super) async fn look_after_the_store(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now().mono;
        if let Some(at) = self.upkeep.leave_at
            && now >= at
        {
            let why = self.trouble.why_not_stored.clone().unwrap_or_default();
            return Err(StoreError::Failed { file: crate::store::File::Events, why });
        }
        if self.upkeep.next_look.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.upkeep.next_look = Some(now + LOOK_EVERY);
        let condition = self.events.tend().await?;
        self.note_condition(&condition);
        self.remember_anew(&condition).await?;
        self.report_on_the_store(&condition).await?;
        if self.resting() || self.upkeep.told_at.is_some_and(|told| now.since(told) < TELL_EVERY) {
            return Ok(());
        }
        let mut losses = condition.losses;
        let damaged = self.lost_readings(&mut losses);
        if losses.is_empty() {
            return Ok(());
        }
        self.upkeep.told_at = Some(now);
        if self.tell_losses(losses).await? {
            self.telemetry.told(damaged);
        }
        Ok(())
    }

    /// When [`Self::look_after_the_store`] has something to do.
    pub(super) fn next_upkeep(&self) -> Option<Mono> {
        [self.upkeep.next_look, self.upkeep.leave_at].into_iter().flatten().min()
    }

    fn note_condition(&mut self, condition: &Condition) {
        let before = self.upkeep.state.replace(condition.state);
        if condition.state == StoreState::Leaving && condition.volatile == 0 {
            self.leave_after(Duration::ZERO);
        } else if condition.state == StoreState::Leaving {
            self.leave_after(LAST_WORDS);
        }
        if condition.state == StoreState::Sound {
            if before.is_some_and(|before| before != StoreState::Sound) {
                info!("The store is sound again.");
            }
            // What was decided meanwhile is decided again, and what memory held is in the file: couriers look anew.
            if self.trouble.storage.is_some() {
                self.note_storage(None);
                self.wake.iter().for_each(|courier| courier.notify_one());
            }
            self.trouble.why_not_stored = None;
        } else {
            self.trouble.why_not_stored = Some(condition.why.clone());
        }
    }

    fn leave_after(&mut self, wait: Duration) {
        let at = self.clock.now().mono + wait;
        if self.upkeep.leave_at.is_none() {
            error!("The disk failed: the gateway starts anew and recovers what was committed.");
        }
        self.upkeep.leave_at = Some(self.upkeep.leave_at.map_or(at, |known| known.min(at)));
    }

    /// Whether the gateway can go on after `error`: what passes is waited out, a disk that failed lets it say its last words.
    pub(super) fn survive(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Full { .. } | StoreError::Away { .. } => Ok(()),
            StoreError::Failed { .. } => {
                self.leave_after(LAST_WORDS);
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Whether what could not be stored goes all the same. What people ask for does not, they are told so; on a disk that is
    /// only full what is not urgent is decided again later.
    pub(super) fn goes_all_the_same(error: &StoreError, commit: &Commit) -> bool {
        let urgent = commit.events.iter().any(|event| match event.event.alarm.priority {
            Priority::Critical | Priority::High => true,
            Priority::Medium | Priority::Low => false,
        });
        commit.audit.is_empty()
            && match error {
                StoreError::Full { .. } => urgent,
                StoreError::Away { .. } | StoreError::Failed { .. } => true,
                _ => false,
            }
    }

    /// Keeps it in memory, its letters saying that it is volatile.
    pub(super) async fn hold(&mut self, commit: Arc<Commit>) -> Result<(), StoreError> {
        if commit.events.is_empty() {
            // A delay that runs: a restart begins it again.
            return Ok(());
        }
        let letters = commit.events.iter().flat_map(|sealed| (self.address)(&sealed.volatile())).collect();
        self.events.hold(commit, letters).await
    }

    /// A file that is not the one that was written last does not know the alarms that stand.
    async fn remember_anew(&mut self, condition: &Condition) -> Result<(), StoreError> {
        let missing = condition.findings.missing;
        if condition.state != StoreState::Sound || missing == self.upkeep.missing {
            return Ok(());
        }
        let alarms = self.engine.standing().cloned().collect();
        match self.events.commit(Commit { alarms, ..Commit::default() }).await {
            Ok(()) => self.upkeep.missing = missing,
            Err(error) => return self.survive(error),
        }
        Ok(())
    }

    async fn report_on_the_store(&mut self, condition: &Condition) -> Result<(), StoreError> {
        let Some(device) = self.upkeep.own else { return Ok(()) };
        let at = self.clock.now();
        let report = Report::of(condition, self.telemetry.dropped());
        let due = match &self.upkeep.report {
            Some((told, when)) => report.is_news(told) || at.mono.since(*when) >= REPORT_EVERY,
            None => true,
        };
        if !due {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&report).expect("numbers and texts");
        self.upkeep.report = Some((report, at.mono));
        let heard = Heard {
            device,
            at,
            points: self.devices[device.0 as usize].profile.all_points().collect(),
            outcome: Ok(Raw::Payload { bytes: Bytes::from(bytes), retained: false }),
            receipt: None,
        };
        self.carry(&mut vec![heard]).await
    }

    /// Those that were not stored, and those that were damaged on disk; the numbers of the latter, which `telemetry.db` keeps until
    /// they are told.
    fn lost_readings(&mut self, losses: &mut Vec<Untold>) -> Vec<i64> {
        let now = self.clock.now().mono;
        let (dropped, damaged) = (self.telemetry.dropped(), self.telemetry.lost());
        let told = &mut self.upkeep.readings;
        let soon = told.at.is_some_and(|at| now.since(at) < TELL_READINGS_EVERY);
        if soon || dropped == told.dropped && damaged.is_empty() {
            return Vec::new();
        }
        if dropped > told.dropped {
            let count = dropped - told.dropped;
            let loss = Loss { count, ..Loss::of(LossClass::Readings, LossReason::NotStored) };
            losses.push(Untold { number: 0, loss });
        }
        *told = ReadingsTold { at: Some(now), dropped };
        let numbers = damaged.iter().map(|untold| untold.number).collect();
        // Their numbers are not those of events.db.
        losses.extend(damaged.into_iter().map(|untold| Untold { number: 0, ..untold }));
        numbers
    }

    /// An event of its own, with letters to whoever should have had what is lost. Whether it is on its way.
    async fn tell_losses(&mut self, losses: Vec<Untold>) -> Result<bool, StoreError> {
        let Some(device) = self.upkeep.own else { return Ok(false) };
        let numbers = losses.iter().map(|loss| loss.number).filter(|number| *number > 0).collect();
        let losses: Vec<Loss> = losses.into_iter().map(|untold| untold.loss).collect();
        for loss in &losses {
            warn!(class = loss.class.word(), reason = loss.reason.word(), count = loss.count, endpoint = ?loss.endpoint,
                  subject = ?loss.subject, first_seq = loss.first_seq, last_seq = loss.last_seq, "Something was given up.");
        }
        let sealed = self.ledger.seal(self.loss_report(device, losses), &self.private);
        let letters = (self.address)(&sealed);
        let mut ledger = self.ledger.clone();
        ledger.advance(&sealed);
        let commit =
            Arc::new(Commit { events: vec![sealed], letters, told_losses: numbers, ..Commit::default() });
        match self.events.commit(Arc::clone(&commit)).await {
            Ok(()) => {}
            Err(error) if commit.told_losses.is_empty() && Self::goes_all_the_same(&error, &commit) => {
                self.hold(commit).await?;
            }
            // They stand in the file, and are told later.
            Err(error) => return self.survive(error).map(|()| false),
        }
        self.ledger = ledger;
        self.wake.iter().for_each(|courier| courier.notify_one());
        Ok(true)
    }

    fn loss_report(&self, device: DeviceIx, losses: Vec<Loss>) -> Event {
        let (seq, epoch) = (self.ledger.next_seq(), self.ledger.epoch());
        let word = OwnWord {
            kind: TransitionKind::Closed,
            name: "loss_report",
            occurrence: format!("loss-{}-{seq}", epoch.get(..4).unwrap_or("0")).into(),
            priority: Priority::High,
            title: Text::new("丢失报告", "loss report"),
        };
        Event { losses, ..self.own_event(&self.devices[device.0 as usize], word) }
    }
}
