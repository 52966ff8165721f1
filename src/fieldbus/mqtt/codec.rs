//! Topics ⇄ devices: pure. Whose message it is, and what has to be subscribed to.

use std::collections::HashMap;

/// A topic is a length-prefixed text of at most 65 535 bytes (MQTT 3.1.1, 1.5.3).
const LONGEST_TOPIC: usize = 65_535;

/// Why a device's topic cannot be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It would name other topics than its own.
    #[error("put the address {address:?} into a topic: it is empty or has '/', '+', '#' or a NUL in it")]
    Address { address: String },
    #[error("subscribe to {filter:?}: not a topic filter (MQTT 3.1.1, 4.7)")]
    Filter { filter: String },
}

/// A profile's topic with the device's address in it.
///
/// # Errors
/// If that is not a topic filter, or the address reaches beyond its own level.
pub fn filter(template: &str, address: &str) -> Result<String, TopicError> {
    let names_others = address.is_empty() || address.contains(['/', '+', '#', '\0']);
    if names_others && template.contains("{address}") {
        return Err(TopicError::Address { address: address.to_owned() });
    }
    let filter = template.replace("{address}", address);
    if is_filter(&filter) { Ok(filter) } else { Err(TopicError::Filter { filter }) }
}

/// MQTT 3.1.1, 4.7.1: a wildcard takes a whole level, `#` only the last.
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    let sound = |(at, level): (usize, &&str)| match *level {
        "#" => at == last,
        "+" => true,
        name => !name.contains(['#', '+', '\0']),
    };
    !filter.is_empty() && filter.len() <= LONGEST_TOPIC && levels.iter().enumerate().all(sound)
}

/// Whether `topic` falls under `filter` (MQTT 3.1.1, 4.7.1 and 4.7.2).
pub fn falls_under(topic: &str, filter: &str) -> bool {
    let wild_first = filter.starts_with(['#', '+']);
    if topic.is_empty() || (wild_first && topic.starts_with('$')) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (name, Some(level)) if name == level => {}
            (_, Some(_) | None) => return false,
        }
    }
    levels.next().is_none()
}

/// Who gets which topic's messages. A topic can be several devices'.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Vec<usize>>,
    wild: Vec<(String, Vec<usize>)>,
}

impl Routes {
    /// `member` is to get what falls under `filter`.
    pub fn add(&mut self, filter: String, member: usize) {
        if !filter.contains(['+', '#']) {
            self.exact.entry(filter).or_default().push(member);
        } else if let Some((_, members)) = self.wild.iter_mut().find(|(known, _)| *known == filter) {
            members.push(member);
        } else {
            self.wild.push((filter, vec![member]));
        }
    }

    /// The members whose topic it is, each once, in order.
    pub fn of(&self, topic: &str) -> Vec<usize> {
        let exact = self.exact.get(topic).into_iter();
        let wild = self.wild.iter().filter(|(filter, _)| falls_under(topic, filter));
        let mut members: Vec<usize> =
            exact.chain(wild.map(|(_, members)| members)).flatten().copied().collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Every filter once, in a fixed order.
    pub fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> =
            self.exact.keys().chain(self.wild.iter().map(|(filter, _)| filter)).cloned().collect();
        filters.sort_unstable();
        filters
    }

    /// The members that asked for `filter`.
    pub fn asked_for(&self, filter: &str) -> &[usize] {
        let wild = || self.wild.iter().find(|(known, _)| known == filter).map(|(_, members)| members);
        self.exact.get(filter).or_else(wild).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_fall_under_filters_as_mqtt_4_7_says() {
        for (filter, topic, want) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor/clients", false),
            ("+/monitor/clients", "$SYS/monitor/clients", false),
            ("$SYS/monitor/+", "$SYS/monitor/clients", true),
            ("parking/7/up", "parking/7/up", true),
            ("parking/7/up", "parking/70/up", false),
            ("parking/7/up", "parking/7/up/x", false),
            ("#", "", false),
        ] {
            assert_eq!(falls_under(topic, filter), want, "{topic} under {filter}");
        }
    }

    #[test]
    fn a_devices_address_names_only_its_own_topics() {
        let topic = "application/1/device/{address}/event/+";
        assert_eq!(filter(topic, "a84041"), Ok("application/1/device/a84041/event/+".to_owned()));
        assert_eq!(filter("kiosk/up", ""), Ok("kiosk/up".to_owned()), "no address in the topic, none needed");
        for address in ["", "+", "#", "1/event", "1/#", "a\0"] {
            assert!(filter(topic, address).is_err(), "{address:?}");
        }
        for template in ["", "a/#/b", "a#", "a/b+", "+a/{address}", "a\0"] {
            assert!(filter(template, "7").is_err(), "{template:?}");
        }
        assert!(filter("x/{address}", &"7".repeat(LONGEST_TOPIC)).is_err(), "too long");
    }

    #[test]
    fn a_message_goes_to_each_device_whose_topic_it_is() {
        let mut routes = Routes::default();
        for (member, filter) in ["park/1/up", "park/2/up", "park/+/up", "park/1/up", "#"].iter().enumerate() {
            routes.add((*filter).to_owned(), member);
        }
        assert_eq!(routes.of("park/1/up"), [0, 2, 3, 4]);
        assert_eq!(routes.of("park/9/up"), [2, 4]);
        assert_eq!(routes.of("$SYS/x"), [] as [usize; 0]);
        assert_eq!(routes.filters(), ["#", "park/+/up", "park/1/up", "park/2/up"]);
        assert_eq!(routes.asked_for("park/1/up"), [0, 3]);
        assert_eq!(routes.asked_for("park/+/up"), [2]);
    }

    fn levels() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["", "a", "b", "+", "#", "a#"]), 1..5)
            .prop_map(|levels| levels.join("/"))
    }

    proptest! {
        /// The library matches topics too: both say the same of all that a broker can send.
        #[test]
        fn the_library_says_the_same(filter in levels(), topic in levels()) {
            prop_assert_eq!(is_filter(&filter), rumqttc::valid_filter(&filter), "{}", filter);
            if is_filter(&filter) && rumqttc::valid_topic(&topic) && !topic.is_empty() {
                prop_assert_eq!(falls_under(&topic, &filter), rumqttc::matches(&topic, &filter), "{} {}", topic, filter);
            }
        }
    }
}
