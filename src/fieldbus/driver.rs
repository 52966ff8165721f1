//! What every kind of line can do: be opened, be asked, speak by itself.

use std::{future::Future, time::Duration};

use thiserror::Error;

use super::{cost::LineCost, plan::Ask};
pub use crate::domain::LineFault;
use crate::{
    domain::{DeviceIx, Failure, Garble, Instruction, Raw, Receipt},
    profile::{Address, Link},
};

/// One line, owned by one [`Bus`](super::bus::Bus): never asked twice at once.
pub trait Driver: Send {
    /// What exchanges cost on it: the plan of what is asked depends on it.
    fn cost(&self) -> LineCost;

    /// Makes the line ready; at once when it already is. Cancelling it leaves the line closed or ready.
    fn connect(&mut self) -> impl Future<Output = Result<Line, LineFault>> + Send;

    /// One question, one answer, no retry. After a fault other than `Refused` the driver itself has made sure
    /// that what may still come for this question is never taken for the answer to a later one.
    fn ask(
        &mut self,
        unit: &Address,
        link: &Link,
        ask: &Ask,
    ) -> impl Future<Output = Result<Raw, AskFault>> + Send;

    /// Whether several questions may be under way at once.
    fn pipelines(&self) -> bool {
        false
    }

    /// Several questions, an outcome for each. Where one meets silence, those that were under way with it may too.
    fn ask_all(&mut self, asked: &[Asked<'_>]) -> impl Future<Output = Vec<Result<Raw, AskFault>>> + Send {
        async move {
            let mut outcomes = Vec::with_capacity(asked.len());
            for Asked { unit, link, ask } in asked {
                outcomes.push(self.ask(unit, link, ask).await);
            }
            outcomes
        }
    }

    /// Tells a device to do something: once, whatever comes of it. After a fault other than `Refused` nobody knows whether it was done,
    /// and what may still come for it is never taken for the answer to a later question.
    fn tell(
        &mut self,
        _unit: &Address,
        _link: &Link,
        _instruction: &Instruction,
    ) -> impl Future<Output = Result<(), AskFault>> + Send {
        std::future::ready(Err(AskFault::Garbled { what: Garble::Unaskable }))
    }

    /// The next thing nobody asked for: also what came in during an `ask`. Cancel-safe; pending for ever where nothing
    /// speaks by itself. What waits here is bounded by the driver.
    fn hear(&mut self) -> impl Future<Output = Unasked> + Send;

    /// Gives the line back to the system at once.
    fn close(&mut self);

    /// The bus stops: what is committed is still acknowledged, within a few seconds, then the line is closed.
    fn finish(&mut self) -> impl Future<Output = ()> + Send {
        self.close();
        std::future::ready(())
    }
}

/// One question to one unit.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub unit: &'a Address,
    pub link: &'a Link,
    pub ask: &'a Ask,
}

/// What `connect` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Kept,
    Opened,
}

/// Why a question has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AskFault {
    #[error("get an answer: silent for {waited:?}")]
    Silent { waited: Duration },
    #[error("get a valid answer: {what}")]
    Garbled { what: Garble },
    /// The device is there and said no.
    #[error("get a value: the device refused with code {code}")]
    Refused { code: u16 },
    #[error("{0}")]
    LineDown(#[from] LineFault),
}

impl From<&AskFault> for Failure {
    fn from(fault: &AskFault) -> Failure {
        match fault {
            AskFault::Silent { .. } => Failure::Silent,
            AskFault::Garbled { what } => Failure::Garbled { what: what.clone() },
            AskFault::Refused { code } => Failure::Refused { code: *code },
            AskFault::LineDown(fault) => Failure::LineDown { fault: fault.clone() },
        }
    }
}

/// Something nobody asked for.
#[derive(Debug)]
pub enum Unasked {
    /// A whole frame or message of a device of this bus. `receipt` is told once it is committed.
    Message {
        device: DeviceIx,
        raw: Raw,
        receipt: Option<Receipt>,
    },
    /// A whole frame of nobody we know: counted only.
    Stranger,
    /// Bytes that are no frame: counted only.
    Noise,
    Gone(LineFault),
}
