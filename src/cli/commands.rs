//! `commands list|send`: what devices can be told, and a named person telling one.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use serde_json::json;
use tokio::time::sleep;

use super::{exit, site::SiteArgs};
use crate::{
    config::Site,
    console::door::{self, Answer, Question},
    domain::{
        CommandName, Ending, Lang, Value,
        command::{Command, Operate, Outcome},
    },
    profile::{self, Device},
    say,
    store::{Access, StoreError},
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct CommandsArgs {
    #[command(subcommand)]
    verb: CommandsVerb,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse commands list                                   what each device can be told / 可用命令
  gatehouse commands send lamp-3 set_dimming 40 --as 张伟    once, read back, in the audit / 下发一次并读回
Never sent twice by itself; elevators are never told anything. / 不会自动重发；对电梯只读不写。";

#[derive(Debug, Subcommand)]
enum CommandsVerb {
    /// What devices can be told / 可用命令
    List(ListArgs),
    /// A person tells a device something, once / 下发命令（只发一次）
    Send(SendArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// One device only / 仅某台设备
    #[arg(value_name = "DEVICE")]
    device: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
struct SendArgs {
    #[arg(value_name = "DEVICE")]
    device: String,
    /// As `commands list` shows it / 命令名
    #[arg(value_name = "COMMAND")]
    command: String,
    /// A number, a word, or true/false (on/off, 开/关) / 数值、词或开关
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: String,
    /// Who asks: a person's name / 操作人
    #[arg(long = "as", value_name = "NAME")]
    by: String,
    /// What should be remembered with it / 备注
    #[arg(short = 'm', long, value_name = "NOTE")]
    note: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    /// The outcome as one JSON object
    #[arg(long)]
    json: bool,
}

impl CommandsArgs {
    /// # Errors
    /// If the answer cannot be had or printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        match self.verb {
            CommandsVerb::List(args) => list(&args, lang),
            CommandsVerb::Send(args) => send(&args, lang),
        }
    }
}

fn list(args: &ListArgs, lang: Lang) -> anyhow::Result<u8> {
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    if let Some(id) = &args.device
        && find(&site, id).is_none()
    {
        no_such_device(id, lang);
        return Ok(exit::NOTHING_FOUND);
    }
    let devices =
        site.devices.iter().filter(|device| args.device.as_ref().is_none_or(|id| *id == *device.id));
    let all = devices.flat_map(|device| device.profile.commands.iter().map(move |command| (device, command)));
    let mut out = io::stdout().lock();
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(match lang {
        Lang::Zh => ["设备", "命令", "说明", "可取值", "由此读回", "联锁"],
        Lang::En => ["device", "command", "title", "takes", "read back", "interlock"],
    });
    let mut found = false;
    for (device, command) in all {
        found = true;
        match args.json {
            true => writeln!(out, "{}", record(device, command))?,
            false => drop(table.add_row(row(device, command, lang))),
        }
    }
    match (found, args.json) {
        (true, false) => writeln!(out, "{table}")?,
        (false, false) => writeln!(out, "{}", say!(lang, "没有可下发的命令。", "There is nothing to tell."))?,
        (true | false, true) => {}
    }
    Ok(exit::OK)
}

fn find<'s>(site: &'s Site, id: &str) -> Option<&'s Device> {
    site.devices.iter().find(|device| *device.id == *id)
}

fn no_such_device(id: &str, lang: Lang) {
    eprintln!("{}", say!(lang, "没有设备 \"{id}\"。", "there is no device \"{id}\"."));
}

fn read_back<'d>(device: &'d Device, command: &profile::Command) -> Option<&'d str> {
    command.read_back.map(|point| device.profile.points[usize::from(point.0)].name.as_str())
}

fn row(device: &Device, command: &profile::Command, lang: Lang) -> [String; 6] {
    let dash = || "–".to_owned();
    let takes = match command.range {
        Some([low, high]) => format!("{low} … {high}"),
        None => Some(command.words().join(" | ")).filter(|words| !words.is_empty()).unwrap_or_else(dash),
    };
    [
        device.id.to_string(),
        command.name.to_string(),
        command.title.get(lang).to_owned(),
        takes,
        read_back(device, command).map_or_else(dash, str::to_owned),
        command.interlock.as_ref().map_or_else(dash, |interlock| interlock.source.clone()),
    ]
}

fn record(device: &Device, command: &profile::Command) -> serde_json::Value {
    json!({
        "device": device.id, "command": command.name, "title": command.title, "range": command.range,
        "values": command.words(), "read_back": read_back(device, command),
        "interlock": command.interlock.as_ref().map(|interlock| &interlock.source),
    })
}

fn send(args: &SendArgs, lang: Lang) -> anyhow::Result<u8> {
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let Some(device) = find(&site, &args.device) else {
        no_such_device(&args.device, lang);
        return Ok(exit::NOTHING_FOUND);
    };
    let command = Command::Operate(Operate {
        device: device.id.clone(),
        command: args.command.as_str().into(),
        // What is no value of the command goes in as it stands: the refusal belongs into the audit.
        value: match device.profile.command(&args.command).map(|command| command.value_in(&args.value)) {
            Some(Ok(value)) => value,
            Some(Err(_)) | None => Value::from(args.value.as_str()),
        },
        by: args.by.trim().to_owned(),
        from: "cli".to_owned(),
        note: args.note.clone(),
        firing: None,
    });
    if let Some(fault) = command.fault() {
        eprintln!("{}", fault.get(lang));
        return Ok(exit::USAGE);
    }
    let told = super::run::runtime()?.block_on(carry_out(&site.store.dir, command, lang))?;
    match told {
        Some(outcome) => tell(&outcome, args.json, lang),
        None => {
            let told = say!(
                lang,
                "✕ 没有下发：网关没有运行（gatehouse run）。",
                "✕ not sent: no gateway runs (gatehouse run)."
            );
            eprintln!("{told}");
            Ok(exit::UNEXPECTED)
        }
    }
}

/// A device, its line and three polls of its read-back point take their time; nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(180);
/// When somebody who waits is told what is going on.
const PROGRESS: Duration = Duration::from_secs(2);

/// `None`: no gateway runs. Asked once, whatever happens: a connection that broke off is not asked again.
async fn carry_out(dir: &Path, command: Command, lang: Lang) -> anyhow::Result<Option<Outcome>> {
    let question = Question::Command(command);
    let asked = door::visit_for(dir, &question, PATIENCE);
    let talk = async {
        sleep(PROGRESS).await;
        if io::stderr().is_terminal() {
            eprintln!(
                "{}",
                say!(lang, "… 已下发，等待设备和读回", "… sent; waiting for the device and its read-back")
            );
        }
        std::future::pending::<()>().await;
    };
    let answered = tokio::select! {
        answered = asked => answered,
        () = talk => return Ok(None),
    };
    match answered {
        Ok(Answer::Outcome(outcome)) => Ok(Some(outcome)),
        Ok(Answer::NotUnderstood(why)) => Err(anyhow!(why)).context("be understood by the running gateway"),
        Ok(Answer::Busy) => {
            Err(anyhow!("too many ask at the same time")).context("reach the running gateway")
        }
        Ok(Answer::Stopping) => {
            Err(anyhow!("the gateway stops; its audit says what came of it")).context("hear the outcome")
        }
        Ok(Answer::Status(_) | Answer::Tape(_) | Answer::Inquired(_) | Answer::Drilled(_)) => {
            Err(anyhow!("get the answer to another question"))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(StoreError::NotPermitted { path: door::path(dir), access: Access::Read }.into())
        }
        Err(error) => Err(error).context("hear the outcome; it may have been done"),
    }
}

/// Prints the outcome and gives its exit code.
fn tell(outcome: &Outcome, as_json: bool, lang: Lang) -> anyhow::Result<u8> {
    if as_json {
        writeln!(io::stdout().lock(), "{}", outcome_record(outcome))?;
        return Ok(code_of(outcome));
    }
    let said = sentence(outcome, lang);
    match code_of(outcome) {
        exit::OK => writeln!(io::stdout().lock(), "✓ {said}")?,
        _ => eprintln!("✕ {said}"),
    }
    Ok(code_of(outcome))
}

fn sentence(outcome: &Outcome, lang: Lang) -> String {
    match outcome {
        Outcome::Operated { device, command, value, ending } => {
            let (colon, ending) = (say!(lang, "：", ": "), ending.text());
            format!("{device} {command} = {value}{colon}{}", ending.get(lang))
        }
        Outcome::NoSuchDevice { device } => {
            say!(lang, "没有设备 \"{device}\"", "there is no device \"{device}\"")
        }
        Outcome::NoSuchCommand { device, known } => {
            let known = known.iter().map(CommandName::as_str).collect::<Vec<_>>().join(", ");
            match known.is_empty() {
                true => say!(lang, "{device} 没有任何命令", "{device} can be told nothing"),
                false => say!(
                    lang,
                    "{device} 没有这条命令；有：{known}",
                    "{device} has no such command; it has: {known}"
                ),
            }
        }
        Outcome::NotStored { why } => {
            say!(lang, "没有下发：未能记录（{why}）", "not sent: it could not be recorded ({why})")
        }
        Outcome::Acknowledged { .. }
        | Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::AlreadyAcknowledged { .. }
        | Outcome::NoSuchAlarm { .. }
        | Outcome::Retried { .. }
        | Outcome::Noted { .. }
        | Outcome::Discarded { .. }
        | Outcome::Settled { .. } => {
            say!(lang, "答非所问", "this answers another question")
        }
    }
}

fn outcome_record(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Operated { device, command, value, ending } => json!({
            "device": device, "command": command, "value": value, "outcome": ending.word(), "message": ending.text(),
        }),
        Outcome::NoSuchDevice { device } => json!({ "device": device, "outcome": "no_such_device" }),
        Outcome::NoSuchCommand { device, known } => {
            json!({ "device": device, "outcome": "no_such_command", "known": known })
        }
        Outcome::NotStored { why } => json!({ "outcome": "not_stored", "why": why }),
        Outcome::Acknowledged { .. }
        | Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::AlreadyAcknowledged { .. }
        | Outcome::NoSuchAlarm { .. }
        | Outcome::Retried { .. }
        | Outcome::Noted { .. }
        | Outcome::Discarded { .. }
        | Outcome::Settled { .. } => {
            json!({ "outcome": "unexpected" })
        }
    }
}

fn code_of(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Operated { ending, .. } => match ending {
            Ending::ReadBack { .. } | Ending::Accepted | Ending::NotNeeded => exit::OK,
            Ending::Unfit { .. } => exit::USAGE,
            Ending::Unknown { .. } | Ending::NotSent { .. } | Ending::NotShown { accepted: false, .. } => {
                exit::NO_ANSWER
            }
            Ending::Interlock { .. } | Ending::NeverTold => exit::NOT_PERMITTED,
            Ending::NotShown { .. } => exit::NOT_VERIFIED,
            Ending::Refused { .. } | Ending::Busy | Ending::NotYet => exit::UNEXPECTED,
        },
        Outcome::NoSuchDevice { .. } | Outcome::NoSuchCommand { .. } => exit::NOTHING_FOUND,
        Outcome::NotStored { .. }
        | Outcome::Acknowledged { .. }
        | Outcome::Ordered { .. }
        | Outcome::TurnedDown { .. }
        | Outcome::AlreadyAcknowledged { .. }
        | Outcome::NoSuchAlarm { .. }
        | Outcome::Retried { .. }
        | Outcome::Noted { .. }
        | Outcome::Discarded { .. }
        | Outcome::Settled { .. } => exit::UNEXPECTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Text;

    #[test]
    fn each_ending_has_its_sentence_and_its_exit_code() {
        let why = || Text::new("原因", "the reason");
        let shown =
            |accepted| Ending::NotShown { point: "dimming".into(), shows: Some(0.0.into()), accepted };
        for (ending, code, zh, en) in [
            (
                Ending::ReadBack { point: "dimming".into(), after_ms: 2140 },
                0,
                "已执行，2.1 秒后由 dimming 读回",
                "done, dimming shows it after 2.1 s",
            ),
            (
                Ending::Accepted,
                0,
                "设备已接受；没有测点可以读回",
                "accepted by the device; no point can show it",
            ),
            (shown(true), 9, "设备已接受，但 dimming 显示 0", "accepted by the device, but dimming shows 0"),
            (
                shown(false),
                5,
                "设备没有应答，但 dimming 显示 0",
                "the device did not answer, but dimming shows 0",
            ),
            (
                Ending::Unknown { why: why() },
                5,
                "不知道是否执行：原因",
                "nobody knows whether it was done: the reason",
            ),
            (Ending::Refused { why: why() }, 1, "设备拒绝：原因", "refused by the device: the reason"),
            (Ending::NotSent { why: why() }, 5, "没有发出：原因", "not sent: the reason"),
            (Ending::Unfit { why: why() }, 2, "没有发出：原因", "not sent: the reason"),
            (
                Ending::Interlock { condition: "a > 1.0".to_owned(), why: why() },
                8,
                "联锁不允许（a > 1.0）：原因",
                "not sent, its interlock (a > 1.0) does not hold: the reason",
            ),
            (Ending::NeverTold, 8, "没有发出：对电梯只读不写", "not sent: an elevator is never written to"),
        ] {
            let outcome = Outcome::Operated {
                device: "lamp-3".into(),
                command: "set_dimming".into(),
                value: 40.0.into(),
                ending,
            };
            assert_eq!(code_of(&outcome), code, "{outcome:?}");
            assert_eq!(sentence(&outcome, Lang::Zh), format!("lamp-3 set_dimming = 40：{zh}"));
            assert_eq!(sentence(&outcome, Lang::En), format!("lamp-3 set_dimming = 40: {en}"));
        }
    }
}
