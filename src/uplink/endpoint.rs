//! Somebody who is told: one attempt to hand over one letter, and what became of it.
//!
//! Held against kinds to come, none of which needs more than this:
//! - **GA/T 1400** registers first and keeps the session alive: `attend` does both, `deliver` waits a little for the session
//!   and else says `TryAgain`, `attend` rings the bell once there is one. Its receipts are judged as those of HTTP.
//! - **Chat robots** take so many messages a minute: `Terms::gap`; what they refuse for being too many is `TryAgain` with the
//!   time they ask for.
//! - **MQTT, Sparkplug B** have one connection that must be served all the time, and several letters on their way:
//!   `Terms::window`; `attend` serves the connection and hands each PUBACK, or each receipt that names the event, to the
//!   `deliver` that waits for it. Births, sequence numbers and rebirths belong to the session, so to `attend`.
//!
//! What comes back and is no receipt (an acknowledgement, a command) goes down a channel that the endpoint is made with.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::{
    Hindrance, Letter,
    command::{Command, Outcome},
    drill::Drilled,
};

/// Something that a person at an endpoint asks, and where the answer goes: the same door as everybody's.
pub type Word = (Command, oneshot::Sender<Outcome>);

/// What became of one attempt. Only `Accepted` lets a letter leave the outbox as delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver's own success rule holds. `status`: as HTTP has it; `said`: at most 1 KiB of its reply.
    Accepted { status: u16, said: String },
    /// Not now, whatever the letter: the endpoint as a whole is left in peace, for `after` if it or the fault asks so.
    TryAgain { why: Hindrance, after: Option<Duration> },
    /// Not this letter: the others go on.
    Refused { why: Hindrance, how: Refusal },
}

impl Verdict {
    /// As what it shows if `event` was a drill.
    pub fn drilled(self, event: String) -> Drilled {
        match self {
            Verdict::Accepted { status, said } => Drilled::Accepted { event, status, said },
            Verdict::TryAgain { why, .. } | Verdict::Refused { why, .. } => Drilled::Hindered { event, why },
        }
    }
}

/// How sure it is that the letter itself is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read there: the third time it is set aside.
    Unreadable,
    /// A plain no, which may as well be a passing trouble told in another way: it is offered for long before it is set aside.
    Unwanted,
}

/// What an endpoint can stand while all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Letters on their way at once, each of another alarm; at least 1.
    pub window: usize,
    /// From the beginning of one attempt to that of the next.
    pub gap: Duration,
}

impl Terms {
    pub const ONE_BY_ONE: Self = Self { window: 1, gap: Duration::ZERO };
}

pub trait Endpoint: Send + Sync + 'static {
    fn terms(&self) -> Terms {
        Terms::ONE_BY_ONE
    }

    /// One attempt, of bounded length; several run at once if `terms` say so. Dropping the future gives the attempt up:
    /// nobody then knows whether it arrived.
    fn deliver(&self, letter: &Letter) -> impl Future<Output = Verdict> + Send;

    /// What has to live between letters: a session, a connection, a look at files that may change. Runs beside the
    /// deliveries, also after the last of them began, and ends soon after `stop`.
    fn attend(&self, bell: Bell, stop: CancellationToken) -> impl Future<Output = ()> + Send {
        async move {
            drop(bell);
            stop.cancelled().await;
        }
    }
}

/// By which an endpoint calls its courier: what kept letters from it may be over, the back-off need not be waited out.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    pub fn ring(&self) {
        self.0.notify_one();
    }

    pub async fn rung(&self) {
        self.0.notified().await;
    }
}
