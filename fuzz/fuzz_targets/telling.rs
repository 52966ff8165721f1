//! What a serial line says after a device was told something.
#![no_main]

use gatehouse::{
    domain::Instruction,
    fieldbus::modbus::telling::{Confirming, Telling},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, bool, u16, u16, u8, &[u8])| {
    let (unit, echoes, multiple, first, word, piece, stream) = input;
    let words = vec![word; if multiple { usize::from(piece % 8) + 1 } else { 1 }];
    let Some(telling) = Telling::new(&Instruction::Registers { first, words, multiple }) else { return };
    let mut confirming = Confirming::new(unit, &telling, echoes);
    for chunk in stream.chunks(usize::from(piece).max(1)) {
        confirming.hear(chunk);
    }
});
