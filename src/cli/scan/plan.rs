//! What a scan goes through: line settings × unit ids, and how long that takes.

use std::{str::FromStr, time::Duration};

use crate::fieldbus::{
    modbus::config::RtuSettings,
    port,
    serial::config::{Framing, Settings},
};

/// The likeliest first.
const BAUDS: [u32; 4] = [9600, 19200, 4800, 2400];
const QUICK_FRAMINGS: [&str; 2] = ["8N1", "8E1"];
const FULL_FRAMINGS: [&str; 3] = ["8N1", "8E1", "8O1"];
/// Modbus over Serial Line V1.02, 2.2: 1 to 247 are units, 0 is everybody.
const LAST_UNIT: u8 = 247;
const QUICK_LAST_UNIT: u8 = 16;
/// A line is listened to for this long before anything is asked on it.
pub const LISTEN: Duration = Duration::from_millis(300);
/// Request, and the silence around it, in characters.
const CHARACTERS: u32 = 8 + 4;

/// Unit ids as people write them: `1-32,247`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids(pub Vec<u8>);

impl FromStr for Ids {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "write unit ids such as 1-32 or 1,3,247";
        let mut ids = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) =
                first.trim().parse::<u8>().ok().zip(last.trim().parse::<u8>().ok()).ok_or(EXPECTED)?;
            if first > last {
                return Err(EXPECTED);
            }
            ids.extend((first..=last).filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        }
        Ok(Self(ids))
    }
}

/// The ids to knock at.
pub fn ids(full: bool, chosen: Option<&Ids>) -> Vec<u8> {
    match (chosen, full) {
        (Some(ids), _) => ids.0.clone(),
        (None, true) => (1..=LAST_UNIT).collect(),
        (None, false) => (1..=QUICK_LAST_UNIT).collect(),
    }
}

/// The settings to try a serial line with.
pub fn settings(
    port: &Settings,
    full: bool,
    baud: Option<u32>,
    framing: Option<Framing>,
) -> Vec<RtuSettings> {
    let bauds = baud.map_or_else(|| BAUDS.to_vec(), |baud| vec![baud]);
    let names: &[&str] = if full { &FULL_FRAMINGS } else { &QUICK_FRAMINGS };
    let framings =
        framing.map_or_else(|| names.iter().filter_map(|name| name.parse().ok()).collect(), |one| vec![one]);
    let each = bauds.iter().flat_map(|baud| framings.iter().map(move |framing| (*baud, *framing)));
    each.map(|(baud, framing)| Settings { port: port.port.clone(), baud, framing, rs485: None }).collect()
}

/// How long it takes if nobody answers.
pub fn estimate(settings: &[RtuSettings], units: usize, patience: Duration) -> Duration {
    let one = |settings: &RtuSettings| {
        LISTEN + (port::character(settings) * (CHARACTERS + 16) + patience) * units as u32
    };
    settings.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ranges_and_lists() {
        for (text, expected) in [
            ("1-4", Some(vec![1, 2, 3, 4])),
            ("3,1-2,247", Some(vec![3, 1, 2, 247])),
            ("7,7", Some(vec![7])),
            ("0", Some(vec![0])),
            ("1-300", None),
            ("4-1", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(text.parse::<Ids>().ok().map(|ids| ids.0), expected, "{text}");
        }
    }

    #[test]
    fn quick_is_a_quarter_of_a_minute_and_full_some_minutes() {
        let port =
            Settings { port: "/dev/ttyS3".into(), baud: 9600, framing: Framing::default(), rs485: None };
        let patience = Duration::from_millis(100);
        for (full, lines, units, seconds) in [(false, 8, 16, 16..24), (true, 12, 247, 360..480)] {
            let settings = settings(&port, full, None, None);
            let ids = ids(full, None);
            let took = estimate(&settings, ids.len(), patience).as_secs();
            assert_eq!((settings.len(), ids.len()), (lines, units));
            assert!(seconds.contains(&took), "{took} s");
        }
        let pinned = settings(&port, true, Some(19200), "8E1".parse().ok());
        assert_eq!(pinned.len(), 1, "what is known is not tried");
    }
}
