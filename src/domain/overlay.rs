//! What lies over an alarm's state: held back by a person or by design, told to the next contact, help on its way.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acknowledgement, EndpointId, Mono, OccurrenceId, Passing};

/// All of it, of one alarm. Durable with its state. Small where nothing does: every alarm has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shelf: Option<Box<Hold>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_service: Option<Box<Hold>>,
    /// By design: what its class says makes it meaningless is the case.
    #[serde(skip_serializing_if = "is_not")]
    pub suppressed: bool,
    /// This occurrence was raised while it was held back: nobody outside was told of it.
    #[serde(skip_serializing_if = "is_not")]
    pub untold: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Box<Escalation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Box<Rescue>>,
    /// It comes and goes too often to be told each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chattering: Option<Box<Chattering>>,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

/// It was raised more often than is told each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chattering {
    /// The occurrence under which its beginning was told.
    pub told_as: OccurrenceId,
    /// A label: when it began.
    pub since: Timestamp,
    /// How often it was raised since then, and what made it chattering.
    pub raises: u64,
    /// Since it was raised last.
    pub passing: Passing,
}

/// A person keeps an alarm from being announced, for so long at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who, when, why, where from.
    pub order: Acknowledgement,
    /// The occurrence under which its beginning was told.
    pub told_as: OccurrenceId,
    pub length: Duration,
    pub passing: Passing,
    /// When it ends at the latest: a label, but after a reboot nothing else tells how long the box was off.
    pub until: Timestamp,
    /// The box was off since: then the calendar counts too.
    #[serde(default, skip_serializing_if = "is_not")]
    pub rebooted: bool,
    /// It holds the whole device.
    #[serde(default, skip_serializing_if = "is_not")]
    pub whole_device: bool,
    /// Another alarm of the device speaks for it.
    #[serde(default, skip_serializing_if = "is_not")]
    pub quiet: bool,
}

/// Nobody acknowledged: how far it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// How many times it was announced anew.
    pub step: u32,
    /// Since the last announcement; `None`: it is not waited any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Passing>,
    /// Who was told besides those who want it anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointId>,
    /// Whose turn it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// Someone may be waiting in there: how long it has been, and who has done what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// By when help must have arrived.
    pub limit: Duration,
    pub passing: Passing,
    /// How many of its warnings are over.
    pub warned: usize,
    /// What it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<RescueWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatched: Option<Acknowledgement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Acknowledgement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Acknowledgement>,
}

/// A step of the rescue, or a warning that it is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RescueWord {
    Dispatched,
    Arrived,
    Released,
    Warning,
    Overdue,
}

/// What people report of a rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RescueStep {
    Dispatched,
    Arrived,
    Released,
}

/// Of 30 minutes: after 5, 15 and 25, and when they are over.
const SIXTHS: [u32; 4] = [1, 3, 5, 6];

impl Overlay {
    /// Whether a person or a design keeps it from being announced now.
    pub fn is_held(&self) -> bool {
        self.shelf.is_some() || self.out_of_service.is_some() || self.suppressed
    }

    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What outlives the end of an occurrence.
    pub fn of_the_next(&self) -> Self {
        let Overlay { shelf, out_of_service, suppressed, chattering, .. } = self;
        Self {
            shelf: shelf.clone(),
            out_of_service: out_of_service.clone(),
            suppressed: *suppressed,
            chattering: chattering.clone(),
            ..Self::default()
        }
    }

    /// The words of the contract, for what is the case.
    pub fn words(&self) -> Vec<&'static str> {
        let words = [
            ("shelved", self.shelf.is_some()),
            ("suppressed", self.suppressed),
            ("out_of_service", self.out_of_service.is_some()),
            ("chattering", self.chattering.is_some()),
        ];
        words.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect()
    }
}

impl Hold {
    pub fn begun(
        order: Acknowledgement,
        told_as: OccurrenceId,
        length: Duration,
        now: Mono,
        boot_id: &str,
    ) -> Self {
        let length_on_the_label = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        let until = order.at.checked_add(length_on_the_label).unwrap_or(Timestamp::MAX);
        let passing = Passing::begun(now, boot_id);
        Self { order, told_as, length, passing, until, rebooted: false, whole_device: false, quiet: false }
    }
}

impl Rescue {
    pub fn begun(limit: Duration, now: Mono, boot_id: &str) -> Self {
        Self {
            limit,
            passing: Passing::begun(now, boot_id),
            warned: 0,
            said: None,
            dispatched: None,
            arrived: None,
            released: None,
        }
    }

    /// Whether help is still waited for.
    pub fn runs(&self) -> bool {
        self.arrived.is_none() && self.released.is_none()
    }

    /// The next warning: how long after the beginning.
    pub fn next_warning(&self) -> Option<Duration> {
        SIXTHS.get(self.warned).map(|sixths| self.limit.saturating_mul(*sixths) / 6)
    }

    /// How many warnings are due after `passed`.
    pub fn due_after(&self, passed: Duration) -> usize {
        SIXTHS.iter().take_while(|sixths| passed >= self.limit.saturating_mul(**sixths) / 6).count()
    }

    /// What its `n`th warning says.
    pub fn warning(n: usize) -> RescueWord {
        if n >= SIXTHS.len() { RescueWord::Overdue } else { RescueWord::Warning }
    }

    pub fn step(&self, step: RescueStep) -> Option<&Acknowledgement> {
        match step {
            RescueStep::Dispatched => self.dispatched.as_ref(),
            RescueStep::Arrived => self.arrived.as_ref(),
            RescueStep::Released => self.released.as_ref(),
        }
    }

    pub fn note(&mut self, step: RescueStep, who: Acknowledgement) {
        let (place, said) = match step {
            RescueStep::Dispatched => (&mut self.dispatched, RescueWord::Dispatched),
            RescueStep::Arrived => (&mut self.arrived, RescueWord::Arrived),
            RescueStep::Released => (&mut self.released, RescueWord::Released),
        };
        *place = Some(who);
        self.said = Some(said);
    }
}

impl RescueStep {
    pub const ALL: [Self; 3] = [Self::Dispatched, Self::Arrived, Self::Released];

    pub fn word(self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Arrived => "arrived",
            Self::Released => "released",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_minutes_are_warned_of_after_5_15_and_25() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut rescue = Rescue::begun(minutes(30), Mono(Duration::ZERO), "a");
        for (n, (after, word)) in [
            (5, RescueWord::Warning),
            (15, RescueWord::Warning),
            (25, RescueWord::Warning),
            (30, RescueWord::Overdue),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(rescue.next_warning(), Some(minutes(after)));
            assert_eq!(rescue.due_after(minutes(after) - Duration::from_millis(1)), n);
            assert_eq!((rescue.due_after(minutes(after)), Rescue::warning(n + 1)), (n + 1, word));
            rescue.warned = n + 1;
        }
        assert_eq!(rescue.next_warning(), None);
    }
}
