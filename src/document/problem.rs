//! Mistakes, each with its place, gathered until all are known.

use std::{collections::HashSet, ops::Range, path::PathBuf, sync::Arc};

use crate::domain::Text;

/// A file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// A stretch of a file, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<Source>,
    pub span: Range<usize>,
}

impl Place {
    /// Counted from 1.
    pub fn line(&self) -> usize {
        self.source.text.bytes().take(self.span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    /// `file:line:column`, counted from 1; the column in characters.
    pub fn address(&self) -> String {
        let before = self.source.text.get(..self.span.start).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{}:{column}", self.source.path.display(), self.line())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    /// Nothing is wrong; good to know.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub place: Option<Place>,
    pub message: Text,
    /// What to do about it: the nearest legal key, the allowed values.
    pub help: Option<Text>,
}

/// More than this are not kept: whoever sees so many starts with the first.
const KEPT: usize = 1000;

/// All that is wrong with the files read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    /// There were more than are kept.
    cut: bool,
    /// Where reading went on with a stand-in for a wrong or missing value: what is said of such a value
    /// afterwards is about the stand-in, so it is not kept.
    stand_ins: HashSet<(usize, usize, usize)>,
}

impl Problems {
    pub fn error(&mut self, place: Place, message: Text) {
        self.put(Severity::Error, Some(place), message, None);
    }

    pub fn error_with_help(&mut self, place: Place, message: Text, help: Text) {
        self.put(Severity::Error, Some(place), message, Some(help));
    }

    /// An error that has no place in a file that could be read.
    pub fn error_nowhere(&mut self, message: Text) {
        self.put(Severity::Error, None, message, None);
    }

    pub fn warning(&mut self, place: Place, message: Text) {
        self.put(Severity::Warning, Some(place), message, None);
    }

    pub fn warning_with_help(&mut self, place: Place, message: Text, help: Text) {
        self.put(Severity::Warning, Some(place), message, Some(help));
    }

    /// Good to know, nothing wrong.
    pub fn note(&mut self, place: Place, message: Text) {
        self.put(Severity::Note, Some(place), message, None);
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of them are of `severity`.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|problem| problem.severity == severity).count()
    }

    /// True if there are so many that no more are kept.
    pub fn is_full(&self) -> bool {
        self.list.len() >= KEPT
    }

    /// True if some were not kept.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    pub fn extend(&mut self, other: Problems) {
        self.cut |= other.cut;
        other.list.into_iter().for_each(|problem| self.keep(problem));
        self.stand_ins.extend(other.stand_ins);
    }

    /// By file, then by place in it; those without a place first.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<_> = self.list.iter().collect();
        sorted.sort_by_key(|problem| {
            problem.place.as_ref().map(|place| (&place.source.path, place.span.start, problem.severity))
        });
        sorted
    }

    /// A mistake of which no more is to be heard: the reader puts a stand-in there and goes on.
    pub(super) fn error_with_stand_in(&mut self, place: Place, message: Text, help: Option<Text>) {
        let stand_in = spot(&place);
        self.put(Severity::Error, Some(place), message, help);
        self.stand_ins.insert(stand_in);
    }

    /// What is said of this place from here on is about a stand-in.
    pub(super) fn stand_in_at(&mut self, place: &Place) {
        self.stand_ins.insert(spot(place));
    }

    fn put(&mut self, severity: Severity, place: Option<Place>, message: Text, help: Option<Text>) {
        if place.as_ref().is_some_and(|place| self.stand_ins.contains(&spot(place))) {
            return;
        }
        self.keep(Problem { severity, place, message, help });
    }

    /// Once each: a file that is read again on another way has the same mistakes still.
    fn keep(&mut self, problem: Problem) {
        match self.is_full() {
            true => self.cut = true,
            false if self.list.contains(&problem) => {}
            false => self.list.push(problem),
        }
    }
}

/// Which stretch of which source: the source by its address, which its problems keep alive.
fn spot(place: &Place) -> (usize, usize, usize) {
    (Arc::as_ptr(&place.source).addr(), place.span.start, place.span.end)
}
