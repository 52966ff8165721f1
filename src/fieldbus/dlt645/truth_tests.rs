//! Thousands of questions on a line where much goes wrong, on paused time: no value is another's, and none is older than its question.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep},
};

use super::{
    codec::{Cutter, Frame, Question},
    station::Station,
    wire::Wire,
};
use crate::{
    fieldbus::{frames::Cut, port::OpenPort},
    profile::{Dlt645Item, Dlt645Link},
};

const METERS: [&str; 2] = ["202208310002", "17"];
const ITEMS: [u32; 3] = [0x0201_0100, 0x0201_0200, 0x0001_0000];
const QUESTIONS: u32 = 4000;
/// Each item's data: whose it is, and when the meter read the question, in ms.
const LENGTH: u16 = 6;

/// Small, and the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn link() -> Dlt645Link {
    let item = |id| Dlt645Item { id, every: Duration::from_secs(1), length: LENGTH };
    Dlt645Link {
        items: ITEMS.map(item).to_vec(),
        wakeup: 4,
        timeout: Duration::from_millis(800),
        retries: 0,
        turnaround: Duration::from_millis(30),
    }
}

fn tag(question: Question) -> [u8; 2] {
    let meter = METERS.iter().position(|meter| Station::of(meter) == Some(question.station));
    let item = ITEMS.iter().position(|item| *item == question.item);
    [meter.unwrap() as u8, item.unwrap() as u8]
}

/// Both meters: each answers in order, sometimes late, twice, spoilt, cut off, for another or not at all.
async fn meters(mut line: DuplexStream, began: Instant) {
    let (mut cutter, mut chunk, mut chance) = (Cutter::default(), [0; 256], Chance(645));
    // nothing tells an answer that is given twice from a new one to the same question: it is not among what goes wrong here
    let mut before = ([0; 2], Vec::new());
    loop {
        let Ok(count @ 1..) = line.read(&mut chunk).await else { return };
        for asked in cutter.push(&chunk[..count]) {
            let read_at = began.elapsed().as_millis() as u32;
            let item = u32::from_le_bytes(asked.data[..].try_into().unwrap());
            let tag = tag(Question { station: asked.station, item });
            let data = [&asked.data[..], &tag, &read_at.to_le_bytes()].concat();
            let good = Frame { control: 0x91, data, ..asked }.encode(4);
            let (whose, previous) = std::mem::replace(&mut before, (tag, good.clone()));
            let previous = if whose == tag { vec![] } else { previous };
            sleep(Duration::from_millis(20 + chance.below(100))).await;
            let said = match chance.below(20) {
                0 => {
                    sleep(Duration::from_millis(chance.below(3000))).await;
                    good
                }
                1 => [good.clone(), good].concat(),
                2 => previous,
                3 => [previous, good].concat(),
                4 => good[..chance.below(good.len() as u64) as usize].to_vec(),
                5 => {
                    let mut spoilt = good;
                    let at = chance.below(spoilt.len() as u64) as usize;
                    spoilt[at] ^= 1 + chance.below(255) as u8;
                    spoilt
                }
                6 => vec![],
                7 => vec![0x68; chance.below(40) as usize],
                _ => good,
            };
            if line.write_all(&said).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_value_is_anothers_or_older_than_its_question() {
    let (ours, theirs) = duplex(1 << 16);
    let began = Instant::now();
    let far = tokio::spawn(meters(theirs, began));
    let mut wire = Wire::new(OpenPort::new(ours, "/dev/test".into()), Duration::from_micros(4583));
    let (link, mut chance) = (link(), Chance(7));
    let (mut good, mut failed) = (0, 0);
    for number in 0..QUESTIONS {
        let item = &link.items[chance.below(3) as usize];
        let station = Station::of(METERS[chance.below(2) as usize]).unwrap();
        let (question, asked_at) = (Question { station, item: item.id }, began.elapsed().as_millis() as u32);
        match wire.ask(question, item, &link).await {
            Ok(values) => {
                let (whose, read_at) = values.split_at(2);
                assert_eq!(whose, tag(question), "question {number}");
                let read_at = u32::from_le_bytes(read_at.try_into().unwrap());
                assert!(read_at >= asked_at, "question {number}: {} ms older", asked_at - read_at);
                good += 1;
            }
            Err(_) => failed += 1,
        }
    }
    far.abort();
    assert!(good > QUESTIONS / 2 && failed > QUESTIONS / 10, "{good} good, {failed} failed");
}
