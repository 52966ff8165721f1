//! Messages to readings: which are news, which are old, which come again, and which nobody can read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{
    Pipeline, Reading,
    recency::{self, Kept, Recency, Told},
    without_value,
};
use crate::{
    domain::{DeviceIx, PointIx, Quality, Raw, Receipt, Sample, Stamp, TimeQuality, status::MessageCounts},
    profile::{Decoded, Link},
};

/// A source time further behind than this (and than the heartbeat) makes a reading stale.
const LATE: Duration = Duration::from_secs(600);
/// A source time further ahead than this is not believed.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// A message of a device, and what is owed for it.
pub(super) struct Message {
    pub device: DeviceIx,
    /// When it arrived.
    pub at: Stamp,
    pub points: Arc<[PointIx]>,
    pub bytes: Bytes,
    /// The broker kept it.
    pub retained: bool,
    pub receipt: Option<Receipt>,
}

impl Pipeline {
    /// Tells the engine what is news, and what was true once; what comes again is no reading.
    pub(super) fn message(&mut self, message: Message) -> Reading {
        let (device, arrived) = (message.device, message.at);
        let profile = Arc::clone(&self.devices[device.0 as usize].profile);
        // How old it is, is judged here, with its time and number; decoding would only call it old.
        let payload = Raw::Payload { bytes: message.bytes.clone(), retained: false };
        let decoded = profile.decode(&payload, &message.points);
        self.note_malformed(device, decoded.malformed.as_deref());
        let source = decoded.source_time.filter(|source| lag(arrived, *source) >= -AHEAD);
        let at = Stamp { wall: source.unwrap_or(arrived.wall), ..arrived };
        if decoded.malformed.is_some() {
            self.count(device, |counts| &mut counts.malformed);
            if !message.retained {
                self.engine.garbled(device, &message.points, at);
            }
            let samples = without_value(&message.points, Quality::DecodeError);
            return (device, at.wall, samples, message.receipt);
        }
        let recency = self.judge(&message, &decoded, source);
        // whatever it says of a delivery holds, however late, and is entered once
        self.claim(device, &decoded.samples, at.wall, recency != Recency::News);
        let samples = match recency {
            // What follows from it was decided; what is not on disk yet is decided again. Only its receipt is owed.
            Recency::Again => {
                self.count(device, |counts| &mut counts.duplicates);
                Vec::new()
            }
            Recency::Old => {
                if !message.retained {
                    self.note_behind(device, source);
                }
                let samples = self.aged(device, decoded.samples);
                self.engine.recalled(device, &samples, at);
                samples
            }
            Recency::News => {
                let late = self.lags(arrived, source, LATE.max(heartbeat(&profile.link))) == Some(true);
                let samples = if late { self.aged(device, decoded.samples) } else { decoded.samples };
                self.engine.heard(device, &samples, at);
                samples
            }
        };
        (device, at.wall, samples, message.receipt)
    }

    fn judge(&mut self, message: &Message, decoded: &Decoded, source: Option<Timestamp>) -> Recency {
        let kept = match message.retained {
            false => Kept::No,
            true if self.lags(message.at, source, LATE) == Some(false) => Kept::Fresh,
            true => Kept::AgeUnknown,
        };
        let readings = recency::digest(&decoded.samples);
        let told = Told { sequence: decoded.sequence, time: source, readings };
        self.recent.judge(message.device, told, kept, message.at.mono)
    }

    /// Whether its time is further back than `limit`. Only a clock that is certainly right may judge another one: else a step of
    /// ours would silence alarms.
    fn lags(&self, arrived: Stamp, source: Option<Timestamp>, limit: Duration) -> Option<bool> {
        let sure = self.clock.quality() == TimeQuality::Synced;
        let lag = lag(arrived, source.filter(|_| sure)?);
        Some(Duration::try_from(lag).is_ok_and(|lag| lag > limit))
    }

    /// The same values, too old to act upon; counted where there are any.
    fn aged(&mut self, device: DeviceIx, samples: Vec<(PointIx, Sample)>) -> Vec<(PointIx, Sample)> {
        if !samples.is_empty() {
            self.count(device, |counts| &mut counts.stale);
        }
        samples.into_iter().map(|(point, sample)| (point, sample.aged())).collect()
    }

    fn count(&mut self, device: DeviceIx, of: impl Fn(&mut MessageCounts) -> &mut u64) {
        let bus = &self.devices[device.0 as usize].bus;
        let counts = match self.messages.get_mut(bus) {
            Some(counts) => counts,
            None => self.messages.entry(bus.clone()).or_default(),
        };
        *of(counts) += 1;
    }
}

fn lag(arrived: Stamp, source: Timestamp) -> SignedDuration {
    arrived.wall.duration_since(source)
}

fn heartbeat(link: &Link) -> Duration {
    if let Link::Mqtt(link) = link { link.heartbeat.unwrap_or_default() } else { Duration::ZERO }
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
