//! Against a server on a real socket that misbehaves on purpose.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::{
    domain::Table,
    fieldbus::{
        driver,
        fixtures::{self, modbus_link, registers},
    },
};

const TIMEOUT: Duration = Duration::from_millis(500);

fn held(unit: u8, address: u16) -> u16 {
    u16::from(unit).wrapping_mul(1000).wrapping_add(address).wrapping_mul(0x9E37)
}

/// The request as it came, and on which connection.
struct Asked {
    connection: usize,
    transaction: [u8; 2],
    unit: u8,
    function: u8,
    first: u16,
    count: u16,
}

impl Asked {
    fn reply(&self) -> Vec<u8> {
        self.with_count(self.count)
    }

    fn with_count(&self, count: u16) -> Vec<u8> {
        let mut pdu = vec![self.function];
        match self.function {
            1 | 2 => {
                pdu.push(count.div_ceil(8) as u8);
                pdu.extend(vec![0b1010_0101; usize::from(count.div_ceil(8))]);
            }
            _ => {
                pdu.push(2 * count as u8);
                (0..count).for_each(|n| pdu.extend(held(self.unit, self.first + n).to_be_bytes()));
            }
        }
        self.frame(&pdu)
    }

    fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let [high, low] = (pdu.len() as u16 + 1).to_be_bytes();
        let [t1, t2] = self.transaction;
        [&[t1, t2, 0, 0, high, low, self.unit], pdu].concat()
    }
}

/// What a server does with its n-th request on its m-th connection: what to send in pieces, and whether to hang up then.
struct Deed {
    pieces: Vec<Vec<u8>>,
    hang_up: bool,
}

fn send(bytes: Vec<u8>) -> Deed {
    Deed { pieces: vec![bytes], hang_up: false }
}

async fn server(
    mut deed: impl FnMut(usize, &Asked) -> Deed + Send + 'static,
) -> (TcpSettings, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = TcpSettings { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let task = tokio::spawn(async move {
        let (mut asked, mut connection) = (0, 0);
        // one connection at a time, as small devices do
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            connection += 1;
            let mut request = [0; 12];
            while stream.read_exact(&mut request).await.is_ok() {
                let [t1, t2, _, _, _, _, unit, function, first_high, first_low, count_high, count_low] =
                    request;
                let deed = deed(
                    asked,
                    &Asked {
                        connection,
                        transaction: [t1, t2],
                        unit,
                        function,
                        first: u16::from_be_bytes([first_high, first_low]),
                        count: u16::from_be_bytes([count_high, count_low]),
                    },
                );
                asked += 1;
                for piece in deed.pieces {
                    if stream.write_all(&piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                if deed.hang_up {
                    break;
                }
            }
        }
    });
    (settings, task)
}

fn block(first: u16, count: u16) -> Ask {
    Ask::Block { table: Table::Holding, first, count }
}

fn link() -> Link {
    Link::Modbus(ModbusLink { timeout: TIMEOUT, ..modbus_link() })
}

async fn ask(driver: &mut TcpDriver, unit: u8, ask: &Ask) -> Result<Raw, AskFault> {
    driver.connect().await?;
    driver.ask(&Address::Unit(unit), &link(), ask).await
}

async fn ask_all<const N: usize>(
    line: &mut TcpDriver,
    link: &Link,
    units: [u8; N],
    asks: &[Ask; N],
) -> Vec<Result<Raw, AskFault>> {
    let units = units.map(Address::Unit);
    let asked: Vec<_> = units.iter().zip(asks).map(|(unit, ask)| driver::Asked { unit, link, ask }).collect();
    line.ask_all(&asked).await
}

fn words(unit: u8, first: u16, count: u16) -> Raw {
    let words = (0..count).map(|n| held(unit, first + n)).collect();
    Raw::Registers { table: Table::Holding, first, words }
}

#[tokio::test]
async fn registers_and_bits_come_as_asked_and_units_share_one_connection() {
    let (settings, _server) = server(|_, asked| send(asked.reply())).await;
    let mut driver = TcpDriver::new(settings);
    assert_eq!(driver.connect().await, Ok(Line::Opened));
    for unit in [1, 2, 247] {
        assert_eq!(ask(&mut driver, unit, &block(10, 125)).await, Ok(words(unit, 10, 125)));
    }
    let coils = Ask::Block { table: Table::Coil, first: 3, count: 11 };
    let bits = (0..11).map(|n| 0b1010_0101u8 >> (n % 8) & 1 == 1).collect();
    assert_eq!(ask(&mut driver, 1, &coils).await, Ok(Raw::Bits { table: Table::Coil, first: 3, bits }));
    assert_eq!(driver.connect().await, Ok(Line::Kept));
}

#[tokio::test]
async fn what_is_no_answer_costs_the_connection_and_never_becomes_a_value() {
    let closed = || Garble::HungUp { why: "end of stream".to_owned() };
    type Wrong = fn(&Asked) -> Deed;
    let cases: [(&str, Wrong, Option<Garble>); 10] = [
        (
            "too few registers",
            |asked| send(asked.with_count(asked.count - 1)),
            Some(Garble::Count { values: 3, asked: 4 }),
        ),
        (
            "too many registers",
            |asked| send(asked.with_count(asked.count + 1)),
            Some(Garble::Count { values: 5, asked: 4 }),
        ),
        (
            "another transaction",
            |asked| send(Asked { transaction: [0xAA, 0xAA], ..*asked }.reply()),
            Some(Garble::OtherQuestion),
        ),
        (
            "another unit",
            |asked| send(Asked { unit: 99, ..*asked }.reply()),
            Some(Garble::OtherUnit { unit: 99 }),
        ),
        (
            "another function",
            |asked| send(Asked { function: 4, ..*asked }.reply()),
            Some(Garble::OtherQuestion),
        ),
        (
            "another protocol",
            |asked| {
                let mut bytes = asked.reply();
                bytes[3] = 1;
                send(bytes)
            },
            Some(Garble::Foreign),
        ),
        ("a count that lies", |asked| send(asked.frame(&[3, 200, 1, 2])), Some(Garble::Foreign)),
        ("hung up", |_| Deed { pieces: vec![], hang_up: true }, Some(closed())),
        (
            "half a frame, then hung up",
            |asked| Deed { pieces: vec![asked.reply()[..9].to_vec()], hang_up: true },
            Some(closed()),
        ),
        ("half a frame", |asked| send(asked.reply()[..9].to_vec()), None),
    ];
    for (fact, wrong, words_of) in cases {
        let (settings, _server) =
            server(move |n, asked| if n == 0 { wrong(asked) } else { send(asked.reply()) }).await;
        let mut driver = TcpDriver::new(settings);
        match ask(&mut driver, 1, &block(20, 4)).await {
            Err(AskFault::Garbled { what }) => assert_eq!(Some(what), words_of, "{fact}"),
            Err(AskFault::Silent { .. }) => assert_eq!(words_of, None, "{fact}"),
            other => panic!("{fact}: {other:?}"),
        }
        assert_eq!(driver.connect().await, Ok(Line::Opened), "{fact}: a new connection");
        assert_eq!(ask(&mut driver, 1, &block(20, 4)).await, Ok(words(1, 20, 4)), "{fact}: then it works");
    }
}

#[tokio::test]
async fn exceptions_are_refusals_and_keep_the_connection() {
    for (code, want) in [
        (2, AskFault::Refused { code: 2 }),
        (11, AskFault::Silent { waited: TIMEOUT }),
        (77, AskFault::Refused { code: 77 }),
    ] {
        let (settings, _server) = server(move |_, asked| send(asked.frame(&[0x83, code]))).await;
        let mut driver = TcpDriver::new(settings);
        assert_eq!(ask(&mut driver, 1, &block(0, 1)).await, Err(want), "exception {code}");
        assert_eq!(driver.connect().await, Ok(Line::Kept), "exception {code}");
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_opened_again_within_the_question() {
    let (settings, _server) = server(|_, asked| Deed { pieces: vec![asked.reply()], hang_up: true }).await;
    let mut driver = TcpDriver::new(settings);
    for n in 0..5 {
        assert_eq!(ask(&mut driver, 1, &block(n, 2)).await, Ok(words(1, n, 2)), "question {n}");
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_line_that_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut driver = TcpDriver::new(TcpSettings { host: "127.0.0.1".to_owned(), port });
    let fault = driver.connect().await.unwrap_err();
    assert!(
        matches!(&fault, LineFault::Gone { why } if why.en.contains("refused") && why.zh.contains("拒绝")),
        "{fault}"
    );
}

#[tokio::test]
async fn several_questions_are_under_way_and_answered_in_any_order() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let (settings, _server) = server(move |_, asked| {
        kept.push(asked.reply());
        match kept.len() {
            3 => Deed { pieces: kept.drain(..).rev().collect(), hang_up: false },
            _ => Deed { pieces: vec![], hang_up: false },
        }
    })
    .await;
    let mut driver = TcpDriver::new(settings);
    assert_eq!(driver.connect().await, Ok(Line::Opened));
    for round in 0..3 {
        let asks = [block(10, 4), block(20, 5), block(30, 6)];
        let answers = ask_all(&mut driver, &link(), [7, 8, 7], &asks).await;
        let want = vec![Ok(words(7, 10, 4)), Ok(words(8, 20, 5)), Ok(words(7, 30, 6))];
        assert_eq!(answers, want, "round {round}");
    }
    assert_eq!(driver.connect().await, Ok(Line::Kept));
}

#[tokio::test]
async fn what_was_answered_before_the_silence_counts() {
    let (settings, _server) = server(|_, asked| match asked.first {
        20 => Deed { pieces: vec![], hang_up: false },
        _ => send(asked.reply()),
    })
    .await;
    let mut driver = TcpDriver::new(settings);
    driver.connect().await.unwrap();
    let impatient = Link::Modbus(ModbusLink { timeout: TIMEOUT / 5, ..modbus_link() });
    let asks = [block(10, 4), block(20, 5)];
    let answers = ask_all(&mut driver, &impatient, [7, 7], &asks).await;
    assert_eq!(answers, [Ok(words(7, 10, 4)), Err(AskFault::Silent { waited: TIMEOUT / 5 })]);
    assert!(driver.connection.is_none(), "its answer may still come");
}

#[tokio::test]
async fn a_unit_is_told_once_and_confirms_or_refuses() {
    use crate::domain::Instruction;
    let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = told.clone();
    let (settings, _server) = server(move |_, asked| {
        assert_eq!(asked.function, 6);
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let [first_high, first_low] = asked.first.to_be_bytes();
        let [high, low] = asked.count.to_be_bytes();
        match asked.first {
            1 => send(asked.frame(&[6, first_high, first_low, high, low])),
            2 => send(asked.frame(&[0x86, 3])),
            3 => send(asked.frame(&[6, first_high, first_low, high, low ^ 1])),
            _ => Deed { pieces: vec![], hang_up: true },
        }
    })
    .await;
    let mut driver = TcpDriver::new(settings);
    let mut outcomes = Vec::new();
    for first in 1..=4 {
        driver.connect().await.unwrap();
        let instruction = Instruction::Registers { first, words: vec![40], multiple: false };
        outcomes.push(driver.tell(&Address::Unit(1), &link(), &instruction).await);
    }
    let garbled = |what| Err(AskFault::Garbled { what });
    let hung_up = Garble::HungUp { why: "end of stream".to_owned() };
    let want = [Ok(()), Err(AskFault::Refused { code: 3 }), garbled(Garble::OtherQuestion), garbled(hung_up)];
    assert_eq!(outcomes, want);
    assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 4, "never twice");
}

#[tokio::test]
async fn no_value_is_wrong_whatever_the_server_mixes_up() {
    let (mut late, mut connection): (Vec<Vec<u8>>, _) = (Vec::new(), 0);
    let mut state = 42u64;
    let (settings, _server) = server(move |_, asked| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let reply = asked.reply();
        // what comes late for a connection that is closed goes nowhere
        if std::mem::replace(&mut connection, asked.connection) != asked.connection {
            late.clear();
        }
        match (state >> 33) % 24 {
            0 => {
                late.push(reply);
                Deed { pieces: vec![], hang_up: false }
            }
            1..=3 => Deed { pieces: late.drain(..).chain([reply]).collect(), hang_up: false },
            4 | 5 => send([reply.clone(), reply].concat()),
            6 => send(Asked { unit: asked.unit ^ 3, ..*asked }.reply()),
            7 => send(
                Asked { transaction: [asked.transaction[0], asked.transaction[1].wrapping_sub(1)], ..*asked }
                    .reply(),
            ),
            8..=12 => Deed { pieces: reply.chunks(1).map(<[u8]>::to_vec).collect(), hang_up: false },
            _ => send(reply),
        }
    })
    .await;
    let mut driver = TcpDriver::new(settings);
    let impatient = Link::Modbus(ModbusLink { timeout: Duration::from_millis(30), ..modbus_link() });
    let mut answered = 0;
    for n in 0..1000u16 {
        let (unit, first) = (1 + (n % 2) as u8, 40 * (n % 3));
        driver.connect().await.unwrap();
        if let Ok(raw) = driver.ask(&Address::Unit(unit), &impatient, &block(first, 4)).await {
            assert_eq!(raw, words(unit, first, 4), "question {n}");
            answered += 1;
        }
    }
    assert!(answered > 500, "only {answered} answers");
}

#[tokio::test]
async fn what_a_gateway_hands_to_the_next_connection_is_nobodys_answer() {
    // it keeps the answer that came too late and gives it to whoever is connected by then
    let mut late = None;
    let (settings, _server) = server(move |n, asked| match n {
        0 => {
            late = Some(asked.reply());
            Deed { pieces: vec![], hang_up: false }
        }
        _ => Deed { pieces: late.take().into_iter().chain([asked.reply()]).collect(), hang_up: false },
    })
    .await;
    let mut driver = TcpDriver::new(settings);
    assert!(ask(&mut driver, 1, &block(10, 4)).await.is_err());
    assert_eq!(ask(&mut driver, 1, &block(20, 4)).await, Ok(words(1, 20, 4)));
}

#[tokio::test]
async fn a_server_that_never_stops_talking_outlasts_no_question() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = TcpSettings { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    // on a thread of its own: faster than it is listened to
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let copies = mbap::framed(2, 1, &[3, 2, 0, 7]).repeat(100_000);
        for transaction in 1..=3 {
            stream.read_exact(&mut [0; 12]).unwrap();
            stream.write_all(&mbap::framed(transaction, 1, &[3, 2, 0, 7])).unwrap();
        }
        stream.read_exact(&mut [0; 12]).unwrap();
        while stream.write_all(&copies).is_ok() {}
    });
    let mut driver = TcpDriver::new(settings);
    for _ in 0..3 {
        assert!(ask(&mut driver, 1, &block(10, 1)).await.is_ok());
    }
    let question = block(10, 1);
    let asking = tokio::time::timeout(Duration::from_secs(20), ask(&mut driver, 1, &question));
    assert_eq!(asking.await.expect("given up"), Err(AskFault::Silent { waited: TIMEOUT }));
    drop(driver);
    server.join().unwrap();
}

#[tokio::test]
async fn a_bus_of_this_kind_hands_on_what_the_server_holds() {
    let (settings, _server) = server(|_, asked| send(asked.reply())).await;
    let product = registers(
        ModbusLink { max_gap: 8, ..modbus_link() },
        &[(7, Duration::from_millis(50)), (9, Duration::from_millis(50))],
    );
    let (mut parts, mut heard) = fixtures::parts(&[("5", product)]);
    parts.devices[0].address = Address::Unit(5);
    let stop = tokio_util::sync::CancellationToken::new();
    let bus = tokio::spawn(tcp_bus(settings, parts).run(stop.clone()));
    for _ in 0..3 {
        let heard = fixtures::next(&mut heard).await;
        assert_eq!((heard.points.len(), heard.outcome), (2, Ok(words(5, 7, 3))));
    }
    stop.cancel();
    bus.await.unwrap().unwrap();
}

#[test]
fn a_profile_of_another_protocol_is_not_asked() {
    let text = Address::Text("1".to_owned());
    assert!(question(&text, &link(), &block(0, 1)).is_err());
    let asked = question(&Address::Unit(1), &link(), &block(0, 1)).map(|(question, _)| question);
    let want = Question {
        unit: 1,
        table: Table::Holding,
        first: 0,
        count: 1,
        dialect: crate::profile::Dialect::Standard,
    };
    assert_eq!(asked, Ok(want));
}
