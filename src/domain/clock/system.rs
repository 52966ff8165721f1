//! The box's own clock, and what it is worth: a clock is taken at its word only where nothing speaks against it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{Clock, Mono, STEP, Stamp, TimeQuality};

/// Touched by systemd-timesyncd each time that the clock was compared and set; whoever uses another client has it touch the same.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// A client that keeps the clock compares it every half hour or so; after a day without that, nobody does.
const FRESH: Duration = Duration::from_secs(86_400);
/// Where real-time clocks are. One that set the system's time at boot says `1` in `hctosys`.
const CLOCKS: &str = "/sys/class/rtc";
/// What puts the time of the last end back at boot, on a box without a real-time clock.
const RESTORERS: [&str; 2] = ["/var/lib/systemd/timesync/clock", "/etc/fake-hwclock.data"];
/// Real-time clocks keep whole seconds, and drift a little: no clock lost the time by so much.
const SLACK: Duration = Duration::from_secs(60);
/// No honest clock of a running gateway stands before this program was built: seconds since 1970, a day's grace.
const BUILT: &str = env!("GATEHOUSE_BUILT");

pub struct SystemClock {
    boot_id: String,
    synchronised: PathBuf,
    /// The time was put back at boot by no clock.
    restored: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    floor: Timestamp,
    /// Between wall time and time since boot when the program began.
    offset_ms: i64,
    compared: Option<Compared>,
}

/// When the clock was compared last, as far as was seen.
#[derive(Clone, Copy, Debug)]
struct Compared {
    mark: SystemTime,
    seen: Mono,
    /// How old the mark was then.
    age: Duration,
    offset_ms: i64,
}

impl SystemClock {
    pub fn new() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let restored = RESTORERS.iter().any(|path| Path::new(path).exists()) && !set_by_hardware();
        Self::of(boot_id.trim().to_owned(), PathBuf::from(SYNCHRONISED), restored, now())
    }

    fn of(boot_id: String, synchronised: PathBuf, restored: bool, now: Stamp) -> Self {
        let built = BUILT.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let floor = built.unwrap_or(Timestamp::UNIX_EPOCH);
        let seen = Seen { floor, offset_ms: now.offset_ms(), compared: None };
        Self { boot_id, synchronised, restored, seen: Mutex::new(seen) }
    }

    fn worth(&self, now: Stamp) -> TimeQuality {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let built = BUILT.parse().unwrap_or(0);
        if now.wall.as_second() < built {
            return TimeQuality::Unset;
        }
        if seen.is_compared(mark(&self.synchronised), now) {
            return TimeQuality::Synced;
        }
        // somebody set it while the program ran: from there on the floor, which may come from a clock that ran ahead, says nothing
        let was_set = is_step(now.offset_ms(), seen.offset_ms);
        let lost = now.wall < seen.floor.checked_sub(SLACK).unwrap_or(seen.floor);
        match (was_set, lost) {
            (true, _) => TimeQuality::Holdover,
            (false, true) => TimeQuality::Unset,
            (false, false) if self.restored => TimeQuality::Restored,
            (false, false) => TimeQuality::Holdover,
        }
    }
}

impl Seen {
    /// Whether somebody compared the clock lately, and nobody set it since.
    fn is_compared(&mut self, mark: Option<SystemTime>, now: Stamp) -> bool {
        let Some(mark) = mark else {
            self.compared = None;
            return false;
        };
        let known = self.compared.filter(|known| known.mark == mark);
        let compared = known.unwrap_or_else(|| {
            // one that was there before us is as old as it says
            let age = match self.compared {
                None => SystemTime::from(now.wall).duration_since(mark).unwrap_or_default(),
                Some(_) => Duration::ZERO,
            };
            Compared { mark, seen: now.mono, age, offset_ms: now.offset_ms() }
        });
        self.compared = Some(compared);
        let age = compared.age.saturating_add(now.mono.since(compared.seen));
        age < FRESH && !is_step(now.offset_ms(), compared.offset_ms)
    }
}

fn is_step(offset_ms: i64, before_ms: i64) -> bool {
    u128::from(offset_ms.abs_diff(before_ms)) > STEP.as_millis()
}

fn mark(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn set_by_hardware() -> bool {
    let clocks = fs::read_dir(CLOCKS).into_iter().flatten().flatten();
    clocks
        .map(|clock| fs::read_to_string(clock.path().join("hctosys")))
        .any(|said| said.is_ok_and(|said| said.trim() == "1"))
}

fn now() -> Stamp {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let mono = Mono(Duration::new(boot.tv_sec as u64, boot.tv_nsec as u32));
    Stamp { mono, wall: Timestamp::now() }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        now()
    }

    fn quality(&self) -> TimeQuality {
        self.worth(now())
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }

    fn floor(&self) -> Timestamp {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).floor
    }

    fn raise_floor(&self, newest: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.floor = seen.floor.max(newest);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A box whose clock says `wall` at its `mono_s`th second.
    fn at(wall: &str, mono_s: u64) -> Stamp {
        Stamp { mono: Mono(Duration::from_secs(mono_s)), wall: wall.parse().unwrap() }
    }

    fn clock(mark: &Path, restored: bool, begun: Stamp) -> SystemClock {
        let clock = SystemClock::of("boot".to_owned(), mark.to_owned(), restored, begun);
        clock.raise_floor("2036-03-01T12:00:00Z".parse().unwrap());
        clock
    }

    #[test]
    fn a_clock_that_lost_the_time_is_not_believed_until_somebody_sets_it() {
        let nobody = Path::new("/nowhere/synchronized");
        // (fact, the clock when the program begins, the clock now, restored at boot, its worth)
        use TimeQuality::*;
        for (fact, begun, now, restored, worth) in [
            ("1970", "1970-01-01T00:00:09Z", "1970-01-01T00:00:19Z", false, Unset),
            ("before the program was built", "2026-10-01T00:00:00Z", "2026-10-01T00:00:10Z", false, Unset),
            ("an hour behind its store", "2036-03-01T11:00:00Z", "2036-03-01T11:00:10Z", false, Unset),
            ("and restored", "2036-03-01T11:00:00Z", "2036-03-01T11:00:10Z", true, Unset),
            ("half a minute behind it", "2036-03-01T11:59:20Z", "2036-03-01T11:59:30Z", false, Holdover),
            ("after its store", "2036-03-01T12:00:01Z", "2036-03-01T12:00:11Z", false, Holdover),
            ("after it, by no clock's word", "2036-03-01T12:00:01Z", "2036-03-01T12:00:11Z", true, Restored),
            ("it comes to its floor", "2036-03-01T11:00:00Z", "2036-03-01T11:00:10Z", false, Unset),
            ("1970, and set", "1970-01-01T00:00:09Z", "2036-03-01T12:30:00Z", false, Holdover),
            ("restored, and set", "2036-03-01T12:00:01Z", "2036-03-01T18:00:00Z", true, Holdover),
            ("slewed by two seconds", "2036-03-01T11:00:00Z", "2036-03-01T11:00:12Z", false, Unset),
            ("put right by a day back", "2036-03-02T11:00:00Z", "2036-03-01T11:00:00Z", false, Holdover),
            ("set, to before it was built", "2036-03-02T11:00:00Z", "2001-01-01T00:00:00Z", false, Unset),
        ] {
            assert_eq!(clock(nobody, restored, at(begun, 9)).worth(at(now, 19)), worth, "{fact}");
        }
    }

    #[test]
    fn synchronised_is_who_was_compared_within_a_day_and_not_set_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synchronized");
        let touch = |at: &str| {
            let at: Timestamp = at.parse().unwrap();
            File::create(&path).unwrap().set_modified(at.into()).unwrap();
        };
        let begun = at("2036-03-01T13:00:00Z", 9);
        let clock = clock(&path, false, begun);
        let after = |by: Duration| Stamp { mono: begun.mono + by, wall: begun.wall + by };
        assert_eq!(clock.worth(begun), TimeQuality::Holdover, "nobody");
        touch("2036-03-01T13:00:00Z");
        assert_eq!(clock.worth(begun), TimeQuality::Synced);
        assert_eq!(clock.worth(after(23 * HOUR)), TimeQuality::Synced);
        assert_eq!(clock.worth(after(25 * HOUR)), TimeQuality::Holdover, "a day without being compared");
        touch("2036-03-02T14:00:00Z");
        assert_eq!(clock.worth(after(25 * HOUR)), TimeQuality::Synced, "compared again");
        let stepped = Stamp { wall: after(26 * HOUR).wall - HOUR, ..after(26 * HOUR) };
        assert_eq!(clock.worth(stepped), TimeQuality::Holdover, "put back an hour by hand");
        touch("2036-03-02T14:00:01Z");
        assert_eq!(clock.worth(stepped), TimeQuality::Synced, "and that was compared");
        fs::remove_file(&path).unwrap();
        assert_eq!(clock.worth(stepped), TimeQuality::Holdover, "the client is gone");
        touch("2036-02-28T13:00:00Z");
        let later = super::SystemClock::of("boot".to_owned(), path.clone(), false, begun);
        assert_eq!(later.worth(begun), TimeQuality::Holdover, "a mark of the day before yesterday");
    }
}
