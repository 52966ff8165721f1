//! A profile held against a live device: each of its points read, decoded and judged.

use std::time::Duration;

use super::{LiveLine, Member, NoAnswer, Why};
use crate::{
    domain::{Diagnosis, PointIx, Quality, Raw, Sample, Table},
    fieldbus::plan::Ask,
    profile::{Address, Link, Profile, Read},
};

/// A device that gave no answer so often in a row is not asked the rest.
const SILENT_IN_A_ROW: u32 = 3;

/// One point's outcome.
#[derive(Clone, Debug)]
pub struct Trial {
    pub point: PointIx,
    pub took: Duration,
    pub verdict: Verdict,
}

#[derive(Clone, Debug)]
pub enum Verdict {
    /// A value, or the device's own "no value". Raw words beside it.
    Pass {
        raw: String,
        sample: Sample,
    },
    /// The device does not have it.
    NotSupported(Diagnosis),
    /// It came, and is no value of this point.
    Unfit {
        raw: String,
        sample: Sample,
    },
    NoAnswer(Diagnosis),
}

/// How many points one question may cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Only points in the very same registers: each point is told apart.
    Same,
    /// Neighbours too: quick.
    Neighbours,
}

/// Whom is asked.
pub struct Subject<'a> {
    pub unit: Address,
    pub member: Option<&'a Member>,
}

/// Frames that went out and came back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    pub sent: u32,
    pub heard: u32,
}

/// Reads every point of `profile`, in its order of registers.
pub async fn try_profile(
    line: &mut LiveLine,
    subject: &Subject<'_>,
    profile: &Profile,
    together: Together,
    frames: &mut Frames,
) -> Vec<Trial> {
    let mut trials = Vec::new();
    let (mut silent, mut last) = (0, Diagnosis::unasked());
    for (ask, points) in asks(profile, together) {
        if silent >= SILENT_IN_A_ROW {
            trials.extend(points.into_iter().map(|point| Trial {
                point,
                took: Duration::ZERO,
                verdict: Verdict::NoAnswer(last.clone()),
            }));
            continue;
        }
        let (answer, took) = line.ask(&subject.unit, &profile.link, &ask, subject.member).await;
        frames.count(&answer);
        silent = match &answer {
            Err(no) if !no.is_from_device() => {
                last = no.told.clone();
                silent + 1
            }
            Ok(_) | Err(_) => 0,
        };
        let refused = answer.as_ref().is_err_and(NoAnswer::is_from_device);
        if refused && points.len() > 1 && together == Together::Neighbours {
            for point in points {
                let Some(alone) = own_ask(profile, point) else { continue };
                let (answer, took) = line.ask(&subject.unit, &profile.link, &alone, subject.member).await;
                frames.count(&answer);
                trials.push(Trial { point, took, verdict: verdict(profile, point, answer.as_ref()) });
            }
            continue;
        }
        trials.extend(points.into_iter().map(|point| Trial {
            point,
            took,
            verdict: verdict(profile, point, answer.as_ref()),
        }));
    }
    trials
}

impl Frames {
    fn count(&mut self, answer: &Result<Raw, NoAnswer>) {
        self.sent += 1;
        self.heard += u32::from(answer.as_ref().map_or_else(NoAnswer::is_from_device, |_| true));
    }
}

fn verdict(profile: &Profile, point: PointIx, answer: Result<&Raw, &NoAnswer>) -> Verdict {
    let raw = match answer {
        Ok(raw) => raw,
        Err(NoAnswer { why: Why::Refused(1..=3), told }) => return Verdict::NotSupported(told.clone()),
        Err(NoAnswer { told, .. }) => return Verdict::NoAnswer(told.clone()),
    };
    let sample = profile.decode(raw, &[point]).samples.into_iter().next().map(|(_, sample)| sample);
    let (shown, sample) = match (profile.raw_shown(point, raw), sample) {
        (shown, Some(sample)) => (shown.unwrap_or_default(), sample),
        // a frame that does not speak of it
        (_, None) => return Verdict::NotSupported(Diagnosis::unasked()),
    };
    match sample.quality() {
        Quality::Good | Quality::Stale | Quality::Absent => Verdict::Pass { raw: shown, sample },
        Quality::OutOfRange | Quality::DecodeError | Quality::CommFail => {
            Verdict::Unfit { raw: shown, sample }
        }
    }
}

/// The questions that cover every point, each with the points it answers.
fn asks(profile: &Profile, together: Together) -> Vec<(Ask, Vec<PointIx>)> {
    let mut points: Vec<PointIx> = profile.all_points().collect();
    points.sort_by_key(|point| place(profile, *point));
    let mut asks: Vec<(Ask, Vec<PointIx>)> = Vec::new();
    for point in points {
        let Some(own) = own_ask(profile, point) else { continue };
        let joined = asks.last().and_then(|(last, _)| join(last, &own, &profile.link, together));
        match (joined, asks.last_mut()) {
            (Some(joined), Some((ask, of))) => {
                *ask = joined;
                of.push(point);
            }
            (Some(_) | None, _) => asks.push((own, vec![point])),
        }
    }
    asks
}

fn place(profile: &Profile, point: PointIx) -> (u8, u16, u16) {
    match profile.points[usize::from(point.0)].read {
        Read::Modbus { table: Table::Coil, address, span } => (1, address, span),
        Read::Modbus { table: Table::Discrete, address, span } => (2, address, span),
        Read::Modbus { table: Table::Holding, address, span } => (3, address, span),
        Read::Modbus { table: Table::Input, address, span } => (4, address, span),
        Read::Serial { frame } => (5, frame, 0),
        Read::Mqtt => (6, 0, 0),
        Read::Reckoned => (7, 0, 0),
    }
}

/// The question for one point alone; `None` for what is not asked: events and messages.
fn own_ask(profile: &Profile, point: PointIx) -> Option<Ask> {
    match (&profile.points[usize::from(point.0)].read, &profile.link) {
        (&Read::Modbus { table, address, span }, _) => {
            Some(Ask::Block { table, first: address, count: span.max(1) })
        }
        (&Read::Serial { frame }, Link::Serial(link)) => {
            (usize::from(frame) < link.requests.len()).then_some(Ask::Frame { request: frame })
        }
        (&Read::Serial { frame }, Link::Dlt645(_)) => Some(Ask::Frame { request: frame }),
        (Read::Serial { .. } | Read::Mqtt | Read::Reckoned, _) => None,
    }
}

fn join(last: &Ask, own: &Ask, link: &Link, together: Together) -> Option<Ask> {
    match (last, own) {
        _ if last == own => Some(last.clone()),
        (&Ask::Block { table, first, count }, &Ask::Block { table: its, first: next, count: more })
            if together == Together::Neighbours && table == its =>
        {
            let end = (u32::from(first) + u32::from(count)).max(u32::from(next) + u32::from(more));
            let most = most_at_once(table, link);
            let touches = u32::from(next) <= u32::from(first) + u32::from(count);
            let count = u16::try_from(end - u32::from(first)).ok().filter(|count| *count <= most)?;
            touches.then_some(Ask::Block { table, first, count })
        }
        (Ask::Block { .. } | Ask::Frame { .. }, _) => None,
    }
}

fn most_at_once(table: Table, link: &Link) -> u16 {
    let registers = match link {
        Link::Modbus(link) => link.max_registers.clamp(1, 125),
        Link::Serial(_) | Link::Dlt645(_) | Link::Mqtt(_) => 1,
    };
    match table {
        Table::Holding | Table::Input => registers,
        Table::Coil | Table::Discrete => registers * 16,
    }
}
