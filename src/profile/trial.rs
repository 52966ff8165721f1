//! Cases run through the decoder: what came out against what was wanted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cel::{common::value::CowVal, context::VariableResolver};

use super::{
    Case, Class, Link, Profile, When,
    cases::{Expected, register_number},
    shown,
};
use crate::domain::{
    PointIx, Raw, Sample, Table, Value,
    expression::{Expression, cel_value},
};

/// Captured bytes on their way to the decoder.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    pub profile: &'a Profile,
    /// Modbus: the request in hex. Serial: the name of the request.
    pub request: Option<&'a str>,
    pub frame: &'a [u8],
}

/// Turns captured bytes into what a driver would hand on, or says why a driver would not.
pub type Wire<'w> = dyn Fn(Captured<'_>) -> Result<Raw, String> + 'w;

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub fact: String,
    /// None: it passed.
    pub differences: Vec<Difference>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A point's name, `alarms` or `topic`.
    pub of: String,
    pub want: String,
    pub got: String,
}

/// The alarm conditions of one class, ready to be tried.
pub struct Conditions(Vec<(String, Expression)>);

impl Conditions {
    pub fn of(class: &Class) -> Self {
        // One answer alone says nothing of what is seen over a time.
        let of_the_moment = class.alarms.iter().filter(|alarm| alarm.over_time.is_none());
        let conditions = of_the_moment.filter_map(|alarm| match &alarm.when {
            When::Expression(source) => Some((alarm.name.to_string(), Expression::compile(source).ok()?)),
            When::LinkLost => None,
        });
        Conditions(conditions.collect())
    }

    /// The alarms whose condition is true; what a condition names and is not good makes it unknown, not true.
    pub fn true_for(&self, readings: &BTreeMap<&str, &Sample>) -> BTreeSet<&str> {
        let readings = Readings(readings);
        let is_true = |condition: &Expression| readings.truth(condition) == Some(true);
        self.0.iter().filter(|(_, condition)| is_true(condition)).map(|(name, _)| name.as_str()).collect()
    }
}

pub(super) struct Readings<'a>(pub &'a BTreeMap<&'a str, &'a Sample>);

impl Readings<'_> {
    /// `None`: a point that it names is not good.
    pub fn truth(&self, condition: &Expression) -> Option<bool> {
        let known = condition.names().iter().all(|name| self.good(name).is_some());
        known.then(|| condition.truth(self).ok()).flatten()
    }

    fn good(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|sample| sample.is_good())?.value()
    }
}

impl VariableResolver for Readings<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        self.good(name).map(cel_value)
    }
}

/// Runs `cases` through the decoder of `profile`, frames through `wire` first.
pub fn run_cases(profile: &Profile, cases: &[Case], wire: &Wire<'_>) -> Vec<Verdict> {
    let conditions = Conditions::of(&profile.class);
    cases.iter().map(|case| run(profile, case, &conditions, wire)).collect()
}

fn run(profile: &Profile, case: &Case, conditions: &Conditions, wire: &Wire<'_>) -> Verdict {
    let about: Vec<PointIx> = profile.all_points().collect();
    let mut differences = Vec::new();
    let mut got: BTreeMap<PointIx, Sample> = BTreeMap::new();
    match raws(profile, case, wire) {
        Ok(raws) => {
            for decoded in raws.iter().map(|raw| profile.decode(raw, &about)) {
                if let Some(why) = decoded.malformed.filter(|_| !case.wants_nothing()) {
                    differences.push(Difference { of: "payload".into(), want: "a payload".into(), got: why });
                }
                got.extend(decoded.samples);
            }
        }
        // a frame that no driver hands on says nothing of any point
        Err(_) if case.wants_nothing() => {}
        Err(why) => differences.push(Difference { of: "frame".into(), want: "a frame".into(), got: why }),
    }
    differences.extend(topic_difference(profile, case));
    differences.extend(reading_differences(profile, case, &got));
    differences.extend(alarm_difference(profile, case, conditions, &got));
    differences.extend(case.write_difference(profile, &got));
    Verdict { fact: case.file.fact.clone(), differences }
}

fn raws(profile: &Profile, case: &Case, wire: &Wire<'_>) -> Result<Vec<Raw>, String> {
    let file = &case.file;
    if let Some(frame) = &file.frame {
        let captured = Captured { profile, request: file.request.as_deref(), frame: &frame.0 };
        return wire(captured).map(|raw| vec![raw]);
    }
    let payload = file.payload.as_ref().map(|text| text.clone().into_bytes());
    if let Some(payload) = payload.or_else(|| file.payload_hex.as_ref().map(|hex| hex.0.clone())) {
        return Ok(vec![Raw::Payload { bytes: Bytes::from(payload), retained: false }]);
    }
    let base = profile.address_base();
    let words = [(Table::Holding, &file.holding), (Table::Input, &file.input)];
    let bits = [(Table::Coil, &file.coil), (Table::Discrete, &file.discrete)];
    let words = words.into_iter().flat_map(|(table, all)| {
        stretches(&numbered(all), base).into_iter().map(move |(first, words)| Raw::Registers {
            table,
            first,
            words,
        })
    });
    let bits = bits.into_iter().flat_map(|(table, all)| {
        stretches(&numbered(all), base).into_iter().map(move |(first, bits)| Raw::Bits { table, first, bits })
    });
    Ok(words.chain(bits).collect())
}

fn numbered<T: Copy>(listed: &BTreeMap<String, T>) -> BTreeMap<u16, T> {
    listed.iter().filter_map(|(text, value)| Some((register_number(text)?, *value))).collect()
}

/// What was listed, as the runs of neighbours that one read each would give.
pub fn stretches<T: Copy>(listed: &BTreeMap<u16, T>, base: u16) -> Vec<(u16, Vec<T>)> {
    let sorted = listed.iter().filter_map(|(number, value)| Some((number.checked_sub(base)?, *value)));
    let mut runs: Vec<(u16, Vec<T>)> = Vec::new();
    for (address, value) in sorted {
        match runs.last_mut() {
            Some((first, run)) if usize::from(*first) + run.len() == usize::from(address) => run.push(value),
            Some(_) | None => runs.push((address, vec![value])),
        }
    }
    runs
}

fn reading_differences(profile: &Profile, case: &Case, got: &BTreeMap<PointIx, Sample>) -> Vec<Difference> {
    let name = |ix: PointIx| profile.points[usize::from(ix.0)].name.to_string();
    let wanted = case.want.iter().filter(|(ix, want)| !got.get(ix).is_some_and(|sample| is(sample, want)));
    let mut differences: Vec<Difference> = wanted
        .map(|(ix, want)| Difference {
            of: name(*ix),
            want: want.to_string(),
            got: got.get(ix).map_or_else(|| "no reading".to_owned(), shown),
        })
        .collect();
    if case.file.exact {
        let extra = got.iter().filter(|(ix, _)| !case.want.iter().any(|(wanted, _)| wanted == *ix));
        differences.extend(extra.map(|(ix, sample)| Difference {
            of: name(*ix),
            want: "no reading".to_owned(),
            got: shown(sample),
        }));
    }
    differences
}

fn alarm_difference(
    profile: &Profile,
    case: &Case,
    conditions: &Conditions,
    got: &BTreeMap<PointIx, Sample>,
) -> Option<Difference> {
    let want: BTreeSet<&str> = case.file.alarms.as_ref()?.iter().map(String::as_str).collect();
    let readings = got.iter().map(|(ix, sample)| (profile.points[usize::from(ix.0)].name.as_str(), sample));
    let got = conditions.true_for(&readings.collect());
    let list = |names: &BTreeSet<&str>| format!("[{}]", names.iter().copied().collect::<Vec<_>>().join(", "));
    (want != got).then(|| Difference { of: "alarms".into(), want: list(&want), got: list(&got) })
}

fn topic_difference(profile: &Profile, case: &Case) -> Option<Difference> {
    let (Link::Mqtt(link), Some(topic)) = (&profile.link, &case.file.topic) else { return None };
    (!topic_fits(&link.topic, topic)).then(|| Difference {
        of: "topic".into(),
        want: link.topic.clone(),
        got: topic.clone(),
    })
}

/// Whether `topic` is one that the filter, with any address in it, takes.
fn topic_fits(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for of_filter in filter.split('/') {
        let level = levels.next();
        let fits = match (of_filter, of_filter.split_once("{address}"), level) {
            ("#", ..) => return true,
            (_, _, None) => false,
            ("+", _, Some(_)) => true,
            (_, Some((before, after)), Some(level)) => {
                level.len() > before.len() + after.len()
                    && level.starts_with(before)
                    && level.ends_with(after)
            }
            (word, None, Some(level)) => word == level,
        };
        if !fits {
            return false;
        }
    }
    levels.next().is_none()
}

fn is(sample: &Sample, want: &Expected) -> bool {
    match (want, sample.value()) {
        (Expected::Quality(quality), _) => sample.quality() == *quality,
        (Expected::Number(want), Some(Value::Number(got))) => sample.is_good() && near(*want, *got),
        (Expected::Flag(want), Some(Value::Flag(got))) => sample.is_good() && want == got,
        (Expected::Text(want), Some(Value::Text(got))) => sample.is_good() && **want == **got,
        (Expected::Number(_) | Expected::Flag(_) | Expected::Text(_), _) => false,
    }
}

fn near(want: f64, got: f64) -> bool {
    const TOLERANCE: f64 = 1e-9;
    (want - got).abs() <= TOLERANCE * want.abs().max(got.abs()).max(1.0)
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Number(number) => write!(f, "{number}"),
            Expected::Flag(flag) => write!(f, "{flag}"),
            Expected::Text(text) => write!(f, "\"{text}\""),
            Expected::Quality(quality) => f.write_str(quality.word()),
        }
    }
}
