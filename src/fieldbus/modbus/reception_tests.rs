//! Callers of all kinds at a real listener on loopback.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::domain::Period;

fn modem(listen: SocketAddr, registration: &str) -> DtuSettings {
    DtuSettings {
        listen,
        registration: Said(registration.as_bytes().to_vec()),
        heartbeat: None,
        silence: Period(Duration::from_secs(60)),
        baud: 9600,
        framing: Default::default(),
        latency: Period(Duration::ZERO),
    }
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

struct Desk {
    address: SocketAddr,
    receptions: Receptions,
    _running: JoinSet<()>,
}

impl Desk {
    async fn open(registrations: &[&str]) -> Self {
        let address = free_address().await;
        let modems: Vec<DtuSettings> =
            registrations.iter().map(|registration| modem(address, registration)).collect();
        let receptions = Receptions::new(modems.iter());
        assert_eq!(receptions.all().len(), 1, "one address, one listener");
        let reception = Arc::clone(&receptions.all()[0]);
        let mut running = JoinSet::new();
        running.spawn(async move { reception.run(CancellationToken::new()).await });
        Self { address, receptions, _running: running }
    }

    fn berth(&self, registration: &str) -> Arc<Berth> {
        self.receptions.berth(&modem(self.address, registration)).unwrap()
    }

    async fn call(&self, said: &[u8]) -> TcpStream {
        let mut caller = loop {
            match TcpStream::connect(self.address).await {
                Ok(caller) => break caller,
                // it is about to listen
                Err(_refused) => tokio::task::yield_now().await,
            }
        };
        caller.write_all(said).await.unwrap();
        caller
    }
}

async fn hung_up(mut caller: TcpStream) {
    let read = timeout(Duration::from_secs(20), caller.read(&mut [0; 8])).await.expect("hung up on in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn modems_that_share_an_address_are_told_apart_by_what_they_say_first() {
    let desk = Desk::open(&["east", "west"]).await;
    let mut west = desk.call(b"west").await;
    let arrival = desk.berth("west").next().await;
    assert_eq!(arrival.peer, west.local_addr().unwrap());
    assert!(!desk.berth("east").is_taken(), "nobody came for it");

    // in pieces, and with what it says next glued to it
    let mut east = desk.call(b"ea").await;
    east.write_all(b"st\x01\x02").await.unwrap();
    let arrival = desk.berth("east").next().await;
    assert_eq!((arrival.peer, &arrival.said[..]), (east.local_addr().unwrap(), &b"\x01\x02"[..]));
    west.write_all(b"still open").await.unwrap();
}

#[tokio::test]
async fn a_second_connection_takes_the_place_of_the_first() {
    let desk = Desk::open(&["east"]).await;
    let berth = desk.berth("east");
    let first = desk.call(b"east").await;
    while !berth.is_taken() {
        tokio::task::yield_now().await;
    }
    let second = desk.call(b"east").await;
    hung_up(first).await;
    assert_eq!(berth.next().await.peer, second.local_addr().unwrap());
}

#[tokio::test]
async fn strangers_are_hung_up_on_at_once() {
    let desk = Desk::open(&["east"]).await;
    for said in [&b"GET / HTTP/1.1\r\n"[..], b"eat", b"\x00"] {
        hung_up(desk.call(said).await).await;
    }
    assert!(!desk.berth("east").is_taken());
}

#[tokio::test]
async fn the_silent_are_few_and_the_oldest_of_them_makes_room() {
    let desk = Desk::open(&["east"]).await;
    let mut silent = Vec::new();
    for _ in 0..=MOST_UNREGISTERED {
        silent.push(desk.call(b"e").await);
    }
    hung_up(silent.remove(0)).await;
    let modem = desk.call(b"east").await;
    assert_eq!(desk.berth("east").next().await.peer, modem.local_addr().unwrap());
}

#[tokio::test]
async fn whoever_does_not_register_in_time_is_hung_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let berth =
        Berth { registration: Said(b"east".to_vec()), waiting: Mutex::default(), news: Notify::new() };
    let strangers = Arc::new(Strangers { listen: peer, told: Mutex::new(None) });
    tokio::time::pause();
    let began = Instant::now();
    welcome(stream, peer, vec![Arc::new(berth)], Arc::clone(&strangers)).await;
    assert!(began.elapsed() >= REGISTER_WITHIN);
    assert!(strangers.told.lock().unwrap().is_some(), "the log says so");
    hung_up(caller).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_trouble_of_its_buses_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let receptions = Receptions::new([modem(address, "east")].iter());
    let berth = receptions.berth(&modem(address, "east")).unwrap();
    let reception = Arc::clone(&receptions.all()[0]);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { reception.run(stop).await }
    });
    while berth.trouble().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(berth.trouble().unwrap().en.contains(&address.to_string()));
    stop.cancel();
    running.await.unwrap();
}
