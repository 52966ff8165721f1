//! What people want of the line out of turn: orders, done once; inquiries, answered in the time that alarm points leave.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};
use tracing::debug;

use super::{Bus, BusError};
use crate::fieldbus::{
    driver::{AskFault, Driver},
    order::{Inquiry, Order},
};

/// Inquiries take at most one part in so many of a line that alarm points need, or that is never idle.
const INQUIRY_SHARE: u32 = 5;
/// With nothing due for an alarm before so long, an inquiry keeps none waiting.
const LONG_QUIET: Duration = Duration::from_secs(1);

/// When the line has time for an inquiry.
pub(super) struct Spare {
    /// Not before, for the sake of alarm points.
    not_before: Instant,
}

impl Spare {
    pub fn new(now: Instant) -> Self {
        Self { not_before: now }
    }

    /// From when on an inquiry may be made; `None` while a question for an alarm is due.
    pub fn free_at(&self, now: Instant, next_alarm: Option<Instant>) -> Option<Instant> {
        match next_alarm {
            Some(due) if due <= now => None,
            Some(due) if due < now + LONG_QUIET => Some(self.not_before),
            Some(_) | None => Some(now),
        }
    }

    /// Whether an inquiry that waits goes ahead of what else is due: on a line that is never idle it would wait for ever.
    pub fn is_owed(&self, now: Instant, next_alarm: Option<Instant>) -> bool {
        self.not_before <= now && next_alarm.is_none_or(|due| due > now)
    }

    fn spent(&mut self, took: Duration, now: Instant) {
        self.not_before = now + took * (INQUIRY_SHARE - 1);
    }
}

impl<D: Driver> Bus<D> {
    /// Once: what comes of it, nobody knows better than the caller.
    pub(super) async fn tell_device(&mut self, order: Order) -> Result<(), BusError> {
        let Some(&unit) = self.by_device.get(&order.device) else { return Ok(()) };
        if let Err(fault) = self.open().await {
            self.answer(order.reply, Err(fault.clone().into()));
            return self.line_down(fault).await;
        }
        let device = &self.units[unit].device;
        // Whoever gave up must not find it done later; and an elevator is never told anything, whoever asks.
        if device.profile.class.is_never_told() || !order.begin() {
            return Ok(());
        }
        let Order { instruction, reply, .. } = order;
        let began = Instant::now();
        let outcome = self.driver.tell(&device.address, &device.profile.link, &instruction).await;
        self.counters.asked(&outcome);
        self.load.carried(began, Instant::now(), &self.counters);
        self.settle(outcome, reply).await
    }

    /// An installer's question: no device's health follows from it.
    pub(super) async fn inquire(&mut self, inquiry: Inquiry) -> Result<(), BusError> {
        let Inquiry { unit, link, ask, reply } = inquiry;
        if reply.is_closed() {
            return Ok(());
        }
        let began = Instant::now();
        let outcome = self.driver.ask(&unit, &link, &ask).await;
        let now = Instant::now();
        self.counters.asked(&outcome);
        self.load.carried(began, now, &self.counters);
        self.spare.spent(now - began, now);
        self.settle(outcome, reply).await
    }

    /// A line that went down meanwhile is everybody's business.
    async fn settle<T>(
        &mut self,
        outcome: Result<T, AskFault>,
        reply: oneshot::Sender<Result<T, AskFault>>,
    ) -> Result<(), BusError> {
        let down = match &outcome {
            Err(AskFault::LineDown(fault)) => Some(fault.clone()),
            Ok(_) | Err(AskFault::Silent { .. } | AskFault::Garbled { .. } | AskFault::Refused { .. }) => {
                None
            }
        };
        self.answer(reply, outcome);
        match down {
            Some(fault) => self.line_down(fault).await,
            None => Ok(()),
        }
    }

    pub(super) fn answer<T>(
        &self,
        reply: oneshot::Sender<Result<T, AskFault>>,
        outcome: Result<T, AskFault>,
    ) {
        if reply.send(outcome).is_err() {
            debug!(bus = %self.id, "Nobody waits for the answer.");
        }
    }
}
