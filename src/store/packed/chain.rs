//! The rows of one device in the tail, each as the difference to the one before. A *section* is some of them together.

use jiff::Timestamp;

use super::{
    Unreadable,
    batch::RowRef,
    bits::{BitReader, BitWriter},
    cell::Cell,
    column::{Clock, Column, ROW_MAX_SAMPLES, Shapes, TEXT_MAX_BYTES},
};
use crate::store::outbox::cut;

/// A chain begins anew after so many rows: what damage to one of its sections may cost.
const CHAIN_ROWS: u32 = 256;
/// A section is closed once it has so many samples, so that most fit into what is left of a slot.
const SECTION_SAMPLES: usize = 1024;
/// More than any section has: the last row of one may be of any size.
const SECTION_MAX_SAMPLES: usize = SECTION_SAMPLES + ROW_MAX_SAMPLES;

/// What the writer and the reader of a device's rows know after each of them.
#[derive(Default)]
pub struct Chain {
    clock: Clock,
    shapes: Shapes,
    columns: Vec<Column>,
    rows: u32,
    /// Of the section that comes next; 0 begins the chain.
    place: u64,
}

/// Rows written: the place in the chain, and the bits.
pub struct Section {
    pub place: u64,
    pub rows: u64,
    pub bits: Vec<u8>,
}

/// Who wants the rows of sections.
pub trait Reaper {
    fn row(&mut self, at_ms: i64, points: &[u16]);
    /// The row's samples in its order. `word` knows what a text's cell means.
    fn cell(&mut self, point: u16, cell: Cell, column: &Column);
}

impl Chain {
    /// As many of `rows` as belong into one section; there is at least one.
    pub fn put<'a>(&mut self, rows: &mut impl Iterator<Item = RowRef<'a>>) -> Section {
        if self.rows >= CHAIN_ROWS {
            *self = Chain::default();
        }
        let (mut out, mut samples, mut count) = (BitWriter::default(), 0, 0);
        while (count == 0 || samples < SECTION_SAMPLES)
            && let Some(row) = rows.next()
        {
            self.put_row(&mut out, row.cut(ROW_MAX_SAMPLES));
            samples += row.points.len().max(1);
            count += 1;
        }
        let section = Section { place: self.place, rows: count, bits: out.finish() };
        self.place += 1;
        self.rows += count as u32;
        section
    }

    fn put_row(&mut self, out: &mut BitWriter, row: RowRef<'_>) {
        self.clock.put(out, row.at_ms);
        self.shapes.put(out, row.points);
        if self.is_still(row) {
            return out.put(1, 1);
        }
        out.put(0, 1);
        for (point, cell) in row.cells() {
            let column = column(&mut self.columns, point);
            match cell.kind.is_text() {
                false => column.put_plain(out, cell, ""),
                true => column.put_plain(out, cell, cut(row.text(cell), TEXT_MAX_BYTES)),
            }
        }
    }

    /// Nothing has changed. Most rows that have show it with one of their first samples.
    fn is_still(&self, row: RowRef<'_>) -> bool {
        row.cells().all(|(point, cell)| {
            let column = self.columns.get(usize::from(point));
            column.is_some_and(|column| column.came_before(cell, || cut(row.text(cell), TEXT_MAX_BYTES)))
        })
    }

    /// Whether a section of this place can be read after those that were.
    pub fn awaits(&self, place: u64) -> bool {
        place == 0 || place == self.place
    }

    pub fn take(
        &mut self,
        place: u64,
        rows: u64,
        bits: &[u8],
        reaper: &mut impl Reaper,
    ) -> Result<(), Unreadable> {
        if place == 0 {
            *self = Chain::default();
        }
        let (mut bits, mut samples) = (BitReader::new(bits), 0);
        for _ in 0..rows {
            samples += self.take_row(&mut bits, reaper)?;
            if samples > SECTION_MAX_SAMPLES {
                return Err(bits.lost());
            }
        }
        self.place = place + 1;
        Ok(())
    }

    fn take_row(&mut self, bits: &mut BitReader, reaper: &mut impl Reaper) -> Result<usize, Unreadable> {
        let at_ms = self.clock.take(bits)?;
        if Timestamp::from_millisecond(at_ms).is_err() {
            return Err(bits.lost());
        }
        let shape = self.shapes.take(bits)?;
        let still = bits.flag()?;
        reaper.row(at_ms, &shape);
        for point in &*shape {
            let column = column(&mut self.columns, *point);
            let cell = if still { column.stand() } else { column.take(bits)? };
            reaper.cell(*point, cell, column);
        }
        Ok(shape.len())
    }
}

#[inline]
fn column(columns: &mut Vec<Column>, point: u16) -> &mut Column {
    let at = usize::from(point);
    if at >= columns.len() {
        columns.resize_with(at + 1, Column::default);
    }
    &mut columns[at]
}
