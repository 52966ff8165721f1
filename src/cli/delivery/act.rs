//! `delivery retry` and `delivery discard`: by the running gateway's door, or on the store where none runs. A named person, in
//! the audit.

use clap::Args;

use crate::{
    cli::{alarms::carry_out, exit, run::runtime, site::SiteArgs},
    domain::{
        Lang,
        command::{Command, Outcome},
    },
    say,
};

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// This letter only, by its number in `delivery show` / 只重发这一条
    #[arg(long, value_name = "NUMBER")]
    letter: Option<i64>,
    /// Who does it / 操作人姓名
    #[arg(long = "as", value_name = "NAME")]
    by: String,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Who does it / 操作人姓名
    #[arg(long = "as", value_name = "NAME")]
    by: String,
    /// Why / 原因
    #[arg(short = 'm', long = "note")]
    note: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
}

impl RetryArgs {
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let command = Command::Retry {
            endpoint: self.endpoint.as_str().into(),
            letter: self.letter,
            by: self.by.trim().to_owned(),
            from: "cli".to_owned(),
        };
        carry(&self.site, command, None, lang)
    }
}

impl DiscardArgs {
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let command = Command::Discard {
            endpoint: self.endpoint.as_str().into(),
            by: self.by.trim().to_owned(),
            note: self.note,
            from: "cli".to_owned(),
        };
        carry(&self.site, command, Some(&self.endpoint), lang)
    }
}

/// `gone`: an endpoint that the site may not name.
fn carry(args: &SiteArgs, command: Command, gone: Option<&str>, lang: Lang) -> anyhow::Result<u8> {
    if let Some(fault) = command.fault() {
        eprintln!("{}", fault.get(lang));
        return Ok(exit::USAGE);
    }
    let site = match args.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    if let Some(id) = gone.filter(|gone| site.endpoints.iter().any(|endpoint| *endpoint.id == **gone)) {
        eprintln!(
            "{}",
            say!(
                lang,
                "✕ 配置里还有上报目标 {id}，它的消息会送出：先从配置里删掉它并重启网关，再放弃。",
                "✕ {id} is an endpoint of this site, its letters will go: take it out of the site file and restart first."
            )
        );
        return Ok(exit::USAGE);
    }
    let outcome = runtime()?.block_on(carry_out(args, site, command))?;
    let (told, code) = told(&outcome, lang);
    if code == exit::OK {
        println!("{told}");
    } else {
        eprintln!("{told}");
    }
    Ok(code)
}

fn told(outcome: &Outcome, lang: Lang) -> (String, u8) {
    match outcome {
        Outcome::Retried { endpoint, letters: 0 } => {
            let told = say!(
                lang,
                "{endpoint} 没有这样的搁置消息。见 gatehouse delivery show。",
                "no such letter is set aside for {endpoint}; see gatehouse delivery show."
            );
            (told, exit::NOTHING_FOUND)
        }
        Outcome::Retried { endpoint, letters } => {
            let told = say!(
                lang,
                "✓ {letters} 条消息重新排队送往 {endpoint}。",
                "✓ {letters} letters queued again for {endpoint}."
            );
            (told, exit::OK)
        }
        Outcome::Discarded { endpoint, letters: 0 } => {
            let told = say!(lang, "{endpoint} 没有未送达的消息。", "nothing waits for {endpoint}.");
            (told, exit::NOTHING_FOUND)
        }
        Outcome::Discarded { endpoint, letters } => {
            let told = say!(
                lang,
                "✓ 已放弃送往 {endpoint} 的 {letters} 条消息，已记入审计。",
                "✓ {letters} letters for {endpoint} are given up; the audit says who did it."
            );
            (told, exit::OK)
        }
        Outcome::NotStored { why } => {
            let told = say!(
                lang,
                "✕ 没有做成：未能保存（{why}）。请重试。",
                "✕ not done: it could not be stored ({why}). Try again."
            );
            (told, exit::UNEXPECTED)
        }
        Outcome::Acknowledged { .. }
        | Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::AlreadyAcknowledged { .. }
        | Outcome::NoSuchAlarm { .. }
        | Outcome::Noted { .. }
        | Outcome::NoSuchDevice { .. }
        | Outcome::NoSuchCommand { .. }
        | Outcome::Settled { .. }
        | Outcome::Operated { .. } => (
            say!(lang, "✕ 答非所问，请重试。", "✕ this answers another question; try again."),
            exit::UNEXPECTED,
        ),
    }
}
