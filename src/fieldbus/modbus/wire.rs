//! One serial line that carries Modbus RTU: asks, waits, and makes sure that what comes late is nobody's answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    codec::{Hearing, Question, Reply, checksummed},
    debt::{Asking, Debts},
    overheard::{Eavesdropping, Overheard},
    refused,
    telling::{Confirming, Said, Telling},
};
use crate::{
    domain::{Garble, Raw},
    fieldbus::{
        driver::{AskFault, LineFault},
        port::{OpenPort, Port},
        record::Tape,
        turn::Turn,
    },
    profile::ModbusLink,
};

/// Silence between frames above 19200 baud, where 3.5 characters would be too short to time (Modbus over Serial Line V1.02, 2.5.1.1).
const SHORTEST_GAP: Duration = Duration::from_micros(1750);
/// After a fault the line must be silent this long: USB adapters hand bytes on in lumps up to 16 ms apart.
const QUIET_AFTER_FAULT: Duration = Duration::from_millis(50);
/// A line that does not fall silent within this time is babbled on.
const BABBLE_AFTER: Duration = Duration::from_secs(5);
/// Exceptions that a slave gives to a read because of what was asked, not because of how it is (address, value).
const NO_SUCH_BLOCK: [u16; 2] = [0x02, 0x03];

/// The line, owned.
pub struct Wire<P> {
    port: OpenPort<P>,
    /// How long one character takes.
    character: Duration,
    /// How much longer everything takes because of what lies between us and the line: a network.
    latency: Duration,
    heard_or_sent: Instant,
    turn: Turn,
    debts: Debts,
    in_flight: Option<InFlight>,
    /// Nobody is asked before: the answer to a question that the line broke under may still come.
    hush_until: Option<Instant>,
    /// Hears what is said while nobody is asked.
    ear: Eavesdropping,
    /// Something was heard that nobody had asked for, or more than that.
    disturbed: bool,
    /// The last question without an answer came back itself, and nothing else.
    echoed: bool,
    /// Our own bytes come back, as the last answer showed.
    echoes: bool,
    /// What each unit has answered last: it can be asked that to be sure that it has done with all before.
    known: HashMap<u8, Question>,
}

/// Sent, and neither answered nor given up yet.
struct InFlight {
    sent: Sent,
    /// Until its answer came, or it would have been given up and the line listened to for as long again.
    over_by: Instant,
}

enum Sent {
    Question(Question),
    Telling { unit: u8, function: u8 },
}

/// What a line that was closed leaves to the next: what its units may still send. A serial server hands that to whoever is connected
/// by then.
#[derive(Debug, Default)]
pub struct Legacy {
    debts: Debts,
    hush_until: Option<Instant>,
}

impl<P: Port> Wire<P> {
    pub fn new(port: OpenPort<P>, character: Duration) -> Self {
        Self {
            port,
            character,
            latency: Duration::ZERO,
            heard_or_sent: Instant::now(),
            turn: Turn::default(),
            debts: Debts::default(),
            in_flight: None,
            hush_until: None,
            ear: Eavesdropping::default(),
            disturbed: true,
            echoed: false,
            echoes: false,
            known: HashMap::new(),
        }
    }

    /// The same, behind a network that may take so long, there and back together.
    pub fn behind(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    pub fn recorded(self, tape: Option<Arc<Tape>>) -> Self {
        Self { port: self.port.recorded(tape), ..self }
    }

    /// The same, after one on the same line.
    pub fn heir_to(self, Legacy { debts, hush_until }: Legacy) -> Self {
        Self { debts, hush_until, ..self }
    }

    pub fn leave(mut self) -> Legacy {
        if let Some(InFlight { sent, over_by }) = self.in_flight {
            match sent {
                Sent::Question(question) => self.debts.given_up(&question),
                Sent::Telling { unit, function } => self.debts.told_in_vain(unit, function),
            }
            self.hush_until = self.hush_until.max(Some(over_by));
        }
        self.debts.reopened();
        Legacy { debts: self.debts, hush_until: self.hush_until }
    }

    pub fn port(&self) -> &P {
        self.port.port()
    }

    /// One question, one answer that is certainly its own.
    ///
    /// # Errors
    /// See [`AskFault`]. After any but `Refused` the line was listened to until nothing more came.
    pub async fn ask(&mut self, question: &Question, link: &ModbusLink) -> Result<Raw, AskFault> {
        self.echoed = false;
        match self.answer(question, link).await {
            // an adapter that echoes and a silent unit, or TX wired to RX
            Err(AskFault::Silent { .. }) if self.echoed => Err(AskFault::Garbled { what: Garble::Echo }),
            answer => answer,
        }
    }

    async fn answer(&mut self, question: &Question, link: &ModbusLink) -> Result<Raw, AskFault> {
        self.make_sure(question, link).await?;
        match self.exchange(question, link).await? {
            Reply::Values(raw) => {
                self.debts.settled(question.unit);
                self.known.insert(question.unit, *question);
                Ok(raw)
            }
            Reply::Refused(code) => {
                self.debts.refused(question);
                Err(refused(code, link.timeout))
            }
        }
    }

    /// Sees to it that nothing the unit owes looks like the answer to `question`. Each marker that is refused leaves less of that.
    async fn make_sure(&mut self, question: &Question, link: &ModbusLink) -> Result<(), AskFault> {
        loop {
            match self.debts.asking(question, link) {
                Asking::Directly => return Ok(()),
                Asking::After(marker) => self.clear_up(&marker, link).await?,
                Asking::Twice(timeout) => {
                    let patient = ModbusLink { timeout, ..link.clone() };
                    if timeout > link.timeout {
                        // it was given up sooner than its product may take: what it owes has time to come
                        self.drain(2 * self.patience(question, &patient)).await?;
                    }
                    return self.wait_out(question, &patient).await;
                }
            }
        }
    }

    /// Tells `unit` once, whatever comes of it.
    ///
    /// # Errors
    /// See [`AskFault`]. `Silent` with no wait: it was not told, because it answers nothing at all.
    pub async fn tell(&mut self, unit: u8, telling: &Telling, link: &ModbusLink) -> Result<(), AskFault> {
        if self.debts.may_confirm(unit) {
            // it answers in order: once it has answered this, what it was told before cannot be confirmed any more
            let Some(known) = self.known.get(&unit).copied() else {
                return Err(AskFault::Silent { waited: Duration::ZERO });
            };
            self.answer(&known, link).await?;
        }
        self.wait_for_turn(link.turnaround).await?;
        let request = checksummed(&[&[unit], telling.pdu()].concat());
        let patience = link.timeout + self.latency + self.character * 2 * request.len() as u32;
        let sent = Sent::Telling { unit, function: telling.function() };
        self.in_flight = Some(InFlight { sent, over_by: Instant::now() + 2 * patience });
        self.port.write(&request).await?;
        self.heard_or_sent = Instant::now();
        let until = self.heard_or_sent + patience;
        let mut confirming = Confirming::new(unit, telling, self.echoes);
        let mut chunk = [0; 256];
        while let Ok(count) = timeout_at(until, self.port.read(&mut chunk)).await {
            let said = confirming.hear(&chunk[..count?]);
            self.heard_or_sent = Instant::now();
            let Some(said) = said else {
                // a timeout alone looks at the clock only when there is nothing to read
                if self.heard_or_sent >= until {
                    break;
                }
                continue;
            };
            self.in_flight = None;
            return match said {
                Said::Done => Ok(()),
                Said::Refused(code) => Err(refused(code, link.timeout)),
            };
        }
        self.in_flight = None;
        self.debts.told_in_vain(unit, telling.function());
        self.drain(patience).await?;
        Err(match confirming.was_disturbed() {
            false => AskFault::Silent { waited: link.timeout },
            true => AskFault::Garbled { what: Garble::Checksum },
        })
    }

    /// Listens for what the line says while nobody is asked; `true` when a whole frame of somebody ended. Cancel-safe.
    pub async fn listen(&mut self) -> Result<bool, LineFault> {
        let mut chunk = [0; 256];
        let count = self.port.read(&mut chunk).await?;
        self.disturbed = true;
        self.heard_or_sent = Instant::now();
        Ok(self.ear.hear(&chunk[..count]))
    }

    /// Asks what cannot be mistaken for anything the unit owes; once that is answered, it owes nothing.
    async fn clear_up(&mut self, marker: &Question, link: &ModbusLink) -> Result<(), AskFault> {
        match self.exchange(marker, link).await {
            Ok(Reply::Values(_)) => self.debts.marker_answered(marker),
            Ok(Reply::Refused(code)) => {
                self.debts.refused(marker);
                if !NO_SUCH_BLOCK.contains(&code) {
                    self.debts.marker_unheard(marker.unit);
                    return Err(refused(code, link.timeout));
                }
                self.debts.marker_heard(marker.unit);
            }
            Err(fault) => {
                if matches!(fault, AskFault::Silent { .. }) {
                    self.debts.marker_unheard(marker.unit);
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Throws the first answer away and sees that no second one comes.
    async fn wait_out(&mut self, question: &Question, link: &ModbusLink) -> Result<(), AskFault> {
        let first = self.exchange(question, link).await;
        self.debts.waited_out(question.unit, false);
        if let Reply::Refused(code) = first? {
            self.debts.refused(question);
            return Err(refused(code, link.timeout));
        }
        let until = Instant::now() + self.patience(question, link);
        if let Ok(heard) = timeout_at(until, self.listen()).await {
            heard?;
            self.give_up(question, link).await?;
            return Err(AskFault::Garbled { what: Garble::Late { by: None } });
        }
        self.debts.waited_out(question.unit, true);
        Ok(())
    }

    /// Sends and waits. A question without a valid answer is given up: the unit owes it, and the line is drained.
    async fn exchange(&mut self, question: &Question, link: &ModbusLink) -> Result<Reply, AskFault> {
        self.wait_for_turn(link.turnaround).await?;
        let over_by = Instant::now() + 2 * self.patience(question, link);
        self.in_flight = Some(InFlight { sent: Sent::Question(*question), over_by });
        self.port.write(&question.encode()).await?;
        self.heard_or_sent = Instant::now();
        let until = self.heard_or_sent + self.patience(question, link);
        let mut hearing = Hearing::new(question);
        let mut overheard = Overheard::default();
        let mut chunk = [0; 256];
        while let Ok(count) = timeout_at(until, self.port.read(&mut chunk)).await {
            let said = &chunk[..count?];
            let answer = hearing.hear(said);
            overheard.hear(said);
            self.heard_or_sent = Instant::now();
            if let Some(answer) = answer {
                self.disturbed = hearing.was_disturbed();
                self.in_flight = None;
                self.echoes = hearing.echoed();
                return Ok(answer);
            }
            // a timeout alone looks at the clock only when there is nothing to read
            if self.heard_or_sent >= until {
                break;
            }
        }
        self.echoed = hearing.echoed();
        self.debts.given_up(question);
        self.in_flight = None;
        self.drain_into(self.patience(question, link), &mut overheard).await?;
        Err(match overheard.verdict(question, until).or(hearing.complaint()) {
            None => AskFault::Silent { waited: link.timeout },
            Some(what) => AskFault::Garbled { what },
        })
    }

    async fn give_up(&mut self, question: &Question, link: &ModbusLink) -> Result<(), LineFault> {
        self.debts.given_up(question);
        self.in_flight = None;
        self.drain(self.patience(question, link)).await
    }

    async fn drain(&mut self, at_least: Duration) -> Result<(), LineFault> {
        self.drain_into(at_least, &mut Overheard::default()).await
    }

    /// Reads until the line was silent for a while, but no shorter than `at_least`.
    async fn drain_into(&mut self, at_least: Duration, overheard: &mut Overheard) -> Result<(), LineFault> {
        let began = Instant::now();
        let mut quiet_at = began + at_least.max(self.quiet());
        let mut bytes = 0;
        let mut chunk = [0; 256];
        while let Ok(count) = timeout_at(quiet_at, self.port.read(&mut chunk)).await {
            let count = count?;
            let now = Instant::now();
            overheard.hear_late(&chunk[..count], now);
            bytes += count;
            quiet_at = quiet_at.max(now + self.quiet());
            if now - began > BABBLE_AFTER + at_least {
                return Err(LineFault::Babble { bytes, over: now - began });
            }
        }
        self.heard_or_sent = Instant::now();
        self.disturbed = false;
        self.port.clear_input()
    }

    /// The silence before the next question, longer where the state of the line asks for it.
    async fn wait_for_turn(&mut self, turnaround: Duration) -> Result<(), LineFault> {
        let gap = self.turn.to(turnaround, (self.character * 7 / 2).max(SHORTEST_GAP));
        let ready_at = self.heard_or_sent + gap;
        if !self.disturbed && timeout_at(ready_at, self.listen()).await.is_err() {
            return self.port.clear_input();
        }
        let hush = self.hush_until.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        self.drain(gap.max(hush)).await?;
        self.hush_until = None;
        Ok(())
    }

    fn quiet(&self) -> Duration {
        (self.character * 7 / 2).max(QUIET_AFTER_FAULT)
    }

    /// How long an answer may take: until the request is out, the product's own time, until the answer is in, and what lies between.
    fn patience(&self, question: &Question, link: &ModbusLink) -> Duration {
        let characters = question.encode().len() + question.reply_length();
        link.timeout + self.latency + self.character * characters as u32
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
