//! Mistakes as people read them (the line with a caret under it), as editors read them (one line each) and as JSON.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde::Serialize;

use super::{Place, Problem, Problems, Severity, Source};
use crate::{
    domain::{Lang, Text},
    say,
};

/// A line longer than this is not drawn; its place is told all the same.
const DRAWN_LINE: usize = 500;

/// One mistake as JSON: an object a line under `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemRecord {
    pub severity: &'static str,
    pub file: Option<String>,
    /// Counted from 1; the column in characters.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: Text,
    pub help: Option<Text>,
}

#[derive(Clone, Copy)]
struct Position {
    line: usize,
    column: usize,
    line_start: usize,
}

impl Problems {
    /// Each with the line it stands in and a caret under it.
    pub fn drawn(&self, lang: Lang, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut drawn = String::new();
        self.each(|problem, position| {
            drawn.push_str(&draw(&renderer, problem, position, lang));
            drawn.push_str("\n\n");
        });
        drawn + &self.cut_note(lang)
    }

    /// Each in one line: `file:line:column: error: message (help)`.
    pub fn lines(&self, lang: Lang) -> String {
        let mut lines = String::new();
        self.each(|problem, position| {
            if let (Some(place), Some(Position { line, column, .. })) = (&problem.place, position) {
                lines.push_str(&clean(&place.source.path.to_string_lossy()));
                write!(lines, ":{line}:{column}: ").expect("writing to a String succeeds");
            }
            lines.push_str(word(problem.severity, lang));
            lines.push_str(": ");
            lines.push_str(&clean(problem.message.get(lang)));
            if let Some(help) = &problem.help {
                write!(lines, " ({})", clean(help.get(lang))).expect("writing to a String succeeds");
            }
            lines.push('\n');
        });
        lines + &self.cut_note(lang)
    }

    pub fn records(&self) -> Vec<ProblemRecord> {
        let mut records = Vec::new();
        self.each(|problem, position| {
            records.push(ProblemRecord {
                severity: word(problem.severity, Lang::En),
                file: problem.place.as_ref().map(|place| place.source.path.display().to_string()),
                line: position.map(|position| position.line),
                column: position.map(|position| position.column),
                message: problem.message.clone(),
                help: problem.help.clone(),
            });
        });
        records
    }

    fn cut_note(&self, lang: Lang) -> String {
        match self.is_cut() {
            true => say!(lang, "还有更多，未列出\n", "there are more, not listed\n"),
            false => String::new(),
        }
    }

    /// All in order, each with its position; a file's text is gone through once.
    fn each(&self, mut tell: impl FnMut(&Problem, Option<Position>)) {
        let mut cursors: HashMap<*const Source, Cursor> = HashMap::new();
        for problem in self.sorted() {
            let position = problem.place.as_ref().map(|place| {
                let cursor = cursors.entry(Arc::as_ptr(&place.source)).or_default();
                cursor.advance(&place.source.text, place.span.start)
            });
            tell(problem, position);
        }
    }
}

/// Counts lines and characters on towards a byte offset.
#[derive(Default)]
struct Cursor {
    offset: usize,
    line: usize,
    line_start: usize,
    column: usize,
}

impl Cursor {
    fn advance(&mut self, text: &str, to: usize) -> Position {
        if to < self.offset {
            *self = Self::default();
        }
        for (at, letter) in text[self.offset..].char_indices() {
            let at = self.offset + at;
            if at >= to {
                break;
            }
            self.column += 1;
            if letter == '\n' {
                (self.line, self.line_start, self.column) = (self.line + 1, at + 1, 0);
            }
        }
        self.offset = text.floor_char_boundary(to);
        Position { line: self.line + 1, column: self.column + 1, line_start: self.line_start }
    }
}

fn draw(renderer: &Renderer, problem: &Problem, position: Option<Position>, lang: Lang) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let level = level.with_name(word(problem.severity, lang));
    let help = problem.help.as_ref().map(|help| {
        Level::HELP.with_name(say!(lang, "提示", "help")).message(normalize_untrusted_str(help.get(lang)))
    });
    let mut report =
        Group::with_title(level.primary_title(normalize_untrusted_str(problem.message.get(lang))));
    if let (Some(place), Some(position)) = (&problem.place, position) {
        report = report.element(excerpt(place, position));
    }
    renderer.render(&[report.elements(help)])
}

/// The line with the place marked in it; the bare place where there is no line worth drawing.
fn excerpt(place: &Place, position: Position) -> Element<'_> {
    let path = place.source.path.to_string_lossy();
    let rest = &place.source.text[position.line_start..];
    let line = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    if line.len() > DRAWN_LINE || line.trim().is_empty() {
        return Origin::path(path).line(position.line).char_column(position.column).into();
    }
    let start = (place.span.start - position.line_start).min(line.len());
    let end = (place.span.end - position.line_start).clamp(start, line.len());
    Snippet::source(line)
        .path(path)
        .line_start(position.line)
        .annotation(AnnotationKind::Primary.span(start..end))
        .into()
}

fn word(severity: Severity, lang: Lang) -> &'static str {
    match (severity, lang) {
        (Severity::Error, Lang::Zh) => "错误",
        (Severity::Error, Lang::En) => "error",
        (Severity::Warning, Lang::Zh) => "警告",
        (Severity::Warning, Lang::En) => "warning",
        (Severity::Note, Lang::Zh) => "说明",
        (Severity::Note, Lang::En) => "note",
    }
}

/// On one line, and without control characters that a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
