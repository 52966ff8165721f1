//! `alarms`: what is active, and what named persons do about it.

mod export;
mod list;
mod order;
mod show;
mod stats;
mod words;

use std::{io::ErrorKind, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::{Timestamp, tz::TimeZone};

pub use self::words::{kind_word, overlay_words, shown_state};
use self::{export::ExportArgs, list::ListArgs, show::ShowArgs, stats::StatsArgs};
use super::{exit, site::SiteArgs};
use crate::{
    app,
    config::{self, Site},
    console::door::{self, Answer, Question},
    domain::{
        AlarmState, Lang, OccurrenceId, Priority, SystemClock,
        command::{Act, Command, Outcome},
    },
    say,
    store::{Access, StoreError},
};

#[derive(Debug, Args)]
pub struct AlarmsArgs {
    #[command(subcommand)]
    verb: AlarmsVerb,
}

#[derive(Debug, Subcommand)]
enum AlarmsVerb {
    /// Alarms that are not closed / 未关闭的报警
    List(ListArgs),
    /// A person takes an alarm on / 确认报警
    Ack(AckArgs),
    /// A word left with an alarm, taking nothing on / 备注
    Note(NoteArgs),
    /// One alarm, step by step / 单个报警的全过程
    Show(ShowArgs),
    /// One alarm with everything that proves it, as a file / 导出证据包
    Export(ExportArgs),
    /// How much the alarms ask of people (EEMUA 191) / 报警负荷
    Stats(StatsArgs),
    /// Not announced for a while / 搁置
    Shelve(order::HoldArgs),
    /// Announced again / 取消搁置
    Unshelve(order::BackArgs),
    /// An alarm or a device out of service / 停用
    OutOfService(order::OutArgs),
    /// Back in service / 恢复使用
    InService(order::BackArgs),
    /// Help for someone shut in: dispatched, arrived, released / 救援：派遣、到场、解救
    Rescue(order::RescueArgs),
    /// A person closes it and says why / 关闭
    Close(order::CloseArgs),
}

#[derive(Debug, Args)]
struct AckArgs {
    /// The alarm's number, as `alarms list` shows it / 报警编号
    #[arg(value_name = "ID")]
    id: String,
    /// Who takes it on: a person's name / 确认人
    #[arg(long = "as", value_name = "NAME")]
    by: String,
    /// What should be remembered with it / 备注
    #[arg(short = 'm', long, value_name = "NOTE")]
    note: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Args)]
struct NoteArgs {
    /// The alarm's number, as `alarms list` shows it / 报警编号
    #[arg(value_name = "ID")]
    id: String,
    /// Who says so: a person's name / 备注人
    #[arg(long = "as", value_name = "NAME")]
    by: String,
    /// What should be remembered / 备注
    #[arg(short = 'm', long, value_name = "NOTE")]
    note: String,
    #[command(flatten)]
    site: SiteArgs,
}

impl AlarmsArgs {
    /// # Errors
    /// If the store cannot be read or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        match self.verb {
            AlarmsVerb::List(args) => list::list(&args, lang),
            AlarmsVerb::Ack(args) => ack(args, lang),
            AlarmsVerb::Note(args) => note(args, lang),
            AlarmsVerb::Show(args) => show::show(&args, lang),
            AlarmsVerb::Export(args) => export::export(&args, lang),
            AlarmsVerb::Stats(args) => stats::stats(&args, lang),
            AlarmsVerb::Shelve(args) => args.run(lang),
            AlarmsVerb::Unshelve(args) => args.run(Act::Unshelve, lang),
            AlarmsVerb::OutOfService(args) => args.run(lang),
            AlarmsVerb::InService(args) => args.run(Act::PutBack, lang),
            AlarmsVerb::Rescue(args) => args.run(lang),
            AlarmsVerb::Close(args) => args.run(lang),
        }
    }
}

/// The shape (for those who do not see colour) and the word of a priority.
pub fn priority_word(priority: Priority, lang: Lang) -> String {
    match priority {
        Priority::Critical => say!(lang, "▲ 紧急", "▲ critical"),
        Priority::High => say!(lang, "■ 高", "■ high"),
        Priority::Medium => say!(lang, "■ 中", "■ medium"),
        Priority::Low => say!(lang, "● 低", "● low"),
    }
}

pub fn state_word(state: AlarmState, lang: Lang) -> String {
    match state {
        AlarmState::ActiveUnacknowledged => say!(lang, "报警中·未确认", "active, unacknowledged"),
        AlarmState::ActiveAcknowledged => say!(lang, "报警中·已确认", "active, acknowledged"),
        AlarmState::ReturnedUnacknowledged => say!(lang, "已恢复·未确认", "returned, unacknowledged"),
        AlarmState::Closed => say!(lang, "已关闭", "closed"),
    }
}

/// A moment in the site's own time, with offset and milliseconds.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

fn ack(args: AckArgs, lang: Lang) -> anyhow::Result<u8> {
    let AckArgs { id, by, note, site } = args;
    let (alarm, by, from) = (OccurrenceId::from(id), by.trim().to_owned(), "cli".to_owned());
    leave_word(Command::Acknowledge { alarm, by, note, from }, &site, lang)
}

fn note(args: NoteArgs, lang: Lang) -> anyhow::Result<u8> {
    let NoteArgs { id, by, note, site } = args;
    let (alarm, by, from) = (OccurrenceId::from(id), by.trim().to_owned(), "cli".to_owned());
    leave_word(Command::Note { alarm, by, note, from }, &site, lang)
}

fn leave_word(command: Command, config: &SiteArgs, lang: Lang) -> anyhow::Result<u8> {
    if let Some(fault) = command.fault() {
        eprintln!("{}", fault.get(lang));
        return Ok(exit::USAGE);
    }
    let site = match config.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let outcome = super::run::runtime()?.block_on(carry_out(config, site, command))?;
    Ok(tell(&outcome, lang))
}

/// How often the door and the store are tried in turn, a moment apart, while a gateway starts or stops.
const TRIES: u32 = 20;
const MOMENT: Duration = Duration::from_millis(150);

/// By the door of the running gateway; where none runs, on the store itself.
pub(super) async fn carry_out(config: &SiteArgs, site: Site, command: Command) -> anyhow::Result<Outcome> {
    let dir = site.store.dir.clone();
    let mut site = Some(site);
    for _ in 0..TRIES {
        let at_rest = match door::visit(&dir, &Question::Command(command.clone())).await {
            Ok(Answer::Outcome(outcome)) => return Ok(outcome),
            Ok(Answer::NotUnderstood(why)) => {
                return Err(anyhow::anyhow!(why)).context("be understood by the running gateway");
            }
            Ok(Answer::Busy | Answer::Stopping) => false,
            Ok(Answer::Status(_) | Answer::Inquired(_) | Answer::Tape(_) | Answer::Drilled(_)) => {
                return Err(anyhow::anyhow!("get the answer to another question"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => true,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(StoreError::NotPermitted { path: door::path(&dir), access: Access::Read }.into());
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => return Err(error).context("reach the running gateway"),
        };
        if at_rest {
            let site = match site.take() {
                Some(site) => site,
                None => {
                    config::look(&config.config).map_err(|_| anyhow::anyhow!("read the site file again"))?
                }
            };
            match app::ask_at_rest(site, Arc::new(SystemClock::new()), command.clone()).await {
                // A gateway is just starting: its door opens in a moment.
                Err(error) if is_in_use(&error) => {}
                done => return done,
            }
        }
        tokio::time::sleep(MOMENT).await;
    }
    Ok(Outcome::NotStored { why: "the gateway is busy, starting or stopping; ask again".to_owned() })
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StoreError>(), Some(StoreError::InUse { .. }))
}

fn tell(outcome: &Outcome, lang: Lang) -> u8 {
    match outcome {
        Outcome::Acknowledged { alarm, state } => {
            let state = state_word(*state, lang);
            println!("{}", say!(lang, "✓ 已确认 {alarm}：{state}", "✓ acknowledged {alarm}: {state}"));
            exit::OK
        }
        Outcome::AlreadyAcknowledged { alarm, by } => {
            println!(
                "{}",
                say!(
                    lang,
                    "{alarm} 已由 {by} 确认；你的备注已记录。",
                    "{alarm} was acknowledged by {by} before; your note is kept."
                )
            );
            exit::OK
        }
        Outcome::NoSuchAlarm { alarm } => {
            eprintln!(
                "{}",
                say!(
                    lang,
                    "没有编号为 {alarm} 的未关闭报警。请用 gatehouse alarms list 查看。",
                    "there is no open alarm {alarm}; see gatehouse alarms list."
                )
            );
            exit::NOTHING_FOUND
        }
        Outcome::Noted { alarm } => {
            println!("{}", say!(lang, "✓ 备注已记录：{alarm}", "✓ noted with {alarm}"));
            exit::OK
        }
        Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::NoSuchDevice { .. }
        | Outcome::NoSuchCommand { .. }
        | Outcome::Operated { .. }
        | Outcome::Retried { .. }
        | Outcome::Discarded { .. }
        | Outcome::Settled { .. } => {
            eprintln!(
                "{}",
                say!(lang, "✕ 答非所问，请重试。", "✕ this answers another question; try again.")
            );
            exit::UNEXPECTED
        }
        Outcome::NotStored { why } => {
            eprintln!(
                "{}",
                say!(
                    lang,
                    "✕ 没有做成：未能保存（{why}）。请重试。",
                    "✕ not done: it could not be stored ({why}). Try again."
                )
            );
            exit::UNEXPECTED
        }
    }
}
