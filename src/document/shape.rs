//! Holds a file against the JSON Schema of the type it is to become, and reports every mistake at its own place.
//!
//! Understands what schemars gives for our types, no more: `$ref`, `type` (also a list of them), `properties`,
//! `required`, `additionalProperties`, `patternProperties`, `items`, `enum`, `const`, `anyOf`/`oneOf`, `minimum`,
//! `maximum`, `format` of integers, `minLength`, `minItems`, `maxItems`, `pattern`.

use std::{ops::Range, sync::Arc};

use regex::Regex;
use serde_json::Value as Json;

use super::{
    Place, Problems, Source, nearest,
    stand_in::stand_in,
    tree::{Entry, Node, Tree},
    words::{either, for_example, kind_named, kind_of, meant, quoted},
};
use crate::{
    domain::{Period, Size, Text},
    text,
};

/// One walk over one file. Each step returns the value to read on with: what is written, without unknown keys and with a
/// stand-in for what is wrong or missing; `None` where no stand-in is plain.
pub(super) struct Walk<'a> {
    pub root: &'a Json,
    pub source: &'a Arc<Source>,
    /// Stretches of the file that are known to be wrong already.
    pub slips: &'a [Range<usize>],
    pub problems: &'a mut Problems,
}

/// The schema that a `$ref` of `schema` names.
pub(super) fn referred<'a>(root: &'a Json, schema: &Json) -> Option<&'a Json> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

/// The JSON types that `schema` allows, without null: TOML has none.
pub(super) fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(word)) => vec![word.as_str()],
        Some(Json::Array(words)) => words.iter().filter_map(Json::as_str).filter(|w| *w != "null").collect(),
        _ => Vec::new(),
    }
}

impl<'a> Walk<'a> {
    /// `name` is the key that holds `node`, for the messages.
    pub fn value(&mut self, schema: &'a Json, node: &Node, name: &str) -> Option<toml::Value> {
        if self.is_slip(&node.span) && !matches!(node.value, Tree::Table(_)) {
            self.problems.stand_in_at(&self.place(node.span.clone()));
            return stand_in(self.root, schema, 0);
        }
        if let Some(target) = referred(self.root, schema) {
            return self.value(target, node, name);
        }
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            return self.choice(schema, choices, node, name);
        }
        if schema.get("enum").is_some() || schema.get("const").is_some() {
            return self.word(schema, &legal_words(self.root, schema), node, name);
        }
        let kinds = types(schema);
        if !kinds.is_empty() && !kinds.iter().any(|kind| fits(kind, &node.value)) {
            return self.wrong_kind(schema, &kinds, node, name);
        }
        match &node.value {
            Tree::Table(entries) => self.table(schema, entries, node),
            Tree::List(items) => self.list(schema, items, node, name),
            Tree::Text(written) => self.text(schema, written, node, name),
            Tree::Integer(number) => self.integer(schema, *number, node, name),
            Tree::Float(number) => self.float(schema, *number, node, name),
            Tree::Flag(flag) => Some((*flag).into()),
            Tree::Moment(moment) => Some(toml::Value::Datetime(*moment)),
        }
    }

    /// Several shapes are legal: words, tables told apart by their key, or values told apart by their kind.
    fn choice(
        &mut self,
        schema: &'a Json,
        choices: &'a [Json],
        node: &Node,
        name: &str,
    ) -> Option<toml::Value> {
        let choices: Vec<&Json> = choices
            .iter()
            .map(|choice| referred(self.root, choice).unwrap_or(choice))
            .filter(|choice| choice.get("type").and_then(Json::as_str) != Some("null"))
            .collect();
        if let [only] = choices[..] {
            return self.value(only, node, name);
        }
        let words = legal_words(self.root, schema);
        if !words.is_empty() && matches!(node.value, Tree::Text(_)) {
            return self.word(schema, &words, node, name);
        }
        let fitting: Vec<&Json> =
            choices.iter().copied().filter(|choice| may_be(choice, &node.value)).collect();
        let by_key = fitting.iter().find(|choice| tag(choice).is_some_and(|tag| node.entry(tag).is_some()));
        let tags: Vec<&str> = fitting.iter().filter_map(|choice| tag(choice)).collect();
        if by_key.is_none() && tags.len() > 1 && matches!(node.value, Tree::Table(_)) {
            return self.untagged(schema, &tags, node, name);
        }
        if let Some(choice) = by_key.or(fitting.first()) {
            return self.value(choice, node, name);
        }
        let kinds: Vec<&str> = choices.iter().flat_map(|choice| types(choice)).collect();
        self.wrong_kind(schema, &kinds, node, name)
    }

    /// A table that should have one of `tags` as its key, and has none.
    fn untagged(&mut self, schema: &Json, tags: &[&str], node: &Node, name: &str) -> Option<toml::Value> {
        let written = match &node.value {
            Tree::Table(entries) => entries.first(),
            Tree::Text(_)
            | Tree::Integer(_)
            | Tree::Float(_)
            | Tree::Flag(_)
            | Tree::Moment(_)
            | Tree::List(_) => None,
        };
        let Some(Entry { key, key_span, .. }) = written else {
            let told = text!("\"{name}\" 是空的", "\"{name}\" is empty");
            return self.wrong(schema, node, told, meant("", tags));
        };
        let told = text!("不认识的键 \"{key}\"", "unknown key \"{key}\"");
        self.problems.error_with_stand_in(self.place(key_span.clone()), told, meant(key, tags));
        stand_in(self.root, schema, 0)
    }

    fn table(&mut self, schema: &'a Json, entries: &[Entry], node: &Node) -> Option<toml::Value> {
        let properties = schema.get("properties").and_then(Json::as_object);
        let legal: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let mut table = toml::Table::new();
        let mut whole = true;
        let mut meant_keys = Vec::new();
        for Entry { key, key_span, node } in entries {
            if self.problems.is_full() {
                return None;
            }
            let of_key = properties.and_then(|all| all.get(key)).or_else(|| for_other_keys(schema, key));
            match of_key {
                Some(schema) => match self.value(schema, node, key) {
                    Some(value) => drop(table.insert(key.clone(), value)),
                    None => whole = false,
                },
                None if self.is_slip(key_span) => {}
                None => {
                    meant_keys.extend(nearest(key, legal.iter().copied()));
                    let told = text!("不认识的键 \"{key}\"", "unknown key \"{key}\"");
                    self.problems.error_with_stand_in(self.place(key_span.clone()), told, meant(key, &legal));
                }
            }
        }
        whole &= self.missing(schema, node, &meant_keys, &mut table);
        whole.then_some(toml::Value::Table(table))
    }

    /// Names the required keys that are not there, but for those that an unknown key is `meant` to be, and puts stand-ins
    /// into `table`. False if one has no stand-in.
    fn missing(&mut self, schema: &'a Json, node: &Node, meant: &[&str], table: &mut toml::Table) -> bool {
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let missing: Vec<&str> =
            required.filter_map(Json::as_str).filter(|key| node.entry(key).is_none()).collect();
        let unspoken: Vec<&str> = missing.iter().copied().filter(|key| !meant.contains(key)).collect();
        let place = self.place(node.span.clone());
        if !unspoken.is_empty() {
            let list = quoted(unspoken);
            self.problems.error_with_stand_in(place, text!("缺少 {list}", "{list} is missing"), None);
        } else if !missing.is_empty() {
            self.problems.stand_in_at(&place);
        }
        missing.iter().all(|key| {
            let schema = schema.get("properties").and_then(|all| all.get(key));
            let value = schema.and_then(|schema| stand_in(self.root, schema, 0));
            value.map(|value| table.insert((*key).to_owned(), value)).is_some()
        })
    }

    fn list(&mut self, schema: &'a Json, items: &[Node], node: &Node, name: &str) -> Option<toml::Value> {
        let bound = |key| schema.get(key).and_then(Json::as_u64);
        if let Some(least) = bound("minItems").filter(|least| (items.len() as u64) < *least) {
            let told = text!("\"{name}\" 至少要有 {least} 项", "\"{name}\" needs at least {least} items");
            return self.wrong(schema, node, told, None);
        }
        if let Some(most) = bound("maxItems").filter(|most| (items.len() as u64) > *most) {
            let told = text!("\"{name}\" 最多 {most} 项", "\"{name}\" takes at most {most} items");
            return self.wrong(schema, node, told, None);
        }
        let of_items = schema.get("items").unwrap_or(&Json::Bool(true));
        // all items are looked at even when one has no stand-in
        let values: Vec<_> = items.iter().map(|item| self.value(of_items, item, name)).collect();
        values.into_iter().collect::<Option<Vec<_>>>().map(toml::Value::Array)
    }

    fn text(&mut self, schema: &Json, written: &str, node: &Node, name: &str) -> Option<toml::Value> {
        let least = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
        if (written.chars().count() as u64) < least {
            let told = text!("\"{name}\" 不能这样短", "\"{name}\" is too short");
            return self.wrong(schema, node, told, for_example(schema));
        }
        let pattern = schema.get("pattern").and_then(Json::as_str);
        if pattern.and_then(|pattern| Regex::new(pattern).ok()).is_some_and(|regex| !regex.is_match(written))
        {
            let told = text!(
                "\"{name}\" 的写法不对：\"{written}\"",
                "\"{name}\" is not written as it should be: \"{written}\""
            );
            let help = for_example(schema)
                .or_else(|| pattern.map(|pattern| text!("格式：{pattern}", "the form is {pattern}")));
            return self.wrong(schema, node, told, help);
        }
        if let Some(most) = pattern.and_then(|pattern| overflowed(pattern, written)) {
            let told = text!(
                "\"{name}\" 太大：\"{written}\"，最大 \"{most}\"",
                "\"{name}\" is too much: \"{written}\", where \"{most}\" is the most"
            );
            return self.wrong(schema, node, told, for_example(schema));
        }
        Some(written.into())
    }

    fn integer(&mut self, schema: &Json, number: i128, node: &Node, name: &str) -> Option<toml::Value> {
        let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
        let (least, most) = match format {
            "uint8" => (0, u8::MAX.into()),
            "uint16" => (0, u16::MAX.into()),
            "uint32" => (0, u32::MAX.into()),
            "uint64" | "uint" => (0, u64::MAX.into()),
            "int8" => (i8::MIN.into(), i8::MAX.into()),
            "int16" => (i16::MIN.into(), i16::MAX.into()),
            "int32" => (i32::MIN.into(), i32::MAX.into()),
            _ => (i128::from(i64::MIN), u64::MAX.into()),
        };
        let bound = |key| schema.get(key).and_then(Json::as_i64).map(i128::from);
        let least = bound("minimum").map_or(least, |bound| bound.max(least));
        let most = bound("maximum").map_or(most, |bound| bound.min(most));
        if !(least..=most).contains(&number) {
            let told = text!(
                "\"{name}\" 须在 {least} 到 {most} 之间，这里是 {number}",
                "\"{name}\" must be from {least} to {most}, not {number}"
            );
            return self.wrong(schema, node, told, None);
        }
        // numbers between the two 64-bit ranges are read from the file itself; here any will do
        Some(i64::try_from(number).unwrap_or(i64::MAX).into())
    }

    fn float(&mut self, schema: &Json, number: f64, node: &Node, name: &str) -> Option<toml::Value> {
        let bound = |key| schema.get(key).and_then(Json::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let (least, most) = (least.unwrap_or(f64::NEG_INFINITY), most.unwrap_or(f64::INFINITY));
            let told = text!(
                "\"{name}\" 须在 {least} 到 {most} 之间，这里是 {number}",
                "\"{name}\" must be from {least} to {most}, not {number}"
            );
            return self.wrong(schema, node, told, None);
        }
        Some(number.into())
    }

    fn word(&mut self, schema: &Json, legal: &[&str], node: &Node, name: &str) -> Option<toml::Value> {
        match &node.value {
            Tree::Text(written) if legal.contains(&written.as_str()) => Some(written.as_str().into()),
            Tree::Text(written) => {
                let told = text!("\"{name}\" 不能是 \"{written}\"", "\"{name}\" cannot be \"{written}\"");
                self.wrong(schema, node, told, meant(written, legal))
            }
            Tree::Integer(_)
            | Tree::Float(_)
            | Tree::Flag(_)
            | Tree::Moment(_)
            | Tree::List(_)
            | Tree::Table(_) => self.wrong_kind(schema, &["string"], node, name),
        }
    }

    fn wrong_kind(&mut self, schema: &Json, kinds: &[&str], node: &Node, name: &str) -> Option<toml::Value> {
        let Text { zh, en } = either(&kinds.iter().map(|kind| kind_named(kind)).collect::<Vec<_>>());
        let Text { zh: is_zh, en: is_en } = kind_of(&node.value);
        let told = text!("\"{name}\" 应为{zh}，这里是{is_zh}", "\"{name}\" must be {en}, not {is_en}");
        self.wrong(schema, node, told, for_example(schema))
    }

    fn wrong(&mut self, schema: &Json, node: &Node, told: Text, help: Option<Text>) -> Option<toml::Value> {
        self.problems.error_with_stand_in(self.place(node.span.clone()), told, help);
        stand_in(self.root, schema, 0)
    }

    fn is_slip(&self, span: &Range<usize>) -> bool {
        self.slips.iter().any(|slip| slip.start <= span.end && span.start <= slip.end)
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place { source: self.source.clone(), span }
    }
}

/// The schema for a key that is not among the `properties`; `None` if there may be no such key.
fn for_other_keys<'a>(schema: &'a Json, key: &str) -> Option<&'a Json> {
    let patterns = schema.get("patternProperties").and_then(Json::as_object);
    let by_pattern = patterns
        .into_iter()
        .flatten()
        .find(|(pattern, _)| Regex::new(pattern).is_ok_and(|regex| regex.is_match(key)));
    match schema.get("additionalProperties") {
        _ if by_pattern.is_some() => by_pattern.map(|(_, schema)| schema),
        Some(Json::Bool(false)) => None,
        Some(other) => Some(other),
        None => Some(&Json::Bool(true)),
    }
}

/// What a duration or size may be at most, if `written` is one by its form and is more.
fn overflowed(pattern: &str, written: &str) -> Option<&'static str> {
    match pattern {
        Period::PATTERN if written.parse::<Period>().is_err() => Some(Period::LONGEST),
        Size::PATTERN if written.parse::<Size>().is_err() => Some(Size::LARGEST),
        _ => None,
    }
}

/// All words that `schema` allows as text, through references and choices.
fn legal_words<'a>(root: &'a Json, schema: &'a Json) -> Vec<&'a str> {
    let schema = referred(root, schema).unwrap_or(schema);
    let listed = |key| schema.get(key).and_then(Json::as_array).into_iter().flatten();
    let mut words: Vec<&str> = schema.get("const").and_then(Json::as_str).into_iter().collect();
    words.extend(listed("enum").filter_map(Json::as_str));
    for choice in listed("anyOf").chain(listed("oneOf")) {
        words.extend(legal_words(root, choice));
    }
    words
}

/// The one key that tells an alternative of an externally tagged enum.
fn tag(schema: &Json) -> Option<&str> {
    match schema.get("required").and_then(Json::as_array).map(Vec::as_slice) {
        Some([only]) => only.as_str(),
        _ => None,
    }
}

fn may_be(schema: &Json, tree: &Tree) -> bool {
    let kinds = types(schema);
    kinds.is_empty() || kinds.iter().any(|kind| fits(kind, tree))
}

fn fits(kind: &str, tree: &Tree) -> bool {
    match tree {
        Tree::Text(_) | Tree::Moment(_) => kind == "string",
        Tree::Integer(_) => kind == "integer" || kind == "number",
        Tree::Float(_) => kind == "number",
        Tree::Flag(_) => kind == "boolean",
        Tree::List(_) => kind == "array",
        Tree::Table(_) => kind == "object",
    }
}
