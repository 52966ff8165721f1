//! What a bus is told or asked out of turn: a command goes ahead of all that is due, an installer's inquiry takes the time that
//! alarm points leave.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::sync::{mpsc, oneshot};

use super::{driver::AskFault, plan::Ask};
use crate::{
    domain::{DeviceIx, Instruction, Raw},
    profile::{Address, Link},
};

/// So many of each may wait for a bus; who comes then waits at `send`, or is told that the line is busy.
const MOST_WAITING: usize = 8;

/// A device is told to do something: once, never again by itself.
#[derive(Debug)]
pub struct Order {
    pub device: DeviceIx,
    pub instruction: Instruction,
    /// `Silent` and `Garbled`: nobody knows whether it was done.
    pub reply: oneshot::Sender<Result<(), AskFault>>,
    pub begun: Begun,
}

/// Whether an order may have gone over the wire: known also to whoever gave up waiting for the reply.
#[derive(Clone, Debug, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    pub fn is(&self) -> bool {
        self.0.load(SeqCst)
    }
}

impl Order {
    /// Whether it may still be carried out. Whoever hung up before does not see it begun, and it never is.
    pub(super) fn begin(&self) -> bool {
        self.begun.0.store(true, SeqCst);
        !self.reply.is_closed()
    }
}

/// One exchange with a unit of the line, whether the site knows it or not: read only.
#[derive(Debug)]
pub struct Inquiry {
    pub unit: Address,
    pub link: Link,
    pub ask: Ask,
    pub reply: oneshot::Sender<Result<Raw, AskFault>>,
}

/// Where a bus is told and asked.
#[derive(Clone, Debug)]
pub struct Counter {
    pub orders: mpsc::Sender<Order>,
    pub inquiries: mpsc::Sender<Inquiry>,
}

/// The bus's own side of its [`Counter`].
#[derive(Debug)]
pub struct Inbox {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) inquiries: mpsc::Receiver<Inquiry>,
}

/// A counter, and the inbox behind it.
pub fn counter() -> (Counter, Inbox) {
    let (orders, orders_in) = mpsc::channel(MOST_WAITING);
    let (inquiries, inquiries_in) = mpsc::channel(MOST_WAITING);
    (Counter { orders, inquiries }, Inbox { orders: orders_in, inquiries: inquiries_in })
}

/// A bus that does nothing but take one order.
#[cfg(test)]
impl Inbox {
    pub async fn take_order(&mut self, outcome: Result<(), AskFault>) {
        let order = self.orders.recv().await.expect("an order comes");
        assert!(order.begin(), "somebody waits for it");
        order.reply.send(outcome).expect("somebody waits for it");
    }

    pub async fn begin_and_stop(&mut self) {
        let order = self.orders.recv().await.expect("an order comes");
        assert!(order.begin(), "somebody waits for it");
    }

    pub fn would_begin(mut self) -> bool {
        self.orders.try_recv().expect("an order waits").begin()
    }
}
