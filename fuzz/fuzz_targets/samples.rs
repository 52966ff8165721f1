//! Stored rows: any bytes are read or refused, and what is read is written again as it was.
#![no_main]

use gatehouse::store::samples::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    if let Ok(samples) = decode(blob) {
        assert!(samples.len() <= blob.len());
        decode(&encode(&samples)).expect("what was written can be read");
    }
});
