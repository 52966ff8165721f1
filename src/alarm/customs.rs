//! What a site allows people and expects of them: how long what may be shelved, and who is told when nobody acknowledges.

use std::time::Duration;

use super::FloodLimit;
use crate::domain::{EndpointId, Priority};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customs {
    pub shelving: ShelvingLimits,
    pub escalation: EscalationPlan,
    pub chattering: ChatteringLimit,
    pub flood: FloodLimit,
}

/// The longest that a person may hold back an alarm, by priority. Zero: never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShelvingLimits {
    pub critical: Duration,
    pub high: Duration,
    pub medium: Duration,
    pub low: Duration,
    pub out_of_service: Duration,
}

impl Default for ShelvingLimits {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            critical: HOUR / 2,
            high: 4 * HOUR,
            medium: 8 * HOUR,
            low: 24 * HOUR,
            out_of_service: 90 * 24 * HOUR,
        }
    }
}

impl ShelvingLimits {
    pub fn of(&self, priority: Priority) -> Duration {
        match priority {
            Priority::Critical => self.critical,
            Priority::High => self.high,
            Priority::Medium => self.medium,
            Priority::Low => self.low,
        }
    }
}

/// From when on an alarm that comes and goes is not told each time any more. Never what is critical or a matter of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatteringLimit {
    /// It chatters when it was raised more often than this…
    pub more_than: usize,
    /// … within this.
    pub within: Duration,
    /// It is calm again when it was not raised for so long.
    pub calm: Duration,
}

impl Default for ChatteringLimit {
    /// EEMUA 191 as it is generally quoted: it repeats within a minute.
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self { more_than: 5, within: MINUTE, calm: MINUTE }
    }
}

/// What happens while nobody acknowledges. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EscalationPlan {
    pub priorities: Vec<Priority>,
    /// One after the other.
    pub steps: Vec<EscalationStep>,
    /// After the last step it is announced anew this often.
    pub again: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscalationStep {
    /// Since the announcement before it.
    pub after: Duration,
    /// Who is told, besides those who want the alarm anyway.
    pub endpoints: Vec<EndpointId>,
    /// Whose turn it is, for people.
    pub contact: Option<String>,
}

impl EscalationPlan {
    pub fn concerns(&self, priority: Priority) -> bool {
        self.priorities.contains(&priority) && !(self.steps.is_empty() && self.again.is_none())
    }

    /// Whether its turn may come, of an alarm of this priority.
    pub fn calls(&self, endpoint: &EndpointId, priority: Priority) -> bool {
        self.concerns(priority) && self.steps.iter().any(|step| step.endpoints.contains(endpoint))
    }

    /// How long after the announcement before it the one after `step` others is due.
    pub fn wait_after(&self, step: u32) -> Option<Duration> {
        self.step(step).map_or(self.again, |step| Some(step.after))
    }

    pub fn step(&self, step: u32) -> Option<&EscalationStep> {
        self.steps.get(usize::try_from(step).ok()?)
    }
}
