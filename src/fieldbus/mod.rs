//! Buses: each is a task that owns its connection, asks and hears, and hands on what it heard undecoded.

mod blocks;
pub mod budget;
pub mod bus;
pub mod cost;
pub mod dlt645;
pub mod driver;
pub mod frames;
pub mod health;
mod holder;
mod latency;
pub mod modbus;
pub mod mqtt;
pub mod order;
pub mod plan;
pub mod port;
mod probe;
pub mod record;
mod refusal;
pub mod replay;
mod rs485;
mod schedule;
pub mod serial;
mod split;
mod turn;
mod unit;

#[cfg(test)]
mod fixtures;

pub use bus::{Bus, BusDevice, BusError, BusParts};
pub use order::{Begun, Counter, Inbox, Inquiry, Order, counter};

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use self::driver::AskFault;
use crate::domain::{BusId, status::BusStatus};

/// What a bus has seen so far; read by status, written by its own task only.
#[derive(Debug, Default)]
pub struct BusCounters {
    pub requests: AtomicU64,
    pub answers: AtomicU64,
    pub silences: AtomicU64,
    /// Wrong length, checksum, unit, function, transaction.
    pub garbled: AtomicU64,
    /// The device said no.
    pub refusals: AtomicU64,
    /// Frames nobody waited for.
    pub unasked: AtomicU64,
    /// Of them: frames of nobody whom the site knows.
    pub strangers: AtomicU64,
    /// Times the line was opened after the first.
    pub reconnects: AtomicU64,
    /// Questions that missed a whole beat before it was their turn.
    pub late: AtomicU64,
    /// How much of its time the line was busy lately, in thousandths.
    pub busy_permille: AtomicU64,
    /// Where devices speak by messages.
    pub messages: OnceLock<Arc<mqtt::Messages>>,
}

/// The counters of one bus under its name.
#[derive(Clone, Debug)]
pub struct BusGauge {
    pub bus: BusId,
    pub counters: Arc<BusCounters>,
}

impl BusGauge {
    pub fn read(&self) -> BusStatus {
        let seen = |counter: &AtomicU64| counter.load(Relaxed);
        let counters = &self.counters;
        BusStatus {
            id: self.bus.clone(),
            requests: seen(&counters.requests),
            answers: seen(&counters.answers),
            silences: seen(&counters.silences),
            garbled: seen(&counters.garbled),
            refusals: seen(&counters.refusals),
            unasked: seen(&counters.unasked),
            strangers: seen(&counters.strangers),
            reconnects: seen(&counters.reconnects),
            late: seen(&counters.late),
            busy_permille: seen(&counters.busy_permille),
            messages: counters.messages.get().map(|messages| messages.read()),
        }
    }
}

impl BusCounters {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// One question, and what came of it.
    pub(crate) fn asked<T>(&self, outcome: &Result<T, AskFault>) {
        let counter = match outcome {
            Ok(_) => &self.answers,
            Err(AskFault::Silent { .. }) => &self.silences,
            Err(AskFault::Garbled { .. }) => &self.garbled,
            Err(AskFault::Refused { .. }) => &self.refusals,
            Err(AskFault::LineDown(_)) => return,
        };
        Self::add(&self.requests);
        Self::add(counter);
    }
}
