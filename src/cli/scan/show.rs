//! What a scan says at its end: the units, or why there are none.

use std::io::{self, Write};

use comfy_table::{Table as Grid, presets};
use serde_json::json;

use super::{
    fits::Fit,
    search::{Found, Line},
};
use crate::{
    domain::{Diagnosis, Lang},
    say,
};

/// Of the fitting profiles, so many are named.
const NAMED: usize = 3;

pub fn found(found: &[Found], as_json: bool, lang: Lang) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        return found.iter().try_for_each(|found| writeln!(out, "{}", record(found)));
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    grid.set_header(match lang {
        Lang::Zh => ["站号", "线路", "应答", "识别", "疑似"],
        Lang::En => ["unit", "line", "answer", "identification", "could be"],
    });
    for found in found {
        grid.add_row([
            found.unit.to_string(),
            found.line.clone(),
            answer(found, lang),
            found.identity.clone().unwrap_or_else(|| "–".to_owned()),
            could_be(found, lang),
        ]);
    }
    writeln!(out, "{}", grid.trim_fmt())
}

fn record(found: &Found) -> serde_json::Value {
    json!({
        "unit": found.unit, "line": found.line, "ms": found.took.as_millis() as u64, "exception": found.exception,
        "identification": found.identity, "device": found.device, "fits": found.fits,
    })
}

fn answer(found: &Found, lang: Lang) -> String {
    let ms = found.took.as_millis();
    match found.exception {
        None => format!("{ms} ms"),
        Some(code) => say!(lang, "{ms} ms 异常 {code:02X}", "{ms} ms, exception {code:02X}"),
    }
}

fn could_be(found: &Found, lang: Lang) -> String {
    if let Some(device) = &found.device {
        return say!(lang, "已配置：{device}", "configured: {device}");
    }
    if found.fits.is_empty() {
        return "–".to_owned();
    }
    let one = |fit: &Fit| {
        let Fit { profile, good, of, not_supported } = fit;
        match not_supported {
            0 => format!("{profile} {good}/{of}"),
            n => say!(
                lang,
                "{profile} {good}/{of}（{n} 点不支持）",
                "{profile} {good}/{of} ({n} not supported)"
            ),
        }
    };
    found.fits.iter().take(NAMED).map(one).collect::<Vec<_>>().join(" · ")
}

/// Why nobody was found, and what to look at, in order.
pub fn nothing(why: &Diagnosis, line: &Line, as_json: bool, lang: Lang) -> io::Result<()> {
    let (what, checks) = (why.what.get(lang), why.checks_line(lang));
    eprintln!("{}", say!(lang, "没有找到设备：{what}", "nobody was found: {what}"));
    if !line.masters.is_empty() {
        let units = line.masters.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        eprintln!("{}", say!(lang, "它在问站号 {units}", "it asks units {units}"));
    }
    if !checks.is_empty() {
        eprintln!("{}", say!(lang, "依次检查：{checks}", "look at, in order: {checks}"));
    }
    if as_json {
        writeln!(
            io::stdout().lock(),
            "{}",
            json!({ "found": 0, "why": why, "other_master_asks": line.masters })
        )?;
    }
    Ok(())
}

/// Somebody was found, and not everything could be looked at.
pub fn unfinished(trouble: &Diagnosis, lang: Lang) {
    let told = trouble.line(lang);
    eprintln!("{}", say!(lang, "没有扫完：{told}", "not all of it was scanned: {told}"));
}

/// What one would do next.
pub fn next(found: &[Found], targets: &[String], lang: Lang) {
    let count = found.len();
    let best = found.iter().find_map(|found| Some((found, found.fits.first()?)));
    match (best, targets) {
        (Some((found, fit)), [target]) => {
            let (profile, unit) = (&fit.profile, found.unit);
            let settings = found.line.split_once(' ').map(|(baud, frame)| format!(" -b {baud} -f {frame}"));
            let settings = settings.unwrap_or_default();
            eprintln!(
                "{}",
                say!(
                    lang,
                    "找到 {count} 台。下一步：gatehouse profile test {profile} {target}:{unit}{settings}",
                    "{count} found. Next: gatehouse profile test {profile} {target}:{unit}{settings}"
                )
            );
        }
        (Some(_) | None, _) => eprintln!("{}", say!(lang, "找到 {count} 台。", "{count} found.")),
    }
}
