//! A line that carries RTU frames, whatever they travel on and in: kept open, asked, listened to.
//!
//! What its units owe is kept when the line is opened again: a serial server has a buffer of its own and hands what comes late to whoever
//! is connected by then, so closing a connection settles nothing. That is why a timeout does not close it either: the wire waits the
//! late answer out where it must come.

use std::{future::Future, sync::Arc};

use super::{
    question, standard_unit,
    telling::Telling,
    wire::{Legacy, Wire},
};
use crate::{
    domain::{Garble, Instruction, Raw},
    fieldbus::{
        cost::LineCost,
        driver::{AskFault, Driver, Line, LineFault, Unasked},
        plan::Ask,
        port::Port,
        record::Tape,
    },
    profile::{Address, Link},
    text,
};

/// How one kind of line is opened.
pub trait Opener: Send {
    type Port: Port;

    /// Whether its other end may close it for no reason but that it was idle: then it is opened again without a word.
    const CLOSED_WHEN_IDLE: bool;

    /// What exchanges cost on it.
    fn cost(&self) -> LineCost;

    /// # Errors
    /// When there is nothing to be opened. Cancel-safe.
    fn open(&mut self) -> impl Future<Output = Result<Wire<Self::Port>, LineFault>> + Send;

    /// Whether `open` is still the line to use.
    fn keeps(&mut self, _open: &Self::Port) -> bool {
        true
    }

    /// Waits until `keeps` may say something else. Cancel-safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// The line of one bus of units.
pub struct WireDriver<O: Opener> {
    opener: O,
    wire: Option<Wire<O::Port>>,
    /// Of the one that was closed.
    legacy: Legacy,
    /// A question was answered on it, or waited out, since it was opened.
    stood: bool,
    /// Opened since `connect` was last asked.
    reopened: bool,
    tape: Option<Arc<Tape>>,
}

impl<O: Opener> WireDriver<O> {
    pub fn over(opener: O) -> Self {
        Self { opener, wire: None, legacy: Legacy::default(), stood: false, reopened: false, tape: None }
    }

    /// What it carries from now on is kept.
    pub fn recorded(mut self, tape: &Arc<Tape>) -> Self {
        self.tape = Some(Arc::clone(tape));
        self
    }

    async fn open(&mut self) -> Result<(), LineFault> {
        let stands = self.wire.as_ref().is_some_and(|wire| self.opener.keeps(wire.port()));
        if stands {
            return Ok(());
        }
        self.close();
        let wire = self.opener.open().await?;
        self.wire = Some(wire.recorded(self.tape.clone()).heir_to(std::mem::take(&mut self.legacy)));
        (self.stood, self.reopened) = (false, true);
        Ok(())
    }

    fn wire(&mut self) -> Result<&mut Wire<O::Port>, LineFault> {
        self.wire.as_mut().ok_or_else(|| LineFault::down(text!("线路没有打开", "the line is not open")))
    }

    /// Whether what the open line says is a whole frame; `None`: there may be a better line.
    async fn listen(&mut self) -> Option<Result<bool, LineFault>> {
        let Some(wire) = &mut self.wire else { return std::future::pending().await };
        tokio::select! {
            heard = wire.listen() => Some(heard),
            () = self.opener.changed() => None,
        }
    }
}

impl<O: Opener> Driver for WireDriver<O> {
    fn cost(&self) -> LineCost {
        self.opener.cost()
    }

    async fn connect(&mut self) -> Result<Line, LineFault> {
        self.open().await?;
        Ok(if std::mem::take(&mut self.reopened) { Line::Opened } else { Line::Kept })
    }

    async fn ask(&mut self, unit: &Address, link: &Link, ask: &Ask) -> Result<Raw, AskFault> {
        let (question, link) = question(unit, link, ask)?;
        let answer = self.wire()?.ask(&question, link).await;
        self.stood |= !matches!(answer, Err(AskFault::LineDown(_)));
        answer
    }

    async fn tell(&mut self, unit: &Address, link: &Link, instruction: &Instruction) -> Result<(), AskFault> {
        let (Some((unit, link)), Some(telling)) = (standard_unit(unit, link), Telling::new(instruction))
        else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        self.wire()?.tell(unit, &telling, link).await
    }

    async fn hear(&mut self) -> Unasked {
        loop {
            match self.listen().await {
                Some(Ok(true)) => return Unasked::Stranger,
                Some(Ok(false)) => return Unasked::Noise,
                // one that is closed at once would be opened without end
                Some(Err(fault)) if !(O::CLOSED_WHEN_IDLE && self.stood) => return Unasked::Gone(fault),
                Some(Err(_idle)) => self.close(),
                None => {}
            }
            if let Err(fault) = self.open().await {
                return Unasked::Gone(fault);
            }
        }
    }

    fn close(&mut self) {
        // the descriptor must go at once: as long as it is held, the adapter comes back under another name
        if let Some(wire) = self.wire.take() {
            self.legacy = wire.leave();
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
