//! Modbus ASCII: whatever a line says, in whatever pieces and with whatever pauses, is heard as RTU is, and nothing wrong becomes right by that.
#![no_main]

use std::time::Duration;

use gatehouse::{
    domain::{Raw, Table},
    fieldbus::modbus::{
        ascii::Ascii,
        clothes::Clothes,
        codec::{Hearing, Question, Reply},
    },
    profile::Dialect,
};
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;

fuzz_target!(|input: (u8, u8, u8, u8, &[u8])| {
    let (unit, count, piece, pause, stream) = input;
    let count = u16::from(count % 125) + 1;
    let question = Question { unit, table: Table::Holding, first: 0, count, dialect: Dialect::Standard };
    let now = Instant::now();

    let mut clothes = Ascii::default();
    let (mut hearing, mut came) = (Hearing::new(&question), 0);
    for (n, chunk) in (0u32..).zip(stream.chunks(usize::from(piece).max(1))) {
        let mut bare = Vec::new();
        // up to 1.3 s between two pieces: beyond one second a frame is over
        clothes.take_off(chunk, now + n * Duration::from_millis(u64::from(pause) * 5), &mut bare);
        came += bare.len();
        match hearing.hear(&bare) {
            Some(Reply::Values(Raw::Registers { words, .. })) => assert_eq!(words.len(), usize::from(count)),
            Some(Reply::Values(other)) => panic!("{other:?}"),
            Some(Reply::Refused(_)) | None => {}
        }
        hearing.complaint();
    }
    assert!(came <= stream.len() + 1, "no more comes of it than there was");

    // our own question in these clothes is our own question
    let (mut bare, dressed) = (Vec::new(), clothes.put_on(&question.encode()));
    clothes.forget();
    clothes.take_off(&dressed, now, &mut bare);
    assert_eq!(bare, question.encode());
});
