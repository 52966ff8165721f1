//! What else a line said while an answer was waited for: looked at only to name what is wrong with it, never for values.

use std::{cmp::Reverse, collections::BinaryHeap};

use tokio::time::Instant;

use super::codec::{Hearing, Question, crc};
use crate::domain::Garble;

/// More than this tells no more.
const MOST: usize = 512;
const REQUEST: usize = 8;
const EXCEPTION: usize = 5;
/// Of those that are looked for here.
const LONGEST: usize = EXCEPTION + u8::MAX as usize;

/// Everything that came for one question that was given up.
#[derive(Debug, Default)]
pub struct Overheard {
    bytes: Vec<u8>,
    /// Where what came after its time begins, and when the last of it came.
    late: Option<(usize, Instant)>,
}

impl Overheard {
    pub fn hear(&mut self, bytes: &[u8]) {
        let room = MOST - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub fn hear_late(&mut self, bytes: &[u8], now: Instant) {
        let (from, _) = self.late.unwrap_or((self.bytes.len(), now));
        self.hear(bytes);
        self.late = Some((from, now));
    }

    /// What that was, if it can be named: `until` was the last moment for an answer.
    pub fn verdict(&self, question: &Question, until: Instant) -> Option<Garble> {
        if let Some((_, at)) = self.late
            && Hearing::new(question).hear(&self.bytes).is_some()
        {
            return Some(Garble::Late { by: Some(at.saturating_duration_since(until)) });
        }
        (0..self.bytes.len()).find_map(|at| frame_of_another(question, &self.bytes[at..]))
    }
}

/// What a line says while nobody is asked: whole frames of others, or noise. It may go on for days, so each byte costs a bounded amount of
/// work: a place where a frame may begin is looked at once for each length that the frame may have, when its last byte has come.
#[derive(Debug, Default)]
pub struct Eavesdropping {
    /// The last that came, at least [`LONGEST`] of them.
    bytes: Vec<u8>,
    /// How many came before those.
    gone: usize,
    /// Where frames may end, the soonest first, and where each then begins; counted from the first byte ever.
    ends: BinaryHeap<Reverse<(usize, usize)>>,
}

impl Eavesdropping {
    /// Whether a whole frame ended in these bytes.
    pub fn hear(&mut self, bytes: &[u8]) -> bool {
        let mut whole = false;
        for byte in bytes {
            whole |= self.take(*byte);
        }
        whole
    }

    fn take(&mut self, byte: u8) -> bool {
        if self.bytes.len() == MOST {
            self.bytes.drain(..MOST - LONGEST);
            self.gone += MOST - LONGEST;
        }
        self.bytes.push(byte);
        let end = self.gone + self.bytes.len();
        if let &[.., unit, function, count] = self.bytes.as_slice() {
            let begin = end - 3;
            self.ends.extend(lengths([unit, function, count]).map(|length| Reverse((begin + length, begin))));
        }
        while let Some(&Reverse((its_end, begin))) = self.ends.peek()
            && its_end <= end
        {
            self.ends.pop();
            if is_checksummed(&self.bytes[begin - self.gone..]) {
                *self = Self::default();
                return true;
            }
        }
        false
    }
}

/// How long a frame may be that begins so: a question for values, an answer with values, a refusal.
fn lengths([_unit, function, count]: [u8; 3]) -> impl Iterator<Item = usize> {
    let reads = (1..=4).contains(&function);
    let question = reads.then_some(REQUEST);
    let answer = reads.then_some(EXCEPTION + usize::from(count));
    let refusal = (function & 0x80 != 0).then_some(EXCEPTION);
    question.into_iter().chain(answer).chain(refusal)
}

fn is_checksummed(frame: &[u8]) -> bool {
    frame.split_last_chunk().is_some_and(|(body, sum)| crc(body) == *sum)
}

/// What a whole frame at the beginning of some bytes is.
enum Frame {
    Question,
    Answer { unit: u8 },
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    let &[unit, function, count, ..] = bytes else { return None };
    let whole = |length: &usize| bytes.get(..*length).is_some_and(is_checksummed);
    let reads = (1..=4).contains(&function);
    if reads && whole(&REQUEST) {
        return Some(Frame::Question);
    }
    lengths([unit, function, count]).any(|length| whole(&length)).then_some(Frame::Answer { unit })
}

/// A whole frame at the beginning of `bytes` that is neither our request nor its answer.
fn frame_of_another(question: &Question, bytes: &[u8]) -> Option<Garble> {
    match frame(bytes)? {
        Frame::Question => (!bytes.starts_with(&question.encode())).then_some(Garble::OtherMaster),
        Frame::Answer { unit } if unit != question.unit => Some(Garble::OtherUnit { unit }),
        Frame::Answer { .. } => Some(Garble::OtherQuestion),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{domain::Table, fieldbus::modbus::codec::checksummed, profile::Dialect};

    #[test]
    fn what_came_instead_of_an_answer_is_named() {
        let question =
            Question { unit: 1, table: Table::Holding, first: 0, count: 1, dialect: Dialect::Standard };
        let other = Question { unit: 9, first: 16, ..question };
        let answer = |unit: u8, words: u8| {
            let mut body = vec![unit, 3, 2 * words];
            body.resize(3 + 2 * usize::from(words), 7);
            checksummed(&body)
        };
        let mut broken = answer(1, 1);
        broken[3] ^= 1;
        let mut behind_noise = vec![0, 0xFF];
        behind_noise.extend(answer(5, 2));
        let begun = Instant::now();
        let until = begun + Duration::from_millis(300);
        for (fact, in_time, late, want) in [
            ("nothing", vec![], vec![], None),
            ("noise", vec![0xFF, 0x00, 0x12], vec![], None),
            ("a flipped bit", broken, vec![], None),
            ("our own request", question.encode().to_vec(), vec![], None),
            ("another unit's answer", answer(2, 1), vec![], Some(Garble::OtherUnit { unit: 2 })),
            ("another unit's, behind noise", behind_noise, vec![], Some(Garble::OtherUnit { unit: 5 })),
            (
                "another unit's refusal",
                checksummed(&[2, 0x83, 2]),
                vec![],
                Some(Garble::OtherUnit { unit: 2 }),
            ),
            ("an answer with other registers", answer(1, 3), vec![], Some(Garble::OtherQuestion)),
            ("another master's question", other.encode().to_vec(), vec![], Some(Garble::OtherMaster)),
            (
                "its answer, late",
                vec![],
                answer(1, 1),
                Some(Garble::Late { by: Some(Duration::from_millis(40)) }),
            ),
            (
                "half in time, half late",
                answer(1, 1)[..3].to_vec(),
                answer(1, 1)[3..].to_vec(),
                Some(Garble::Late { by: Some(Duration::from_millis(40)) }),
            ),
        ] {
            let mut overheard = Overheard::default();
            overheard.hear(&in_time);
            if !late.is_empty() {
                overheard.hear_late(&late, until + Duration::from_millis(40));
            }
            assert_eq!(overheard.verdict(&question, until), want, "{fact}");
        }
    }

    #[test]
    fn whole_frames_of_others_are_told_from_noise() {
        let mut ear = Eavesdropping::default();
        let frame = checksummed(&[7, 3, 2, 0, 1]);
        assert!(!ear.hear(&[0xFF, 0x00]));
        assert!(!ear.hear(&frame[..4]));
        assert!(ear.hear(&frame[4..]));
        assert!(!ear.hear(&[0x55; 2000]));
        assert!(ear.hear(&[&[0; 20], &frame[..]].concat()));
        let mut longest = vec![9, 4, 255];
        longest.resize(3 + 255, 0xA5);
        let longest = checksummed(&longest);
        for before in 0..MOST {
            assert!(
                !ear.hear(&vec![0x55; before]) && !ear.hear(&longest[..LONGEST - 1]),
                "{before} before it"
            );
            assert!(ear.hear(&longest[LONGEST - 1..]), "{before} before it");
        }
    }

    /// Bytes that might each begin the longest of frames, one by one: what is kept stays bounded, and with it the work of each.
    #[test]
    fn a_byte_of_babble_costs_a_bounded_amount_of_work() {
        let mut ear = Eavesdropping::default();
        let babble = [3, 3, 255, 3, 255, 3].iter().cycle().take(100_000);
        let mut checked = 0;
        for byte in babble {
            let before = ear.ends.len();
            assert!(!ear.hear(&[*byte]));
            checked += (before + 2).saturating_sub(ear.ends.len());
            assert!(ear.bytes.len() <= MOST && ear.ends.len() <= 2 * LONGEST, "{}", ear.ends.len());
        }
        assert!(checked <= 2 * 100_000 + 2 * LONGEST, "{checked} frames looked at for 100 000 bytes");
    }

    #[test]
    fn it_keeps_no_more_than_it_needs() {
        let mut overheard = Overheard::default();
        for _ in 0..100 {
            overheard.hear(&[0x55; 100]);
            overheard.hear_late(&[0x55; 100], Instant::now());
        }
        assert_eq!(overheard.bytes.len(), MOST);
    }
}
