//! How a platform names what happens to a kind of device: its list of codes, as data beside the class it speaks of.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use super::Class;
use crate::domain::Text;

/// `<list>.codes.toml`: a platform's codes, and which alarms of the class each stands for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodesFile {
    #[schemars(extend("pattern" = "^[a-z][a-z0-9-]*/[a-z0-9][a-z0-9-]*$", "examples" = ["elevator/gbt24476-2017"]))]
    pub codes: String,
    pub title: Option<Text>,
    /// Where the list comes from: document, edition, page.
    pub source: String,
    /// Alarms of the class for which the platform has no code. Every alarm is either here or under a code.
    #[serde(default)]
    pub without: Vec<String>,
    #[serde(default)]
    pub code: Vec<CodeFile>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeFile {
    #[schemars(extend("pattern" = "^[0-9A-Za-z_.-]{1,32}$", "examples" = ["41"]))]
    pub code: String,
    pub kind: CodeKind,
    pub title: Text,
    pub verified: Verified,
    /// Alarms of the class, or `point.word` of its choices. None: the platform has it, and nothing of ours is it.
    #[serde(default, rename = "for")]
    pub stands_for: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    None,
    Fault,
    Event,
    Alarm,
    Other,
}

/// How sure it is that the platform means this by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// The document itself, or the platform, was read.
    Original,
    /// Sources that do not depend on each other agree.
    TwoSources,
    OneSource,
}

/// A platform's list, checked against its class.
#[derive(Debug)]
pub struct CodeTable {
    pub id: String,
    pub title: Text,
    pub source: String,
    pub codes: Vec<Code>,
    /// Alarms of the class that have no code.
    pub without: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Code {
    pub code: String,
    pub kind: CodeKind,
    pub title: Text,
    pub verified: Verified,
    pub stands_for: Vec<String>,
}

impl CodeTable {
    /// Alarms, and `point.word` of choices, each with its code.
    pub fn by_name(&self) -> BTreeMap<String, String> {
        let each = self.codes.iter();
        each.flat_map(|one| one.stands_for.iter().map(|name| (name.clone(), one.code.clone()))).collect()
    }

    /// The alarms of the class of which it does not say whether they have a code.
    pub fn silent_on(&self, class: &Class) -> Vec<String> {
        let known = self.by_name();
        let names = class.alarms.iter().map(|alarm| alarm.name.to_string());
        names.filter(|name| !known.contains_key(name) && !self.without.contains(name)).collect()
    }
}

/// What a code may stand for: the names of the class's alarms, and `point.word` of its choices.
pub fn code_names(class: &Class) -> Vec<String> {
    let alarms = class.alarms.iter().map(|alarm| alarm.name.to_string());
    let words = class.points.iter().flat_map(|point| {
        point.values.iter().map(|word| format!("{}.{word}", point.name)).collect::<Vec<_>>()
    });
    alarms.chain(words).collect()
}
