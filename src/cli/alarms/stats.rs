//! `alarms stats`: how much the alarms ask of those who hear them, in the figures of EEMUA 191.

use std::io::{self, Write};

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{local, priority_word};
use crate::{
    cli::{
        exit,
        readings::Moment,
        site::{SiteArgs, if_stored},
    },
    console::shapes,
    domain::{
        Lang, Load, Period, Priority,
        load::{BEARABLE, FLOOD, STANDING},
    },
    say,
    store::{AlarmFilter, AlarmRow, Reader},
};

/// A week, unless said otherwise.
const USUALLY: Period = Period(std::time::Duration::from_secs(7 * 24 * 3600));
const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Medium, Priority::Low];

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// 起始时间 / from: 2026-11-23T14:00:00+08:00, "2026-11-23 14:00" (local), -30m [default: -7d]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// 截止时间 / to [default: now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    to: Option<Moment>,
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What is shown.
struct Figures {
    load: Load,
    /// Open for more than a day, the oldest first.
    standing: Vec<AlarmRow>,
    /// The record begins after what was asked for.
    cut: bool,
}

pub(super) fn stats(args: &StatsArgs, lang: Lang) -> anyhow::Result<u8> {
    let site = match args.site.look(lang) {
        Ok(site) => site,
        Err(code) => return Ok(code),
    };
    let (zone, now) = (&site.timezone, Timestamp::now());
    let place = |moment: Option<Moment>, usually: Moment| moment.unwrap_or(usually).place(now, zone);
    let (from, to) = match (place(args.from, Moment::Ago(USUALLY.0)), place(args.to, Moment::Exact(now))) {
        (Ok(from), Ok(to)) if from < to => (from, to),
        (Ok(_), Ok(_)) => {
            eprintln!("{}", say!(lang, "截止时间不晚于起始时间", "the end is not after the beginning"));
            return Ok(exit::USAGE);
        }
        (Err(why), _) | (_, Err(why)) => {
            eprintln!("{}", say!(lang, "时间无效：{why}", "not a time on the calendar: {why}"));
            return Ok(exit::USAGE);
        }
    };
    let Some(reader) = if_stored(Reader::open(&site.store.dir), lang)? else {
        return Ok(exit::NOTHING_FOUND);
    };
    let (announced, begins) = reader.announced(from, to)?;
    let since = begins.filter(|begins| *begins > from && *begins < to).unwrap_or(from);
    let figures = Figures {
        load: Load::of(since, to, &announced),
        standing: standing(
            reader.alarms(&AlarmFilter { limit: usize::MAX, ..AlarmFilter::default() })?.rows,
            now,
        ),
        cut: since > from,
    };
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", record(&figures, zone, now))?,
        false => write(&figures, zone, (now, lang), &mut out)?,
    }
    Ok(exit::OK)
}

/// What a person holds back on purpose is not furniture.
fn standing(mut open: Vec<AlarmRow>, now: Timestamp) -> Vec<AlarmRow> {
    open.retain(|row| !row.overlay.is_held() && age(row, now).0 > STANDING);
    open.sort_by_key(|row| row.raised_at);
    open
}

fn age(row: &AlarmRow, now: Timestamp) -> Period {
    Period(now.duration_since(row.raised_at).try_into().unwrap_or_default())
}

fn write(
    Figures { load, standing, cut }: &Figures,
    zone: &TimeZone,
    (now, lang): (Timestamp, Lang),
    out: &mut impl Write,
) -> io::Result<()> {
    let (since, until) = (local(load.since, zone), local(load.until, zone));
    writeln!(out, "{}", say!(lang, "报警负荷 {since} 至 {until}", "alarm load from {since} to {until}"))?;
    if *cut {
        writeln!(out, "{}", say!(lang, "  更早没有记录", "  there is no record of before"))?;
    }
    let (announced, rate) = (load.announced, load.rate());
    let verdict = match rate <= BEARABLE {
        true => say!(lang, "可以承受", "bearable"),
        false => say!(lang, "偏多：一个人应接不暇", "too much for one person"),
    };
    let told = say!(
        lang,
        "  报警 {announced} 次，平均每 10 分钟 {rate:.2} 次（EEMUA 191：不超过 {BEARABLE} 次）：{verdict}",
        "  {announced} announced, {rate:.2} in 10 minutes on average (EEMUA 191: {BEARABLE} at most): {verdict}"
    );
    writeln!(out, "{told}")?;
    let counts = PRIORITIES
        .map(|priority| format!("{} {}", priority_word(priority, lang), load.by_priority[priority as usize]));
    writeln!(out, "  {}", counts.join(" · "))?;
    if let Some((at, count)) = load.worst {
        let (at, floods) = (local(at, zone), load.floods);
        let told = say!(
            lang,
            "  最多的 10 分钟：{count} 次（{at} 起）；超过 {FLOOD} 次的有 {floods} 段",
            "  the fullest 10 minutes: {count} (from {at}); more than {FLOOD} in {floods} of them"
        );
        writeln!(out, "{told}")?;
    }
    if !load.top.is_empty() {
        writeln!(out, "{}", say!(lang, "最频繁的：", "the most frequent:"))?;
    }
    for one in &load.top {
        let share = 100 * one.times / load.announced.max(1);
        writeln!(out, "  {:>5}  {share:>3} %  {}  {}", one.times, one.key, one.title.get(lang))?;
    }
    if !standing.is_empty() {
        let told = say!(lang, "一天以上没有关闭的：", "open for more than a day:");
        writeln!(out, "{told}")?;
    }
    for row in standing {
        let (age, title) = (whole_hours(age(row, now)), row.title.get(lang));
        writeln!(out, "  {age:>7}  {}/{}  {title}  {}", row.device, row.alarm, row.occurrence)?;
    }
    Ok(())
}

fn whole_hours(Period(age): Period) -> String {
    let hours = age.as_secs() / 3600;
    format!("{}d {:02}h", hours / 24, hours % 24)
}

fn record(Figures { load, standing, cut }: &Figures, zone: &TimeZone, now: Timestamp) -> serde_json::Value {
    let by_priority = PRIORITIES.map(|priority| (priority, load.by_priority[priority as usize]));
    let by_priority: std::collections::BTreeMap<_, _> = by_priority.into_iter().collect();
    let top = load.top.iter().map(|one| {
        json!({ "device": one.key.device, "alarm": one.key.alarm, "title": one.title, "times": one.times })
    });
    let standing = standing.iter().map(|row| {
        let mut record = json!(shapes::Alarm::of(row, zone));
        record["age_s"] = json!(age(row, now).0.as_secs());
        record
    });
    json!({
        "from": local(load.since, zone), "to": local(load.until, zone), "record_begins_later": cut,
        "announced": load.announced, "per_10_min": load.rate(), "by_priority": by_priority,
        "worst_10_min": load.worst.map(|(at, count)| json!({ "from": local(at, zone), "announced": count })),
        "floods": load.floods,
        "top": top.collect::<Vec<_>>(), "standing": standing.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AlarmKey, AlarmState, Announcement, Hold, Mono, Overlay, Text};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn open(alarm: &str, since: i64) -> AlarmRow {
        AlarmRow {
            occurrence: format!("9c1e-{alarm}"),
            device: "lift-1".to_owned(),
            device_name: "1号电梯".to_owned(),
            alarm: alarm.to_owned(),
            title: Text::new("门", "door"),
            priority: Priority::High,
            state: AlarmState::ActiveUnacknowledged,
            raised_at: at(since),
            returned_at: None,
            acknowledged: None,
            reason: None,
            overlay: Overlay::default(),
            demo: false,
        }
    }

    fn figures(times: i64, standing: Vec<AlarmRow>) -> Figures {
        let key = AlarmKey { device: "lift-1".into(), alarm: "door".into() };
        let one = |n| Announcement {
            at: at(n),
            key: key.clone(),
            priority: Priority::High,
            title: Text::new("门", "door"),
        };
        let said: Vec<_> = (0..times).map(one).collect();
        Figures { load: Load::of(at(0), at(3600), &said), standing, cut: true }
    }

    fn told(figures: &Figures, lang: Lang) -> String {
        let mut out = Vec::new();
        write(figures, &TimeZone::UTC, (at(3600), lang), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_flood_is_told_with_its_time_and_who_made_it() {
        let figures = figures(12, vec![open("old", -30 * 3600)]);
        for (lang, parts) in [
            (
                Lang::Zh,
                [
                    "更早没有记录",
                    "2.00 次",
                    "应接不暇",
                    "12 次（2027-01-15T08:00:00.000+00:00 起）；超过 10 次的有 1 段",
                    "100 %  lift-1/door  门",
                    "1d 07h  lift-1/old",
                ],
            ),
            (
                Lang::En,
                [
                    "no record of before",
                    "12 announced, 2.00",
                    "too much",
                    "12 (from 2027",
                    "100 %  lift-1/door  door",
                    "open for more than a day",
                ],
            ),
        ] {
            let told = told(&figures, lang);
            for part in parts {
                assert!(told.contains(part), "{part}\n{told}");
            }
        }
        let record = record(&figures, &TimeZone::UTC, at(3600));
        assert_eq!(
            (&record["floods"], &record["per_10_min"], &record["by_priority"]["high"]),
            (&1.into(), &2.0.into(), &12.into())
        );
        assert_eq!(
            (&record["top"][0]["times"], &record["standing"][0]["age_s"]),
            (&12.into(), &(31 * 3600).into())
        );
    }

    #[test]
    fn quiet_is_bearable_and_has_no_fullest_window() {
        let told = told(&figures(0, vec![]), Lang::En);
        assert!(told.contains("0 announced, 0.00") && told.contains("bearable"), "{told}");
        assert!(
            !told.contains("fullest") && !told.contains("most frequent") && !told.contains("open for"),
            "{told}"
        );
    }

    #[test]
    fn what_is_held_back_on_purpose_or_young_does_not_stand() {
        let mut shelved = open("shelved", -50 * 3600);
        let who =
            crate::domain::Acknowledgement { by: "张伟".into(), at: at(0), note: None, from: "cli".into() };
        let hold = Hold::begun(who, "x".into(), STANDING, Mono(STANDING), "b");
        shelved.overlay.shelf = Some(Box::new(hold));
        let rows =
            vec![open("younger", -25 * 3600), open("young", -23 * 3600), shelved, open("old", -26 * 3600)];
        let names: Vec<_> = standing(rows, at(0)).into_iter().map(|row| row.alarm).collect();
        assert_eq!(names, ["old", "younger"]);
    }
}
