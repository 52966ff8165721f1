//! A class's alarm, compiled for one product: which of its points it names, and when it is true.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Latest, OverTime, Override};
use crate::{
    domain::{
        AlarmName, ClassName, DeviceId, Expression, Mono, PointIx, PointName, expression::BadExpression,
    },
    profile::{ClassAlarm, Profile, When},
};

/// Whether a condition holds. Unknown is not normal: it neither raises nor clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub alarm: ClassAlarm,
    condition: Condition,
    /// Once active it stays so until this holds.
    clear: Option<Condition>,
    over_time: Option<OverTime>,
    points: Vec<PointIx>,
    /// While this holds the alarm is not announced.
    suppression: Option<Condition>,
}

#[derive(Clone, Debug)]
enum Condition {
    Expression { expression: Arc<Expression>, points: Vec<PointIx> },
    LinkLost,
}

/// What watches one device; others of its kind may have the same.
pub type OnDevice = Vec<Arc<Rule>>;

/// The rules that watch one device.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub on: OnDevice,
    /// Alarms of the class that this product cannot have, and the points it lacks.
    pub off: Vec<(AlarmName, Vec<PointName>)>,
}

/// Why a class's alarm cannot watch anything, anywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alarm {alarm} of class {class}: {why}")]
pub struct RuleProblem {
    pub class: ClassName,
    pub alarm: AlarmName,
    pub why: BadExpression,
}

/// The rules of all of a site's devices: those of one product share theirs, unless the site changes something for one of them alone.
/// A rule is looked at with every reading, so it is worth that few of them are in memory.
pub struct RuleBook<'a> {
    overrides: &'a [Override],
    changed: BTreeSet<&'a DeviceId>,
    pages: HashMap<(*const Profile, Option<&'a DeviceId>), Page>,
}

struct Page {
    rules: Rules,
    /// Kept, so that its address stays its own.
    _profile: Arc<Profile>,
}

impl<'a> RuleBook<'a> {
    pub fn new(overrides: &'a [Override]) -> Self {
        let changed = overrides.iter().filter_map(|change| change.device.as_ref()).collect();
        Self { overrides, changed, pages: HashMap::new() }
    }

    /// The rules that watch `device`, of this product.
    ///
    /// # Errors
    /// As [`Rules::compile`].
    pub fn of(&mut self, device: &DeviceId, profile: &Arc<Profile>) -> Result<Rules, RuleProblem> {
        let key = (Arc::as_ptr(profile), self.changed.get(device).copied());
        if let Some(page) = self.pages.get(&key) {
            return Ok(page.rules.clone());
        }
        let rules = Rules::compile(device, profile, self.overrides)?;
        self.pages.insert(key, Page { rules: rules.clone(), _profile: Arc::clone(profile) });
        Ok(rules)
    }
}

impl Rules {
    /// The rules of `profile`'s class for one device, with the site's changes.
    ///
    /// # Errors
    /// If a condition is not valid; the class is at fault, not the device.
    pub fn compile(
        device: &DeviceId,
        profile: &Profile,
        overrides: &[Override],
    ) -> Result<Self, RuleProblem> {
        let mut rules = Rules::default();
        for standard in &profile.class.alarms {
            let mut alarm = standard.clone();
            let mut enabled = true;
            // A class's override first, the device's own after it: the nearer word is the last one.
            let class_wide = overrides.iter().filter(|o| o.device.is_none());
            let own = overrides.iter().filter(|o| o.device.is_some());
            for change in class_wide.chain(own).filter(|o| o.concerns(device, profile, &standard.name)) {
                change.apply(&mut alarm);
                enabled = change.enabled.unwrap_or(enabled);
            }
            if !enabled && !alarm.life_safety {
                continue;
            }
            // A product that cannot tell is never suppressed.
            let suppression = match &alarm.suppress_when {
                Some(text) => expression(profile, &alarm, text)?.ok(),
                None => None,
            };
            match Rule::of(profile, alarm.clone(), suppression)? {
                Ok(rule) => rules.on.push(Arc::new(rule)),
                Err(lacking) => rules.off.push((alarm.name, lacking)),
            }
        }
        Ok(rules)
    }
}

impl Rule {
    /// Or the points that the product lacks for it.
    fn of(
        profile: &Profile,
        alarm: ClassAlarm,
        suppression: Option<Condition>,
    ) -> Result<Result<Self, Vec<PointName>>, RuleProblem> {
        let condition = match condition(profile, &alarm)? {
            Ok(condition) => condition,
            Err(lacking) => return Ok(Err(lacking)),
        };
        let clear = match &alarm.clear_when {
            None => None,
            Some(text) => match expression(profile, &alarm, text)? {
                Ok(clear) => Some(clear),
                Err(lacking) => return Ok(Err(lacking)),
            },
        };
        let over_time = match &alarm.over_time {
            None => None,
            Some(written) => match OverTime::of(written, |name| profile.point(name)) {
                Ok(over_time) => Some(over_time),
                Err(lacking) => return Ok(Err(vec![lacking])),
            },
        };
        let mut points = condition.points().to_vec();
        points.extend(clear.iter().flat_map(Condition::points));
        points.extend(over_time.as_ref().and_then(OverTime::point));
        Ok(Ok(Self { alarm, condition, clear, over_time, points, suppression }))
    }
}

/// The condition, or the points that the product lacks for it.
fn condition(
    profile: &Profile,
    alarm: &ClassAlarm,
) -> Result<Result<Condition, Vec<PointName>>, RuleProblem> {
    match &alarm.when {
        When::LinkLost => Ok(Ok(Condition::LinkLost)),
        When::Expression(text) => expression(profile, alarm, text),
    }
}

fn expression(
    profile: &Profile,
    alarm: &ClassAlarm,
    text: &str,
) -> Result<Result<Condition, Vec<PointName>>, RuleProblem> {
    let expression = Expression::compile(text).map_err(|why| RuleProblem {
        class: profile.class.name.clone(),
        alarm: alarm.name.clone(),
        why,
    })?;
    let mut points = Vec::new();
    let mut lacking = Vec::new();
    for name in expression.names() {
        match profile.points.iter().position(|point| *point.name == **name) {
            Some(at) => points.push(PointIx(at as u16)),
            None => lacking.push(PointName::from(name.as_str())),
        }
    }
    if lacking.is_empty() {
        Ok(Ok(Condition::Expression { expression: Arc::new(expression), points }))
    } else {
        Ok(Err(lacking))
    }
}

/// What a condition came to, and of which change of its points: it is worked out again only after another one.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkedOut(Option<(u64, Truth)>);

impl Rule {
    /// Whether the condition holds at `now`. Unknown if any point it names is not good then. `is_active`: of an alarm that is, and stays
    /// so until its `clear_when` holds.
    pub fn truth(&self, latest: &Latest, now: Mono, is_active: bool, worked_out: &mut WorkedOut) -> Truth {
        let truth = self.condition.truth(latest, now, worked_out);
        match (&self.clear, truth) {
            (Some(clear), Truth::False) if is_active => {
                // two expressions, one place for what came of them
                match clear.truth(latest, now, &mut WorkedOut::default()) {
                    Truth::True => Truth::False,
                    Truth::False => Truth::True,
                    Truth::Unknown => Truth::Unknown,
                }
            }
            (Some(_) | None, truth) => truth,
        }
    }

    /// What it has to see over a time, if the moment is not enough.
    pub fn over_time(&self) -> Option<&OverTime> {
        self.over_time.as_ref()
    }

    /// Whether what makes the alarm meaningless is the case. `None`: nothing does.
    pub fn suppression(&self, latest: &Latest, now: Mono, worked_out: &mut WorkedOut) -> Option<Truth> {
        self.suppression.as_ref().map(|suppression| suppression.truth(latest, now, worked_out))
    }

    /// Whether anything makes the alarm meaningless.
    pub fn is_suppressible(&self) -> bool {
        self.suppression.is_some()
    }

    /// The points it names.
    pub fn points(&self) -> &[PointIx] {
        &self.points
    }
}

impl Condition {
    fn points(&self) -> &[PointIx] {
        match self {
            Condition::LinkLost => &[],
            Condition::Expression { points, .. } => points,
        }
    }

    fn truth(&self, latest: &Latest, now: Mono, worked_out: &mut WorkedOut) -> Truth {
        let Condition::Expression { expression, points } = self else {
            return latest.link_lost();
        };
        let Some(change) = latest.all_good(points, now) else { return Truth::Unknown };
        if let Some((of, truth)) = worked_out.0
            && of == change
        {
            return truth;
        }
        let plain = expression.plain_truth(|name| latest.value(*points.get(name)?));
        let truth = match plain.map_or_else(|| expression.truth(latest), Ok) {
            Ok(true) => Truth::True,
            Ok(false) => Truth::False,
            Err(_no_truth) => Truth::Unknown,
        };
        worked_out.0 = Some((change, truth));
        truth
    }
}
