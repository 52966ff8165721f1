//! What raw values mean: `absent`, `values`, `scale`, `range` → the second half of a point's plan.

use std::{collections::BTreeMap, sync::Arc};

use super::Check;
use crate::{
    at,
    document::Step,
    domain::Kind,
    profile::{
        ClassPoint,
        plan::{Absent, Dictionary, Form, Pick, Scale, Take, Turn, Wire, Word},
        schema::PointFile,
        written::{Meaning, RawValue, number_in},
    },
    text,
};

/// How raw values of a point are compared with written ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Compared {
    /// As bit patterns of this width.
    Patterns(Form, u8),
    Doubles,
    /// As 32-bit floats: 0.1 means the float nearest to it.
    Singles,
    /// As numbers written in text; texts that are no numbers count too.
    Written,
    Texts,
}

impl Compared {
    pub fn of(take: &Take) -> Self {
        let wire = |wire: &Wire| match wire {
            Wire::Whole { form, pick: Pick { width, .. } } => Compared::Patterns(*form, *width),
            Wire::Float32 => Compared::Singles,
            Wire::Float64 => Compared::Doubles,
            Wire::Decimal => Compared::Written,
            Wire::Text | Wire::Hex => Compared::Texts,
        };
        match take {
            Take::Bit => Compared::Patterns(Form::Truth, 1),
            Take::Words { wire: of, .. } | Take::Bytes { wire: of, .. } => wire(of),
            Take::Pointer { word, .. } | Take::WholeText(word) => match word {
                Word::Flag => Compared::Patterns(Form::Truth, 1),
                Word::Bits(pick) => Compared::Patterns(Form::Unsigned, pick.width),
                Word::Number => Compared::Written,
                Word::Text => Compared::Texts,
            },
        }
    }
}

impl Check<'_> {
    pub(super) fn absent(&mut self, i: usize, file: &PointFile, compared: Compared) -> Absent {
        let (mut patterns, mut numbers, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (n, raw) in file.absent.iter().enumerate() {
            match (compared, raw) {
                (Compared::Patterns(form, width), RawValue::Whole(whole)) => {
                    let pattern = form.pattern(i128::from(*whole), width);
                    self.fitting(at!["point", i, "absent", n], raw, pattern, &mut patterns);
                }
                (Compared::Patterns(Form::Truth, _), RawValue::Flag(flag)) => patterns.push(u64::from(*flag)),
                (Compared::Doubles | Compared::Written, RawValue::Whole(whole)) => {
                    numbers.push(*whole as f64)
                }
                (Compared::Doubles | Compared::Written, RawValue::Float(float)) => numbers.push(*float),
                (Compared::Singles, RawValue::Whole(whole)) => numbers.push(f64::from(*whole as f32)),
                (Compared::Singles, RawValue::Float(float)) => numbers.push(f64::from(*float as f32)),
                (Compared::Written | Compared::Texts, RawValue::Text(text)) => texts.push(text.clone()),
                (Compared::Patterns(Form::Truth, _), RawValue::Text(text)) => texts.push(text.clone()),
                (
                    Compared::Patterns(..)
                    | Compared::Doubles
                    | Compared::Singles
                    | Compared::Written
                    | Compared::Texts,
                    _,
                ) => {
                    let told = text!("原始值里不会有 {raw}", "the raw value is never {raw}");
                    self.error(at!["point", i, "absent", n], told);
                }
            }
        }
        Absent { patterns: patterns.into(), numbers: numbers.into(), texts: texts.into() }
    }

    /// What the raw value of `file` becomes, as `class` has it; `None` if that is not to be found out.
    pub(super) fn turn(
        &mut self,
        i: usize,
        file: &PointFile,
        class: &ClassPoint,
        compared: Compared,
    ) -> Option<Turn> {
        if class.kind != Kind::Number {
            self.only_for_numbers(i, file);
        }
        match class.kind {
            Kind::Number => self.number(i, file, compared),
            Kind::Flag => match &file.values {
                None if compared == Compared::Texts => {
                    let told = text!(
                        "文本要用 values 说明哪些是 true、哪些是 false",
                        "a text needs `values` to say what is true and what is false"
                    );
                    self.error(at!["point", i], told);
                    None
                }
                None => Some(Turn::Flag(None)),
                Some(values) => {
                    let of = at!["point", i];
                    let flags = self.meanings(of, values, Self::flag);
                    self.dictionary(of, flags, compared).map(|all| Turn::Flag(Some(all)))
                }
            },
            Kind::Choice => {
                let Some(values) = &file.values else {
                    let told = text!(
                        "缺少 \"values\"：原始值各是什么词",
                        "\"values\" is missing: which word each raw value is"
                    );
                    self.error(at!["point", i], told);
                    return None;
                };
                let of = at!["point", i];
                let words =
                    self.meanings(of, values, |check, path, meaning| check.word(path, meaning, class));
                self.dictionary(of, words, compared).map(Turn::Choice)
            }
            Kind::Text => {
                if compared != Compared::Texts {
                    let told =
                        text!("文本测点要读文本（string 或 hex）", "a text is read as `string` or `hex`");
                    self.error(at!["point", i, "read", "type"], told);
                }
                if file.values.is_some() {
                    let told = text!("文本测点没有 values", "a text takes no `values`");
                    self.key_error(at!["point", i, "values"], told);
                }
                Some(Turn::Text)
            }
        }
    }

    fn only_for_numbers(&mut self, i: usize, file: &PointFile) {
        let written = [
            ("scale", file.scale.is_some()),
            ("offset", file.offset.is_some()),
            ("range", file.range.is_some()),
        ];
        for (key, _) in written.into_iter().filter(|(_, is)| *is) {
            let told = text!("只有 number 测点才有 \"{key}\"", "only a number takes \"{key}\"");
            self.key_error(at!["point", i, key], told);
        }
    }

    fn number(&mut self, i: usize, file: &PointFile, compared: Compared) -> Option<Turn> {
        if matches!(compared, Compared::Texts | Compared::Patterns(Form::Truth, _)) {
            let told = text!("数值测点不能从文本或 bool 读", "a number is not read as text or bool");
            self.error(at!["point", i, "read", "type"], told);
        }
        if file.values.is_some() {
            let told = text!("数值测点没有 values", "a number takes no `values`");
            self.key_error(at!["point", i, "values"], told);
        }
        self.scale_and_range(&["point".into(), i.into()], file.scale, file.offset, file.range);
        let (scale, offset) = (Scale::new(file.scale.unwrap_or(1.0)), file.offset.unwrap_or(0.0));
        Some(Turn::Number { scale, offset, range: file.range })
    }

    /// No scale that makes all values alike, no bounds that nothing lies between.
    pub(super) fn scale_and_range(
        &mut self,
        of: &[Step<'_>],
        scale: Option<f64>,
        offset: Option<f64>,
        range: Option<[f64; 2]>,
    ) {
        let path = |key| [of, &[Step::Key(key)]].concat();
        if let Some(scale) = scale.filter(|scale| !scale.is_normal()) {
            let told = text!("scale 不能是 {scale}", "the scale cannot be {scale}");
            self.error(&path("scale"), told);
        }
        if let Some(offset) = offset.filter(|offset| !offset.is_finite()) {
            self.error(&path("offset"), text!("offset 不能是 {offset}", "the offset cannot be {offset}"));
        }
        if let Some([low, high]) =
            range.filter(|[low, high]| !low.is_finite() || !high.is_finite() || low > high)
        {
            let told = text!(
                "范围应为 [最小, 最大]，这里是 [{low}, {high}]",
                "a range is [lowest, highest], not [{low}, {high}]"
            );
            self.error(&path("range"), told);
        }
    }

    pub(super) fn flag(&mut self, path: &[Step<'_>], meaning: &Meaning) -> Option<bool> {
        match meaning {
            Meaning::Flag(flag) => Some(*flag),
            Meaning::Word(word) => {
                let told = text!(
                    "开关量只有 true 和 false，不是 \"{word}\"",
                    "a flag is true or false, not \"{word}\""
                );
                self.error(path, told);
                None
            }
        }
    }

    pub(super) fn word(
        &mut self,
        path: &[Step<'_>],
        meaning: &Meaning,
        class: &ClassPoint,
    ) -> Option<Arc<str>> {
        let name = &class.name;
        match meaning {
            Meaning::Word(word) => {
                let known = class.values.iter().find(|value| &***value == word);
                if known.is_none() {
                    let told = text!("{name} 没有 \"{word}\" 这个值", "{name} has no value \"{word}\"");
                    self.unknown(path, told, word, class.values.iter().map(|value| &**value));
                }
                known.cloned()
            }
            Meaning::Flag(flag) => {
                let told = text!("{name} 的值是词，不是 {flag}", "{name} takes words, not {flag}");
                self.error(path, told);
                None
            }
        }
    }

    /// What each of `values`, which stand at `of`, means.
    pub(super) fn meanings<'f, T>(
        &mut self,
        of: &[Step<'_>],
        values: &'f BTreeMap<String, Meaning>,
        mean: impl Fn(&mut Self, &[Step<'_>], &Meaning) -> Option<T>,
    ) -> Vec<(&'f str, T)> {
        if values.is_empty() {
            self.error(&[of, &["values".into()]].concat(), text!("values 是空的", "`values` is empty"));
        }
        let pairs = values
            .iter()
            .filter_map(|(raw, meaning)| Some((raw.as_str(), mean(self, &value_path(of, raw), meaning)?)));
        pairs.collect()
    }

    /// `None` if a raw value is no such value, or there twice.
    pub(super) fn dictionary<T>(
        &mut self,
        of: &[Step<'_>],
        meanings: Vec<(&str, T)>,
        compared: Compared,
    ) -> Option<Dictionary<T>> {
        match compared {
            Compared::Texts => {
                Some(Dictionary::Texts(meanings.into_iter().map(|(raw, to)| (raw.to_owned(), to)).collect()))
            }
            Compared::Patterns(form, width) => self
                .keyed(of, meanings, |raw| form.pattern(truth_or_number(raw, form)?, width))
                .map(Dictionary::Patterns),
            Compared::Doubles | Compared::Written => {
                self.keyed(of, meanings, float_in).map(Dictionary::Numbers)
            }
            Compared::Singles => self
                .keyed(of, meanings, |raw| float_in(raw).map(|n| f64::from(n as f32)))
                .map(Dictionary::Numbers),
        }
    }

    fn keyed<K: PartialEq, T>(
        &mut self,
        of: &[Step<'_>],
        meanings: Vec<(&str, T)>,
        key_of: impl Fn(&str) -> Option<K>,
    ) -> Option<Box<[(K, T)]>> {
        let mut keyed: Vec<(K, T)> = Vec::new();
        let mut sound = true;
        for (raw, meaning) in meanings {
            let path = value_path(of, raw);
            match key_of(raw) {
                Some(key) if keyed.iter().any(|(before, _)| *before == key) => {
                    self.key_error(&path, text!("原始值 {raw} 重复", "the raw value {raw} is there twice"));
                    sound = false;
                }
                Some(key) => keyed.push((key, meaning)),
                None => {
                    self.key_error(&path, text!("原始值里不会有 {raw}", "the raw value is never {raw}"));
                    sound = false;
                }
            }
        }
        sound.then(|| keyed.into())
    }

    fn fitting(&mut self, path: &[Step<'_>], raw: &RawValue, pattern: Option<u64>, into: &mut Vec<u64>) {
        match pattern {
            Some(pattern) => into.push(pattern),
            None => self.error(path, text!("原始值里不会有 {raw}", "the raw value is never {raw}")),
        }
    }
}

fn value_path<'p>(of: &[Step<'p>], raw: &'p str) -> Vec<Step<'p>> {
    [of, &["values".into(), raw.into()]].concat()
}

fn truth_or_number(raw: &str, form: Form) -> Option<i128> {
    match (raw, form) {
        ("true", Form::Truth) => Some(1),
        ("false", Form::Truth) => Some(0),
        (
            _,
            Form::Truth | Form::Unsigned | Form::Signed | Form::SignMagnitude | Form::Bcd | Form::SignedBcd,
        ) => number_in(raw),
    }
}

fn float_in(raw: &str) -> Option<f64> {
    let float = || raw.parse().ok().filter(|number: &f64| number.is_finite());
    number_in(raw).map(|whole| whole as f64).or_else(float)
}
