//! `repeat = "1..40"`: many alike, `{n}` stands for the number.

use super::{desk::Desk, file::DeviceTable};
use crate::{at, text};

/// More are more than one box polls.
const MOST: u32 = 10_000;

/// The numbers that `{n}` takes; without `repeat`, one device without a number.
pub(super) enum Range {
    One,
    Numbers(u32, u32),
}

impl Range {
    /// The range of `[[device]]` number `n`; what is wrong with it, or with `{n}` where there is none, is told.
    pub fn of(desk: &mut Desk<'_>, n: usize, table: &DeviceTable) -> Option<Range> {
        let Some(written) = &table.repeat else {
            return stray(desk, n, table).then_some(Range::One);
        };
        let path = at!["device", n, "repeat"];
        let ends = written.split_once("..");
        let numbers = ends.and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
        match numbers {
            None => {
                let told = text!("看不懂范围 \"{written}\"", "\"{written}\" is not a range");
                desk.error_with_help(
                    path,
                    told,
                    text!("例如 \"1..40\"，两端都算", "such as \"1..40\", both ends in"),
                );
                None
            }
            Some((from, to)) if from > to => {
                desk.error(path, text!("范围 \"{written}\" 是空的", "the range \"{written}\" is empty"));
                None
            }
            Some((from, to)) if to - from >= MOST => {
                desk.error(path, text!("一次最多重复 {MOST} 个", "at most {MOST} devices in one repeat"));
                None
            }
            Some((from, to)) => Some(Range::Numbers(from, to)),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Range::One => 1,
            Range::Numbers(from, to) => (to - from) as usize + 1,
        }
    }

    pub fn first(&self) -> Option<u32> {
        match self {
            Range::One => None,
            Range::Numbers(from, _) => Some(*from),
        }
    }

    pub fn numbers(&self) -> Box<dyn Iterator<Item = Option<u32>>> {
        match *self {
            Range::One => Box::new(std::iter::once(None)),
            Range::Numbers(from, to) => Box::new((from..=to).map(Some)),
        }
    }
}

/// `text` with the number in it.
pub(super) fn fill(text: &str, number: Option<u32>) -> String {
    match number {
        Some(number) => text.replace("{n}", &number.to_string()),
        None => text.to_owned(),
    }
}

/// `{n}` without `repeat` stands for nothing. True if there is none.
fn stray(desk: &mut Desk<'_>, n: usize, table: &DeviceTable) -> bool {
    let texts = [
        ("id", Some(table.id.as_str())),
        ("name", table.name.as_deref()),
        ("unit", table.unit.as_ref().map(|unit| unit.0.as_str())),
        ("address", table.address.as_deref()),
    ];
    let stray = texts.into_iter().filter(|(_, text)| text.is_some_and(|text| text.contains("{n}")));
    let keys: Vec<&str> = stray.map(|(key, _)| key).collect();
    for key in &keys {
        let told = text!("{{n}} 只在有 repeat 时有意义", "{{n}} means something under `repeat` only");
        desk.error(at!["device", n, *key], told);
    }
    keys.is_empty()
}
