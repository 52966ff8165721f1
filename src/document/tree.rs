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

/// A nest deeper than `MAX_DEPTH`: where.
pub(super) struct TooDeep(pub Range<usize>);

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

/// Numbers that no 64 bits hold go to `unreadable`, and become 0.
pub(super) fn grow(
    table: &DeTable<'_>,
    span: Range<usize>,
    depth: usize,
    unreadable: &mut Vec<Range<usize>>,
) -> Result<Node, TooDeep> {
    if depth > MAX_DEPTH {
        return Err(TooDeep(span));
    }
    let mut entries = table
        .iter()
        .map(|(key, value)| {
            let node = grow_value(value, depth + 1, unreadable)?;
            Ok(Entry { key: key.get_ref().to_string(), key_span: key.span(), node })
        })
        .collect::<Result<Vec<_>, TooDeep>>()?;
    // in the order of the file, so that mistakes are found in that order
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Node { span, value: Tree::Table(entries) })
}

fn grow_value(
    value: &Spanned<DeValue<'_>>,
    depth: usize,
    unreadable: &mut Vec<Range<usize>>,
) -> Result<Node, TooDeep> {
    let span = value.span();
    let tree = match value.get_ref() {
        DeValue::String(text) => Tree::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if i128::from(i64::MIN) <= number && number <= i128::from(u64::MAX) => {
                Tree::Integer(number)
            }
            Ok(_) | Err(_) => {
                unreadable.push(span.clone());
                Tree::Integer(0)
            }
        },
        DeValue::Float(number) => Tree::Float(number.as_str().parse().unwrap_or_else(|_unread| {
            unreadable.push(span.clone());
            0.0
        })),
        DeValue::Boolean(flag) => Tree::Flag(*flag),
        DeValue::Datetime(moment) => Tree::Moment(*moment),
        DeValue::Array(_) if depth > MAX_DEPTH => return Err(TooDeep(span)),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| grow_value(item, depth + 1, unreadable));
            Tree::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return grow(table, span, depth, unreadable),
    };
    Ok(Node { span, value: tree })
}
