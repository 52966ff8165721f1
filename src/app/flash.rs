//! Tells the pipeline what was written to the flash, as a device that speaks by itself would: where the site has set a budget.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Ended, own};
use crate::{
    domain::{Clock, DeviceIx, Heard},
    profile::{Device, Profile},
    store::{FlashUse, TelemetryStore},
};

/// Well within the heartbeat that `gateway-flash/gatehouse-flash` promises.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether the budget has just been passed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub struct FlashReporter {
    pub own: DeviceIx,
    pub profile: Arc<Profile>,
    pub telemetry: TelemetryStore,
    pub clock: Arc<dyn Clock>,
    pub pipeline: mpsc::Sender<Heard>,
}

/// As `gateway-flash/gatehouse-flash` reads it.
#[derive(Debug, PartialEq, Serialize)]
struct Report {
    beyond_budget: bool,
    written_today: f64,
    budget: f64,
}

impl Report {
    /// Without a budget there is nothing to report.
    fn of(flash: &FlashUse) -> Option<Self> {
        let budget = flash.per_day?;
        let mib = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0;
        Some(Self {
            beyond_budget: flash.today > budget,
            written_today: mib(flash.today),
            budget: mib(budget),
        })
    }
}

/// The place of the gateway's flash among the devices, if it is one of them.
pub fn own(devices: &[Device]) -> Option<DeviceIx> {
    devices.iter().position(Device::is_own_flash).map(|place| DeviceIx(place as u32))
}

impl FlashReporter {
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let mut told: Option<(bool, tokio::time::Instant)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok("flash"),
                () = sleep(LOOK_EVERY) => {}
            }
            let Some(report) = Report::of(&self.telemetry.flash()) else { continue };
            let is_due = told
                .is_none_or(|(beyond, at)| beyond != report.beyond_budget || at.elapsed() >= REPORT_EVERY);
            if !is_due {
                continue;
            }
            told = Some((report.beyond_budget, tokio::time::Instant::now()));
            if self
                .pipeline
                .send(own::report(self.own, &self.profile, self.clock.now(), &report))
                .await
                .is_err()
            {
                return Ok("flash"); // the gateway stops
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_passed_by_the_first_byte_beyond_it() {
        let mib = 1 << 20;
        for (fact, per_day, today, want) in [
            ("no budget", None, 9 * mib, None),
            ("nothing yet", Some(mib), 0, Some((false, 0.0))),
            ("to the byte", Some(mib), mib, Some((false, 1.0))),
            ("one more", Some(mib), mib + 1, Some((true, 1.0))),
            ("far beyond", Some(mib), 10 * mib, Some((true, 10.0))),
        ] {
            let flash = FlashUse { per_day, today, ..FlashUse::default() };
            let told = Report::of(&flash).map(|report| (report.beyond_budget, report.written_today));
            assert_eq!(told, want, "{fact}");
        }
    }

    #[test]
    fn years_left_need_a_pace_and_an_endurance() {
        let flash = FlashUse { pace: Some(1e9), endurance: Some(3_652_500_000_000), ..FlashUse::default() };
        assert_eq!(flash.years_left(), Some(10.0));
        let used = FlashUse { total: 4_000_000_000_000, ..flash };
        assert_eq!(used.years_left(), Some(0.0), "beyond its endurance");
        assert_eq!(FlashUse { pace: None, ..flash }.years_left(), None, "not a day is over");
        assert_eq!(FlashUse { endurance: None, ..flash }.years_left(), None);
    }
}
