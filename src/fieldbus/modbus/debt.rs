//! What a unit may still send for questions that were given up, and how to ask it so that this is never taken for an answer.
//!
//! Modbus RTU has no transaction number: a reply tells its unit, its function and its length, nothing more. So once a question was
//! given up, a later reply of the same *shape* (function and length) may be the answer to that one: a slave that is slow, or that
//! has fallen one question behind, would fill register B with the value of register A, for ever. But a slave answers in order. So a unit
//! that owes us an answer is first asked a question whose answer has a shape that nothing owed has (a *marker*: fewer registers of the
//! same block), and is believed again only when exactly that comes back: then nothing owed can come any more.
//!
//! Nothing is known of what a unit owed to whoever had the line before us (ourselves, before a restart): so each begins with a marker.
//!
//! A refusal says its function only. It may be that of anything owed of this function, so it settles no more than what was asked before
//! all of that and the oldest of it; what was asked last may still be answered.
//!
//! A unit that is deaf to markers (it answers its own blocks only: no marker was ever answered, two in a row met silence) is believed by
//! time instead: its first good-looking answer is thrown away, and if the line is then silent for one more response time, the next one
//! counts. That is weaker: it holds for answers that come less than two response times late.

use std::{collections::HashMap, time::Duration};

use super::codec::{Question, Shape};
use crate::{domain::Table, profile::ModbusLink};

/// A unit that is more than so many questions behind has been given up for longer than any slave remembers.
const MOST_OWED: usize = 3;
/// So many markers in a row meet silence until a unit is taken to be deaf to them: more where it has answered some, because then it
/// is dead rather than deaf, or was replaced.
const DEAF_AFTER: u8 = 2;
const DEAF_AFTER_ALL: u8 = 20;

#[derive(Debug, Default)]
pub struct Debts(HashMap<u8, Debt>);

#[derive(Debug, Default)]
struct Debt {
    /// In the order they were asked.
    owed: Vec<Shape>,
    /// Markers in a row that met silence.
    unheard_markers: u8,
    /// It has answered markers, so silence is no deafness to them.
    knows_markers: bool,
    /// The line was opened again since it was last asked.
    unsure: bool,
    /// The longest that it was ever waited for: as long as its product may take, whatever it is thought to take now.
    slowest: Duration,
}

/// How a question must be asked so that its answer can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Nothing the unit owes looks like its answer.
    Directly,
    /// Only after this one was answered.
    After(Question),
    /// The first answer is thrown away, then the line listened to, then asked again; with this for its response time.
    Twice(Duration),
}

impl Debts {
    /// `link`: what the product lets itself be asked.
    pub fn asking(&mut self, question: &Question, link: &ModbusLink) -> Asking {
        let debt = self.0.entry(question.unit).or_insert_with(|| {
            let mut unknown = Debt::default();
            unknown.add(question.shape());
            unknown
        });
        debt.slowest = debt.slowest.max(link.timeout);
        if std::mem::take(&mut debt.unsure) {
            debt.add(question.shape());
        }
        if !debt.owes(question.shape()) {
            return Asking::Directly;
        }
        match debt.marker(question, link) {
            Some(marker) if !debt.seems_deaf() => Asking::After(marker),
            Some(_) | None => Asking::Twice(debt.slowest),
        }
    }

    /// The line was lost: who had it meanwhile, and what was on its way, nobody knows. What was owed before is still owed.
    pub fn reopened(&mut self) {
        self.0.values_mut().for_each(|debt| debt.unsure = true);
    }

    /// `question` was asked and got no valid answer: that may still come.
    pub fn given_up(&mut self, question: &Question) {
        self.0.entry(question.unit).or_default().add(question.shape());
    }

    /// The unit was told something and did not confirm it: that may still come.
    pub fn told_in_vain(&mut self, unit: u8, function: u8) {
        self.0.entry(unit).or_default().add(Shape::of_confirmation(function));
    }

    /// Whether the unit may still confirm what it was told before; so may one that has answered nothing yet.
    pub fn may_confirm(&self, unit: u8) -> bool {
        self.0
            .get(&unit)
            .is_none_or(|debt| debt.unsure || debt.owed.iter().any(|owed| owed.is_confirmation()))
    }

    /// `question` was refused, or something owed was.
    pub fn refused(&mut self, question: &Question) {
        let debt = self.0.entry(question.unit).or_default();
        let asked = question.shape();
        match debt.owed.iter().position(|owed| owed.is_refused_like(asked)) {
            None => debt.owed.clear(),
            Some(oldest) => {
                debt.owed.drain(..=oldest);
                debt.add(asked);
            }
        }
    }

    /// An answer came that nothing owed could have been.
    pub fn settled(&mut self, unit: u8) {
        self.0.entry(unit).or_default().owed.clear();
    }

    /// Nothing owed looks like the answer to `marker` that came; but who had the line before us may have asked for one that does, and then
    /// that to `marker` still comes.
    pub fn marker_answered(&mut self, marker: &Question) {
        self.0.entry(marker.unit).or_default().owed = vec![marker.shape()];
        self.marker_heard(marker.unit);
    }

    /// A marker was answered, be it with a refusal of what it asked for.
    pub fn marker_heard(&mut self, unit: u8) {
        let debt = self.0.entry(unit).or_default();
        (debt.unheard_markers, debt.knows_markers) = (0, true);
    }

    /// A marker met silence, or a refusal that has nothing to do with what was asked.
    pub fn marker_unheard(&mut self, unit: u8) {
        let debt = self.0.entry(unit).or_default();
        debt.unheard_markers = debt.unheard_markers.saturating_add(1);
    }

    /// The unit was asked twice: either the line was silent long enough, or something is wrong with it that markers will tell.
    pub fn waited_out(&mut self, unit: u8, silent: bool) {
        let debt = self.0.entry(unit).or_default();
        if silent {
            debt.owed.clear();
            (debt.unheard_markers, debt.knows_markers) = (DEAF_AFTER, false);
        } else {
            debt.unheard_markers = 0;
        }
    }
}

impl Debt {
    fn seems_deaf(&self) -> bool {
        self.unheard_markers >= if self.knows_markers { DEAF_AFTER_ALL } else { DEAF_AFTER }
    }

    fn owes(&self, shape: Shape) -> bool {
        self.owed.contains(&shape)
    }

    fn add(&mut self, shape: Shape) {
        if self.owed.len() == MOST_OWED {
            self.owed.remove(0);
        }
        self.owed.push(shape);
    }

    /// A question like `question` whose answer has a shape that nothing owed has, and that the product takes as well as this one. Rather
    /// shorter: what lies behind a block need not exist.
    fn marker(&self, question: &Question, link: &ModbusLink) -> Option<Question> {
        let (most, align) = match question.table {
            Table::Holding | Table::Input => (link.max_registers, link.align.max(1)),
            Table::Coil | Table::Discrete => (link.max_registers.saturating_mul(16), 1),
        };
        let room = u16::MAX - question.first;
        let shorter = (1..question.count).rev();
        let longer = question.count.saturating_add(1)..=most.max(question.count).min(room);
        shorter
            .chain(longer)
            .filter(|count| count.is_multiple_of(align))
            .map(|count| Question { count, ..*question })
            .find(|marker| !self.owes(marker.shape()))
    }
}
