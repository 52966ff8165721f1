//! A mosquitto of the tests' own, on loopback, with its files in a directory that goes away with it.

use std::{
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
    /// With the certificates of [`Kind::tls`].
    pub tls_port: u16,
    dir: TempDir,
}

/// How a broker of the tests differs from the usual one.
#[derive(Default)]
pub struct Kind {
    /// Keeps no session over a restart.
    pub forgets: bool,
    /// Also listens with `ca.pem`, `server.pem` and `server.key`, and wants a certificate of that authority.
    pub tls: bool,
    /// Who may do what; everybody everything without it.
    pub access: Option<&'static str>,
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
        if kind.tls && !certificates(dir.path()) {
            eprintln!("skipped: openssl is not installed");
            return None;
        }
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (free(), free());
        let [port, tls_port] = [one, other].map(|listener| listener.local_addr().unwrap().port());
        fs::write(dir.path().join("conf"), conf(kind, port, tls_port, dir.path())).unwrap();
        let (child, log) = launch(&program, dir.path());
        Some(Self { child, log, port, tls_port, dir })
    }

    /// One of the files beside the broker.
    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(name)).unwrap()
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

fn conf(kind: &Kind, port: u16, tls_port: u16, dir: &Path) -> String {
    let here = dir.display();
    let mut conf = format!("user root\nallow_anonymous true\nlistener {port} 127.0.0.1\n");
    if kind.tls {
        conf += &format!("listener {tls_port} 127.0.0.1\ncafile {here}/ca.pem\ncertfile {here}/server.pem\n");
        conf += &format!("keyfile {here}/server.key\nrequire_certificate true\n");
    }
    if !kind.forgets {
        conf += &format!("persistence true\npersistence_location {here}/\nautosave_on_changes true\n");
        conf += "autosave_interval 1\n";
    }
    if let Some(access) = kind.access {
        fs::write(dir.join("acl"), access).unwrap();
        conf += &format!("acl_file {here}/acl\n");
    }
    conf
}

/// An authority, a broker's certificate and ours from it, and another authority.
fn certificates(dir: &Path) -> bool {
    let openssl = |line: &str| {
        let words = line.split_whitespace();
        Command::new("openssl")
            .args(words)
            .current_dir(dir)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let key = "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let authority = |name: &str| {
        openssl(&format!("{key} -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"))
    };
    fs::write(dir.join("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let leaf = |name: &str| {
        openssl(&format!("{key} -subj /CN={name} -keyout {name}.key -out {name}.csr"))
            && openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem"
            ))
    };
    authority("ca") && authority("stranger") && leaf("server") && leaf("client")
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
