//! One stretch of a device's time: how much there is in it, and what is asked for of that; from blocks, from the tail, and from rows of
//! schema 1.

use rusqlite::{Connection, types::Type};
use tracing::debug;

use super::{
    packed::{
        Cell, Column,
        block::SPAN_MAX_MS,
        chain::Reaper,
        tail::{self, Link},
    },
    packer, patrol,
    readings::Series,
    samples,
};
use crate::domain::{PointIx, Sample};

/// The stretch of time one look takes at most …
const LOOK_MS: i64 = 86_400_000;
/// … halved, so often at most, while it has more samples than this: a look stays short, and its memory small. Between two looks
/// nothing is held, so whoever reads slowly does not hold up the checkpoints.
const LOOK_SAMPLES: i64 = 100_000;
const HALVINGS: usize = 18;

/// One sample of a look.
pub(super) struct Found {
    pub at_ms: i64,
    /// Its place among the series; the latest is the first.
    pub series: usize,
    pub point: PointIx,
    pub sample: Sample,
}

/// How much there is after a moment, so that a look is neither empty nor too large.
pub(super) struct Survey {
    from_ms: i64,
    /// Asked for, of the series that is looked at.
    pub points: i64,
    /// Samples before `from_ms` + `LOOK_MS` ÷ 2ⁿ.
    samples: [i64; HALVINGS],
    /// When the first row is that is not within `LOOK_MS`.
    pub first_beyond: Option<i64>,
}

impl Survey {
    pub fn new(from_ms: i64) -> Self {
        Self { from_ms, points: 0, samples: [0; HALVINGS], first_beyond: None }
    }

    fn add(&mut self, at_ms: i64, samples: i64) {
        if at_ms < self.from_ms {
            return;
        }
        let after_ms = at_ms.saturating_sub(self.from_ms);
        if after_ms >= LOOK_MS {
            self.first_beyond = Some(self.first_beyond.map_or(at_ms, |first| first.min(at_ms)));
        }
        let within = self.samples.iter_mut().enumerate().take_while(|(n, _)| after_ms < LOOK_MS >> n);
        within.for_each(|(_, count)| *count = count.saturating_add(samples));
    }

    /// As if a block's samples were spread evenly over its time.
    fn add_spread(&mut self, from_ms: i64, to_ms: i64, samples: i64) {
        let begin = from_ms.max(self.from_ms);
        self.add(begin, samples.min(1));
        let whole = to_ms.saturating_sub(from_ms).max(1);
        for (n, count) in self.samples.iter_mut().enumerate() {
            let end = self.from_ms.saturating_add(LOOK_MS >> n).min(to_ms);
            let within = end.saturating_sub(begin).max(0);
            *count = count.saturating_add((samples as f64 * within as f64 / whole as f64) as i64);
        }
    }

    /// The longest that is not too much, or the shortest; `None` if there is nothing in the longest.
    pub fn stretch(&self) -> Option<i64> {
        let fits = self.samples.iter().position(|count| *count <= LOOK_SAMPLES).unwrap_or(HALVINGS - 1);
        (self.samples[0] > 0).then_some(LOOK_MS >> fits)
    }

    pub fn rows(&mut self, conn: &Connection, series: i64) -> rusqlite::Result<()> {
        let mut times = conn.prepare_cached(
            "SELECT at_ms FROM row INDEXED BY row_at WHERE at_ms >= ?1 AND series = ?2 ORDER BY at_ms",
        )?;
        let mut times = times.query([self.from_ms, series])?;
        let mut seen = 0;
        while let Some(row) = times.next()? {
            let at_ms: i64 = row.get(0)?;
            // What follows is not counted one by one: nothing so far can be looked at in one go.
            seen += self.points;
            self.add(at_ms, if seen > LOOK_SAMPLES { LOOK_SAMPLES } else { self.points });
            if seen > LOOK_SAMPLES || self.first_beyond.is_some_and(|first| first <= at_ms) {
                break;
            }
        }
        Ok(())
    }

    pub fn blocks(&mut self, conn: &Connection, series: i64) -> rusqlite::Result<()> {
        let mut blocks = conn.prepare_cached(
            "SELECT from_ms, rows, to_ms FROM block WHERE from_ms > ?1 AND to_ms >= ?2 AND series = ?3 ORDER BY from_ms",
        )?;
        let from_ms = self.from_ms;
        let mut blocks = blocks.query([from_ms.saturating_sub(SPAN_MAX_MS), from_ms, series])?;
        while let Some(row) = blocks.next()? {
            let (at_ms, rows): (i64, i64) = (row.get(0)?, row.get(1)?);
            self.add_spread(at_ms, row.get(2)?, rows.saturating_mul(self.points));
            if self.first_beyond.is_some_and(|first| first <= at_ms) {
                break;
            }
        }
        Ok(())
    }
}

impl Reaper for Survey {
    fn row(&mut self, at_ms: i64, _points: &[u16]) {
        self.add(at_ms, self.points);
    }

    fn cell(&mut self, _point: u16, _cell: Cell, _column: &Column) {}
}

/// Takes from a stretch of time what is asked for.
pub(super) struct Picking<'a> {
    /// Its place among the series of the device.
    pub series: usize,
    pub of: &'a Series,
    pub from_ms: i64,
    pub until_ms: i64,
    /// Of the row at hand.
    pub at_ms: i64,
    pub page: &'a mut Vec<Found>,
}

impl Picking<'_> {
    fn add(&mut self, at_ms: i64, point: PointIx, sample: Sample) {
        self.page.push(Found { at_ms, series: self.series, point, sample });
    }

    pub fn rows(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut rows = conn.prepare_cached(
            "SELECT at_ms, samples FROM row WHERE at_ms BETWEEN ?1 AND ?2 AND series = ?3 ORDER BY at_ms, seq",
        )?;
        let mut rows = rows.query([self.from_ms, self.until_ms, self.of.id])?;
        while let Some(row) = rows.next()? {
            let at_ms = row.get(0)?;
            for (point, sample) in samples::decode(row.get_ref(1)?.as_blob()?).map_err(unreadable(1))? {
                if self.of.wants(point) {
                    self.add(at_ms, point, sample);
                }
            }
        }
        Ok(())
    }

    /// `summed`: with a sum beside each.
    pub fn blocks(&mut self, conn: &Connection, summed: bool) -> rusqlite::Result<()> {
        let sum = if summed { "sum" } else { "NULL" };
        let mut blocks = conn.prepare_cached(&format!(
            "SELECT id, {sum}, bytes FROM block WHERE from_ms BETWEEN ?1 AND ?2 AND to_ms >= ?3 AND series = ?4 ORDER BY id",
        ))?;
        let (from_ms, until_ms, of) = (self.from_ms, self.until_ms, self.of);
        let mut blocks = blocks.query([from_ms.saturating_sub(SPAN_MAX_MS), until_ms, from_ms, of.id])?;
        while let Some(row) = blocks.next()? {
            let (sum, bytes) = (row.get(1)?, row.get_ref(2)?.as_blob()?);
            let mut found = Vec::new();
            let read = patrol::open_block(sum, bytes).and_then(|block| {
                let take = |at_ms, point, sample| found.push((at_ms, point, sample));
                block.read(|point| of.wants(point), (from_ms, until_ms), take)
            });
            match read {
                Ok(()) => found.into_iter().for_each(|(at_ms, point, sample)| self.add(at_ms, point, sample)),
                // The writer finds it too, and says what was lost.
                Err(error) => {
                    debug!(block = row.get::<_, i64>(0)?, %error, "A block is damaged and left out.")
                }
            }
        }
        Ok(())
    }
}

impl Reaper for Picking<'_> {
    fn row(&mut self, at_ms: i64, _points: &[u16]) {
        self.at_ms = at_ms;
    }

    fn cell(&mut self, point: u16, cell: Cell, column: &Column) {
        if (self.from_ms..=self.until_ms).contains(&self.at_ms)
            && self.of.wants(PointIx(point))
            && let Some(sample) = cell.sample(|| column.word(cell.number))
        {
            self.add(self.at_ms, PointIx(point), sample);
        }
    }
}

/// The rows of one series that are in no block yet. What is damaged is left out: the writer counts it when it packs.
pub(super) fn each_unpacked(
    conn: &Connection,
    series: i64,
    reaper: &mut impl Reaper,
) -> rusqlite::Result<()> {
    let mut link = Link::default();
    let mut slots = conn.prepare_cached(packer::UNPACKED)?;
    let mut slots = slots.query([])?;
    while let Some(slot) = slots.next()? {
        tail::sections(slot.get_ref(0)?.as_blob()?, |section| {
            if section.series == series && link.take(section, reaper).is_err() {
                debug!(series, "Some readings of the last minutes cannot be read.");
            }
        });
    }
    Ok(())
}

pub(super) fn unreadable(column: usize) -> impl Fn(samples::Unreadable) -> rusqlite::Error {
    move |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, error.into())
}
