//! `profile list|check|test`: which products are known, whether their files are sound, whether their cases hold, whether a live device
//! is what its profile says.

mod device;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;

use super::{exit, live::LineArgs};
use crate::{
    document::{Document, Problems, nearest},
    domain::{Lang, ProfileId},
    profile::{
        Case, Difference, Library, Link, Profile, Verdict, compile_class, plain_wire, read_cases, run_cases,
    },
    say,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct ProfileArgs {
    #[command(subcommand)]
    verb: ProfileVerb,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse profile list                                    what is known / 已有的产品
  gatehouse profile check                                   all of them / 检查全部
  gatehouse profile check my/elevator/maker-model.toml      a file of one's own / 检查自己的文件
  gatehouse profile test elevator/monarch-nice3000          do its cases hold? / 运行用例
  gatehouse profile test lift-3-1 --config gatehouse.toml   is the live device like that? / 测试在线设备
  gatehouse profile test elevator/monarch-nice3000 /dev/ttyS3:3 -b 9600     before it is configured / 配置前先试";

#[derive(Debug, Subcommand)]
enum ProfileVerb {
    /// The products that are known / 已有的产品
    List(ListArgs),
    /// Every mistake in classes and profiles, at once / 一次列出全部错误
    Check(CheckArgs),
    /// Run the cases beside the profiles, or hold a profile against a live device / 运行用例，或测试在线设备
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(super) struct Dirs {
    /// A directory of classes and profiles besides the shipped ones / 另外的产品目录
    #[arg(long = "profiles", value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    dirs: Dirs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Files or ids; all when left out / 文件或编号，不写则检查全部
    #[arg(value_name = "FILE|ID")]
    which: Vec<String>,
    #[command(flatten)]
    dirs: Dirs,
    /// The mistakes as JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Files or ids, all when left out; a device of the site; or a profile and PORT:UNIT / 文件或编号；配置里的设备；或模板加 端口:站号
    #[arg(value_name = "FILE|ID|DEVICE")]
    which: Vec<String>,
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    dirs: Dirs,
    /// Of a live device: one JSON object a point
    #[arg(long)]
    json: bool,
}

impl ProfileArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        match self.verb {
            ProfileVerb::List(args) => list(&args, lang, &mut io::stdout().lock()),
            ProfileVerb::Check(args) => check(&args, lang, &mut io::stdout().lock()),
            ProfileVerb::Test(args) => test(&args, lang, &mut anstream::stdout().lock()),
        }
    }
}

fn list(args: &ListArgs, lang: Lang, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut problems = Problems::default();
    let library = args.dirs.load(&mut problems);
    let profiles: Vec<Arc<Profile>> = library.ids().filter_map(|id| library.profile(id)).collect();
    if args.json {
        for profile in &profiles {
            writeln!(out, "{}", record(profile))?;
        }
    } else {
        writeln!(out, "{}", table(&profiles, lang).trim_fmt())?;
    }
    tell(&problems, lang);
    Ok(match (problems.has_errors(), profiles.is_empty()) {
        (true, _) => exit::INVALID,
        (false, true) => exit::NOTHING_FOUND,
        (false, false) => exit::OK,
    })
}

fn record(profile: &Profile) -> serde_json::Value {
    let points: Vec<&str> = profile.points.iter().map(|point| point.name.as_str()).collect();
    json!({
        "profile": profile.id, "revision": profile.revision, "class": profile.class.name,
        "protocol": protocol(profile), "title": profile.title, "products": profile.products,
        "points": points, "source": profile.source,
    })
}

fn table(profiles: &[Arc<Profile>], lang: Lang) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(match lang {
        Lang::Zh => ["编号", "版本", "协议", "测点", "名称"],
        Lang::En => ["id", "revision", "protocol", "points", "title"],
    });
    for profile in profiles {
        table.add_row([
            profile.id.to_string(),
            profile.revision.to_string(),
            protocol(profile).to_owned(),
            profile.points.len().to_string(),
            profile.title.get(lang).to_owned(),
        ]);
    }
    table
}

fn protocol(profile: &Profile) -> &'static str {
    match profile.link {
        Link::Modbus(_) => "modbus",
        Link::Serial(_) => "serial",
        Link::Mqtt(_) => "mqtt",
        Link::Dlt645(_) => "dlt645",
    }
}

/// A profile with its cases, if it has any, as far as they are sound.
pub(super) struct Sheet {
    pub profile: Arc<Profile>,
    cases: Option<Vec<Case>>,
}

/// What was asked for and could not be had.
pub(super) enum Trouble {
    /// Nothing of that name.
    Unknown,
    /// Its file has errors; they are in the problems.
    Invalid,
}

fn check(args: &CheckArgs, lang: Lang, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut problems = Problems::default();
    let library = args.dirs.load(&mut problems);
    let mut worst = exit::OK;
    for name in wanted(&args.which, &library) {
        match sheet(&name, &library, &mut problems) {
            Ok(Some(Sheet { profile, cases })) if !args.json => {
                let (id, points) = (&profile.id, profile.points.len());
                let cases = cases.map_or(0, |cases| cases.len());
                writeln!(
                    out,
                    "{}",
                    say!(
                        lang,
                        "{id}：{points} 个测点，{cases} 个用例",
                        "{id}: {points} points, {cases} cases"
                    )
                )?;
            }
            Ok(Some(_) | None) => {}
            Err(Trouble::Unknown) => {
                unknown(&name, &library, lang);
                worst = exit::NOTHING_FOUND;
            }
            Err(Trouble::Invalid) => worst = exit::INVALID,
        }
    }
    if args.json {
        for record in problems.records() {
            writeln!(out, "{}", serde_json::to_string(&record)?)?;
        }
    } else {
        tell(&problems, lang);
    }
    Ok(if problems.has_errors() { exit::INVALID } else { worst })
}

fn test(args: &TestArgs, lang: Lang, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut problems = Problems::default();
    let library = args.dirs.load(&mut problems);
    match device::wanted(args, &library, lang) {
        Ok(Some(bench)) => return bench.run(args.json, lang, out),
        Ok(None) => {}
        Err(told) => return Ok(told.tell()),
    }
    let (mut passed, mut failed, mut unknown_names) = (0usize, 0usize, false);
    for name in wanted(&args.which, &library) {
        match sheet(&name, &library, &mut problems) {
            Ok(Some(Sheet { profile, cases })) => {
                for verdict in run_cases(&profile, &cases.unwrap_or_default(), &plain_wire) {
                    *(if verdict.differences.is_empty() { &mut passed } else { &mut failed }) += 1;
                    print(&profile, &verdict, lang, out)?;
                }
            }
            Ok(None) | Err(Trouble::Invalid) => {}
            Err(Trouble::Unknown) => {
                unknown(&name, &library, lang);
                unknown_names = true;
            }
        }
    }
    let all = passed + failed;
    writeln!(
        out,
        "{}",
        say!(
            lang,
            "{all} 个用例：{passed} 通过，{failed} 失败",
            "{all} cases: {passed} passed, {failed} failed"
        )
    )?;
    tell(&problems, lang);
    Ok(match (problems.has_errors(), failed, unknown_names || all == 0) {
        (true, ..) => exit::INVALID,
        (false, 1.., _) => exit::NOT_VERIFIED,
        (false, 0, true) => exit::NOTHING_FOUND,
        (false, 0, false) => exit::OK,
    })
}

fn print(profile: &Profile, verdict: &Verdict, lang: Lang, out: &mut dyn Write) -> io::Result<()> {
    let (word, colour) = match verdict.differences.is_empty() {
        true => ("PASS", AnsiColor::Green),
        false => ("FAIL", AnsiColor::Red),
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    writeln!(out, "{style}{word}{style:#} {}  {}", profile.id, verdict.fact)?;
    for Difference { of, want, got } in &verdict.differences {
        writeln!(
            out,
            "     {}",
            say!(lang, "{of}：应为 {want}，得到 {got}", "{of}: want {want}, got {got}")
        )?;
    }
    Ok(())
}

impl Dirs {
    pub(super) fn load(&self, problems: &mut Problems) -> Library {
        Library::load(&self.dirs, problems)
    }
}

fn wanted(which: &[String], library: &Library) -> Vec<String> {
    match which {
        [] => library.ids().map(ProfileId::to_string).collect(),
        some => some.to_vec(),
    }
}

/// The profile called `name`: an id of `library`, or a file (its class from `class.toml` beside it, or else from the
/// library). A class file that is sound gives no sheet.
pub(super) fn sheet(
    name: &str,
    library: &Library,
    problems: &mut Problems,
) -> Result<Option<Sheet>, Trouble> {
    if let Some(profile) = library.profile(name) {
        let cases = library
            .cases(name)
            .and_then(|source| read_cases(&Document::parse(source, problems)?, &profile, problems));
        return Ok(Some(Sheet { profile, cases }));
    }
    let path = Path::new(name);
    if library.is_broken(name) {
        return Err(Trouble::Invalid);
    }
    if !path.is_file() {
        return Err(Trouble::Unknown);
    }
    file_sheet(path, library, problems).ok_or(Trouble::Invalid)
}

/// `None` if the file has errors.
fn file_sheet(path: &Path, library: &Library, problems: &mut Problems) -> Option<Option<Sheet>> {
    const CASES: &str = ".cases.toml";
    const CODES: &str = ".codes";
    let file = path.file_name()?.to_str()?;
    if file == "class.toml" {
        return compile_class(&Document::load(path, problems)?, problems).map(|_| None);
    }
    let stem = file.strip_suffix(CASES).or_else(|| file.strip_suffix(".toml")).unwrap_or(file);
    let beside = |name: String| path.with_file_name(name);
    let class = beside("class.toml".to_owned());
    let class = match class.is_file() {
        true => Some(compile_class(&Document::load(&class, problems)?, problems)?),
        false => None,
    };
    let source = Document::load(&beside(format!("{stem}.toml")), problems)?.source().clone();
    if stem.ends_with(CODES) {
        return library.codes_in(&source, class, problems).map(|_| None);
    }
    let profile = Arc::new(library.profile_in(&source, class, problems)?);
    let cases = beside(format!("{stem}{CASES}"));
    let cases = match cases.is_file() {
        true => Some(read_cases(&Document::load(&cases, problems)?, &profile, problems)?),
        false => None,
    };
    Some(Some(Sheet { profile, cases }))
}

pub(super) fn unknown(name: &str, library: &Library, lang: Lang) {
    eprintln!("{}", unknown_words(name, library, lang));
}

fn unknown_words(name: &str, library: &Library, lang: Lang) -> String {
    if Path::new(name).is_dir() {
        return say!(
            lang,
            "{name} 是目录，不是产品编号；自己的目录这样写：--profiles {name}",
            "{name} is a directory, not a profile's id; a directory of your own is taken in by --profiles {name}"
        );
    }
    let near = nearest(name, library.ids().map(|id| id.as_str()));
    let hint =
        near.map(|near| say!(lang, "（是不是 {near}？）", " (did you mean {near}?)")).unwrap_or_default();
    say!(lang, "没有产品 {name}{hint}", "there is no profile {name}{hint}")
}

pub(super) fn tell(problems: &Problems, lang: Lang) {
    anstream::eprint!("{}", problems.drawn(lang, true));
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
