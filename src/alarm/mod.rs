//! Decides: rules of the class over a device's readings, in the states of ISA-18.2. No I/O.

mod customs;
mod delay;
mod engine;
mod latest;
mod lifecycle;
mod rule;

pub use customs::{Customs, EscalationPlan, EscalationStep, ShelvingLimits};
pub use engine::{Acknowledged, Change, Engine, Step, TurnedDown};
pub use latest::{Latest, fresh_for};
pub use rule::{Override, Rule, RuleProblem, Rules, Truth, WorkedOut};
