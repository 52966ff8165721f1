//! The receipt rule: which replies mean "we have it".

use std::fmt;

use cel::{Context, Value};

use super::config::AcceptSettings;
use crate::{
    domain::{Expression, Text, expression::BadExpression},
    text,
};

/// What a reply means by the rule.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    Accepted,
    /// The status is not one of those that mean success.
    StatusNotListed,
    /// The status is right, and the reply says no: the rule was evaluated and does not hold.
    BodySaysNo,
    /// The status is right, but the rule cannot be held against this reply.
    BodyUnreadable(Flaw),
    /// The status is right and there is no rule, but this is a page for people: a captive portal says 200 to everything.
    WebPage,
}

/// Why a reply cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    CutOff,
    NotAnObject,
    UnfitMembers,
    NoYesOrNo,
    Lacking,
}

impl Flaw {
    /// Fits "the reply …".
    pub fn words(self) -> Text {
        match self {
            Flaw::CutOff => text!("不完整", "is cut off"),
            Flaw::NotAnObject => text!("不是 JSON 对象", "is not a JSON object"),
            Flaw::UnfitMembers => {
                text!("有回执规则无法判断的字段", "has members that the rule cannot be held against")
            }
            Flaw::NoYesOrNo => text!("使回执规则得不出是或否", "gives the rule no yes or no"),
            Flaw::Lacking => text!("缺少回执规则要看的字段", "lacks what the rule asks for"),
        }
    }
}

/// A reply as far as the rule looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// Whether `body` is all that was sent.
    pub whole: bool,
}

impl Judged<'_> {
    /// By how it begins: a framework's plain "ok" is often sent as text/html and is a receipt all the same.
    fn is_web_page(&self) -> bool {
        let body = self.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.body).trim_ascii_start();
        [&b"<!doctype html"[..], b"<html", b"<head", b"<body"]
            .iter()
            .any(|start| body.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start)))
    }
}

/// Status list and optional body rule, compiled.
pub struct Accept {
    /// Empty: every 2xx.
    status: Vec<u16>,
    body: Option<Expression>,
}

impl AcceptSettings {
    /// # Errors
    /// If `body` is not a CEL expression of modest size.
    pub fn compile(&self) -> Result<Accept, BadExpression> {
        let body = self.body.as_deref().map(Expression::compile).transpose()?;
        Ok(Accept { status: self.status.clone(), body })
    }
}

impl Accept {
    pub fn judge(&self, reply: Judged<'_>) -> Finding {
        let Judged { status, body, whole, .. } = reply;
        let listed =
            if self.status.is_empty() { (200..300).contains(&status) } else { self.status.contains(&status) };
        match &self.body {
            _ if !listed => Finding::StatusNotListed,
            None if reply.is_web_page() => Finding::WebPage,
            None => Finding::Accepted,
            Some(_) if !whole => Finding::BodyUnreadable(Flaw::CutOff),
            Some(rule) => hold(rule, body),
        }
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").field("status", &self.status).field("body", &self.body.is_some()).finish()
    }
}

fn hold(rule: &Expression, body: &[u8]) -> Finding {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(body) else {
        return Finding::BodyUnreadable(Flaw::NotAnObject);
    };
    let mut variables = Context::default();
    for (name, member) in members {
        match cel::to_value(member) {
            Ok(value) => variables.add_variable_from_value(name, value),
            Err(_unfit) => {
                return Finding::BodyUnreadable(Flaw::UnfitMembers);
            }
        }
    }
    match rule.program().execute(&variables) {
        Ok(Value::Bool(true)) => Finding::Accepted,
        Ok(Value::Bool(false)) => Finding::BodySaysNo,
        Ok(_) => Finding::BodyUnreadable(Flaw::NoYesOrNo),
        Err(_missing) => Finding::BodyUnreadable(Flaw::Lacking),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(status: &[u16], body: Option<&str>) -> Accept {
        let body = body.map(str::to_owned);
        AcceptSettings { status: status.to_vec(), body }.compile().unwrap()
    }

    fn plain(status: u16, body: &[u8]) -> Judged<'_> {
        Judged { status, body, whole: true }
    }

    const GA_T_1400: &str = "ResponseStatusObject.StatusCode == 0";

    #[test]
    fn the_status_decides_first() {
        let facts: [(&str, &[u16], u16, bool); 7] = [
            ("200 by default", &[], 200, true),
            ("299 by default", &[], 299, true),
            ("302 by default", &[], 302, false),
            ("404 by default", &[], 404, false),
            ("409 where it is listed", &[200, 409], 409, true),
            ("204 where it is not listed", &[200, 409], 204, false),
            ("199 by default", &[], 199, false),
        ];
        for (fact, status, answered, accepted) in facts {
            let found = accept(status, None).judge(plain(answered, b""));
            assert_eq!(found == Finding::Accepted, accepted, "{fact}");
        }
    }

    #[test]
    fn the_body_rule_is_strict() {
        use Finding::*;
        let unread = BodyUnreadable(Flaw::NotAnObject);
        let lacking = BodyUnreadable(Flaw::Lacking);
        let facts: [(&str, &str, &[u8], Finding); 11] = [
            ("zero is zero", GA_T_1400, br#"{"ResponseStatusObject":{"StatusCode":0}}"#, Accepted),
            ("0.0 is zero too", GA_T_1400, br#"{"ResponseStatusObject":{"StatusCode":0.0}}"#, Accepted),
            ("a failure code", GA_T_1400, br#"{"ResponseStatusObject":{"StatusCode":3}}"#, BodySaysNo),
            ("text is no number", GA_T_1400, br#"{"ResponseStatusObject":{"StatusCode":"0"}}"#, BodySaysNo),
            ("negative code", GA_T_1400, br#"{"ResponseStatusObject":{"StatusCode":-1}}"#, BodySaysNo),
            ("member missing", GA_T_1400, br#"{"ResponseStatusObject":{}}"#, lacking),
            ("a captive portal's page", GA_T_1400, b"<html>log in</html>", unread),
            ("an empty body", GA_T_1400, b"", BodyUnreadable(Flaw::NotAnObject)),
            ("a list", GA_T_1400, b"[0]", BodyUnreadable(Flaw::NotAnObject)),
            ("a rule that gives a number", "code", br#"{"code":0}"#, BodyUnreadable(Flaw::NoYesOrNo)),
            (
                "text compared with text",
                "code == '0' && !has(error.text)",
                br#"{"code":"0","error":{}}"#,
                Accepted,
            ),
        ];
        for (fact, rule, body, expected) in facts {
            assert_eq!(accept(&[], Some(rule)).judge(plain(200, body)), expected, "{fact}");
        }
    }

    #[test]
    fn a_page_for_people_is_no_receipt() {
        let facts: [(&str, &[u8], bool); 9] = [
            ("a login page", b"<html><title>login", true),
            ("by its doctype", b"<!DOCTYPE html>", true),
            ("behind blanks", b" \r\n\t<HTML>", true),
            ("behind a byte order mark", b"\xEF\xBB\xBF\n<html>", true),
            ("nothing", b"", false),
            ("a framework's ok", b"ok", false),
            ("XML", b"<?xml version=\"1.0\"?><status>0</status>", false),
            ("JSON", b"{\"said\":\"<html>\"}", false),
            ("text", b"ok <1>", false),
        ];
        for (fact, body, page) in facts {
            let found = accept(&[], None).judge(plain(200, body));
            assert_eq!(found, if page { Finding::WebPage } else { Finding::Accepted }, "{fact}");
        }
    }

    #[test]
    fn a_reply_that_was_cut_off_proves_nothing() {
        let accept = accept(&[], Some(GA_T_1400));
        let body = br#"{"ResponseStatusObject":{"StatusCode":0}}"#;
        assert_eq!(
            accept.judge(Judged { whole: false, ..plain(200, body) }),
            Finding::BodyUnreadable(Flaw::CutOff)
        );
    }

    #[test]
    fn deep_json_does_no_harm() {
        let body = "[".repeat(60_000);
        let accept = accept(&[], Some("a"));
        assert_eq!(accept.judge(plain(200, body.as_bytes())), Finding::BodyUnreadable(Flaw::NotAnObject));
    }
}
