//! `profile test DEVICE`: every point of a profile read from the live device, raw beside decoded.

use std::{io::Write, path::Path, sync::Arc};

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::TestArgs;
use crate::{
    at,
    cli::{
        exit,
        live::{
            Aim, Told, register, site_if_any,
            trial::{Frames, Subject, Together, Trial, Verdict, try_profile},
        },
    },
    config::Site,
    document::{Document, Problems, Source},
    domain::{Lang, PointIx, Quality, Sample, Text},
    ops::signals,
    profile::{Address, Library, Link, Profile, Read, shown},
    say, text,
};

/// A device on the bench: where it is, and what it should be.
pub struct Bench {
    aim: Aim,
    unit: Address,
    profile: Arc<Profile>,
    source: Option<Arc<Source>>,
}

/// How the points fared.
#[derive(Default)]
struct Score {
    passed: usize,
    skipped: usize,
    failed: usize,
    required_failed: bool,
}

#[derive(Clone, Copy)]
enum Mark {
    Pass,
    Skip,
    Fail,
}

/// The live device that the command line means; `None` if it means cases.
pub(super) fn wanted(args: &TestArgs, library: &Library, lang: Lang) -> Result<Option<Bench>, Told> {
    match &args.which[..] {
        [profile, target] => match split(target) {
            Some((target, unit)) => of_line(args, library, profile, target, unit, lang).map(Some),
            None => Ok(None),
        },
        [name]
            if library.profile(name).is_none() && !library.is_broken(name) && !Path::new(name).exists() =>
        {
            let site = site_if_any(args.line.config.as_deref(), lang)?;
            site.map_or(Ok(None), |site| of_site(args, name, &site, lang))
        }
        _ => Ok(None),
    }
}

/// `/dev/ttyS3:3`, `192.168.1.20:3`, `192.168.1.20:502:3`.
fn split(target: &str) -> Option<(&str, u8)> {
    let (target, unit) = target.rsplit_once(':')?;
    Some((target, unit.parse().ok()?)).filter(|(target, _)| !target.is_empty())
}

fn of_line(
    args: &TestArgs,
    library: &Library,
    profile: &str,
    target: &str,
    unit: u8,
    lang: Lang,
) -> Result<Bench, Told> {
    let site = site_if_any(args.line.config.as_deref(), lang)?;
    let of_site = site.as_ref().filter(|site| !site.profile_dirs.is_empty());
    let own = of_site.map(|site| Library::load(&site.profile_dirs, &mut Problems::default()));
    let found = own.as_ref().and_then(|own| Some((own.profile(profile)?, own.source(profile))));
    let found = found.or_else(|| Some((library.profile(profile)?, library.source(profile))));
    let (profile, source) =
        found.ok_or_else(|| Told::new(exit::NOTHING_FOUND, super::unknown_words(profile, library, lang)))?;
    if !matches!(profile.link, Link::Modbus(_)) {
        let id = &profile.id;
        let words = say!(
            lang,
            "{id} 不说 Modbus：先写进配置，再按设备名测试",
            "{id} does not speak Modbus: put it into the site file and test it by its device's id"
        );
        return Err(Told::new(exit::USAGE, words));
    }
    let aim = Aim::find(target, &args.line, site.as_ref(), lang)?;
    Ok(Bench { aim, unit: Address::Unit(unit), profile, source })
}

fn of_site(args: &TestArgs, name: &str, site: &Site, lang: Lang) -> Result<Option<Bench>, Told> {
    let known = site.devices.iter().any(|device| *device.id == *name);
    if !known && args.line.config.is_none() {
        return Ok(None);
    }
    let aim = Aim::find(name, &args.line, Some(site), lang)?;
    let Some(member) = aim.member.clone() else { return Ok(None) };
    let library = Library::load(&site.profile_dirs, &mut Problems::default());
    let source = library.source(&member.profile.id);
    Ok(Some(Bench { aim, unit: member.address, profile: member.profile, source }))
}

impl Bench {
    /// # Errors
    /// If the runtime cannot be started or the answer cannot be printed.
    pub fn run(&self, as_json: bool, lang: Lang, out: &mut dyn Write) -> anyhow::Result<u8> {
        let mut frames = Frames::default();
        let tried = crate::cli::run::runtime()?.block_on(async {
            tokio::select! {
                tried = self.tried(&mut frames, lang) => Ok(Some(tried)),
                told = signals::told_to_stop() => told.map(|_| None),
            }
        });
        let trials = match tried? {
            Some(Ok(trials)) => trials,
            Some(Err(told)) => return Ok(told.tell()),
            None => return Ok(exit::INTERRUPTED),
        };
        let mut score = Score::default();
        for trial in &trials {
            self.judge(trial, &mut score, as_json, lang, out)?;
        }
        let unasked = self.profile.points.len() - trials.len();
        score.skipped += unasked;
        if !as_json {
            writeln!(out, " {}", score.line(frames, lang))?;
        }
        if unasked > 0 {
            let told = say!(
                lang,
                "{unasked} 个测点由设备主动上报，没有测",
                "{unasked} points come by themselves and were not tried"
            );
            eprintln!("{told}");
        }
        Ok(match (score.required_failed || frames.heard == 0, score.failed) {
            (true, _) => exit::NO_ANSWER,
            (false, 0) => exit::OK,
            (false, _) => exit::NOT_VERIFIED,
        })
    }

    async fn tried(&self, frames: &mut Frames, lang: Lang) -> Result<Vec<Trial>, Told> {
        let mut line = self.aim.open(lang).await?;
        let subject = Subject { unit: self.unit.clone(), member: self.aim.member.as_ref() };
        let mut trials = try_profile(&mut line, &subject, &self.profile, Together::Same, frames).await;
        trials.sort_by_key(|trial| trial.point);
        Ok(trials)
    }

    fn judge(
        &self,
        trial: &Trial,
        score: &mut Score,
        as_json: bool,
        lang: Lang,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        let (point, seconds) = (self.profile.class_point(trial.point), trial.took.as_secs_f64());
        let (mark, told) = self.told(trial, lang);
        score.count(mark, point.required);
        let (word, style) = mark.word();
        let place = match mark {
            Mark::Fail => self.written_at(trial.point).map(|place| format!("  {place}")).unwrap_or_default(),
            Mark::Pass | Mark::Skip => String::new(),
        };
        if as_json {
            let (raw, sample) = match &trial.verdict {
                Verdict::Pass { raw, sample } | Verdict::Unfit { raw, sample } => (Some(raw), Some(sample)),
                Verdict::NotSupported(_) | Verdict::NoAnswer(_) => (None, None),
            };
            let record = json!({
                "point": point.name, "result": word.to_lowercase(), "ms": trial.took.as_millis() as u64,
                "register": self.register(trial.point), "raw": raw, "value": sample.and_then(Sample::value),
                "unit": point.unit, "quality": sample.map(Sample::quality), "told": told, "at": place.trim(),
            });
            return writeln!(out, "{record}");
        }
        let (name, register) = (&point.name, self.register(trial.point));
        writeln!(out, "    {style}{word}{style:#} [{seconds:>7.3}s] {name:<20} {register:<13}  {told}{place}")
    }

    /// The outcome of one point in words.
    fn told(&self, trial: &Trial, lang: Lang) -> (Mark, String) {
        let point = self.profile.class_point(trial.point);
        match &trial.verdict {
            Verdict::Pass { raw, sample } => {
                let (value, unit) = (shown(sample), &point.unit);
                (Mark::Pass, format!("{raw} → {value} {unit}").trim_end().to_owned())
            }
            Verdict::NotSupported(told) if !point.required => {
                let why = told.what.get(lang);
                let optional =
                    say!(lang, "{why}；可选点，设备不支持", "{why}; optional, the device does not have it");
                (Mark::Skip, optional)
            }
            Verdict::NotSupported(told) | Verdict::NoAnswer(told) => (Mark::Fail, told.line(lang)),
            Verdict::Unfit { raw, sample } => {
                let why = self.unfit(trial.point, sample);
                let why = why.get(lang);
                (Mark::Fail, format!("{raw} → {why}"))
            }
        }
    }

    fn unfit(&self, point: PointIx, sample: &Sample) -> Text {
        let takes = self.profile.takes(point).unwrap_or_default();
        let (zh, en) = (&takes.zh, &takes.en);
        match sample.quality() {
            Quality::OutOfRange => text!("超出范围（{zh}）", "out of range ({en})"),
            _ if !zh.is_empty() => text!("没有这个值（{zh}）", "no such value ({en})"),
            _ => text!("不是这个类型的值", "no value of its type"),
        }
    }

    fn register(&self, point: PointIx) -> String {
        match &self.profile.points[usize::from(point.0)].read {
            Read::Modbus { table, address, .. } => register(*table, *address),
            Read::Serial { frame } => match &self.profile.link {
                // by its data identifier, as manuals have it
                Link::Dlt645(link) => {
                    let item = link.items.get(usize::from(*frame));
                    item.map_or_else(String::new, |item| format!("{:08X}", item.id))
                }
                Link::Modbus(_) | Link::Serial(_) | Link::Mqtt(_) => format!("#{frame}"),
            },
            Read::Mqtt | Read::Reckoned => String::new(),
        }
    }

    /// Where the profile says what the point is.
    fn written_at(&self, point: PointIx) -> Option<String> {
        let document = Document::parse(self.source.clone()?, &mut Problems::default())?;
        Some(document.place(at!["point", usize::from(point.0), "name"]).address())
    }
}

impl Mark {
    fn word(self) -> (&'static str, Style) {
        let (word, colour) = match self {
            Mark::Pass => ("PASS", AnsiColor::Green),
            Mark::Skip => ("SKIP", AnsiColor::Yellow),
            Mark::Fail => ("FAIL", AnsiColor::Red),
        };
        (word, Style::new().bold().fg_color(Some(colour.into())))
    }
}

impl Score {
    fn count(&mut self, mark: Mark, required: bool) {
        match mark {
            Mark::Pass => self.passed += 1,
            Mark::Skip => self.skipped += 1,
            Mark::Fail => {
                self.failed += 1;
                self.required_failed |= required;
            }
        }
    }

    fn line(&self, frames: Frames, lang: Lang) -> String {
        let Self { passed, skipped, failed, .. } = self;
        let (all, Frames { sent, heard }) = (passed + skipped + failed, frames);
        let missed = sent - heard;
        say!(
            lang,
            "{all} 点：{passed} 通过 {skipped} 跳过 {failed} 失败 · {sent} 帧发出 {heard} 收到 {missed} 错",
            "{all} points: {passed} passed, {skipped} skipped, {failed} failed · {sent} frames sent, {heard} received, {missed} wrong"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_stands_behind_its_line() {
        for (text, expected) in [
            ("/dev/ttyS3:3", Some(("/dev/ttyS3", 3))),
            ("192.168.1.20:502:3", Some(("192.168.1.20:502", 3))),
            ("192.168.1.20:3", Some(("192.168.1.20", 3))),
            ("192.168.1.20:502", None),
            ("/dev/ttyS3", None),
            (":3", None),
            ("elevator/x", None),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
