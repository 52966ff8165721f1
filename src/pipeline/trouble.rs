//! Trouble is told once when it begins and once when it ends, by the one who has it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{BREATHERS, Pipeline, RETRY, TELL_AGAIN};
use crate::{
    domain::{DeviceIx, Event, Lang, Mono},
    store::{Kept, StoreError},
};

/// Proof of life for the watchdog: counts rounds in which the pipeline really came around.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    pub fn rounds(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn came_around(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// What has been logged already, so that each trouble is told once when it begins and once when it ends.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Since when commits fail, and when to try again.
    pub(super) storage: Option<Mono>,
    pub(super) why_not_stored: Option<String>,
    /// Devices that sent what could not be read, and when that was told last.
    malformed: BTreeMap<DeviceIx, Mono>,
    /// Devices that fell behind what they said before, and when that was told last.
    behind: BTreeMap<DeviceIx, Mono>,
    telemetry_full: bool,
    /// When it was told last that the store is behind, and how often it was since.
    pub(super) telemetry_behind: Option<Mono>,
    pub(super) breathers: u64,
    /// When the pipeline came around last.
    pub(super) last_turn: Option<Mono>,
}

impl Pipeline {
    pub(super) fn note_storage(&mut self, error: Option<&StoreError>) {
        let again = error.map(|_| self.clock.now().mono + RETRY);
        match (error, self.trouble.storage) {
            (Some(error), None) => {
                error!(%error, "Alarms cannot be stored: what is urgent goes from memory, the rest is decided again until it can be.");
            }
            (None, Some(_)) => info!("Alarms can be stored again."),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.trouble.storage = again;
        self.trouble.why_not_stored = error.map(ToString::to_string);
    }

    pub(super) fn note_malformed(&mut self, device: DeviceIx, why: Option<&str>) {
        let Some(why) = why else { return };
        let now = self.clock.now().mono;
        if is_news(&mut self.trouble.malformed, device, now) {
            let id = &self.devices[device.0 as usize].id;
            warn!(device = %id, why, "What the device sends cannot be read; it counts as no answer.");
        }
    }

    /// Its messages are late or replayed; or its clock was set back, and then somebody must come.
    pub(super) fn note_behind(&mut self, device: DeviceIx, source: Option<Timestamp>) {
        let now = self.clock.now().mono;
        if is_news(&mut self.trouble.behind, device, now) {
            let id = &self.devices[device.0 as usize].id;
            let time = source.map(|time| time.to_string());
            warn!(device = %id, ?time, "What the device sends is older than what it said before; no alarm follows from it.");
        }
    }

    pub(super) fn note_telemetry(&mut self, kept: Kept) {
        match (kept, self.trouble.telemetry_full) {
            (Kept::Full, false) => {
                error!("The disk does not keep up: readings are lost (alarms are not).");
            }
            (Kept::Queued, true) => {
                info!(lost = self.telemetry.dropped(), "Readings are stored again.");
            }
            (Kept::Full, true) | (Kept::Queued, false) => {}
        }
        self.trouble.telemetry_full = kept == Kept::Full;
    }

    /// A store that is behind gets a moment, in which the buses fill the inbox and then wait: they poll more slowly, and nothing is lost.
    /// No more than a moment at a time, because alarms wait for no disk.
    pub(super) async fn let_store_catch_up(&mut self) {
        let pressure = usize::from(self.telemetry.pressure());
        let [.., longest] = BREATHERS;
        let Some(step) = pressure.checked_sub(1) else { return };
        let now = self.clock.now().mono;
        self.trouble.breathers += 1;
        if self.trouble.telemetry_behind.is_none_or(|told| now.since(told) > TELL_AGAIN) {
            let times = std::mem::take(&mut self.trouble.breathers);
            warn!(
                times,
                "The store does not keep up with what is read: devices are asked less often than they should be until it does."
            );
            self.trouble.telemetry_behind = Some(now);
        }
        sleep(BREATHERS.get(step).copied().unwrap_or(longest)).await;
    }
}

/// Whether it is time to tell this of the device, again.
pub(super) fn is_news(told: &mut BTreeMap<DeviceIx, Mono>, device: DeviceIx, now: Mono) -> bool {
    let is_news = told.get(&device).is_none_or(|told| now.since(*told) > TELL_AGAIN);
    if is_news {
        told.insert(device, now);
    }
    is_news
}

/// The transition, for whoever reads the log.
pub(super) fn log(event: &Event) {
    let title = event.alarm.title.get(Lang::En);
    info!(
        device = %event.device.id, alarm = %event.alarm.name, occurrence = %event.alarm.occurrence,
        step = ?event.kind, state = ?event.alarm.state, seq = event.seq, title,
        "Alarm changed."
    );
}
