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
    domain::{Lang, PointIx, Raw, Sample, Table},
    profile::{Captured, Conditions, Profile, hex_bytes, number_in, plain_wire, shown, stretches},
    say,
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
    #[arg(long, value_name = "N=0|1,…", value_delimiter = ',', value_parser = word)]
    coil: Vec<(u16, u16)>,
    /// Discrete inputs / 离散输入
    #[arg(long, value_name = "N=0|1,…", value_delimiter = ',', value_parser = word)]
    discrete: Vec<(u16, u16)>,
    /// A whole captured frame in hex / 一帧（十六进制）
    #[arg(long, value_name = "HEX", group = "whole")]
    frame: Option<String>,
    /// With --frame: the Modbus request in hex, or the name of the serial request / 对应的请求
    #[arg(long, value_name = "HEX|NAME", requires = "frame")]
    request: Option<String>,
    /// An MQTT message, JSON or text / 一条消息
    #[arg(long, value_name = "JSON|TEXT", group = "whole")]
    payload: Option<String>,
    /// An MQTT message in hex / 一条消息（十六进制）
    #[arg(long, value_name = "HEX", group = "whole")]
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
            Err(why) => {
                eprintln!("{}", say!(lang, "不是有效的输入：{why}", "this is no valid input: {why}"));
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

    fn raws(&self, profile: &Profile) -> Result<Vec<Raw>, String> {
        if let Some(frame) = &self.frame {
            let frame = hex_bytes(frame).ok_or("the frame is not hex")?;
            let captured = Captured { profile, request: self.request.as_deref(), frame: &frame };
            return plain_wire(captured).map(|raw| vec![raw]);
        }
        let payload = match (&self.payload, &self.payload_hex) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(digits)) => Some(hex_bytes(digits).ok_or("the payload is not hex")?),
            (None, None) => None,
        };
        if let Some(payload) = payload {
            return Ok(vec![Raw::Payload { bytes: Bytes::from(payload), retained: false }]);
        }
        Ok(self.registers(profile))
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
