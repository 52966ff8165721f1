//! Registers, bits and frames into every shipped profile: only finite numbers come out.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use gatehouse::{
    document::Problems,
    domain::{PointIx, Raw, Table, Value},
    profile::{Library, Profile},
};
use libfuzzer_sys::fuzz_target;

static SHIPPED: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    let library = Library::shipped(&mut Problems::default());
    library.ids().filter_map(|id| library.profile(id)).collect()
});

fuzz_target!(|input: (u8, u16, Vec<u16>, &[u8])| {
    let (kind, first, words, bytes) = input;
    let table = if kind & 1 == 0 { Table::Holding } else { Table::Input };
    let raws = [
        Raw::Registers { table, first, words: words.clone() },
        Raw::Bits { table: Table::Coil, first, bits: words.iter().map(|word| word & 1 == 1).collect() },
        Raw::Frame { frame: (kind % 8).into(), bytes: Bytes::copy_from_slice(bytes) },
    ];
    for profile in SHIPPED.iter() {
        let about: Vec<PointIx> = profile.all_points().collect();
        for raw in &raws {
            for (_, sample) in profile.decode(raw, &about).samples {
                if let Some(Value::Number(number)) = sample.value() {
                    assert!(number.is_finite());
                }
            }
        }
    }
});
