//! When devices are told something by the clock or the sun, and what each should have been told by now.

use std::{collections::HashMap, fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, civil::Time, civil::Weekday, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    CommandName, DeviceId, Period, Value,
    sun::{Coordinates, SunEvent, sun},
};

/// A turn missed by more than this is over.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// Further from the sun's rise or set it would be another day's.
const MOST_OFFSET: SignedDuration = SignedDuration::from_hours(6);

/// A moment of each day: `"18:30"`, `"sunset-15m"`, `"sunrise"`.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema)]
#[schemars(with = "String", inline, extend("pattern" = At::PATTERN, "examples" = ["18:30", "sunset-15m", "sunrise+10m"]))]
pub enum At {
    Clock(Time),
    Sun { event: SunEvent, offset: SignedDuration },
}

impl At {
    pub const PATTERN: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$|^(sunrise|sunset)([+-][0-9]+(s|m|h))?$";
}

impl FromStr for At {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "a time such as \"18:30\", \"sunset-15m\" or \"sunrise+10m\", at most 6h from the sun";
        let event = [("sunrise", SunEvent::Sunrise), ("sunset", SunEvent::Sunset)];
        let event = event.into_iter().find_map(|(word, event)| Some((event, text.strip_prefix(word)?)));
        let Some((event, rest)) = event else {
            let short = text.len() == 5;
            return Time::strptime("%H:%M", text).ok().filter(|_| short).map(At::Clock).ok_or(EXPECTED);
        };
        let offset = match rest.split_at_checked(1) {
            None => Some(SignedDuration::ZERO),
            Some((sign @ ("+" | "-"), period)) => {
                let period: Option<Period> = period.parse().ok();
                let offset = period.and_then(|Period(period)| SignedDuration::try_from(period).ok());
                offset.map(|offset| if sign == "-" { -offset } else { offset })
            }
            Some(_) => None,
        };
        let offset = offset.filter(|offset| offset.abs() <= MOST_OFFSET).ok_or(EXPECTED)?;
        Ok(At::Sun { event, offset })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Clock(time) => write!(f, "{}", time.strftime("%H:%M")),
            At::Sun { event, offset } => {
                let word = match event {
                    SunEvent::Sunrise => "sunrise",
                    SunEvent::Sunset => "sunset",
                };
                let sign = if offset.is_negative() { '-' } else { '+' };
                match offset.is_zero() {
                    true => f.write_str(word),
                    false => write!(f, "{word}{sign}{}", Period(offset.unsigned_abs())),
                }
            }
        }
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(|expected| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
    }
}

/// Where the site is, for clocks and for the sun.
#[derive(Clone, Debug)]
pub struct Place {
    pub zone: TimeZone,
    pub coordinates: Option<Coordinates>,
}

/// Some devices are told the same thing at the same time of some days.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub id: String,
    pub devices: Vec<DeviceId>,
    pub command: CommandName,
    pub value: Value,
    pub at: At,
    /// None: every day.
    pub days: Vec<Weekday>,
}

/// What one device should be told by now.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'s> {
    pub schedule: &'s Schedule,
    pub device: &'s DeviceId,
    /// The day that it is for.
    pub day: Date,
    pub due: Timestamp,
}

impl Schedule {
    /// When it is due on `day`; `None` on other days, and where the sun does not rise or set then. A time that a clock change skips
    /// comes as much later; one that comes twice counts the first time.
    pub fn due(&self, day: Date, place: &Place) -> Option<Timestamp> {
        if !self.days.is_empty() && !self.days.contains(&day.weekday()) {
            return None;
        }
        match self.at {
            At::Clock(time) => Some(place.zone.to_zoned(day.to_datetime(time)).ok()?.timestamp()),
            At::Sun { event, offset } => sun(event, place.coordinates?, day)?.checked_add(offset).ok(),
        }
    }

    /// The last time before or at `now`, and the day that it was for.
    fn last_due(&self, now: Timestamp, place: &Place) -> Option<(Date, Timestamp)> {
        let today = now.to_zoned(place.zone.clone()).date();
        let days = [1, 0, -1].into_iter().filter_map(|days| today.checked_add(days.days()).ok());
        let due = days.filter_map(|day| Some((day, self.due(day, place)?)));
        due.filter(|(_, due)| *due <= now && now.duration_since(*due) <= GRACE).max_by_key(|(_, due)| *due)
    }
}

/// What each device should have been told by now, the earliest first: of each command only the latest turn counts.
pub fn wanted<'s>(schedules: &'s [Schedule], place: &Place, now: Timestamp) -> Vec<Turn<'s>> {
    let mut latest: HashMap<(&DeviceId, &CommandName), Turn<'s>> = HashMap::new();
    for schedule in schedules {
        let Some((day, due)) = schedule.last_due(now, place) else { continue };
        for device in &schedule.devices {
            let turn = Turn { schedule, device, day, due };
            let key = (device, &schedule.command);
            if latest.get(&key).is_none_or(|known| known.due <= due) {
                latest.insert(key, turn);
            }
        }
    }
    let mut turns: Vec<Turn> = latest.into_values().collect();
    turns.sort_by(|a, b| (a.due, a.device, &a.schedule.id).cmp(&(b.due, b.device, &b.schedule.id)));
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shanghai() -> Place {
        Place {
            zone: TimeZone::get("Asia/Shanghai").unwrap(),
            coordinates: Some(Coordinates { latitude: 31.23, longitude: 121.47 }),
        }
    }

    fn schedule(id: &str, at: &str, value: f64) -> Schedule {
        Schedule {
            id: id.to_owned(),
            devices: vec!["lamp-1".into(), "lamp-2".into()],
            command: "dim".into(),
            value: value.into(),
            at: at.parse().unwrap(),
            days: vec![],
        }
    }

    #[test]
    fn times_as_people_write_them() {
        for text in ["18:30", "00:00", "sunset", "sunset-15m", "sunrise+10m", "sunrise-6h"] {
            assert_eq!(text.parse::<At>().map(|at| at.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "",
            "6:30",
            "24:00",
            "18:60",
            "noon",
            "sunset15m",
            "sunset-",
            "sunset-15",
            "sunset-7h",
            "sunset -15m",
        ] {
            assert!(text.parse::<At>().is_err(), "{text}");
        }
    }

    #[test]
    fn due_by_clock_and_sun_and_across_clock_changes() {
        let berlin = Place { zone: TimeZone::get("Europe/Berlin").unwrap(), coordinates: None };
        let tromso = Place {
            zone: TimeZone::get("Europe/Oslo").unwrap(),
            coordinates: Some(Coordinates { latitude: 69.65, longitude: 18.96 }),
        };
        for (fact, at, place, day, expected) in [
            ("by the clock", "18:30", shanghai(), "2026-11-25", Some("2026-11-25T10:30:00Z")),
            ("by the sun", "sunset-15m", shanghai(), "2026-12-22", Some("2026-12-22T08:41:00Z")),
            ("a time that is skipped", "02:30", berlin.clone(), "2026-03-29", Some("2026-03-29T01:30:00Z")),
            ("a time that comes twice", "02:30", berlin.clone(), "2026-10-25", Some("2026-10-25T00:30:00Z")),
            ("no sunset in June", "sunset", tromso, "2026-06-21", None),
            ("nowhere is no sun", "sunset", berlin, "2026-06-21", None),
        ] {
            let due = schedule("x", at, 1.0).due(day.parse().unwrap(), &place);
            let expected: Option<Timestamp> = expected.map(|text| text.parse().unwrap());
            let near = match (due, expected) {
                (Some(due), Some(expected)) => {
                    due.duration_since(expected).abs() <= SignedDuration::from_mins(2)
                }
                (due, expected) => due == expected,
            };
            assert!(near, "{fact}: {due:?}");
        }
        let saturdays = Schedule { days: vec![Weekday::Saturday], ..schedule("x", "18:30", 1.0) };
        let due = |day: &str| saturdays.due(day.parse().unwrap(), &shanghai()).is_some();
        assert!(due("2026-11-28") && !due("2026-11-27"));
    }

    #[test]
    fn of_each_command_only_the_latest_turn_counts() {
        let schedules =
            [schedule("on", "18:00", 100.0), schedule("late", "23:00", 40.0), schedule("off", "06:30", 0.0)];
        for (now, expected) in [
            ("2026-11-25T17:59:59+08:00", "off 2026-11-25"),
            ("2026-11-25T18:00:00+08:00", "on 2026-11-25"),
            ("2026-11-25T23:30:00+08:00", "late 2026-11-25"),
            ("2026-11-26T03:00:00+08:00", "late 2026-11-25"),
            ("2026-11-26T06:30:00+08:00", "off 2026-11-26"),
        ] {
            let turns = wanted(&schedules, &shanghai(), now.parse().unwrap());
            let told: Vec<String> =
                turns.iter().map(|turn| format!("{} {}", turn.schedule.id, turn.day)).collect();
            assert_eq!(told, [expected, expected], "{now}: both lamps");
        }
        let weekly = [Schedule { days: vec![Weekday::Saturday], ..schedule("x", "18:30", 1.0) }];
        assert!(
            wanted(&weekly, &shanghai(), "2026-11-30T12:00:00Z".parse().unwrap()).is_empty(),
            "long over"
        );
    }
}
