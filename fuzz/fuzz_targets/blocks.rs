//! Packed readings: any bytes are read or refused, as a block and as a frame of the tail, and never more than the bounds say.
#![no_main]

use std::collections::HashMap;

use gatehouse::store::packed::{
    Cell, Column, SAMPLES_MAX,
    block::Block,
    chain::Reaper,
    tail::{Link, frame_head, sections},
};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Counting {
    rows: u64,
    samples: u64,
}

impl Reaper for Counting {
    fn row(&mut self, _at_ms: i64, _points: &[u16]) {
        self.rows += 1;
    }

    fn cell(&mut self, _point: u16, cell: Cell, column: &Column) {
        self.samples += u64::from(cell.sample(|| column.word(cell.number)).is_some());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        let Ok(block) = Block::open(bytes) else { return };
        let mut count = 0;
        let read = block.read(|_| true, (i64::MIN, i64::MAX), |_, _, _| count += 1);
        assert!(count <= SAMPLES_MAX, "{read:?}");
        return;
    }
    let slot = [&frame_head(bytes)[..], bytes, &[0; 8]].concat();
    let (mut links, mut counting) = (HashMap::<i64, Link>::new(), Counting::default());
    let damaged = sections(&slot, |section| {
        if links.entry(section.series).or_default().take(section, &mut counting).is_err() {
            counting.rows += 1;
        }
    });
    assert!(damaged <= 1);
});
