//! What was read, as lines; and the closing line that mbpoll's users know.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::json;

use super::spec::{Spec, table_word};
use crate::{
    cli::{
        exit,
        live::{NoAnswer, Why, manual},
    },
    domain::{Diagnosis, Lang, PointIx, Raw, Sample, Table},
    profile::{Read, shown},
    say,
};

/// One value, or why there is none.
pub struct Row {
    table: Table,
    address: u16,
    kind: &'static str,
    found: Result<(String, Sample), Diagnosis>,
}

/// How many questions went out and what came of them.
#[derive(Debug, Default)]
pub struct Tally {
    sent: u32,
    answered: u32,
    refused: u32,
    silent: u32,
    garbled: u32,
    took: Duration,
}

impl Row {
    pub fn of(spec: &Spec, point: PointIx, answer: Result<&Raw, &NoAnswer>) -> Self {
        let (table, address) = match spec.profile.points[usize::from(point.0)].read {
            Read::Modbus { table, address, .. } => (table, address),
            Read::Serial { .. } | Read::Mqtt | Read::Reckoned => (Table::Holding, 0),
        };
        let found = answer.map_err(|no| no.told.clone()).and_then(|raw| {
            let sample = spec.profile.decode(raw, &[point]).samples.into_iter().next();
            let raw = spec.profile.raw_shown(point, raw);
            raw.zip(sample.map(|(_, sample)| sample)).ok_or_else(Diagnosis::unasked)
        });
        Self { table, address, kind: spec.kinds[usize::from(point.0)], found }
    }

    pub fn print(&self, as_json: bool, lang: Lang, out: &mut dyn Write) -> io::Result<()> {
        let (address, number, kind) = (self.address, manual(self.table, self.address), self.kind);
        if as_json {
            let mut record = json!({ "table": table_word(self.table), "address": address, "number": number, "type": kind });
            match &self.found {
                Ok((raw, sample)) => {
                    record["raw"] = json!(raw);
                    record["value"] = json!(sample.value());
                    record["quality"] = json!(sample.quality());
                }
                Err(told) => {
                    record["value"] = json!(null);
                    record["quality"] = json!("comm_fail");
                    record["why"] = json!(told);
                }
            }
            return writeln!(out, "{record}");
        }
        match &self.found {
            Ok((raw, sample)) => {
                writeln!(out, "0x{address:04X} {number}  {raw:<9} {:>12}  {kind}", shown(sample))
            }
            Err(told) => writeln!(out, "0x{address:04X} {number}  –  {}", told.line(lang)),
        }
    }
}

impl Tally {
    pub fn count(&mut self, answer: &Result<Raw, NoAnswer>, took: Duration) {
        self.sent += 1;
        let counted = match answer.as_ref().map_err(|no| no.why) {
            Ok(_) => &mut self.answered,
            Err(Why::Refused(_)) => &mut self.refused,
            Err(Why::Silent | Why::LineDown | Why::Busy) => &mut self.silent,
            Err(Why::Garbled) => &mut self.garbled,
        };
        *counted += 1;
        if answer.as_ref().map_or_else(NoAnswer::is_from_device, |_| true) {
            self.took += took;
        }
    }

    /// Values: 0; refusals only: nothing was found; else it did not answer.
    pub fn code(&self) -> u8 {
        match (self.answered, self.refused) {
            (1.., _) => exit::OK,
            (0, 1..) => exit::NOTHING_FOUND,
            (0, 0) => exit::NO_ANSWER,
        }
    }

    /// The closing line, where anything was asked.
    pub fn tell(&self, lang: Lang) {
        if self.sent > 0 {
            eprintln!("{}", self.line(lang));
        }
    }

    fn line(&self, lang: Lang) -> String {
        let Self { sent, refused, silent, garbled, .. } = *self;
        let heard = self.answered + refused;
        let lost = f64::from(sent - heard) * 100.0 / f64::from(sent.max(1));
        let each = (self.took / heard.max(1)).as_millis();
        say!(
            lang,
            "发出 {sent} · 收到 {heard}（异常 {refused}）· 超时 {silent} · 错误 {garbled} · 丢失 {lost:.1} % · 平均 {each} ms",
            "{sent} sent, {heard} received ({refused} exceptions), {silent} timed out, {garbled} garbled, {lost:.1} % lost, {each} ms each"
        )
    }
}
