//! How rows of all devices stand in the tail: a slot is one page of the file, and a *frame* is what one commit adds to it.
//!
//! ```text
//! slot    = frame*  zeros
//! frame   = length of the sections (u32)  CRC-32 of them (u32)  section*
//! section = series  place in its chain  rows  length of the bits  bits        each but the bits a varint
//! ```
//! A frame that is damaged costs itself, and of the devices in it what follows until their chains begin anew.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use super::{
    Unreadable,
    batch::Batch,
    chain::{Chain, Reaper, Section},
};

/// As much as SQLite keeps on one page of 4096 bytes, so that a commit writes one page over and no others.
pub const SLOT_BYTES: usize = 4040;
const FRAME_HEAD: usize = 8;
const SUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// What a slot is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where it stands: from 1 on, the same again after each packing.
    pub slot: i64,
    /// Counts on for ever.
    pub seq: i64,
    pub bytes: Vec<u8>,
}

impl Slot {
    /// Always as long as the page has room, so that the next frame changes nothing but this page.
    pub fn padded(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len().max(SLOT_BYTES), 0);
        bytes
    }
}

/// The writer's end of the tail.
pub struct Tail {
    /// By device.
    chains: Vec<Chain>,
    /// As it is on disk, without the zeros.
    open: Slot,
}

impl Tail {
    /// `last` is the last slot in use; whatever it has is left alone.
    pub fn after(devices: usize, last_slot: i64, last_seq: i64) -> Self {
        let open = Slot { slot: last_slot + 1, seq: last_seq + 1, bytes: Vec::new() };
        Self { chains: (0..devices).map(|_| Chain::default()).collect(), open }
    }

    /// What the slots must hold for the rows of `batch` to be kept. The tail goes on from there once [`Self::kept`] is told, or from where
    /// it was after [`Self::lost`]. `series` is by device.
    pub fn put(&mut self, batch: &Batch, series: &[i64]) -> Vec<Slot> {
        let mut draft = Draft { done: Vec::new(), slot: self.open.clone(), frame: None };
        let places = batch.by_device();
        for of_one in places.chunk_by(|one, next| batch.device(*one) == batch.device(*next)) {
            let device = batch.device(of_one[0]) as usize;
            let mut rows = of_one.iter().map(|place| batch.row(*place));
            while rows.len() > 0 {
                let section = self.chains[device].put(&mut rows);
                draft.add(series[device] as u64, &section);
            }
        }
        draft.finish()
    }

    pub fn kept(&mut self, slots: Vec<Slot>) {
        self.open = slots.into_iter().last().unwrap_or_else(|| self.open.clone());
    }

    /// Nobody will know what the chains knew.
    pub fn lost(&mut self) {
        self.chains.iter_mut().for_each(|chain| *chain = Chain::default());
    }

    /// Everything until now is in blocks: the slots are free.
    pub fn packed(&mut self) {
        self.lost();
        self.open = Slot { slot: 1, seq: self.open.seq + 1, bytes: Vec::new() };
    }

    /// How many slots there are since the last packing.
    pub fn slots(&self) -> i64 {
        self.open.slot - i64::from(self.open.bytes.is_empty())
    }
}

struct Draft {
    done: Vec<Slot>,
    slot: Slot,
    /// Where the frame begins that is being written.
    frame: Option<usize>,
}

impl Draft {
    fn add(&mut self, series: u64, section: &Section) {
        let mut begin = Vec::with_capacity(4 * VARINT_MAX);
        for number in [series, section.place, section.rows, section.bits.len() as u64] {
            put_varint(&mut begin, number);
        }
        let length = begin.len() + section.bits.len();
        let head = if self.frame.is_none() { FRAME_HEAD } else { 0 };
        // One that is longer than a slot has one of its own, of several pages.
        if !self.slot.bytes.is_empty() && self.slot.bytes.len() + head + length > SLOT_BYTES {
            self.close();
            let next = Slot { slot: self.slot.slot + 1, seq: self.slot.seq + 1, bytes: Vec::new() };
            self.done.push(std::mem::replace(&mut self.slot, next));
        }
        if self.frame.is_none() {
            self.frame = Some(self.slot.bytes.len());
            self.slot.bytes.extend_from_slice(&[0; FRAME_HEAD]);
        }
        self.slot.bytes.extend_from_slice(&begin);
        self.slot.bytes.extend_from_slice(&section.bits);
    }

    fn close(&mut self) {
        let Some(at) = self.frame.take() else { return };
        let sections = &self.slot.bytes[at + FRAME_HEAD..];
        let head = frame_head(sections);
        self.slot.bytes[at..at + FRAME_HEAD].copy_from_slice(&head);
    }

    fn finish(mut self) -> Vec<Slot> {
        self.close();
        self.done.push(self.slot);
        self.done
    }
}

/// What stands before the sections of a frame.
pub fn frame_head(sections: &[u8]) -> [u8; FRAME_HEAD] {
    let length = (sections.len() as u32).to_le_bytes();
    let sum = SUM.checksum(sections).to_le_bytes();
    [length[0], length[1], length[2], length[3], sum[0], sum[1], sum[2], sum[3]]
}

/// One section as it stands in a slot.
#[derive(Clone, Copy)]
pub struct SectionRef<'a> {
    pub series: i64,
    place: u64,
    rows: u64,
    bits: &'a [u8],
}

impl SectionRef<'_> {
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// The sections of a slot, and how many of its frames cannot be believed.
pub fn sections<'a>(slot: &'a [u8], mut each: impl FnMut(SectionRef<'a>)) -> u64 {
    let (mut rest, mut damaged) = (slot, 0);
    while let Some((head, after)) = rest.split_first_chunk::<FRAME_HEAD>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length == 0 {
            // the zeros behind the last frame; else it is the length itself that was damaged
            return damaged + u64::from(rest.iter().any(|byte| *byte != 0));
        }
        let Some(sections) = after.get(..length) else { return damaged + 1 };
        let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if SUM.checksum(sections) != sum || each_section(sections, &mut each).is_none() {
            damaged += 1;
        }
        rest = &after[length..];
    }
    damaged
}

fn each_section<'a>(mut rest: &'a [u8], each: &mut impl FnMut(SectionRef<'a>)) -> Option<()> {
    while !rest.is_empty() {
        let [series, place, rows, length] = [(); 4].map(|()| take_varint(&mut rest));
        let (bits, after) = rest.split_at_checked(usize::try_from(length?).ok()?)?;
        rest = after;
        each(SectionRef { series: i64::try_from(series?).ok()?, place: place?, rows: rows?, bits });
    }
    Some(())
}

/// The reader's end of one device's chain.
#[derive(Default)]
pub struct Link(Chain);

impl Link {
    /// # Errors
    /// `Unreadable` if it is nonsense, or follows one that is missing.
    pub fn take(&mut self, section: SectionRef<'_>, reaper: &mut impl Reaper) -> Result<(), Unreadable> {
        if !self.0.awaits(section.place) {
            return Err(Unreadable { at: 0 });
        }
        self.0
            .take(section.place, section.rows, section.bits, reaper)
            .inspect_err(|_| self.0 = Chain::default())
    }
}

/// Seven bits a byte.
const VARINT_MAX: usize = 10;

pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
