//! `delivery show`: letters one by one.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets::NOTHING};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{plain, printable, rfc_3339};
use crate::{
    cli::{
        alarms::priority_word,
        exit,
        site::{SiteArgs, if_stored},
    },
    domain::{HindranceKind, Lang},
    say,
    store::{LetterFilter, LetterRow, LetterState, Reader},
};

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// One endpoint only / 仅某个目标
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    /// Only these; what is not delivered if left out / 只看某种状态
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Delivered ones too / 包括已送达
    #[arg(long)]
    all: bool,
    /// One event's letters, to all endpoints / 某个事件
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// At most so many, the latest
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Queued,
    Delivered,
    #[value(alias = "set-aside")]
    SetAside,
}

impl ShowArgs {
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let state = self.state.map(|state| match state {
            State::Queued => LetterState::Queued,
            State::Delivered => LetterState::Delivered,
            State::SetAside => LetterState::SetAside,
        });
        let filter = LetterFilter {
            endpoint: self.endpoint,
            state,
            all: self.all,
            event: self.event,
            limit: self.limit,
        };
        let letters = match if_stored(Reader::open(&site.store.dir), lang)? {
            Some(reader) => reader.letters(&filter)?,
            None => Vec::new(),
        };
        let mut out = io::stdout().lock();
        if self.json {
            letters.iter().try_for_each(|letter| writeln!(out, "{}", record(letter, &site.timezone)))?;
        } else if letters.is_empty() {
            writeln!(out, "{}", say!(lang, "没有这样的消息。", "No such letters."))?;
        } else {
            writeln!(out, "{}", table(&letters, &site.timezone, lang))?;
        }
        Ok(if letters.is_empty() { exit::NOTHING_FOUND } else { exit::OK })
    }
}

fn record(letter: &LetterRow, zone: &TimeZone) -> serde_json::Value {
    let moment = |at: Option<Timestamp>| at.map(|at| rfc_3339(at, zone));
    json!({
        "letter": letter.number,
        "endpoint": letter.endpoint,
        "event": letter.event_id,
        "seq": letter.seq,
        "device": letter.device,
        "alarm": letter.alarm,
        "kind": letter.kind,
        "at": moment(letter.at),
        "priority": letter.priority,
        "state": letter.state.word(),
        "attempts": letter.attempts,
        "tried_at": moment(letter.tried_at),
        "next_at": moment(letter.next_at),
        "trouble": letter.hindrance,
        "last_error": letter.last_error,
        "delivered_at": moment(letter.delivered_at),
        "receipt_status": letter.receipt_status,
        "receipt_said": letter.receipt_said,
    })
}

fn table(letters: &[LetterRow], zone: &TimeZone, lang: Lang) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        say!(lang, "消息", "LETTER"),
        say!(lang, "目标", "ENDPOINT"),
        say!(lang, "时间", "WHEN"),
        say!(lang, "报警", "ALARM"),
        say!(lang, "级别", "PRIORITY"),
        say!(lang, "状态", "STATE"),
        say!(lang, "次数", "TRIES"),
        say!(lang, "最近尝试", "LAST TRY"),
        say!(lang, "下次", "NEXT"),
        say!(lang, "回执或原因", "RECEIPT OR REASON"),
    ]);
    let moment = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| plain(at, zone));
    table.add_rows(letters.iter().map(|letter| {
        let kind = letter.kind.as_deref().unwrap_or("?");
        [
            letter.number.to_string(),
            letter.endpoint.clone(),
            moment(letter.at),
            format!("{}/{} {kind}", letter.device, letter.alarm),
            priority_word(letter.priority, lang),
            state_word(letter.state, lang),
            letter.attempts.to_string(),
            moment(letter.tried_at),
            moment(letter.next_at),
            printable(&said(letter, lang)),
        ]
    }));
    table.trim_fmt()
}

fn state_word(state: LetterState, lang: Lang) -> String {
    match state {
        LetterState::Queued => say!(lang, "待发", "queued"),
        LetterState::Delivered => say!(lang, "已送达", "delivered"),
        LetterState::SetAside => say!(lang, "搁置", "set aside"),
    }
}

/// The receipt of what was delivered; of anything else what kept it, and what to do about that.
fn said(letter: &LetterRow, lang: Lang) -> String {
    if letter.state == LetterState::Delivered {
        let status = letter.receipt_status.map_or_else(String::new, |status| status.to_string());
        return format!("{status} {}", letter.receipt_said.as_deref().unwrap_or_default()).trim().to_owned();
    }
    let Some(error) = &letter.last_error else { return "-".to_owned() };
    let kind = letter.hindrance.as_deref().and_then(HindranceKind::of);
    match kind {
        Some(kind) => {
            let (said, advice) = (error.get(lang), kind.advice());
            let advice = advice.get(lang);
            say!(lang, "{said}。{advice}", "{said}. {advice}")
        }
        None => error.get(lang).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Priority, Text};

    fn letter(state: LetterState) -> LetterRow {
        LetterRow {
            number: 7,
            endpoint: "inspection".into(),
            event_id: "0b6f".into(),
            seq: 3,
            device: "lift-1".into(),
            alarm: "door_fault".into(),
            kind: Some("raised".into()),
            at: Some("2026-11-23T06:03:11.4Z".parse().unwrap()),
            priority: Priority::High,
            state,
            attempts: 3,
            tried_at: Some("2026-11-23T06:03:20Z".parse().unwrap()),
            next_at: None,
            hindrance: Some("letter_refused".into()),
            last_error: Some(Text::new("应答 422：\u{1b}[2J?", "answered 422: \u{1b}[2J?")),
            delivered_at: None,
            receipt_status: Some(202),
            receipt_said: Some("got it".into()),
        }
    }

    #[test]
    fn a_letter_tells_what_became_of_it() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        for (state, lang, parts) in [
            (
                LetterState::SetAside,
                Lang::En,
                &["set aside", "answered 422:", "delivery retry", "14:03:20", "raised"][..],
            ),
            (LetterState::SetAside, Lang::Zh, &["搁置", "应答 422：", "delivery retry"]),
            (LetterState::Delivered, Lang::En, &["delivered", "202 got it"]),
            (LetterState::Queued, Lang::Zh, &["待发"]),
        ] {
            let told = table(&[letter(state)], &zone, lang);
            assert!(!told.contains('\u{1b}'), "a receiver's words must not move the cursor");
            for part in parts {
                assert!(told.contains(part), "{state:?}: {part} in {told}");
            }
        }
        let record = record(&letter(LetterState::SetAside), &zone);
        assert_eq!((&record["state"], &record["attempts"]), (&json!("set_aside"), &json!(3)));
        assert_eq!(record["last_error"]["zh"], "应答 422：\u{1b}[2J?");
    }
}
