//! One line of meters: asks, waits for the answer, and makes sure that what comes late is nobody's answer.
//!
//! An answer names its meter and its item, so a late one is never taken for another point's value. It could still be taken for the answer
//! to the *same* question asked again, and be older than it seems. Meters answer in order, so a meter that owes an answer is first asked
//! another item (a *marker*): once that came, nothing owed can. Where it has no other, it is asked twice, and only what follows a silence is
//! believed. What nothing can tell is an answer that something on the way repeats just while its own item is asked for again.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::codec::{self, Cutter, Frame, Meaning, Question};
use crate::{
    domain::Garble,
    fieldbus::{
        driver::{AskFault, LineFault, Unasked},
        port::{OpenPort, Port},
    },
    profile::{Dlt645Item, Dlt645Link},
};

/// A meter may pause within a frame, serial servers hand bytes on in lumps. A frame that stops for longer was cut off.
const FRAME_GAP: Duration = Duration::from_millis(500);
/// After a fault nothing may have come for this long.
const QUIET_AFTER_FAULT: Duration = Duration::from_millis(50);
/// A line that does not fall silent within this time is babbled on.
const BABBLE_AFTER: Duration = Duration::from_secs(5);
/// More answers than this are never missed at once but by somebody who looks for meters; then the oldest do not matter.
const MOST_OWED: usize = 1024;

/// The line, owned.
pub struct Wire<P> {
    port: OpenPort<P>,
    /// How long one character takes.
    character: Duration,
    cutter: Cutter,
    /// Cut, not yet looked at.
    frames: VecDeque<Frame>,
    heard: Instant,
    heard_or_sent: Instant,
    unanswered_since: Option<Instant>,
    /// Heard while something else was waited for, not yet told.
    strangers: u16,
    noises: u16,
    /// Questions whose answer may still come.
    owed: HashSet<Question>,
}

/// What comes off the line.
enum Item {
    Frame(Frame),
    /// Frames that were no frames.
    Noise,
}

/// How one exchange went, if the meter answered.
enum Reply {
    Values(Vec<u8>),
    Refused(u8),
    TooLong,
}

impl<P: Port> Wire<P> {
    pub fn new(port: OpenPort<P>, character: Duration) -> Self {
        let now = Instant::now();
        Self {
            port,
            character,
            cutter: Cutter::default(),
            frames: VecDeque::new(),
            heard: now,
            heard_or_sent: now,
            unanswered_since: None,
            strangers: 0,
            noises: 0,
            owed: HashSet::new(),
        }
    }

    /// Forgets what came before us.
    ///
    /// # Errors
    /// When the port is gone, or somebody babbles.
    pub async fn settle(&mut self) -> Result<(), LineFault> {
        self.port.clear_input()?;
        self.drain().await
    }

    /// The item's data, certainly its own.
    ///
    /// # Errors
    /// See [`AskFault`]. After silence the line was listened to until nothing more came.
    pub async fn ask(
        &mut self,
        question: Question,
        item: &Dlt645Item,
        link: &Dlt645Link,
    ) -> Result<Vec<u8>, AskFault> {
        if self.owed.contains(&question) {
            self.clear_up(question, link).await?;
        }
        let reply = self.exchange(question, link).await?;
        if !matches!(reply, Reply::Refused(_)) {
            self.settled(question);
        }
        match reply {
            Reply::Values(values) if item.fits(values.len()) => Ok(values),
            Reply::Values(values) => Err(AskFault::Garbled {
                what: Garble::Length { bytes: values.len(), asked: usize::from(item.length) },
            }),
            Reply::Refused(error) => Err(AskFault::Refused { code: u16::from(error) }),
            Reply::TooLong => Err(AskFault::Garbled { what: Garble::InParts }),
        }
    }

    /// What nobody asked for, meters or masters that are not ours. Cancel-safe.
    pub async fn hear(&mut self) -> Unasked {
        if self.strangers > 0 {
            self.strangers -= 1;
            return Unasked::Stranger;
        }
        if self.noises > 0 {
            self.noises -= 1;
            return Unasked::Noise;
        }
        match self.next().await {
            Ok(Item::Frame(_)) => Unasked::Stranger,
            Ok(Item::Noise) => Unasked::Noise,
            Err(fault) => Unasked::Gone(fault),
        }
    }

    /// Makes sure that the next answer to `question` is no old one.
    async fn clear_up(&mut self, question: Question, link: &Dlt645Link) -> Result<(), AskFault> {
        let others = link.items.iter().map(|item| (item.length, Question { item: item.id, ..question }));
        let marker = others.filter(|(_, other)| !self.owed.contains(other)).min_by_key(|(length, _)| *length);
        if let Some((_, marker)) = marker {
            match self.exchange(marker, link).await? {
                Reply::Values(_) | Reply::TooLong => {
                    self.settled(question);
                    return Ok(());
                }
                // a refusal does not say what of
                Reply::Refused(_) => {}
            }
        }
        self.wait_out(question, link).await
    }

    /// Throws the first answer away: it may be that to the same question, asked long ago. Then nothing may follow it.
    async fn wait_out(&mut self, question: Question, link: &Dlt645Link) -> Result<(), AskFault> {
        self.exchange(question, link).await?;
        let until = Instant::now() + link.timeout;
        while let Some(item) = self.next_before(until).await? {
            if let Item::Frame(frame) = &item
                && matches!(
                    question.meaning(frame),
                    Meaning::Values(_) | Meaning::Refused(_) | Meaning::TooLong
                )
            {
                self.give_up(question).await?;
                return Err(AskFault::Garbled { what: Garble::Late { by: None } });
            }
            self.set_aside(&item);
        }
        self.settled(question);
        Ok(())
    }

    /// Since when bytes were sent and not one came back.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.unanswered_since
    }

    /// Sends and waits. A question without an answer is given up: the meter owes it.
    async fn exchange(&mut self, question: Question, link: &Dlt645Link) -> Result<Reply, AskFault> {
        self.wait_for_turn(link.turnaround).await?;
        let sent = question.encode(link.wakeup);
        self.port.write(&sent).await?;
        self.heard_or_sent = Instant::now();
        self.unanswered_since.get_or_insert(self.heard_or_sent);
        let begin_by = self.heard_or_sent + self.character * sent.len() as u32 + link.timeout;
        let end_by = begin_by + self.character * codec::LONGEST as u32;
        let mut garbled = false;
        while let Some(item) = self.next_answer(begin_by, end_by).await? {
            let meaning = match &item {
                Item::Frame(frame) => question.meaning(frame),
                Item::Noise => Meaning::Other,
            };
            match meaning {
                Meaning::Values(values) => return Ok(Reply::Values(values)),
                Meaning::Refused(error) => return Ok(Reply::Refused(error)),
                Meaning::TooLong => return Ok(Reply::TooLong),
                Meaning::Echo => {}
                Meaning::Other => {
                    garbled |= matches!(item, Item::Noise);
                    self.set_aside(&item);
                }
            }
        }
        self.give_up(question).await?;
        Err(if garbled {
            AskFault::Garbled { what: Garble::Checksum }
        } else {
            AskFault::Silent { waited: link.timeout }
        })
    }

    /// The next item that begins before `begin_by` and is whole before `end_by`.
    async fn next_answer(&mut self, begin_by: Instant, end_by: Instant) -> Result<Option<Item>, LineFault> {
        match self.next_before(begin_by).await? {
            None if self.cutter.is_midway() => self.next_before(end_by).await,
            item => Ok(item),
        }
    }

    /// Checks the time itself too: a line that always has something to say must not outlast it.
    async fn next_before(&mut self, until: Instant) -> Result<Option<Item>, LineFault> {
        if Instant::now() >= until && self.frames.is_empty() {
            return Ok(None);
        }
        timeout_at(until, self.next()).await.ok().transpose()
    }

    /// The meter named the item that it was asked for: nothing older can come from it.
    fn settled(&mut self, question: Question) {
        self.owed.retain(|owed| owed.station != question.station);
    }

    async fn give_up(&mut self, question: Question) -> Result<(), LineFault> {
        if self.owed.len() >= MOST_OWED {
            self.owed.clear();
        }
        self.owed.insert(question);
        self.drain().await
    }

    /// Listens until nothing has come for a while.
    async fn drain(&mut self) -> Result<(), LineFault> {
        let began = Instant::now();
        let quiet = QUIET_AFTER_FAULT.max(self.character * 4);
        let (mut quiet_at, mut bytes) = (began + quiet, 0);
        let mut chunk = [0; 256];
        while let Ok(count) = timeout_at(quiet_at, self.port.read(&mut chunk)).await {
            bytes += count?;
            let now = self.note_heard();
            quiet_at = now + quiet;
            if now - began > BABBLE_AFTER {
                return Err(LineFault::Babble { bytes, over: now - began });
            }
        }
        self.cutter.clear();
        self.frames.clear();
        Ok(())
    }

    /// The silence a meter needs between two frames. What has come since the last answer is nobody's.
    async fn wait_for_turn(&mut self, turnaround: Duration) -> Result<(), LineFault> {
        let ready_at = self.heard_or_sent + turnaround.max(self.character * 4);
        while let Some(item) = self.next_before(ready_at).await? {
            self.set_aside(&item);
        }
        self.port.clear_input()?;
        self.cutter.clear();
        self.frames.clear();
        Ok(())
    }

    fn set_aside(&mut self, item: &Item) {
        let counter = match item {
            Item::Frame(_) => &mut self.strangers,
            Item::Noise => &mut self.noises,
        };
        *counter = counter.saturating_add(1);
    }

    fn note_heard(&mut self) -> Instant {
        let now = Instant::now();
        (self.heard, self.heard_or_sent, self.unanswered_since) = (now, now, None);
        now
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
            self.note_heard();
            self.frames.extend(self.cutter.push(&chunk[..count]));
        }
    }
}
