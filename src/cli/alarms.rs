//! `alarms list|ack`: what is active, and a named person taking it on.

use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{
    exit,
    site::{SiteArgs, if_stored},
};
use crate::{
    app,
    config::{self, Site},
    console::door::{self, Answer, Question},
    domain::{
        AlarmState, Lang, OccurrenceId, Priority, SystemClock,
        command::{Command, Outcome},
    },
    say,
    store::{Access, AlarmFilter, AlarmRow, Alarms, Reader, StoreError},
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
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Closed ones too, the latest first / 包括已关闭的
    #[arg(long)]
    all: bool,
    /// Of one device only / 仅某台设备
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
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

impl AlarmsArgs {
    /// # Errors
    /// If the store cannot be read or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        match self.verb {
            AlarmsVerb::List(args) => list(&args, lang),
            AlarmsVerb::Ack(args) => ack(args, lang),
        }
    }
}

fn list(args: &ListArgs, lang: Lang) -> anyhow::Result<u8> {
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let filter = AlarmFilter { closed: args.all, device: args.device.clone(), ..AlarmFilter::default() };
    let found = match if_stored(Reader::open(&site.store.dir), lang)? {
        Some(reader) => reader.alarms(&filter)?,
        None => Alarms::default(),
    };
    write_list(&found, args, &site.timezone, lang, &mut io::stdout().lock(), &mut io::stderr().lock())?;
    Ok(exit::OK)
}

/// The alarms go to `out`; what was left out is said to `talk`.
fn write_list(
    found: &Alarms,
    args: &ListArgs,
    zone: &TimeZone,
    lang: Lang,
    out: &mut impl Write,
    talk: &mut impl Write,
) -> io::Result<()> {
    if args.json {
        for row in &found.rows {
            writeln!(out, "{}", record(row, zone))?;
        }
    } else if found.rows.is_empty() {
        let nothing = match args.all {
            true => say!(lang, "没有报警记录。", "No alarms on record."),
            false => say!(lang, "没有未关闭的报警。", "No open alarms."),
        };
        writeln!(out, "{nothing}")?;
    } else {
        writeln!(out, "{}", table(&found.rows, zone, lang))?;
    }
    if found.left_out > 0 {
        let more = found.left_out;
        let told = say!(
            lang,
            "… 还有 {more} 条未列出；用 --device 只看一台设备。",
            "… and {more} more, not listed; --device shows those of one device."
        );
        writeln!(talk, "{told}")?;
    }
    Ok(())
}

fn record(row: &AlarmRow, zone: &TimeZone) -> serde_json::Value {
    json!({
        "id": row.occurrence, "occurrence": row.occurrence, "device": row.device, "alarm": row.alarm, "name": row.alarm,
        "title": row.title, "priority": row.priority, "state": row.state,
        "raised_at": local(row.raised_at, zone),
        "returned_at": row.returned_at.map(|at| local(at, zone)),
        "acknowledged": row.acknowledged.as_ref().map(|ack| json!({
            "by": ack.by, "at": local(ack.at, zone), "note": ack.note, "from": ack.from,
        })),
        "demo": row.demo,
    })
}

fn table(rows: &[AlarmRow], zone: &TimeZone, lang: Lang) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(match lang {
        Lang::Zh => ["编号", "级别", "状态", "开始", "设备", "报警", "确认人"],
        Lang::En => ["id", "priority", "state", "raised", "device", "alarm", "acknowledged by"],
    });
    for row in rows {
        table.add_row([
            row.occurrence.clone(),
            priority_word(row.priority, lang),
            state_word(row.state, lang),
            local(row.raised_at, zone),
            format!("{} {}", row.device, row.device_name),
            row.title.get(lang).to_owned(),
            row.acknowledged.as_ref().map_or_else(|| "–".to_owned(), |ack| ack.by.clone()),
        ]);
    }
    table
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
    let command = Command::Acknowledge {
        alarm: OccurrenceId::from(args.id.as_str()),
        by: args.by.trim().to_owned(),
        note: args.note.clone(),
        from: "cli".to_owned(),
    };
    if let Some(fault) = command.fault() {
        eprintln!("{}", fault.get(lang));
        return Ok(exit::USAGE);
    }
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let outcome = super::run::runtime()?.block_on(carry_out(&args.site, site, command))?;
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
        Outcome::NoSuchDevice { .. }
        | Outcome::NoSuchCommand { .. }
        | Outcome::Operated { .. }
        | Outcome::Retried { .. }
        | Outcome::Discarded { .. } => {
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
                    "✕ 没有确认：未能保存（{why}）。请重试。",
                    "✕ not acknowledged: it could not be stored ({why}). Try again."
                )
            );
            exit::UNEXPECTED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Text;

    fn listed(words: &[&str], left_out: u64, rows: Vec<AlarmRow>, lang: Lang) -> (String, String) {
        let command = <ListArgs as Args>::augment_args(clap::Command::new("list").no_binary_name(true));
        let args =
            <ListArgs as clap::FromArgMatches>::from_arg_matches(&command.get_matches_from(words)).unwrap();
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        write_list(&Alarms { rows, left_out }, &args, &TimeZone::UTC, lang, &mut out, &mut talk).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }

    fn trapped(state: AlarmState) -> AlarmRow {
        AlarmRow {
            occurrence: "9c1e-12".to_owned(),
            device: "lift-1".to_owned(),
            device_name: "1号电梯".to_owned(),
            alarm: "passenger_trapped".to_owned(),
            title: Text::new("电梯困人", "passenger trapped"),
            priority: Priority::Critical,
            state,
            raised_at: "2026-11-23T06:03:11.482Z".parse().unwrap(),
            returned_at: None,
            acknowledged: None,
            demo: false,
        }
    }

    #[test]
    fn nothing_found_is_said_as_what_was_asked() {
        for (words, zh, en) in [
            (&[][..], "没有未关闭的报警。\n", "No open alarms.\n"),
            (&["--all"], "没有报警记录。\n", "No alarms on record.\n"),
            (&["--json"], "", ""),
            (&["--all", "--json"], "", ""),
        ] {
            for (lang, expected) in [(Lang::Zh, zh), (Lang::En, en)] {
                let (out, talk) = listed(words, 0, Vec::new(), lang);
                assert_eq!((out.as_str(), talk.as_str()), (expected, ""), "{words:?} {lang:?}");
            }
        }
    }

    #[test]
    fn states_have_the_words_of_the_trade_and_what_is_left_out_is_said() {
        for (state, word) in [
            (AlarmState::ActiveUnacknowledged, "报警中·未确认"),
            (AlarmState::ActiveAcknowledged, "报警中·已确认"),
            (AlarmState::ReturnedUnacknowledged, "已恢复·未确认"),
            (AlarmState::Closed, "已关闭"),
        ] {
            let (out, talk) = listed(&["--all"], 7, vec![trapped(state)], Lang::Zh);
            assert!(out.contains(word) && out.contains("9c1e-12"), "{word}: {out}");
            assert!(talk.contains("还有 7 条未列出"), "{talk}");
        }
        let (out, talk) = listed(&["--json"], 7, vec![trapped(AlarmState::Closed)], Lang::En);
        assert!(out.lines().count() == 1 && talk.contains("and 7 more"), "{out}{talk}");
    }
}
