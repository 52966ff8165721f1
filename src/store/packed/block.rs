//! Some minutes of one device: one column of times, one column a point.
//!
//! ```text
//! block  = 2  rows  length of the times  length of the shapes  columns  { point  length }*   each a varint
//!          times  shapes  column*
//! column = 0  cell*                 each cell a step from the one before
//!        | 1  { still  cell }*      first how many stay as the one before, then one that does not
//! ```
//! A row's shape says which points it has, in its order; columns begin at whole bytes, so that one is read without the others.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    SAMPLES_MAX, Unreadable,
    bits::{BitReader, BitWriter, Spread},
    cell::Cell,
    chain::Reaper,
    column::{Clock, Column, ROW_MAX_SAMPLES, Shapes},
    tail::{put_varint, take_varint},
    tally::Tallies,
};
use crate::domain::{PointIx, Sample};

/// 1: what schema 2 wrote. 2: cells may be of any kind there is now.
const LAYOUTS: std::ops::RangeInclusive<u8> = 1..=2;
const LAYOUT: u8 = 2;
const ROWS_MAX: usize = 1 << 14;
/// A block never spans more than this, so whoever looks for a moment knows how far before it a block may begin.
pub const SPAN_MAX_MS: i64 = 4 * 3_600_000;

/// Rows of one device on their way into a block.
#[derive(Default)]
pub struct Gathering {
    times: Vec<i64>,
    shapes: Vec<Arc<[u16]>>,
    samples: usize,
    from_ms: i64,
    to_ms: i64,
    /// By point; a text's number is its place in `words`.
    columns: Vec<Vec<Cell>>,
    words: Vec<Arc<str>>,
}

/// A block and what is said beside it.
#[derive(Debug)]
pub struct Packed {
    pub from_ms: i64,
    pub to_ms: i64,
    pub rows: usize,
    pub bytes: Vec<u8>,
}

impl Gathering {
    /// Whether one more row belongs into the same block.
    pub fn takes(&self, at_ms: i64, points: usize) -> bool {
        let span = self.to_ms.max(at_ms).saturating_sub(self.from_ms.min(at_ms));
        self.times.is_empty()
            || (self.times.len() < ROWS_MAX && self.samples + points <= SAMPLES_MAX && span <= SPAN_MAX_MS)
    }

    /// Adds up what has been gathered.
    pub fn tally(&self, tallies: &mut Tallies) {
        let Some(shape) = self.shapes.first() else { return };
        // Each point once, and all rows alike: then a column has a cell for each row.
        let alike = self.shapes.iter().all(|other| Arc::ptr_eq(shape, other) || shape == other);
        if alike && shape.iter().all(|point| self.columns[usize::from(*point)].len() == self.times.len()) {
            let columns = shape.iter().map(|point| (*point, self.columns[usize::from(*point)].as_slice()));
            return tallies.add_columns(&self.times, columns, &self.words);
        }
        let mut places = vec![0; self.columns.len()];
        for (at_ms, shape) in self.times.iter().zip(&self.shapes) {
            for point in shape.iter().map(|point| usize::from(*point)) {
                let place = places[point]..places[point] + 1;
                let column = (point as u16, &self.columns[point][place]);
                tallies.add_columns(&[*at_ms], std::iter::once(column), &self.words);
                places[point] += 1;
            }
        }
    }

    /// What has been gathered, and begins anew; `None` if that is nothing.
    pub fn pack(&mut self) -> Option<Packed> {
        if self.times.is_empty() {
            return None;
        }
        let (mut times, mut clock) = (BitWriter::default(), Clock::default());
        self.times.iter().for_each(|at_ms| clock.put(&mut times, *at_ms));
        let (mut shapes, mut known) = (BitWriter::default(), Shapes::default());
        self.shapes.iter().for_each(|shape| known.put(&mut shapes, shape));
        let (times, shapes) = (times.finish(), shapes.finish());
        let columns: Vec<_> = (0u64..)
            .zip(&self.columns)
            .filter(|(_, cells)| !cells.is_empty())
            .map(|(point, cells)| (point, column(cells, &self.words)))
            .collect();
        let mut bytes = vec![LAYOUT];
        for number in [self.times.len(), times.len(), shapes.len(), columns.len()] {
            put_varint(&mut bytes, number as u64);
        }
        for (point, column) in &columns {
            put_varint(&mut bytes, *point);
            put_varint(&mut bytes, column.len() as u64);
        }
        bytes.extend_from_slice(&times);
        bytes.extend_from_slice(&shapes);
        columns.iter().for_each(|(_, column)| bytes.extend_from_slice(column));
        let packed = Packed { from_ms: self.from_ms, to_ms: self.to_ms, rows: self.times.len(), bytes };
        self.clear();
        Some(packed)
    }

    /// Keeps its memory.
    fn clear(&mut self) {
        self.times.clear();
        self.shapes.clear();
        self.columns.iter_mut().for_each(Vec::clear);
        self.words.clear();
        self.samples = 0;
    }

    fn intern(&mut self, word: Option<Arc<str>>) -> i64 {
        let Some(word) = word else { return -1 };
        let known = self.words.iter().rposition(|known| *known == word);
        known.unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        }) as i64
    }
}

impl Reaper for Gathering {
    fn row(&mut self, at_ms: i64, points: &[u16]) {
        if self.times.is_empty() {
            (self.from_ms, self.to_ms) = (at_ms, at_ms);
        }
        (self.from_ms, self.to_ms) = (self.from_ms.min(at_ms), self.to_ms.max(at_ms));
        self.times.push(at_ms);
        self.samples += points.len();
        match self.shapes.last().filter(|last| ***last == *points) {
            Some(same) => self.shapes.push(Arc::clone(same)),
            None => self.shapes.push(points.into()),
        }
    }

    #[inline]
    fn cell(&mut self, point: u16, mut cell: Cell, column: &Column) {
        if cell.kind.is_text() {
            cell.number = self.intern(column.word(cell.number));
        }
        let point = usize::from(point);
        if point >= self.columns.len() {
            self.columns.resize_with(point + 1, Vec::new);
        }
        self.columns[point].push(cell);
    }
}

fn column(cells: &[Cell], words: &[Arc<str>]) -> Vec<u8> {
    let still = cells.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let text = |cell: &Cell| match usize::try_from(cell.number).ok() {
        Some(at) if cell.kind.is_text() => words.get(at).map_or("", |word| &**word),
        _ => "",
    };
    let (mut out, mut column) = (BitWriter::after(Vec::with_capacity(cells.len() / 3)), Column::default());
    // Up to here stretches save nothing, and cost a branch each that nobody can foresee.
    if still * 5 < cells.len() * 3 {
        out.put(0, 1);
        cells.iter().for_each(|cell| column.put(&mut out, *cell, text(cell)));
        return out.finish();
    }
    out.put(1, 1);
    let mut stretches = Spread::default();
    let mut rest = cells;
    while !rest.is_empty() {
        let still = rest.iter().take_while(|cell| column.stands_at(**cell, text(cell))).count();
        stretches.put(&mut out, still as u64);
        if let Some(moved) = rest.get(still) {
            column.put_beyond(&mut out, *moved, text(moved), 1);
        }
        rest = &rest[rest.len().min(still + 1)..];
    }
    out.finish()
}

/// A block as it was stored.
pub struct Block<'a> {
    times: Vec<i64>,
    shapes: Vec<Arc<[u16]>>,
    columns: Vec<(u16, &'a [u8])>,
}

impl<'a> Block<'a> {
    /// # Errors
    /// `Unreadable` where the bytes stop making sense.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let lost = Unreadable { at: 0 };
        let (layout, mut rest) = bytes.split_first().ok_or(lost)?;
        let mut number =
            || take_varint(&mut rest).and_then(|number| usize::try_from(number).ok()).ok_or(lost);
        let [rows, times, shapes, columns] = [number()?, number()?, number()?, number()?];
        if !LAYOUTS.contains(layout) || rows > ROWS_MAX || columns > ROW_MAX_SAMPLES {
            return Err(lost);
        }
        let lengths: Vec<(usize, usize)> =
            (0..columns).map(|_| Ok((number()?, number()?))).collect::<Result<_, Unreadable>>()?;
        let mut cut = |length| {
            let (part, after) = rest.split_at_checked(length).ok_or(lost)?;
            rest = after;
            Ok(part)
        };
        let (times, shapes) = (cut(times)?, cut(shapes)?);
        let columns = lengths
            .into_iter()
            .map(|(point, length)| Ok((u16::try_from(point).map_err(|_| lost)?, cut(length)?)))
            .collect::<Result<_, Unreadable>>()?;
        Ok(Block { times: read_times(times, rows)?, shapes: read_shapes(shapes, rows)?, columns })
    }

    /// Hands over what the `wanted` points gave from `from_ms` to `to_ms` inclusive, row after row.
    ///
    /// # Errors
    /// `Unreadable` where a column stops making sense.
    pub fn read(
        &self,
        wanted: impl Fn(PointIx) -> bool,
        (from_ms, to_ms): (i64, i64),
        mut each: impl FnMut(i64, PointIx, Sample),
    ) -> Result<(), Unreadable> {
        let mut open: Vec<(u16, Cells)> = Vec::new();
        for (point, bits) in &self.columns {
            if wanted(PointIx(*point)) {
                open.push((*point, Cells::new(bits)?));
            }
        }
        // Rows of one shape mostly follow each other: which of its columns are open is found once for all of them.
        let (mut shape, mut places): (Option<&Arc<[u16]>>, Vec<usize>) = (None, Vec::new());
        for (at_ms, of) in self.times.iter().zip(&self.shapes) {
            if !shape.is_some_and(|shape| Arc::ptr_eq(shape, of)) {
                shape = Some(of);
                places.clear();
                for point in of.iter().filter(|point| wanted(PointIx(**point))) {
                    let place = open.binary_search_by_key(point, |(point, _)| *point);
                    places.push(place.map_err(|_| Unreadable { at: 0 })?);
                }
            }
            for place in &places {
                let (point, cells) = &mut open[*place];
                let cell = cells.next()?;
                if (from_ms..=to_ms).contains(at_ms) {
                    let sample = cell.sample(|| cells.column.word(cell.number));
                    each(*at_ms, PointIx(*point), sample.ok_or(cells.bits.lost())?);
                }
            }
        }
        Ok(())
    }
}

fn read_times(bytes: &[u8], rows: usize) -> Result<Vec<i64>, Unreadable> {
    let (mut bits, mut clock) = (BitReader::new(bytes), Clock::default());
    let time = |_| {
        clock.take(&mut bits).and_then(|at_ms| match Timestamp::from_millisecond(at_ms) {
            Ok(_) => Ok(at_ms),
            Err(_) => Err(bits.lost()),
        })
    };
    (0..rows).map(time).collect()
}

fn read_shapes(bytes: &[u8], rows: usize) -> Result<Vec<Arc<[u16]>>, Unreadable> {
    let (mut bits, mut known, mut samples) = (BitReader::new(bytes), Shapes::default(), 0);
    let mut shapes = Vec::new();
    for _ in 0..rows {
        let shape = known.take(&mut bits)?;
        samples += shape.len();
        if samples > SAMPLES_MAX {
            return Err(bits.lost());
        }
        shapes.push(shape);
    }
    Ok(shapes)
}

/// One column, cell after cell.
struct Cells<'a> {
    bits: BitReader<'a>,
    column: Column,
    stretches: Option<Spread>,
    still: u64,
}

impl<'a> Cells<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut bits = BitReader::new(bytes);
        let mut stretches = bits.flag()?.then(Spread::default);
        let still = stretches.as_mut().map_or(Ok(0), |stretches| stretches.take_step(&mut bits))?;
        Ok(Self { bits, column: Column::default(), stretches, still })
    }

    #[inline]
    fn next(&mut self) -> Result<Cell, Unreadable> {
        let Some(stretches) = &mut self.stretches else { return self.column.take(&mut self.bits) };
        if self.still > 0 {
            self.still -= 1;
            return Ok(self.column.stand());
        }
        let cell = self.column.take_beyond(&mut self.bits, 1)?;
        // After the last cell of a column nothing need follow.
        self.still = stretches.take_step(&mut self.bits).unwrap_or(0);
        Ok(cell)
    }
}
