//! How much is asked of those who hear the alarms, in the figures of EEMUA 191: how many in ten minutes, which come most, which stand
//! for days. Pure.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::{AlarmKey, Priority, Text};

/// What the figures are counted in.
pub const WINDOW: Duration = Duration::from_secs(600);
/// More announcements than this in one window are a flood (ISA-18.2; EEMUA 191).
pub const FLOOD: usize = 10;
/// So many a window one person bears in the long run (EEMUA 191).
pub const BEARABLE: f64 = 1.0;
/// An alarm that is open for longer is part of the furniture.
pub const STANDING: Duration = Duration::from_secs(24 * 3600);
/// How many of those that come most are named.
const TOP: usize = 10;

/// An alarm was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub at: Timestamp,
    pub key: AlarmKey,
    pub priority: Priority,
    pub title: Text,
}

/// The load from `since` to `until`.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    pub since: Timestamp,
    pub until: Timestamp,
    pub announced: usize,
    /// Windows that began, the last one perhaps cut short.
    pub windows: usize,
    pub floods: usize,
    /// The fullest window, if anything was announced: its beginning, and how much.
    pub worst: Option<(Timestamp, usize)>,
    /// Critical, high, medium, low.
    pub by_priority: [usize; 4],
    /// Those that came most, the most frequent first.
    pub top: Vec<Frequent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frequent {
    pub key: AlarmKey,
    pub title: Text,
    pub times: usize,
}

impl Load {
    /// What lies outside of `since..until` is left out.
    pub fn of(since: Timestamp, until: Timestamp, announced: &[Announcement]) -> Self {
        let within: Vec<_> = announced.iter().filter(|one| one.at >= since && one.at < until).collect();
        let mut windows = HashMap::<usize, usize>::new();
        let mut by_key = HashMap::<&AlarmKey, Frequent>::new();
        let mut by_priority = [0; 4];
        for one in &within {
            *windows.entry(window(since, one.at)).or_default() += 1;
            by_priority[one.priority as usize] += 1;
            let begun = || Frequent { key: one.key.clone(), title: one.title.clone(), times: 0 };
            by_key.entry(&one.key).or_insert_with(begun).times += 1;
        }
        let mut top: Vec<Frequent> = by_key.into_values().collect();
        top.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.key.cmp(&b.key)));
        top.truncate(TOP);
        let fullest = windows.iter().max_by_key(|(window, count)| (**count, std::cmp::Reverse(**window)));
        Self {
            since,
            until,
            announced: within.len(),
            windows: spanned(since, until),
            floods: windows.values().filter(|count| **count > FLOOD).count(),
            worst: fullest.map(|(window, count)| (beginning(since, *window), *count)),
            by_priority,
            top,
        }
    }

    /// Announcements in ten minutes, on average.
    pub fn rate(&self) -> f64 {
        if self.windows == 0 { 0.0 } else { self.announced as f64 / self.windows as f64 }
    }
}

/// In which window after `since` a moment lies.
fn window(since: Timestamp, at: Timestamp) -> usize {
    let seconds = at.duration_since(since).as_secs().max(0);
    (seconds.unsigned_abs() / WINDOW.as_secs()) as usize
}

fn beginning(since: Timestamp, window: usize) -> Timestamp {
    since.saturating_add(WINDOW.saturating_mul(window as u32)).unwrap_or(since)
}

fn spanned(since: Timestamp, until: Timestamp) -> usize {
    let seconds = until.duration_since(since).as_secs().max(0);
    seconds.unsigned_abs().div_ceil(WINDOW.as_secs()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn one(second: i64, alarm: &str, priority: Priority) -> Announcement {
        let key = AlarmKey { device: "lift-1".into(), alarm: alarm.into() };
        Announcement { at: at(second), key, priority, title: Text::new("门", "door") }
    }

    #[test]
    fn windows_floods_and_what_comes_most() {
        let mut announced: Vec<_> = (0..11).map(|n| one(600 + n, "door", Priority::High)).collect();
        announced.push(one(0, "help", Priority::Critical));
        announced.push(one(1800, "help", Priority::Critical));
        announced.push(one(3600, "help", Priority::Critical)); // after the end
        announced.push(one(-1, "help", Priority::Critical)); // before the beginning
        let load = Load::of(at(0), at(3600), &announced);
        assert_eq!((load.announced, load.windows, load.floods), (13, 6, 1));
        assert_eq!(load.worst, Some((at(600), 11)));
        assert_eq!(load.by_priority, [2, 11, 0, 0]);
        let top: Vec<_> = load.top.iter().map(|one| (one.key.to_string(), one.times)).collect();
        assert_eq!(top, [("lift-1/door".to_owned(), 11), ("lift-1/help".to_owned(), 2)]);
        assert!((load.rate() - 13.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn ten_in_ten_minutes_are_no_flood_and_no_time_has_no_rate() {
        let ten: Vec<_> = (0..10).map(|n| one(n, "door", Priority::Low)).collect();
        assert_eq!(Load::of(at(0), at(600), &ten).floods, 0);
        let none = Load::of(at(600), at(0), &ten);
        assert_eq!((none.announced, none.windows, none.worst), (0, 0, None));
        assert_eq!(none.rate(), 0.0);
    }

    #[test]
    fn of_many_alarms_the_ten_most_frequent_are_named() {
        let many: Vec<_> = (0..30)
            .flat_map(|n| (0..n).map(move |_| one(5, &format!("alarm_{n:02}"), Priority::Low)))
            .collect();
        let load = Load::of(at(0), at(600), &many);
        assert_eq!(load.top.len(), TOP);
        assert_eq!((load.top[0].times, load.top[9].times), (29, 20));
    }
}
