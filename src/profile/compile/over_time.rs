//! What an alarm looks at besides the moment: `count`, `rate`, `stuck` and `clear_when` of `class.toml`.

use std::time::Duration;

use super::Check;
use crate::{
    at,
    document::{Step, meant},
    domain::{Kind, Text},
    profile::{
        ClassPoint, OverTime,
        schema::{ClassAlarmFile, CountFile, RateFile, StuckFile},
    },
    text,
};

/// Longer than a day nobody remembers what for.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const SHORTEST: Duration = Duration::from_secs(1);

impl Check<'_> {
    /// What is written in one of the three tables, if one is and only one.
    pub(super) fn over_time(
        &mut self,
        i: usize,
        file: &ClassAlarmFile,
        points: &[ClassPoint],
    ) -> Option<OverTime> {
        let written = [
            ("count", file.count.is_some()),
            ("rate", file.rate.is_some()),
            ("stuck", file.stuck.is_some()),
            ("clear_when", file.clear_when.is_some()),
        ];
        let mut written = written.into_iter().filter(|(_, is)| *is).map(|(key, _)| key);
        let first = written.next()?;
        if let Some(second) = written.next() {
            let told = text!(
                "\"{first}\" 和 \"{second}\" 只能写一个",
                "an alarm has `{first}` or `{second}`, not both"
            );
            self.key_error(at!["alarm", i, second], told);
        }
        if file.name == super::class::COMM_LOSS || file.link_lost {
            let told = text!("看通信本身的报警只有延时", "what watches the link has delays and nothing else");
            self.key_error(at!["alarm", i, first], told);
        }
        let count = file.count.as_ref().map(|count| self.count(i, count));
        let rate = file.rate.as_ref().and_then(|rate| self.rate(i, rate, points));
        let stuck = file.stuck.as_ref().and_then(|stuck| self.stuck(i, stuck, points));
        count.or(rate).or(stuck)
    }

    fn count(&mut self, i: usize, file: &CountFile) -> OverTime {
        let within = self.span(at!["alarm", i, "count", "within"], file.within.0);
        OverTime::Count { times: file.times as usize, within }
    }

    fn rate(&mut self, i: usize, file: &RateFile, points: &[ClassPoint]) -> Option<OverTime> {
        for (key, by) in [("rise", file.rise), ("fall", file.fall)] {
            if by.is_some_and(|by| by.is_nan() || by <= 0.0) {
                self.error(at!["alarm", i, "rate", key], text!("须大于 0", "it is more than 0"));
            }
        }
        if file.rise.is_none() && file.fall.is_none() {
            let told = text!("要写 rise 或 fall", "`rise` or `fall` says how much");
            self.key_error(at!["alarm", i, "rate"], told);
        }
        let within = self.span(at!["alarm", i, "rate", "within"], file.within.0);
        let point = self.point_of(at!["alarm", i, "rate", "point"], &file.point, points)?;
        if point.kind != Kind::Number {
            let name = &point.name;
            let told = text!("{name} 不是数，没有变化速度", "{name} is no number: it has no rate of change");
            self.error(at!["alarm", i, "rate", "point"], told);
        }
        Some(OverTime::Rate { point: point.name.clone(), rise: file.rise, fall: file.fall, within })
    }

    fn stuck(&mut self, i: usize, file: &StuckFile, points: &[ClassPoint]) -> Option<OverTime> {
        let lasting = self.span(at!["alarm", i, "stuck", "for"], file.lasting.0);
        let deadband = file.deadband.unwrap_or_default();
        if deadband.is_nan() || deadband < 0.0 {
            self.error(at!["alarm", i, "stuck", "deadband"], text!("不能小于 0", "it is 0 or more"));
        }
        let point = self.point_of(at!["alarm", i, "stuck", "point"], &file.point, points)?;
        if point.kind != Kind::Number && file.deadband.is_some() {
            let told = text!("只有数才有死区", "only a number has a deadband");
            self.key_error(at!["alarm", i, "stuck", "deadband"], told);
        }
        Some(OverTime::Stuck { point: point.name.clone(), lasting, deadband })
    }

    fn span(&mut self, path: &[Step<'_>], span: Duration) -> Duration {
        if !(SHORTEST..=LONGEST).contains(&span) {
            self.error(path, text!("1s 到 30d", "it is 1s to 30d"));
        }
        span
    }

    fn point_of<'p>(
        &mut self,
        path: &[Step<'_>],
        name: &str,
        points: &'p [ClassPoint],
    ) -> Option<&'p ClassPoint> {
        let point = points.iter().find(|point| point.name.as_str() == name);
        if point.is_none() {
            let known: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
            let told: Text = text!("这个类别没有测点 \"{name}\"", "this class has no point \"{name}\"");
            let place = self.document.place(path);
            match meant(name, &known) {
                Some(help) => self.problems.error_with_help(place, told, help),
                None => self.problems.error(place, told),
            }
        }
        point
    }
}
