//! From points to requests. Pure.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    blocks::{self, blocks},
    cost::LineCost,
};
use crate::{
    domain::{PointIx, Table},
    profile::{ClassAlarm, Dlt645Item, Link, Profile, Read, SerialLink, SerialRequest},
};

/// One question to one device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// `count` registers (or bits) of `table` from `first` on.
    Block { table: Table, first: u16, count: u16 },
    /// The profile's serial request of that number, or its DL/T 645 item.
    Frame { request: u16 },
}

/// A question, the points it answers, and how often it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub ask: Ask,
    pub points: Arc<[PointIx]>,
    pub every: Duration,
}

/// A point as the plan sees it: where its raw value stands, and how often it is wanted.
pub(super) struct Wanted<'a> {
    pub point: PointIx,
    pub read: &'a Read,
    pub every: Duration,
}

fn wanted(profile: &Profile) -> Vec<Wanted<'_>> {
    let points = (0u16..).zip(&profile.points);
    points.map(|(ix, point)| Wanted { point: PointIx(ix), read: &point.read, every: point.every }).collect()
}

/// All that a device of this profile is asked on such a line. MQTT devices are asked nothing.
pub fn requests(profile: &Profile, line: &LineCost) -> Vec<Request> {
    match &profile.link {
        Link::Modbus(link) => blocks(&wanted(profile), &profile.link, link, line),
        Link::Serial(link) => serial_requests(&wanted(profile), link),
        Link::Dlt645(link) => meter_requests(&wanted(profile), &link.items),
        Link::Mqtt(_) => Vec::new(),
    }
}

/// The points of each serial frame: of the requests, then of the events. Of each item of a meter.
pub fn frames(profile: &Profile) -> Vec<Arc<[PointIx]>> {
    match &profile.link {
        Link::Serial(link) => {
            let frames = link.requests.len() + link.events.len();
            (0u16..).take(frames).map(|frame| points_in_frame(&wanted(profile), frame)).collect()
        }
        Link::Dlt645(link) => {
            (0u16..).zip(&link.items).map(|(item, _)| points_in_frame(&wanted(profile), item)).collect()
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
    let Link::Modbus(link) = &profile.link else { return None };
    let places = points.iter().filter_map(|point| match profile.points.get(usize::from(point.0))?.read {
        Read::Modbus { table, address, span } => {
            Some((table, u32::from(address), u32::from(address) + u32::from(span.max(1))))
        }
        Read::Serial { .. } | Read::Mqtt | Read::Reckoned => None,
    });
    let (table, from, to) = places
        .reduce(|(table, from, to), (_, first, end)| (table, from.min(first), to.max(end.min(0x1_0000))))?;
    Some(blocks::ask(table, from, to, link))
}

/// The points of this product that alarms of its class watch. A condition that cannot be read watches none: its class was refused before.
pub fn watched(profile: &Profile) -> BTreeSet<PointIx> {
    let names = profile.class.alarms.iter().flat_map(ClassAlarm::points_named);
    names.filter_map(|name| profile.point(&name)).collect()
}

/// Whether alarms wait for the answer to this: it has points that they watch, or may bring an event that has.
pub fn is_for_alarms(profile: &Profile, request: &Request, watched: &BTreeSet<PointIx>) -> bool {
    let events = match (&request.ask, &profile.link) {
        (Ask::Frame { request }, Link::Serial(link)) => {
            let numbered = (link.requests.len() as u16..).zip(&link.events);
            numbered.filter(|(_, event)| event.answers.contains(request)).map(|(frame, _)| frame).collect()
        }
        (
            Ask::Frame { .. } | Ask::Block { .. },
            Link::Modbus(_) | Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_),
        ) => Vec::new(),
    };
    let wanted = wanted(profile);
    let mut heard = events.into_iter().flat_map(|frame| points_in_frame(&wanted, frame).to_vec());
    request.points.iter().any(|point| watched.contains(point)) || heard.any(|point| watched.contains(&point))
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

fn meter_requests(wanted: &[Wanted<'_>], items: &[Dlt645Item]) -> Vec<Request> {
    let ask = |(item, asked): (u16, &Dlt645Item)| Request {
        ask: Ask::Frame { request: item },
        points: points_in_frame(wanted, item),
        every: asked.every,
    };
    (0u16..).zip(items).map(ask).collect()
}

fn points_in_frame(wanted: &[Wanted<'_>], frame: u16) -> Arc<[PointIx]> {
    let stands_there =
        |wanted: &&Wanted<'_>| matches!(wanted.read, Read::Serial { frame: its } if *its == frame);
    wanted.iter().filter(stands_there).map(|wanted| wanted.point).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
