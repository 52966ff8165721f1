//! What a line with several devices says of itself, as a device that speaks by itself would: on a beat, and when its state changes.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use super::{Bus, BusError, line::LineState};
use crate::{
    domain::{Heard, Raw},
    fieldbus::{
        BusDevice,
        driver::{Driver, LineFault},
        health::Health,
    },
};

/// Well within the heartbeat that `field-bus/gatehouse-line` promises.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// As whom the line reports, and when next.
pub(super) struct Reporter {
    own: Option<BusDevice>,
    due: Instant,
}

/// The report, as `field-bus/gatehouse-line` reads it.
#[derive(Debug, Serialize)]
struct Report {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    utilisation: f64,
    devices: usize,
    devices_lost: usize,
    /// How often it went down within the last five minutes.
    losses: usize,
}

impl Reporter {
    /// The first report has time: by then it is known whether the line opens.
    pub fn new(own: Option<BusDevice>, now: Instant) -> Self {
        Self { own, due: now + REPORT_EVERY }
    }

    /// When the next report is due; never for a line that makes none.
    pub fn due(&self) -> Option<Instant> {
        self.own.as_ref().map(|_| self.due)
    }

    pub fn now(&mut self, now: Instant) {
        self.due = now;
    }
}

impl<D: Driver> Bus<D> {
    pub(super) async fn report_if_due(&mut self) -> Result<(), BusError> {
        let now = Instant::now();
        let Some(own) = self.reporter.own.as_ref().filter(|_| self.reporter.due <= now) else {
            return Ok(());
        };
        let report = self.report(now);
        let bytes = serde_json::to_vec(&report).expect("numbers and texts");
        let heard = Heard {
            device: own.ix,
            at: self.clock.now(),
            points: own.profile.all_points().collect(),
            outcome: Ok(Raw::Payload { bytes: Bytes::from(bytes), retained: false }),
            receipt: None,
        };
        self.reporter.due = now + REPORT_EVERY;
        self.sender.send(heard).await.map_err(|_| BusError::NobodyListens { bus: self.id.clone() })
    }

    fn report(&self, now: Instant) -> Report {
        let losses = self.line.losses(now);
        let (state, why) = match self.line.fault() {
            None if losses > 0 => ("up", self.line.last_fault.as_ref().map(LineFault::to_string)),
            None => ("up", None),
            Some(fault @ LineFault::Babble { .. }) => ("babbling", Some(fault.to_string())),
            Some(fault) => ("down", Some(fault.to_string())),
        };
        let lost = self.units.iter().filter(|unit| unit.health.state() == Health::Lost);
        Report {
            state,
            why,
            utilisation: self.counters.busy_permille.load(Relaxed) as f64 / 10.0,
            devices: self.units.len(),
            devices_lost: lost.count(),
            losses,
        }
    }
}

impl LineState {
    /// What is wrong with the line, as its devices were told.
    fn fault(&self) -> Option<&LineFault> {
        self.told_down.as_ref()
    }
}
