//! An MQTT broker inside the demo: the library's, plain TCP, on loopback only.

use std::{collections::HashMap, io, net::SocketAddr, thread, time::Duration};

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep},
};
use tracing::error;

/// How long the broker may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(10);

/// A broker that runs until the program ends: the library has no way to stop one.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    /// Bound but not listening: keeps others from being given the port, before the broker binds it and after.
    _reserved: TcpSocket,
}

impl Broker {
    /// Starts a broker on a free port of 127.0.0.1 and waits until it accepts connections.
    ///
    /// # Errors
    /// If there is no loopback, no thread to be had, or the broker does not come up.
    pub async fn start() -> io::Result<Self> {
        let reserved = TcpSocket::new_v4()?;
        // The broker sets the same option; of two such sockets on one port, one may listen.
        reserved.set_reuseaddr(true)?;
        reserved.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = reserved.local_addr()?;
        let mut broker = rumqttd::Broker::new(config(address));
        thread::Builder::new().name("demo-broker".to_owned()).spawn(move || {
            if let Err(why) = broker.start() {
                error!(%why, "The demo's broker did not start.");
            }
        })?;
        accepts(address).await?;
        Ok(Self { address, _reserved: reserved })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accepts(address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_not_yet) => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 64 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "demo-broker-v4".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    // Per topic filter: what a gateway that was away for a moment still gets.
    let router = RouterConfig {
        max_connections: 16,
        max_outgoing_packet_count: 200,
        max_segment_size: 1024 * 1024,
        max_segment_count: 2,
        ..RouterConfig::default()
    };
    Config { id: 0, router, v4: Some(HashMap::from([("v4".to_owned(), server)])), ..Config::default() }
}
