//! Bytes ⇄ frames of a serial line, by the shape that a profile declares: pure and total.
//!
//! Promise: whatever arrives, nothing panics, every byte is looked at a bounded number of times, no more than one
//! frame's worth of bytes is kept, and what is handed on has its length and its checksum right.

use bytes::Bytes;

use super::checksum;
use crate::{
    fieldbus::frames::Cut,
    profile::{ByteMatch, FrameLength, FrameShape},
};

/// No serial frame is longer: what a buffer may grow to.
pub const LONGEST: usize = 64 * 1024;

/// A shape no frame can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("cut frames of at most {max} bytes (1 to {LONGEST} are possible)")]
    Max { max: usize },
    #[error("cut frames of {fixed} bytes where at most {max} are allowed")]
    Fixed { fixed: usize, max: usize },
    #[error("cut frames by an empty end")]
    EmptyEnd,
    #[error("read a length field of {size} bytes (1 to 4 are possible)")]
    FieldSize { size: usize },
    #[error("find the length field or the checksum inside the longest frame ({max} bytes)")]
    Outside { max: usize },
}

/// Cuts one line's stream into frames; keeps the beginning of the frame that is still coming.
#[derive(Clone, Debug)]
pub struct Cutter {
    shape: FrameShape,
    buffer: Vec<u8>,
    /// In the tail of a line that was too long: nothing counts until its end.
    skipping: bool,
    /// Frames that began well and then had a wrong length or checksum.
    garbled: u64,
}

/// What stands at the buffer's front.
enum Front {
    Frame(usize),
    /// Not yet to be told.
    Unfinished,
    /// Not a frame: so many bytes lead nowhere.
    Noise(usize),
    /// It began like a frame: length or checksum is wrong.
    Garbled(usize),
}

impl Cut for Cutter {
    type Frame = Bytes;

    fn push(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        self.buffer.extend_from_slice(chunk);
        let mut frames = Vec::new();
        let mut done = 0;
        loop {
            let rest = &self.buffer[done..];
            if self.skipping {
                let Some(past) = past_end(rest, &self.shape.length) else { break };
                self.skipping = false;
                done += past;
                continue;
            }
            match self.front(rest) {
                Front::Frame(n) => {
                    frames.push(Bytes::copy_from_slice(&rest[..n]));
                    done += n;
                }
                Front::Unfinished => break,
                Front::Noise(n) => done += n,
                Front::Garbled(n) => {
                    self.garbled += 1;
                    // Without a start, the rest of a line that is too long would look like a line.
                    self.skipping = past_end(&rest[..n], &self.shape.length).is_none()
                        && self.shape.start.is_empty()
                        && matches!(self.shape.length, FrameLength::EndsWith(_));
                    done += n;
                }
            }
        }
        self.buffer.drain(..done);
        if self.skipping {
            self.keep_a_split_end();
        }
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
        self.skipping = false;
    }
}

impl Cutter {
    /// # Errors
    /// If no frame can have this shape.
    pub fn new(shape: FrameShape) -> Result<Self, ShapeError> {
        possible(&shape)?;
        Ok(Self { shape, buffer: Vec::new(), skipping: false, garbled: 0 })
    }

    pub fn shape(&self) -> &FrameShape {
        &self.shape
    }

    /// Bytes of a frame that is not complete.
    pub fn kept(&self) -> usize {
        self.buffer.len()
    }

    fn front(&self, rest: &[u8]) -> Front {
        let shape = &self.shape;
        match begins(rest, &shape.start) {
            Begin::Yes => {}
            Begin::Perhaps => return Front::Unfinished,
            Begin::No(skip) => return Front::Noise(skip),
        }
        match &shape.length {
            FrameLength::Fixed(n) => self.of_length(rest, *n),
            FrameLength::Field { at, size, little, adds } => {
                let Some(field) = rest.get(*at..*at + *size) else { return Front::Unfinished };
                let number = unsigned(field, *little).saturating_add(*adds);
                match usize::try_from(number) {
                    Ok(n) if n >= at + size && n >= shape.start.len() && n <= shape.max => {
                        self.of_length(rest, n)
                    }
                    Ok(_) | Err(_) => Front::Garbled(1),
                }
            }
            FrameLength::EndsWith(end) => self.up_to_end(rest, end),
        }
    }

    fn of_length(&self, rest: &[u8], n: usize) -> Front {
        match rest.get(..n) {
            None => Front::Unfinished,
            Some(frame) if checksum::holds(&self.shape, frame) => Front::Frame(n),
            Some(_) => Front::Garbled(1),
        }
    }

    fn up_to_end(&self, rest: &[u8], end: &[u8]) -> Front {
        let shape = &self.shape;
        let within = &rest[..rest.len().min(shape.max)];
        let body = shape.start.len();
        let mut ends = positions(within, end, body).map(|at| at + end.len()).peekable();
        let Some(first) = ends.peek().copied() else {
            return match (within.len() == shape.max, body) {
                (false, _) => Front::Unfinished,
                // the end may have begun: it still ends the line that is too long
                (true, 0) => Front::Garbled((shape.max + 1).saturating_sub(end.len()).max(1)),
                (true, _) => Front::Garbled(1),
            };
        };
        let Some(sum) = &shape.checksum else { return self.last_begin(within, first) };
        // A checksum may itself look like the end: the end is the one whose checksum holds.
        let last = (first + checksum::width(sum)).min(shape.max);
        if let Some(n) = ends.take_while(|n| *n <= last).find(|&n| checksum::holds(shape, &within[..n])) {
            return Front::Frame(n);
        }
        if within.len() < last {
            return Front::Unfinished;
        }
        Front::Garbled(if body == 0 { first } else { 1 })
    }

    /// Without a checksum only the last start before the end is believed: an earlier one belongs to a frame
    /// that lost its tail.
    fn last_begin(&self, within: &[u8], n: usize) -> Front {
        let start = &self.shape.start;
        if start.is_empty() {
            return Front::Frame(n);
        }
        match positions(&within[..n], start, 1).last() {
            Some(later) if later >= start.len() => Front::Garbled(later),
            Some(_) | None => Front::Frame(n),
        }
    }

    /// While a line that is too long runs on, only a split end has to be kept.
    fn keep_a_split_end(&mut self) {
        if let FrameLength::EndsWith(end) = &self.shape.length {
            let surplus = self.buffer.len().saturating_sub(end.len() - 1);
            self.buffer.drain(..surplus);
        }
    }
}

/// Whether all of `matches` hold.
pub fn fits(frame: &[u8], matches: &[ByteMatch]) -> bool {
    matches.iter().all(|m| {
        let until = m.at.checked_add(m.bytes.len());
        until.and_then(|until| frame.get(m.at..until)).is_some_and(|there| there == m.bytes)
    })
}

/// Who sent `frame`, where the shape says where that stands.
pub fn sender(shape: &FrameShape, frame: &[u8]) -> Option<u8> {
    let (at, mask) = shape.address?;
    frame.get(at).map(|byte| byte & mask)
}

/// The bytes of a request: `template` with the device's address in its gaps and the shape's checksum in its place.
pub fn encode(shape: &FrameShape, template: &[Option<u8>], address: u8) -> Vec<u8> {
    let mut frame: Vec<u8> = template.iter().map(|byte| byte.unwrap_or(address)).collect();
    if let Some(sum) = &shape.checksum {
        let whole = frame.len() + checksum::width(sum);
        let at = checksum::place(sum.to, whole).unwrap_or(frame.len()).min(frame.len());
        let from = sum.from.min(at);
        let digits = checksum::written(sum, &frame[from..at]);
        frame.splice(at..at, digits);
    }
    frame
}

fn possible(shape: &FrameShape) -> Result<(), ShapeError> {
    let max = shape.max;
    if max == 0 || max > LONGEST {
        return Err(ShapeError::Max { max });
    }
    let (shortest, longest) = match &shape.length {
        FrameLength::Fixed(fixed) if *fixed == 0 || *fixed > max => {
            return Err(ShapeError::Fixed { fixed: *fixed, max });
        }
        FrameLength::Fixed(fixed) => (shape.start.len(), *fixed),
        FrameLength::EndsWith(end) if end.is_empty() => return Err(ShapeError::EmptyEnd),
        FrameLength::EndsWith(end) => (shape.start.len() + end.len(), max),
        FrameLength::Field { size, .. } if !(1..=4).contains(size) => {
            return Err(ShapeError::FieldSize { size: *size });
        }
        FrameLength::Field { at, size, .. } => (at.saturating_add(*size).max(shape.start.len()), max),
    };
    let summed = shape.checksum.as_ref().map_or(0, |sum| sum.from.saturating_add(checksum::width(sum)));
    if shortest.max(summed) > longest { Err(ShapeError::Outside { max: longest }) } else { Ok(()) }
}

enum Begin {
    Yes,
    /// So far; more bytes will tell.
    Perhaps,
    /// Not before so many bytes.
    No(usize),
}

fn begins(rest: &[u8], start: &[u8]) -> Begin {
    if rest.is_empty() {
        return Begin::Perhaps;
    }
    let here = |at: usize| {
        let seen = &rest[at..rest.len().min(at + start.len())];
        start.starts_with(seen)
    };
    match (0..rest.len()).find(|&at| here(at)) {
        Some(0) if rest.len() >= start.len() => Begin::Yes,
        Some(0) => Begin::Perhaps,
        Some(at) => Begin::No(at),
        None => Begin::No(rest.len()),
    }
}

fn unsigned(bytes: &[u8], little: bool) -> i64 {
    let add = |sum: i64, byte: &u8| (sum << 8) | i64::from(*byte);
    if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
}

fn positions<'a>(hay: &'a [u8], needle: &'a [u8], from: usize) -> impl Iterator<Item = usize> + 'a {
    (from..hay.len()).filter(move |&at| hay[at..].starts_with(needle))
}

fn past_end(rest: &[u8], length: &FrameLength) -> Option<usize> {
    match length {
        FrameLength::EndsWith(end) => positions(rest, end, 0).next().map(|at| at + end.len()),
        FrameLength::Fixed(_) | FrameLength::Field { .. } => None,
    }
}
