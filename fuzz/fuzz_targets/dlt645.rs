//! DL/T 645: any stream is cut into frames in whatever pieces, and an answer names its meter and its item.
#![no_main]

use gatehouse::fieldbus::{
    dlt645::{
        Station,
        codec::{Cutter, Frame, LONGEST, Meaning, Question},
    },
    frames::Cut,
};
use libfuzzer_sys::fuzz_target;

const METERS: [&str; 3] = ["202208310002", "7", "AAAAAAAAAAAA"];
const ITEMS: [u32; 3] = [0x0201_0100, 0x0201_FF00, 0x0001_0000];

fn cut(stream: &[u8], piece: usize) -> (Vec<Frame>, u64) {
    let (mut cutter, mut frames) = (Cutter::default(), Vec::new());
    for chunk in stream.chunks(piece) {
        frames.extend(cutter.push(chunk));
        assert!(cutter.kept() < LONGEST, "no more than one frame is kept");
    }
    (frames, cutter.take_garbled())
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (which, piece, stream) = input;
    let station = Station::of(METERS[usize::from(which % 3)]).expect("these are addresses");
    let question = Question { station, item: ITEMS[usize::from(which / 3 % 3)] };
    let (frames, garbled) = cut(stream, usize::from(piece).max(1));
    assert_eq!((&frames, garbled), (&cut(stream, usize::MAX).0, cut(stream, usize::MAX).1), "in one piece");
    for frame in &frames {
        let again = cut(&frame.encode(which % 5), 1);
        assert_eq!(again, (vec![frame.clone()], 0), "what was read is written as it was");
        match question.meaning(frame) {
            Meaning::Values(values) => {
                assert_eq!(frame.data, [&question.item.to_le_bytes()[..], &values].concat());
                assert!(which % 3 == 2 || frame.station == station);
            }
            Meaning::Refused(_) | Meaning::TooLong | Meaning::Echo | Meaning::Other => {}
        }
    }
});
