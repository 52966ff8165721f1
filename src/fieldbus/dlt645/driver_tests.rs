//! A bus of meters behind a serial server, on real loopback.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::{
    codec::{Cutter, Frame},
    config::TcpSettings,
    driver::{Dlt645Driver, Way},
    tcp_bus,
};
use crate::{
    domain::{Failure, Heard, ManualClock, PointIx, Raw},
    fieldbus::{
        driver::{AskFault, Driver},
        fixtures,
        frames::Cut,
        plan::Ask,
        record::Tape,
    },
    profile::{Address, Dlt645Item, Dlt645Link, Link, Profile, Read},
};

/// Two points of one item, one of another.
fn product() -> Arc<Profile> {
    let item = |id, length| Dlt645Item { id, every: Duration::from_millis(50), length };
    let link = Dlt645Link {
        items: vec![item(0x0201_FF00, 4), item(0x0001_0000, 4)],
        wakeup: 1,
        timeout: Duration::from_secs(5),
        retries: 0,
        turnaround: Duration::ZERO,
    };
    let reads = [0, 1, 0].map(|frame| (Read::Serial { frame }, Duration::from_millis(50)));
    Arc::new(Profile::bare(Link::Dlt645(link), reads))
}

/// Answers the block with its meter's last digits and knows nothing else, until the connection ends.
async fn serve(mut line: TcpStream) {
    let (mut cutter, mut chunk) = (Cutter::default(), [0; 256]);
    while let Ok(count @ 1..) = line.read(&mut chunk).await {
        for asked in cutter.push(&chunk[..count]) {
            let known = asked.data == 0x0201_FF00u32.to_le_bytes();
            let data = if known { [&asked.data[..], &[9, 9, 9, 9]].concat() } else { vec![0x02] };
            let reply = Frame { control: if known { 0x91 } else { 0xD1 }, data, ..asked };
            if line.write_all(&reply.encode(4)).await.is_err() {
                return;
            }
        }
    }
}

async fn until(heard: &mut tokio::sync::mpsc::Receiver<Heard>, is: impl Fn(&Heard) -> bool) -> Heard {
    loop {
        let one = fixtures::next(heard).await;
        if is(&one) {
            return one;
        }
    }
}

#[tokio::test]
async fn items_are_read_refusals_told_and_a_lost_server_is_found_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (parts, mut heard) = fixtures::parts(&[("123456781012", product())]);
    let stop = CancellationToken::new();
    let settings = TcpSettings { host: address.ip().to_string(), port: address.port() };
    let bus = tokio::spawn(tcp_bus(settings, parts).run(stop.clone()));

    let (line, _) = listener.accept().await.unwrap();
    let server = tokio::spawn(serve(line));
    let block = until(&mut heard, |one| one.outcome.is_ok()).await;
    assert_eq!(block.outcome, Ok(Raw::Frame { frame: 0, bytes: vec![9, 9, 9, 9].into() }));
    assert_eq!(block.points[..], [PointIx(0), PointIx(2)], "both points of the block");
    let refused = until(&mut heard, |one| one.outcome.is_err()).await;
    assert_eq!(
        (refused.outcome, &refused.points[..]),
        (Err(Failure::Refused { code: 2 }), &[PointIx(1)][..])
    );

    server.abort();
    let down = until(&mut heard, |one| matches!(one.outcome, Err(Failure::LineDown { .. }))).await;
    assert_eq!(down.points.len(), 3);
    let (line, _) = listener.accept().await.unwrap();
    let server = tokio::spawn(serve(line));
    until(&mut heard, |one| one.outcome.is_ok()).await;
    stop.cancel();
    drop(heard);
    assert!(bus.await.unwrap().is_ok(), "it stops as it is told");
    server.abort();
}

/// What a meter owes outlives the connection: a serial server hands it to whoever is connected by then.
#[tokio::test]
async fn what_was_asked_before_the_line_broke_is_still_owed_after() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = TcpSettings { host: address.ip().to_string(), port: address.port() };
    let tape = Arc::new(Tape::new(0, Arc::new(ManualClock::new())));
    let mut driver = Dlt645Driver::over(Way::Server(settings), &tape);
    let product = product();
    let (unit, ask) = (Address::Text("7".to_owned()), Ask::Frame { request: 0 });
    let request = async |line: &mut TcpStream| {
        let (mut cutter, mut chunk) = (Cutter::default(), [0; 64]);
        loop {
            let count = line.read(&mut chunk).await.unwrap();
            if let Some(frame) = cutter.push(&chunk[..count]).pop() {
                return frame;
            }
        }
    };

    driver.connect().await.unwrap();
    let (mut line, _) = listener.accept().await.unwrap();
    let breaks = async {
        request(&mut line).await;
        drop(line);
    };
    let (broken, ()) = tokio::join!(driver.ask(&unit, &product.link, &ask), breaks);
    assert!(matches!(broken, Err(AskFault::LineDown(_))), "{broken:?}");
    driver.close();

    driver.connect().await.unwrap();
    let (mut line, _) = listener.accept().await.unwrap();
    let late = async {
        let marker = request(&mut line).await;
        let answer = |frame: &Frame, item: u32, values: &[u8]| {
            let data = [&item.to_le_bytes()[..], values].concat();
            Frame { control: 0x91, data, ..frame.clone() }.encode(4)
        };
        // the server kept the answer of before
        line.write_all(&answer(&marker, 0x0201_FF00, b"old!")).await.unwrap();
        assert_eq!(marker.data, 0x0001_0000u32.to_le_bytes(), "the other item first");
        line.write_all(&answer(&marker, 0x0001_0000, b"mark")).await.unwrap();
        let again = request(&mut line).await;
        line.write_all(&answer(&again, 0x0201_FF00, b"new!")).await.unwrap();
    };
    let (answer, ()) = tokio::join!(driver.ask(&unit, &product.link, &ask), late);
    assert_eq!(answer, Ok(Raw::Frame { frame: 0, bytes: b"new!".to_vec().into() }));
}
