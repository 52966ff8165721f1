//! Modbus RTU: whatever a line says while an answer is waited for, in whatever pieces.
#![no_main]

use gatehouse::{
    domain::{Raw, Table},
    fieldbus::modbus::codec::{Hearing, Question, Reply},
    profile::Dialect,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, u16, u8, u8, &[u8])| {
    let (unit, kind, first, count, piece, stream) = input;
    let table = [Table::Coil, Table::Discrete, Table::Holding, Table::Input][usize::from(kind % 4)];
    let dialect = if kind & 0x80 == 0 { Dialect::Standard } else { Dialect::Nice3000 };
    let question = Question { unit, table, first, count: u16::from(count % 125) + 1, dialect };
    assert_eq!(Question::decode(&question.encode(), dialect), Some(question));
    let mut hearing = Hearing::new(&question);
    for chunk in stream.chunks(usize::from(piece).max(1)) {
        match hearing.hear(chunk) {
            Some(Reply::Values(Raw::Registers { words, .. })) => {
                assert_eq!(words.len(), usize::from(question.count))
            }
            Some(Reply::Values(Raw::Bits { bits, .. })) => {
                assert_eq!(bits.len(), usize::from(question.count))
            }
            Some(Reply::Values(other)) => panic!("{other:?}"),
            Some(Reply::Refused(_)) | None => {}
        }
        hearing.complaint();
    }
});
