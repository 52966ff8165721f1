//! A block that a device refuses is asked in parts, down to what it is that is refused: its neighbours keep their values.
//!
//! The planned block stays and the parts are derived from it: they go when the unit comes back after it was lost, or when the whole, which is
//! tried again now and then, is answered. A device that refuses everything while it boots must not be read register by register for ever.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::Bus;
use crate::fieldbus::{driver::Driver, plan::Request, split, unit::Slot};

/// A place that a device refuses is not asked more often than this: it costs the line and gives nothing.
const REFUSED_PERIOD: Duration = Duration::from_secs(10);
/// When the whole is tried again at first; each time in vain doubles that, up to the longest.
const WHOLE_AGAIN: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The blocks of one bus that are asked in parts.
#[derive(Default)]
pub(super) struct Splits {
    /// By the slot of the block that was planned.
    blocks: BTreeMap<usize, Split>,
    /// Slots that parts had.
    free: Vec<usize>,
}

struct Split {
    /// The slots of its parts.
    parts: Vec<usize>,
    /// Until the whole is tried again.
    wait: Duration,
}

impl Splits {
    /// The slot of the block that `slot` is a part of, or its own.
    fn block_of(&self, slot: usize) -> usize {
        let block = self.blocks.iter().find(|(_, split)| split.parts.contains(&slot));
        block.map_or(slot, |(block, _)| *block)
    }
}

impl<D: Driver> Bus<D> {
    /// Asks for a block that was refused in two parts from now on. `false`: it is refused as it is.
    pub(super) fn split(
        &mut self,
        unit: usize,
        slot: usize,
        request: &Request,
        code: u16,
        now: Instant,
    ) -> bool {
        let profile = &self.units[unit].device.profile;
        if !split::is_about_the_block(&profile.link, code) {
            return false;
        }
        let Some([low, high]) = split::halves(request, profile) else {
            self.schedule.set_period(slot, request.every.max(REFUSED_PERIOD));
            self.schedule.served(slot, now);
            return false;
        };
        let device = &self.units[unit].device.id;
        info!(bus = %self.id, %device, code, points = request.points.len(), "Device refuses a block; it is asked in parts.");
        let block = self.splits.block_of(slot);
        let mut parts = vec![self.part(unit, slot, high, now)];
        match block == slot {
            true => {
                parts.push(self.part(unit, slot, low, now));
                self.schedule.put_off(slot, now + WHOLE_AGAIN);
            }
            false => {
                self.slots[slot] = Slot::Ask { unit, request: low };
                self.schedule.put_off(slot, now);
            }
        }
        let fresh = Split { parts: Vec::new(), wait: WHOLE_AGAIN };
        self.splits.blocks.entry(block).or_insert(fresh).parts.extend(parts);
        true
    }

    /// A slot for a part of what `like` asks, due at once.
    fn part(&mut self, unit: usize, like: usize, request: Request, now: Instant) -> usize {
        let slot = self.schedule.add_beside(like, self.splits.free.pop(), now);
        let asks = Slot::Ask { unit, request };
        match self.slots.get_mut(slot) {
            Some(free) => *free = asks,
            None => self.slots.push(asks),
        }
        self.units[unit].slots.push(slot);
        slot
    }

    /// Whether what came of `slot` is to be passed over, because it is a block whose parts speak for it. Where it was answered, it needs no
    /// parts any more.
    pub(super) fn is_for_its_parts(&mut self, slot: usize, answered: bool, now: Instant) -> bool {
        let Some(split) = self.splits.blocks.get_mut(&slot) else { return false };
        if answered {
            self.join(slot);
            return false;
        }
        split.wait = (split.wait * 2).min(LONGEST_WAIT);
        let again = now + split.wait;
        self.schedule.put_off(slot, again);
        true
    }

    /// All blocks of this unit are asked whole again.
    pub(super) fn forget_parts(&mut self, unit: usize) {
        let slots = self.units[unit].slots.clone();
        slots.into_iter().for_each(|slot| self.join(slot));
    }

    fn join(&mut self, block: usize) {
        let Some(Split { parts, .. }) = self.splits.blocks.remove(&block) else { return };
        let Slot::Ask { unit, .. } = self.slots[block] else { return };
        self.units[unit].slots.retain(|slot| !parts.contains(slot));
        for part in &parts {
            self.schedule.pause(*part);
            self.tries.remove(part);
            self.slots[*part] = Slot::Free;
        }
        self.splits.free.extend(parts);
        let device = &self.units[unit].device.id;
        info!(bus = %self.id, %device, "A block that was asked in parts is asked whole again.");
    }
}
