//! Who is on the line, whose a frame is, and what it is to them: pure.

use std::time::Duration;

use bytes::Bytes;

use super::codec::{self, Cutter, ShapeError};
use crate::{
    domain::{BusId, DeviceId, DeviceIx, Raw},
    fieldbus::BusDevice,
    profile::{Address, ByteMatch, FrameShape, Link, SerialLink},
};

/// A line that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its profile speaks another protocol, or its address is no text.
    #[error("build bus {bus}: failed to speak to {device}, which is no serial device")]
    Foreign { bus: BusId, device: DeviceId },
    #[error(
        "build bus {bus}: failed to read the address {address:?} of {device} as one byte (\"7\" or \"0x07\")"
    )]
    Address { bus: BusId, device: DeviceId, address: String },
    #[error(
        "build bus {bus}: failed to cut frames for {device}, whose frames have another shape than {first}'s"
    )]
    Shapes { bus: BusId, device: DeviceId, first: DeviceId },
    #[error("build bus {bus}: failed to tell {device} from {other}: nothing in a frame says whose it is")]
    Twins { bus: BusId, device: DeviceId, other: DeviceId },
    #[error("build bus {bus}: failed to {fault}")]
    Shape { bus: BusId, fault: ShapeError },
    #[error("build bus {bus}: failed to find any device on it")]
    Nobody { bus: BusId },
}

/// One device on the line.
#[derive(Debug)]
pub struct Member {
    pub device: DeviceIx,
    written: Address,
    /// The byte that stands for it in frames.
    pub address: u8,
    link: SerialLink,
}

/// The devices on one line, whose frames all have one shape.
#[derive(Debug)]
pub struct Members {
    shape: FrameShape,
    /// A fresh one, to start with.
    cutter: Cutter,
    members: Vec<Member>,
}

/// A question that is waiting for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub member: usize,
    pub request: u16,
}

/// What a frame is.
#[derive(Debug, PartialEq)]
pub enum Meaning {
    /// What was waited for, or an event that stands for it.
    Answer(Raw),
    Event(DeviceIx, Raw),
    /// The answer to a question of that member that nobody waits for any more.
    Late(usize),
    Unknown,
}

impl Members {
    /// # Errors
    /// If these devices cannot share one line.
    pub fn new(bus: &BusId, devices: &[BusDevice]) -> Result<Self, SetupError> {
        let first = devices.first().ok_or_else(|| SetupError::Nobody { bus: bus.clone() })?;
        let Link::Serial(link) = &first.profile.link else {
            return Err(SetupError::Foreign { bus: bus.clone(), device: first.id.clone() });
        };
        let shape = link.frame.clone();
        let cutter = Cutter::new(shape.clone());
        let cutter = cutter.map_err(|fault| SetupError::Shape { bus: bus.clone(), fault })?;
        let mut members: Vec<Member> = Vec::new();
        for device in devices {
            let member = member(bus, device)?;
            let (bus, device) = (bus.clone(), device.id.clone());
            if member.link.frame != shape {
                return Err(SetupError::Shapes { bus, device, first: first.id.clone() });
            }
            let twin =
                members.iter().position(|other| shape.address.is_none() || other.address == member.address);
            if let Some(twin) = twin {
                return Err(SetupError::Twins { bus, device, other: devices[twin].id.clone() });
            }
            members.push(member);
        }
        Ok(Self { shape, cutter, members })
    }

    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }

    pub fn shape(&self) -> &FrameShape {
        &self.shape
    }

    pub fn link(&self, member: usize) -> &SerialLink {
        &self.members[member].link
    }

    /// The member that the site file calls `address`.
    pub fn find(&self, address: &Address) -> Option<usize> {
        self.members.iter().position(|member| member.written == *address)
    }

    /// The bytes of a question; `None` where the profile has no such request.
    pub fn encode(&self, question: Question) -> Option<Vec<u8>> {
        let member = &self.members[question.member];
        let request = member.link.requests.get(usize::from(question.request))?;
        Some(codec::encode(&self.shape, &request.send, member.address))
    }

    /// The longest that any member may take to begin an answer.
    pub fn slowest(&self) -> Duration {
        let asked = self.members.iter().map(|member| &member.link).filter(|link| !link.requests.is_empty());
        asked.map(|link| link.timeout).max().unwrap_or_default()
    }

    /// Whether an answer to `owed` could be taken for one to `asked`.
    pub fn could_be_mistaken(&self, owed: Question, asked: Question) -> bool {
        let matches = |q: Question| {
            let request = self.link(q.member).requests.get(usize::from(q.request));
            request.map_or(&[][..], |request| &request.matches)
        };
        owed.member == asked.member && (owed == asked || !told_apart(matches(owed), matches(asked)))
    }

    /// What `frame` is while `waiting` waits for its answer. The claim with the most bytes wins; of two alike the question
    /// that waits, then the event.
    pub fn meaning(&self, frame: &Bytes, waiting: Option<Question>) -> Meaning {
        let Some(member) = self.sender(frame) else { return Meaning::Unknown };
        let link = self.link(member);
        let waited = waiting.filter(|question| question.member == member).map(|question| question.request);
        let mut best: Option<((usize, u8), Claim)> = None;
        let mut claim = |matches: &[ByteMatch], rank: u8, claim: Claim| {
            let weight = (matches.iter().map(|m| m.bytes.len()).sum(), rank);
            if codec::fits(frame, matches) && best.as_ref().is_none_or(|(most, _)| weight > *most) {
                best = Some((weight, claim));
            }
        };
        for (number, request) in (0u16..).zip(&link.requests) {
            if waited == Some(number) {
                claim(&request.matches, 2, Claim::Answer(number));
            } else {
                claim(&request.matches, 0, Claim::Late);
            }
        }
        for (number, event) in (link.requests.len() as u16..).zip(&link.events) {
            let answers = waited.is_some_and(|request| event.answers.contains(&request));
            claim(&event.matches, 1, if answers { Claim::Answer(number) } else { Claim::Event(number) });
        }
        let raw = |number| Raw::Frame { frame: number, bytes: frame.clone() };
        match best {
            Some((_, Claim::Answer(number))) => Meaning::Answer(raw(number)),
            Some((_, Claim::Event(number))) => Meaning::Event(self.members[member].device, raw(number)),
            Some((_, Claim::Late)) => Meaning::Late(member),
            None => Meaning::Unknown,
        }
    }

    fn sender(&self, frame: &Bytes) -> Option<usize> {
        match self.shape.address {
            None => Some(0),
            Some(_) => {
                let sender = codec::sender(&self.shape, frame)?;
                self.members.iter().position(|member| member.address == sender)
            }
        }
    }
}

enum Claim {
    Answer(u16),
    Event(u16),
    Late,
}

fn member(bus: &BusId, device: &BusDevice) -> Result<Member, SetupError> {
    let (Link::Serial(link), Address::Text(written)) = (&device.profile.link, &device.address) else {
        return Err(SetupError::Foreign { bus: bus.clone(), device: device.id.clone() });
    };
    let named = link.frame.address.is_some() || link.requests.iter().any(|r| r.send.contains(&None));
    let address = match byte(written) {
        Some(address) => address,
        None if !named => 0,
        None => {
            let (device, address) = (device.id.clone(), written.clone());
            return Err(SetupError::Address { bus: bus.clone(), device, address });
        }
    };
    Ok(Member { device: device.ix, written: device.address.clone(), address, link: link.clone() })
}

fn byte(text: &str) -> Option<u8> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u8::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether no frame can fit both.
fn told_apart(one: &[ByteMatch], other: &[ByteMatch]) -> bool {
    let bytes = |matches: &[ByteMatch]| -> Vec<(usize, u8)> {
        let placed = |m: &ByteMatch| (m.at..).zip(m.bytes.clone()).collect::<Vec<_>>();
        matches.iter().flat_map(placed).collect()
    };
    let other = bytes(other);
    bytes(one).iter().any(|(at, byte)| other.iter().any(|(there, differs)| at == there && byte != differs))
}
