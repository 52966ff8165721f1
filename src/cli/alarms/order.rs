//! What persons decide of alarms besides taking them on: each by name, and where it matters with the reason.

use clap::{Args, ValueEnum};

use super::{carry_out, local, state_word};
use crate::{
    cli::{exit, run, site::SiteArgs},
    domain::{
        Lang, Period, RescueStep,
        command::{Act, Command, Order, Outcome},
    },
    say,
};

/// Who, and to which site.
#[derive(Debug, Args)]
struct Who {
    /// Who decides: a person's name / 操作人
    #[arg(long = "by", visible_alias = "as", value_name = "NAME")]
    by: String,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Device/alarm, or the alarm's number / 设备/报警，或编号
    #[arg(value_name = "ID")]
    id: String,
    /// For how long: "30m", "2h" / 时长
    #[arg(long = "for", value_name = "TIME")]
    length: Period,
    /// Why / 原因
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
pub struct OutArgs {
    /// A device, device/alarm, or an alarm's number / 设备、设备/报警，或编号
    #[arg(value_name = "ID")]
    id: String,
    /// For how long at most: "8h", "30d" / 最长时间
    #[arg(long = "for", value_name = "TIME")]
    length: Period,
    /// Why / 原因
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    /// Also what is a matter of life: somebody watches meanwhile / 包括关系人身安全的报警：已另派人值守
    #[arg(long)]
    life_safety: bool,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
pub struct BackArgs {
    /// What was shelved or taken out / 搁置或停用的报警或设备
    #[arg(value_name = "ID")]
    id: String,
    /// What should be remembered with it / 备注
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
pub struct RescueArgs {
    /// Device/alarm, or the alarm's number / 设备/报警，或编号
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_enum)]
    step: Step,
    /// What should be remembered with it / 备注
    #[arg(short = 'm', long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    who: Who,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Step {
    /// Help is on its way / 已派遣
    Dispatched,
    /// Help is there / 已到场
    Arrived,
    /// Nobody is shut in any more / 已解救
    Released,
}

#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Device/alarm, or the alarm's number / 设备/报警，或编号
    #[arg(value_name = "ID")]
    id: String,
    /// Why / 原因
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: Who,
}

impl HoldArgs {
    pub(super) fn run(self, lang: Lang) -> anyhow::Result<u8> {
        self.who.order(self.id, Act::Shelve { length: self.length.0 }, Some(self.reason), lang)
    }
}

impl OutArgs {
    pub(super) fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let act = Act::TakeOut { length: self.length.0, life_safety: self.life_safety };
        self.who.order(self.id, act, Some(self.reason), lang)
    }
}

impl BackArgs {
    pub(super) fn run(self, act: Act, lang: Lang) -> anyhow::Result<u8> {
        self.who.order(self.id, act, self.reason, lang)
    }
}

impl RescueArgs {
    pub(super) fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let step = match self.step {
            Step::Dispatched => RescueStep::Dispatched,
            Step::Arrived => RescueStep::Arrived,
            Step::Released => RescueStep::Released,
        };
        self.who.order(self.id, Act::Rescue { step }, self.note, lang)
    }
}

impl CloseArgs {
    pub(super) fn run(self, lang: Lang) -> anyhow::Result<u8> {
        self.who.order(self.id, Act::Close, Some(self.reason), lang)
    }
}

impl Who {
    fn order(self, subject: String, act: Act, note: Option<String>, lang: Lang) -> anyhow::Result<u8> {
        let (by, from) = (self.by.trim().to_owned(), "cli".to_owned());
        let command = Command::Alarm(Order { subject: subject.clone(), act: act.clone(), by, note, from });
        if let Some(fault) = command.fault() {
            eprintln!("{}", fault.get(lang));
            return Ok(exit::USAGE);
        }
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let zone = site.timezone.clone();
        let outcome = run::runtime()?.block_on(carry_out(&self.site, site, command))?;
        let (told, code) = match &outcome {
            Outcome::Ordered { alarms, state, until } => {
                let mut told = done(&act, &subject, *alarms, lang);
                if let Some(until) = until.map(|until| local(until, &zone)) {
                    told += &say!(lang, "，到 {until} 为止", ", until {until}");
                }
                if let Some(state) = state.map(|state| state_word(state, lang)) {
                    told += &say!(lang, "：{state}", ": {state}");
                }
                println!("{told}");
                return Ok(exit::OK);
            }
            Outcome::TurnedDown { no_such, at, why } => {
                let code = if *no_such { exit::NOTHING_FOUND } else { exit::NOT_PERMITTED };
                let at = at.map_or_else(String::new, |at| format!(" ({})", local(at, &zone)));
                let why = why.get(lang);
                (say!(lang, "✕ 没有做：{why}{at}。", "✕ not done: {why}{at}."), code)
            }
            Outcome::NotStored { why } => (
                say!(
                    lang,
                    "✕ 没有做成：未能保存（{why}）。请重试。",
                    "✕ not done: it could not be stored ({why}). Try again."
                ),
                exit::UNEXPECTED,
            ),
            Outcome::Acknowledged { .. }
            | Outcome::AlreadyAcknowledged { .. }
            | Outcome::NoSuchAlarm { .. }
            | Outcome::NoSuchDevice { .. }
            | Outcome::NoSuchCommand { .. }
            | Outcome::Operated { .. }
            | Outcome::Retried { .. }
            | Outcome::Noted { .. }
            | Outcome::Discarded { .. }
            | Outcome::Settled { .. } => (
                say!(lang, "✕ 答非所问，请重试。", "✕ this answers another question; try again."),
                exit::UNEXPECTED,
            ),
        };
        eprintln!("{told}");
        Ok(code)
    }
}

fn done(act: &Act, subject: &str, alarms: usize, lang: Lang) -> String {
    match act {
        Act::Shelve { .. } => say!(lang, "✓ 已搁置 {subject}", "✓ shelved {subject}"),
        Act::Unshelve => say!(lang, "✓ 已取消搁置 {subject}", "✓ unshelved {subject}"),
        Act::TakeOut { .. } => {
            say!(
                lang,
                "✓ 已停用 {subject}（{alarms} 个报警）",
                "✓ out of service: {subject} ({alarms} alarms)"
            )
        }
        Act::PutBack => {
            say!(
                lang,
                "✓ 已恢复使用 {subject}（{alarms} 个报警）",
                "✓ in service: {subject} ({alarms} alarms)"
            )
        }
        Act::Close => say!(lang, "✓ 已关闭 {subject}", "✓ closed {subject}"),
        Act::Rescue { step: RescueStep::Dispatched } => {
            say!(lang, "✓ 已记录派遣 {subject}", "✓ help is on its way: {subject}")
        }
        Act::Rescue { step: RescueStep::Arrived } => {
            say!(lang, "✓ 已记录到场 {subject}", "✓ help has arrived: {subject}")
        }
        Act::Rescue { step: RescueStep::Released } => {
            say!(lang, "✓ 已记录解救 {subject}", "✓ released: {subject}")
        }
    }
}
