//! Somebody who is told: one attempt to hand over one letter, and what became of it.

use std::{future::Future, time::Duration};

use crate::domain::Letter;

/// What became of one attempt. Only `Accepted` lets a letter leave the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver's own success rule holds. `status`: as HTTP has it; `said`: at most 1 KiB of its reply.
    Accepted { status: u16, said: String },
    /// Not now, whatever the letter: the endpoint as a whole is left in peace, for `after` if it or the fault asks so.
    TryAgain { why: String, after: Option<Duration> },
    /// Not this letter: the others go on.
    Refused { why: String },
}

pub trait Endpoint: Send + Sync {
    /// One attempt, of bounded length. Dropping the future gives the attempt up: nobody then knows whether it arrived.
    fn deliver(&self, letter: &Letter) -> impl Future<Output = Verdict> + Send;
}
