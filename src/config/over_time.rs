//! `count`, `rate` and `stuck` of an `[[alarm]]`: how much it takes here, of a class's rule that looks at more than the moment.

use std::time::Duration;

use super::{
    alarm_table::{AlarmTable, CountChange, RateChange, StuckChange},
    desk::Desk,
};
use crate::{
    alarm::OverTimeChange,
    at,
    document::Step,
    domain::Period,
    profile::{ClassAlarm, OverTime},
    text,
};

/// As of a class.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) fn over_time(desk: &mut Desk<'_>, n: usize, table: &AlarmTable, alarm: &ClassAlarm) {
    let (counts, rates, sticks) = match &alarm.over_time {
        None => (false, false, false),
        Some(OverTime::Count { .. }) => (true, false, false),
        Some(OverTime::Rate { .. }) => (false, true, false),
        Some(OverTime::Stuck { .. }) => (false, false, true),
    };
    let written = [
        ("count", table.count.is_some(), counts),
        ("rate", table.rate.is_some(), rates),
        ("stuck", table.stuck.is_some(), sticks),
    ];
    for (key, _, is) in written.into_iter().filter(|(_, there, _)| *there) {
        let (path, name) = (at!["alarm", n, key], &alarm.name);
        if !is {
            let told = text!(
                "\"{name}\" 不是这样的规则：类别里没有 {key}",
                "\"{name}\" is no such rule: its class has no `{key}` for it"
            );
            desk.error(path, told);
        } else if alarm.life_safety {
            let told = text!(
                "\"{name}\" 关系人身安全，{key} 不能改",
                "\"{name}\" is a matter of life: its {key} is its class's"
            );
            desk.error(path, told);
        }
    }
    if let Some(CountChange { times: _, within }) = table.count {
        span(desk, at!["alarm", n, "count", "within"], within);
    }
    if let Some(RateChange { rise, fall, within }) = table.rate {
        span(desk, at!["alarm", n, "rate", "within"], within);
        for (key, by) in [("rise", rise), ("fall", fall)] {
            if by.is_some_and(|by| !by.is_finite() || by <= 0.0) {
                desk.error(at!["alarm", n, "rate", key], text!("须大于 0", "it is more than 0"));
            }
        }
    }
    if let Some(StuckChange { lasting, deadband }) = table.stuck {
        span(desk, at!["alarm", n, "stuck", "for"], lasting);
        if deadband.is_some_and(|deadband| !deadband.is_finite() || deadband < 0.0) {
            desk.error(at!["alarm", n, "stuck", "deadband"], text!("不能小于 0", "it is 0 or more"));
        }
    }
}

fn span(desk: &mut Desk<'_>, path: &[Step<'_>], span: Option<Period>) {
    if span.is_some_and(|span| !(SHORTEST..=LONGEST).contains(&span.0)) {
        desk.error(path, text!("1s 到 30d", "it is 1s to 30d"));
    }
}

/// One of them at most: of another kind of rule it was told already.
pub(super) fn as_change(table: &AlarmTable) -> Option<OverTimeChange> {
    let period = |period: Option<Period>| period.map(Duration::from);
    let count = table.count.map(|CountChange { times, within }| OverTimeChange::Count {
        times: times.map(|times| times as usize),
        within: period(within),
    });
    let rate = table.rate.map(|RateChange { rise, fall, within }| OverTimeChange::Rate {
        rise,
        fall,
        within: period(within),
    });
    let stuck = table.stuck.map(|StuckChange { lasting, deadband }| OverTimeChange::Stuck {
        lasting: period(lasting),
        deadband,
    });
    count.or(rate).or(stuck)
}
