//! What each line carried lately, kept in memory: a bounded ring of raw bytes with their times, always running.
//!
//! Cheap on purpose: a piece is a few bytes of head and its own bytes in one ring that is allocated once it grows, nothing else. What it
//! holds leaves the memory only when a person asks for it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::{
    Clock, Mono, Stamp,
    tape::{Piece, TapePage, What},
};

/// Kind, monotonic and wall time, length of the topic, length of the bytes.
const HEAD: usize = 1 + 8 + 8 + 2 + 4;
/// A page takes this many bytes of pieces and then the one that is begun: a door's answer stays small.
const PAGE: usize = 64 * 1024;
/// The place of each so manieth piece is known: who reads on where it was does not go through all that came before.
const MARKED: u64 = 256;
/// Of one message no more is kept.
const LONGEST: usize = 64 * 1024;

/// One line's tape. Written by its bus alone, read by whoever asks.
pub struct Tape {
    clock: Arc<dyn Clock>,
    reel: Mutex<Reel>,
}

struct Reel {
    ring: VecDeque<u8>,
    most: usize,
    /// The number of the oldest piece, and of the next.
    first: u64,
    next: u64,
    /// How many bytes have left the ring.
    gone: u64,
    marks: VecDeque<Mark>,
}

/// Where a piece begins, counted from the first byte that was ever in the ring.
struct Mark {
    number: u64,
    place: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Out = 0,
    In = 1,
    Message = 2,
    Retained = 3,
    Opened = 4,
    Lost = 5,
}

/// A piece's head, as it stands in the ring.
struct Head {
    kind: u8,
    at: Stamp,
    topic: usize,
    bytes: usize,
}

impl Tape {
    /// Keeps `most` bytes, heads included; with 0, nothing.
    pub fn new(most: usize, clock: Arc<dyn Clock>) -> Self {
        let (ring, marks) = (VecDeque::new(), VecDeque::new());
        Self { clock, reel: Mutex::new(Reel { ring, most, first: 0, next: 0, gone: 0, marks }) }
    }

    pub fn sent(&self, bytes: &[u8]) {
        self.put(Kind::Out, b"", bytes);
    }

    pub fn heard(&self, bytes: &[u8]) {
        self.put(Kind::In, b"", bytes);
    }

    pub fn message(&self, topic: &[u8], payload: &[u8], retained: bool) {
        self.put(if retained { Kind::Retained } else { Kind::Message }, topic, payload);
    }

    pub fn opened(&self) {
        self.put(Kind::Opened, b"", b"");
    }

    pub fn lost(&self) {
        self.put(Kind::Lost, b"", b"");
    }

    fn put(&self, kind: Kind, topic: &[u8], bytes: &[u8]) {
        let mut reel = self.reel();
        if reel.most == 0 {
            return;
        }
        let (topic, bytes) = (&topic[..topic.len().min(LONGEST - 1)], &bytes[..bytes.len().min(LONGEST)]);
        reel.make_room(HEAD + topic.len() + bytes.len());
        reel.put(kind, self.clock.now(), topic, bytes);
    }

    /// The pieces from number `from` on, of those not before `since`, as many as fit one page.
    pub fn page(&self, from: u64, since: Option<Timestamp>) -> TapePage {
        self.reel().page(from, since)
    }

    // a panic elsewhere leaves the ring at worst with half a piece, which its reader bears
    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.reel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reel {
    fn make_room(&mut self, wanted: usize) {
        while self.ring.len() + wanted > self.most {
            let Some(head) = self.head(0) else {
                self.gone += self.ring.len() as u64;
                self.ring.clear();
                self.marks.clear();
                return;
            };
            let length = (HEAD + head.topic + head.bytes).min(self.ring.len());
            self.ring.drain(..length);
            self.gone += length as u64;
            self.first += 1;
            self.marks.pop_front_if(|mark| mark.number < self.first);
        }
    }

    fn put(&mut self, kind: Kind, at: Stamp, topic: &[u8], bytes: &[u8]) {
        let number = self.next;
        self.next += 1;
        if HEAD + topic.len() + bytes.len() > self.most {
            self.first = self.next;
            return;
        }
        if number.is_multiple_of(MARKED) {
            self.marks.push_back(Mark { number, place: self.gone + self.ring.len() as u64 });
        }
        self.ring.push_back(kind as u8);
        self.ring.extend((at.mono.0.as_nanos() as u64).to_le_bytes());
        self.ring.extend(at.wall.as_microsecond().to_le_bytes());
        self.ring.extend((topic.len() as u16).to_le_bytes());
        self.ring.extend((bytes.len() as u32).to_le_bytes());
        self.ring.extend(topic);
        self.ring.extend(bytes);
    }

    fn head(&self, at: usize) -> Option<Head> {
        let mut bytes = [0; HEAD];
        let whole = at + HEAD <= self.ring.len();
        self.ring.range(at.min(self.ring.len())..).zip(&mut bytes).for_each(|(byte, into)| *into = *byte);
        let [kind, rest @ ..] = bytes;
        let (mono, rest) = rest.split_first_chunk::<8>()?;
        let (wall, rest) = rest.split_first_chunk::<8>()?;
        let (topic, length) = rest.split_first_chunk::<2>()?;
        let (length, _) = length.split_first_chunk::<4>()?;
        whole.then(|| Head {
            kind,
            at: Stamp {
                mono: Mono(Duration::from_nanos(u64::from_le_bytes(*mono))),
                wall: Timestamp::from_microsecond(i64::from_le_bytes(*wall)).unwrap_or_default(),
            },
            topic: usize::from(u16::from_le_bytes(*topic)),
            bytes: u32::from_le_bytes(*length) as usize,
        })
    }

    fn page(&self, from: u64, since: Option<Timestamp>) -> TapePage {
        let mut page = TapePage {
            next: from.max(self.first),
            lost: self.first.saturating_sub(from),
            ..TapePage::default()
        };
        page.known = true;
        let (mut number, mut at) = self.near(from);
        let mut taken = 0;
        while let Some(head) = self.head(at).filter(|_| taken < PAGE) {
            let length = HEAD + head.topic + head.bytes;
            if number >= from {
                page.next = number + 1;
                if since.is_none_or(|since| head.at.wall >= since) {
                    taken += length;
                    page.pieces.extend(self.piece(at, &head));
                }
            }
            number += 1;
            at += length;
        }
        page
    }

    /// The last piece whose place is known that is not behind number `from`, and its place in the ring.
    fn near(&self, from: u64) -> (u64, usize) {
        let until = self.marks.partition_point(|mark| mark.number <= from);
        match until.checked_sub(1).and_then(|last| self.marks.get(last)) {
            Some(mark) => (mark.number, (mark.place - self.gone) as usize),
            None => (self.first, 0),
        }
    }

    fn piece(&self, at: usize, head: &Head) -> Option<Piece> {
        let end = self.ring.len();
        let cut = |from: usize, length: usize| -> Vec<u8> {
            self.ring.range(from.min(end)..(from + length).min(end)).copied().collect()
        };
        let bytes = || cut(at + HEAD + head.topic, head.bytes);
        let message = |retained| What::Message {
            topic: String::from_utf8_lossy(&cut(at + HEAD, head.topic)).into_owned(),
            hex: bytes(),
            retained,
        };
        let what = match head.kind {
            kind if kind == Kind::Out as u8 => What::Out { hex: bytes() },
            kind if kind == Kind::In as u8 => What::In { hex: bytes() },
            kind if kind == Kind::Message as u8 => message(false),
            kind if kind == Kind::Retained as u8 => message(true),
            kind if kind == Kind::Opened as u8 => What::Opened,
            kind if kind == Kind::Lost as u8 => What::Lost,
            _ => return None,
        };
        Some(Piece { at: head.at.wall, mono_ns: head.at.mono.0.as_nanos() as u64, what })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ManualClock;

    fn all(tape: &Tape) -> Vec<Piece> {
        let (mut from, mut pieces) = (0, Vec::new());
        loop {
            let page = tape.page(from, None);
            if page.next == from {
                return pieces;
            }
            from = page.next;
            pieces.extend(page.pieces);
        }
    }

    #[test]
    fn what_a_line_carried_comes_back_in_order_with_its_times() {
        let clock = Arc::new(ManualClock::new());
        let tape = Tape::new(4096, Arc::clone(&clock) as Arc<dyn Clock>);
        tape.opened();
        tape.sent(&[1, 3]);
        clock.advance(Duration::from_millis(38));
        tape.heard(&[1, 0x83, 2]);
        tape.message(b"parking/7/up", b"{}", true);
        tape.lost();
        let whats: Vec<What> = all(&tape).into_iter().map(|piece| piece.what).collect();
        let topic = "parking/7/up".to_owned();
        let expected = [
            What::Opened,
            What::Out { hex: vec![1, 3] },
            What::In { hex: vec![1, 0x83, 2] },
            What::Message { topic, hex: b"{}".to_vec(), retained: true },
            What::Lost,
        ];
        assert_eq!(whats, expected);
        let pieces = all(&tape);
        assert_eq!(pieces[2].mono_ns - pieces[1].mono_ns, 38_000_000);
        let late = tape.page(0, Some(pieces[2].at));
        assert_eq!((late.pieces.len(), late.lost, late.next), (3, 0, 5), "only what came since then");
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_gone_is_counted() {
        let tape = Tape::new(10 * (HEAD + 8), Arc::new(ManualClock::new()));
        for n in 0..25u64 {
            tape.sent(&n.to_be_bytes());
        }
        let page = tape.page(0, None);
        assert_eq!((page.pieces.len(), page.lost, page.next), (10, 15, 25));
        assert_eq!(page.pieces[0].what, What::Out { hex: 15u64.to_be_bytes().to_vec() });
        let nothing = Tape::new(0, Arc::new(ManualClock::new()));
        nothing.sent(&[1]);
        assert_eq!(nothing.page(0, None), TapePage { known: true, ..TapePage::default() });
    }

    #[test]
    fn a_long_tape_comes_page_by_page() {
        let tape = Tape::new(1 << 20, Arc::new(ManualClock::new()));
        for n in 0..4000u32 {
            tape.heard(&[n as u8; 100]);
        }
        assert!(tape.page(0, None).pieces.len() < 4000, "one page is bounded");
        assert_eq!(all(&tape).len(), 4000);
    }

    #[test]
    fn reading_on_begins_where_it_was_asked_to_however_much_is_gone() {
        let tape = Tape::new(700 * (HEAD + 8), Arc::new(ManualClock::new()));
        for n in 0..2000u64 {
            tape.sent(&n.to_be_bytes());
            if n % 400 == 399 {
                for from in (0..=n + 2).step_by(3) {
                    let first = from.max(n.saturating_sub(699));
                    let expected = (first <= n).then(|| What::Out { hex: first.to_be_bytes().to_vec() });
                    let page = tape.page(from, None);
                    assert_eq!(page.pieces.first().map(|piece| piece.what.clone()), expected, "{n} {from}");
                    assert_eq!(page.pieces.len() as u64, (n + 1).saturating_sub(first));
                }
                assert!(tape.reel().marks.len() <= 3);
            }
        }
    }

    proptest! {
        #[test]
        fn no_tape_grows_beyond_its_room(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..60), most in 0usize..2000) {
            let tape = Tape::new(most, Arc::new(ManualClock::new()));
            for piece in &pieces {
                tape.message(&piece[..piece.len() / 2], piece, false);
                prop_assert!(tape.reel().ring.len() <= most);
            }
            let page = tape.page(0, None);
            prop_assert_eq!(page.pieces.len() as u64 + page.lost, if most == 0 { 0 } else { pieces.len() as u64 });
        }
    }
}
