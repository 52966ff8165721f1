//! `decode PROFILE …`: what raw words, a frame or a message mean by a profile.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use bytes::Bytes;
use clap::Args;
use comfy_table::{Table as Grid, presets};
use serde_json::json;

use super::{
    exit,
    profile::{Dirs, Sheet, Trouble, sheet, tell, unknown},
};
use crate::{
    document::Problems,
    domain::{Lang, PointIx, Raw, Sample, Table, Text},
    profile::{
        Captured, Conditions, Link, Profile, SerialLink, hex_bytes, number_in, plain_wire, shown, stretches,
    },
    say, text,
};

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct DecodeArgs {
    /// A profile's id or file / 产品编号或文件
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// Holding registers, numbered as in the profile / 保持寄存器
    #[arg(long, value_name = "N=WORD,…", value_delimiter = ',', value_parser = word)]
    holding: Vec<(u16, u16)>,
    /// Input registers / 输入寄存器
    #[arg(long, value_name = "N=WORD,…", value_delimiter = ',', value_parser = word)]
    input: Vec<(u16, u16)>,
    /// Coils / 线圈
    #[arg(long, value_name = "N=0|1,…", value_delimiter = ',', value_parser = bit)]
    coil: Vec<(u16, u16)>,
    /// Discrete inputs / 离散输入
    #[arg(long, value_name = "N=0|1,…", value_delimiter = ',', value_parser = bit)]
    discrete: Vec<(u16, u16)>,
    /// A whole captured frame in hex / 一帧（十六进制）
    #[arg(long, value_name = "HEX")]
    frame: Option<String>,
    /// With --frame: the Modbus request in hex, or the name of the serial request / 对应的请求
    #[arg(long, value_name = "HEX|NAME", requires = "frame")]
    request: Option<String>,
    /// An MQTT message, JSON or text / 一条消息
    #[arg(long, value_name = "JSON|TEXT")]
    payload: Option<String>,
    /// An MQTT message in hex / 一条消息（十六进制）
    #[arg(long, value_name = "HEX")]
    payload_hex: Option<String>,
    #[command(flatten)]
    dirs: Dirs,
    /// One JSON object a point
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples / 示例:
  gatehouse decode elevator/monarch-nice3000 --holding 0x1018=7,0x101D=0x0570
  gatehouse decode elevator/monarch-nice3000 --request '01 03 10 18 00 01 00 CD' --frame '01 03 00 02 00 07 A5 C8'
  gatehouse decode parking-sensor/bosch-tps110 --payload '{\"fPort\":1,\"object\":{\"occupied\":true}}'";

impl DecodeArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let mut problems = Problems::default();
        let library = self.dirs.load(&mut problems);
        match sheet(&self.profile, &library, &mut problems) {
            Ok(Some(Sheet { profile, .. })) => self.decode(&profile, lang, &mut io::stdout().lock()),
            Ok(None) | Err(Trouble::Unknown) => {
                unknown(&self.profile, &library, lang);
                Ok(exit::NOTHING_FOUND)
            }
            Err(Trouble::Invalid) => {
                tell(&problems, lang);
                Ok(exit::INVALID)
            }
        }
    }

    fn decode(&self, profile: &Profile, lang: Lang, out: &mut dyn Write) -> anyhow::Result<u8> {
        let raws = match self.raws(profile) {
            Ok(raws) => raws,
            Err(Unfit::Words(why)) => {
                let (why, takes) = (why.get(lang), takes(profile));
                let (id, takes) = (&profile.id, takes.get(lang));
                eprintln!("{}", say!(lang, "{why}\n{id} 接受：{takes}", "{why}\n{id} takes {takes}"));
                return Ok(exit::USAGE);
            }
            Err(Unfit::Frame(why)) => {
                eprintln!("{}", say!(lang, "其中没有读数：{why}", "there is no reading in it: {why}"));
                return Ok(exit::NOT_VERIFIED);
            }
        };
        let about: Vec<PointIx> = profile.all_points().collect();
        let mut found: Vec<(PointIx, Option<String>, Sample)> = Vec::new();
        for raw in &raws {
            let decoded = profile.decode(raw, &about);
            if let Some(why) = decoded.malformed {
                eprintln!("{}", say!(lang, "消息读不懂：{why}", "the message cannot be read: {why}"));
            }
            found.extend(
                decoded.samples.into_iter().map(|(ix, sample)| (ix, profile.raw_shown(ix, raw), sample)),
            );
        }
        found.sort_by_key(|(ix, ..)| *ix);
        if found.is_empty() {
            eprintln!("{}", say!(lang, "其中没有这个产品的测点。", "It speaks of no point of this profile."));
            return Ok(exit::NOTHING_FOUND);
        }
        match self.json {
            true => print_records(profile, &found, out)?,
            false => print_table(profile, &found, lang, out)?,
        }
        Ok(exit::OK)
    }

    fn raws(&self, profile: &Profile) -> Result<Vec<Raw>, Unfit> {
        let payload = |bytes: Vec<u8>| vec![Raw::Payload { bytes: Bytes::from(bytes), retained: false }];
        match (self.only_input()?, &profile.link) {
            (Input::Registers, Link::Modbus(_)) => {
                self.listed_once()?;
                Ok(self.registers(profile))
            }
            (Input::Frame(digits), Link::Modbus(_) | Link::Serial(_) | Link::Dlt645(_)) => {
                let frame = hex("--frame", digits)?;
                self.fitting_request(&profile.link)?;
                let captured = Captured { profile, request: self.request.as_deref(), frame: &frame };
                plain_wire(captured).map(|raw| vec![raw]).map_err(Unfit::Frame)
            }
            (Input::Text(text), Link::Mqtt(_)) => Ok(payload(text.as_bytes().to_vec())),
            (Input::Bytes(digits), Link::Mqtt(_)) => Ok(payload(hex("--payload-hex", digits)?)),
            (Input::Registers | Input::Frame(_) | Input::Text(_) | Input::Bytes(_), _) => {
                Err(Unfit::Words(text!("这种输入不属于这个产品", "this profile has no such input")))
            }
        }
    }

    fn only_input(&self) -> Result<Input<'_>, Unfit> {
        let registers = self.tables().iter().any(|(_, listed)| !listed.is_empty());
        let given = [
            registers.then_some(Input::Registers),
            self.frame.as_deref().map(Input::Frame),
            self.payload.as_deref().map(Input::Text),
            self.payload_hex.as_deref().map(Input::Bytes),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Unfit::Words(text!("没有要解码的内容", "there is nothing to decode"))),
            (Some(_), Some(_)) => {
                Err(Unfit::Words(text!("一次只能有一种输入", "these are two kinds of input at once")))
            }
        }
    }

    fn tables(&self) -> [(&'static str, &[(u16, u16)]); 4] {
        [
            ("--holding", &self.holding),
            ("--input", &self.input),
            ("--coil", &self.coil),
            ("--discrete", &self.discrete),
        ]
    }

    /// The last of two different words for one register would win unseen.
    fn listed_once(&self) -> Result<(), Unfit> {
        for (option, listed) in self.tables() {
            let mut words = BTreeMap::new();
            for (number, word) in listed {
                let before = *words.entry(number).or_insert(word);
                if before != word {
                    return Err(Unfit::Words(text!(
                        "{option} {number} 写了两次：{before} 和 {word}",
                        "{option} {number} is there twice: as {before} and as {word}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// A Modbus reply means nothing without its request; a serial frame's request is one of the profile's.
    fn fitting_request(&self, link: &Link) -> Result<(), Unfit> {
        match (link, self.request.as_deref()) {
            (Link::Modbus(_), None) => Err(Unfit::Words(text!(
                "Modbus 应答要和它的请求一起给：--request HEX",
                "a Modbus reply is read beside its request: --request HEX"
            ))),
            (Link::Modbus(_), Some(digits)) => hex("--request", digits).map(drop),
            (Link::Serial(link), Some(name)) if !frame_names(link).any(|known| known == name) => Err(
                Unfit::Words(text!("这个产品没有请求 \"{name}\"", "this profile has no request \"{name}\"")),
            ),
            (Link::Serial(_) | Link::Mqtt(_) | Link::Dlt645(_), _) => Ok(()),
        }
    }

    fn registers(&self, profile: &Profile) -> Vec<Raw> {
        let base = profile.address_base();
        let runs =
            |listed: &[(u16, u16)]| stretches(&listed.iter().copied().collect::<BTreeMap<_, _>>(), base);
        let mut raws = Vec::new();
        for (table, listed) in [(Table::Holding, &self.holding), (Table::Input, &self.input)] {
            raws.extend(runs(listed).into_iter().map(|(first, words)| Raw::Registers {
                table,
                first,
                words,
            }));
        }
        for (table, listed) in [(Table::Coil, &self.coil), (Table::Discrete, &self.discrete)] {
            raws.extend(runs(listed).into_iter().map(|(first, words)| Raw::Bits {
                table,
                first,
                bits: words.into_iter().map(|word| word != 0).collect(),
            }));
        }
        raws
    }
}

/// What a command line asks to decode.
enum Input<'a> {
    Registers,
    Frame(&'a str),
    Text(&'a str),
    /// In hex.
    Bytes(&'a str),
}

/// Why nothing can be decoded.
enum Unfit {
    /// The command line does not fit the profile, or itself.
    Words(Text),
    /// No driver would hand this frame on.
    Frame(String),
}

fn hex(option: &str, digits: &str) -> Result<Vec<u8>, Unfit> {
    hex_bytes(digits)
        .ok_or_else(|| Unfit::Words(text!("{option} 不是十六进制", "what {option} was given is not hex")))
}

fn frame_names(link: &SerialLink) -> impl Iterator<Item = &str> {
    let events = link.events.iter().map(|event| event.name.as_str());
    link.requests.iter().map(|request| request.name.as_str()).chain(events)
}

/// The options that fit a profile of this kind.
fn takes(profile: &Profile) -> Text {
    match &profile.link {
        Link::Modbus(_) => text!(
            "--holding、--input、--coil、--discrete（N=值,…），或 --request HEX 加 --frame HEX",
            "--holding, --input, --coil, --discrete (N=WORD,…), or --request HEX with --frame HEX"
        ),
        Link::Serial(link) => {
            let names = frame_names(link).collect::<Vec<_>>().join("|");
            text!("--frame HEX，可加 --request {names}", "--frame HEX, and if you like --request {names}")
        }
        Link::Dlt645(_) => text!("--frame HEX：电表的应答帧", "--frame HEX: a reply of the meter"),
        Link::Mqtt(_) => text!("--payload JSON 或 --payload-hex HEX", "--payload JSON or --payload-hex HEX"),
    }
}

fn print_records(
    profile: &Profile,
    found: &[(PointIx, Option<String>, Sample)],
    out: &mut dyn Write,
) -> io::Result<()> {
    for (ix, raw, sample) in found {
        let point = profile.class_point(*ix);
        let record = json!({
            "point": point.name, "raw": raw, "value": sample.value(), "unit": point.unit, "quality": sample.quality(),
        });
        writeln!(out, "{record}")?;
    }
    Ok(())
}

fn print_table(
    profile: &Profile,
    found: &[(PointIx, Option<String>, Sample)],
    lang: Lang,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    grid.set_header(match lang {
        Lang::Zh => ["测点", "原始值", "值", "单位", "品质", "名称"],
        Lang::En => ["point", "raw", "value", "unit", "quality", "title"],
    });
    for (ix, raw, sample) in found {
        let point = profile.class_point(*ix);
        grid.add_row([
            point.name.to_string(),
            raw.clone().unwrap_or_default(),
            sample.value().map_or_else(|| "–".to_owned(), |_| shown(sample)),
            point.unit.clone(),
            sample.quality().word().to_owned(),
            point.title.get(lang).to_owned(),
        ]);
    }
    writeln!(out, "{}", grid.trim_fmt())?;
    let readings =
        found.iter().map(|(ix, _, sample)| (profile.class_point(*ix).name.as_str(), sample)).collect();
    let conditions = Conditions::of(&profile.class);
    let alarms: Vec<&str> = conditions.true_for(&readings).into_iter().collect();
    if !alarms.is_empty() {
        let alarms = alarms.join(", ");
        writeln!(out, "{}", say!(lang, "报警条件成立：{alarms}", "alarm conditions that hold: {alarms}"))?;
    }
    Ok(())
}

/// `3=1`.
fn bit(text: &str) -> Result<(u16, u16), String> {
    word(text).and_then(|(number, word)| match word {
        0 | 1 => Ok((number, word)),
        _ => Err("a bit is 0 or 1".to_owned()),
    })
}

/// `0x10=7`; a negative word is its two's complement.
fn word(text: &str) -> Result<(u16, u16), String> {
    let (number, word) = text.split_once('=').ok_or("write NUMBER=WORD, such as 0x10=7")?;
    let number = number_in(number.trim()).and_then(|number| u16::try_from(number).ok());
    let word = match number_in(word.trim()) {
        Some(word @ 0..=0xFFFF) => Some(word as u16),
        Some(word @ -0x8000..0) => Some(word as i16 as u16),
        Some(_) | None => None,
    };
    Ok((number.ok_or("a register's number is 0 to 65535")?, word.ok_or("a word is 0 to 65535")?))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
