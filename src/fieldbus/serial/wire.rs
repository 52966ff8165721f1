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
        port::{OpenPort, Port},
    },
};

/// The bytes of a frame come together: USB adapters hand them on in lumps 16 ms apart, radio bridges more. A frame that stops for
/// longer than this was cut off.
const FRAME_GAP: Duration = Duration::from_millis(300);
/// After a fault nothing that could be an answer may have come for this long.
const QUIET_AFTER_FAULT: Duration = Duration::from_millis(50);
/// Answers that do not end within this time, and more bytes over this time than the line can carry twice, are babble.
const BABBLE_AFTER: Duration = Duration::from_secs(5);
/// Frames that nobody asked for and nobody has taken yet: what comes beyond is lost, and the log says so.
const MOST_WAITING: usize = 256;

/// The line, owned.
pub struct Wire<P> {
    port: OpenPort<P>,
    cutter: Cutter,
    members: Arc<Members>,
    /// How long one character takes.
    character: Duration,
    heard: Instant,
    heard_or_sent: Instant,
    /// Cut, not yet looked at.
    frames: VecDeque<Bytes>,
    /// Looked at, not yet taken.
    unasked: VecDeque<Unasked>,
    debts: Debts,
    flow: Flow,
    /// The log has said that frames are lost.
    told_lost: bool,
}

/// What comes off the line.
enum Item {
    Frame(Bytes),
    /// Frames that were no frames.
    Noise,
}

impl Item {
    fn length(&self) -> usize {
        match self {
            Item::Frame(frame) => frame.len(),
            Item::Noise => 0,
        }
    }
}

/// How much the line carried lately.
struct Flow {
    since: Instant,
    bytes: usize,
}

impl<P: Port> Wire<P> {
    pub fn new(port: OpenPort<P>, character: Duration, members: Arc<Members>) -> Self {
        let now = Instant::now();
        Self {
            port,
            cutter: members.cutter(),
            members,
            character,
            heard: now,
            heard_or_sent: now,
            frames: VecDeque::new(),
            unasked: VecDeque::new(),
            debts: Debts::default(),
            flow: Flow { since: now, bytes: 0 },
            told_lost: false,
        }
    }
}

impl<P: Port> Wire<P> {
    /// Forgets what came before us, and waits until no answer to somebody else's question can come any more.
    ///
    /// # Errors
    /// When the port is gone, or somebody babbles.
    pub async fn settle(&mut self) -> Result<(), LineFault> {
        self.port.clear_input()?;
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
            match self.next().await {
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
        while let Ok(item) = timeout_at(until, self.next()).await {
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
        self.port.write(&sent).await?;
        self.heard_or_sent = Instant::now();
        let begin_by = self.heard_or_sent + self.character * sent.len() as u32 + patience;
        let end_by = begin_by + self.longest_frame();
        let mut garbled = false;
        while let Some(item) = self.next_answer(begin_by, end_by).await? {
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

    /// The next item that begins before `begin_by` and is whole before `end_by`.
    async fn next_answer(&mut self, begin_by: Instant, end_by: Instant) -> Result<Option<Item>, LineFault> {
        if let Ok(item) = timeout_at(begin_by, self.next()).await {
            return item.map(Some);
        }
        if !self.cutter.is_midway() {
            return Ok(None);
        }
        timeout_at(end_by, self.next()).await.ok().transpose()
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
        while let Ok(item) = timeout_at(quiet_at, self.next()).await {
            let item = item?;
            let length = item.length();
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

    /// The silence a device needs between two frames. What comes meanwhile is set aside; a frame that has begun is let finish.
    async fn wait_for_turn(&mut self, turnaround: Duration) -> Result<(), LineFault> {
        let ready_at = self.heard_or_sent + turnaround.max(self.character * 4);
        let finished_by = Instant::now() + FRAME_GAP + self.longest_frame();
        loop {
            let until = if self.cutter.is_midway() { ready_at.max(finished_by) } else { ready_at };
            match timeout_at(until, self.next()).await {
                Ok(item) => self.set_aside(item?),
                Err(_elapsed) => break,
            };
        }
        // what began so long ago must not swallow the answer
        self.cutter.clear();
        Ok(())
    }

    fn longest_frame(&self) -> Duration {
        self.character * self.members.shape().max as u32
    }

    /// Keeps what nobody waits for. Says whose answer it would have been, had it come in time.
    fn set_aside(&mut self, item: Item) -> Option<usize> {
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

    /// The next frame, or that there was none. Cancel-safe.
    async fn next(&mut self) -> Result<Item, LineFault> {
        loop {
            if self.cutter.take_garbled() > 0 {
                return Ok(Item::Noise);
            }
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Item::Frame(frame));
            }
            let mut chunk = [0; 256];
            let count = if self.cutter.is_midway() {
                match timeout_at(self.heard + FRAME_GAP, self.port.read(&mut chunk)).await {
                    Ok(count) => count?,
                    Err(_elapsed) => {
                        self.cutter.clear();
                        return Ok(Item::Noise);
                    }
                }
            } else {
                self.port.read(&mut chunk).await?
            };
            let now = Instant::now();
            self.heard = now;
            self.heard_or_sent = now;
            self.flow.carried(count, self.character, now)?;
            self.frames.extend(self.cutter.push(&chunk[..count]));
        }
    }
}

impl Flow {
    /// # Errors
    /// When a line that is no real one (a pty, a radio bridge) carries far more than its baud rate could.
    fn carried(&mut self, bytes: usize, character: Duration, now: Instant) -> Result<(), LineFault> {
        self.bytes += bytes;
        let over = now - self.since;
        if over < BABBLE_AFTER {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.since = now;
        if character * (bytes as u32 / 2) > over { Err(LineFault::Babble { bytes, over }) } else { Ok(()) }
    }
}
