//! What to read and as what: `hr:0x12..0x1F --as i16,f32`, turned into a profile, so that it is read and decoded as every product is.

use std::{fmt::Write as _, str::FromStr, sync::Arc, time::Duration};

use crate::{
    document::Problems,
    domain::{Lang, PointIx, Table},
    fieldbus::plan::Ask,
    profile::{Library, Profile, Read, number_in},
};

/// Registers or bits of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub table: Table,
    pub first: u16,
    pub count: u16,
}

/// A type of formats.md, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    /// In registers; `None`: as many as there are left.
    span: Option<u16>,
}

/// Name, registers, and what a class calls such a value. `string` is as long as its number says.
const KINDS: [(&str, u16, &str); 13] = [
    ("bool", 1, "flag"),
    ("u8", 1, "number"),
    ("i8", 1, "number"),
    ("u16", 1, "number"),
    ("i16", 1, "number"),
    ("u32", 2, "number"),
    ("i32", 2, "number"),
    ("f32", 2, "number"),
    ("u64", 4, "number"),
    ("i64", 4, "number"),
    ("f64", 4, "number"),
    ("bcd16", 1, "number"),
    ("bcd32", 2, "number"),
];
const STRING: &str = "string";

/// The four orders of bytes.
pub const ORDERS: [&str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];

/// What is to be read, compiled.
pub struct Spec {
    pub profile: Arc<Profile>,
    /// The type of each of the profile's points.
    pub kinds: Vec<&'static str>,
}

/// How it is asked.
pub struct Manner<'a> {
    pub order: &'a str,
    pub timeout: Duration,
    pub max_registers: u16,
}

impl FromStr for Stretch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "write hr:0x12..0x1F, ir:18, co:0..7, di:3+5, or 40019..40031";
        let (table, numbers, base) = match text.split_once(':') {
            Some((table, numbers)) => (table_named(table).ok_or(EXPECTED)?, numbers, 0),
            None => (manual_table(text).ok_or(EXPECTED)?, text, 1),
        };
        let place = |text: &str| match base {
            0 => number_in(text).and_then(|number| u16::try_from(number).ok()),
            _ => manual_table(text)
                .filter(|its| *its == table)
                .and_then(|_| text[1..].parse::<u32>().ok()?.checked_sub(1)?.try_into().ok()),
        };
        let (first, last) = match (numbers.split_once(".."), numbers.split_once('+')) {
            (Some((first, last)), _) => (place(first), place(last)),
            (None, Some((first, count))) => {
                let first = place(first);
                let last = first
                    .zip(number_in(count))
                    .and_then(|(first, count)| u16::try_from(i128::from(first) + count - 1).ok());
                (first, last)
            }
            (None, None) => (place(numbers), place(numbers)),
        };
        let (first, last) = first.zip(last).filter(|(first, last)| first <= last).ok_or(EXPECTED)?;
        let count = (last - first).checked_add(1).ok_or("65535 registers at once at most")?;
        Ok(Self { table, first, count })
    }
}

fn table_named(name: &str) -> Option<Table> {
    match name {
        "hr" | "holding" | "4x" => Some(Table::Holding),
        "ir" | "input" | "3x" => Some(Table::Input),
        "co" | "coil" | "0x" => Some(Table::Coil),
        "di" | "discrete" | "1x" => Some(Table::Discrete),
        _ => None,
    }
}

/// By the first of five or six digits.
fn manual_table(text: &str) -> Option<Table> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    match (text.as_bytes().first()?, digits) {
        (b'0', 5 | 6) => Some(Table::Coil),
        (b'1', 5 | 6) => Some(Table::Discrete),
        (b'3', 5 | 6) => Some(Table::Input),
        (b'4', 5 | 6) => Some(Table::Holding),
        _ => None,
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix(STRING) {
            let span = match rest.strip_prefix(':') {
                Some(length) => Some(
                    length
                        .parse()
                        .ok()
                        .filter(|n| (1..=125).contains(n))
                        .ok_or("string:LENGTH is 1 to 125 registers")?,
                ),
                None if rest.is_empty() => None,
                None => return Err("write string or string:LENGTH".to_owned()),
            };
            return Ok(Self { name: STRING, span });
        }
        let known = KINDS.iter().find(|(name, ..)| *name == text);
        known.map(|(name, span, _)| Self { name, span: Some(*span) }).ok_or_else(|| {
            let names = KINDS.map(|(name, ..)| name).join(" ");
            format!("one of {names} {STRING}[:LENGTH]")
        })
    }
}

impl Spec {
    /// The types are laid end to end over each stretch, again from the first when they are used up; what is left over is `u16`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn compile(
        wanted: &[Stretch],
        kinds: &[Kind],
        manner: &Manner<'_>,
        lang: Lang,
    ) -> Result<Self, String> {
        let Manner { order, timeout, max_registers } = manner;
        let (mut class, mut names) = (String::from("class = \"read\"\n"), Vec::new());
        let mut profile = format!(
            "profile = \"read/read\"\nrevision = 1\nsource = \"the command line\"\n[modbus]\naddress_base = 0\n\
             byte_order = \"{order}\"\nmax_registers = {max_registers}\nmax_gap = 0\nretries = 0\ntimeout = \"{}ms\"\n",
            timeout.as_millis().max(1),
        );
        for stretch in wanted {
            for (first, kind, span) in laid_out(stretch, kinds) {
                let n = names.len();
                let meant =
                    KINDS.iter().find(|(name, ..)| *name == kind).map_or("text", |(_, _, meant)| *meant);
                let length = if kind == STRING { format!(", length = {span}") } else { String::new() };
                let table = table_word(stretch.table);
                let written = write!(class, "[[point]]\nname = \"v{n}\"\nkind = \"{meant}\"\n").and_then(|()| {
                    write!(
                        profile,
                        "[[point]]\nname = \"v{n}\"\nread = {{ table = \"{table}\", address = {first}, type = \"{kind}\"{length} }}\n"
                    )
                });
                written.map_err(|error| error.to_string())?;
                names.push(kind);
            }
        }
        let mut problems = Problems::default();
        let library =
            Library::of(&[("read/class.toml", &class), ("read/read.toml", &profile)], &mut problems);
        let profile = library.profile("read/read").ok_or_else(|| problems.lines(lang))?;
        Ok(Self { profile, kinds: names })
    }

    /// The questions, each with the points it answers: neighbours together, as many as one request takes.
    pub fn asks(&self, max_registers: u16) -> Vec<(Ask, Vec<PointIx>)> {
        let mut asks: Vec<(Ask, Vec<PointIx>)> = Vec::new();
        for ix in self.profile.all_points() {
            let Read::Modbus { table, address, span } = self.profile.points[usize::from(ix.0)].read else {
                continue;
            };
            let bits = matches!(table, Table::Coil | Table::Discrete);
            let most = if bits { max_registers.saturating_mul(16) } else { max_registers };
            match asks.last_mut() {
                Some((Ask::Block { table: same, first, count }, points))
                    if *same == table
                        && u32::from(*first) + u32::from(*count) == u32::from(address)
                        && *count + span <= most =>
                {
                    *count += span;
                    points.push(ix);
                }
                Some(_) | None => asks.push((Ask::Block { table, first: address, count: span }, vec![ix])),
            }
        }
        asks
    }
}

fn laid_out(stretch: &Stretch, kinds: &[Kind]) -> Vec<(u32, &'static str, u16)> {
    if matches!(stretch.table, Table::Coil | Table::Discrete) {
        return (0..stretch.count).map(|n| (u32::from(stretch.first) + u32::from(n), "bool", 1)).collect();
    }
    let (mut at, mut left, mut laid) = (u32::from(stretch.first), stretch.count, Vec::new());
    let mut next = kinds.iter().cycle();
    while left > 0 {
        let (name, span) = match next.next() {
            Some(Kind { name, span }) => (*name, span.unwrap_or(left.min(125))),
            None => ("u16", 1),
        };
        let (name, span) = if span <= left { (name, span) } else { ("u16", 1) };
        laid.push((at, name, span));
        at += u32::from(span);
        left -= span;
    }
    laid
}

pub fn table_word(table: Table) -> &'static str {
    match table {
        Table::Holding => "holding",
        Table::Input => "input",
        Table::Coil => "coil",
        Table::Discrete => "discrete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Raw, profile::shown};

    #[test]
    fn stretches_are_written_in_both_ways_of_counting() {
        for (text, expected) in [
            ("hr:0x12..0x1F", Some((Table::Holding, 0x12, 14))),
            ("hr:18", Some((Table::Holding, 18, 1))),
            ("ir:3+5", Some((Table::Input, 3, 5))),
            ("co:0..7", Some((Table::Coil, 0, 8))),
            ("40019..40031", Some((Table::Holding, 18, 13))),
            ("465536", Some((Table::Holding, 65535, 1))),
            ("00001", Some((Table::Coil, 0, 1))),
            ("30001..40002", None),
            ("hr:5..4", None),
            ("hr:", None),
            ("hr:0..65536", None),
            ("hr:0..0xFFFF", None),
            ("hr:65535+2", None),
            ("hr:5+0", None),
            ("40000", None),
            ("xx:1", None),
            ("4001", None),
            ("é0019", None),
            ("", None),
        ] {
            let found = text.parse::<Stretch>().ok().map(|s| (s.table, s.first, s.count));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn every_type_reads_what_the_profiles_read() {
        let words = vec![0x4049, 0x0FDB, 0xFFFE, 0x1234, 0x4865, 0x6C6C];
        let raw = Raw::Registers { table: Table::Holding, first: 0x12, words };
        for (kinds, order, expected) in [
            ("f32,i16,bcd16", "ABCD", "3.1415927410125732 -2 1234 234929.6875"),
            ("f32", "ABCD", "3.1415927410125732 decode_error 234929.6875"),
            ("u16", "BADC", "18752 56079 65279 13330 25928 27756"),
            ("u32,i8,u8,string", "ABCD", "1078530011 -2 52 \"Hell\""),
            ("string:2,bool,u16,u32", "ABCD", "decode_error true 4660 1214606444"),
            ("u64,i16", "CDAB", "13119"),
        ] {
            let kinds = kinds.split(',').map(|kind| kind.parse().unwrap()).collect::<Vec<Kind>>();
            let manner = Manner { order, timeout: Duration::from_millis(300), max_registers: 125 };
            let wanted = [Stretch { table: Table::Holding, first: 0x12, count: 6 }];
            let spec = Spec::compile(&wanted, &kinds, &manner, Lang::En).unwrap();
            let about: Vec<PointIx> = spec.profile.all_points().collect();
            let decoded = spec.profile.decode(&raw, &about);
            let said = decoded.samples.iter().map(|(_, sample)| shown(sample)).collect::<Vec<_>>().join(" ");
            assert!(said.starts_with(expected), "{order}: {said}");
            assert_eq!(decoded.samples.len(), spec.kinds.len(), "every point has its say");
        }
    }

    #[test]
    fn neighbours_are_asked_together_and_no_more_than_one_request_takes() {
        let manner = Manner { order: "ABCD", timeout: Duration::from_millis(300), max_registers: 8 };
        let wanted = ["hr:0..11", "hr:100", "co:0..20"].map(|text| text.parse().unwrap());
        let spec = Spec::compile(&wanted, &["f32".parse().unwrap()], &manner, Lang::En).unwrap();
        let block = |table, first, count| Ask::Block { table, first, count };
        let asks = spec.asks(8).into_iter().map(|(ask, points)| (ask, points.len())).collect::<Vec<_>>();
        let expected = [
            (block(Table::Holding, 0, 8), 4),
            (block(Table::Holding, 8, 4), 2),
            (block(Table::Holding, 100, 1), 1),
            (block(Table::Coil, 0, 21), 21),
        ];
        assert_eq!(asks, expected);
    }
}
