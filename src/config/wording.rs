//! An endpoint's own words: a body template, and the codes that it gives. The same for every way by which letters go.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    desk::Desk,
    templates::{Fleet, Written, template},
};
use crate::{
    at,
    document::Step,
    profile::{CodeTable, code_names},
    text,
    uplink::{Template, Wants},
};

/// The keys of an endpoint's table that are about it, as written.
pub(super) struct Wording<'a> {
    /// `http` or `mqtt`.
    pub table: &'static str,
    pub template: Option<&'a PathBuf>,
    pub content_type: Option<&'a str>,
    pub code_table: Option<&'a str>,
    pub codes: &'a BTreeMap<String, String>,
}

impl Wording<'_> {
    /// The body's own form, if it has one.
    pub(super) fn checked(
        &self,
        desk: &mut Desk<'_>,
        n: usize,
        (wants, fleet): (&Wants, Fleet<'_>),
    ) -> Option<Template> {
        if let Some(kind) = self.content_type {
            let path = &self.at(n, "content_type");
            if self.template.is_none() {
                desk.error(
                    path,
                    text!("content_type 需要 template", "content_type needs template beside it"),
                );
            } else if !is_media_type(kind) {
                let told = text!("\"{kind}\" 不是媒体类型", "\"{kind}\" is no media type");
                let help = text!("例如 \"application/json\"", "such as \"application/json\"");
                desk.error_with_help(path, told, help);
            }
        }
        let codes = self.all_codes(desk, n, (wants, fleet));
        let path = &self.at(n, "template");
        let written =
            Written { path, file: self.template?, content_type: self.content_type, codes: &codes, wants };
        template(desk, written, fleet)
    }

    /// Those of the platform's list, and over them the endpoint's own.
    fn all_codes(
        &self,
        desk: &mut Desk<'_>,
        n: usize,
        (wants, fleet): (&Wants, Fleet<'_>),
    ) -> BTreeMap<String, String> {
        let mut codes = BTreeMap::new();
        if let Some(table) = self.code_table.and_then(|id| self.listed(desk, n, id, (wants, fleet))) {
            codes.extend(table.by_name());
        }
        self.known(desk, n, (wants, fleet));
        codes.extend(self.codes.clone());
        codes
    }

    fn listed(
        &self,
        desk: &mut Desk<'_>,
        n: usize,
        id: &str,
        (wants, fleet): (&Wants, Fleet<'_>),
    ) -> Option<Arc<CodeTable>> {
        let path = &self.at(n, "code_table");
        if self.template.is_none() {
            let told = text!("code_table 需要 template", "code_table needs template beside it");
            let help = text!(
                "代码由模板取用：{{{{ data.alarm.name | code(\"99\") }}}}",
                "a template asks for codes: {{{{ data.alarm.name | code(\"99\") }}}}"
            );
            desk.error_with_help(path, told, help);
        }
        let Some(table) = fleet.profiles.code_table(id) else {
            let ids: Vec<&str> = fleet.profiles.code_tables().map(|table| table.id.as_str()).collect();
            let told = text!("没有代码表 \"{id}\"", "there is no list of codes \"{id}\"");
            desk.dangling(path, told, id, &ids);
            return None;
        };
        let class = id.split_once('/').map_or(id, |(class, _)| class);
        if !wants.classes.iter().any(|wanted| wanted.as_str() == class) {
            let told = text!(
                "代码表 {id} 是类别 \"{class}\" 的，而这个目标不要这个类别",
                "{id} is for class \"{class}\", which this endpoint does not want"
            );
            desk.error(path, told);
        }
        Some(table)
    }

    /// A code that no template can ever ask for is a slip.
    fn known(&self, desk: &mut Desk<'_>, n: usize, (wants, fleet): (&Wants, Fleet<'_>)) {
        let classes = wants.classes.iter().filter_map(|name| fleet.profiles.class(name));
        let known: Vec<String> = classes.flat_map(|class| code_names(&class)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for key in self.codes.keys().filter(|key| !known.contains(&key.as_str())) {
            let told = text!(
                "\"{key}\" 不是这个目标所要类别的报警，也不是\"测点.取值\"",
                "\"{key}\" is no alarm of the classes that this endpoint wants, nor a `point.word` of them"
            );
            desk.dangling(at!["endpoint", n, self.table, "codes", key.as_str()], told, key, &known);
        }
    }

    fn at(&self, n: usize, key: &'static str) -> [Step<'static>; 4] {
        ["endpoint".into(), n.into(), self.table.into(), key.into()]
    }
}

/// `type/subtype`, with parameters or without, that can stand in a header.
fn is_media_type(text: &str) -> bool {
    let name = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    printable && name.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}
