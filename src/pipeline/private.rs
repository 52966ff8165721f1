//! What is of persons does not stand in the files as it is: sealed before the commit, by the points' data classes.

use std::sync::Arc;

use tracing::warn;

use super::Pipeline;
use crate::{
    domain::{DeviceIx, Event, PointIx, Quality, Sample, Value, credit::Credit},
    profile::Device,
    store::{
        evidence::Sealed,
        privacy::{Privacy, is_sealed},
    },
};

/// Who seals, and what.
#[derive(Clone, Debug, Default)]
pub struct Private {
    /// Without one, values are stored as they are: the site file gives no key.
    keys: Option<Arc<Privacy>>,
    /// By device: its points that are of persons.
    points: Vec<Vec<PointIx>>,
}

impl Private {
    pub fn new(keys: Option<Arc<Privacy>>, devices: &[Device]) -> Self {
        let of = |device: &Device| {
            let points = (0u16..).map(PointIx).zip(&device.profile.points);
            let private =
                points.filter(|(_, point)| device.profile.class.points[point.class_point].data.is_private());
            private.map(|(ix, _)| ix).collect()
        };
        Self { keys, points: devices.iter().map(of).collect() }
    }

    /// The event as it is stored, where that is not as it is. A value that cannot be sealed is not stored at all.
    pub(super) fn stored(&self, event: &Event) -> Option<Event> {
        let keys = self.keys.as_ref()?;
        if event.credit.is_none() && !event.readings.values().any(|reading| reading.data.is_private()) {
            return None;
        }
        let mut stored = event.clone();
        stored.credit = event.credit.as_ref().and_then(|credit| self.sealed_credit(credit)).map(Box::new);
        stored.readings.retain(|_, reading| match &reading.value {
            Some(value) if reading.data.is_private() => {
                reading.value = keys.seal(value);
                reading.value.is_some()
            }
            Some(_) | None => true,
        });
        Some(stored)
    }

    /// A credit as it is stored. `None`: there is no key to seal it under.
    pub(super) fn sealed_credit(&self, credit: &Credit) -> Option<Credit> {
        let Some(keys) = &self.keys else { return Some(credit.clone()) };
        let seal = |text: &str| match keys.seal(&Value::from(text))? {
            Value::Text(sealed) => Some(sealed.to_string()),
            Value::Flag(_) | Value::Number(_) => None,
        };
        let card = match &credit.card {
            Some(card) => Some(seal(card)?),
            None => None,
        };
        Some(Credit { transaction: seal(&credit.transaction)?, card, ..credit.clone() })
    }

    /// An event as it was, from how it is stored; without what cannot be opened any more.
    pub(super) fn opened(&self, mut event: Event) -> Event {
        event.readings.retain(|_, reading| match &reading.value {
            Some(value) if reading.data.is_private() && is_sealed(value) => {
                reading.value = self.keys.as_ref().and_then(|keys| keys.open(value));
                reading.value.is_some()
            }
            Some(_) | None => true,
        });
        event.credit = event.credit.and_then(|credit| self.opened_credit(*credit)).map(Box::new);
        event
    }

    /// `None`: the key is gone, and with it whose and which delivery it was.
    fn opened_credit(&self, credit: Credit) -> Option<Credit> {
        let open = |text: String| {
            let value = Value::from(text.as_str());
            if !is_sealed(&value) {
                return Some(text);
            }
            match self.keys.as_ref()?.open(&value)? {
                Value::Text(opened) => Some(opened.to_string()),
                Value::Flag(_) | Value::Number(_) => None,
            }
        };
        let card = match credit.card {
            Some(card) => Some(open(card)?),
            None => None,
        };
        Some(Credit { transaction: open(credit.transaction)?, card, ..credit })
    }

    /// The same event, as its letters were written from it. `None`: nothing would be left of the credit that it is.
    pub fn unsealed(&self, sealed: &Sealed) -> Option<Sealed> {
        let event = self.opened(sealed.event.clone());
        let whole = event.credit.is_some() == sealed.event.credit.is_some();
        whole.then(|| Sealed { event, ..sealed.clone() })
    }

    /// Samples as they are stored.
    pub(super) fn kept(
        &self,
        device: DeviceIx,
        mut samples: Vec<(PointIx, Sample)>,
    ) -> Vec<(PointIx, Sample)> {
        let private = self.points.get(device.0 as usize).map_or(&[][..], Vec::as_slice);
        let Some(keys) = self.keys.as_ref().filter(|_| !private.is_empty()) else { return samples };
        samples.retain_mut(|(point, sample)| {
            let Some(value) = sample.value().filter(|_| private.contains(point)) else { return true };
            let Some(sealed) = keys.seal(value) else { return false };
            *sample = same_quality(sample, sealed);
            true
        });
        samples
    }
}

fn same_quality(sample: &Sample, value: Value) -> Sample {
    match sample.quality() {
        Quality::Stale => Sample::stale(value),
        Quality::Good | Quality::Absent | Quality::OutOfRange | Quality::CommFail | Quality::DecodeError => {
            Sample::good(value)
        }
    }
}

impl Pipeline {
    /// Once, at the start: what is of persons and is stored as it is.
    pub fn warn_of_clear_text(&self) {
        let private = self.private.points.iter().filter(|points| !points.is_empty()).count();
        if private > 0 && self.private.keys.is_none() {
            warn!(
                devices = private,
                "Values of persons are stored as they are: give [store] a key file to have them sealed."
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Period,
        store::{EventStore, Settings, privacy::OuterKey},
    };

    #[tokio::test]
    async fn a_credit_is_opened_as_it_was_or_nothing_is_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = EventStore::open(&Settings::of_a_test(dir.path().join("data"))).unwrap();
        let keys = Arc::new(Privacy::new(OuterKey::load_or_make(&dir.path().join("key")).unwrap()));
        let today = "2026-11-26T06:00:00Z".parse().unwrap();
        let month = Period(std::time::Duration::from_secs(30 * 86_400));
        store.tend_private_keys(&keys, Some(today), month).await.unwrap();
        let private = Private { keys: Some(keys), points: Vec::new() };
        let credit = Credit {
            transaction: "20261126-000117".into(),
            category: Some("paper".into()),
            weight_g: 12_350,
            points: Some(2470),
            card: Some("02468AC0".into()),
            card_pseudonym: Some("5f0c".into()),
            total_g: Some(8_123_400),
            at: today,
        };
        let stored = private.sealed_credit(&credit).unwrap();
        assert!(stored.transaction != credit.transaction && stored.card != credit.card, "{stored:?}");
        assert_eq!(private.opened_credit(stored.clone()).as_ref(), Some(&credit));
        assert_eq!(Private::default().opened_credit(stored), None, "a sealed card goes to nobody");
        assert_eq!(Private::default().opened_credit(credit.clone()), Some(credit), "it was never sealed");
    }
}
