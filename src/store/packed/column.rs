//! One point after the other in time: steps from what it was to what it is.

use std::sync::Arc;

use super::{
    Unreadable,
    bits::{BitReader, BitWriter, Spread, Step, unzigzag, zigzag},
    cell::{Cell, Form, KIND_BITS, Kind},
};

/// A column that says more different words than this begins its list anew.
const WORDS_MAX: usize = 64;
const WORD_BITS: u32 = 6;
/// As in `samples`: longer texts are cut when they are written.
pub const TEXT_MAX_BYTES: usize = 1024;
const TEXT_BITS: u32 = 11;

/// What both the writer and the reader of a column know at each moment. Small: every reading of every device passes through one.
#[derive(Clone, Default)]
pub struct Column {
    kind: Kind,
    last: i64,
    spread: Spread,
    /// Most columns never have any.
    words: Option<Box<Words>>,
    /// The writer's: the last sample as it came.
    came: Cell,
}

#[derive(Clone, Default)]
struct Words(Vec<Arc<str>>);

/// Known, or said in full here.
enum Said {
    Known(i64),
    New,
}

impl Column {
    fn words(&self) -> &[Arc<str>] {
        self.words.as_ref().map_or(&[], |words| &words.0)
    }

    /// The word that a text's cell means.
    pub fn word(&self, number: i64) -> Option<Arc<str>> {
        self.words().get(usize::try_from(number).ok()?).cloned()
    }

    /// Whether `cell` is what the column stands at. Of a text `text` is the word.
    #[inline]
    pub fn stands_at(&self, cell: Cell, text: &str) -> bool {
        if cell.kind != self.kind {
            return false;
        }
        if !cell.kind.is_text() {
            return cell.number == self.last;
        }
        self.stands_at_word(text)
    }

    fn stands_at_word(&self, text: &str) -> bool {
        usize::try_from(self.last)
            .ok()
            .and_then(|at| self.words().get(at))
            .is_some_and(|word| **word == *text)
    }

    /// Whether a sample as it came is the one that came before. Of a text `text` is the word.
    #[inline]
    pub fn came_before<'a>(&self, plain: Cell, text: impl FnOnce() -> &'a str) -> bool {
        match plain.kind.is_text() {
            false => plain == self.came,
            true => plain.kind == self.came.kind && self.stands_at_word(text()),
        }
    }

    /// A sample as it came.
    #[inline]
    pub fn put_plain(&mut self, out: &mut BitWriter, plain: Cell, text: &str) {
        self.put_beyond(out, plain.shortened(self.kind), text, 0);
        self.came = plain;
    }

    #[inline(always)]
    pub fn put(&mut self, out: &mut BitWriter, cell: Cell, text: &str) {
        self.put_beyond(out, cell, text, 0);
    }

    /// `least`: a step of fewer cannot come here, so they are not counted.
    #[inline(always)]
    pub fn put_beyond(&mut self, out: &mut BitWriter, cell: Cell, text: &str, least: u64) {
        if cell.kind.is_text() {
            return self.put_text(out, cell.kind, text, least);
        }
        if cell.kind == self.kind {
            self.spread.put(out, zigzag(cell.number.wrapping_sub(self.last)).wrapping_sub(least));
        } else {
            self.put_anew(out, cell);
        }
        self.last = cell.number;
    }

    #[cold]
    fn put_anew(&mut self, out: &mut BitWriter, cell: Cell) {
        self.put_kind(out, cell.kind);
        if !matches!(cell.kind.form(), Form::Missing) {
            out.put_number(zigzag(cell.number));
        }
    }

    fn put_kind(&mut self, out: &mut BitWriter, kind: Kind) {
        Spread::put_other(out);
        out.put(kind.bits(), KIND_BITS);
        self.kind = kind;
    }

    #[cold]
    fn put_text(&mut self, out: &mut BitWriter, kind: Kind, text: &str, least: u64) {
        let known = self.words().iter().position(|word| **word == *text).map(|at| at as i64);
        match known {
            Some(number) if kind == self.kind => {
                self.spread.put(out, zigzag(number - self.last).wrapping_sub(least));
                self.last = number;
            }
            Some(number) => {
                self.put_kind(out, kind);
                out.put(1, 1);
                out.put(number as u64, WORD_BITS);
                self.last = number;
            }
            None => {
                self.put_kind(out, kind);
                out.put(0, 1);
                out.put(text.len() as u64, TEXT_BITS);
                out.put_bytes(text.as_bytes());
                self.last = self.learn(text.into());
            }
        }
    }

    fn learn(&mut self, word: Arc<str>) -> i64 {
        let Words(words) = &mut **self.words.get_or_insert_default();
        if words.len() == WORDS_MAX {
            words.clear();
        }
        words.push(word);
        words.len() as i64 - 1
    }

    #[inline(always)]
    pub fn take(&mut self, bits: &mut BitReader) -> Result<Cell, Unreadable> {
        self.take_beyond(bits, 0)
    }

    #[inline(always)]
    pub fn take_beyond(&mut self, bits: &mut BitReader, least: u64) -> Result<Cell, Unreadable> {
        match self.spread.take(bits)? {
            Step::By(step) => self.last = self.last.wrapping_add(unzigzag(step.wrapping_add(least))),
            Step::Other => self.take_kind(bits)?,
        }
        Ok(self.stand())
    }

    /// The cell that the column stands at.
    #[inline]
    pub fn stand(&self) -> Cell {
        Cell { kind: self.kind, number: self.last }
    }

    #[cold]
    fn take_kind(&mut self, bits: &mut BitReader) -> Result<(), Unreadable> {
        self.kind = Kind::checked(bits.take(KIND_BITS)?).ok_or(bits.lost())?;
        self.last = match self.kind.form() {
            Form::Number | Form::Flag => unzigzag(bits.number()?),
            Form::Missing => 0,
            Form::Text => match self.take_word(bits)? {
                Said::Known(number) => number,
                Said::New => self.words().len() as i64 - 1,
            },
        };
        Ok(())
    }

    fn take_word(&mut self, bits: &mut BitReader) -> Result<Said, Unreadable> {
        if bits.flag()? {
            return Ok(Said::Known(bits.take(WORD_BITS)? as i64));
        }
        let length = bits.take(TEXT_BITS)? as usize;
        if length > TEXT_MAX_BYTES {
            return Err(bits.lost());
        }
        let text = bits.text(length)?;
        self.learn(text.into());
        Ok(Said::New)
    }
}

/// The times of rows: usually one as long after the other as the one before.
#[derive(Clone, Default)]
pub struct Clock {
    last: i64,
    gap: i64,
    spread: Spread,
}

impl Clock {
    pub fn put(&mut self, out: &mut BitWriter, at_ms: i64) {
        let gap = at_ms.wrapping_sub(self.last);
        self.spread.put(out, zigzag(gap.wrapping_sub(self.gap)));
        (self.last, self.gap) = (at_ms, gap);
    }

    #[inline]
    pub fn take(&mut self, bits: &mut BitReader) -> Result<i64, Unreadable> {
        self.gap = self.gap.wrapping_add(unzigzag(self.spread.take_step(bits)?));
        self.last = self.last.wrapping_add(self.gap);
        Ok(self.last)
    }
}

/// Which points a row has: few different lists come again and again.
#[derive(Clone, Default)]
pub struct Shapes {
    lists: Vec<Arc<[u16]>>,
    last: usize,
}

const SHAPES_MAX: usize = 64;
const SHAPE_BITS: u32 = 6;
/// Every point there can be.
pub const ROW_MAX_SAMPLES: usize = 1 << 16;

impl Shapes {
    /// `points` is a row's list, in the row's order.
    pub fn put(&mut self, out: &mut BitWriter, points: &[u16]) {
        let is = |list: &Arc<[u16]>| **list == *points;
        if self.lists.get(self.last).is_some_and(is) {
            return out.put(1, 1);
        }
        out.put(0, 1);
        match self.lists.iter().position(is) {
            Some(known) => {
                out.put(1, 1);
                out.put(known as u64, SHAPE_BITS);
                self.last = known;
            }
            None => {
                out.put(0, 1);
                put_list(out, points);
                self.learn(points.into());
            }
        }
    }

    pub fn take(&mut self, bits: &mut BitReader) -> Result<Arc<[u16]>, Unreadable> {
        if !bits.flag()? {
            if bits.flag()? {
                self.last = bits.take(SHAPE_BITS)? as usize;
            } else {
                let list = take_list(bits)?;
                self.learn(list);
            }
        }
        self.lists.get(self.last).cloned().ok_or(bits.lost())
    }

    fn learn(&mut self, list: Arc<[u16]>) {
        if self.lists.len() == SHAPES_MAX {
            self.lists.clear();
        }
        self.lists.push(list);
        self.last = self.lists.len() - 1;
    }
}

/// As runs of neighbours.
fn put_list(out: &mut BitWriter, list: &[u16]) {
    let runs: Vec<_> = list.chunk_by(|one, next| one.checked_add(1) == Some(*next)).collect();
    out.put_number(runs.len() as u64);
    let mut end = 0;
    for run in runs {
        out.put_number(zigzag(i64::from(run[0]) - end));
        out.put_number(run.len() as u64);
        end = i64::from(run[0]) + run.len() as i64;
    }
}

fn take_list(bits: &mut BitReader) -> Result<Arc<[u16]>, Unreadable> {
    let (mut list, mut end) = (Vec::new(), 0i64);
    for _ in 0..bits.number()? {
        let first = end.checked_add(unzigzag(bits.number()?)).ok_or(bits.lost())?;
        let length = bits.number()?;
        if length > (ROW_MAX_SAMPLES - list.len()) as u64 {
            return Err(bits.lost());
        }
        end = first.checked_add(length as i64).ok_or(bits.lost())?;
        for point in first..end {
            list.push(u16::try_from(point).map_err(|_| bits.lost())?);
        }
    }
    Ok(list.into())
}
