//! Modbus TCP: bytes ⇄ frames. Pure and total: any bytes may come.
//!
//! Modbus Messaging on TCP/IP V1.0b, 3.1.3: `transaction protocol(0) length unit function data`, all big-endian.

use super::codec::{Question, Reply};
use crate::domain::{Garble, Table};

/// `transaction protocol length unit`
const HEADER_BYTES: usize = 7;
/// Unit and protocol data unit, as the length field counts them.
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=254;

/// The request, ready to be sent.
#[cfg(test)]
pub fn framed(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER_BYTES + pdu.len());
    frame(&mut request, transaction, unit, pdu);
    request
}

/// The request, behind those that are in `requests` already.
pub fn frame(requests: &mut Vec<u8>, transaction: u16, unit: u8, pdu: &[u8]) {
    let [t1, t2] = transaction.to_be_bytes();
    let [high, low] = (pdu.len() as u16 + 1).to_be_bytes();
    requests.extend_from_slice(&[t1, t2, 0, 0, high, low, unit]);
    requests.extend_from_slice(pdu);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub transaction: u16,
    pub unit: u8,
    pub pdu: Vec<u8>,
}

/// Cuts one connection's stream into frames; keeps the beginning of the frame that is still coming.
#[derive(Debug, Default)]
pub struct Cutter {
    bytes: Vec<u8>,
    /// So many of them were given away.
    cut: usize,
}

impl Cutter {
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.cut));
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// When the stream is not Modbus TCP: nothing that follows can be understood either.
    pub fn cut(&mut self) -> Result<Option<Frame>, Garble> {
        let rest = &self.bytes[self.cut..];
        let Some(&[t1, t2, p1, p2, high, low, unit]) = rest.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if [p1, p2] != [0, 0] || !LENGTHS.contains(&length) {
            return Err(Garble::Foreign);
        }
        let end = HEADER_BYTES - 1 + length;
        let Some(pdu) = rest.get(HEADER_BYTES..end) else { return Ok(None) };
        let frame = Frame { transaction: u16::from_be_bytes([t1, t2]), unit, pdu: pdu.to_vec() };
        self.cut += end;
        Ok(Some(frame))
    }
}

/// What `pdu` says to `question`.
///
/// # Errors
/// When it is no answer to it, in every byte.
pub fn answer(question: &Question, pdu: &[u8]) -> Result<Reply, Garble> {
    match *pdu {
        [function, code] if function == question.function() | 0x80 => Ok(Reply::Refused(code.into())),
        [function, count, ref values @ ..] if function == question.function() => {
            if values.len() != usize::from(count) {
                return Err(Garble::Foreign);
            }
            match question.reply(values) {
                Some(raw) => Ok(Reply::Values(raw)),
                None => Err(Garble::Count {
                    values: match question.table {
                        Table::Holding | Table::Input => values.len() / 2,
                        Table::Coil | Table::Discrete => values.len() * 8,
                    },
                    asked: question.count.into(),
                }),
            }
        }
        _ => Err(Garble::OtherQuestion),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{domain::Raw, profile::Dialect};

    fn frames(stream: &[u8], size: usize) -> Result<Vec<Frame>, Garble> {
        let (mut cutter, mut frames) = (Cutter::default(), Vec::new());
        for chunk in stream.chunks(size) {
            cutter.push(chunk);
            while let Some(frame) = cutter.cut()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_cut_wherever_the_segments_end() {
        let (one, two) = (framed(7, 1, &[3, 2, 0, 9]), framed(8, 2, &[0x83, 2]));
        let want = vec![
            Frame { transaction: 7, unit: 1, pdu: vec![3, 2, 0, 9] },
            Frame { transaction: 8, unit: 2, pdu: vec![0x83, 2] },
        ];
        for size in [1, 2, 5, 100] {
            assert_eq!(frames(&[one.clone(), two.clone()].concat(), size), Ok(want.clone()), "{size}");
        }
        for (fact, at, byte) in [("another protocol", 2, 1), ("no unit", 5, 0), ("too long", 4, 1)] {
            let mut stream = one.clone();
            stream[at] = byte;
            assert_eq!(frames(&stream, 100), Err(Garble::Foreign), "{fact}");
        }
    }

    #[test]
    fn an_answer_fits_its_question_in_every_byte() {
        let question =
            Question { unit: 1, table: Table::Holding, first: 4, count: 2, dialect: Dialect::Standard };
        let coils = Question { table: Table::Coil, count: 11, ..question };
        let words = Raw::Registers { table: Table::Holding, first: 4, words: vec![9, 0x0102] };
        let bits = (0..11).map(|n| n % 2 == 0).collect();
        for (fact, question, pdu, want) in [
            ("two registers", question, &[3, 4, 0, 9, 1, 2][..], Ok(Reply::Values(words))),
            (
                "eleven coils",
                coils,
                &[1, 2, 0x55, 0x05],
                Ok(Reply::Values(Raw::Bits { table: Table::Coil, first: 4, bits })),
            ),
            ("an exception", question, &[0x83, 2], Ok(Reply::Refused(2))),
            ("one register", question, &[3, 2, 0, 9], Err(Garble::Count { values: 1, asked: 2 })),
            ("three", question, &[3, 6, 0, 9, 0, 9, 0, 9], Err(Garble::Count { values: 3, asked: 2 })),
            ("half a register", question, &[3, 3, 0, 9, 1], Err(Garble::Count { values: 1, asked: 2 })),
            ("a byte behind", question, &[3, 4, 0, 9, 1, 2, 0], Err(Garble::Foreign)),
            ("a count that lies", question, &[3, 200, 1, 2], Err(Garble::Foreign)),
            ("another function", question, &[4, 4, 0, 9, 1, 2], Err(Garble::OtherQuestion)),
            ("another function's exception", question, &[0x84, 2], Err(Garble::OtherQuestion)),
            ("nothing", question, &[], Err(Garble::OtherQuestion)),
        ] {
            assert_eq!(answer(&question, pdu), want, "{fact}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_not_and_none_too_long(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..6)) {
            let mut cutter = Cutter::default();
            for chunk in chunks {
                cutter.push(&chunk);
                while let Ok(Some(frame)) = cutter.cut() {
                    prop_assert!((1..=253).contains(&frame.pdu.len()));
                }
            }
        }

        #[test]
        fn what_is_framed_is_cut(transaction: u16, unit: u8, pdu in prop::collection::vec(any::<u8>(), 1..=253), size in 1..300usize) {
            prop_assert_eq!(frames(&framed(transaction, unit, &pdu), size), Ok(vec![Frame { transaction, unit, pdu }]));
        }
    }
}
