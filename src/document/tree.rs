//! The parsed file as a tree that owns itself: every key and every value with its span.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Deeper than any file of ours; a tree that is deeper is refused, not walked.
pub(super) const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub value: Tree,
}

#[derive(Clone, Debug)]
pub(super) enum Tree {
    Text(String),
    Integer(i128),
    Float(f64),
    Flag(bool),
    Moment(toml::value::Datetime),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub node: Node,
}

/// A value that no 64-bit number holds, or a nest deeper than `MAX_DEPTH`: where.
pub(super) enum TooMuch {
    Number(Range<usize>),
    Depth(Range<usize>),
}

impl Node {
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Tree::Table(entries) => entries.iter().find(|entry| entry.key == key),
            Tree::Text(_)
            | Tree::Integer(_)
            | Tree::Float(_)
            | Tree::Flag(_)
            | Tree::Moment(_)
            | Tree::List(_) => None,
        }
    }

    pub fn item(&self, at: usize) -> Option<&Node> {
        match &self.value {
            Tree::List(items) => items.get(at),
            Tree::Text(_)
            | Tree::Integer(_)
            | Tree::Float(_)
            | Tree::Flag(_)
            | Tree::Moment(_)
            | Tree::Table(_) => None,
        }
    }
}

pub(super) fn grow(table: &DeTable<'_>, span: Range<usize>, depth: usize) -> Result<Node, TooMuch> {
    if depth > MAX_DEPTH {
        return Err(TooMuch::Depth(span));
    }
    let mut entries = table
        .iter()
        .map(|(key, value)| {
            Ok(Entry {
                key: key.get_ref().to_string(),
                key_span: key.span(),
                node: grow_value(value, depth + 1)?,
            })
        })
        .collect::<Result<Vec<_>, TooMuch>>()?;
    // in the order of the file, so that mistakes are found in that order
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Node { span, value: Tree::Table(entries) })
}

fn grow_value(value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, TooMuch> {
    let span = value.span();
    let tree = match value.get_ref() {
        DeValue::String(text) => Tree::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if i128::from(i64::MIN) <= number && number <= i128::from(u64::MAX) => {
                Tree::Integer(number)
            }
            Ok(_) | Err(_) => return Err(TooMuch::Number(span)),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Tree::Float(number),
            Err(_) => return Err(TooMuch::Number(span)),
        },
        DeValue::Boolean(flag) => Tree::Flag(*flag),
        DeValue::Datetime(moment) => Tree::Moment(*moment),
        DeValue::Array(items) if depth > MAX_DEPTH => {
            return Err(TooMuch::Depth(items.first().map_or(span, Spanned::span)));
        }
        DeValue::Array(items) => {
            Tree::List(items.iter().map(|item| grow_value(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return grow(table, span, depth),
    };
    Ok(Node { span, value: tree })
}
