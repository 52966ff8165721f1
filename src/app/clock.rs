//! Tells the pipeline how the clock stands, as a device that speaks by itself would: a clock that was never set, that was set just
//! now, or that nobody keeps is an alarm like any other.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Ended, own};
use crate::{
    domain::{Clock, DeviceIx, Heard, Mono, STEP, Stamp, TimeQuality, status::ClockStep},
    profile::{Device, Profile},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Well within the heartbeat that `gateway-clock/gatehouse-clock` promises.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How long a step is news.
const NEWS: Duration = Duration::from_secs(60);

pub struct ClockReporter {
    pub own: DeviceIx,
    pub profile: Arc<Profile>,
    pub clock: Arc<dyn Clock>,
    pub pipeline: mpsc::Sender<Heard>,
    /// Who waits with letters: what failed for the clock's sake need not wait any longer.
    pub wake: Vec<Arc<Notify>>,
    /// The last step, for whoever looks.
    pub step: watch::Sender<Option<Step>>,
}

/// Somebody set the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub by_ms: i64,
    at: Mono,
}

impl Step {
    pub fn seen_at(self, now: Mono) -> ClockStep {
        ClockStep { by_ms: self.by_ms, ago_s: now.since(self.at).as_secs() }
    }
}

/// As `gateway-clock/gatehouse-clock` reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    state: &'static str,
    stepped: bool,
    /// In seconds.
    step: f64,
}

/// What was seen of the clock.
struct Watch {
    offset_ms: i64,
    quality: TimeQuality,
    step: Option<Step>,
    told: Option<(Report, Mono)>,
}

/// The place of the gateway's clock among the devices.
pub fn own(devices: &[Device]) -> Option<DeviceIx> {
    devices.iter().position(Device::is_own_clock).map(|place| DeviceIx(place as u32))
}

impl Watch {
    fn begun(now: Stamp, quality: TimeQuality) -> Self {
        Self { offset_ms: now.offset_ms(), quality, step: None, told: None }
    }

    /// What is to be told, if anything is.
    fn look(&mut self, now: Stamp, quality: TimeQuality) -> Option<Report> {
        let by_ms = now.offset_ms().saturating_sub(self.offset_ms);
        if u128::from(by_ms.unsigned_abs()) > STEP.as_millis() {
            self.step = Some(Step { by_ms, at: now.mono });
            warn!(seconds = by_ms / 1000, quality = quality.word(), "Somebody set the clock.");
        }
        self.offset_ms = now.offset_ms();
        if self.quality != quality {
            info!(from = self.quality.word(), to = quality.word(), "The clock is worth something else now.");
        }
        self.quality = quality;
        let report = Report {
            state: quality.word(),
            stepped: self.step.is_some_and(|step| now.mono.since(step.at) < NEWS),
            step: self.step.map_or(0.0, |step| step.by_ms as f64 / 1000.0),
        };
        let is_due = self
            .told
            .as_ref()
            .is_none_or(|(told, at)| *told != report || now.mono.since(*at) >= REPORT_EVERY);
        if is_due {
            self.told = Some((report.clone(), now.mono));
        }
        is_due.then_some(report)
    }
}

impl ClockReporter {
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let mut watch = Watch::begun(self.clock.now(), self.clock.quality());
        if watch.quality == TimeQuality::Unset {
            warn!(
                floor = %self.clock.floor(),
                "The clock is not set: it stands before what is known to be past. Alarms go all the same, their times are labelled."
            );
        }
        loop {
            let (now, before) = (self.clock.now(), watch.quality);
            let report = watch.look(now, self.clock.quality());
            self.step.send_if_modified(|known| std::mem::replace(known, watch.step) != watch.step);
            if watch.quality != before {
                self.wake.iter().for_each(|courier| courier.notify_one());
            }
            if let Some(report) = report
                && self.pipeline.send(own::report(self.own, &self.profile, now, &report)).await.is_err()
            {
                return Ok("clock"); // the gateway stops
            }
            tokio::select! {
                () = stop.cancelled() => return Ok("clock"),
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ManualClock;

    #[test]
    fn a_step_is_news_for_a_minute_and_slewing_is_none() {
        use TimeQuality::*;
        let clock = ManualClock::new();
        let mut watch = Watch::begun(clock.now(), Synced);
        let report = |state: TimeQuality, stepped, step| Some(Report { state: state.word(), stepped, step });
        assert_eq!(watch.look(clock.now(), Synced), report(Synced, false, 0.0), "at once");
        let mut after = |seconds: u64, step_ms: i64, quality| {
            clock.advance(Duration::from_secs(seconds));
            let wall = clock.now().wall + jiff::SignedDuration::from_millis(step_ms);
            clock.step_wall(wall);
            watch.look(clock.now(), quality)
        };
        assert_eq!(after(1, 0, Synced), None, "nothing new");
        assert_eq!(after(1, 4_900, Synced), None, "slewed, or a step that is none");
        assert_eq!(after(1, 4_900, Synced), None, "each from where it stood");
        assert_eq!(after(1, -3_600_000, Holdover), report(Holdover, true, -3600.0));
        assert_eq!(after(1, 0, Holdover), None);
        assert_eq!(after(1, 86_400_000, Holdover), report(Holdover, true, 86_400.0), "the latest");
        assert_eq!(after(59, 0, Holdover), None);
        assert_eq!(after(1, 0, Holdover), report(Holdover, false, 86_400.0), "a minute later");
        assert_eq!(after(60, 0, Holdover), report(Holdover, false, 86_400.0), "still there");
        assert_eq!(after(1, 0, Unset), report(Unset, false, 86_400.0));
    }
}
