//! Registers that two points cannot both be right about.

use super::Check;
use crate::{
    at,
    profile::{Read, product::Point, schema::PointFile},
    text,
};

impl Check<'_> {
    /// Two values without `bits` whose registers overlap and are not the same, and two bit ranges of the same registers
    /// of which neither holds the other: one of each pair is a slip.
    pub(super) fn overlaps(&mut self, points: &[Point], files: &[PointFile]) {
        for (n, later) in points.iter().enumerate() {
            let earlier = points[..n].iter().find(|earlier| clash(earlier, later, files));
            let i = files.iter().position(|file| file.name == later.name.as_str());
            if let (Some(earlier), Some(i)) = (earlier, i) {
                let name = &earlier.name;
                let told = text!(
                    "与测点 \"{name}\" 的寄存器部分重叠",
                    "overlaps the registers of \"{name}\" in part"
                );
                self.error(at!["point", i, "read"], told);
            }
        }
    }
}

fn clash(one: &Point, other: &Point, files: &[PointFile]) -> bool {
    let (Some((table, from, to)), Some((other_table, other_from, other_to))) =
        (registers(one), registers(other))
    else {
        return false;
    };
    if table != other_table || to <= other_from || other_to <= from {
        return false;
    }
    match (bits(one, files), bits(other, files)) {
        (None, None) => (from, to) != (other_from, other_to),
        (Some(one), Some(other)) if (from, to) == (other_from, other_to) => crossing(one, other),
        (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => false,
    }
}

fn registers(point: &Point) -> Option<(crate::domain::Table, u32, u32)> {
    match point.read {
        Read::Modbus { table, address, span } => {
            Some((table, u32::from(address), u32::from(address) + u32::from(span)))
        }
        Read::Serial { .. } | Read::Mqtt | Read::Reckoned => None,
    }
}

fn bits(point: &Point, files: &[PointFile]) -> Option<[u8; 2]> {
    let file = files.iter().find(|file| file.name == point.name.as_str())?;
    file.read.bits.as_ref().map(|bits| bits.0)
}

/// They share bits, and neither is a part of the other.
fn crossing([low, high]: [u8; 2], [other_low, other_high]: [u8; 2]) -> bool {
    let apart = high < other_low || other_high < low;
    let within = low >= other_low && high <= other_high;
    let around = low <= other_low && high >= other_high;
    !apart && !within && !around
}
