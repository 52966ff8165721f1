//! `scan TARGET…`: who is on a line, read-only; and where nobody is, why it is silent.

mod fits;
mod plan;
mod progress;
mod search;
mod show;
mod subnet;

use std::{path::PathBuf, time::Duration};

use clap::Args;

use self::{
    plan::Ids,
    progress::Progress,
    search::{Found, Line, Round},
    subnet::Subnet,
};
use super::{
    exit,
    live::{Aim, LineArgs, LiveLine, Place, Told, refused, site_if_any},
};
use crate::{
    app::lines::plain_modbus,
    config::Site,
    document::Problems,
    domain::{BusId, Diagnosis, Lang, Medium, Period},
    fieldbus::modbus::{
        config::{RtuSettings, TcpSettings},
        knock::Knocker,
    },
    ops::signals,
    profile::{Address, Library},
    say,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct ScanArgs {
    /// Serial ports, host[:port], or buses of the site / 串口、主机，或配置里的总线
    #[arg(value_name = "TARGET", required_unless_present = "tcp")]
    targets: Vec<String>,
    #[command(flatten)]
    line: LineArgs,
    /// All 247 unit ids, more line settings / 深度扫描
    #[arg(long)]
    full: bool,
    /// Which unit ids / 站号范围
    #[arg(long, value_name = "1-32")]
    ids: Option<Ids>,
    /// How long an answer may take / 超时
    #[arg(long, value_name = "100ms")]
    timeout: Option<Period>,
    /// Look for Modbus TCP devices in a private network of 1024 addresses at most / 扫描内网网段
    #[arg(long, value_name = "CIDR")]
    tcp: Option<Subnet>,
    /// Do not try which profiles fit / 不试模板
    #[arg(long)]
    no_profiles: bool,
    /// A directory of classes and profiles besides the shipped ones / 另外的产品目录
    #[arg(long = "profiles", value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// One JSON object a unit
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse scan /dev/ttyS3                                 the likeliest settings and units: 16 s / 快速扫描
  gatehouse scan /dev/ttyS3 --full -b 9600                  every unit, the baud rate is known / 深度扫描
  gatehouse scan 192.168.1.20 --ids 1-32                    behind a Modbus TCP gateway / 串口服务器后面
  gatehouse scan lifts --config gatehouse.toml              a bus of a running gateway / 运行中的总线
  gatehouse scan --tcp 192.168.1.0/24                       a network / 网段
Reads only; never writes. Ctrl-C stops and prints what was found. / 只读不写，Ctrl-C 停止并列出已找到的设备。";

const SERIAL_TIMEOUT: Duration = Duration::from_millis(100);
const OTHER_TIMEOUT: Duration = Duration::from_millis(300);
/// What a TCP device of its own mostly answers to.
const UNITS_OF_HOSTS: [u8; 2] = [1, 255];

/// All that a scan has learnt, kept when it is stopped.
struct Scan<'a> {
    args: &'a ScanArgs,
    lang: Lang,
    site: Option<Site>,
    /// Loaded once somebody is found.
    profiles: Option<Library>,
    found: Vec<Found>,
    line: Line,
    progress: Progress,
    /// Why a line could not be used at all.
    trouble: Option<Diagnosis>,
}

impl ScanArgs {
    /// # Errors
    /// If the runtime cannot be started or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match site_if_any(self.line.config.as_deref(), lang) {
            Ok(site) => site,
            Err(told) => return Ok(told.tell()),
        };
        let mut scan = Scan {
            args: &self,
            lang,
            site,
            profiles: None,
            found: Vec::new(),
            line: Line::default(),
            progress: Progress::new(lang, 0),
            trouble: None,
        };
        let runtime = super::run::runtime()?;
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = scan.all() => ended.map(|()| None),
                told = signals::told_to_stop() => Ok(Some(told)),
            }
        });
        scan.progress.end();
        // a lookup of a name may still be under way
        runtime.shutdown_timeout(Duration::from_millis(100));
        match ended {
            Ok(None) => scan.tell(false),
            Ok(Some(told)) => {
                told?;
                scan.tell(true)
            }
            Err(told) => {
                show::found(&scan.found, self.json, lang)?;
                Ok(told.tell())
            }
        }
    }

    fn patience(&self, usual: Duration) -> Duration {
        self.timeout.map_or(usual, Duration::from)
    }
}

impl Scan<'_> {
    async fn all(&mut self) -> Result<(), Told> {
        for target in &self.args.targets {
            let aim = Aim::find(target, &self.args.line, self.site.as_ref(), self.lang)?;
            let owner = aim.owner(self.lang).await?;
            if owner.is_some() || matches!(aim.place, Place::Other) {
                self.speaks_modbus(&aim)?;
            }
            match owner {
                Some((_, bus)) => {
                    let mut line = aim.open(self.lang).await?;
                    self.through_gateway(&mut line, &bus).await;
                }
                None => self.own(&aim.place).await?,
            }
        }
        if let Some(subnet) = &self.args.tcp {
            self.progress.subnet(subnet);
            let hosts = subnet.listening(self.args.patience(OTHER_TIMEOUT)).await;
            if hosts.is_empty() {
                self.trouble = Some(subnet.nobody());
            }
            for settings in hosts {
                let units =
                    self.args.ids.as_ref().map_or_else(|| UNITS_OF_HOSTS.to_vec(), |ids| ids.0.clone());
                self.host(&settings, &units).await;
            }
        }
        Ok(())
    }

    /// A scan knocks in Modbus: on a bus of the site that speaks something else it would say nothing true.
    fn speaks_modbus(&self, aim: &Aim) -> Result<(), Told> {
        let id = aim.bus.as_ref().map(|(_, id)| id);
        let bus = self.site.iter().flat_map(|site| &site.buses).find(|bus| Some(&bus.id) == id);
        let Some(bus) = bus.filter(|bus| !bus.link.is_modbus()) else { return Ok(()) };
        let id = &bus.id;
        let words = say!(
            self.lang,
            "总线 {id} 不是 Modbus，不能扫描：它的设备见 gatehouse status",
            "bus {id} does not speak Modbus, so it cannot be scanned: gatehouse status shows its devices"
        );
        Err(Told::new(exit::USAGE, words))
    }

    async fn own(&mut self, place: &Place) -> Result<(), Told> {
        let units = plan::ids(self.args.full, self.args.ids.as_ref());
        match place {
            Place::Serial(port) => self.serial(port, &units).await,
            Place::Tcp(settings) => {
                self.host(settings, &units).await;
                Ok(())
            }
            Place::Other => LiveLine::open(place, self.lang).await.map(drop),
        }
    }

    /// Every setting of the plan; a quick scan ends with the first at which somebody is.
    async fn serial(&mut self, port: &RtuSettings, units: &[u8]) -> Result<(), Told> {
        let ScanArgs { full, line, .. } = self.args;
        let settings = plan::settings(port, *full, line.baud, line.framing);
        let patience = self.args.patience(SERIAL_TIMEOUT);
        self.progress = Progress::new(self.lang, settings.len() * units.len());
        let about = progress::clock(plan::estimate(&settings, units.len(), patience));
        let (port, lines, each) = (port.port.display(), settings.len(), units.len());
        eprintln!(
            "{}",
            say!(
                self.lang,
                "{port}：{lines} 种线路设置 × {each} 个站号，约 {about}，只读不写",
                "{port}: {lines} line settings × {each} unit ids, about {about}, read-only"
            )
        );
        let mut left = settings.len();
        for settings in settings {
            left -= 1;
            let name = format!("{} {}", settings.baud, settings.framing);
            // a unit speaks at one setting only; on a pty, at all
            let knock_at: Vec<u8> = units.iter().copied().filter(|unit| !self.is_known(*unit)).collect();
            self.progress.skipped(units.len() - knock_at.len());
            self.progress.part(&name, knock_at.len());
            let mut knocker = Knocker::serial(&settings).map_err(|fault| refused(&fault, self.lang))?;
            let round = Round { name: name.clone(), units: &knock_at, patience };
            let Self { line, found, progress, .. } = self;
            let knocked = round.knock(&mut knocker, line, found, progress).await;
            drop(knocker);
            knocked.map_err(|fault| refused(&fault, self.lang))?;
            self.fit(&Place::Serial(settings), &name).await;
            if !self.line.masters.is_empty() {
                break;
            }
            if !self.found.is_empty() && !full && left > 0 {
                self.progress.end();
                eprintln!(
                    "{}",
                    say!(
                        self.lang,
                        "其余 {left} 种线路设置不再试；--full 全部试",
                        "the other {left} line settings are not tried; --full tries all"
                    )
                );
                break;
            }
        }
        Ok(())
    }

    fn is_known(&self, unit: u8) -> bool {
        self.found.iter().any(|found| found.unit == unit && found.is_serial())
    }

    async fn host(&mut self, settings: &TcpSettings, units: &[u8]) {
        let name = format!("{}:{}", settings.host, settings.port);
        self.line.medium = Medium::Network;
        self.progress = Progress::new(self.lang, units.len());
        self.progress.part(&name, units.len());
        let mut knocker = match Knocker::tcp(settings.clone()).await {
            Ok(knocker) => knocker,
            Err(fault) => {
                self.trouble = Some(fault.diagnosis());
                return;
            }
        };
        let round = Round { name: name.clone(), units, patience: self.args.patience(OTHER_TIMEOUT) };
        let Self { line, found, progress, .. } = self;
        if let Err(fault) = round.knock(&mut knocker, line, found, progress).await {
            self.trouble = Some(fault.diagnosis());
        }
        drop(knocker);
        self.fit(&Place::Tcp(settings.clone()), &name).await;
    }

    async fn through_gateway(&mut self, through: &mut LiveLine, bus: &BusId) {
        let units = plan::ids(self.args.full, self.args.ids.as_ref());
        let name = bus.to_string();
        self.progress = Progress::new(self.lang, units.len());
        self.progress.part(&name, units.len());
        let link = plain_modbus(self.args.patience(OTHER_TIMEOUT));
        let round = Round { name: name.clone(), units: &units, patience: link.timeout };
        let Self { found, progress, .. } = self;
        let of_site = self.site.iter().flat_map(|site| &site.devices);
        self.line.medium = of_site
            .filter(|device| device.bus == *bus)
            .map(|device| device.medium)
            .next()
            .unwrap_or_default();
        self.trouble = round.inquire(through, &link, found, progress).await;
        let devices = self.site.iter().flat_map(|site| &site.devices).filter(|device| device.bus == *bus);
        for device in devices {
            let its = |found: &&mut Found| found.line == name && Address::Unit(found.unit) == device.address;
            if let Some(found) = self.found.iter_mut().find(its) {
                found.device = Some(device.id.to_string());
            }
        }
        self.fits_of(through, &name).await;
    }

    /// Which profiles fit whom was found at `name`.
    async fn fit(&mut self, place: &Place, name: &str) {
        if self.args.no_profiles || !self.found.iter().any(|found| found.line == name) {
            return;
        }
        match LiveLine::open(place, self.lang).await {
            Ok(mut line) => self.fits_of(&mut line, name).await,
            Err(told) => drop(told.tell()),
        }
    }

    async fn fits_of(&mut self, line: &mut LiveLine, name: &str) {
        if self.args.no_profiles
            || !self.found.iter().any(|found| found.line == name && found.device.is_none())
        {
            return;
        }
        let of_site = self.site.iter().flat_map(|site| &site.profile_dirs);
        let dirs = of_site.chain(&self.args.dirs).cloned().collect::<Vec<_>>();
        // a profile with mistakes fits nothing; `profile check` says what is wrong with it
        let profiles = self.profiles.get_or_insert_with(|| Library::load(&dirs, &mut Problems::default()));
        for found in self.found.iter_mut().filter(|found| found.line == name && found.device.is_none()) {
            let unit = found.unit;
            self.progress.doing(&say!(self.lang, "站号 {unit}：试模板…", "unit {unit}: trying profiles…"));
            found.fits = fits::of(line, unit, profiles).await;
        }
    }

    fn tell(&self, stopped: bool) -> anyhow::Result<u8> {
        show::found(&self.found, self.args.json, self.lang)?;
        if self.found.is_empty() && !stopped {
            let why = self.trouble.clone().unwrap_or_else(|| self.line.diagnosis(self.progress.counts));
            show::nothing(&why, &self.line, self.args.json, self.lang)?;
            return Ok(exit::NOTHING_FOUND);
        }
        if let Some(trouble) = &self.trouble {
            show::unfinished(trouble, self.lang);
        }
        show::next(&self.found, &self.args.targets, self.lang);
        Ok(if stopped { exit::INTERRUPTED } else { exit::OK })
    }
}
