//! `record`: what the lines of the running gateway carried lately, as a file; or from now on.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::{
    exit,
    live::Told,
    recording::{BusNamed, DeviceNamed, Header, Line, Named, SiteNamed, VERSION},
    site::SiteArgs,
};
use crate::{
    config::{BusLink, Site},
    console::door::{self, Answer, Question},
    domain::{
        BusId, Lang, Period, Size,
        status::Live,
        tape::{TapePage, TapeWish},
    },
    ops::signals,
    profile::Address,
    say,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct RecordArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Of this bus only / 只要这条总线
    #[arg(long, value_name = "ID")]
    bus: Vec<String>,
    /// Only what came so lately / 最近多久
    #[arg(long, value_name = "10m")]
    last: Option<Period>,
    /// The file to write; standard output if left out / 输出文件
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on until Ctrl-C / 持续录制
    #[arg(long)]
    follow: bool,
    /// With --follow: end when so much is written / 最多写多少
    #[arg(long, value_name = "64MiB", default_value = "64MiB", requires = "follow")]
    max: Size,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse record --last 10m -o lifts.jsonl --bus lifts    what the line carried / 导出最近的报文
  gatehouse record --follow -o now.jsonl                    from now on / 从现在起
  gatehouse replay lifts.jsonl                              what it means / 回放
Raw bytes may hold personal data: a file is made readable for its owner only. / 原始报文可能含个人信息，文件仅本人可读。";

/// How often a tape is looked at with --follow.
const MOMENT: Duration = Duration::from_millis(300);

/// What a bus's tape was read up to.
struct Head {
    bus: BusId,
    from: u64,
    since: Option<Timestamp>,
    lost: u64,
}

impl RecordArgs {
    /// # Errors
    /// If the gateway cannot be asked or the file cannot be written.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        super::run::runtime()?.block_on(async {
            let live = match running(&site.store.dir, lang).await {
                Ok(live) => live,
                Err(told) => return Ok(told.tell()),
            };
            let heads = self.heads(&site);
            if heads.is_empty() {
                eprintln!("{}", say!(lang, "配置里没有这条总线", "the site has no such bus"));
                return Ok(exit::NOTHING_FOUND);
            }
            self.record(&site, &live, heads, lang).await
        })
    }

    fn heads(&self, site: &Site) -> Vec<Head> {
        let wanted = |bus: &BusId| self.bus.is_empty() || self.bus.iter().any(|wanted| **wanted == **bus);
        let since = self.last.and_then(|last| Timestamp::now().checked_sub(last.0).ok());
        // with --follow alone: from now on
        let since = since.or_else(|| self.follow.then(Timestamp::now));
        let buses = site.buses.iter().map(|bus| bus.id.clone()).filter(wanted);
        buses.map(|bus| Head { bus, from: 0, since, lost: 0 }).collect()
    }

    async fn record(&self, site: &Site, live: &Live, mut heads: Vec<Head>, lang: Lang) -> anyhow::Result<u8> {
        let mut out = BufWriter::new(self.out()?);
        let mut written = write_line(&mut out, &header(site, live))?;
        let mut pieces = 0u64;
        let stop = signals::told_to_stop();
        tokio::pin!(stop);
        let ended = loop {
            let lines = match news(&mut heads, &site.store.dir).await {
                Ok(lines) => lines,
                // the gateway was stopped: what was written stands
                Err(error) if self.follow && pieces > 0 => {
                    let told = say!(
                        lang,
                        "网关不再答复，录制到此为止（{error:#}）",
                        "the gateway answers no more, the recording ends here ({error:#})"
                    );
                    eprintln!("{told}");
                    break exit::UNEXPECTED;
                }
                Err(error) => return Err(error),
            };
            for line in &lines {
                written += write_line(&mut out, line)?;
                pieces += 1;
            }
            out.flush().context("write the recording")?;
            if !self.follow || written >= self.max.0 {
                break exit::OK;
            }
            tokio::select! {
                () = sleep(MOMENT) => {}
                told = &mut stop => break told.map(|_| exit::INTERRUPTED)?,
            }
        };
        self.tell_end((pieces, written), heads.iter().map(|head| head.lost).sum(), lang);
        Ok(ended)
    }

    fn tell_end(&self, (pieces, written): (u64, u64), lost: u64, lang: Lang) {
        let asked_for_all = self.last.is_none() && !self.follow;
        eprintln!("{}", say!(lang, "录制 {pieces} 段，{written} 字节", "{pieces} pieces, {written} bytes"));
        if lost > 0 && (self.follow || asked_for_all) {
            let told = say!(
                lang,
                "更早的 {lost} 段已被覆盖（[record] memory 决定保留多少）",
                "{lost} earlier pieces had been recorded over ([record] memory says how much is kept)"
            );
            eprintln!("{told}");
        }
    }

    fn out(&self) -> anyhow::Result<Box<dyn Write>> {
        let Some(path) = &self.output else { return Ok(Box::new(io::stdout())) };
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("write {}", path.display()))?;
        // one that was there already keeps its mode else
        let known = file.metadata().with_context(|| format!("look at {}", path.display()))?;
        if known.is_file() && known.mode() & 0o077 != 0 {
            let closed = file.set_permissions(Permissions::from_mode(0o600));
            closed.with_context(|| format!("close {} to others", path.display()))?;
        }
        Ok(Box::new(file))
    }
}

impl Head {
    /// All that came since the last time.
    async fn news(&mut self, dir: &Path) -> anyhow::Result<Vec<Line>> {
        let mut lines = Vec::new();
        loop {
            let wish = TapeWish { bus: self.bus.clone(), from: self.from, since: self.since };
            let page = page(dir, wish).await?;
            self.lost += page.lost;
            let ended = page.next == self.from || !page.known;
            self.from = page.next;
            lines.extend(page.pieces.into_iter().map(|piece| Line { bus: self.bus.clone(), piece }));
            if ended {
                return Ok(lines);
            }
        }
    }
}

/// What came on all lines since the last time, in its order.
async fn news(heads: &mut [Head], dir: &Path) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for head in heads {
        lines.extend(head.news(dir).await?);
    }
    lines.sort_by_key(|line| line.piece.mono_ns);
    Ok(lines)
}

async fn page(dir: &Path, wish: TapeWish) -> anyhow::Result<TapePage> {
    match door::visit(dir, &Question::Tape(wish)).await.context("ask the gateway for its tape")? {
        Answer::Tape(page) => Ok(page),
        Answer::Busy
        | Answer::Stopping
        | Answer::NotUnderstood(_)
        | Answer::Outcome(_)
        | Answer::Status(_)
        | Answer::Inquired(_)
        | Answer::Drilled(_) => {
            Err(anyhow::anyhow!("get the tape: the gateway is busy, stopping or older than this tool"))
        }
    }
}

async fn running(dir: &Path, lang: Lang) -> Result<Live, Told> {
    match door::visit(dir, &Question::Status).await {
        Ok(Answer::Status(live)) => Ok(*live),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let words = say!(
                lang,
                "当前用户无权询问网关：请用 gatehouse 组的用户运行",
                "this user may not ask the gateway: run as a member of group gatehouse"
            );
            Err(Told::new(exit::NOT_PERMITTED, words))
        }
        Ok(_) | Err(_) => {
            let words = say!(
                lang,
                "没有运行中的网关：报文只在它的内存里",
                "no gateway runs here, and what lines carried is in its memory only"
            );
            Err(Told::new(exit::NOTHING_FOUND, words))
        }
    }
}

fn header(site: &Site, live: &Live) -> Header {
    let timezone = site.timezone.iana_name().unwrap_or("Asia/Shanghai").to_owned();
    Header {
        gatehouse_recording: VERSION,
        site: SiteNamed { id: site.id.clone(), name: site.name.clone(), timezone },
        recorded_at: Timestamp::now(),
        time_quality: live.time_quality,
        buses: site.buses.iter().map(|bus| named(&bus.id, &bus.link)).collect(),
        devices: site
            .devices
            .iter()
            .map(|device| DeviceNamed {
                id: device.id.clone(),
                name: device.name.clone(),
                bus: device.bus.clone(),
                address: match &device.address {
                    Address::Unit(unit) => Named::Unit(*unit),
                    Address::Text(text) => Named::Address(text.clone()),
                },
                profile: device.profile.id.clone(),
                revision: device.profile.revision,
            })
            .collect(),
    }
}

/// The line without any secret: of a broker, only where it is.
fn named(id: &BusId, link: &BusLink) -> BusNamed {
    let settings = |settings: serde_json::Result<Json>| settings.unwrap_or_default();
    let (kind, settings) = match link {
        BusLink::ModbusTcp(tcp) => ("modbus_tcp", settings(serde_json::to_value(tcp))),
        BusLink::ModbusRtu(rtu) => ("modbus_rtu", settings(serde_json::to_value(rtu))),
        BusLink::ModbusRtuTcp(server) => ("modbus_rtu_tcp", settings(serde_json::to_value(server))),
        BusLink::ModbusAscii(ascii) => ("modbus_ascii", settings(serde_json::to_value(ascii))),
        BusLink::ModbusDtu(modem) => ("modbus_dtu", settings(serde_json::to_value(modem))),
        BusLink::Dlt645(meters) => ("dlt645", settings(serde_json::to_value(meters))),
        BusLink::Dlt645Tcp(meters) => ("dlt645_tcp", settings(serde_json::to_value(meters))),
        BusLink::Serial(serial) => ("serial", settings(serde_json::to_value(serial))),
        BusLink::Mqtt { broker, .. } => {
            ("mqtt", json!({ "host": broker.address.host, "port": broker.address.port }))
        }
    };
    BusNamed { id: id.clone(), kind: kind.to_owned(), settings }
}

fn write_line(out: &mut impl Write, line: &impl serde::Serialize) -> anyhow::Result<u64> {
    let mut text = serde_json::to_vec(line).context("write the recording")?;
    text.push(b'\n');
    out.write_all(&text).context("write the recording")?;
    Ok(text.len() as u64)
}
