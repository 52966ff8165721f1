//! Time as an argument: monotonic for every delay, wall time only as a label.

mod system;

use std::{
    ops::{Add, Sub},
    sync::Mutex,
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::system::SystemClock;

/// Time since boot (CLOCK_BOOTTIME): survives a restart of the daemon, not one of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mono(pub Duration);

impl Mono {
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, by: Duration) -> Mono {
        Mono(self.0 + by)
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, by: Duration) -> Mono {
        Mono(self.0.saturating_sub(by))
    }
}

/// One moment: when to count from, and what to call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub mono: Mono,
    pub wall: Timestamp,
}

impl Stamp {
    /// Wall time less time since boot: constant, unless somebody sets the clock.
    pub fn offset_ms(self) -> i64 {
        let mono = i64::try_from(self.mono.0.as_millis()).unwrap_or(i64::MAX);
        self.wall.as_millisecond().saturating_sub(mono)
    }
}

/// How far the wall clock can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeQuality {
    /// It was never set: it stands before this program was built, or before what its store holds.
    Unset,
    /// Put back at boot to where it stood at the last end: late by as long as the box was off.
    Restored,
    Synced,
    /// Set once, nobody confirms it now.
    Holdover,
}

impl TimeQuality {
    pub fn word(self) -> &'static str {
        match self {
            TimeQuality::Unset => "unset",
            TimeQuality::Restored => "restored",
            TimeQuality::Synced => "synced",
            TimeQuality::Holdover => "holdover",
        }
    }

    /// Whether somebody set it, to what can be the right time.
    pub fn is_believed(self) -> bool {
        match self {
            TimeQuality::Synced | TimeQuality::Holdover => true,
            TimeQuality::Unset | TimeQuality::Restored => false,
        }
    }
}

/// A wall clock that moved by more than this against the time since boot was set: audited and told (reliability, 2.5).
pub const STEP: Duration = Duration::from_secs(5);

pub trait Clock: Send + Sync {
    fn now(&self) -> Stamp;
    fn quality(&self) -> TimeQuality;
    /// Tells one boot of the box from another: `Mono` compares only within one.
    fn boot_id(&self) -> &str;
    /// Whatever the clock shows, it is no earlier than this.
    fn floor(&self) -> Timestamp;
    /// What is kept was written at `newest`: a clock that stands before it has lost the time.
    fn raise_floor(&self, newest: Timestamp);
}

/// A clock that tests turn by hand.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Stamp>,
    quality: Mutex<TimeQuality>,
    floor: Mutex<Timestamp>,
}

impl ManualClock {
    pub fn new() -> Self {
        let wall = "2026-11-23T06:00:00Z".parse().expect("a valid timestamp");
        let now = Stamp { mono: Mono(Duration::from_secs(1000)), wall };
        Self {
            now: Mutex::new(now),
            quality: Mutex::new(TimeQuality::Synced),
            floor: Mutex::new(Timestamp::UNIX_EPOCH),
        }
    }

    /// Both clocks go on by `by`.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().expect("no one panics holding the clock");
        now.mono = now.mono + by;
        now.wall += by;
    }

    /// Somebody sets the wall clock; monotonic time does not notice.
    pub fn step_wall(&self, to: Timestamp) {
        self.now.lock().expect("no one panics holding the clock").wall = to;
    }

    pub fn be(&self, quality: TimeQuality) {
        *self.quality.lock().expect("no one panics holding the clock") = quality;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Stamp {
        *self.now.lock().expect("no one panics holding the clock")
    }

    fn quality(&self) -> TimeQuality {
        *self.quality.lock().expect("no one panics holding the clock")
    }

    fn boot_id(&self) -> &str {
        "manual"
    }

    fn floor(&self) -> Timestamp {
        *self.floor.lock().expect("no one panics holding the clock")
    }

    fn raise_floor(&self, newest: Timestamp) {
        *self.floor.lock().expect("no one panics holding the clock") = newest;
    }
}
