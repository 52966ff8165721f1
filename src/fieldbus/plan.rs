//! From points to requests. Pure.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{PointIx, Table},
    profile::{Link, ModbusLink, Profile, Read, SerialLink, SerialRequest},
};

/// Most registers and bits that one Modbus read may ask for (Modbus Application Protocol V1.1b3, 6.1–6.4).
const MODBUS_MAX_REGISTERS: u32 = 125;
const MODBUS_MAX_BITS: u32 = 2000;

/// One question to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `count` registers (or bits) of `table` from `first` on.
    Block { table: Table, first: u16, count: u16 },
    /// The profile's serial request of that number.
    Frame { request: u16 },
}

impl Ask {
    /// What it costs the line, roughly, in bytes: a lost unit is probed with its cheapest.
    pub fn weight(&self) -> u32 {
        match self {
            Ask::Block { table: Table::Holding | Table::Input, count, .. } => 2 * u32::from(*count),
            Ask::Block { table: Table::Coil | Table::Discrete, count, .. } => u32::from(*count).div_ceil(8),
            Ask::Frame { .. } => 0,
        }
    }
}

/// A question, the points it answers, and how often it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub ask: Ask,
    pub points: Arc<[PointIx]>,
    pub every: Duration,
}

/// A point as the plan sees it: where its raw value stands, and how often it is wanted.
struct Wanted<'a> {
    point: PointIx,
    read: &'a Read,
    every: Duration,
}

fn wanted(profile: &Profile) -> Vec<Wanted<'_>> {
    let points = (0u16..).zip(&profile.points);
    points.map(|(ix, point)| Wanted { point: PointIx(ix), read: &point.read, every: point.every }).collect()
}

/// All that a device of this profile is asked. MQTT devices are asked nothing.
pub fn requests(profile: &Profile) -> Vec<Request> {
    match &profile.link {
        Link::Modbus(link) => blocks(&wanted(profile), link),
        Link::Serial(link) => serial_requests(&wanted(profile), link),
        Link::Mqtt(_) => Vec::new(),
    }
}

/// The points of each serial frame: of the requests, then of the events.
pub fn frames(profile: &Profile) -> Vec<Arc<[PointIx]>> {
    match &profile.link {
        Link::Serial(link) => {
            let frames = link.requests.len() + link.events.len();
            (0u16..).take(frames).map(|frame| points_in_frame(&wanted(profile), frame)).collect()
        }
        Link::Modbus(_) | Link::Mqtt(_) => Vec::new(),
    }
}

/// Every point of the profile.
pub fn all_points(profile: &Profile) -> Arc<[PointIx]> {
    (0u16..).zip(&profile.points).map(|(ix, _)| PointIx(ix)).collect()
}

/// The block that holds these points of one table; `None` where they are no registers.
pub fn block_of(points: &[PointIx], profile: &Profile) -> Option<Ask> {
    let places = points.iter().filter_map(|point| match profile.points.get(usize::from(point.0))?.read {
        Read::Modbus { table, address, span } => {
            Some((table, u32::from(address), u32::from(address) + u32::from(span.max(1))))
        }
        Read::Serial { .. } | Read::Mqtt => None,
    });
    let (table, from, to) = places
        .reduce(|(table, from, to), (_, first, end)| (table, from.min(first), to.max(end.min(0x1_0000))))?;
    Some(Ask::Block { table, first: from as u16, count: (to - from) as u16 })
}

fn serial_requests(wanted: &[Wanted<'_>], link: &SerialLink) -> Vec<Request> {
    let requests = (0u16..).zip(&link.requests);
    let ask = |(request, asked): (u16, &SerialRequest)| Request {
        ask: Ask::Frame { request },
        points: points_in_frame(wanted, request),
        every: asked.every,
    };
    requests.map(ask).collect()
}

fn points_in_frame(wanted: &[Wanted<'_>], frame: u16) -> Arc<[PointIx]> {
    let stands_there =
        |wanted: &&Wanted<'_>| matches!(wanted.read, Read::Serial { frame: its } if *its == frame);
    wanted.iter().filter(stands_there).map(|wanted| wanted.point).collect()
}

/// One point's place: `from..to` in a table, asked every so often.
struct Stretch {
    table: Table,
    every: Duration,
    from: u32,
    to: u32,
    point: PointIx,
}

fn blocks(wanted: &[Wanted<'_>], link: &ModbusLink) -> Vec<Request> {
    let mut stretches: Vec<Stretch> = wanted
        .iter()
        .filter_map(|wanted| match *wanted.read {
            Read::Modbus { table, address, span } => {
                let from = u32::from(address);
                // the table ends at 65535: what a point wants beyond it is not asked, so it decodes to an error
                let to = (from + u32::from(span.max(1))).min(0x1_0000);
                Some(Stretch { table, every: wanted.every, from, to, point: wanted.point })
            }
            Read::Serial { .. } | Read::Mqtt => None,
        })
        .collect();
    stretches.sort_by_key(|s| (s.every, table_order(s.table), s.from, s.to));

    let mut requests = Vec::new();
    let mut rest = stretches.as_slice();
    while let Some(first) = rest.first() {
        let (taken, end) = take_block(rest, link);
        requests.push(Request {
            ask: Ask::Block {
                table: first.table,
                first: first.from as u16,
                count: (end - first.from).min(u32::from(u16::MAX)) as u16,
            },
            points: rest[..taken].iter().map(|s| s.point).collect(),
            every: first.every,
        });
        rest = &rest[taken..];
    }
    requests
}

/// How many of `sorted` go into one request, and where that ends.
fn take_block(sorted: &[Stretch], link: &ModbusLink) -> (usize, u32) {
    let first = &sorted[0];
    let most = most_in_one_request(first.table, link);
    let mut end = first.to;
    let mut taken = 1;
    for next in &sorted[1..] {
        let joined = end.max(next.to);
        let near = next.from <= end + u32::from(link.max_gap);
        let same = next.table == first.table && next.every == first.every;
        if !(same && near && joined - first.from <= most) {
            break;
        }
        end = joined;
        taken += 1;
    }
    (taken, end)
}

fn most_in_one_request(table: Table, link: &ModbusLink) -> u32 {
    let registers = u32::from(link.max_registers.max(1));
    match table {
        Table::Holding | Table::Input => registers.min(MODBUS_MAX_REGISTERS),
        Table::Coil | Table::Discrete => (16 * registers).min(MODBUS_MAX_BITS),
    }
}

fn table_order(table: Table) -> u8 {
    match table {
        Table::Coil => 1,
        Table::Discrete => 2,
        Table::Holding => 3,
        Table::Input => 4,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
