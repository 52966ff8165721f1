//! From the tail into blocks, hours and days: one transaction, so that every row stands in exactly one of the two whenever the plug is pulled.

use std::{collections::BTreeMap, ops::AddAssign};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tracing::error;

use super::{
    packed::{
        Cell, Column,
        block::{Gathering, Packed},
        chain::Reaper,
        tail::{self, Link, SectionRef},
        tally::{Calendar, Span, Tallies, merge_all},
    },
    rollup, sum,
};

/// The slots whose rows are in no block yet, in the order they were written.
pub(super) const UNPACKED: &str = "SELECT bytes FROM tail WHERE seq > (SELECT seq FROM packed) ORDER BY slot";

/// What could not be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    pub frames: u64,
    /// Of sections that follow a damaged one, or are nonsense.
    pub rows: u64,
}

impl AddAssign for Damage {
    fn add_assign(&mut self, more: Self) {
        self.frames += more.frames;
        self.rows += more.rows;
    }
}

/// Everything in the tail becomes blocks, and the tail is free.
pub(super) fn pack(conn: &mut Connection, calendar: &Calendar) -> rusqlite::Result<Damage> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let slots = unpacked(&tx)?;
    let damage = pack_slots(&tx, &slots, calendar, Some)?;
    tx.execute("UPDATE packed SET seq = max(seq, (SELECT max(seq) FROM tail))", [])?;
    crash_point!("packing.written");
    tx.commit()?;
    crash_point!("packing.done");
    if damage != Damage::default() {
        let Damage { frames, rows } = damage;
        error!(frames, rows, "Readings of the last minutes were damaged on disk and are lost.");
    }
    Ok(damage)
}

/// The rows of `slots` into blocks, hours and days of the series that each of theirs is now (`series_now`); those of none are left out.
pub(super) fn pack_slots(
    tx: &Transaction,
    slots: &[Vec<u8>],
    calendar: &Calendar,
    series_now: impl Fn(i64) -> Option<i64>,
) -> rusqlite::Result<Damage> {
    let (by_series, frames) = by_series(slots);
    let mut damage = Damage { frames, rows: 0 };
    let mut packer = Packer::new(calendar);
    for (series, sections) in by_series {
        let mut link = Link::default();
        for section in sections {
            damage.rows += link.take(section, &mut packer).err().map_or(0, |_| section.rows());
        }
        match series_now(series) {
            Some(series) => packer.store(tx, series)?,
            None => damage.rows += packer.forget(),
        }
    }
    Ok(damage)
}

fn unpacked(conn: &Connection) -> rusqlite::Result<Vec<Vec<u8>>> {
    conn.prepare_cached(UNPACKED)?.query_map([], |row| row.get(0))?.collect()
}

fn by_series(slots: &[Vec<u8>]) -> (BTreeMap<i64, Vec<SectionRef<'_>>>, u64) {
    let mut by_series: BTreeMap<i64, Vec<SectionRef>> = BTreeMap::new();
    let damaged = slots
        .iter()
        .map(|slot| {
            tail::sections(slot, |section| by_series.entry(section.series).or_default().push(section))
        })
        .sum();
    (by_series, damaged)
}

/// One device at a time.
struct Packer {
    calendar: Calendar,
    gathering: Gathering,
    full: Vec<Packed>,
    hours: Tallies,
}

impl Packer {
    fn new(calendar: &Calendar) -> Self {
        Self {
            calendar: calendar.clone(),
            gathering: Gathering::default(),
            full: Vec::new(),
            hours: Tallies::new(calendar.clone(), Span::Hour),
        }
    }

    fn finish_block(&mut self) {
        self.gathering.tally(&mut self.hours);
        self.full.extend(self.gathering.pack());
    }

    fn store(&mut self, tx: &Transaction, series: i64) -> rusqlite::Result<()> {
        self.finish_block();
        let mut insert = tx.prepare_cached(
            "INSERT INTO block (series, from_ms, to_ms, rows, bytes, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for block in self.full.drain(..) {
            let (rows, sum) = (block.rows as i64, sum::of(&block.bytes));
            insert.execute(params![series, block.from_ms, block.to_ms, rows, block.bytes, sum])?;
        }
        let mut days = BTreeMap::new();
        for (from_ms, tallies) in self.hours.take() {
            let day = self.calendar.around(Span::Day, from_ms).start;
            merge_all(days.entry(day).or_insert_with(Vec::new), &tallies);
            rollup::fold(tx, Span::Hour, series, from_ms, &tallies)?;
        }
        days.into_iter()
            .try_for_each(|(from_ms, tallies)| rollup::fold(tx, Span::Day, series, from_ms, &tallies))
    }
}

impl Packer {
    /// How many rows it had.
    fn forget(&mut self) -> u64 {
        self.full.extend(self.gathering.pack());
        self.hours.take();
        self.full.drain(..).map(|block| block.rows as u64).sum()
    }
}

impl Reaper for Packer {
    fn row(&mut self, at_ms: i64, points: &[u16]) {
        if !self.gathering.takes(at_ms, points.len()) {
            self.finish_block();
        }
        self.gathering.row(at_ms, points);
    }

    #[inline]
    fn cell(&mut self, point: u16, cell: Cell, column: &Column) {
        self.gathering.cell(point, cell, column);
    }
}
