//! Tells the story on the terminal: clock, symbol and word on each line, in the reader's language.

use std::{
    io::{self, Write},
    sync::Arc,
};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;

use super::stage::Missed;
use crate::{
    domain::{Clock, Lang, Text},
    text,
};

/// Shape, colour and word together: none of them is needed to understand the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It goes on.
    Calm,
    /// Somebody must act.
    Alarm,
    /// It was checked and it holds.
    Done,
    Failed,
}

pub struct Teller {
    lang: Lang,
    timezone: TimeZone,
    clock: Arc<dyn Clock>,
}

impl Teller {
    /// The clock on each line shows the time of `timezone`.
    pub fn new(lang: Lang, timezone: TimeZone, clock: Arc<dyn Clock>) -> Self {
        Self { lang, timezone, clock }
    }

    /// # Errors
    /// If nobody reads any more.
    pub fn heading(&self, said: Text) -> io::Result<()> {
        let rule = "━".repeat(64);
        writeln!(anstream::stdout().lock(), "{rule}\n {}\n{rule}", said.get(self.lang))
    }

    /// # Errors
    /// If nobody reads any more.
    pub fn line(&self, mark: Mark, said: Text) -> io::Result<()> {
        let clock = self.clock.now().wall.to_zoned(self.timezone.clone()).strftime("%H:%M:%S").to_string();
        let (symbol, style) = mark.look();
        let said = said.get(self.lang);
        let mut out = anstream::stdout().lock();
        writeln!(out, "{clock} {style}{symbol}{style:#} {said}")?;
        out.flush()
    }

    /// More about the line before.
    ///
    /// # Errors
    /// If nobody reads any more.
    pub fn more(&self, said: Text) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "           {}", said.get(self.lang))?;
        out.flush()
    }

    /// # Errors
    /// If nobody reads any more.
    pub fn missed(&self, missed: &Missed) -> io::Result<()> {
        let (zh, en) = (&missed.step.zh, &missed.step.en);
        self.line(Mark::Failed, text!("没有发生：{zh}", "did not happen: {en}"))?;
        let (zh, en) = (&missed.why.zh, &missed.why.en);
        self.more(text!("原因：{zh}", "why: {en}"))?;
        missed.seen.iter().try_for_each(|seen| self.more(text!("所见：{seen}", "seen: {seen}")))
    }
}

impl Mark {
    fn look(self) -> (&'static str, Style) {
        let coloured = |colour: AnsiColor| Style::new().bold().fg_color(Some(colour.into()));
        match self {
            Mark::Calm => ("●", Style::new()),
            Mark::Alarm => ("▲", coloured(AnsiColor::Red)),
            Mark::Done => ("✓", coloured(AnsiColor::Green)),
            Mark::Failed => ("✗", coloured(AnsiColor::Red)),
        }
    }
}
