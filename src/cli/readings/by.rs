//! `--by hour|day`: what the readings came to, long after they themselves are gone.

use std::io::{self, BufWriter, Write};

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::{Args, ReadingsError, Site, csv_text, harmless, local, plain};
use crate::{
    domain::{Lang, Value},
    store::{Rollup, Span, TelemetryReader},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    Hour,
    Day,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::Hour => "hour",
            By::Day => "day",
        }
    }

    fn span(self) -> Span {
        match self {
            By::Hour => Span::Hour,
            By::Day => Span::Day,
        }
    }
}

/// One JSON line.
#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    point: &'a str,
    by: &'static str,
    from: String,
    count: u64,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    last: Option<&'a Value>,
    unit: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    demo: bool,
}

pub(super) fn print(
    args: &Args,
    by: By,
    reader: &TelemetryReader,
    site: &Site,
    (from, to): (Timestamp, Timestamp),
    out: impl Write,
) -> Result<(), ReadingsError> {
    let found = reader.rollups(&args.device, args.point.as_deref(), by.span(), (from, to), site.zone)?;
    if found.is_empty() {
        let since = local(from, site.zone);
        return Err(ReadingsError::Nothing { device: args.device.clone(), since });
    }
    let found: Vec<Rollup> = found.into_iter().map(|rollup| args.mask.summed(rollup)).collect();
    let mut out = BufWriter::new(out);
    if args.json {
        found.iter().try_for_each(|rollup| json_line(&mut out, by, rollup, site, args.demo))?;
    } else if args.csv {
        write!(out, "device,point,from_local,from_utc,count,min,max,mean,share,last,unit\r\n")?;
        found.iter().try_for_each(|rollup| csv_line(&mut out, rollup, site))?;
    } else {
        writeln!(out, "{}", table(&found, site))?;
    }
    Ok(out.flush()?)
}

fn json_line(out: &mut impl Write, by: By, rollup: &Rollup, site: &Site, demo: bool) -> io::Result<()> {
    let line = Line {
        device: &rollup.device,
        point: &rollup.point,
        by: by.word(),
        from: local(rollup.from, site.zone),
        count: rollup.count,
        min: rollup.min,
        max: rollup.max,
        mean: rollup.mean,
        share: rollup.share,
        last: rollup.last.as_ref(),
        unit: &rollup.unit,
        demo,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn csv_line(out: &mut impl Write, rollup: &Rollup, site: &Site) -> io::Result<()> {
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    let last = rollup.last.as_ref().map(|last| match last {
        Value::Text(text) => csv_text(text).into_owned(),
        Value::Flag(_) | Value::Number(_) => plain(last),
    });
    write!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{}\r\n",
        csv_text(&rollup.device),
        csv_text(&rollup.point),
        local(rollup.from, site.zone),
        local(rollup.from, &jiff::tz::TimeZone::UTC),
        rollup.count,
        number(rollup.min),
        number(rollup.max),
        number(rollup.mean),
        number(rollup.share),
        last.unwrap_or_default(),
        csv_text(&rollup.unit),
    )
}

fn table(found: &[Rollup], site: &Site) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(match site.lang {
        Lang::Zh => ["起始", "测点", "有效读数", "最小", "最大", "平均", "最后", "单位"],
        Lang::En => ["from", "point", "good", "min", "max", "mean", "last", "unit"],
    });
    for rollup in found {
        // A mean is shown to as many digits as people read; --json and --csv have it whole.
        let mean = match (rollup.mean, rollup.share) {
            (Some(mean), _) => brief(mean),
            (None, Some(share)) => format!("{:.1} %", 100.0 * share),
            (None, None) => "—".to_owned(),
        };
        let number = |number: Option<f64>| number.map_or("—".to_owned(), |number| number.to_string());
        table.add_row([
            local(rollup.from, site.zone),
            rollup.point.to_string(),
            rollup.count.to_string(),
            number(rollup.min),
            number(rollup.max),
            mean,
            rollup.last.as_ref().map_or("—".to_owned(), |last| harmless(&plain(last))),
            rollup.unit.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three decimals at most.
fn brief(number: f64) -> String {
    ((number * 1000.0).round() / 1000.0).to_string()
}
