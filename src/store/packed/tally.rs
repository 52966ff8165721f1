//! What the good readings of an hour or a day come to.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use super::{
    cell::{Cell, Form, Kind},
    chain::Reaper,
    column::Column,
};
use crate::domain::{PointIx, Sample, Value};

const HOUR_MS: i64 = 3_600_000;

/// The stretches that readings are summed up over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Hour,
    /// Of the site's calendar.
    Day,
}

/// Where hours and days begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar(pub TimeZone);

impl Calendar {
    pub fn around(&self, span: Span, at_ms: i64) -> Range<i64> {
        let found = match span {
            Span::Hour => self.hour(at_ms),
            Span::Day => self.day(at_ms),
        };
        // The ends of time have no calendar.
        found.unwrap_or(at_ms..at_ms.saturating_add(1))
    }

    /// By the clock on the wall, also where that is not a whole hour from Greenwich's.
    fn hour(&self, at_ms: i64) -> Option<Range<i64>> {
        let at = Timestamp::from_millisecond(at_ms).ok()?;
        let ahead_ms = i64::from(self.0.to_offset(at).seconds()) * 1000;
        let from = at_ms - (at_ms + ahead_ms).rem_euclid(HOUR_MS);
        Some(from..from + HOUR_MS)
    }

    fn day(&self, at_ms: i64) -> Option<Range<i64>> {
        let start = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(self.0.clone()).start_of_day().ok()?;
        let next = start.checked_add(1.day()).ok()?.start_of_day().ok()?;
        Some(start.timestamp().as_millisecond()..next.timestamp().as_millisecond())
    }
}

/// Of one point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Good readings; nothing else counts.
    pub count: u64,
    /// Of numbers; `total` of flags too: how many were true.
    pub range: Option<(f64, f64)>,
    pub total: Option<f64>,
    pub last: Option<Value>,
    pub last_ms: i64,
}

/// The same while readings are added to it.
#[derive(Clone)]
struct Counting {
    count: u64,
    /// Of them.
    numbers: u64,
    flags: u64,
    low: f64,
    high: f64,
    total: f64,
    last: Cell,
    last_ms: i64,
    word: Option<Arc<str>>,
}

impl Default for Counting {
    fn default() -> Self {
        let last = Cell { kind: Kind::default(), number: 0 };
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { count: 0, numbers: 0, flags: 0, low, high, total: 0.0, last, last_ms: i64::MIN, word: None }
    }
}

impl Counting {
    #[inline]
    fn add(&mut self, at_ms: i64, cell: Cell, word: impl FnOnce() -> Option<Arc<str>>) {
        if !cell.kind.is_good() {
            return;
        }
        let is_latest = at_ms >= self.last_ms;
        match cell.kind.form() {
            Form::Number => {
                let Some(value) = cell.value() else { return };
                (self.low, self.high) = (self.low.min(value), self.high.max(value));
                self.total += value;
                self.numbers += 1;
            }
            Form::Flag => {
                self.total += cell.number as f64;
                self.flags += 1;
            }
            Form::Text if is_latest => self.word = word(),
            Form::Text | Form::Missing => {}
        }
        self.count += 1;
        if is_latest {
            (self.last, self.last_ms) = (cell, at_ms);
        }
    }

    /// The same for each of many, one after the other.
    fn add_all(&mut self, times: &[i64], cells: &[Cell], words: &[Arc<str>]) {
        let rising = times.first().is_some_and(|first| *first >= self.last_ms) && times.is_sorted();
        let kind = cells.first().map_or(Kind::default(), |cell| cell.kind);
        let alike = kind.is_good() && cells.iter().all(|cell| cell.kind == kind);
        // Nearly every column is like this.
        if let (true, true, Form::Number, [.., last_ms], [.., last]) =
            (rising, alike, kind.form(), times, cells)
        {
            let (mut low, mut high, mut total) = (self.low, self.high, self.total);
            for value in cells.iter().filter_map(|cell| cell.value()) {
                (low, high) = (low.min(value), high.max(value));
                total += value;
                self.numbers += 1;
                self.count += 1;
            }
            (self.low, self.high, self.total) = (low, high, total);
            (self.last, self.last_ms) = (*last, *last_ms);
            return;
        }
        for (at_ms, cell) in times.iter().zip(cells) {
            let word = || words.get(usize::try_from(cell.number).ok()?).cloned();
            self.add(*at_ms, *cell, word);
        }
    }

    fn finish(&self) -> Tally {
        let last = self.last.sample(|| self.word.clone()).and_then(|sample| sample.value().cloned());
        Tally {
            count: self.count,
            range: (self.numbers > 0).then_some((self.low, self.high)),
            total: (self.numbers + self.flags > 0).then_some(self.total),
            last: last.filter(|_| self.count > 0),
            last_ms: if self.count > 0 { self.last_ms } else { 0 },
        }
    }
}

impl Tally {
    pub fn merge(&mut self, more: &Tally) {
        if more.count == 0 {
            return;
        }
        if self.count == 0 || more.last_ms >= self.last_ms {
            (self.last, self.last_ms) = (more.last.clone(), more.last_ms);
        }
        self.count += more.count;
        self.range = match (self.range, more.range) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
        self.total = match (self.total, more.total) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
    }
}

/// The tallies of one device, by where their span begins.
pub struct Tallies {
    calendar: Calendar,
    span: Span,
    done: BTreeMap<i64, Vec<Tally>>,
    /// Where the latest row falls, and its tallies by point.
    around: Range<i64>,
    open: Vec<Counting>,
    at_ms: i64,
}

impl Tallies {
    pub fn new(calendar: Calendar, span: Span) -> Self {
        Self { calendar, span, done: BTreeMap::new(), around: 0..0, open: Vec::new(), at_ms: 0 }
    }

    /// What there is, and begins anew.
    pub fn take(&mut self) -> BTreeMap<i64, Vec<Tally>> {
        self.turn_to(0..0);
        std::mem::take(&mut self.done)
    }

    fn turn_to(&mut self, around: Range<i64>) {
        if !self.open.is_empty() {
            let open: Vec<_> = self.open.iter().map(Counting::finish).collect();
            merge_all(self.done.entry(self.around.start).or_default(), &open);
            self.open.clear();
        }
        self.around = around;
    }

    #[inline]
    fn counting(&mut self, point: u16) -> &mut Counting {
        let at = usize::from(point);
        if at >= self.open.len() {
            self.open.resize_with(at + 1, Counting::default);
        }
        &mut self.open[at]
    }

    fn begin(&mut self, at_ms: i64) {
        self.at_ms = at_ms;
        if !self.around.contains(&at_ms) {
            self.turn_to(self.calendar.around(self.span, at_ms));
        }
    }

    /// Rows that all have these points: column after column, the words of texts by their place in `words`.
    pub(super) fn add_columns<'a>(
        &mut self,
        times: &[i64],
        columns: impl Iterator<Item = (u16, &'a [Cell])> + Clone,
        words: &[Arc<str>],
    ) {
        let mut rest = 0..times.len();
        while let Some(first) = times.get(rest.start) {
            self.begin(*first);
            let inside = times[rest.clone()].iter().take_while(|at_ms| self.around.contains(at_ms)).count();
            let span = rest.start..rest.start + inside.max(1);
            for (point, cells) in columns.clone() {
                self.counting(point).add_all(&times[span.clone()], &cells[span.clone()], words);
            }
            rest.start = span.end;
        }
    }

    /// A sample that stands by itself.
    pub fn add(&mut self, at_ms: i64, point: PointIx, sample: &Sample) {
        self.begin(at_ms);
        let (cell, text) = Cell::plain(sample);
        self.counting(point.0).add(at_ms, cell, || text.cloned());
    }
}

pub fn merge_all(into: &mut Vec<Tally>, more: &[Tally]) {
    if into.len() < more.len() {
        into.resize_with(more.len(), Tally::default);
    }
    into.iter_mut().zip(more).for_each(|(into, more)| into.merge(more));
}

impl Reaper for Tallies {
    fn row(&mut self, at_ms: i64, _points: &[u16]) {
        self.begin(at_ms);
    }

    #[inline]
    fn cell(&mut self, point: u16, cell: Cell, column: &Column) {
        let at_ms = self.at_ms;
        self.counting(point).add(at_ms, cell, || column.word(cell.number));
    }
}
