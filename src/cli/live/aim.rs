//! Where a tool is pointed: a serial port, a host, or something of the site; and whether a running gateway owns that line.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::LiveLine;
use crate::{
    cli::{exit, site},
    config::{self, BusLink, DEFAULT_PATH, Site},
    console::door::{self, Answer, Question},
    document::nearest,
    domain::{BusId, DeviceId, Lang},
    fieldbus::{
        modbus::config::{RtuSettings, TcpSettings},
        serial::config::{Framing, Settings},
    },
    profile::{Address, Profile},
    say,
};

/// Registered with IANA as `mbap`.
const MODBUS_PORT: u16 = 502;

#[derive(Clone, Debug, Args)]
pub struct LineArgs {
    /// Bits per second of a serial line / 波特率
    #[arg(short = 'b', long, value_name = "BAUD")]
    pub baud: Option<u32>,
    /// Data bits, parity, stop bits of a serial line / 数据位、校验、停止位
    #[arg(short = 'f', long = "frame", value_name = "8N1")]
    pub framing: Option<Framing>,
    /// The site file, where TARGET is something of the site / 配置文件
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What a tool says on standard error before it ends, and its exit code.
#[derive(Debug)]
pub struct Told {
    pub words: String,
    pub code: u8,
}

impl Told {
    pub fn new(code: u8, words: String) -> Self {
        Self { words, code }
    }

    pub fn tell(&self) -> u8 {
        if !self.words.is_empty() {
            eprintln!("{}", self.words);
        }
        self.code
    }
}

/// A line by its settings.
#[derive(Clone, Debug)]
pub enum Place {
    Serial(RtuSettings),
    Tcp(TcpSettings),
    /// A bus that only its own gateway, or its own driver, can ask.
    Other,
}

/// A device of the site.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: DeviceId,
    pub address: Address,
    pub profile: Arc<Profile>,
}

/// A line, perhaps one device on it, and the gateway that it would belong to.
#[derive(Clone, Debug)]
pub struct Aim {
    pub place: Place,
    /// The bus of the site at that place, and where its gateway's door is.
    pub bus: Option<(PathBuf, BusId)>,
    pub member: Option<Member>,
}

/// The site of `config`; without one, that of the installed gateway if there is a sound one that may be read.
pub fn site_if_any(config: Option<&Path>, lang: Lang) -> Result<Option<Site>, Told> {
    match config {
        Some(file) => config::look(file)
            .map(Some)
            .map_err(|problems| Told::new(site::refuse(&problems, lang), String::new())),
        None => Ok(config::look(Path::new(DEFAULT_PATH)).ok()),
    }
}

impl Aim {
    /// `target`: a device or bus of `site`, a serial port's path, or `host[:port]`.
    pub fn find(target: &str, args: &LineArgs, site: Option<&Site>, lang: Lang) -> Result<Self, Told> {
        if let Some(aim) = site.and_then(|site| Self::in_site(target, site)) {
            return Ok(aim);
        }
        let is_path = target.contains('/');
        if let (Some(site), true, false) =
            (site, args.config.is_some(), is_path || target.contains([':', '.']))
        {
            return Err(unknown(target, site, lang));
        }
        let place = match is_path {
            true => Place::Serial(Settings {
                port: target.into(),
                baud: args.baud.unwrap_or(9600),
                framing: args.framing.unwrap_or_default(),
                rs485: None,
            }),
            false => Place::Tcp(host(target).ok_or_else(|| no_host(target, lang))?),
        };
        let bus = site.and_then(|site| Some((site.store.dir.clone(), bus_at(&place, site)?)));
        Ok(Self { place, bus, member: None })
    }

    fn in_site(target: &str, site: &Site) -> Option<Self> {
        let device = site.devices.iter().find(|device| *device.id == *target);
        let bus = device.map_or(target, |device| &device.bus);
        let bus = site.buses.iter().find(|known| *known.id == *bus)?;
        Some(Self {
            place: place_of(&bus.link),
            bus: Some((site.store.dir.clone(), bus.id.clone())),
            member: device.map(|device| Member {
                id: device.id.clone(),
                address: device.address.clone(),
                profile: Arc::clone(&device.profile),
            }),
        })
    }

    /// The running gateway that owns this line, if one does.
    pub async fn owner(&self, lang: Lang) -> Result<Option<(PathBuf, BusId)>, Told> {
        let Some((dir, bus)) = &self.bus else { return Ok(None) };
        match door::visit(dir, &Question::Status).await {
            Ok(Answer::Status(live)) if live.buses.iter().any(|known| known.id == *bus) => {
                Ok(Some((dir.clone(), bus.clone())))
            }
            Ok(Answer::Status(_)) => Ok(None),
            Ok(_) => Err(Told::new(
                exit::UNEXPECTED,
                say!(lang, "网关正忙或正在停止，请稍后再试", "the gateway is busy or stopping: try again"),
            )),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Ok(None),
                ErrorKind::PermissionDenied => Err(Told::new(
                    exit::NOT_PERMITTED,
                    say!(
                        lang,
                        "线路 {bus} 属于运行中的网关，当前用户无权询问：请用 gatehouse 组的用户运行",
                        "line {bus} belongs to the running gateway, and this user may not ask it: run as a member of group gatehouse"
                    ),
                )),
                _ => Err(Told::new(
                    exit::UNEXPECTED,
                    say!(lang, "问不到运行中的网关：{error}", "the running gateway cannot be asked: {error}"),
                )),
            },
        }
    }

    /// The line, ours or through its gateway; what is said of that goes to standard error.
    pub async fn open(&self, lang: Lang) -> Result<LiveLine, Told> {
        if let Some((dir, bus)) = self.owner(lang).await? {
            eprintln!(
                "{}",
                say!(
                    lang,
                    "总线 {bus} 由运行中的网关使用：只用它的空闲时间，不影响报警采集",
                    "bus {bus} belongs to the running gateway: only the time that its alarm points leave is used"
                )
            );
            return Ok(LiveLine::through(dir, bus));
        }
        LiveLine::open(&self.place, lang).await
    }
}

fn place_of(link: &BusLink) -> Place {
    match link {
        BusLink::ModbusTcp(settings) => Place::Tcp(settings.clone()),
        BusLink::ModbusRtu(settings) => Place::Serial(settings.clone()),
        BusLink::ModbusRtuTcp(_)
        | BusLink::ModbusAscii(_)
        | BusLink::ModbusDtu(_)
        | BusLink::Serial(_)
        | BusLink::Mqtt { .. }
        | BusLink::Dlt645(_)
        | BusLink::Dlt645Tcp(_) => Place::Other,
    }
}

/// The bus of the site that uses this port or host.
fn bus_at(place: &Place, site: &Site) -> Option<BusId> {
    let real = |port: &Path| fs::canonicalize(port).unwrap_or_else(|_not_there| port.to_owned());
    let same = |link: &BusLink| match (place, link) {
        (Place::Serial(ours), BusLink::ModbusRtu(its) | BusLink::ModbusAscii(its) | BusLink::Serial(its)) => {
            real(&ours.port) == real(&its.port)
        }
        (Place::Serial(ours), BusLink::Dlt645(its)) => real(&ours.port) == real(&its.port),
        (Place::Tcp(ours), BusLink::ModbusTcp(its)) => ours == its,
        (Place::Serial(_) | Place::Tcp(_) | Place::Other, _) => false,
    };
    site.buses.iter().find(|bus| same(&bus.link)).map(|bus| bus.id.clone())
}

/// `host`, `host:port`, `[v6]:port`.
pub(super) fn host(text: &str) -> Option<TcpSettings> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(MODBUS_PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    (!host.is_empty()).then(|| TcpSettings { host: host.to_owned(), port })
}

fn no_host(target: &str, lang: Lang) -> Told {
    let words = say!(
        lang,
        "\"{target}\" 不是串口路径（/dev/…）、主机[:端口]，也不是配置里的设备或总线",
        "\"{target}\" is no serial port's path (/dev/…), no host[:port], and no device or bus of the site"
    );
    Told::new(exit::USAGE, words)
}

fn unknown(target: &str, site: &Site, lang: Lang) -> Told {
    let ids = site.devices.iter().map(|device| &*device.id).chain(site.buses.iter().map(|bus| &*bus.id));
    let near = nearest(target, ids);
    let hint =
        near.map(|near| say!(lang, "（是不是 {near}？）", " (did you mean {near}?)")).unwrap_or_default();
    let words = say!(
        lang,
        "配置里没有设备或总线 \"{target}\"{hint}",
        "the site has no device or bus \"{target}\"{hint}"
    );
    Told::new(exit::NOTHING_FOUND, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_as_people_write_it() {
        let written = |text: &str| host(text).map(|tcp| (tcp.host, tcp.port));
        for (text, expected) in [
            ("192.168.1.20", Some(("192.168.1.20", 502))),
            ("plc:5020", Some(("plc", 5020))),
            ("fe80::1", Some(("fe80::1", 502))),
            ("[fe80::1]:5020", Some(("fe80::1", 5020))),
            ("[fe80::1]", Some(("fe80::1", 502))),
            ("plc:", None),
            ("plc:0", None),
            ("plc:70000", None),
            (":502", None),
            ("[fe80::1", None),
        ] {
            assert_eq!(written(text), expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }
}
