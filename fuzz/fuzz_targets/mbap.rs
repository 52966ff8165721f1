//! Modbus TCP: any stream is cut into frames, or refused; what it answers has the size that was asked for.
#![no_main]

use gatehouse::{
    domain::{Raw, Table},
    fieldbus::modbus::{
        codec::{Question, Reply},
        mbap::{Cutter, answer},
    },
    profile::Dialect,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (kind, count, piece, stream) = input;
    let table = [Table::Coil, Table::Discrete, Table::Holding, Table::Input][usize::from(kind % 4)];
    let count = u16::from(count % 125) + 1;
    let question = Question { unit: 1, table, first: 0, count, dialect: Dialect::Standard };
    let mut cutter = Cutter::default();
    for chunk in stream.chunks(usize::from(piece).max(1)) {
        cutter.push(chunk);
        while let Ok(Some(frame)) = cutter.cut() {
            match answer(&question, &frame.pdu) {
                Ok(Reply::Values(Raw::Registers { words, .. })) => {
                    assert_eq!(words.len(), usize::from(count))
                }
                Ok(Reply::Values(Raw::Bits { bits, .. })) => assert_eq!(bits.len(), usize::from(count)),
                Ok(Reply::Values(other)) => panic!("{other:?}"),
                Ok(Reply::Refused(_)) | Err(_) => {}
            }
        }
    }
});
