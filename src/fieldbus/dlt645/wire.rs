//! One line of meters: asks, waits for the answer, and makes sure that what comes late is nobody's answer.
//!
//! An answer names its meter and its item, so a late one is never taken for another point's value. It could still be taken for the answer
//! to the *same* question asked again, and be older than it seems. Meters answer in order, so a meter that owes an answer is first asked
//! another item (a *marker*): once that came, nothing owed can. Where it has no other, it is asked twice, and only what follows a silence is
//! believed. What nothing can tell is an answer that something on the way repeats just while its own item is asked for again.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::codec::{self, Cutter, Frame, Meaning, Question};
use crate::{
    domain::Garble,
    fieldbus::{
        driver::{AskFault, LineFault, Unasked},
        frames::{Frames, Item},
        port::{OpenPort, Port},
        turn::Turn,
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
    frames: Frames<P, Cutter>,
    /// How long one character takes.
    character: Duration,
    turn: Turn,
    /// Heard while something else was waited for, not yet told.
    strangers: u16,
    noises: u16,
    owed: Owed,
    /// Sent, and neither answered nor given up yet.
    in_flight: Option<Question>,
}

/// Questions whose answer may still come, on this connection or, from a serial server that kept it, on the next.
#[derive(Debug, Default)]
pub struct Owed(HashSet<Question>);

impl Owed {
    fn has(&self, question: Question) -> bool {
        self.0.contains(&question)
    }

    fn add(&mut self, question: Question) {
        if self.0.len() >= MOST_OWED {
            self.0.clear();
        }
        self.0.insert(question);
    }

    /// A refusal does not say of what: where its meter owed anything, it may be of that, and the answer to `question` still comes.
    fn refused(&mut self, question: Question) {
        if self.0.iter().any(|owed| owed.station == question.station) {
            self.add(question);
        }
    }

    /// The meter named the item that it was asked for: nothing older can come from it.
    fn settled(&mut self, question: Question) {
        self.0.retain(|owed| owed.station != question.station);
    }
}

/// How one exchange went, if the meter answered.
enum Reply {
    Values(Vec<u8>),
    Refused(u8),
    TooLong,
}

impl<P: Port> Wire<P> {
    pub fn new(port: OpenPort<P>, character: Duration) -> Self {
        Self {
            frames: Frames::new(port, Cutter::default(), FRAME_GAP),
            character,
            turn: Turn::default(),
            strangers: 0,
            noises: 0,
            owed: Owed::default(),
            in_flight: None,
        }
    }

    /// The same, after one on the same line.
    pub fn heir_to(self, owed: Owed) -> Self {
        Self { owed, ..self }
    }

    /// What its meters may still send.
    pub fn leave(mut self) -> Owed {
        self.in_flight.into_iter().for_each(|question| self.owed.add(question));
        self.owed
    }

    /// Forgets what came before us.
    ///
    /// # Errors
    /// When the port is gone, or somebody babbles.
    pub async fn settle(&mut self) -> Result<(), LineFault> {
        self.frames.clear_input()?;
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
        if self.owed.has(question) {
            self.clear_up(question, link).await?;
        }
        let reply = self.exchange(question, link).await?;
        if !matches!(reply, Reply::Refused(_)) {
            self.owed.settled(question);
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
        match self.frames.next().await {
            Ok(Item::Frame(_)) => Unasked::Stranger,
            Ok(Item::Noise) => Unasked::Noise,
            Err(fault) => Unasked::Gone(fault),
        }
    }

    /// Makes sure that the next answer to `question` is no old one.
    async fn clear_up(&mut self, question: Question, link: &Dlt645Link) -> Result<(), AskFault> {
        let others = link.items.iter().map(|item| (item.length, Question { item: item.id, ..question }));
        let marker = others.filter(|(_, other)| !self.owed.has(*other)).min_by_key(|(length, _)| *length);
        if let Some((_, marker)) = marker {
            match self.exchange(marker, link).await? {
                Reply::Values(_) | Reply::TooLong => {
                    self.owed.settled(question);
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
        while let Some(item) = self.frames.next_before(until).await? {
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
        self.owed.settled(question);
        Ok(())
    }

    /// Since when bytes were sent and not one came back.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.frames.unanswered_since()
    }

    /// Sends and waits. A question without an answer is given up: the meter owes it.
    async fn exchange(&mut self, question: Question, link: &Dlt645Link) -> Result<Reply, AskFault> {
        self.wait_for_turn(link.turnaround).await?;
        let sent = question.encode(link.wakeup);
        self.in_flight = Some(question);
        let begin_by = self.frames.send(&sent).await? + self.character * sent.len() as u32 + link.timeout;
        let end_by = begin_by + self.character * codec::LONGEST as u32;
        let mut garbled = false;
        while let Some(item) = self.frames.next_answer(begin_by, end_by).await? {
            let meaning = match &item {
                Item::Frame(frame) => question.meaning(frame),
                Item::Noise => Meaning::Other,
            };
            let reply = match meaning {
                Meaning::Values(values) => Reply::Values(values),
                Meaning::Refused(error) => {
                    self.owed.refused(question);
                    Reply::Refused(error)
                }
                Meaning::TooLong => Reply::TooLong,
                Meaning::Echo => continue,
                Meaning::Other => {
                    garbled |= matches!(item, Item::Noise);
                    self.set_aside(&item);
                    continue;
                }
            };
            self.in_flight = None;
            return Ok(reply);
        }
        self.give_up(question).await?;
        Err(if garbled {
            AskFault::Garbled { what: Garble::Checksum }
        } else {
            AskFault::Silent { waited: link.timeout }
        })
    }

    async fn give_up(&mut self, question: Question) -> Result<(), LineFault> {
        self.owed.add(question);
        self.in_flight = None;
        self.drain().await
    }

    /// Listens until nothing has come for a while.
    async fn drain(&mut self) -> Result<(), LineFault> {
        let began = Instant::now();
        let quiet = QUIET_AFTER_FAULT.max(self.character * 4);
        let (mut quiet_at, mut bytes) = (began + quiet, 0);
        let mut chunk = [0; 256];
        while let Ok(count) = timeout_at(quiet_at, self.frames.read(&mut chunk)).await {
            bytes += count?;
            let now = Instant::now();
            quiet_at = now + quiet;
            if now - began > BABBLE_AFTER {
                return Err(LineFault::Babble { bytes, over: now - began });
            }
        }
        self.frames.forget();
        Ok(())
    }

    /// The silence before the next question. What has come since the last answer is nobody's.
    async fn wait_for_turn(&mut self, turnaround: Duration) -> Result<(), LineFault> {
        let ready_at = self.frames.heard_or_sent() + self.turn.to(turnaround, self.character * 4);
        while let Some(item) = self.frames.next_before(ready_at).await? {
            self.set_aside(&item);
        }
        self.frames.clear_input()?;
        self.frames.forget();
        Ok(())
    }

    fn set_aside(&mut self, item: &Item<Frame>) {
        let counter = match item {
            Item::Frame(_) => &mut self.strangers,
            Item::Noise => &mut self.noises,
        };
        *counter = counter.saturating_add(1);
    }
}
