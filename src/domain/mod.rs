//! The nouns of the trade: no I/O, no clock of its own, under everything else.

pub mod alarm;
pub mod anchor;
pub mod clock;
pub mod command;
pub mod credit;
pub mod diagnosis;
pub mod drill;
pub mod ending;
pub mod event;
pub mod expression;
pub mod fault;
pub mod flood;
pub mod heard;
pub mod hindrance;
pub mod ids;
pub mod inquiry;
pub mod lang;
pub mod load;
pub mod loss;
pub mod overlay;
pub mod passing;
pub mod point;
pub mod put_right;
pub mod reading;
pub mod secret;
pub mod status;
pub mod suite;
pub mod sun;
pub mod tape;
pub mod timetable;
pub mod units;
pub mod watch;

pub use alarm::{
    Acknowledgement, AlarmKey, AlarmMemory, AlarmState, OnDelay, Origin, Priority, TransitionKind, Voucher,
};
pub use anchor::{HEAD_VERSION, HeadStatement, NextKey, SignedHead};
pub use clock::{Clock, ManualClock, Mono, STEP, Stamp, SystemClock, TimeQuality};
pub use diagnosis::{Called, Diagnosis, Medium};
pub use ending::{Ending, Reply};
pub use event::{AlarmFacts, DeviceFacts, Event, EventId, Letter, ReadingFact, SiteFacts};
pub use expression::Expression;
pub use fault::{Garble, Holder, LineFault};
pub use flood::{FloodMemory, Summarised, UnderWay};
pub use heard::{DeviceIx, Failure, Heard, Instruction, PointIx, Raw, Receipt, Table};
pub use hindrance::{Hindrance, HindranceKind};
pub use ids::{
    AlarmName, BusId, ClassName, CommandName, DeviceId, EndpointId, OccurrenceId, PointName, ProfileId,
};
pub use lang::{Lang, Text};
pub use load::{Announcement, Load};
pub use loss::{Loss, LossClass, LossReason};
pub use overlay::{Chattering, Escalation, Hold, Overlay, Rescue, RescueStep, RescueWord};
pub use passing::{Passed, Passing};
pub use point::{DataClass, Kind};
pub use put_right::{ClockSet, PutRight};
pub use reading::{Quality, Sample, Value};
pub use secret::SecretFile;
pub use suite::Suite;
pub use units::{Period, Size};
pub use watch::{Raises, Seen, Watch};
