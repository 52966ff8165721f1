//! A recording as a file: one JSON object a line, first who and what it is of, then what each line carried.
//!
//! It may come from anywhere: every line is bounded and checked, and a mistake says in which line it is.

use std::{
    collections::HashSet,
    io::{self, BufRead, Read},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    domain::{BusId, DeviceId, ProfileId, Text, TimeQuality, tape::Piece},
    text,
};

pub const VERSION: u32 = 1;
/// The longest message that a tape keeps, in hex, and what stands around it.
const LONGEST_LINE: u64 = 1 << 20;
/// More is not read at once.
const MOST_PIECES: usize = 4_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub gatehouse_recording: u32,
    pub site: SiteNamed,
    pub recorded_at: Timestamp,
    pub time_quality: TimeQuality,
    pub buses: Vec<BusNamed>,
    pub devices: Vec<DeviceNamed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteNamed {
    pub id: String,
    pub name: String,
    pub timezone: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusNamed {
    pub id: BusId,
    /// The name of its table in the site file.
    pub kind: String,
    /// Its line, without any secret.
    pub settings: Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNamed {
    pub id: DeviceId,
    pub name: String,
    pub bus: BusId,
    pub address: Named,
    pub profile: ProfileId,
    pub revision: u32,
}

/// A unit id, or an address as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    Unit(u8),
    Address(String),
}

/// One piece under the name of its bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub bus: BusId,
    #[serde(flatten)]
    pub piece: Piece,
}

#[derive(Debug, PartialEq)]
pub struct Recording {
    pub header: Header,
    /// In the order of their times.
    pub lines: Vec<Line>,
    /// Its last line was cut off, as when the box lost its power in the midst of it; it is left out.
    pub cut: bool,
}

/// What is wrong, and in which line; 0: with the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: usize,
    pub what: Text,
}

/// # Errors
/// The first line that cannot be used.
pub fn read(mut from: impl BufRead) -> Result<Recording, Mistake> {
    let mut numbered = 0;
    let first = next(&mut from, &mut numbered)?;
    let first =
        first.ok_or_else(|| Mistake { line: 0, what: text!("文件是空的", "the file is empty") })?;
    let header: Header = parse(&first, numbered)?;
    if header.gatehouse_recording != VERSION {
        let version = header.gatehouse_recording;
        let what = text!(
            "录制格式版本 {version}，这里只懂 {VERSION}",
            "format version {version}; this reads {VERSION}"
        );
        return Err(Mistake { line: numbered, what });
    }
    let known: HashSet<BusId> = header.buses.iter().map(|bus| bus.id.clone()).collect();
    let (mut lines, mut cut) = (Vec::new(), false);
    while let Some(text) = next(&mut from, &mut numbered)? {
        let line: Line = match parse(&text, numbered) {
            Ok(line) => line,
            Err(_half) if !text.ends_with('\n') => {
                cut = true;
                break;
            }
            Err(mistake) => return Err(mistake),
        };
        if !known.contains(&line.bus) {
            let bus = &line.bus;
            let what = text!("文件头里没有总线 \"{bus}\"", "the header names no bus \"{bus}\"");
            return Err(Mistake { line: numbered, what });
        }
        if lines.len() == MOST_PIECES {
            let what = text!(
                "超过 {MOST_PIECES} 段，请分开录制",
                "more than {MOST_PIECES} pieces: record it in parts"
            );
            return Err(Mistake { line: numbered, what });
        }
        lines.push(line);
    }
    lines.sort_by_key(|line| line.piece.mono_ns);
    Ok(Recording { header, lines, cut })
}

/// The next line that is not blank.
fn next(from: &mut impl BufRead, number: &mut usize) -> Result<Option<String>, Mistake> {
    loop {
        *number += 1;
        let mut bytes = Vec::new();
        let unread = |error: &io::Error| Mistake {
            line: *number,
            what: text!("读不出：{error}", "it cannot be read: {error}"),
        };
        from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(|error| unread(&error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() as u64 == LONGEST_LINE {
            return Err(Mistake { line: *number, what: text!("这一行太长", "the line is too long") });
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(Mistake { line: *number, what: text!("不是 UTF-8 文本", "it is no UTF-8 text") });
        };
        if !text.trim().is_empty() {
            return Ok(Some(text));
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str, line: usize) -> Result<T, Mistake> {
    serde_json::from_str(text).map_err(|error| {
        let what = text!("不是录制的内容（{error}）", "this is no line of a recording ({error})");
        Mistake { line, what }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::tape::What;

    fn header() -> Header {
        Header {
            gatehouse_recording: VERSION,
            site: SiteNamed { id: "s".into(), name: "站".into(), timezone: "Asia/Shanghai".into() },
            recorded_at: "2026-11-23T06:03:11Z".parse().unwrap(),
            time_quality: TimeQuality::Synced,
            buses: vec![BusNamed { id: "lifts".into(), kind: "modbus_rtu".into(), settings: Json::Null }],
            devices: Vec::new(),
        }
    }

    fn piece(mono_ns: u64) -> Line {
        let at = "2026-11-23T06:03:11Z".parse().unwrap();
        Line { bus: "lifts".into(), piece: Piece { at, mono_ns, what: What::Out { hex: vec![1, 3] } } }
    }

    fn written(lines: &[Line]) -> String {
        let lines = lines.iter().map(|line| serde_json::to_string(line).unwrap());
        std::iter::once(serde_json::to_string(&header()).unwrap()).chain(lines).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_was_written_is_read_in_the_order_of_its_times() {
        let text = written(&[piece(2), piece(1)]) + "\n\n";
        let recording = read(text.as_bytes()).unwrap();
        assert_eq!(recording.header, header());
        assert_eq!(recording.lines, [piece(1), piece(2)]);
    }

    #[test]
    fn a_mistake_says_in_which_line_it_is() {
        let good = written(&[piece(1)]) + "\n";
        for (fact, text, line, words) in [
            ("empty", String::new(), 0, "empty"),
            ("no header", r#"{"bus":"lifts"}"#.to_owned(), 1, "gatehouse_recording"),
            (
                "another version",
                good.replace("\"gatehouse_recording\":1", "\"gatehouse_recording\":9"),
                1,
                "version 9",
            ),
            (
                "a bus that the header lacks",
                good.replace("{\"bus\":\"lifts\"", "{\"bus\":\"gates\""),
                2,
                "gates",
            ),
            ("no hex", good.replace("0103", "01 3"), 2, "hex"),
            ("an unknown direction", good.replace("\"out\"", "\"up\""), 2, "up"),
            ("cut in its midst", format!("{}\n{good}", &good[..good.len() - 3]), 2, "no line of a recording"),
            ("too long", good + &"x".repeat(1 << 21), 3, "too long"),
        ] {
            let mistake = read(text.as_bytes()).unwrap_err();
            assert!(mistake.line == line && mistake.what.en.contains(words), "{fact}: {mistake:?}");
        }
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out() {
        let whole = written(&[piece(1), piece(2)]);
        let recording = read(&whole.as_bytes()[..whole.trim_end().len() - 3]).unwrap();
        assert_eq!((recording.lines, recording.cut), (vec![piece(1)], true));
        assert!(!read(whole.trim_end().as_bytes()).unwrap().cut, "only its line end is missing");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_recording_or_a_mistake(bytes in prop::collection::vec(any::<u8>(), 0..400), after_header: bool) {
            let mut file = if after_header { written(&[piece(1)]).into_bytes() } else { Vec::new() };
            file.push(b'\n');
            file.extend(&bytes);
            if let Err(mistake) = read(&file[..]) {
                prop_assert!(mistake.line <= file.len() + 1);
            }
        }
    }
}
