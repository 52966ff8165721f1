//! Sets the stage: opens the lines, writes the site file that names them, and the secrets beside it.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::net::TcpListener;

use crate::{
    domain::{BusId, Text},
    sim::{Broker, Inspector, Line, Office, Pty},
    text,
};

/// The site, with ports that stand for those the demo is given.
const SITE: &str = include_str!("../../../config/demo.toml");

/// Offices of the site file: their paths below the receiver, and the names of their secrets' files.
pub const INSPECTION: &str = "safety-inspection";
pub const PROPERTY: &str = "property";

/// Everything that must be there before the gateway starts.
pub struct Setting {
    pub site_file: PathBuf,
    pub lines: Vec<(BusId, Line)>,
    pub inspector: Inspector,
    /// Where the receiver's requests come in.
    pub desk: TcpListener,
    /// What to tell of it.
    pub told: Vec<Text>,
}

impl Setting {
    /// # Errors
    /// If there is no loopback, no pseudoterminal, or `dir` cannot be written to.
    pub async fn prepare(dir: &Path) -> anyhow::Result<Self> {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let lifts = Pty::open().context("open a pseudoterminal")?;
        let gates = Pty::open().context("open a pseudoterminal")?;
        let lights = TcpListener::bind(loopback(0)).await.context("listen on loopback")?;
        let broker = Broker::start().await.context("start the MQTT broker")?;
        let offices = [INSPECTION, PROPERTY]
            .map(|path| office(dir, path))
            .into_iter()
            .collect::<anyhow::Result<_>>()?;
        let (inspector, desk) = Inspector::bind(offices).await.context("listen on loopback")?;

        let light_port = lights.local_addr()?.port();
        let places = [
            ("/dev/pts/901", lifts.path().display().to_string()),
            ("/dev/pts/902", gates.path().display().to_string()),
            ("15020", light_port.to_string()),
            ("18830", broker.address().port().to_string()),
            ("18480", inspector.address().port().to_string()),
        ];
        let site_file = dir.join("gatehouse.toml");
        private_file(&site_file, filled(SITE, &places).as_bytes()).context("write the site file")?;

        let (lift_port, gate_port) = (lifts.path().display(), gates.path().display());
        let (broker_at, inspector_at) = (broker.address(), inspector.address());
        let file = site_file.display();
        let told = vec![
            text!(
                "模拟小区：{lift_port} 电梯控制柜 · {gate_port} 门禁 · {broker_at} MQTT · 127.0.0.1:{light_port} 路灯 · {inspector_at} 接收方",
                "the compound: {lift_port} elevators · {gate_port} gates · {broker_at} MQTT · 127.0.0.1:{light_port} lights · {inspector_at} receivers"
            ),
            text!(
                "网关启动，驱动与正式运行相同；可在另一终端试：gatehouse status --config {file}",
                "the gateway starts, with its real drivers; try beside it: gatehouse status --config {file}"
            ),
        ];
        let line = |id: &str, line| (BusId::from(id), line);
        let lines = vec![
            line("lifts", Line::Rtu(lifts)),
            line("gates", Line::Serial(gates)),
            line("lights", Line::Tcp(lights)),
            line("broker", Line::Mqtt(broker)),
        ];
        Ok(Self { site_file, lines, inspector, desk, told })
    }
}

/// `site` with each place's text put in; at the places themselves, not in the comment at its head.
fn filled(site: &str, places: &[(&str, String)]) -> String {
    let fill = |line: &str| match line.starts_with('#') {
        true => line.to_owned(),
        false => places.iter().fold(line.to_owned(), |line, (place, with)| line.replace(place, with)),
    };
    site.lines().map(|line| fill(line) + "\n").collect()
}

/// An office with a new key, whose secret lies beside the site file as a person would put it there.
fn office(dir: &Path, path: &str) -> anyhow::Result<Office> {
    let mut key = vec![0; 32];
    getrandom::fill(&mut key).context("get random bits")?;
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(&key));
    private_file(&dir.join(format!("{path}-secret")), secret.as_bytes()).context("write a secret")?;
    Ok(Office { path: path.to_owned(), key })
}

fn private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn each_port_stands_in_the_site_file_once_and_is_replaced() {
        let code =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        for (place, times) in
            [("/dev/pts/901", 1), ("/dev/pts/902", 1), ("15020", 1), ("18830", 1), ("18480", 2)]
        {
            assert_eq!(code(SITE).matches(place).count(), times, "{place}");
            let site = filled(SITE, &[(place, "here".to_owned())]);
            assert_eq!(code(&site).matches(place).count(), 0, "{place}, replaced");
        }
    }

    #[tokio::test]
    async fn the_site_that_is_written_has_no_mistakes_and_is_a_demo() {
        let dir = tempfile::tempdir().unwrap();
        let setting = Setting::prepare(dir.path()).await.unwrap();
        let (site, warnings) = match config::load(&setting.site_file) {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{problems:?}"),
        };
        assert!(site.demo);
        assert!(!warnings.has_errors());
        let of =
            |class: &str| site.devices.iter().filter(|one| one.profile.class.name.as_str() == class).count();
        let counts = ["elevator", "access-gate", "parking-sensor", "street-light", "recycling-kiosk"].map(of);
        assert_eq!(counts, [3, 4, 40, 12, 3]);
        let lines: Vec<&BusId> = setting.lines.iter().map(|(bus, _)| bus).collect();
        let buses: Vec<&BusId> = site.buses.iter().map(|bus| &bus.id).collect();
        assert_eq!(lines, buses, "each bus has somebody at its other end");
    }
}
