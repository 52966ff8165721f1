//! The words in which a file's mistakes are told.

use serde_json::Value as Json;

use super::{nearest, tree::Tree};
use crate::{domain::Text, text};

/// What a value of the file is called.
pub(super) fn kind_of(tree: &Tree) -> Text {
    match tree {
        Tree::Text(_) => text!("文本", "text"),
        Tree::Integer(_) => text!("整数", "an integer"),
        Tree::Float(_) => text!("小数", "a decimal number"),
        Tree::Flag(_) => text!("true/false", "true/false"),
        Tree::Moment(_) => text!("日期时间", "a date-time"),
        Tree::List(_) => text!("列表", "a list"),
        Tree::Table(_) => text!("表", "a table"),
    }
}

/// What a JSON Schema type word is called.
pub(super) fn kind_named(word: &str) -> Text {
    match word {
        "string" => text!("文本", "text"),
        "integer" => text!("整数", "an integer"),
        "number" => text!("数字", "a number"),
        "boolean" => text!("true 或 false", "true or false"),
        "array" => text!("列表", "a list"),
        "object" => text!("表", "a table"),
        other => Text::new(other, other),
    }
}

/// `整数或文本` / `an integer or text`.
pub(super) fn either(kinds: &[Text]) -> Text {
    let zh: Vec<_> = kinds.iter().map(|kind| kind.zh.as_str()).collect();
    let en: Vec<_> = kinds.iter().map(|kind| kind.en.as_str()).collect();
    Text::new(zh.join("或"), en.join(" or "))
}

/// `"a", "b", "c"`; long lists are cut.
pub(super) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 24;
    let mut words = words.into_iter();
    let mut quoted: Vec<_> = words.by_ref().take(SHOWN).map(|word| format!("\"{word}\"")).collect();
    if words.next().is_some() {
        quoted.push("…".to_owned());
    }
    quoted.join(", ")
}

/// Names the nearest of the `legal` words, and all of them where they are few or none is near; `None` if there are none.
pub fn meant(word: &str, legal: &[&str]) -> Option<Text> {
    const FEW: usize = 8;
    let mut words: Vec<&str> = Vec::new();
    for word in legal {
        if !words.contains(word) {
            words.push(word);
        }
    }
    let list = quoted(words.iter().copied());
    match nearest(word, words.iter().copied()) {
        Some(near) if words.len() == 1 => Some(text!("应为 \"{near}\"", "the legal word is \"{near}\"")),
        Some(near) if words.len() > FEW => Some(text!("是不是 \"{near}\"？", "did you mean \"{near}\"?")),
        Some(near) => {
            Some(text!("是不是 \"{near}\"？可用的有：{list}", "did you mean \"{near}\"? legal here: {list}"))
        }
        None if words.is_empty() => None,
        None => Some(text!("可用的有：{list}", "legal here: {list}")),
    }
}

/// `"例如 "500ms"、"30s"`, from the examples of a schema.
pub(super) fn for_example(schema: &Json) -> Option<Text> {
    let examples: Vec<_> = schema.get("examples")?.as_array()?.iter().map(Json::to_string).collect();
    let list = examples.join(", ");
    (!examples.is_empty()).then(|| text!("例如 {list}", "such as {list}"))
}
