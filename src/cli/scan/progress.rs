//! How far a scan is: one line redrawn on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::time::Instant;

use super::subnet::Subnet;
use crate::{domain::Lang, fieldbus::modbus::knock::Outcome, say};

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const REDRAWN_EVERY: Duration = Duration::from_millis(100);

/// What the knocks came to so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub answers: u32,
    pub exceptions: u32,
    pub noise: u32,
    pub silent: u32,
}

pub struct Progress {
    lang: Lang,
    terminal: bool,
    began: Instant,
    drawn: Option<Instant>,
    steps: u32,
    done: u32,
    pub counts: Counts,
}

impl Progress {
    /// `steps`: how many knocks there will be.
    pub fn new(lang: Lang, steps: usize) -> Self {
        let terminal = stderr().is_terminal();
        let began = Instant::now();
        Self { lang, terminal, began, drawn: None, steps: steps as u32, done: 0, counts: Counts::default() }
    }

    /// A part of the line's way begins: told once where nothing is redrawn.
    pub fn part(&mut self, what: &str, units: usize) {
        if !self.terminal {
            say_line(&say!(self.lang, "扫描 {what}：{units} 个站号", "scanning {what}: {units} unit ids"));
        }
    }

    pub fn subnet(&mut self, subnet: &Subnet) {
        if !self.terminal {
            let addresses = subnet.len();
            say_line(&say!(
                self.lang,
                "扫描 {subnet}：{addresses} 个地址",
                "scanning {subnet}: {addresses} addresses"
            ));
        }
    }

    pub fn knocked(&mut self, what: &str, nth: usize, of: usize, outcome: &Outcome) {
        self.done += 1;
        let counts = &mut self.counts;
        match outcome {
            Outcome::Answer(_) => counts.answers += 1,
            Outcome::Exception(_) => counts.exceptions += 1,
            Outcome::Noise | Outcome::Echo => counts.noise += 1,
            Outcome::Silent => counts.silent += 1,
        }
        let now = Instant::now();
        if self.terminal && self.drawn.is_none_or(|drawn| now - drawn >= REDRAWN_EVERY) {
            self.drawn = Some(now);
            draw(&self.line(what, nth, of));
        }
    }

    /// Something else is under way.
    pub fn doing(&mut self, what: &str) {
        if self.terminal {
            draw(what);
        }
    }

    /// Units that need not be knocked at.
    pub fn skipped(&mut self, units: usize) {
        self.steps = self.steps.saturating_sub(units as u32);
    }

    /// The line goes; what comes next stands alone.
    pub fn end(&mut self) {
        if self.terminal {
            draw("");
        }
    }

    fn line(&self, what: &str, nth: usize, of: usize) -> String {
        let Counts { answers, exceptions, noise, silent } = self.counts;
        let spent = self.began.elapsed();
        let whole = spent * self.steps.max(1) / self.done.max(1);
        let spinner = SPINNER[self.done as usize % SPINNER.len()];
        let (spent, whole) = (clock(spent), clock(whole));
        say!(
            self.lang,
            "{spinner} {what} 站号 {nth}/{of}  应答 {answers}  异常应答 {exceptions}  CRC 错 {noise}  超时 {silent}  {spent}/约 {whole}",
            "{spinner} {what} unit {nth}/{of}  answers {answers}  exceptions {exceptions}  CRC errors {noise}  timeouts {silent}  {spent} of about {whole}"
        )
    }
}

/// `2:07`.
pub fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

// talk that cannot be heard is no reason to stop
fn draw(line: &str) {
    let mut out = stderr().lock();
    if write!(out, "\r\x1b[K{line}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("Nobody reads the progress.");
    }
}

fn say_line(line: &str) {
    if writeln!(stderr().lock(), "{line}").is_err() {
        tracing::debug!("Nobody reads the progress.");
    }
}
