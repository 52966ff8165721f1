//! What a bus of messages can tell of itself: what it left out, why it hears nothing, and who speaks that nobody knows.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use jiff::Timestamp;

use crate::domain::{
    ProfileId, Text,
    status::{MessageCounts, MessageStatus, UnknownDevice},
};

/// Unknown devices that are remembered; beyond it the one that was silent longest is forgotten.
const MOST_UNKNOWN: usize = 256;
/// A longer topic or one with control characters is counted, and not shown to anybody.
const LONGEST_SHOWN: usize = 200;
const ADDRESS: &str = "{address}";

/// Written by the bus's own tasks, read by status.
#[derive(Debug, Default)]
pub struct Messages {
    /// Sent again by the broker, and known by their packet id.
    duplicates: AtomicU64,
    oversize: AtomicU64,
    unknown: AtomicU64,
    trouble: Mutex<Option<Text>>,
    unknown_devices: Mutex<HashMap<String, UnknownDevice>>,
}

impl Messages {
    /// What only the content shows is counted elsewhere.
    pub fn read(&self) -> MessageStatus {
        let mut unknown_devices: Vec<_> = lock(&self.unknown_devices).values().cloned().collect();
        unknown_devices.sort_by(|one, other| one.topic.cmp(&other.topic));
        MessageStatus {
            counts: MessageCounts { duplicates: self.duplicates.load(Relaxed), ..MessageCounts::default() },
            oversize: self.oversize.load(Relaxed),
            unknown: self.unknown.load(Relaxed),
            trouble: lock(&self.trouble).clone(),
            unknown_devices,
        }
    }

    pub(super) fn came_again(&self) {
        self.duplicates.fetch_add(1, Relaxed);
    }

    pub(super) fn too_long(&self) {
        self.oversize.fetch_add(1, Relaxed);
    }

    /// Why nothing is heard now; `None` once something can be heard again.
    pub(super) fn in_trouble(&self, why: Option<Text>) {
        *lock(&self.trouble) = why;
    }

    /// A message on a topic that is no device's. Only its topic is looked at: what strangers say is none of our business.
    pub(super) fn stranger(&self, topic: &str, patterns: &[Pattern], at: Timestamp) {
        self.unknown.fetch_add(1, Relaxed);
        if topic.len() > LONGEST_SHOWN || topic.contains(char::is_control) {
            return;
        }
        let mut known = lock(&self.unknown_devices);
        if let Some(device) = known.get_mut(topic) {
            device.last_heard = at;
            device.messages += 1;
            return;
        }
        let fits: Vec<_> = patterns.iter().filter_map(|p| Some((p.address(topic)?, &p.profile))).collect();
        let Some((address, _)) = fits.first() else { return };
        let address = (*address).to_owned();
        let same = fits.iter().filter(|(other, _)| *other == address);
        let profiles = same.map(|(_, profile)| (*profile).clone()).collect();
        if known.len() >= MOST_UNKNOWN {
            let silent_longest = known.values().min_by_key(|device| device.last_heard);
            if let Some(topic) = silent_longest.map(|device| device.topic.clone()) {
                known.remove(&topic);
            }
        }
        let topic = topic.to_owned();
        let device = UnknownDevice {
            address,
            profiles,
            topic: topic.clone(),
            first_heard: at,
            last_heard: at,
            messages: 1,
        };
        known.insert(topic, device);
    }
}

/// A map of short strings: whoever panicked with it in hand left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where devices of a profile speak: its topic, in which the address takes whole levels.
#[derive(Clone, Debug)]
pub struct Pattern {
    profile: ProfileId,
    topic: String,
}

impl Pattern {
    /// `None` where the address is only a part of a level: no wildcard finds such devices.
    pub fn of(profile: &ProfileId, topic: &str) -> Option<Self> {
        let whole = |level: &str| level == ADDRESS || !level.contains(ADDRESS);
        let found = topic.contains(ADDRESS) && topic.split('/').all(whole);
        found.then(|| Self { profile: profile.clone(), topic: topic.to_owned() })
    }

    /// The filter under which all of them speak.
    pub fn filter(&self) -> String {
        self.topic.replace(ADDRESS, "+")
    }

    /// The address of the device that speaks on `topic`.
    fn address<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let mut levels = topic.split('/');
        let mut address = None;
        for wanted in self.topic.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return address,
                ("+", Some(_)) => {}
                (ADDRESS, Some(level)) if !level.is_empty() && address.is_none_or(|known| known == level) => {
                    address = Some(level);
                }
                (name, Some(level)) if name == level => {}
                (_, Some(_) | None) => return None,
            }
        }
        if levels.next().is_none() { address } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(topic: &str) -> Option<Pattern> {
        Pattern::of(&"parking-sensor/x".into(), topic)
    }

    #[test]
    fn the_address_is_found_where_the_profile_says() {
        for (template, topic, address) in [
            ("parking/{address}/up", "parking/7/up", Some("7")),
            ("parking/{address}/up", "parking/7/down", None),
            ("parking/{address}/up", "parking//up", None),
            ("parking/{address}/up", "parking/7/up/x", None),
            ("parking/{address}/up", "parking/7", None),
            ("a/+/d/{address}/up", "a/1/d/x y/up", Some("x y")),
            ("{address}/#", "7", Some("7")),
            ("{address}/#", "7/a/b", Some("7")),
            ("{address}/is/{address}", "7/is/7", Some("7")),
            ("{address}/is/{address}", "7/is/8", None),
        ] {
            let pattern = pattern(template).unwrap();
            assert_eq!(pattern.address(topic), address, "{topic} under {template}");
        }
        assert_eq!(pattern("a/+/d/{address}/up").unwrap().filter(), "a/+/d/+/up");
        for template in ["parking/bay-{address}/up", "parking/up", "{address}/x{address}"] {
            assert!(pattern(template).is_none(), "{template}");
        }
    }

    #[test]
    fn strangers_are_counted_listed_and_forgotten() {
        let messages = Messages::default();
        let patterns = [
            pattern("parking/{address}/up").unwrap(),
            Pattern::of(&"parking-sensor/y".into(), "parking/{address}/up").unwrap(),
            Pattern::of(&"parking-sensor/z".into(), "{address}/7/up").unwrap(),
        ];
        let at = |second| Timestamp::from_second(second).unwrap();
        messages.stranger("parking/7/up", &patterns, at(1));
        messages.stranger("parking/7/up", &patterns, at(9));
        for hidden in ["parking/\u{1b}[31m/up", "other/7", &format!("parking/{}/up", "7".repeat(300))] {
            messages.stranger(hidden, &patterns, at(9));
        }
        let status = messages.read();
        assert_eq!((status.unknown, status.unknown_devices.len()), (5, 1));
        let device = &status.unknown_devices[0];
        assert_eq!((device.address.as_str(), device.messages), ("7", 2));
        assert_eq!((device.first_heard, device.last_heard), (at(1), at(9)));
        assert_eq!(
            device.profiles,
            ["parking-sensor/x".into(), "parking-sensor/y".into()],
            "of this address"
        );

        for n in 0..1000 {
            messages.stranger(&format!("parking/n{n}/up"), &patterns, at(100 + n));
        }
        let status = messages.read();
        assert_eq!((status.unknown, status.unknown_devices.len()), (1005, MOST_UNKNOWN));
        assert!(status.unknown_devices.iter().any(|device| device.address == "n999"));
        assert!(status.unknown_devices.iter().all(|device| device.address != "7"), "silent longest");
    }
}
