//! A mosquitto of the tests' own, on loopback, with its files in a directory that goes away with it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rumqttc::{AsyncClient, MqttOptions, PublishOptions, QoS};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub struct Broker {
    child: Child,
    log: UnboundedReceiver<String>,
    pub port: u16,
    dir: TempDir,
}

/// How a broker of the tests differs from the usual one.
#[derive(Default)]
pub struct Kind {
    /// Lines for its configuration; `DIR` is its directory.
    pub lines: &'static str,
    pub forgets: bool,
    /// Written to its directory before it starts.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Broker {
    /// `None`, with the reason printed, where mosquitto is not installed.
    pub fn start() -> Option<Self> {
        Self::start_as(&Kind::default())
    }

    pub fn start_as(kind: &Kind) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("skipped: mosquitto is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &kind.files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(dir.path().join("conf"), conf(kind, port, dir.path())).unwrap();
        let (child, log) = launch(&program, dir.path());
        Some(Self { child, log, port, dir })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Killed without warning and started anew on the same port with the same files.
    pub fn restart(&mut self) {
        self.kill();
        (self.child, self.log) = launch(&program().unwrap(), self.dir.path());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the broker has logged this.
    pub async fn says(&mut self, what: &str) {
        while !self.log.recv().await.expect("the broker runs").contains(what) {}
    }

    /// Publishes with QoS 1 and waits until the broker has it.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish_as(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await;
    }

    pub async fn publish_as(&self, topic: &str, payload: impl Into<Vec<u8>>, options: PublishOptions) {
        let mut settings = MqttOptions::new("publisher", ("127.0.0.1", self.port));
        settings.set_max_packet_size(1 << 10, 8 << 20);
        let (client, mut wire) = AsyncClient::builder(settings).capacity(4).build();
        let notice = client.publish_tracked(topic, payload.into(), options).await.unwrap();
        tokio::select! {
            done = notice.wait_completion_async() => done.unwrap(),
            error = async { loop { if let Err(error) = wire.poll().await { break error } } } => panic!("{error}"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.kill();
        }
    }
}

fn program() -> Option<PathBuf> {
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

fn conf(kind: &Kind, port: u16, dir: &Path) -> String {
    let dir = dir.display();
    let mut conf = format!("listener {port} 127.0.0.1\nuser root\nallow_anonymous true\n");
    if !kind.forgets {
        writeln!(
            conf,
            "persistence true\npersistence_location {dir}/\nautosave_on_changes true\nautosave_interval 1"
        )
        .unwrap();
    }
    conf + &kind.lines.replace("DIR", &dir.to_string())
}

/// Runs once this returns; what it logs comes out of the channel.
fn launch(program: &Path, dir: &Path) -> (Child, UnboundedReceiver<String>) {
    let mut child = Command::new(program)
        .args(["-v", "-c"])
        .arg(dir.join("conf"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.ends_with(" running")), "mosquitto starts");
    let (lines, logged) = unbounded_channel();
    // reads on even when nobody wants it: a full pipe would stop the broker
    std::thread::spawn(move || log.filter(|line| lines.send(line.clone()).is_ok()).count());
    (child, logged)
}
