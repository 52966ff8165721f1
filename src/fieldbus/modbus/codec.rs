//! Modbus RTU: bytes ⇄ frames. Pure and total: any bytes may come.
//!
//! Modbus over Serial Line V1.02, section 2.5: `unit function data CRC-low CRC-high`.

use crc::{CRC_16_MODBUS, Crc};

use crate::{
    domain::{Garble, Raw, Table},
    profile::Dialect,
};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
const CRC_BYTES: usize = 2;
/// `unit function|80 code CRC`
pub(super) const EXCEPTION_LENGTH: usize = 5;
/// NICE3000's own refusal: `unit function 80 01 code-high code-low CRC`, an answer from its error register.
const NICE_ERROR_LENGTH: usize = 8;
const NICE_ERROR_REGISTER: [u8; 2] = [0x80, 0x01];

/// One read of one unit: all that its answer must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub unit: u8,
    pub table: Table,
    pub first: u16,
    pub count: u16,
    pub dialect: Dialect,
}

/// What tells answers apart on a line without transaction numbers: the function and how many bytes of values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    function: u8,
    value_bytes: usize,
}

impl Shape {
    /// How the confirmation of an instruction looks.
    pub fn of_confirmation(function: u8) -> Self {
        Self { function, value_bytes: 4 }
    }

    /// Whether a refusal of the one could be a refusal of the other.
    pub fn is_refused_like(self, other: Shape) -> bool {
        self.function == other.function
    }

    pub fn is_confirmation(self) -> bool {
        matches!(self.function, 0x05 | 0x06 | 0x0F | 0x10)
    }
}

/// A valid answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Values(Raw),
    /// Exception code, or the vendor's error word.
    Refused(u16),
}

impl Question {
    pub fn function(&self) -> u8 {
        match self.table {
            Table::Coil => 0x01,
            Table::Discrete => 0x02,
            Table::Holding => 0x03,
            Table::Input => 0x04,
        }
    }

    /// The request without address and checksum, the same on every kind of line.
    pub fn pdu(&self) -> [u8; 5] {
        let [first_high, first_low] = self.first.to_be_bytes();
        let [count_high, count_low] = self.count.to_be_bytes();
        [self.function(), first_high, first_low, count_high, count_low]
    }

    /// The request as it goes on a serial line.
    pub fn encode(&self) -> [u8; 8] {
        let [function, a, b, c, d] = self.pdu();
        let [crc_low, crc_high] = CRC.checksum(&[self.unit, function, a, b, c, d]).to_le_bytes();
        [self.unit, function, a, b, c, d, crc_low, crc_high]
    }

    /// A captured request, as bytes: `None` unless it is a whole, valid read.
    pub fn decode(request: &[u8], dialect: Dialect) -> Option<Question> {
        let &[unit, function, first_high, first_low, count_high, count_low, ..] = request else {
            return None;
        };
        let table = match function {
            0x01 => Table::Coil,
            0x02 => Table::Discrete,
            0x03 => Table::Holding,
            0x04 => Table::Input,
            _ => return None,
        };
        let first = u16::from_be_bytes([first_high, first_low]);
        let count = u16::from_be_bytes([count_high, count_low]);
        let question = Question { unit, table, first, count, dialect };
        (question.encode() == request).then_some(question)
    }

    pub fn shape(&self) -> Shape {
        Shape { function: self.function(), value_bytes: self.value_bytes() }
    }

    /// The whole reply with its values, in bytes.
    pub fn reply_length(&self) -> usize {
        self.header().len() + self.value_bytes() + CRC_BYTES
    }

    fn value_bytes(&self) -> usize {
        let count = usize::from(self.count);
        match self.table {
            Table::Holding | Table::Input => 2 * count,
            Table::Coil | Table::Discrete => count.div_ceil(8),
        }
    }

    /// How the reply with its values begins.
    fn header(&self) -> Vec<u8> {
        let [high, low] = (self.value_bytes() as u16).to_be_bytes();
        match self.dialect {
            Dialect::Standard => vec![self.unit, self.function(), low],
            Dialect::Nice3000 => vec![self.unit, self.function(), high, low],
        }
    }

    /// The values in `bytes`, a reply's value bytes, if they are as many as were asked for.
    pub fn reply(&self, bytes: &[u8]) -> Option<Raw> {
        (bytes.len() == self.value_bytes()).then(|| self.values(bytes))
    }

    /// The values in `bytes`, the whole of a valid reply's value bytes.
    fn values(&self, bytes: &[u8]) -> Raw {
        let Question { table, first, count, .. } = *self;
        match table {
            Table::Holding | Table::Input => {
                let words = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                Raw::Registers { table, first, words: words.collect() }
            }
            Table::Coil | Table::Discrete => {
                let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
                Raw::Bits { table, first, bits: bits.take(usize::from(count)).collect() }
            }
        }
    }
}

/// `bytes` with their checksum, as a frame of a serial line.
pub(super) fn checksummed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc(bytes)].concat()
}

pub(super) fn crc(bytes: &[u8]) -> [u8; CRC_BYTES] {
    CRC.checksum(bytes).to_le_bytes()
}

/// What was heard since a question was sent, until its answer is found in it.
///
/// Finds the answer wherever it stands: behind noise, behind our own request where the line echoes, behind frames of others.
/// Holds at most one reply's length of bytes that may still become an answer.
#[derive(Debug)]
pub struct Hearing {
    question: Question,
    request: [u8; 8],
    header: Vec<u8>,
    bytes: Vec<u8>,
    echo_heard: bool,
    /// Bytes that are neither the echo nor the answer.
    strange: usize,
    broken: bool,
}

/// What the bytes from some place on can be.
enum Look {
    Answer {
        length: usize,
        reply: Reply,
    },
    Echo,
    /// The beginning of one of them.
    Unfinished,
    /// An answer in everything but the checksum.
    Broken,
    Nothing,
}

impl Hearing {
    pub fn new(question: &Question) -> Self {
        Self {
            question: *question,
            request: question.encode(),
            header: question.header(),
            bytes: Vec::new(),
            echo_heard: false,
            strange: 0,
            broken: false,
        }
    }

    /// Takes what came; the answer as soon as it is complete.
    pub fn hear(&mut self, bytes: &[u8]) -> Option<Reply> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        let mut keep_from = None;
        while at < self.bytes.len() {
            match self.look(at) {
                Look::Answer { length, reply } => {
                    self.strange += self.bytes.len() - length;
                    self.bytes.clear();
                    return Some(reply);
                }
                Look::Echo => {
                    self.echo_heard = true;
                    self.bytes.drain(at..at + self.request.len());
                }
                Look::Unfinished => {
                    keep_from = keep_from.or(Some(at));
                    at += 1;
                }
                Look::Broken => {
                    self.broken = true;
                    at += 1;
                }
                Look::Nothing => at += 1,
            }
        }
        let done = keep_from.unwrap_or(self.bytes.len());
        self.strange += done;
        self.bytes.drain(..done);
        None
    }

    /// What is wrong with what was heard; `None` when that is nothing, or our own request.
    pub fn complaint(&self) -> Option<Garble> {
        let heard = self.strange + self.bytes.len();
        match (heard, self.broken) {
            (0, _) => None,
            (_, true) => Some(Garble::Checksum),
            (bytes, false) => Some(Garble::Stray { bytes }),
        }
    }

    /// Whether our own request came back.
    pub fn echoed(&self) -> bool {
        self.echo_heard
    }

    /// Whether anything but the answer was heard.
    pub fn was_disturbed(&self) -> bool {
        self.strange > 0
    }

    fn look(&self, at: usize) -> Look {
        let bytes = &self.bytes[at..];
        if !self.echo_heard && bytes.starts_with(&self.request) {
            return Look::Echo;
        }
        let echo_begins = !self.echo_heard && self.request.starts_with(bytes);
        let exception = [self.question.unit, self.question.function() | 0x80];
        let looks = [
            self.compare(bytes, &self.header, self.question.reply_length()),
            self.compare(bytes, &exception, EXCEPTION_LENGTH),
            self.compare_nice_error(bytes),
        ];
        let mut best = if echo_begins { Look::Unfinished } else { Look::Nothing };
        for look in looks {
            match (&best, &look) {
                (_, Look::Answer { .. }) => return look,
                (Look::Unfinished, _) | (_, Look::Nothing) => {}
                (_, Look::Unfinished | Look::Broken | Look::Echo) => best = look,
            }
        }
        best
    }

    fn compare_nice_error(&self, bytes: &[u8]) -> Look {
        match self.question.dialect {
            Dialect::Standard => Look::Nothing,
            Dialect::Nice3000 => {
                let [high, low] = NICE_ERROR_REGISTER;
                let header = [self.question.unit, self.question.function(), high, low];
                self.compare(bytes, &header, NICE_ERROR_LENGTH)
            }
        }
    }

    /// Holds `bytes` against a frame of `length` that begins with `header`.
    fn compare(&self, bytes: &[u8], header: &[u8], length: usize) -> Look {
        let known = header.len().min(bytes.len());
        if bytes[..known] != header[..known] {
            return Look::Nothing;
        }
        let Some(frame) = bytes.get(..length) else { return Look::Unfinished };
        let (body, crc) = frame.split_at(length - CRC_BYTES);
        if CRC.checksum(body).to_le_bytes() != crc {
            return Look::Broken;
        }
        let reply = match (&body[header.len()..], length) {
            ([code], EXCEPTION_LENGTH) if body[1] & 0x80 != 0 => Reply::Refused(u16::from(*code)),
            ([high, low], NICE_ERROR_LENGTH) if header[2..] == NICE_ERROR_REGISTER => {
                Reply::Refused(u16::from_be_bytes([*high, *low]))
            }
            (values, _) => Reply::Values(self.question.values(values)),
        };
        Look::Answer { length, reply }
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
