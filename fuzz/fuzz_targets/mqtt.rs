//! MQTT: any topic against any filter, any payload into the shipped profiles.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use gatehouse::{
    document::Problems,
    domain::{PointIx, Raw, Value},
    fieldbus::mqtt::codec::{Routes, falls_under, filter},
    profile::{Library, Link, Profile},
};
use libfuzzer_sys::fuzz_target;

static SHIPPED: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    let library = Library::shipped(&mut Problems::default());
    let profiles = library.ids().filter_map(|id| library.profile(id));
    profiles.filter(|profile| matches!(profile.link, Link::Mqtt(_))).collect()
});

// topic, address and payload, each on a line of its own
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(topic), Some(address), Some(payload)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let (Ok(topic), Ok(address)) = (std::str::from_utf8(topic), std::str::from_utf8(address)) else { return };
    let retained = topic.len() % 2 == 1;
    for profile in SHIPPED.iter() {
        let Link::Mqtt(link) = &profile.link else { continue };
        if let Ok(filter) = filter(&link.topic, address) {
            let mut routes = Routes::default();
            routes.add(filter.clone(), 7);
            assert_eq!(falls_under(topic, &filter), routes.of(topic) == [7]);
        }
        let about: Vec<PointIx> = profile.all_points().collect();
        let decoded =
            profile.decode(&Raw::Payload { bytes: Bytes::copy_from_slice(payload), retained }, &about);
        for (_, sample) in decoded.samples {
            if let Some(Value::Number(number)) = sample.value() {
                assert!(number.is_finite());
            }
        }
    }
});
