//! Cases: raw answers beside a profile, and the readings and alarms that they must give.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, Error as _},
};

use super::{
    Class, Profile,
    written::{HexBytes, RawValue, number_in},
};
use crate::{
    at,
    document::{Document, Problems, Step, meant},
    domain::{Kind, PointIx, Quality},
    text,
};

/// `<maker>-<model>.cases.toml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CasesFile {
    #[serde(default)]
    pub case: Vec<CaseFile>,
}

/// One raw answer and what it must come to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    pub fact: String,
    /// Register number, counted as the profile counts → word.
    #[serde(default)]
    pub holding: BTreeMap<String, u16>,
    #[serde(default)]
    pub input: BTreeMap<String, u16>,
    #[serde(default)]
    pub coil: BTreeMap<String, bool>,
    #[serde(default)]
    pub discrete: BTreeMap<String, bool>,
    /// Modbus: the whole request in hex. Serial: the name of the request that the frame answers.
    pub request: Option<String>,
    /// A whole frame as captured: a Modbus RTU reply, or a serial frame.
    pub frame: Option<HexBytes>,
    pub topic: Option<String>,
    pub payload: Option<String>,
    pub payload_hex: Option<HexBytes>,
    pub want: Option<BTreeMap<String, Want>>,
    /// The device is told this; what registers the case has are what its interlock sees.
    pub command: Option<CaseCommandFile>,
    /// What goes over the wire then; empty: nothing, it is refused.
    pub want_write: Option<WantWriteFile>,
    /// The alarms whose condition these readings make true.
    pub alarms: Option<Vec<String>>,
    /// No readings but those of `want`.
    #[serde(default)]
    pub exact: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseCommandFile {
    pub name: String,
    pub value: RawValue,
}

/// Registers or coils that are written, counted as the profile counts, and with which function.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantWriteFile {
    #[schemars(range(min = 5, max = 16))]
    pub function: Option<u8>,
    #[serde(default)]
    pub holding: BTreeMap<String, u16>,
    #[serde(default)]
    pub coil: BTreeMap<String, bool>,
}

/// As written: a value, a quality's word, or `{ quality = "absent" }` where a word could be a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    Number(f64),
    Flag(bool),
    Text(String),
    Quality(String),
}

impl JsonSchema for Want {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Want".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": ["integer", "number", "string", "boolean"] },
            { "type": "object", "properties": { "quality": { "type": "string" } },
              "required": ["quality"], "additionalProperties": false },
        ] })
    }
}

impl<'de> Deserialize<'de> for Want {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Want;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, a quality, or { quality = \"…\" }")
            }
            fn visit_i64<E>(self, number: i64) -> Result<Want, E> {
                Ok(Want::Number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Want, E> {
                Ok(Want::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Want, E> {
                Ok(Want::Number(number))
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Want, E> {
                Ok(Want::Flag(flag))
            }
            fn visit_str<E>(self, text: &str) -> Result<Want, E> {
                Ok(Want::Text(text.to_owned()))
            }
            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Want, M::Error> {
                let (key, word): (String, String) =
                    map.next_entry()?.ok_or_else(|| M::Error::missing_field("quality"))?;
                (key == "quality")
                    .then_some(Want::Quality(word))
                    .ok_or_else(|| M::Error::unknown_field(&key, &["quality"]))
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// What one point of a case must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    Number(f64),
    Flag(bool),
    Text(String),
    Quality(Quality),
}

/// A case held against its profile.
#[derive(Debug)]
pub struct Case {
    pub(super) file: CaseFile,
    pub(super) want: Vec<(PointIx, Expected)>,
}

/// The cases that `document` lists for `profile`; `None` and the mistakes in `problems` if there are any.
pub fn read_cases(document: &Document, profile: &Profile, problems: &mut Problems) -> Option<Vec<Case>> {
    let mut found = Problems::default();
    let mut check = Reader { document, profile, problems: &mut found };
    let file = document.read::<CasesFile>(check.problems);
    let cases =
        file.map(|file| file.case.into_iter().enumerate().map(|(i, case)| check.case(i, case)).collect());
    let sound = !found.has_errors();
    problems.extend(found);
    cases.filter(|_| sound)
}

struct Reader<'a> {
    document: &'a Document,
    profile: &'a Profile,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn case(&mut self, i: usize, file: CaseFile) -> Case {
        let registers =
            [file.holding.is_empty(), file.input.is_empty(), file.coil.is_empty(), file.discrete.is_empty()];
        let inputs = [
            registers.contains(&false),
            file.frame.is_some(),
            file.payload.is_some(),
            file.payload_hex.is_some(),
        ];
        let inputs = inputs.iter().filter(|is| **is).count();
        if inputs != 1 && (inputs > 1 || file.command.is_none()) {
            let told = text!(
                "要有且只有一种输入：寄存器、frame、payload 或 payload_hex",
                "exactly one input: registers, `frame`, `payload` or `payload_hex`"
            );
            self.problems.error(self.document.place(at!["case", i]), told);
        }
        self.wanted(i, &file);
        self.register_numbers(i, "holding", file.holding.keys());
        self.register_numbers(i, "input", file.input.keys());
        self.register_numbers(i, "coil", file.coil.keys());
        self.register_numbers(i, "discrete", file.discrete.keys());
        for (n, alarm) in file.alarms.iter().flatten().enumerate() {
            let class: &Class = &self.profile.class;
            if class.alarm(alarm).is_none() {
                let name = &class.name;
                let told = text!("类别 {name} 没有报警 \"{alarm}\"", "class {name} has no alarm \"{alarm}\"");
                let names: Vec<&str> = class.alarms.iter().map(|alarm| alarm.name.as_str()).collect();
                self.unknown(at!["case", i, "alarms", n], told, alarm, &names);
            }
        }
        let want = file.want.iter().flatten().filter_map(|(name, want)| self.want(i, name, want)).collect();
        Case { file, want }
    }

    /// A case says what it wants: readings, or with a command what is written.
    fn wanted(&mut self, i: usize, file: &CaseFile) {
        let place = || self.document.place(at!["case", i]);
        match (&file.command, &file.want_write) {
            (Some(command), _) if self.profile.command(&command.name).is_none() => {
                let name = &command.name;
                let told = text!("这个产品文件没有命令 \"{name}\"", "the profile has no command \"{name}\"");
                let names: Vec<&str> =
                    self.profile.commands.iter().map(|command| command.name.as_str()).collect();
                self.unknown(at!["case", i, "command", "name"], told, name, &names);
            }
            (Some(_), Some(write)) => {
                self.register_numbers_of(i, "holding", write.holding.keys());
                self.register_numbers_of(i, "coil", write.coil.keys());
            }
            (None, None) if file.want.is_some() => {}
            (None, None) => self.problems.error(place(), text!("缺少 \"want\"", "\"want\" is missing")),
            (Some(_), None) | (None, Some(_)) => {
                let told = text!("command 和 want_write 要一起写", "`command` and `want_write` go together");
                self.problems.error(place(), told);
            }
        }
    }

    fn register_numbers_of<'n>(&mut self, i: usize, table: &str, numbers: impl Iterator<Item = &'n String>) {
        for number in numbers.filter(|number| register_number(number).is_none()) {
            let told = text!("\"{number}\" 不是寄存器编号", "\"{number}\" is no register's number");
            let path = at!["case", i, "want_write", table, number.as_str()];
            self.problems.error(self.document.key_place(path), told);
        }
    }

    fn register_numbers<'n>(&mut self, i: usize, table: &str, numbers: impl Iterator<Item = &'n String>) {
        for number in numbers.filter(|number| register_number(number).is_none()) {
            let told = text!("\"{number}\" 不是寄存器编号", "\"{number}\" is no register's number");
            self.problems.error(self.document.key_place(at!["case", i, table, number.as_str()]), told);
        }
    }

    fn want(&mut self, i: usize, name: &str, want: &Want) -> Option<(PointIx, Expected)> {
        let path = at!["case", i, "want", name];
        let Some(point) = self.profile.point(name) else {
            let told = text!("这个产品文件没有测点 \"{name}\"", "the profile has no point \"{name}\"");
            let names: Vec<&str> = self.profile.points.iter().map(|point| point.name.as_str()).collect();
            self.unknown(path, told, name, &names);
            return None;
        };
        let class_point = self.profile.class_point(point);
        let quality = |word: &str| Quality::ALL.into_iter().find(|quality| quality.word() == word);
        let expected = match (class_point.kind, want) {
            (_, Want::Quality(word)) => quality(word).map(Expected::Quality),
            (Kind::Number, Want::Number(number)) => Some(Expected::Number(*number)),
            (Kind::Flag, Want::Flag(flag)) => Some(Expected::Flag(*flag)),
            (Kind::Text, Want::Text(text)) => Some(Expected::Text(text.clone())),
            (Kind::Choice, Want::Text(word)) if class_point.values.iter().any(|value| **value == **word) => {
                Some(Expected::Text(word.clone()))
            }
            (Kind::Number | Kind::Flag | Kind::Choice, Want::Text(word)) => {
                quality(word).map(Expected::Quality)
            }
            (Kind::Number | Kind::Flag | Kind::Choice | Kind::Text, _) => None,
        };
        if expected.is_none() {
            let told =
                text!("{name} 不会是这个值，这也不是品质", "{name} is never this, and it is no quality");
            self.problems.error(self.document.place(path), told);
        }
        Some((point, expected?))
    }

    fn unknown(&mut self, path: &[Step<'_>], message: crate::domain::Text, word: &str, legal: &[&str]) {
        let place = self.document.place(path);
        match meant(word, legal) {
            Some(help) => self.problems.error_with_help(place, message, help),
            None => self.problems.error(place, message),
        }
    }
}

/// A register's number as a case or a command line writes it: decimal or 0x hex.
pub(super) fn register_number(text: &str) -> Option<u16> {
    number_in(text).and_then(|number| u16::try_from(number).ok())
}
