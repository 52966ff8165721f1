//! One simulated device: its points are set by name, and what it then holds or sends is what its profile says.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{dlt645, frame};
use crate::{
    domain::{PointName, ProfileId, Table, Value},
    profile::{
        Address, ByteMatch, Dlt645Item, FrameShape, Link, Patch, Profile, RawWrite, Read, SerialLink,
        put_json,
    },
};

/// What a simulated device cannot do.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("find {device}: the compound has no such device")]
    NoSuchDevice { device: String },
    #[error("set {point}: {profile} has no such point")]
    NoSuchPoint { profile: ProfileId, point: String },
    #[error("set {point} of {profile} to {value:?}: it cannot say that")]
    CannotSay { profile: ProfileId, point: PointName, value: Value },
    #[error("speak as {profile}: it is asked over another kind of line")]
    OtherLine { profile: ProfileId },
    #[error("send: the simulated radio is off: {why}")]
    Off { why: String },
}

/// A device that holds registers, answers frames or sends messages, as its profile has it.
#[derive(Debug)]
pub struct SimDevice {
    profile: Arc<Profile>,
    address: Address,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    words: HashMap<(Table, u16), u16>,
    bits: HashMap<(Table, u16), bool>,
    /// By the frame's place in the profile; without checksum. Of a meter: the data of its items.
    frames: BTreeMap<u16, Vec<u8>>,
    /// Events that wait until they are asked for.
    events: VecDeque<u16>,
    message: Json,
    block: Vec<u8>,
    text: String,
    number: u64,
}

impl SimDevice {
    /// A device whose registers are 0 and whose frames and messages say nothing yet.
    pub fn new(profile: Arc<Profile>, address: Address) -> Self {
        let mut held = Held { message: json!({}), ..Held::default() };
        for point in &profile.points {
            if let Read::Modbus { table, address, span } = point.read {
                for at in address..address.saturating_add(span) {
                    held.words.insert((table, at), 0);
                    held.bits.insert((table, at), false);
                }
            }
        }
        if let Link::Serial(link) = &profile.link {
            let frames = (0..).zip(matches(link)).map(|(ix, matches)| (ix, blank(&link.frame, matches)));
            held.frames = frames.collect();
        }
        if let Link::Dlt645(link) = &profile.link {
            let blank = |(ix, item): (u16, &Dlt645Item)| (ix, vec![0; usize::from(item.length)]);
            held.frames = (0..).zip(&link.items).map(blank).collect();
        }
        Self { profile, address, held: Mutex::new(held) }
    }

    /// Its frame called `name` begins as `bytes` (a captured one, without its checksum) instead of as zeros.
    pub fn with_frame(self, name: &str, bytes: &[u8]) -> Self {
        if let Link::Serial(link) = &self.profile.link
            && let Some(ix) = frame_names(link).position(|known| known == name)
        {
            self.held().frames.insert(ix as u16, bytes.to_vec());
        }
        self
    }

    /// Its messages carry `json` besides what the profile reads.
    pub fn with_message(self, json: Json) -> Self {
        self.held().message = json;
        self
    }

    /// Its messages' block of bytes begins as `bytes` instead of as zeros.
    pub fn with_block(self, bytes: &[u8]) -> Self {
        self.held().block = bytes.to_vec();
        self
    }

    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    pub fn has(&self, point: &str) -> bool {
        self.profile.point(point).is_some()
    }

    /// From now on `point` reads `value`: with the next poll or message.
    ///
    /// # Errors
    /// If the profile has no such point, or none of its raw values means `value`.
    pub fn set(&self, point: &str, value: impl Into<Value>) -> Result<(), SimError> {
        let profile = &self.profile;
        let no_such = || SimError::NoSuchPoint { profile: profile.id.clone(), point: point.to_owned() };
        let ix = profile.point(point).ok_or_else(no_such)?;
        let value = value.into();
        let written = profile.encode(ix, &value).filter(|write| self.held().take(write));
        written.map(drop).ok_or_else(|| SimError::CannotSay {
            profile: profile.id.clone(),
            point: PointName::from(point),
            value,
        })
    }

    /// `None` if the device has none of these registers; those between its own read 0.
    pub fn registers(&self, table: Table, first: u16, count: u16) -> Option<Vec<u16>> {
        stretch(&self.held().words, table, first, count)
    }

    /// As [`SimDevice::registers`], for coils and discrete inputs.
    pub fn bits(&self, table: Table, first: u16, count: u16) -> Option<Vec<bool>> {
        stretch(&self.held().bits, table, first, count)
    }

    /// The requests it knows, as they come over the line, in the profile's order.
    pub(super) fn requests(&self) -> Vec<Vec<u8>> {
        let link = match &self.profile.link {
            Link::Serial(link) => link,
            Link::Dlt645(link) => return dlt645::requests(link, self.number()),
            Link::Modbus(_) | Link::Mqtt(_) => return Vec::new(),
        };
        let byte = self.byte();
        let bytes = |send: &[Option<u8>]| send.iter().map(|sent| sent.unwrap_or(byte)).collect();
        link.requests.iter().map(|request| frame::finish(&link.frame, bytes(&request.send), byte)).collect()
    }

    /// The event called `name` happened: the next request that may be answered with it is.
    pub fn happens(&self, name: &str) {
        if let Link::Serial(link) = &self.profile.link
            && let Some(ix) = frame_names(link).position(|known| known == name)
        {
            self.held().events.push_back(ix as u16);
        }
    }

    /// Its whole frame in answer to `request`.
    pub(super) fn reply(&self, request: u16) -> Option<Vec<u8>> {
        let mut held = self.held();
        let link = match &self.profile.link {
            Link::Serial(link) => link,
            Link::Dlt645(link) => {
                return dlt645::reply(link, self.number(), request, held.frames.get(&request)?);
            }
            Link::Modbus(_) | Link::Mqtt(_) => return None,
        };
        let first_event = link.requests.len() as u16;
        let answers = |ix: u16| {
            let event = ix.checked_sub(first_event).and_then(|at| link.events.get(usize::from(at)));
            event.is_some_and(|event| event.answers.contains(&request))
        };
        let waiting = held.events.iter().position(|&ix| answers(ix));
        let ix = waiting.and_then(|at| held.events.remove(at)).unwrap_or(request);
        let body = held.frames.get(&ix)?.clone();
        Some(frame::finish(&link.frame, body, self.byte()))
    }

    /// Topic and payload of its next message.
    ///
    /// # Errors
    /// If it speaks no MQTT.
    pub fn message(&self, at: Timestamp) -> Result<(String, Vec<u8>), SimError> {
        let other = || SimError::OtherLine { profile: self.profile.id.clone() };
        let Link::Mqtt(link) = &self.profile.link else { return Err(other()) };
        let Address::Text(address) = &self.address else { return Err(other()) };
        let topic = link.topic.replace("{address}", address).replace('+', "demo");
        let mut held = self.held();
        held.number += 1;
        let payload = self.profile.message_of(held.message.clone(), &held.block, at, held.number);
        Ok((topic, payload.unwrap_or_else(|| held.text.clone().into_bytes())))
    }

    /// Its address as it is printed on a meter.
    fn number(&self) -> &str {
        match &self.address {
            Address::Unit(_) => "",
            Address::Text(text) => text,
        }
    }

    /// Its address as the one byte of a serial line.
    fn byte(&self) -> u8 {
        match &self.address {
            Address::Unit(unit) => *unit,
            Address::Text(text) => match text.strip_prefix("0x") {
                Some(hex) => u8::from_str_radix(hex, 16).unwrap_or(0),
                None => text.parse().unwrap_or(0),
            },
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no one panics holding a device")
    }
}

impl Held {
    /// Whether there is a place for it.
    fn take(&mut self, write: &RawWrite) -> bool {
        match write {
            RawWrite::Words { table, address, words } => {
                for (at, word) in (*address..).zip(words) {
                    let old = self.words.entry((*table, at)).or_default();
                    *old = word.over(*old);
                }
                true
            }
            RawWrite::Bit { table, address, on } => {
                self.bits.insert((*table, *address), *on);
                true
            }
            RawWrite::Bytes { frame, patches } => {
                let bytes = match frame {
                    Some(frame) => self.frames.entry(*frame).or_default(),
                    None => &mut self.block,
                };
                patches.iter().all(|patch| put(bytes, patch))
            }
            RawWrite::Json { steps, json } => {
                put_json(&mut self.message, steps, json.clone());
                true
            }
            RawWrite::Text(text) => {
                self.text.clone_from(text);
                true
            }
        }
    }
}

/// Bytes that are not there yet are made; those before the beginning cannot be.
fn put(bytes: &mut Vec<u8>, patch: &Patch) -> bool {
    let from = match usize::try_from(patch.at) {
        Ok(from) => Some(from),
        Err(_) => bytes.len().checked_sub(patch.at.unsigned_abs() as usize),
    };
    let Some(from) = from else { return false };
    bytes.resize(bytes.len().max(from + patch.bytes.len()), 0);
    for (old, new) in bytes[from..].iter_mut().zip(&patch.bytes) {
        *old = new.over(*old);
    }
    true
}

fn stretch<T: Copy + Default>(
    held: &HashMap<(Table, u16), T>,
    table: Table,
    first: u16,
    count: u16,
) -> Option<Vec<T>> {
    let asked = first..first.checked_add(count)?;
    let found: Vec<Option<T>> = asked.map(|at| held.get(&(table, at)).copied()).collect();
    found.iter().any(Option::is_some).then(|| found.into_iter().map(Option::unwrap_or_default).collect())
}

/// Requests' replies first, then events: a frame's place is its index here.
fn frame_names(link: &SerialLink) -> impl Iterator<Item = &str> {
    let replies = link.requests.iter().map(|request| request.name.as_str());
    replies.chain(link.events.iter().map(|event| event.name.as_str()))
}

fn matches(link: &SerialLink) -> impl Iterator<Item = &[ByteMatch]> {
    let replies = link.requests.iter().map(|request| request.matches.as_slice());
    replies.chain(link.events.iter().map(|event| event.matches.as_slice()))
}

/// Zeros, but for what a frame of this kind is known by.
fn blank(shape: &FrameShape, matches: &[ByteMatch]) -> Vec<u8> {
    let mut bytes = shape.start.clone();
    for one in matches {
        bytes.resize(bytes.len().max(one.at + one.bytes.len()), 0);
        bytes[one.at..one.at + one.bytes.len()].copy_from_slice(&one.bytes);
    }
    bytes
}

#[cfg(test)]
mod tests;
