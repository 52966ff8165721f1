//! `replay FILE`: a recording decoded and judged again, with the times of then; no device, no waiting, no store.

mod theatre;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use jiff::tz::TimeZone;

use self::theatre::{Said, Theatre};
use super::{
    exit,
    live::{Told, site_if_any},
    profile::Dirs,
    recording::{self, Header, Line, Named, Recording},
};
use crate::{
    alarm::Override,
    document::Problems,
    domain::{BusId, DeviceIx, Lang, Medium, Mono, Stamp},
    fieldbus::{BusDevice, replay::Player},
    profile::{Address, Device, Library},
    say,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct ReplayArgs {
    /// What `gatehouse record` wrote; - is standard input / 录制文件
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A site file whose devices and rules are tried instead of the recorded ones / 用这个配置回放
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Of this device only / 仅某台设备
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Alarms only / 只看报警
    #[arg(long)]
    alarms: bool,
    #[command(flatten)]
    dirs: Dirs,
    /// One JSON object a reading, alarm transition or unknown frame
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse replay lifts.jsonl                              readings and alarms as they would have been / 回放
  gatehouse replay lifts.jsonl --config new.toml --alarms   would these rules have raised it? / 换配置再看";

/// The devices of a replay, and the rules that differ.
struct Cast {
    devices: Vec<Device>,
    overrides: Vec<Override>,
}

impl ReplayArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let recording = match self.read(lang) {
            Ok(recording) => recording,
            Err(told) => return Ok(told.tell()),
        };
        let cast = match self.cast(&recording.header, lang) {
            Ok(cast) => cast,
            Err(told) => return Ok(told.tell()),
        };
        if recording.cut {
            eprintln!(
                "{}",
                say!(
                    lang,
                    "最后一行不完整，已略去：录制时中断了",
                    "the last line is cut off and left out: the recording broke off there"
                )
            );
        }
        self.play(&recording, cast, lang)
    }

    fn read(&self, lang: Lang) -> Result<Recording, Told> {
        let file = self.file.display();
        let read = if self.file.as_os_str() == "-" {
            recording::read(io::stdin().lock())
        } else {
            let opened = File::open(&self.file);
            let opened = opened.map_err(|error| {
                Told::new(
                    exit::NOTHING_FOUND,
                    say!(lang, "{file} 打不开：{error}", "{file} cannot be opened: {error}"),
                )
            })?;
            recording::read(BufReader::new(opened))
        };
        read.map_err(|mistake| {
            let (line, what) = (mistake.line, mistake.what.get(lang));
            Told::new(
                exit::INVALID,
                say!(lang, "{file}:{line}: 错误: {what}", "{file}:{line}: error: {what}"),
            )
        })
    }

    /// The devices of `--config`, or those that the recording names, as far as their profiles are known here.
    fn cast(&self, header: &Header, lang: Lang) -> Result<Cast, Told> {
        if let Some(config) = &self.config
            && let Some(site) = site_if_any(Some(config), lang)?
        {
            return Ok(Cast { devices: site.devices, overrides: site.overrides });
        }
        let mut problems = Problems::default();
        let library = self.dirs.load(&mut problems);
        let devices = header.devices.iter().filter_map(|named| device(named, &library, lang)).collect();
        Ok(Cast { devices, overrides: Vec::new() })
    }

    fn play(&self, recording: &Recording, cast: Cast, lang: Lang) -> anyhow::Result<u8> {
        let mut players = players(&recording.header, &cast.devices, lang);
        let zone = TimeZone::get(&recording.header.site.timezone).unwrap_or(TimeZone::UTC);
        let mut theatre = Theatre::new(cast.devices, &cast.overrides, zone)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let (mut told, mut replayed) = (Vec::new(), Vec::new());
        for Line { bus, piece } in &recording.lines {
            let at = Stamp { mono: Mono(std::time::Duration::from_nanos(piece.mono_ns)), wall: piece.at };
            theatre.pass_time(at, &mut told);
            if let Some(player) = players.get_mut(bus) {
                player.play(piece, at, &mut replayed);
            }
            replayed.drain(..).for_each(|heard| theatre.hear(bus, heard, &mut told));
            self.print(&theatre, &mut told, lang, &mut out)?;
        }
        if let Some(last) = recording.lines.last() {
            let at = Stamp {
                mono: Mono(std::time::Duration::from_nanos(last.piece.mono_ns)),
                wall: last.piece.at,
            };
            for (bus, player) in &mut players {
                player.end(at, &mut replayed);
                replayed.drain(..).for_each(|heard| theatre.hear(bus, heard, &mut told));
            }
            self.print(&theatre, &mut told, lang, &mut out)?;
        }
        out.flush()?;
        drop(out);
        let (pieces, counts) = (recording.lines.len(), theatre.counts);
        let (readings, alarms, unknown) = (counts.readings, counts.transitions, counts.unknown);
        eprintln!(
            "{}",
            say!(
                lang,
                "{pieces} 段：{readings} 个读数，{alarms} 次报警变化，{unknown} 个不认识的帧",
                "{pieces} pieces: {readings} readings, {alarms} alarm transitions, {unknown} unknown frames"
            )
        );
        Ok(if readings + alarms + unknown == 0 { exit::NOTHING_FOUND } else { exit::OK })
    }

    fn print(
        &self,
        theatre: &Theatre,
        told: &mut Vec<Said>,
        lang: Lang,
        out: &mut impl Write,
    ) -> io::Result<()> {
        for said in told.drain(..) {
            let wanted = self.device.as_deref().is_none_or(|device| said.device() == Some(device));
            if wanted && (said.is_alarm() || !self.alarms) {
                match self.json {
                    true => writeln!(out, "{}", theatre.record(&said))?,
                    false => writeln!(out, "{}", theatre.line(&said, lang))?,
                }
            }
        }
        Ok(())
    }
}

fn device(named: &recording::DeviceNamed, library: &Library, lang: Lang) -> Option<Device> {
    let (id, profile) = (&named.id, &named.profile);
    let Some(known) = library.profile(profile) else {
        eprintln!(
            "{}",
            say!(
                lang,
                "{id}：没有产品 {profile}（自己的目录用 --profiles DIR 加入），不回放",
                "{id}: there is no profile {profile} here (--profiles DIR takes in a directory); it is left out"
            )
        );
        return None;
    };
    if known.revision != named.revision {
        let (then, now) = (named.revision, known.revision);
        eprintln!(
            "{}",
            say!(
                lang,
                "{id}：录制时 {profile} 是版本 {then}，现在是 {now}",
                "{id}: {profile} was at revision {then} when this was recorded, it is at {now} now"
            )
        );
    }
    let address = match &named.address {
        Named::Unit(unit) => Address::Unit(*unit),
        Named::Address(text) => Address::Text(text.clone()),
    };
    let (id, name, bus) = (named.id.clone(), named.name.clone(), named.bus.clone());
    Some(Device {
        id,
        name,
        profile: known,
        bus,
        medium: Medium::default(),
        address,
        tags: Default::default(),
    })
}

fn players(header: &Header, devices: &[Device], lang: Lang) -> HashMap<BusId, Player> {
    let mut players = HashMap::new();
    for bus in &header.buses {
        let numbered = (0u32..).zip(devices).filter(|(_, device)| device.bus == bus.id);
        let its = numbered.map(|(ix, device)| BusDevice {
            ix: DeviceIx(ix),
            id: device.id.clone(),
            address: device.address.clone(),
            medium: device.medium,
            profile: Arc::clone(&device.profile),
        });
        match Player::new(&bus.id, &bus.kind, its.collect()) {
            Ok(player) => drop(players.insert(bus.id.clone(), player)),
            Err(why) => {
                let (id, why) = (&bus.id, why.get(lang));
                eprintln!("{}", say!(lang, "总线 {id} 不回放：{why}", "bus {id} is not played: {why}"));
            }
        }
    }
    players
}
