//! `gatehouse check --plan`: when each schedule tells its devices something next.

use std::io::{self, Write};

use jiff::{Timestamp, ToSpan, civil::Date};
use serde::Serialize;

use crate::{
    config::Site,
    domain::{
        Lang,
        timetable::{At, Place, Schedule},
    },
    say,
};

/// A schedule acts within this, or is not worth a line's wait: days of the week come again in one.
const LOOK_AHEAD: i64 = 8;

/// One schedule under `--json`.
#[derive(Serialize)]
struct ScheduleRecord<'a> {
    schedule: &'a str,
    command: &'a str,
    value: &'a crate::domain::Value,
    at: At,
    devices: usize,
    /// `null`: not within a week, as where the sun does not set.
    next: Option<String>,
}

/// One line a schedule: `定时 evening · sunset-15m · set_dimming = 80 · 4 台：今天 16:44`.
pub(super) fn write_text(site: &Site, now: Timestamp, lang: Lang, out: &mut impl Write) -> io::Result<()> {
    let place = place(site);
    let today = now.to_zoned(place.zone.clone()).date();
    for schedule in &site.schedules {
        let Schedule { id, devices, command, value, at, .. } = schedule;
        let count = devices.len();
        let when = match next(schedule, &place, now) {
            Some(due) => {
                let due = due.to_zoned(place.zone.clone());
                format!("{} {}", day(due.date(), today, lang), due.strftime("%H:%M"))
            }
            None => say!(lang, "一周内不执行", "not within a week"),
        };
        let told = say!(
            lang,
            "定时 {id} · {at} · {command} = {value} · {count} 台：{when}",
            "schedule {id} · {at} · {command} = {value} · {count} devices: {when}"
        );
        writeln!(out, "{told}")?;
    }
    if site.schedules.is_empty() { Ok(()) } else { writeln!(out) }
}

pub(super) fn write_json(site: &Site, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let place = place(site);
    for schedule in &site.schedules {
        let due = next(schedule, &place, now).map(|due| due.to_zoned(place.zone.clone()));
        let record = ScheduleRecord {
            schedule: &schedule.id,
            command: schedule.command.as_str(),
            value: &schedule.value,
            at: schedule.at,
            devices: schedule.devices.len(),
            next: due.map(|due| due.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
        };
        serde_json::to_writer(&mut *out, &record)?;
        writeln!(out)?;
    }
    Ok(())
}

fn place(site: &Site) -> Place {
    Place { zone: site.timezone.clone(), coordinates: site.coordinates }
}

/// The first time after `now`. An offset from the sun may take a day's turn over midnight.
fn next(schedule: &Schedule, place: &Place, now: Timestamp) -> Option<Timestamp> {
    let today = now.to_zoned(place.zone.clone()).date();
    let days = (-1..=LOOK_AHEAD).filter_map(|days| today.checked_add(days.days()).ok());
    days.filter_map(|day| schedule.due(day, place)).filter(|due| *due > now).min()
}

fn day(day: Date, today: Date, lang: Lang) -> String {
    match (day - today).get_days() {
        0 => say!(lang, "今天", "today"),
        1 => say!(lang, "明天", "tomorrow"),
        _ => day.strftime("%m-%d").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::domain::sun::Coordinates;

    #[test]
    fn the_next_turn_is_the_first_one_that_is_still_to_come() {
        let nanjing = Some(Coordinates { latitude: 32.06, longitude: 118.78 });
        let longyearbyen = Some(Coordinates { latitude: 78.22, longitude: 15.65 });
        for (fact, at, days, coordinates, expected) in [
            ("still today", "18:00", vec![], None, Some("今天 18:00")),
            ("over for today", "06:30", vec![], None, Some("明天 06:30")),
            // 2026-11-26 is a Thursday
            ("on its day of the week", "06:30", vec!["sat"], None, Some("11-28 06:30")),
            ("its day, next week", "06:30", vec!["thu"], None, Some("12-03 06:30")),
            ("by the sun", "sunset-15m", vec![], nanjing, Some("今天 16:4")),
            ("no sun in November", "sunset", vec![], longyearbyen, None),
        ] {
            let schedule = Schedule {
                id: "x".to_owned(),
                devices: vec![],
                command: "dim".into(),
                value: 1.0.into(),
                at: at.parse().unwrap(),
                days: days.iter().map(|day| weekday(day)).collect(),
            };
            let place = Place { zone: TimeZone::get("Asia/Shanghai").unwrap(), coordinates };
            let now: Timestamp = "2026-11-26T10:00:00+08:00".parse().unwrap();
            let today = now.to_zoned(place.zone.clone()).date();
            let told = next(&schedule, &place, now).map(|due| {
                let due = due.to_zoned(place.zone.clone());
                format!("{} {}", day(due.date(), today, Lang::Zh), due.strftime("%H:%M"))
            });
            let as_expected = match (&told, expected) {
                (Some(told), Some(expected)) => told.starts_with(expected),
                (told, expected) => told.is_none() && expected.is_none(),
            };
            assert!(as_expected, "{fact}: {told:?}");
        }
    }

    fn weekday(word: &str) -> jiff::civil::Weekday {
        if word == "sat" { jiff::civil::Weekday::Saturday } else { jiff::civil::Weekday::Thursday }
    }
}
