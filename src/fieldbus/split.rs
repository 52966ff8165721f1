//! A block that a device refuses may hold one register that it does not have: its points are asked for in parts. Pure.

use super::plan::{self, Request};
use crate::{
    domain::PointIx,
    profile::{Dialect, Link, Profile, Read},
};

/// Illegal data address, illegal data value (Modbus Application Protocol V1.1b3, section 7): said of what was asked, not of how the
/// device is.
const OF_WHAT_WAS_ASKED: [u16; 2] = [2, 3];

/// Whether `code` says that something in the block is not there, or that the block is too large.
pub fn is_about_the_block(link: &Link, code: u16) -> bool {
    match link {
        Link::Modbus(link) => link.dialect == Dialect::Standard && OF_WHAT_WAS_ASKED.contains(&code),
        Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_) => false,
    }
}

/// The request in two, each with half of its points; `None` if it has one place only.
pub fn halves(request: &Request, profile: &Profile) -> Option<[Request; 2]> {
    let mut points: Vec<(u16, PointIx)> =
        request.points.iter().filter_map(|&point| Some((address(profile, point)?, point))).collect();
    points.sort();
    let middle = points.get(points.len() / 2)?.0;
    // points that share a register go together
    let at = match points.partition_point(|(address, _)| *address < middle) {
        0 => points.partition_point(|(address, _)| *address <= middle),
        at => at,
    };
    let (low, high) = points.split_at(at);
    Some([part(low, request, profile)?, part(high, request, profile)?])
}

fn part(points: &[(u16, PointIx)], of: &Request, profile: &Profile) -> Option<Request> {
    let points: Vec<PointIx> = points.iter().map(|(_, point)| *point).collect();
    let ask = plan::block_of(&points, profile)?;
    Some(Request { ask, points: points.into(), every: of.every })
}

fn address(profile: &Profile, point: PointIx) -> Option<u16> {
    match profile.points.get(usize::from(point.0))?.read {
        Read::Modbus { address, .. } => Some(address),
        Read::Serial { .. } | Read::Mqtt | Read::Reckoned => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::Table,
        fieldbus::{
            fixtures::{modbus_link, registers},
            plan::Ask,
        },
    };

    fn blocks(addresses: &[u16]) -> Vec<(u16, u16, usize)> {
        let reads: Vec<_> = addresses.iter().map(|&address| (address, Duration::from_secs(1))).collect();
        let profile = registers(modbus_link(), &reads);
        let points: Vec<PointIx> = profile.all_points().collect();
        let whole = Request {
            ask: plan::block_of(&points, &profile).unwrap(),
            points: points.into(),
            every: Duration::from_secs(1),
        };
        let halves = halves(&whole, &profile).into_iter().flatten();
        halves
            .map(|half| match half.ask {
                Ask::Block { table: Table::Holding, first, count } => (first, count, half.points.len()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_block_is_halved_by_its_points_down_to_single_registers() {
        for (addresses, want) in [
            (&[10, 11, 12, 13][..], vec![(10, 2, 2), (12, 2, 2)]),
            (&[13, 10, 11], vec![(10, 1, 1), (11, 3, 2)]),
            (&[10, 40], vec![(10, 1, 1), (40, 1, 1)]),
            (&[10, 10, 11], vec![(10, 1, 2), (11, 1, 1)]),
            (&[10, 11, 11], vec![(10, 1, 1), (11, 1, 2)]),
            (&[10, 10], vec![]),
            (&[10], vec![]),
        ] {
            assert_eq!(blocks(addresses), want, "{addresses:?}");
        }
    }
}
