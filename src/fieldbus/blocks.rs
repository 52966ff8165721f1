//! From points of Modbus products to blocks of registers, the cheapest for the line. Pure.
//!
//! Two steps. Points of one table and one period: of all ways to cut their order into blocks the one that takes the least line time
//! (dynamic programming; a gap is read along where its bytes cost less than one more request). Then points that are wanted less often: a block
//! of them rides along with a faster one where even that is cheaper than a request of its own.

use std::{collections::BTreeMap, time::Duration};

use super::{
    cost::LineCost,
    plan::{Ask, Request, Wanted},
};
use crate::{
    domain::{PointIx, Table},
    profile::{Link, ModbusLink, Read},
};

/// Most registers and bits that one Modbus read may ask for (Modbus Application Protocol V1.1b3, 6.1–6.4).
const MODBUS_MAX_REGISTERS: u32 = 125;
const MODBUS_MAX_BITS: u32 = 2000;
const TABLE_END: u32 = 0x1_0000;
/// A point is never read more than so many times as often as it is wanted: what is read is also kept.
const MOST_TIMES_TOO_OFTEN: u32 = 4;
/// A saving below this share of the line is a rounding error.
const NO_SAVING: f64 = 1e-9;

/// One point's place: `from..to` in its table, wanted every so often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    from: u32,
    to: u32,
    point: PointIx,
    every: Duration,
}

/// What is read at once: stretches in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    from: u32,
    to: u32,
    stretches: Vec<Stretch>,
    cost: Duration,
}

/// The blocks of one table, by how often they are read.
type Groups = BTreeMap<Duration, Vec<Block>>;

/// The requests for these points, in the order of period, table and place.
pub(super) fn blocks(wanted: &[Wanted<'_>], of: &Link, link: &ModbusLink, line: &LineCost) -> Vec<Request> {
    let mut requests = Vec::new();
    for table in [Table::Coil, Table::Discrete, Table::Holding, Table::Input] {
        let planner = Planner { table, of, link, line };
        let mut by_period: BTreeMap<Duration, Vec<Stretch>> = BTreeMap::new();
        for stretch in wanted.iter().filter_map(|wanted| stretch(wanted, table)) {
            by_period.entry(stretch.every).or_default().push(stretch);
        }
        let groups = by_period.into_iter().map(|(every, points)| (every, planner.cheapest(points))).collect();
        for (every, blocks) in planner.sharing_rides(groups) {
            requests.extend(blocks.into_iter().map(|block| planner.request(block, every)));
        }
    }
    requests.sort_by_key(|request| request.every);
    requests
}

fn stretch(wanted: &Wanted<'_>, of: Table) -> Option<Stretch> {
    match *wanted.read {
        Read::Modbus { table, address, span } if table == of => {
            let from = u32::from(address);
            // the table ends at 65535: what a point wants beyond it is not asked, so it decodes to an error
            let to = (from + u32::from(span.max(1))).min(TABLE_END);
            Some(Stretch { from, to, point: wanted.point, every: wanted.every })
        }
        Read::Modbus { .. } | Read::Serial { .. } | Read::Mqtt | Read::Reckoned => None,
    }
}

/// What is really read for `from..to`: some products want start and count to be even. A power of two, so it never goes beyond the table.
fn aligned(table: Table, from: u32, to: u32, link: &ModbusLink) -> (u32, u32) {
    match table {
        Table::Holding | Table::Input => {
            let align = u32::from(link.align.max(1));
            (from - from % align, to.next_multiple_of(align).min(TABLE_END))
        }
        Table::Coil | Table::Discrete => (from, to),
    }
}

/// The question for `from..to` of this product.
pub(super) fn ask(table: Table, from: u32, to: u32, link: &ModbusLink) -> Ask {
    let (from, to) = aligned(table, from, to, link);
    Ask::Block { table, first: from as u16, count: u16::try_from(to - from).unwrap_or(u16::MAX) }
}

struct Planner<'a> {
    table: Table,
    /// `link`, as the line knows it.
    of: &'a Link,
    link: &'a ModbusLink,
    line: &'a LineCost,
}

impl Planner<'_> {
    /// Of all ways to cut these points' order into blocks that the product allows, the one that takes the least time; of two such, the one
    /// with fewer requests.
    fn cheapest(&self, mut points: Vec<Stretch>) -> Vec<Block> {
        points.sort_unstable();
        // for the first `end` points: what they cost, in how many requests, and where the last one begins
        let mut best: Vec<Option<(Duration, usize, usize)>> = vec![None; points.len() + 1];
        best[0] = Some((Duration::ZERO, 0, 0));
        for start in 0..points.len() {
            let Some((before, requests, _)) = best[start] else { continue };
            for (end, to) in self.ends(&points[start..]) {
                let cost = before + self.cost(points[start].from, to);
                let candidate = (cost, requests + 1, start);
                let known = &mut best[start + end];
                if known.is_none_or(|known| candidate < known) {
                    *known = Some(candidate);
                }
            }
        }
        let mut blocks = Vec::new();
        while let Some(&Some((_, _, start))) = best.get(points.len()).filter(|_| !points.is_empty()) {
            blocks.push(self.block(points.split_off(start)));
        }
        blocks.reverse();
        blocks
    }

    /// How many of these may go into one block that begins with the first, and where that ends.
    fn ends(&self, points: &[Stretch]) -> impl Iterator<Item = (usize, u32)> {
        let from = points[0].from;
        let gap = u32::from(self.link.max_gap);
        let reached = points.iter().enumerate().scan(points[0].to, move |to, (n, next)| {
            let near = n == 0 || next.from <= *to + gap;
            *to = next.to.max(*to);
            // a point is never split, however long
            (n == 0 || near && self.fits(from, *to)).then_some((n + 1, *to))
        });
        reached.collect::<Vec<_>>().into_iter()
    }

    fn fits(&self, from: u32, to: u32) -> bool {
        let (from, to) = self.aligned(from, to);
        to - from <= self.most()
    }

    fn most(&self) -> u32 {
        let registers = u32::from(self.link.max_registers.max(1));
        match self.table {
            Table::Holding | Table::Input => registers.min(MODBUS_MAX_REGISTERS),
            Table::Coil | Table::Discrete => (16 * registers).min(MODBUS_MAX_BITS),
        }
    }

    fn aligned(&self, from: u32, to: u32) -> (u32, u32) {
        aligned(self.table, from, to, self.link)
    }

    fn ask(&self, from: u32, to: u32) -> Ask {
        ask(self.table, from, to, self.link)
    }

    fn cost(&self, from: u32, to: u32) -> Duration {
        self.line.exchange(&self.ask(from, to), self.of)
    }

    /// The block of these points, of which there is at least one.
    fn block(&self, stretches: Vec<Stretch>) -> Block {
        let from = stretches.iter().map(|stretch| stretch.from).min().unwrap_or(0);
        let to = stretches.iter().map(|stretch| stretch.to).max().unwrap_or(from + 1);
        Block { from, to, stretches, cost: self.cost(from, to) }
    }

    fn request(&self, block: Block, every: Duration) -> Request {
        let points = block.stretches.iter().map(|stretch| stretch.point).collect();
        Request { ask: self.ask(block.from, block.to), points, every }
    }

    /// Moves blocks to faster groups, wherever that takes less of the line. The faster ones first: what they join is what slower ones find.
    fn sharing_rides(&self, mut groups: Groups) -> Groups {
        let periods: Vec<Duration> = groups.keys().copied().collect();
        for slow in &periods {
            let mut staying = Vec::new();
            for block in groups.remove(slow).unwrap_or_default() {
                let faster = periods.iter().filter(|fast| *fast < slow && may_ride(&block, **fast));
                let rides = faster.filter_map(|fast| self.ride(&block, *slow, *fast, groups.get(fast)?));
                match rides.max_by(|one, other| one.saved.total_cmp(&other.saved)) {
                    Some(ride) => drop(groups.insert(ride.every, ride.blocks)),
                    None => staying.push(block),
                }
            }
            if !staying.is_empty() {
                groups.insert(*slow, staying);
            }
        }
        groups
    }

    /// The blocks of the faster group with `block` among them, if that saves anything.
    fn ride(&self, block: &Block, slow: Duration, fast: Duration, group: &[Block]) -> Option<Ride> {
        let gap = u32::from(self.link.max_gap);
        let near = |other: &Block| block.from <= other.to + gap && other.from <= block.to + gap;
        if !group.iter().any(near) {
            return None;
        }
        let points = group.iter().chain([block]).flat_map(|block| block.stretches.iter().cloned());
        let blocks = self.cheapest(points.collect());
        let before = share(group, fast) + share(std::slice::from_ref(block), slow);
        let saved = before - share(&blocks, fast);
        (saved > NO_SAVING).then_some(Ride { every: fast, blocks, saved })
    }
}

/// A faster group that takes a block along, and which share of the line that saves.
struct Ride {
    every: Duration,
    blocks: Vec<Block>,
    saved: f64,
}

/// Whether everything in `block` is still read on its own beat when it is read every `fast`, and not much too often.
fn may_ride(block: &Block, fast: Duration) -> bool {
    let in_step = |every: Duration| {
        fast > Duration::ZERO
            && every.as_nanos().is_multiple_of(fast.as_nanos())
            && every <= fast * MOST_TIMES_TOO_OFTEN
    };
    block.stretches.iter().all(|stretch| in_step(stretch.every))
}

/// The share of the line that these take, read every so often.
fn share(blocks: &[Block], every: Duration) -> f64 {
    blocks.iter().map(|block| block.cost.as_secs_f64() / every.as_secs_f64()).sum()
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
