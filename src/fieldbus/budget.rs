//! What the devices of one bus ask of their line, added up before anything is installed: how busy it will be, what becomes of the wanted
//! periods where it cannot carry them, and what dead units cost the others. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    cost::LineCost,
    health::LOST_AFTER,
    plan::{self, Request},
};
use crate::profile::{Link, Profile};

/// Probes of lost units take no more of the line than this, however many are lost.
pub const PROBE_SHARE: f64 = 0.05;
/// A line that is busier has no time left for retries, probes, commands and people.
pub const FULL: f64 = 0.90;
/// The schedule gives so much even of an overloaded line to what no alarm waits for: one question in nine.
const REST_SHARE: f64 = 1.0 / 9.0;
/// Modbus unit ids end here, and so does what a line is counted to carry.
const MOST_UNITS: usize = 247;

/// What one bus is asked for.
#[derive(Debug)]
pub struct Budget {
    pub line: LineCost,
    /// Alike units together, in the order they were first named.
    pub fleets: Vec<Fleet>,
}

/// Units of one bus that are asked the same.
#[derive(Debug)]
pub struct Fleet {
    pub profile: Arc<Profile>,
    pub units: usize,
    pub requests: Arc<[Priced]>,
}

/// What each product is asked on each kind of line, worked out once: a site may have a thousand alike buses.
#[derive(Debug, Default)]
pub struct Prices(HashMap<(*const Profile, LineCost), Arc<[Priced]>>);

/// A request of each unit of a fleet.
#[derive(Clone, Debug)]
pub struct Priced {
    pub request: Request,
    /// Of the line, each time.
    pub cost: Duration,
    /// A try without an answer.
    pub silence: Duration,
    /// Alarms wait for its answer: it goes ahead of the rest.
    pub urgent: bool,
}

/// How often requests are really asked on a line that cannot do all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Nothing that alarms need comes more often than this.
    urgent: Duration,
    /// Nor anything else.
    rest: Duration,
}

/// The bus with some of its units dead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dead {
    pub units: usize,
    /// Line time that their timeouts take until each is known to be lost.
    pub found_out_after: Duration,
    /// The longest that everything takes once meanwhile: each dead unit has all its tries in one round.
    pub worst_cycle: Duration,
    /// Then: the living, and the probes.
    pub utilisation: f64,
    /// Then: a unit that comes back is probed within this time.
    pub probed_within: Duration,
}

/// One unit, by what it takes of the line alive and dead.
#[derive(Clone, Copy)]
struct Single {
    share: f64,
    cycle: Duration,
    /// One try that meets silence; the dearest of its questions.
    silence: Duration,
    /// The same of the one it is probed with.
    probe: Duration,
    retries: u32,
}

impl Budget {
    pub fn new(line: LineCost, units: impl IntoIterator<Item = Arc<Profile>>, prices: &mut Prices) -> Self {
        let mut fleets: Vec<Fleet> = Vec::new();
        for profile in units {
            match fleets.iter_mut().find(|fleet| Arc::ptr_eq(&fleet.profile, &profile)) {
                Some(fleet) => fleet.units += 1,
                None => fleets.push(Fleet { requests: prices.of(&profile, line), units: 1, profile }),
            }
        }
        let mut budget = Self { line, fleets };
        budget.count_changes();
        budget
    }

    /// Where products of different turnarounds share the line, a unit that asks for more keeps the next one waiting when it is left. No more than
    /// the difference each time, and no more often than one of those is left or one that asks for less is next, whichever is less; once for each
    /// beat, because what is due of one unit is asked in a row.
    fn count_changes(&mut self) {
        if !self.line.is_narrow() {
            return;
        }
        let asked = self.fleets.iter().filter(|fleet| !fleet.requests.is_empty());
        let rests: Vec<Duration> = asked.map(|fleet| self.line.rest(&fleet.profile.link)).collect();
        let (Some(&soonest), Some(&longest)) = (rests.iter().min(), rests.iter().max()) else { return };
        let left: Vec<Duration> = self.waits(|rest| rest - soonest);
        let next: Vec<Duration> = self.waits(|rest| longest - rest);
        let share = |waits: &[Duration]| -> f64 {
            let fleets = self.fleets.iter().zip(waits);
            fleets.map(|(fleet, wait)| fleet.beats() * wait.as_secs_f64()).sum()
        };
        let waits = if share(&left) <= share(&next) { left } else { next };
        self.fleets.iter_mut().zip(waits).for_each(|(fleet, wait)| fleet.wait_at_each_beat(wait));
    }

    fn waits(&self, of: impl Fn(Duration) -> Duration) -> Vec<Duration> {
        let wait = |fleet: &Fleet| match fleet.requests.is_empty() {
            true => Duration::ZERO,
            false => of(self.line.rest(&fleet.profile.link)),
        };
        self.fleets.iter().map(wait).collect()
    }

    pub fn units(&self) -> usize {
        self.fleets.iter().map(|fleet| fleet.units).sum()
    }

    /// Whether anybody on it is asked anything.
    pub fn is_polled(&self) -> bool {
        self.fleets.iter().any(|fleet| !fleet.requests.is_empty())
    }

    /// The share of the line's time that the wanted periods take: more than 1 cannot be had.
    pub fn utilisation(&self) -> f64 {
        self.fleets.iter().fold(0.0, |sum, fleet| sum + fleet.utilisation())
    }

    /// How long everything takes, asked once.
    pub fn cycle(&self) -> Duration {
        self.fleets.iter().map(|fleet| fleet.cycle() * fleet.units as u32).sum()
    }

    /// How many more units like these the line can carry.
    pub fn room(&self) -> usize {
        let (units, utilisation) = (self.units(), self.utilisation());
        if units == 0 || utilisation <= 0.0 {
            return 0;
        }
        let more = (FULL - utilisation) / (utilisation / units as f64);
        // below a whole one is none; a negative number becomes 0
        (more.max(0.0) as usize).min(MOST_UNITS.saturating_sub(units))
    }

    /// Where the wanted periods are more than the line can do: what it does. Who is late waits for its turn, so all that wants to come
    /// more often than the line gets around comes at the line's pace, and the rest keeps its period.
    pub fn pace(&self) -> Option<Pace> {
        if self.utilisation() <= 1.0 {
            return None;
        }
        let (urgent, rest) = (self.demands(|priced| priced.urgent), self.demands(|priced| !priced.urgent));
        let room = (1.0 - share(&urgent)).max(REST_SHARE).min(share(&rest));
        Some(Pace { urgent: slowed(&urgent, 1.0 - room), rest: slowed(&rest, room) })
    }

    fn demands(&self, of: impl Fn(&Priced) -> bool) -> Vec<Demand> {
        let all = self.fleets.iter().flat_map(|fleet| fleet.requests.iter().map(move |one| (fleet, one)));
        let those = all.filter(|(_, priced)| of(priced)).map(|(fleet, priced)| Demand {
            every: priced.request.every,
            cost: priced.cost * fleet.units as u32,
        });
        let mut demands: Vec<Demand> = those.collect();
        demands.sort_unstable_by_key(|demand| demand.every);
        demands
    }

    /// With `dead` of the units silent: those that cost most while it is found out and those that leave most to do.
    pub fn with_dead(&self, dead: usize) -> Dead {
        let mut units: Vec<Single> = Vec::new();
        for fleet in self.fleets.iter().filter(|fleet| !fleet.requests.is_empty()) {
            units.extend(std::iter::repeat_n(fleet.single(), fleet.units));
        }
        let dead = dead.min(units.len());
        units.sort_by(|one, other| one.share.total_cmp(&other.share));
        let living = &units[dead..];
        let utilisation =
            living.iter().map(|unit| unit.share).sum::<f64>() + if dead > 0 { PROBE_SHARE } else { 0.0 };
        let tries = |most: fn(&Single) -> u32| -> Duration {
            let mut costs: Vec<Duration> = units.iter().map(|unit| unit.silence * most(unit)).collect();
            costs.sort_unstable();
            costs.iter().rev().take(dead).sum()
        };
        let mut probes: Vec<Duration> = units.iter().map(|unit| unit.probe).collect();
        probes.sort_unstable();
        let probed: Duration = probes.iter().rev().take(dead).sum();
        Dead {
            units: dead,
            found_out_after: tries(|unit| LOST_AFTER.max(1 + unit.retries)),
            worst_cycle: living.iter().map(|unit| unit.cycle).sum::<Duration>()
                + tries(|unit| 1 + unit.retries),
            utilisation,
            probed_within: probed.div_f64(PROBE_SHARE),
        }
    }
}

impl Prices {
    fn of(&mut self, profile: &Arc<Profile>, line: LineCost) -> Arc<[Priced]> {
        let known = self.0.entry((Arc::as_ptr(profile), line));
        known.or_insert_with(|| prices(profile, &line)).clone()
    }
}

fn prices(profile: &Profile, line: &LineCost) -> Arc<[Priced]> {
    let (link, watched) = (&profile.link, plan::watched(profile));
    let price = |request: Request| Priced {
        cost: line.exchange(&request.ask, link),
        silence: line.silence(&request.ask, link),
        urgent: plan::is_for_alarms(profile, &request, &watched),
        request,
    };
    plan::requests(profile, line).into_iter().map(price).collect()
}

impl Fleet {
    /// The share of the line's time that all its units take.
    pub fn utilisation(&self) -> f64 {
        self.units as f64 * self.share()
    }

    fn share(&self) -> f64 {
        self.requests.iter().map(Priced::share).sum()
    }

    /// How often a second one of its units is turned to.
    fn beats(&self) -> f64 {
        let periods: BTreeSet<Duration> = self.requests.iter().map(|priced| priced.request.every).collect();
        self.units as f64 * periods.iter().map(|every| every.as_secs_f64().recip()).sum::<f64>()
    }

    fn wait_at_each_beat(&mut self, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        let (mut requests, mut beats) = (self.requests.to_vec(), BTreeSet::new());
        for priced in requests.iter_mut().filter(|priced| beats.insert(priced.request.every)) {
            priced.cost += wait;
            priced.silence += wait;
        }
        self.requests = requests.into();
    }

    fn cycle(&self) -> Duration {
        self.requests.iter().map(|priced| priced.cost).sum()
    }

    fn single(&self) -> Single {
        let silences = || self.requests.iter().map(|priced| priced.silence);
        Single {
            share: self.share(),
            cycle: self.cycle(),
            silence: silences().max().unwrap_or_default(),
            probe: silences().min().unwrap_or_default(),
            retries: match &self.profile.link {
                Link::Modbus(link) => link.retries.into(),
                Link::Serial(link) => link.retries.into(),
                Link::Dlt645(link) => link.retries.into(),
                Link::Mqtt(_) => 0,
            },
        }
    }
}

impl Priced {
    /// The share of the line's time that it takes, of one unit.
    pub fn share(&self) -> f64 {
        Demand { every: self.request.every, cost: self.cost }.share()
    }
}

impl Pace {
    /// How often this request is really asked.
    pub fn of(&self, priced: &Priced) -> Duration {
        let pace = if priced.urgent { self.urgent } else { self.rest };
        pace.max(priced.request.every)
    }
}

/// So much of the line, so often.
struct Demand {
    every: Duration,
    cost: Duration,
}

impl Demand {
    fn share(&self) -> f64 {
        if self.cost.is_zero() { 0.0 } else { self.cost.as_secs_f64() / self.every.as_secs_f64() }
    }
}

fn share(demands: &[Demand]) -> f64 {
    demands.iter().fold(0.0, |sum, demand| sum + demand.share())
}

/// How often what comes most often can come, so that all of it fits into `room` of the line: the demands that want to come more often
/// are slowed down to one pace. Zero: all fit as they are.
fn slowed(demands: &[Demand], room: f64) -> Duration {
    let mut kept = share(demands);
    if kept <= room {
        return Duration::ZERO;
    }
    let mut round = Duration::ZERO;
    for (n, demand) in demands.iter().enumerate() {
        kept -= demand.share();
        round += demand.cost;
        let free = room - kept;
        let next = demands.get(n + 1).map_or(Duration::MAX, |next| next.every);
        if free > 0.0 && round.as_secs_f64() / free <= next.as_secs_f64() {
            return round.div_f64(free);
        }
    }
    // rounding may have left nothing free: then all of them take turns
    round.div_f64(room)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
