//! Rows of all devices on their way into the tail, close together: handing one over takes no memory of its own, and little of what
//! there is.

use std::{mem::size_of, sync::Arc};

use super::cell::{Cell, Kind};
use crate::domain::{PointIx, Sample};

#[derive(Default)]
pub struct Batch {
    rows: Vec<Row>,
    /// Of all rows, one after the other; as they came.
    points: Vec<u16>,
    kinds: Vec<Kind>,
    /// Of a text: its place in `words`.
    numbers: Vec<i64>,
    words: Vec<Arc<str>>,
    word_bytes: usize,
}

struct Row {
    at_ms: i64,
    device: u32,
    first: u32,
    count: u32,
}

/// One row as it is handed over.
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    pub at_ms: i64,
    pub points: &'a [u16],
    kinds: &'a [Kind],
    numbers: &'a [i64],
    words: &'a [Arc<str>],
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// What it takes while it waits.
    pub fn bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>()
            + self.points.len() * (size_of::<u16>() + size_of::<Kind>() + size_of::<i64>())
            + self.words.len() * size_of::<Arc<str>>()
            + self.word_bytes
    }

    pub fn newest_ms(&self) -> Option<i64> {
        self.rows.iter().map(|row| row.at_ms).max()
    }

    pub fn push(&mut self, device: u32, at_ms: i64, samples: &[(PointIx, Sample)]) {
        let (first, count) = (self.points.len() as u32, samples.len() as u32);
        self.rows.push(Row { at_ms, device, first, count });
        self.points.extend(samples.iter().map(|(point, _)| point.0));
        self.kinds.reserve(samples.len());
        self.numbers.reserve(samples.len());
        for (_, sample) in samples {
            let (mut cell, text) = Cell::plain(sample);
            if let Some(text) = text {
                cell.number = self.words.len() as i64;
                self.word_bytes += text.len();
                self.words.push(Arc::clone(text));
            }
            self.kinds.push(cell.kind);
            self.numbers.push(cell.number);
        }
    }

    /// Empty again, with the memory it has unless much of that was of no use this time.
    pub fn clear(&mut self) {
        if self.points.len() * 4 < self.points.capacity() {
            *self = Batch::default();
        }
        self.rows.clear();
        self.points.clear();
        self.kinds.clear();
        self.numbers.clear();
        self.words.clear();
        self.word_bytes = 0;
    }

    /// The rows' places: those of one device together, and in the order they came.
    pub fn by_device(&self) -> Vec<u32> {
        let mut places: Vec<u32> = (0..self.rows.len() as u32).collect();
        places.sort_by_key(|place| self.device(*place));
        places
    }

    pub fn device(&self, place: u32) -> u32 {
        self.rows[place as usize].device
    }

    pub fn row(&self, place: u32) -> RowRef<'_> {
        let Row { at_ms, first, count, .. } = self.rows[place as usize];
        let samples = first as usize..(first + count) as usize;
        RowRef {
            at_ms,
            points: &self.points[samples.clone()],
            kinds: &self.kinds[samples.clone()],
            numbers: &self.numbers[samples],
            words: &self.words,
        }
    }
}

impl<'a> RowRef<'a> {
    /// At most so many samples of it.
    pub fn cut(self, most: usize) -> Self {
        let most = self.points.len().min(most);
        Self {
            points: &self.points[..most],
            kinds: &self.kinds[..most],
            numbers: &self.numbers[..most],
            ..self
        }
    }

    /// Point after point, as they came.
    #[inline]
    pub fn cells(self) -> impl Iterator<Item = (u16, Cell)> + use<'a> {
        let cells = self.points.iter().zip(self.kinds).zip(self.numbers);
        cells.map(|((point, kind), number)| (*point, Cell { kind: *kind, number: *number }))
    }

    /// The text that a cell means, if it means one.
    pub fn text(self, cell: Cell) -> &'a str {
        match usize::try_from(cell.number) {
            Ok(place) if cell.kind.is_text() => self.words.get(place).map_or("", |word| word),
            Ok(_) | Err(_) => "",
        }
    }
}
