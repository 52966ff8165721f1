//! No input whatever makes the decoder panic, and only finite numbers come out of it.

use std::sync::{Arc, LazyLock};

use proptest::{collection::vec, prelude::*};

use super::super::{Decoded, Library, Profile};
use crate::{
    document::Problems,
    domain::{PointIx, Raw, Table, Value},
};

static SHIPPED: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    let library = Library::shipped(&mut Problems::default());
    library.ids().filter_map(|id| library.profile(id)).collect()
});

fn sound(decoded: &Decoded, profile: &Profile) -> Result<(), TestCaseError> {
    for (ix, sample) in &decoded.samples {
        let name = &profile.points[usize::from(ix.0)].name;
        match sample.value() {
            Some(Value::Number(number)) => prop_assert!(number.is_finite(), "{}: {}", name, number),
            Some(Value::Text(word)) => {
                let values = &profile.class_point(*ix).values;
                prop_assert!(values.is_empty() || values.contains(word), "{}: {}", name, word);
            }
            Some(Value::Flag(_)) | None => {}
        }
    }
    Ok(())
}

fn each(raw: &Raw) -> Result<(), TestCaseError> {
    prop_assert!(SHIPPED.len() >= 5);
    for profile in SHIPPED.iter() {
        let about: Vec<PointIx> = profile.all_points().collect();
        sound(&profile.decode(raw, &about), profile)?;
    }
    Ok(())
}

/// JSON with the keys that profiles look for, and whatever under them.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(|n| serde_json::json!(n)),
        any::<i64>().prop_map(Into::into),
        "[ -~]{0,12}".prop_map(Into::into),
        vec(any::<u8>(), 0..40).prop_map(|bytes| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }),
    ];
    let key = prop_oneof![
        Just("object"),
        Just("data"),
        Just("D"),
        Just("TY"),
        Just("ST"),
        Just("State"),
        Just("Alarm"),
        Just("occupied"),
        Just("occupancy"),
        Just("Floor"),
        Just("Door"),
        Just("fPort"),
        Just("time"),
        Just("fCnt"),
        Just("distance"),
        Just("battery"),
        Just("ErrorCode"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((key.clone(), inner), 0..8).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn registers(first in any::<u16>(), words in vec(any::<u16>(), 0..140), input in any::<bool>()) {
        let table = if input { Table::Input } else { Table::Holding };
        each(&Raw::Registers { table, first, words })?;
    }

    #[test]
    fn registers_that_profiles_read(first in prop_oneof![Just(0x1010u16), Just(0x0100), Just(0x3100), Just(0x8000), Just(0x3000)],
                                    words in vec(any::<u16>(), 0..64), input in any::<bool>()) {
        let table = if input { Table::Input } else { Table::Holding };
        each(&Raw::Registers { table, first, words })?;
    }

    #[test]
    fn coils(first in any::<u16>(), bits in vec(any::<bool>(), 0..140)) {
        each(&Raw::Bits { table: Table::Discrete, first, bits })?;
    }

    #[test]
    fn frames(frame in 0u16..8, bytes in vec(any::<u8>(), 0..64)) {
        each(&Raw::Frame { frame, bytes: bytes.into() })?;
    }

    #[test]
    fn frames_of_text(frame in 0u16..4, text in "(ST|US|S S|OL),?[ +,.0-9kgNTGS-]{0,24}\r\n") {
        each(&Raw::Frame { frame, bytes: text.into_bytes().into() })?;
    }

    #[test]
    fn payloads(bytes in vec(any::<u8>(), 0..200), retained in any::<bool>()) {
        each(&Raw::Payload { bytes: bytes.into(), retained })?;
    }

    #[test]
    fn json_payloads(json in json(), retained in any::<bool>()) {
        each(&Raw::Payload { bytes: json.to_string().into_bytes().into(), retained })?;
    }
}
