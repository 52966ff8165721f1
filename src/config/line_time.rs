//! Whether the line of each bus can carry what its devices are to be asked, and what becomes of their alarms where it cannot.
//!
//! A line that is asked for too much is a warning: it goes on, slower. That an alarm cannot work any more is an error for whoever checks the
//! file; the gateway starts all the same, because a lift that is looked at too seldom is better off than one that nobody looks at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{Bus, Site, desk::Desk};
use crate::{
    alarm::{Rule, RuleBook, Rules, fresh_for},
    at,
    domain::{AlarmName, Period, Text, units::about},
    fieldbus::budget::{Budget, Fleet, Pace, Prices},
    profile::{Device, Profile},
    text,
};

/// So many periods or alarms of one bus are named; the others are counted.
const MOST_NAMED: usize = 3;

/// A device, and the rules that watch it.
struct Watched<'a> {
    device: &'a Device,
    rules: Rules,
}

/// An alarm that this line is too slow for.
struct Defeated {
    alarm: AlarmName,
    on_delay: Duration,
    /// How often its points are really read.
    every: Duration,
    devices: usize,
}

/// What the line of each bus is asked for, in the site's order.
pub fn budgets(site: &Site) -> Vec<(&Bus, Budget)> {
    let mut units: HashMap<&str, Vec<Arc<Profile>>> = HashMap::new();
    for device in &site.devices {
        units.entry(device.bus.as_str()).or_default().push(device.profile.clone());
    }
    let mut prices = Prices::default();
    let budgets = site.buses.iter().map(|bus| {
        let units = units.remove(bus.id.as_str()).unwrap_or_default();
        (bus, Budget::new(bus.link.cost(), units, &mut prices))
    });
    budgets.collect()
}

/// Tells of each bus that cannot do what is wanted of it. `site` is that of the file on the desk.
pub(super) fn line_time(desk: &mut Desk<'_>, site: &Site) {
    for (n, (bus, budget)) in budgets(site).into_iter().enumerate() {
        let Some(pace) = budget.pace() else { continue };
        desk.warning(at!["bus", n, "id"], overload(bus, &budget, pace));
        let defeated = defeated(&watched(site, bus), &budget, pace);
        if !defeated.is_empty() {
            desk.error(at!["bus", n, "id"], too_slow(bus, &defeated));
        }
    }
}

fn watched<'a>(site: &'a Site, bus: &Bus) -> Vec<Watched<'a>> {
    let mut book = RuleBook::new(&site.overrides);
    let devices = site.devices.iter().filter(|device| device.bus == bus.id);
    let watched = devices.map(|device| {
        // a class whose rules cannot be read is told where they stand
        Watched { device, rules: book.of(&device.id, &device.profile).unwrap_or_default() }
    });
    watched.collect()
}

fn overload(bus: &Bus, budget: &Budget, pace: Pace) -> Text {
    let (id, busy) = (&bus.id, (100.0 * budget.utilisation()).round());
    let Text { zh, en } = slowed(budget, pace);
    text!(
        "总线 \"{id}\" 忙不过来，总线占用率要到 {busy}%：{zh}。可以加长 every、提高波特率或分到第二条线（明细见 check --plan）",
        "bus \"{id}\" is asked for {busy}% of its time: {en}. A longer `every`, a higher baud or a second line helps (check --plan tells what takes how long)"
    )
}

/// Which periods cannot be had, and what comes instead.
pub fn slowed(budget: &Budget, pace: Pace) -> Text {
    let all = budget.fleets.iter().flat_map(|fleet| fleet.requests.iter());
    let paces = all.map(|priced| (!priced.urgent, priced.request.every, pace.of(priced)));
    let changed: BTreeSet<(bool, Duration, Duration)> =
        paces.filter(|(_, every, really)| really > every).collect();
    let named = changed.iter().take(MOST_NAMED).map(|(unwatched, every, really)| {
        let (every, really) = (Period(*every), about(*really));
        match unwatched {
            true => text!(
                "与报警无关的每 {every} 约 {really} 一次",
                "every {every} where no alarm waits becomes about every {really}"
            ),
            false => {
                text!("每 {every} 做不到，约 {really} 一次", "every {every} becomes about every {really}")
            }
        }
    });
    let mut named: Vec<Text> = named.collect();
    let more = changed.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        named.push(text!("另有 {more} 种周期", "and {more} more periods"));
    }
    joined(&named, "；", ", ")
}

/// The alarms that a line at this pace keeps from working. One that is read too seldom for its delay is raised by a single reading, so the
/// delay proves nothing; one that is read more seldom than its points stay fresh is unknown most of the time.
fn defeated(watched: &[Watched<'_>], budget: &Budget, pace: Pace) -> Vec<Defeated> {
    let mut defeated: Vec<Defeated> = Vec::new();
    for Watched { device, rules } in watched {
        let fleet = budget.fleets.iter().find(|fleet| Arc::ptr_eq(&fleet.profile, &device.profile));
        for rule in &rules.on {
            let Some(every) = fleet.and_then(|fleet| defeat(rule, fleet, pace)) else { continue };
            let (alarm, on_delay) = (rule.alarm.name.clone(), rule.alarm.on_delay);
            match defeated.iter_mut().find(|known| known.alarm == alarm && known.on_delay == on_delay) {
                Some(known) => known.devices += 1,
                None => defeated.push(Defeated { alarm, on_delay, every, devices: 1 }),
            }
        }
    }
    defeated
}

/// How often a point of this rule is read, if that is too seldom for it.
fn defeat(rule: &Rule, fleet: &Fleet, pace: Pace) -> Option<Duration> {
    let of_point = rule.points().iter().filter_map(|point| {
        let priced = fleet.requests.iter().find(|priced| priced.request.points.contains(point))?;
        let every = priced.request.every;
        // of what comes as often as it was meant to, its profile is the judge
        let really = pace.of(priced);
        let delay = rule.alarm.on_delay;
        let proves_nothing = every < delay && delay < really;
        let stale = fresh_for(&fleet.profile, *point).is_some_and(|fresh| fresh < really);
        (really > every && (proves_nothing || stale)).then_some(really)
    });
    of_point.max()
}

fn too_slow(bus: &Bus, defeated: &[Defeated]) -> Text {
    let named = defeated.iter().take(MOST_NAMED).map(|Defeated { alarm, on_delay, every, devices }| {
        let (delay, every) = (Period(*on_delay), about(*every));
        text!(
            "{alarm}（on_delay {delay}，测点约 {every} 读一次，{devices} 台）",
            "{alarm} (on_delay {delay}, points read about every {every}, devices: {devices})"
        )
    });
    let mut named: Vec<Text> = named.collect();
    let more = defeated.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        named.push(text!("另有 {more} 个", "and {more} more"));
    }
    let (id, Text { zh, en }) = (&bus.id, joined(&named, "、", ", "));
    text!(
        "总线 \"{id}\" 太慢，这些报警不能正常工作：{zh}",
        "bus \"{id}\" is too slow for these alarms to work: {en}"
    )
}

fn joined(texts: &[Text], zh: &str, en: &str) -> Text {
    let each = |of: fn(&Text) -> &str| texts.iter().map(of).collect::<Vec<_>>();
    Text::new(each(|text| &text.zh).join(zh), each(|text| &text.en).join(en))
}
