//! What a bus is told or asked out of turn: a command goes ahead of all that is due, an installer's inquiry takes the time that
//! alarm points leave.

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
