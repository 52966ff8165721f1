//! What a modem says from time to time so that its connection stays open: dropped before the frames are looked for.
//!
//! Modems send it in a packet of its own, so it is dropped where a read begins with it, also between the halves of a frame. Anywhere
//! else the same bytes are left alone, because a frame may carry them as values; glued behind a frame they are noise, which is skipped.

use tokio::time::Instant;

use super::clothes::Clothes;

#[derive(Debug)]
pub struct Heartbeats {
    heartbeat: Vec<u8>,
    /// The beginning of one, at the end of what came.
    begun: Vec<u8>,
    /// When the modem last said anything.
    pub heard: Instant,
}

impl Heartbeats {
    /// `heartbeat` may be empty: then there is none.
    pub fn new(heartbeat: Vec<u8>, now: Instant) -> Self {
        Self { heartbeat, begun: Vec::new(), heard: now }
    }
}

impl Clothes for Heartbeats {
    fn put_on(&self, frame: &[u8]) -> Vec<u8> {
        frame.to_vec()
    }

    fn take_off(&mut self, came: &[u8], now: Instant, bare: &mut Vec<u8>) {
        self.heard = now;
        let came = [&std::mem::take(&mut self.begun), came].concat();
        let mut rest = &came[..];
        while !self.heartbeat.is_empty() {
            match rest.strip_prefix(&self.heartbeat[..]) {
                Some(after) => rest = after,
                None => break,
            }
        }
        if self.heartbeat.starts_with(rest) {
            self.begun = rest.to_vec();
        } else {
            bare.extend_from_slice(rest);
        }
    }

    fn forget(&mut self) {
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken_off(heartbeat: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let mut clothes = Heartbeats::new(heartbeat.to_vec(), Instant::now());
        let mut bare = Vec::new();
        pieces.iter().for_each(|piece| clothes.take_off(piece, Instant::now(), &mut bare));
        bare
    }

    #[test]
    fn heartbeats_are_dropped_wherever_a_modem_puts_them() {
        let frame = b"\x01\x03\x02\x00\x07\xF9\x86";
        for (fact, pieces, want) in [
            ("alone", &[&b"ping"[..]][..], &b""[..]),
            ("two in one read", &[b"pingping"], b""),
            ("in pieces", &[b"pi", b"ng"], b""),
            ("before a frame", &[b"ping\x01\x03\x02\x00\x07\xF9\x86"], frame),
            ("one and a half before a frame", &[b"pingpi", b"ng\x01\x03\x02\x00\x07\xF9\x86"], frame),
            ("between the halves of a frame", &[b"\x01\x03\x02", b"ping", b"\x00\x07\xF9\x86"], frame),
            ("values that look like one", &[b"\x01\x03\x04ping\xDC\x1A"], b"\x01\x03\x04ping\xDC\x1A"),
            ("begun and left", &[b"pi", b"\x01"], b"pi\x01"),
            ("behind a frame: noise, which the hearing skips", &[b"\x01ping"], b"\x01ping"),
        ] {
            assert_eq!(taken_off(b"ping", pieces), want, "{fact}");
        }
        assert_eq!(taken_off(b"", &[frame, b"ping"]), [&frame[..], b"ping"].concat(), "a modem without one");
    }

    proptest! {
        #[test]
        fn nothing_but_heartbeats_is_lost_and_little_is_kept(
            heartbeat in prop::collection::vec(0u8..3, 0..4),
            pieces in prop::collection::vec(prop::collection::vec(0u8..3, 1..9), 0..9),
        ) {
            let mut clothes = Heartbeats::new(heartbeat.clone(), Instant::now());
            let mut bare = Vec::new();
            for piece in &pieces {
                clothes.take_off(piece, Instant::now(), &mut bare);
                prop_assert!(clothes.begun.len() < heartbeat.len().max(1));
            }
            let came: usize = pieces.iter().map(Vec::len).sum();
            let dropped = came - bare.len() - clothes.begun.len();
            prop_assert!(dropped.is_multiple_of(heartbeat.len()));
        }
    }
}
