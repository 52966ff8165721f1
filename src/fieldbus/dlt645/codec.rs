//! Bytes ⇄ frames of DL/T 645-2007: pure and total.
//!
//! `FE… 68 A0…A5 68 C L DATA CS 16`: the address low byte first, each byte of DATA with 0x33 added, CS the sum of all bytes from the
//! first 68 on, modulo 256. DATA begins with the data identifier, low byte first.
//!
//! Promise: whatever arrives, nothing panics, no more than one frame's worth of bytes is kept, and what is handed on has its
//! length, checksum and end right. An answer is taken for the question in hand only if address, control, identifier and length are
//! those that were asked for; a checksum of one byte lets one of 256 frames pass whose bytes were changed at random.

use super::station::Station;
use crate::fieldbus::frames::Cut;

/// In front of each request and answer; in no checksum.
const WAKEUP: u8 = 0xFE;
const START: u8 = 0x68;
const END: u8 = 0x16;
/// Added to each byte of the data.
const OFFSET: u8 = 0x33;
/// Up to the length: 68, six of address, 68, control, length.
const HEAD: usize = 10;
/// Checksum and end.
const TAIL: usize = 2;

/// What the longest frame has without its FE bytes.
pub const LONGEST: usize = HEAD + u8::MAX as usize + TAIL;

const READ: u8 = 0x11;
/// A reply: function | 0x80; with more frames to follow: | 0x20; a refusal: | 0x40.
const READ_REPLY: u8 = 0x91;
const READ_REPLY_FOLLOWED: u8 = 0xB1;
const READ_REFUSED: u8 = 0xD1;

/// One item of one meter is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub station: Station,
    /// The data identifier, DI3 the highest byte.
    pub item: u32,
}

impl Question {
    pub fn encode(&self, wakeup: u8) -> Vec<u8> {
        let frame = Frame { station: self.station, control: READ, data: self.item.to_le_bytes().to_vec() };
        frame.encode(wakeup)
    }

    /// What `frame` is to whoever asked this.
    pub fn meaning(&self, frame: &Frame) -> Meaning {
        if !self.station.takes(frame.station) {
            return Meaning::Other;
        }
        match (frame.control, &frame.data[..]) {
            (READ_REPLY, _) => self.values(frame, Meaning::Values),
            (READ_REPLY_FOLLOWED, _) => self.values(frame, |_| Meaning::TooLong),
            (READ_REFUSED, [error]) => Meaning::Refused(*error),
            (READ, _) => Meaning::Echo,
            (_, _) => Meaning::Other,
        }
    }

    /// If the frame names the item that was asked for.
    fn values(&self, frame: &Frame, meaning: impl FnOnce(Vec<u8>) -> Meaning) -> Meaning {
        match frame.data.split_first_chunk() {
            Some((identifier, values)) if u32::from_le_bytes(*identifier) == self.item => {
                meaning(values.to_vec())
            }
            Some(_) | None => Meaning::Other,
        }
    }
}

/// What a frame is to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The item's data, behind the identifier.
    Values(Vec<u8>),
    /// The meter said no, in its error word.
    Refused(u8),
    /// The item does not fit into one frame.
    TooLong,
    /// The question itself: some adapters hear what they send.
    Echo,
    /// Of another meter, of another item, or another service.
    Other,
}

/// One whole frame, its data as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub station: Station,
    pub control: u8,
    /// Without the 0x33; 255 bytes at the most.
    pub data: Vec<u8>,
}

impl Frame {
    pub fn encode(&self, wakeup: u8) -> Vec<u8> {
        let length = u8::try_from(self.data.len()).unwrap_or(u8::MAX);
        let mut frame = vec![START];
        frame.extend(self.station.on_wire());
        frame.extend([START, self.control, length]);
        frame.extend(self.data.iter().take(usize::from(length)).map(|byte| byte.wrapping_add(OFFSET)));
        frame.extend([sum(&frame), END]);
        let mut sent = vec![WAKEUP; usize::from(wakeup)];
        sent.extend(frame);
        sent
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Cuts one line's stream into frames; keeps the beginning of the one that is still coming.
#[derive(Debug, Default)]
pub struct Cutter {
    buffer: Vec<u8>,
    /// Frames that began well and ended wrong.
    garbled: u64,
}

/// What stands at the front of some bytes.
enum Front {
    Frame(Frame, usize),
    Unfinished,
    Noise,
    Garbled,
}

impl Cut for Cutter {
    type Frame = Frame;

    fn push(&mut self, chunk: &[u8]) -> Vec<Frame> {
        self.buffer.extend_from_slice(chunk);
        let (mut frames, mut done) = (Vec::new(), 0);
        while let Some(rest) = self.buffer.get(done..).filter(|rest| !rest.is_empty()) {
            match front(rest) {
                Front::Frame(frame, length) => {
                    frames.push(frame);
                    done += length;
                }
                Front::Unfinished => break,
                // a byte that was lost or added may have hidden a frame behind the false beginning
                Front::Noise => done += 1,
                Front::Garbled => {
                    self.garbled += 1;
                    done += 1;
                }
            }
        }
        self.buffer.drain(..done);
        frames
    }

    fn take_garbled(&mut self) -> u64 {
        std::mem::take(&mut self.garbled)
    }

    fn is_midway(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn clear(&mut self) {
        self.buffer.clear();
    }
}

impl Cutter {
    /// Bytes of a frame that is not complete.
    pub fn kept(&self) -> usize {
        self.buffer.len()
    }
}

fn front(rest: &[u8]) -> Front {
    if rest[0] != START || rest.get(HEAD - 3).is_some_and(|second| *second != START) {
        return Front::Noise;
    }
    let Some((head, behind)) = rest.split_first_chunk::<HEAD>() else { return Front::Unfinished };
    let [_, address @ .., _, control, length] = *head;
    let length = usize::from(length);
    let (Some(data), Some(tail)) = (behind.get(..length), behind.get(length..length + TAIL)) else {
        return Front::Unfinished;
    };
    if tail != [sum(&rest[..HEAD + length]), END] {
        return Front::Garbled;
    }
    let data = data.iter().map(|byte| byte.wrapping_sub(OFFSET)).collect();
    Front::Frame(Frame { station: Station::from_wire(address), control, data }, HEAD + length + TAIL)
}
