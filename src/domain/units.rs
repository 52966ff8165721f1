//! Durations and sizes as people write them: `"500ms"`, `"90d"`, `"512MiB"`.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written with its unit: ms, s, m, h or d.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", inline, extend("pattern" = Period::PATTERN, "examples" = ["500ms", "30s", "5m", "2h", "90d"]))]
pub struct Period(pub Duration);

/// A number of bytes, written with its unit: B, KiB, MiB or GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", inline, extend("pattern" = Size::PATTERN, "examples" = ["64KiB", "512MiB", "1GiB"]))]
pub struct Size(pub u64);

const PERIODS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Clocks, calendars and the store can count to here and well beyond.
const LONGEST_PERIOD: u64 = 36_500 * 86_400_000;
const LARGEST_SIZE: u64 = 1 << 50;

impl Period {
    /// How one is written.
    pub const PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";
    /// The longest, as it is written.
    pub const LONGEST: &str = "36500d";
}

impl Size {
    /// How one is written.
    pub const PATTERN: &str = "^[0-9]+(B|KiB|MiB|GiB)$";
    /// The largest, as it is written.
    pub const LARGEST: &str = "1048576GiB";
}

fn parse(text: &str, units: &[(&str, u64)], most: u64) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|&n| n > 0)?;
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|amount| *amount <= most)
}

fn write(amount: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whole = units.iter().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor));
    let (name, factor) = whole.unwrap_or(&units[units.len() - 1]);
    write!(f, "{}{name}", amount / factor)
}

/// A length of time as people say it: `42.1 ms`, `1.3 s`, `2.5 min`.
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..1.0 => format!("{:.1} ms", 1e3 * seconds),
        ..100.0 => format!("{seconds:.1} s"),
        ..6000.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

macro_rules! unit_text {
    ($name:ident, $units:ident, $most:ident, $from:expr, $to:expr, $expected:literal) => {
        impl FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text, &$units, $most).map($from).ok_or($expected)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write($to(self), &$units, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse()
                    .map_err(|expected| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
            }
        }
    };
}

unit_text!(
    Period,
    PERIODS,
    LONGEST_PERIOD,
    |ms| Period(Duration::from_millis(ms)),
    |p: &Period| p.0.as_millis() as u64,
    "a duration such as \"500ms\", \"30s\", \"5m\", \"2h\" or \"90d\""
);
unit_text!(
    Size,
    SIZES,
    LARGEST_SIZE,
    Size,
    |s: &Size| s.0,
    "a size such as \"64KiB\", \"512MiB\" or \"1GiB\""
);

impl From<Period> for Duration {
    fn from(period: Period) -> Duration {
        period.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_and_sizes_survive_writing_and_reading() {
        for text in ["500ms", "30s", "5m", "2h", "90d", "1500ms", "0ms", Period::LONGEST] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for text in ["512MiB", "1GiB", "1023B", Size::LARGEST] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn lengths_of_time_are_said_in_the_unit_that_fits() {
        let rows =
            [(42_100, "42.1 ms"), (1_340_000, "1.3 s"), (150_000_000, "2.5 min"), (7_200_000_000, "2.0 h")];
        for (micros, said) in rows {
            assert_eq!(about(Duration::from_micros(micros)), said);
        }
    }

    #[test]
    fn what_is_not_a_number_with_a_unit_is_refused() {
        for text in
            ["", "5", "s", "-1s", "1.5s", "1 s", "5min", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        for text in ["36501d", "3153600000001ms", "999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        for text in ["1048577GiB", "18446744073709551615GiB", "99999999999999999999B"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
