//! Telling a unit to do something: instructions ⇄ bytes. Pure and total.
//!
//! Modbus Application Protocol V1.1b3: write single coil (6.5), single register (6.6), multiple coils (6.11), multiple registers (6.12). Each is
//! confirmed by the first five bytes of the request itself.

use crate::domain::Instruction;

use super::codec::{EXCEPTION_LENGTH, checksummed};

const MOST_REGISTERS: usize = 123;
const MOST_COILS: usize = 1968;
const CONFIRMATION_BYTES: usize = 5;
const ON: [u8; 2] = [0xFF, 0x00];
const OFF: [u8; 2] = [0x00, 0x00];

/// An instruction as a protocol data unit: function code and data, without address and checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pdu: Vec<u8>,
}

impl Telling {
    /// `None` if no single request can say it: nothing to write, too much, or beyond the last address.
    pub fn new(instruction: &Instruction) -> Option<Self> {
        let (first, count, pdu) = match instruction {
            Instruction::Registers { first, words, multiple } => {
                let values = words.iter().flat_map(|word| word.to_be_bytes());
                let pdu = match (words.as_slice(), multiple) {
                    ([word], false) => request(0x06, *first, word.to_be_bytes()),
                    (words, _) if words.len() <= MOST_REGISTERS => several(0x10, *first, words.len(), values),
                    (_, _) => return None,
                };
                (first, words.len(), pdu)
            }
            Instruction::Coils { first, bits, multiple } => {
                let packed = bits.chunks(8).map(|eight| {
                    eight.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at)
                });
                let pdu = match (bits.as_slice(), multiple) {
                    ([bit], false) => request(0x05, *first, if *bit { ON } else { OFF }),
                    (bits, _) if bits.len() <= MOST_COILS => several(0x0F, *first, bits.len(), packed),
                    (_, _) => return None,
                };
                (first, bits.len(), pdu)
            }
        };
        let fits = count > 0 && usize::from(*first) + count <= 0x1_0000;
        fits.then_some(Self { pdu })
    }

    pub fn pdu(&self) -> &[u8] {
        &self.pdu
    }

    pub fn function(&self) -> u8 {
        self.pdu[0]
    }

    /// How the unit says that it was done.
    pub fn confirmation(&self) -> &[u8] {
        &self.pdu[..CONFIRMATION_BYTES]
    }
}

fn request(function: u8, first: u16, value: [u8; 2]) -> Vec<u8> {
    let [high, low] = first.to_be_bytes();
    vec![function, high, low, value[0], value[1]]
}

fn several(function: u8, first: u16, count: usize, values: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut pdu = request(function, first, (count as u16).to_be_bytes());
    pdu.push(0);
    pdu.extend(values);
    pdu[CONFIRMATION_BYTES] = (pdu.len() - CONFIRMATION_BYTES - 1) as u8;
    pdu
}

/// What a unit said to an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Done,
    Refused(u16),
}

/// What was heard on a serial line since an instruction was sent, until its confirmation is found in it.
#[derive(Debug)]
pub struct Confirming {
    /// Our own bytes, where the line gives them back: the same as the confirmation of a single write, so they must be told apart first.
    echo: Option<Vec<u8>>,
    confirmation: Vec<u8>,
    exception: [u8; 2],
    bytes: Vec<u8>,
    heard: usize,
}

impl Confirming {
    pub fn new(unit: u8, telling: &Telling, line_echoes: bool) -> Self {
        let framed = |pdu: &[u8]| checksummed(&[&[unit], pdu].concat());
        Self {
            echo: line_echoes.then(|| framed(telling.pdu())),
            confirmation: framed(telling.confirmation()),
            exception: [unit, telling.function() | 0x80],
            bytes: Vec::new(),
            heard: 0,
        }
    }

    /// Takes what came; what the unit said as soon as it is complete.
    pub fn hear(&mut self, bytes: &[u8]) -> Option<Said> {
        self.heard += bytes.len();
        self.bytes.extend_from_slice(bytes);
        if let Some(echo) = &self.echo {
            let Some(at) = find(&self.bytes, echo) else {
                self.keep(echo.len());
                return None;
            };
            let past = at + echo.len();
            self.bytes.drain(..past);
            self.heard -= past;
            self.echo = None;
        }
        let found = self.said();
        self.keep(self.confirmation.len().max(EXCEPTION_LENGTH));
        found
    }

    fn said(&self) -> Option<Said> {
        if find(&self.bytes, &self.confirmation).is_some() {
            return Some(Said::Done);
        }
        let refused = self.bytes.windows(EXCEPTION_LENGTH).find(|frame| {
            frame.starts_with(&self.exception) && checksummed(&frame[..EXCEPTION_LENGTH - 2]) == **frame
        })?;
        Some(Said::Refused(refused[2].into()))
    }

    /// Whether anything but our own bytes was heard.
    pub fn was_disturbed(&self) -> bool {
        self.heard > 0
    }

    /// No more than what may still become a frame.
    fn keep(&mut self, longest: usize) {
        let surplus = self.bytes.len().saturating_sub(longest - 1);
        self.bytes.drain(..surplus);
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registers(first: u16, words: &[u16], multiple: bool) -> Instruction {
        Instruction::Registers { first, words: words.to_vec(), multiple }
    }

    fn coils(first: u16, bits: &[bool], multiple: bool) -> Instruction {
        Instruction::Coils { first, bits: bits.to_vec(), multiple }
    }

    /// Requests and replies of the specification's own examples (V1.1b3, 6.5, 6.6, 6.11, 6.12).
    #[test]
    fn the_specifications_examples_are_encoded_exactly() {
        let ten = [true, false, true, true, false, false, true, true, true, false];
        for (fact, instruction, pdu, confirmation) in [
            ("coil 173 on", coils(0xAC, &[true], false), &[5, 0, 0xAC, 0xFF, 0][..], &[5, 0, 0xAC, 0xFF, 0]),
            ("coil 173 off", coils(0xAC, &[false], false), &[5, 0, 0xAC, 0, 0], &[5, 0, 0xAC, 0, 0]),
            ("register 2 := 3", registers(1, &[3], false), &[6, 0, 1, 0, 3], &[6, 0, 1, 0, 3]),
            (
                "ten coils from 20",
                coils(0x13, &ten, false),
                &[0xF, 0, 0x13, 0, 10, 2, 0xCD, 1],
                &[0xF, 0, 0x13, 0, 10],
            ),
            (
                "two registers from 2",
                registers(1, &[0x0A, 0x0102], false),
                &[0x10, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2],
                &[0x10, 0, 1, 0, 2],
            ),
            (
                "one, by function 16",
                registers(1, &[3], true),
                &[0x10, 0, 1, 0, 1, 2, 0, 3],
                &[0x10, 0, 1, 0, 1],
            ),
            ("one, by function 15", coils(2, &[true], true), &[0xF, 0, 2, 0, 1, 1, 1], &[0xF, 0, 2, 0, 1]),
        ] {
            let telling = Telling::new(&instruction).unwrap();
            assert_eq!((telling.pdu(), telling.confirmation()), (pdu, &confirmation[..]), "{fact}");
        }
    }

    #[test]
    fn what_no_request_can_say_is_not_said() {
        for (fact, instruction) in [
            ("nothing", registers(0, &[], false)),
            ("no coil", coils(0, &[], true)),
            ("too many registers", registers(0, &[0; 124], false)),
            ("too many coils", coils(0, &[true; 1969], false)),
            ("beyond the last register", registers(0xFFFF, &[1, 2], false)),
        ] {
            assert_eq!(Telling::new(&instruction), None, "{fact}");
        }
        for instruction in
            [registers(0, &[0; 123], false), coils(0, &[true; 1968], false), registers(0xFFFF, &[1], false)]
        {
            assert!(Telling::new(&instruction).is_some_and(|telling| telling.pdu().len() <= 253));
        }
    }

    fn heard(line_echoes: bool, stream: &[u8], size: usize) -> Option<Said> {
        let telling = Telling::new(&registers(0x20, &[7], false)).unwrap();
        let mut confirming = Confirming::new(9, &telling, line_echoes);
        stream.chunks(size).find_map(|chunk| confirming.hear(chunk))
    }

    #[test]
    fn an_echo_is_no_confirmation() {
        let done = checksummed(&[9, 6, 0, 0x20, 0, 7]);
        let refused = checksummed(&[9, 0x86, 2]);
        let other = checksummed(&[9, 6, 0, 0x21, 0, 7]);
        for size in [1, 3, 100] {
            for (fact, echoes, stream, want) in [
                ("silence", false, vec![], None),
                ("done", false, done.clone(), Some(Said::Done)),
                ("noise, then done", false, [&[0, 1, 2][..], &done].concat(), Some(Said::Done)),
                ("another register", false, other.clone(), None),
                ("refused", false, refused.clone(), Some(Said::Refused(2))),
                ("only the echo", true, done.clone(), None),
                ("the echo, then done", true, [done.clone(), done.clone()].concat(), Some(Said::Done)),
                (
                    "the echo, then refused",
                    true,
                    [done.clone(), refused.clone()].concat(),
                    Some(Said::Refused(2)),
                ),
            ] {
                assert_eq!(heard(echoes, &stream, size), want, "{fact}, in pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_leave_a_bounded_hearing(echoes: bool, chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12)) {
            let telling = Telling::new(&registers(3, &[1, 2], false)).unwrap();
            let mut confirming = Confirming::new(1, &telling, echoes);
            for chunk in chunks {
                prop_assert_ne!(confirming.hear(&chunk), Some(Said::Done));
                prop_assert!(confirming.bytes.len() < 16);
            }
        }
    }
}
