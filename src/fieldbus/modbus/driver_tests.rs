//! A serial server whose connections come and go while its line stays, on paused time.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::*;
use crate::{
    domain::Table,
    fieldbus::{
        fixtures::modbus_link,
        modbus::{codec, codec::Question},
        port::OpenPort,
    },
    profile::Dialect,
};

/// What every register holds: no two are alike.
fn held(address: u16) -> u16 {
    address.wrapping_mul(0x9E37)
}

/// SplitMix64, so that a failing seed fails again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Opens connections to the server at the other end of the channel.
struct Dialler(mpsc::UnboundedSender<DuplexStream>);

impl Opener for Dialler {
    type Port = DuplexStream;

    const CLOSED_WHEN_IDLE: bool = true;

    fn cost(&self) -> LineCost {
        LineCost::tcp()
    }

    async fn open(&mut self) -> Result<Wire<DuplexStream>, LineFault> {
        let (ours, theirs) = tokio::io::duplex(4096);
        self.0.send(theirs).map_err(|_closed| LineFault::down(text!("没有服务器", "no server")))?;
        Ok(Wire::new(OpenPort::new(ours, "server".into()), Duration::from_micros(1042)))
    }
}

/// One slave on the line of a serial server. It answers in order, mostly soon, sometimes late, now and then not at all; the server hangs
/// up whenever it likes, and hands what the slave says later to whoever is connected by then.
struct Server {
    dice: Dice,
    /// Hangs up after one request in so many.
    hangs_up: u64,
    callers: mpsc::UnboundedReceiver<DuplexStream>,
    caller: Option<DuplexStream>,
    outbox: VecDeque<(Instant, Vec<u8>)>,
}

impl Server {
    async fn serve(mut self) {
        let mut request = [0; 8];
        loop {
            let due = self.outbox.front().map(|(at, _)| *at).filter(|_| self.caller.is_some());
            let heard = async {
                match &mut self.caller {
                    Some(caller) => caller.read_exact(&mut request).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                caller = self.callers.recv() => match caller {
                    Some(caller) => self.caller = Some(caller),
                    None => return,
                },
                () = async { sleep_until(due.unwrap()).await }, if due.is_some() => {
                    let (_, reply) = self.outbox.pop_front().unwrap();
                    if self.caller.as_mut().unwrap().write_all(&reply).await.is_err() {
                        self.caller = None;
                    }
                }
                heard = heard => match heard {
                    true => self.take(request),
                    false => self.caller = None,
                },
            }
        }
    }

    fn take(&mut self, request: [u8; 8]) {
        let Question { unit, first, count, .. } = Question::decode(&request, Dialect::Standard).unwrap();
        let mut body = vec![unit, 3, 2 * count as u8];
        (first..first + count).for_each(|address| body.extend(held(address).to_be_bytes()));
        let reply = [&body[..], &codec::crc(&body)].concat();
        let delay = match self.dice.below(10) {
            0 => None,
            1 | 2 => Some(self.dice.below(1400)),
            _ => Some(self.dice.below(100)),
        };
        if let Some(delay) = delay {
            let at = Instant::now() + Duration::from_millis(delay);
            // in order: nothing overtakes
            let at = self.outbox.back().map_or(at, |(before, _)| at.max(*before));
            self.outbox.push_back((at, reply));
        }
        if self.dice.below(self.hangs_up) == 0 {
            self.caller = None;
        }
    }
}

fn line(seed: u64, hangs_up: u64) -> WireDriver<Dialler> {
    let (dial, callers) = mpsc::unbounded_channel();
    let server = Server { dice: Dice(seed), hangs_up, callers, caller: None, outbox: VecDeque::new() };
    tokio::spawn(server.serve());
    WireDriver::over(Dialler(dial))
}

async fn read(driver: &mut WireDriver<Dialler>, first: u16, count: u16) -> Result<Raw, AskFault> {
    let ask = Ask::Block { table: Table::Holding, first, count };
    driver.ask(&Address::Unit(1), &Link::Modbus(modbus_link()), &ask).await
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_on_a_new_connection_is_nobodys_answer() {
    let blocks = [(0, 1), (50, 1), (100, 2), (200, 2), (300, 3)];
    for seed in 1..=8 {
        let mut driver = line(seed, 8);
        let mut dice = Dice(seed ^ 0xFFFF);
        let (mut opened, mut answered) = (0, 0);
        for _ in 0..2_000 {
            if driver.connect().await == Ok(Line::Opened) {
                opened += 1;
            }
            let (first, count) = blocks[dice.below(blocks.len() as u64) as usize];
            match read(&mut driver, first, count).await {
                Ok(raw) => {
                    let words = (first..first + count).map(held).collect();
                    assert_eq!(raw, Raw::Registers { table: Table::Holding, first, words }, "seed {seed}");
                    answered += 1;
                }
                Err(AskFault::LineDown(_)) => driver.close(),
                Err(_) => {}
            }
        }
        assert!(opened > 100 && answered > 500, "seed {seed}: opened {opened}, answered {answered}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_while_idle_is_opened_again_without_a_word() {
    let (dial, mut callers) = mpsc::unbounded_channel();
    let mut driver = WireDriver::over(Dialler(dial));
    let connected = driver.connect().await;
    assert_eq!(connected, Ok(Line::Opened));
    // never answered: whoever hangs up like this would be dialled without end
    drop(callers.recv().await.unwrap());
    assert!(matches!(driver.hear().await, Unasked::Gone(_)));

    // all behind it are dead, and it hangs up because it is idle: that is no line that is down
    driver.close();
    driver.connect().await.unwrap();
    let caller = callers.recv().await.unwrap();
    assert!(matches!(read(&mut driver, 7, 2).await, Err(AskFault::Silent { .. })));
    drop(caller);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), driver.hear()).await.is_err(),
        "nothing is said of it"
    );
    assert_eq!(driver.connect().await, Ok(Line::Opened));
    drop(callers.recv().await.unwrap());
    assert!(matches!(driver.hear().await, Unasked::Gone(_)), "but this one was asked nothing");

    driver.close();
    driver.connect().await.unwrap();
    let server = Server {
        dice: Dice(0),
        hangs_up: u64::MAX,
        callers,
        caller: None,
        outbox: VecDeque::from([(Instant::now(), vec![])]),
    };
    let server = tokio::spawn(async move {
        let mut server = server;
        let mut caller = server.callers.recv().await.unwrap();
        for _ in 0..2 {
            let mut request = [0; 8];
            caller.read_exact(&mut request).await.unwrap();
            server.take(request);
            caller.write_all(&server.outbox.pop_back().unwrap().1).await.unwrap();
        }
        drop(caller);
        server.callers.recv().await.unwrap()
    });
    read(&mut driver, 7, 2).await.unwrap();
    let next = tokio::select! {
        next = server => next.unwrap(),
        unasked = driver.hear() => panic!("it said {unasked:?}"),
    };
    assert_eq!(driver.connect().await, Ok(Line::Opened), "the bus is told");
    drop(next);
}
