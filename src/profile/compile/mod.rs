//! From files as written to what runs: every mistake is found, each with its place; nothing half right comes out.

mod class;
mod codes;
mod command;
mod credit;
mod dlt645;
mod expression;
mod meaning;
mod modbus;
mod mqtt;
mod over_time;
mod overlap;
mod point;
mod profile;
mod serial;

pub use class::compile_class;
pub use codes::compile_codes;
pub use expression::{ExpressionMistake, points_named};
pub use profile::compile_profile;

use std::time::Duration;

use crate::{
    document::{Document, Problems, Step, meant},
    domain::{Period, Text},
    text,
};

/// One file under the checks, with the mistakes found so far.
struct Check<'a> {
    document: &'a Document,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn error(&mut self, path: &[Step<'_>], message: Text) {
        self.problems.error(self.document.place(path), message);
    }

    fn error_with_help(&mut self, path: &[Step<'_>], message: Text, help: Text) {
        self.problems.error_with_help(self.document.place(path), message, help);
    }

    /// The key itself is the mistake.
    fn key_error(&mut self, path: &[Step<'_>], message: Text) {
        self.problems.error(self.document.key_place(path), message);
    }

    /// `word` at `path` is none of `legal`.
    fn unknown<'w>(
        &mut self,
        path: &[Step<'_>],
        message: Text,
        word: &str,
        legal: impl IntoIterator<Item = &'w str>,
    ) {
        let legal: Vec<&str> = legal.into_iter().collect();
        match meant(word, &legal) {
            Some(help) => self.error_with_help(path, message, help),
            None => self.error(path, message),
        }
    }

    fn warning(&mut self, path: &[Step<'_>], message: Text) {
        self.problems.warning(self.document.place(path), message);
    }

    /// The period at `path`, or `default`; a poll or wait of (almost) nothing would spin.
    fn period(&mut self, path: &[Step<'_>], written: Option<Period>, default: Duration) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(10);
        let period = written.map_or(default, Duration::from);
        if period < SHORTEST {
            self.error(path, text!("至少 10ms", "at least 10ms"));
        }
        period
    }

    /// Tells each name that was there before.
    fn duplicates<'n>(&mut self, list: &str, names: impl IntoIterator<Item = &'n str>) {
        let mut before = Vec::new();
        for (i, name) in names.into_iter().enumerate() {
            if before.contains(&name) {
                let path = [list.into(), i.into(), "name".into()];
                self.error(&path, text!("\"{name}\" 已经有了", "\"{name}\" is already there"));
            }
            before.push(name);
        }
    }
}
