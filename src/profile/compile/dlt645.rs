//! `[dlt645]` and the points behind it: each is read from one data identifier.

use std::time::Duration;

use super::{
    Check,
    point::{DEFAULT_EVERY, Found, form, is_bcd, is_text, width},
};
use crate::{
    at,
    profile::{
        Class, Dlt645Item, Dlt645Link, Link, Read,
        decode::Decoder,
        plan::{Pick, Take, Wire},
        product::Point,
        schema::{Dlt645File, PointFile},
    },
    text,
};

/// Meters may think about an answer for long: a passive optocoupler line with a slow display driver behind it.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(800);
const DEFAULT_RETRIES: u8 = 1;
const DEFAULT_TURNAROUND: Duration = Duration::from_millis(30);
/// What meters and masters of independent make put in front (captured from the package `dlt645` 3.2.0).
const DEFAULT_WAKEUP: u8 = 4;
/// The length field is one byte, the identifier takes four of it.
const MOST_DATA: u16 = 251;
/// A value is taken from eight bytes at most.
const MOST_BCD: u16 = 8;
const READ_KEYS: [&str; 5] = ["item", "at", "type", "bits", "length"];

impl Check<'_> {
    pub(super) fn dlt645(
        &mut self,
        file: &Dlt645File,
        points: &[PointFile],
        class: &Class,
    ) -> (Link, Decoder, Vec<Point>) {
        let mut items = Vec::new();
        let points = self.points(points, class, |check, i, point| check.dlt645_point(i, point, &mut items));
        let link = Dlt645Link {
            items,
            wakeup: file.wakeup.unwrap_or(DEFAULT_WAKEUP),
            timeout: self.period(at!["dlt645", "timeout"], file.timeout, DEFAULT_TIMEOUT),
            retries: file.retries.unwrap_or(DEFAULT_RETRIES),
            turnaround: file.turnaround.map_or(DEFAULT_TURNAROUND, Duration::from),
        };
        (Link::Dlt645(link), Decoder::Frames, points)
    }

    /// Points of one identifier share one request, as often as the most eager of them wants it.
    fn dlt645_point(&mut self, i: usize, file: &PointFile, items: &mut Vec<Dlt645Item>) -> Option<Found> {
        self.special_keys(i, file, &["every"]);
        let every = self.period(at!["point", i, "every"], file.every, DEFAULT_EVERY);
        if !self.read_keys(at!["point", i, "read"], &file.read, &READ_KEYS, &["item", "type"]) {
            return None;
        }
        let id = file.read.item.as_ref()?.0;
        let (at, len, wire) = self.dlt645_value(i, file)?;
        let end = at + len;
        let place = items.iter().position(|item| item.id == id).unwrap_or_else(|| {
            items.push(Dlt645Item { id, every, length: end });
            items.len() - 1
        });
        let item = &mut items[place];
        item.every = item.every.min(every);
        item.length = item.length.max(end);
        let take = Take::Bytes { at: i32::from(at), len: usize::from(len), wire, little: true, when: None };
        Some(Found { read: Read::Serial { frame: u16::try_from(place).ok()? }, take, every })
    }

    /// Where the value stands in the data, how many bytes it has and what they mean.
    fn dlt645_value(&mut self, i: usize, file: &PointFile) -> Option<(u16, u16, Wire)> {
        let (of, read, kind) = (at!["point", i, "read"], &file.read, file.read.kind?);
        if is_text(kind) {
            let told = text!(
                "[dlt645] 的值是 bcd、bcd_signed 或整数",
                "values of [dlt645] are `bcd`, `bcd_signed` or whole numbers"
            );
            self.error(at!["point", i, "read", "type"], told);
            return None;
        }
        let (len, wire) = if is_bcd(kind) {
            let len = self.bcd_length(i, file)?;
            let form = form(kind).ok()?;
            if file.read.bits.is_some() {
                let told = text!("bcd 没有 bits", "a `bcd` has no bits");
                self.key_error(at!["point", i, "read", "bits"], told);
            }
            (len, Wire::Whole { pick: Pick::all(8 * u8::try_from(len).ok()?), form })
        } else {
            self.text_length(of, read, kind);
            (u16::from(width(kind) / 8), self.wire(of, read, kind, width(kind))?)
        };
        let at = u16::try_from(read.at.unwrap_or(0)).ok().filter(|at| at.saturating_add(len) <= MOST_DATA);
        if at.is_none() {
            let told = text!(
                "at 从 0 数起，整个值要在 {MOST_DATA} 字节之内",
                "`at` counts from 0, and the whole value lies within {MOST_DATA} bytes"
            );
            self.error(at!["point", i, "read", "at"], told);
        }
        Some((at?, len, wire))
    }

    fn bcd_length(&mut self, i: usize, file: &PointFile) -> Option<u16> {
        let length = file.read.length.filter(|length| (1..=MOST_BCD).contains(length));
        if length.is_none() {
            let told = text!(
                "bcd 要写 length：1 到 {MOST_BCD} 个字节，例如 XXX.X 是 2",
                "a `bcd` needs its `length`, 1 to {MOST_BCD} bytes: XXX.X has 2"
            );
            match file.read.length {
                Some(_) => self.error(at!["point", i, "read", "length"], told),
                None => self.error(at!["point", i, "read"], told),
            }
        }
        length
    }
}
