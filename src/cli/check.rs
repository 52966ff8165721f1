//! `gatehouse check`: everything that is wrong with a site file, with its profiles and with the files it names.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{exit, flows, plan, timetable};
use crate::{
    config::{self, Checked, Counts, DEFAULT_PATH},
    document::Severity,
    domain::Lang,
    say,
};

#[derive(Clone, Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct CheckArgs {
    /// The site file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// What each bus is asked, what that takes of its line, and when schedules act / 每条总线读什么、占用多少，定时何时执行
    #[arg(long)]
    pub plan: bool,
    /// What leaves this box, to whom and why, and what is withheld / 哪些数据离开本机、送给谁、为什么，哪些不送
    #[arg(long)]
    pub flows: bool,
    /// One JSON object a line: each problem, with --plan each bus and schedule, with --flows each endpoint, then the counts
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse check --config gatehouse.toml          every mistake at once / 一次列出全部错误
  gatehouse check --plan                           how busy each line will be, when schedules act / 占用率和定时
  gatehouse check --flows                          what leaves this box, to whom, why / 什么数据送给谁";

/// How to show it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub lang: Lang,
    /// Somebody reads it at a terminal: with the lines and carets, else one line each.
    pub terminal: bool,
    pub colour: bool,
}

/// The last line under `--json`.
#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    buses: usize,
    devices: usize,
    endpoints: usize,
    /// Where anybody is asked anything.
    busiest: Option<Busiest>,
}

#[derive(Serialize)]
struct Busiest {
    bus: String,
    /// 1 = all of its line's time.
    utilisation: f64,
}

impl CheckArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let mut out = io::stdout().lock();
        let terminal = out.is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Ok(run(&self, Look { lang, terminal, colour }, &mut out)?)
    }
}

/// Returns the exit code: 0, or 3 if there are errors.
///
/// # Errors
/// If `out` cannot be written.
pub fn run(args: &CheckArgs, look: Look, out: &mut impl Write) -> io::Result<u8> {
    let checked = config::check(&args.config);
    match args.json {
        true => write_json(args, &checked, out)?,
        false => write_text(args, &checked, look, out)?,
    }
    Ok(if checked.problems.has_errors() { exit::INVALID } else { exit::OK })
}

fn write_text(args: &CheckArgs, checked: &Checked, look: Look, out: &mut impl Write) -> io::Result<()> {
    if let Some(site) = checked.site.as_ref().filter(|_| args.plan) {
        plan::write_text(site, look.lang, out)?;
        timetable::write_text(site, Timestamp::now(), look.lang, out)?;
    }
    if let Some(site) = checked.site.as_ref().filter(|_| args.flows) {
        flows::write_text(site, look.lang, out)?;
    }
    let told = match look.terminal {
        true => checked.problems.drawn(look.lang, look.colour),
        false => checked.problems.lines(look.lang),
    };
    writeln!(out, "{told}{}", counted(checked, look.lang))
}

fn write_json(args: &CheckArgs, checked: &Checked, out: &mut impl Write) -> io::Result<()> {
    for record in checked.problems.records() {
        serde_json::to_writer(&mut *out, &record)?;
        writeln!(out)?;
    }
    if let Some(site) = checked.site.as_ref().filter(|_| args.plan) {
        plan::write_json(site, out)?;
        timetable::write_json(site, Timestamp::now(), out)?;
    }
    if let Some(site) = checked.site.as_ref().filter(|_| args.flows) {
        flows::write_json(site, out)?;
    }
    let Counts { buses, devices, endpoints } = checked.counts;
    let busiest = checked.site.as_ref().and_then(plan::busiest);
    let busiest = busiest.map(|(bus, utilisation)| Busiest { bus: bus.to_owned(), utilisation });
    let errors = checked.problems.count(Severity::Error);
    let warnings = checked.problems.count(Severity::Warning);
    serde_json::to_writer(&mut *out, &Summary { errors, warnings, buses, devices, endpoints, busiest })?;
    writeln!(out)
}

/// `12 errors · 1 warning · 2 buses 14 devices 3 endpoints · busiest bus: lifts, 67% of its time (check --plan)`
fn counted(checked: &Checked, lang: Lang) -> String {
    let errors = checked.problems.count(Severity::Error);
    let warnings = checked.problems.count(Severity::Warning);
    let Counts { buses, devices, endpoints } = checked.counts;
    let counts = match lang {
        Lang::Zh => format!(
            "{errors} 个错误 · {warnings} 个警告 · {buses} 条总线 {devices} 台设备 {endpoints} 个上报目标"
        ),
        Lang::En => format!(
            "{errors} error{} · {warnings} warning{} · {buses} bus{} {devices} device{} {endpoints} endpoint{}",
            plural(errors, "s"),
            plural(warnings, "s"),
            plural(buses, "es"),
            plural(devices, "s"),
            plural(endpoints, "s"),
        ),
    };
    match checked.site.as_ref().and_then(plan::busiest) {
        None => counts,
        Some((bus, utilisation)) => {
            let busy = (100.0 * utilisation).round();
            say!(
                lang,
                "{counts} · 最忙的总线 {bus} 占用 {busy}%（check --plan）",
                "{counts} · busiest bus: {bus}, {busy}% of its time (check --plan)"
            )
        }
    }
}

fn plural(count: usize, ending: &'static str) -> &'static str {
    if count == 1 { "" } else { ending }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const WRONG: &str =
        "[site]\nid = 'yard'\nnam = 'x'\n[[bus]]\nid = 'a'\nserial = { port = '/dev/null' }\n";

    fn said(text: &str, json: bool, terminal: bool) -> (u8, String) {
        let dir = TempDir::new().unwrap();
        let config = dir.path().join("gatehouse.toml");
        std::fs::write(&config, text).unwrap();
        let mut out = Vec::new();
        let look = Look { lang: Lang::En, terminal, colour: false };
        let code = run(&CheckArgs { config, plan: false, flows: false, json }, look, &mut out).unwrap();
        let folder = format!("{}/", dir.path().display());
        (code, String::from_utf8(out).unwrap().replace(&folder, ""))
    }

    #[test]
    fn mistakes_are_data_and_the_exit_code_says_it() {
        let (code, out) = said(WRONG, false, false);
        assert_eq!(code, 3);
        assert_eq!(
            out,
            "gatehouse.toml:3:1: error: unknown key \"nam\" (did you mean \"name\"? legal here: \"demo\", \"id\", \"latitude\", \"longitude\", \
             \"name\", \"profile_dirs\", \"timezone\")\n\
             gatehouse.toml:5:6: warning: bus \"a\" has no devices\n\
             1 error · 1 warning · 1 bus 0 devices 0 endpoints\n"
        );
        let (code, out) = said(WRONG, false, true);
        assert!(code == 3 && out.contains("3 | nam = 'x'\n  | ^^^\n"), "{out}");
        let (code, out) = said("[site]\nid = 'yard'\n", false, true);
        assert_eq!((code, out.as_str()), (0, "0 errors · 0 warnings · 0 buses 0 devices 0 endpoints\n"));
    }

    #[test]
    fn every_line_is_one_object_under_json() {
        let (code, out) = said(WRONG, true, true);
        let lines: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(code, 3);
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["severity"], &lines[0]["line"]), (&"error".into(), &3.into()));
        assert_eq!(lines[0]["message"]["zh"], "不认识的键 \"nam\"");
        assert_eq!((&lines[2]["errors"], &lines[2]["buses"]), (&1.into(), &1.into()));
    }
}
