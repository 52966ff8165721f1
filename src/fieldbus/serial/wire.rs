//! One serial line: asks, waits for the answer, hands on what speaks by itself, and makes sure that what comes late is
//! nobody's answer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::{
    codec::Cutter,
    debts::Debts,
    members::{Meaning, Members, Question},
};
use crate::{
    domain::{Garble, Raw},
    fieldbus::{
        driver::{AskFault, LineFault, Unasked},
        frames::{Frames, Item},
        port::{OpenPort, Port},
        turn::Turn,
    },
};

/// The bytes of a frame come together: USB adapters hand them on in lumps 16 ms apart, radio bridges more. A frame that stops for
/// longer than this was cut off.
const FRAME_GAP: Duration = Duration::from_millis(300);
/// After a fault nothing that could be an answer may have come for this long.
const QUIET_AFTER_FAULT: Duration = Duration::from_millis(50);
/// Answers that do not end within this time are babble.
const BABBLE_AFTER: Duration = Duration::from_secs(5);
/// Frames that nobody asked for and nobody has taken yet: what comes beyond is lost, and the log says so.
const MOST_WAITING: usize = 256;

/// The line, owned.
pub struct Wire<P> {
    frames: Frames<P, Cutter>,
    members: Arc<Members>,
    /// How long one character takes.
    character: Duration,
    turn: Turn,
    /// Looked at, not yet taken.
    unasked: VecDeque<Unasked>,
    debts: Debts,
    /// The log has said that frames are lost.
    told_lost: bool,
}

impl<P: Port> Wire<P> {
    pub fn new(port: OpenPort<P>, character: Duration, members: Arc<Members>) -> Self {
        Self {
            frames: Frames::new(port, members.cutter(), FRAME_GAP).limited_to(character),
            members,
            character,
            turn: Turn::default(),
            unasked: VecDeque::new(),
            debts: Debts::default(),
            told_lost: false,
        }
    }

    /// Forgets what came before us, and waits until no answer to somebody else's question can come any more.
    ///
    /// # Errors
    /// When the port is gone, or somebody babbles.
    pub async fn settle(&mut self) -> Result<(), LineFault> {
        self.frames.clear_input()?;
        self.drain(self.members.slowest()).await
    }

    /// One question, one answer that is certainly its own; or an event that stands for the answer.
    ///
    /// # Errors
    /// See [`AskFault`]. After any of them the line was listened to until no answer came any more.
    pub async fn ask(&mut self, question: Question) -> Result<Raw, AskFault> {
        if self.debts.forbid(question, &self.members) {
            self.wait_out(question).await?;
        }
        let answer = self.exchange(question).await?;
        self.debts.answered(question, &self.members);
        Ok(answer)
    }

    /// The next thing nobody asked for. Cancel-safe.
    pub async fn hear(&mut self) -> Unasked {
        loop {
            if let Some(unasked) = self.unasked.pop_front() {
                return unasked;
            }
            match self.frames.next().await {
                Ok(item) => self.set_aside(item),
                Err(fault) => return Unasked::Gone(fault),
            };
        }
    }

    /// Throws the first answer away: it may be that to an earlier question. Then nothing may follow within the time of one more.
    async fn wait_out(&mut self, question: Question) -> Result<(), AskFault> {
        let thrown = self.exchange(question).await?;
        // an event is told once only: it is not thrown away
        if let Raw::Frame { bytes, .. } = thrown {
            self.set_aside(Item::Frame(bytes));
        }
        let until = Instant::now() + self.members.link(question.member).timeout;
        while let Ok(item) = timeout_at(until, self.frames.next()).await {
            if self.set_aside(item?) == Some(question.member) {
                self.give_up(question).await?;
                return Err(AskFault::Garbled { what: Garble::Late { by: None } });
            }
        }
        self.debts.waited_out(question);
        Ok(())
    }

    /// Sends and waits. A question without an answer is given up: the device owes it, and the line is drained.
    async fn exchange(&mut self, question: Question) -> Result<Raw, AskFault> {
        let link = self.members.link(question.member);
        let (turnaround, patience) = (link.turnaround, link.timeout);
        let Some(sent) = self.members.encode(question) else {
            return Err(AskFault::Garbled { what: Garble::Unaskable });
        };
        self.wait_for_turn(turnaround).await?;
        let begin_by = self.frames.send(&sent).await? + self.character * sent.len() as u32 + patience;
        let end_by = begin_by + self.longest_frame();
        let mut garbled = false;
        while let Some(item) = self.frames.next_answer(begin_by, end_by).await? {
            match item {
                // some adapters hear themselves
                Item::Frame(frame) if frame[..] == sent[..] => {}
                Item::Frame(frame) => match self.members.meaning(&frame, Some(question)) {
                    Meaning::Answer(raw) => return Ok(raw),
                    Meaning::Event(..) | Meaning::Late(_) | Meaning::Unknown => {
                        self.set_aside(Item::Frame(frame));
                    }
                },
                Item::Noise => garbled = true,
            }
        }
        self.give_up(question).await?;
        Err(if garbled {
            AskFault::Garbled { what: Garble::Checksum }
        } else {
            AskFault::Silent { waited: patience }
        })
    }

    async fn give_up(&mut self, question: Question) -> Result<(), LineFault> {
        self.debts.given_up(question);
        self.drain(self.members.link(question.member).timeout).await
    }

    /// Listens for `at_least`, and on until nothing that could be an answer has come for a while. Events are kept.
    async fn drain(&mut self, at_least: Duration) -> Result<(), LineFault> {
        let began = Instant::now();
        let quiet = QUIET_AFTER_FAULT.max(self.character * 4);
        let mut quiet_at = began + at_least.max(quiet);
        let mut bytes = 0;
        while let Ok(item) = timeout_at(quiet_at, self.frames.next()).await {
            let item = item?;
            let length = match &item {
                Item::Frame(frame) => frame.len(),
                Item::Noise => 0,
            };
            if self.set_aside(item).is_some() {
                bytes += length;
                quiet_at = quiet_at.max(Instant::now() + quiet);
            }
            let over = began.elapsed();
            if over > BABBLE_AFTER + at_least {
                return Err(LineFault::Babble { bytes, over });
            }
        }
        Ok(())
    }

    /// The silence before the next question. What comes meanwhile is set aside; a frame that has begun is let finish.
    async fn wait_for_turn(&mut self, turnaround: Duration) -> Result<(), LineFault> {
        let ready_at = self.frames.heard_or_sent() + self.turn.to(turnaround, self.character * 4);
        let finished_by = Instant::now() + FRAME_GAP + self.longest_frame();
        loop {
            let until = if self.frames.is_midway() { ready_at.max(finished_by) } else { ready_at };
            match timeout_at(until, self.frames.next()).await {
                Ok(item) => self.set_aside(item?),
                Err(_elapsed) => break,
            };
        }
        // what began so long ago must not swallow the answer
        self.frames.forget_half();
        Ok(())
    }

    fn longest_frame(&self) -> Duration {
        self.character * self.members.shape().max as u32
    }

    /// Keeps what nobody waits for. Says whose answer it would have been, had it come in time.
    fn set_aside(&mut self, item: Item<Bytes>) -> Option<usize> {
        let (unasked, late) = match item {
            Item::Noise => (Unasked::Noise, None),
            Item::Frame(frame) => match self.members.meaning(&frame, None) {
                Meaning::Event(device, raw) => (Unasked::Message { device, raw, receipt: None }, None),
                // without a question nothing is an answer
                Meaning::Answer(_) => (Unasked::Stranger, None),
                Meaning::Late(member) => (Unasked::Stranger, Some(member)),
                Meaning::Unknown => (Unasked::Stranger, None),
            },
        };
        if self.unasked.len() < MOST_WAITING {
            self.unasked.push_back(unasked);
        } else if !std::mem::replace(&mut self.told_lost, true) {
            error!("Frames come faster than they can be taken: some are lost.");
        }
        late
    }
}
