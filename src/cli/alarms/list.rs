//! `alarms list`: what is open, and what is held back though nothing may be wrong.

use std::io::{self, Write};

use clap::Args;
use comfy_table::{Table, presets::NOTHING};
use jiff::tz::TimeZone;

use super::{
    local, priority_word,
    words::{overlay_words, shown_state},
};
use crate::{
    cli::{
        exit,
        site::{SiteArgs, if_stored},
    },
    console::shapes,
    domain::Lang,
    say,
    store::{AlarmFilter, AlarmRow, Alarms, Reader},
};

#[derive(Debug, Args)]
pub struct ListArgs {
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

pub(super) fn list(args: &ListArgs, lang: Lang) -> anyhow::Result<u8> {
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
            writeln!(out, "{}", serde_json::to_string(&shapes::Alarm::of(row, zone))?)?;
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
            shown(row, zone, lang),
            local(row.raised_at, zone),
            format!("{} {}", row.device, row.device_name),
            row.title.get(lang).to_owned(),
            row.acknowledged.as_ref().map_or_else(|| "–".to_owned(), |ack| ack.by.clone()),
        ]);
    }
    table
}

/// The state, and what lies over it.
fn shown(row: &AlarmRow, zone: &TimeZone, lang: Lang) -> String {
    let over = overlay_words(&row.overlay, zone, lang);
    let state = shown_state(row.state, &row.overlay, lang);
    if over.is_empty() { state } else { format!("{state} · {}", over.join(" · ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AlarmState, Overlay, Priority, Text};

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
            reason: None,
            overlay: Overlay::default(),
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
