//! Decides: rules of the class over a device's readings, in the states of ISA-18.2. No I/O.

mod change;
mod customs;
mod delay;
mod engine;
mod flood;
mod hold;
mod latest;
mod lifecycle;
mod over_time;
mod rule;

pub use change::{OverTimeChange, Override};
pub use customs::{ChatteringLimit, Customs, EscalationPlan, EscalationStep, ShelvingLimits};
pub use engine::{Acknowledged, Change, Engine, Step, TurnedDown};
pub use flood::{Flood, FloodLimit, is_summarised};
pub use latest::{Latest, fresh_for};
use over_time::{History, OverTime};
pub use rule::{OnDevice, Rule, RuleBook, RuleProblem, Rules, Truth, WorkedOut};
