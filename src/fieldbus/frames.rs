//! Frames off a line: what every wire whose codec cuts them shares. Modbus RTU is none of them: there the question tells where an answer ends.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    driver::LineFault,
    port::{OpenPort, Port},
};

/// A line that carries more over this time than twice what it can is babbled on.
const BABBLE_AFTER: Duration = Duration::from_secs(5);

/// Cuts a stream into frames; keeps the beginning of the one that is still coming.
pub trait Cut {
    type Frame;

    /// Takes what was read and gives the whole frames that are now complete, in order.
    fn push(&mut self, chunk: &[u8]) -> Vec<Self::Frame>;

    /// Counts since the last call: frames that began well and ended wrong.
    fn take_garbled(&mut self) -> u64;

    /// Whether a frame has begun and is not complete.
    fn is_midway(&self) -> bool;

    /// Forgets the frame that had begun.
    fn clear(&mut self);
}

/// What comes off the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<F> {
    Frame(F),
    /// Frames that were no frames.
    Noise,
}

/// An open line and what was cut from it.
pub struct Frames<P, C: Cut> {
    port: OpenPort<P>,
    cutter: C,
    /// Cut, not yet taken.
    cut: VecDeque<C::Frame>,
    /// A frame that stops for longer was cut off.
    pause: Duration,
    flow: Option<Flow>,
    heard: Instant,
    heard_or_sent: Instant,
    unanswered_since: Option<Instant>,
}

/// How much the line carried lately.
struct Flow {
    character: Duration,
    since: Instant,
    bytes: usize,
}

impl<P: Port, C: Cut> Frames<P, C> {
    pub fn new(port: OpenPort<P>, cutter: C, pause: Duration) -> Self {
        let now = Instant::now();
        Self {
            port,
            cutter,
            cut: VecDeque::new(),
            pause,
            flow: None,
            heard: now,
            heard_or_sent: now,
            unanswered_since: None,
        }
    }

    /// The same of a line that is known to carry no more than a `character` in this time.
    pub fn limited_to(self, character: Duration) -> Self {
        Self { flow: Some(Flow { character, since: Instant::now(), bytes: 0 }), ..self }
    }

    pub fn heard_or_sent(&self) -> Instant {
        self.heard_or_sent
    }

    /// Since when bytes were sent and not one came back.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.unanswered_since
    }

    pub fn is_midway(&self) -> bool {
        self.cutter.is_midway()
    }

    /// Says when.
    ///
    /// # Errors
    /// When the port is gone, or takes nothing more.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<Instant, LineFault> {
        self.port.write(bytes).await?;
        self.heard_or_sent = Instant::now();
        self.unanswered_since.get_or_insert(self.heard_or_sent);
        Ok(self.heard_or_sent)
    }

    /// The next frame, or that there was none. Cancel-safe.
    ///
    /// # Errors
    /// When the port is gone, or somebody babbles.
    pub async fn next(&mut self) -> Result<Item<C::Frame>, LineFault> {
        loop {
            if self.cutter.take_garbled() > 0 {
                return Ok(Item::Noise);
            }
            if let Some(frame) = self.cut.pop_front() {
                return Ok(Item::Frame(frame));
            }
            let mut chunk = [0; 256];
            let count = if self.cutter.is_midway() {
                match timeout_at(self.heard + self.pause, self.read(&mut chunk)).await {
                    Ok(count) => count?,
                    Err(_elapsed) => {
                        self.cutter.clear();
                        return Ok(Item::Noise);
                    }
                }
            } else {
                self.read(&mut chunk).await?
            };
            self.cut.extend(self.cutter.push(&chunk[..count]));
        }
    }

    /// The same, but not after `until`. It looks at the clock itself: a line that always has something to say must not outlast it.
    ///
    /// # Errors
    /// As [`Frames::next`].
    pub async fn next_before(&mut self, until: Instant) -> Result<Option<Item<C::Frame>>, LineFault> {
        if Instant::now() >= until && self.cut.is_empty() {
            return Ok(None);
        }
        timeout_at(until, self.next()).await.ok().transpose()
    }

    /// The next item that begins before `begin_by` and is whole before `end_by`.
    ///
    /// # Errors
    /// As [`Frames::next`].
    pub async fn next_answer(
        &mut self,
        begin_by: Instant,
        end_by: Instant,
    ) -> Result<Option<Item<C::Frame>>, LineFault> {
        match self.next_before(begin_by).await? {
            None if self.cutter.is_midway() => self.next_before(end_by).await,
            item => Ok(item),
        }
    }

    /// At least one byte, for which nobody wants a frame. Cancel-safe.
    ///
    /// # Errors
    /// As [`Frames::next`].
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, LineFault> {
        let count = self.port.read(into).await?;
        let now = Instant::now();
        (self.heard, self.heard_or_sent, self.unanswered_since) = (now, now, None);
        if let Some(flow) = &mut self.flow {
            flow.carried(count, now)?;
        }
        Ok(count)
    }

    /// Forgets what came and was not taken.
    pub fn forget(&mut self) {
        self.cutter.clear();
        self.cut.clear();
    }

    /// Forgets the frame that had begun.
    pub fn forget_half(&mut self) {
        self.cutter.clear();
    }

    /// # Errors
    /// When the port is gone.
    pub fn clear_input(&mut self) -> Result<(), LineFault> {
        self.port.clear_input()
    }
}

impl Flow {
    /// # Errors
    /// When a line that is no real one (a pty, a radio bridge) carries far more than its baud rate could.
    fn carried(&mut self, bytes: usize, now: Instant) -> Result<(), LineFault> {
        self.bytes += bytes;
        let over = now - self.since;
        if over < BABBLE_AFTER {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.since = now;
        if self.character * (bytes as u32 / 2) > over {
            Err(LineFault::Babble { bytes, over })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncWriteExt, duplex},
        time::sleep,
    };

    use super::*;

    /// Frames of three bytes that begin with 1; others that begin so are garbled.
    #[derive(Default)]
    struct Threes(Vec<u8>, u64);

    impl Cut for Threes {
        type Frame = u8;

        fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
            self.0.extend(chunk);
            let mut frames = Vec::new();
            while let Some((three, rest)) = self.0.split_first_chunk::<3>() {
                match *three {
                    [1, value, 0] => frames.push(value),
                    _ => self.1 += 1,
                }
                self.0 = rest.to_vec();
            }
            frames
        }

        fn take_garbled(&mut self) -> u64 {
            std::mem::take(&mut self.1)
        }

        fn is_midway(&self) -> bool {
            !self.0.is_empty()
        }

        fn clear(&mut self) {
            self.0.clear();
        }
    }

    const PAUSE: Duration = Duration::from_millis(300);

    #[tokio::test(start_paused = true)]
    async fn frames_come_one_by_one_and_what_stops_midway_is_noise() {
        let (ours, mut theirs) = duplex(64);
        let mut frames = Frames::new(OpenPort::new(ours, "pipe".into()), Threes::default(), PAUSE);
        theirs.write_all(&[1, 7, 0, 1, 8, 0, 1]).await.unwrap();
        assert_eq!(frames.next().await, Ok(Item::Frame(7)));
        assert_eq!(frames.next().await, Ok(Item::Frame(8)));
        let began = Instant::now();
        assert_eq!((frames.next().await, began.elapsed()), (Ok(Item::Noise), PAUSE), "cut off");
        theirs.write_all(&[9, 9, 9]).await.unwrap();
        assert_eq!(frames.next().await, Ok(Item::Noise), "no frame");
        theirs.write_all(&[1, 5]).await.unwrap();
        assert_eq!(frames.next_before(Instant::now() + PAUSE / 2).await, Ok(None));
        theirs.write_all(&[0]).await.unwrap();
        assert_eq!(frames.next().await, Ok(Item::Frame(5)), "none of it was lost by giving up in between");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_begun_is_let_finish() {
        let (ours, mut theirs) = duplex(64);
        let mut frames = Frames::new(OpenPort::new(ours, "pipe".into()), Threes::default(), PAUSE);
        let sent = frames.send(&[2]).await.unwrap();
        assert_eq!(frames.unanswered_since(), Some(sent));
        let far = async {
            sleep(PAUSE / 2).await;
            theirs.write_all(&[1, 6]).await.unwrap();
            sleep(PAUSE * 2 / 3).await;
            theirs.write_all(&[0]).await.unwrap();
        };
        let answer = frames.next_answer(sent + PAUSE, sent + 2 * PAUSE);
        assert_eq!(tokio::join!(answer, far).0, Ok(Some(Item::Frame(6))));
        assert_eq!(frames.unanswered_since(), None);
        let now = Instant::now();
        assert_eq!(frames.next_answer(now + PAUSE, now + 2 * PAUSE).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_twice_what_the_line_can_carry_is_babble() {
        for (fact, every, babbles) in [("as fast as it can", 10, false), ("thrice as fast", 3, true)] {
            let (ours, mut theirs) = duplex(64);
            let mut frames = Frames::new(OpenPort::new(ours, "pipe".into()), Threes::default(), PAUSE)
                .limited_to(Duration::from_millis(1));
            let far = async {
                for _ in 0..6_000 / every {
                    theirs.write_all(&[1, 0, 0, 1, 0, 0, 1, 0, 0]).await.unwrap();
                    sleep(Duration::from_millis(every)).await;
                }
            };
            let near = async {
                loop {
                    if let Err(fault) = frames.next().await {
                        return fault;
                    }
                }
            };
            let babbled = tokio::select! { fault = near => Some(fault), () = far => None };
            assert_eq!(matches!(babbled, Some(LineFault::Babble { .. })), babbles, "{fact}: {babbled:?}");
        }
    }
}
