//! Time as an argument: monotonic for every delay, wall time only as a label.

use std::{
    fs,
    ops::{Add, Sub},
    path::Path,
    sync::Mutex,
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// How far the wall clock can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeQuality {
    /// Before this program was built: the clock was never set.
    Unset,
    Restored,
    Synced,
    /// Set once, nobody confirms it now.
    Holdover,
}

pub trait Clock: Send + Sync {
    fn now(&self) -> Stamp;
    fn quality(&self) -> TimeQuality;
    /// Tells one boot of the box from another: `Mono` compares only within one.
    fn boot_id(&self) -> &str;
}

/// The box's own clock.
pub struct SystemClock {
    boot_id: String,
}

/// No honest clock of a running gateway stands before this (2026-11-01).
const BUILD_FLOOR: i64 = 1_793_491_200;

impl SystemClock {
    pub fn new() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { boot_id: boot_id.trim().to_owned() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let mono = Mono(Duration::new(boot.tv_sec as u64, boot.tv_nsec as u32));
        Stamp { mono, wall: Timestamp::now() }
    }

    fn quality(&self) -> TimeQuality {
        if Timestamp::now().as_second() < BUILD_FLOOR {
            TimeQuality::Unset
        } else if Path::new("/run/systemd/timesync/synchronized").exists() {
            TimeQuality::Synced
        } else {
            TimeQuality::Holdover
        }
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

/// A clock that tests turn by hand.
pub struct ManualClock {
    now: Mutex<Stamp>,
}

impl ManualClock {
    pub fn new() -> Self {
        let wall = "2026-11-23T06:00:00Z".parse().expect("a valid timestamp");
        Self { now: Mutex::new(Stamp { mono: Mono(Duration::from_secs(1000)), wall }) }
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
        TimeQuality::Synced
    }

    fn boot_id(&self) -> &str {
        "manual"
    }
}
