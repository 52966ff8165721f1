//! `gatehouse readings DEVICE`: what was stored, as a table, JSON lines or CSV. Streams: a year costs no more memory
//! than a minute.

mod by;

use std::{
    borrow::Cow,
    io::{self, BufWriter, Write},
    path::Path,
    str::FromStr,
    time::Duration,
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Serialize;

use by::By;

use super::{exit, failure, mask::Mask, site::SiteArgs};
use crate::{
    document::nearest,
    domain::{Lang, Period, Text, Value},
    store::{StoreError, StoredReading, TelemetryReader},
    text,
};

/// Without `--from`: this long before the end.
const USUAL_SPAN: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// 设备编号 / the device's id
    pub device: String,
    /// 只看这个测点 / only this point
    #[arg(long, value_name = "P")]
    pub point: Option<String>,
    /// 按小时或按天汇总：有效读数的个数、最小、最大、平均、最后 / what the good readings of each hour or day came to
    #[arg(long, value_name = "SPAN")]
    pub by: Option<By>,
    /// 起始时间 / from: 2026-11-23T14:00:00+08:00, "2026-11-23 14:00" (local), -30m [default: -1h; by hour -24h, by day -31d]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// 截止时间 / to, inclusive [default: everything stored until now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// 每行一个 JSON 对象 / one JSON object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// CSV，含表头 / CSV with a header
    #[arg(long)]
    pub csv: bool,
    /// 显示个人信息，否则显示为 ***；需要能读密钥文件 / show what is of persons, *** without it; takes the right to read the key
    #[arg(long)]
    pub private: bool,
    /// Which points are masked, and what opens them.
    #[arg(skip)]
    pub mask: Mask,
    /// The site is a demo: each JSON line says so.
    #[arg(skip)]
    pub demo: bool,
}

/// `readings` with the site it looks into.
#[derive(Debug, clap::Args)]
pub struct ReadingsArgs {
    #[command(flatten)]
    what: Args,
    #[command(flatten)]
    site: SiteArgs,
}

impl ReadingsArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let out = io::BufWriter::new(io::stdout().lock());
        let mask = match Mask::of(&site, &self.what.device, self.what.private) {
            Ok(mask) => mask,
            Err(why) => {
                eprintln!("{}", why.get(lang));
                return Ok(exit::NOT_PERMITTED);
            }
        };
        let what = Args { demo: site.demo, mask, ..self.what };
        match run(&what, &site.store.dir, &site.timezone, lang, out) {
            Ok(()) => Ok(exit::OK),
            Err(error) => {
                eprintln!("{}", error.text().get(lang));
                Ok(error.exit_code())
            }
        }
    }
}

/// A time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Exact(Timestamp),
    /// On the site's clock.
    Local(DateTime),
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a time such as 2026-11-23T14:00:00+08:00, \"2026-11-23 14:00\" or -30m";
        if let Some(ago) = text.strip_prefix('-') {
            return ago.parse().map(|Period(ago)| Moment::Ago(ago)).map_err(|_| expected);
        }
        if let Ok(exact) = text.parse() {
            return Ok(Moment::Exact(exact));
        }
        text.parse().map(Moment::Local).map_err(|_| expected)
    }
}

impl Moment {
    /// An hour that the clock skipped or had twice is taken as clocks usually are: the first of two, after the gap.
    pub fn place(self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
        match self {
            Moment::Exact(at) => Ok(at),
            Moment::Local(at) => zone.to_timestamp(at),
            Moment::Ago(ago) => Ok(now.saturating_sub(ago)?),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadingsError {
    #[error("find device {device:?}")]
    UnknownDevice { device: String, nearest: Option<String> },
    #[error("find point {point:?} of {device}")]
    UnknownPoint { device: String, point: String, nearest: Option<String> },
    #[error("find readings of {device} since {since}")]
    Nothing { device: String, since: String },
    #[error("read from {from} to {to}: the end is before the beginning")]
    Backwards { from: String, to: String },
    #[error("place that time on the calendar: {0}")]
    Time(#[from] jiff::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("write the readings: {0}")]
    Output(#[from] io::Error),
}

impl ReadingsError {
    /// As the contract has them: 1 unexpected, 2 usage, 4 nothing found, 8 not permitted.
    pub fn exit_code(&self) -> u8 {
        match self {
            ReadingsError::UnknownDevice { .. }
            | ReadingsError::UnknownPoint { .. }
            | ReadingsError::Nothing { .. } => exit::NOTHING_FOUND,
            ReadingsError::Backwards { .. } | ReadingsError::Time(_) => exit::USAGE,
            ReadingsError::Store(why) => failure::code_of(why),
            ReadingsError::Output(_) => exit::UNEXPECTED,
        }
    }

    /// For a person, in both languages.
    pub fn text(&self) -> Text {
        match self {
            ReadingsError::UnknownDevice { device, nearest } => {
                let (zh, en) = hint(nearest.as_deref());
                text!("没有存储过设备 {device:?} 的读数{zh}", "no device {device:?} was ever stored{en}")
            }
            ReadingsError::UnknownPoint { device, point, nearest } => {
                let (zh, en) = hint(nearest.as_deref());
                text!("设备 {device} 没有测点 {point:?}{zh}", "device {device} has no point {point:?}{en}")
            }
            ReadingsError::Nothing { device, since } => {
                text!("设备 {device} 自 {since} 起没有读数", "{device} has no readings since {since}")
            }
            ReadingsError::Backwards { from, to } => {
                text!("截止时间 {to} 早于起始时间 {from}", "the end, {to}, is before the beginning, {from}")
            }
            ReadingsError::Time(why) => text!("时间无效：{why}", "not a time on the calendar: {why}"),
            ReadingsError::Store(why) => why.text(),
            ReadingsError::Output(why) => text!("无法输出：{why}", "failed to write the readings: {why}"),
        }
    }
}

fn hint(nearest: Option<&str>) -> (String, String) {
    match nearest {
        Some(name) => (format!("，是不是 {name:?}？"), format!(" (did you mean {name:?}?)")),
        None => (String::new(), String::new()),
    }
}

/// Writes what was stored to `out`, oldest first. `zone` is the site's.
///
/// # Errors
/// See [`ReadingsError`]; that `out` has gone away (`| head`) is none.
pub fn run(
    args: &Args,
    store_dir: &Path,
    zone: &TimeZone,
    lang: Lang,
    out: impl Write,
) -> Result<(), ReadingsError> {
    match print(args, store_dir, &Site { zone, lang, now: Timestamp::now() }, out) {
        Err(ReadingsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Where and when we are.
struct Site<'a> {
    zone: &'a TimeZone,
    lang: Lang,
    now: Timestamp,
}

fn print(args: &Args, store_dir: &Path, site: &Site, out: impl Write) -> Result<(), ReadingsError> {
    let (from, to) = span(args, site)?;
    let reader = TelemetryReader::open(store_dir)?;
    let names = known_points(&reader, args)?;
    if let Some(by) = args.by {
        return by::print(args, by, &reader, site, (from, to), out);
    }
    let mut readings = reader.readings(&args.device, args.point.as_deref(), from, to)?.peekable();
    if readings.peek().is_none() {
        let since = local(from, site.zone);
        return Err(ReadingsError::Nothing { device: args.device.clone(), since });
    }
    let mut sheet = Sheet::new(args, site, &names, out);
    sheet.head()?;
    for reading in readings {
        sheet.line(&args.mask.shown(reading?))?;
    }
    Ok(sheet.out.flush()?)
}

fn span(args: &Args, site: &Site) -> Result<(Timestamp, Timestamp), ReadingsError> {
    let place = |moment: Option<Moment>| moment.map(|moment| moment.place(site.now, site.zone)).transpose();
    let to = place(args.to)?;
    let from = match place(args.from)? {
        Some(from) => from,
        None => to.unwrap_or(site.now).saturating_sub(usual_span(args.by))?,
    };
    // Rows labelled by a clock that ran ahead are stored too.
    let to = to.unwrap_or(Timestamp::MAX);
    if to < from {
        let [from, to] = [from, to].map(|at| local(at, site.zone));
        return Err(ReadingsError::Backwards { from, to });
    }
    Ok((from, to))
}

fn usual_span(by: Option<By>) -> Duration {
    match by {
        None => USUAL_SPAN,
        Some(By::Hour) => 24 * USUAL_SPAN,
        Some(By::Day) => 31 * 24 * USUAL_SPAN,
    }
}

/// The names that will be in the point column.
fn known_points(reader: &TelemetryReader, args: &Args) -> Result<Vec<String>, ReadingsError> {
    let device = args.device.clone();
    let points: Vec<String> = reader.points(&device)?.iter().map(ToString::to_string).collect();
    if points.is_empty() {
        let known = reader.devices()?;
        let nearest = nearest(&device, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(ReadingsError::UnknownDevice { device, nearest });
    }
    let Some(point) = args.point.clone() else { return Ok(points) };
    if points.contains(&point) {
        return Ok(vec![point]);
    }
    let nearest = nearest(&point, points.iter().map(String::as_str)).map(str::to_owned);
    Err(ReadingsError::UnknownPoint { device, point, nearest })
}

const TIME_WIDTH: usize = "2026-11-23T14:03:11.482+08:00".len();
const QUALITY_WIDTH: usize = "out_of_range".len();

/// One way of writing readings down.
struct Sheet<'a, W: Write> {
    form: Form,
    zone: &'a TimeZone,
    lang: Lang,
    point_width: usize,
    demo: bool,
    out: BufWriter<W>,
}

#[derive(Clone, Copy)]
enum Form {
    Table,
    Json,
    Csv,
}

/// The line of the contract.
#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    point: &'a str,
    at: String,
    value: Option<&'a Value>,
    unit: &'a str,
    quality: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    demo: bool,
}

impl<'a, W: Write> Sheet<'a, W> {
    fn new(args: &Args, site: &Site<'a>, points: &[String], out: W) -> Self {
        let form = if args.json {
            Form::Json
        } else if args.csv {
            Form::Csv
        } else {
            Form::Table
        };
        let point_width = points.iter().map(|point| columns(point)).max().unwrap_or(0).max(5);
        Self {
            form,
            zone: site.zone,
            lang: site.lang,
            point_width,
            demo: args.demo,
            out: BufWriter::new(out),
        }
    }

    fn head(&mut self) -> io::Result<()> {
        match self.form {
            Form::Json => Ok(()),
            Form::Csv => write!(self.out, "device,point,time_local,time_utc,value,unit,quality\r\n"),
            Form::Table => {
                let [time, point, quality, value] = match self.lang {
                    Lang::Zh => ["时间", "测点", "质量", "数值"],
                    Lang::En => ["time", "point", "quality", "value"],
                };
                let (time, point) = (padded(time, TIME_WIDTH), padded(point, self.point_width));
                writeln!(self.out, "{time}  {point}  {}  {value}", padded(quality, QUALITY_WIDTH))
            }
        }
    }

    fn line(&mut self, reading: &StoredReading) -> io::Result<()> {
        match self.form {
            Form::Table => self.table_line(reading),
            Form::Json => self.json_line(reading),
            Form::Csv => self.csv_line(reading),
        }
    }

    fn table_line(&mut self, reading: &StoredReading) -> io::Result<()> {
        let (at, point) = (local(reading.at, self.zone), padded(&reading.point, self.point_width));
        let quality = padded(reading.quality.word(), QUALITY_WIDTH);
        write!(self.out, "{at}  {point}  {quality}  ")?;
        match &reading.value {
            None => writeln!(self.out, "—"),
            Some(value) if reading.unit.is_empty() => writeln!(self.out, "{}", harmless(&plain(value))),
            Some(value) => writeln!(self.out, "{} {}", harmless(&plain(value)), reading.unit),
        }
    }

    fn json_line(&mut self, reading: &StoredReading) -> io::Result<()> {
        let line = Line {
            device: &reading.device,
            point: &reading.point,
            at: local(reading.at, self.zone),
            value: reading.value.as_ref(),
            unit: &reading.unit,
            quality: reading.quality.word(),
            demo: self.demo,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn csv_line(&mut self, reading: &StoredReading) -> io::Result<()> {
        let value = reading.value.as_ref().map(|value| match value {
            Value::Text(text) => csv_text(text).into_owned(),
            Value::Flag(_) | Value::Number(_) => plain(value),
        });
        write!(
            self.out,
            "{},{},{},{},{},{},{}\r\n",
            csv_text(&reading.device),
            csv_text(&reading.point),
            local(reading.at, self.zone),
            local(reading.at, &TimeZone::UTC),
            value.unwrap_or_default(),
            csv_text(&reading.unit),
            reading.quality.word(),
        )
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

/// RFC 3339 with milliseconds and the zone's offset; UTC as `Z`.
fn local(at: Timestamp, zone: &TimeZone) -> String {
    let form = if *zone == TimeZone::UTC { "%Y-%m-%dT%H:%M:%S%.3fZ" } else { "%Y-%m-%dT%H:%M:%S%.3f%:z" };
    at.to_zoned(zone.clone()).strftime(form).to_string()
}

/// `text` and blanks up to `width` columns.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// How many columns of a terminal: two for each Chinese character.
fn columns(text: &str) -> usize {
    text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum()
}

/// What a device sent must not steer the terminal, nor turn its line around.
fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A cell that a spreadsheet takes as text, never as a formula.
fn csv_text(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if formula { "'" } else { "" };
    if text.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{guard}{}\"", text.replace('"', "\"\"")))
    } else if formula {
        Cow::Owned(format!("{guard}{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests;
