//! One file a verb. Data on standard output, talk on standard error, exit codes as documented.

pub mod alarms;
mod bundle;
pub mod check;
pub mod commands;
pub mod credits;
pub mod decode;
pub mod delivery;
pub mod demo;
pub mod events;
mod failure;
mod flows;
mod live;
mod mask;
mod plan;
pub mod print_config;
pub mod profile;
pub mod read;
pub mod readings;
pub mod record;
pub mod recording;
pub mod replay;
pub mod run;
pub mod scan;
mod site;
pub mod status;
mod timetable;
pub mod token;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::{
    domain::Lang,
    ops::logging::{self, Voice},
};

/// Exit codes; the table in the README.
pub mod exit {
    pub const OK: u8 = 0;
    pub const UNEXPECTED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const INVALID: u8 = 3;
    pub const NOTHING_FOUND: u8 = 4;
    pub const NO_ANSWER: u8 = 5;
    pub const UNACKNOWLEDGED: u8 = 6;
    pub const ENDPOINT_FAILING: u8 = 7;
    pub const NOT_PERMITTED: u8 = 8;
    pub const NOT_VERIFIED: u8 = 9;
    /// The disk failed under the store: started anew, the gateway recovers what was committed (EX_IOERR of sysexits.h).
    pub const DISK_FAILED: u8 = 74;
    /// The store was written by a newer program (EX_CONFIG of sysexits.h).
    pub const TOO_OLD: u8 = 78;
    pub const INTERRUPTED: u8 = 130;
}

/// Gatehouse (岗亭): the gateway at the edge of a residential compound.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, arg_required_else_help = true, before_help = EXAMPLES)]
struct Arguments {
    /// Language of messages / 提示语言 [default: from LANG]
    #[arg(long, global = true, value_enum)]
    lang: Option<Language>,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse demo                                   a simulated compound, nothing to set up / 无需设备的演示
  gatehouse check --config gatehouse.toml          every mistake at once / 一次列出全部错误
  gatehouse check --plan                           how busy each line will be / 总线占用率
  gatehouse run --config gatehouse.toml            the gateway itself / 运行网关
  gatehouse status                                 one screen / 一屏总览
  gatehouse alarms list                            what is active / 当前报警
  gatehouse alarms ack 9c1e-12 --as 张伟           a person takes it on / 确认
  gatehouse alarms shelve gate-east/tamper --for 2h --by 张伟 --reason 维修   not announced for a while / 搁置
  gatehouse commands send lamp-3 set_dimming 40 --as 张伟   tell a device, once / 下发命令
  gatehouse readings lift-3-1 --point floor        what was stored / 历史读数
  gatehouse credits kiosk-1                        points given today, and the books / 今日积分与对账";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Zh,
    En,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway of a site / 运行网关
    Run(run::RunArgs),
    /// Show it all with a simulated compound / 模拟小区演示
    Demo(demo::DemoArgs),
    /// Check a site file: every mistake at once / 检查配置
    Check(check::CheckArgs),
    /// Print the effective configuration / 显示生效配置
    PrintConfig(print_config::PrintConfigArgs),
    /// Device profiles: list, check, test / 设备模板
    Profile(profile::ProfileArgs),
    /// Decode raw words, frames or payloads by a profile / 按模板解码
    Decode(decode::DecodeArgs),
    /// Read registers of a live device / 读设备寄存器
    Read(read::ReadArgs),
    /// Who is on a line, and why it is silent / 扫描总线
    Scan(scan::ScanArgs),
    /// What lines carried lately, as a file / 导出原始报文
    Record(record::RecordArgs),
    /// A recording, decoded and judged again / 回放
    Replay(replay::ReplayArgs),
    /// One screen: alarms, devices, buses, endpoints, clock / 总览
    Status(status::StatusArgs),
    /// Stored readings of a device / 历史读数
    Readings(readings::ReadingsArgs),
    /// Points that a kiosk gave, and its books / 积分与对账
    Credits(credits::CreditsArgs),
    /// Alarms: list, acknowledge, shelve, rescue, close / 报警
    Alarms(alarms::AlarmsArgs),
    /// What happened, as evidence: verify, key / 证据
    Events(events::EventsArgs),
    /// What devices can be told: list, send / 设备命令
    Commands(commands::CommandsArgs),
    /// Deliveries to endpoints / 上报
    Delivery(delivery::DeliveryArgs),
    /// Who may use the API: add, list, remove / 接口令牌
    Token(token::TokenArgs),
}

/// Runs what the command line asks for and gives its exit code.
pub fn main() -> u8 {
    let matches = Arguments::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let lang = language(arguments.lang);
    logging::init(match arguments.verb {
        Verb::Run(_) => Voice::Service,
        _ => Voice::Tool,
    });
    let outcome = match arguments.verb {
        Verb::Run(args) => args.run(lang),
        Verb::Demo(args) => args.run(lang),
        Verb::Check(args) => args.run(lang),
        Verb::PrintConfig(args) => args.run(lang),
        Verb::Profile(args) => args.run(lang),
        Verb::Decode(args) => args.run(lang),
        Verb::Read(args) => args.run(lang),
        Verb::Scan(args) => args.run(lang),
        Verb::Record(args) => args.run(lang),
        Verb::Replay(args) => args.run(lang),
        Verb::Status(args) => args.run(lang),
        Verb::Readings(args) => args.run(lang),
        Verb::Credits(args) => args.run(lang),
        Verb::Alarms(args) => args.run(lang),
        Verb::Events(args) => args.run(lang),
        Verb::Commands(args) => args.run(lang),
        Verb::Delivery(args) => args.run(lang),
        Verb::Token(args) => args.run(lang),
    };
    outcome.unwrap_or_else(|error| {
        if failure::is_broken_pipe(&error) {
            return exit::OK;
        }
        let (told, code) = failure::told(&error, lang);
        eprintln!("{told}");
        code
    })
}

fn language(chosen: Option<Language>) -> Lang {
    match chosen {
        Some(Language::Zh) => Lang::Zh,
        Some(Language::En) => Lang::En,
        None => {
            let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
            if set.is_some_and(|value| value.starts_with("zh")) { Lang::Zh } else { Lang::En }
        }
    }
}
