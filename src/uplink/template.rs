//! A body in a platform's own words: a template over the object that would have been sent. Nothing else is within its reach.
//!
//! Strict (what is not there is a mistake, not an empty text), of bounded work and length, and JSON where it says so.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    sync::Arc,
};

use jiff::fmt::strtime::BrokenDownTime;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};

use crate::{domain::Text, text};

/// Enough for every point of a large device, some thousand times over.
const FUEL: u64 = 500_000;
const DEPTH: usize = 64;
/// No platform takes a longer body for one alarm.
const LONGEST: usize = 256 * 1024;
const NAME: &str = "body";

/// Compiled; cheap to clone.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    content_type: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("use the template: {0}")]
    Broken(#[source] Error),
    #[error("use the template: it gives more than {} KiB", LONGEST / 1024)]
    TooLong,
    #[error("use the template: what it gives is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("use the template: the object is not JSON: {0}")]
    NoObject(#[source] serde_json::Error),
}

impl TemplateError {
    pub fn text(&self) -> Text {
        match self {
            TemplateError::Broken(error) => {
                let line = error.line().unwrap_or(1);
                let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                match error.kind() {
                    ErrorKind::UndefinedError => {
                        text!(
                            "第 {line} 行用了没有的字段：{what}",
                            "line {line} uses what is not there: {what}"
                        )
                    }
                    ErrorKind::OutOfFuel => text!("算得太久", "it takes too long"),
                    _ => text!("第 {line} 行：{what}", "line {line}: {what}"),
                }
            }
            TemplateError::TooLong => {
                let most = LONGEST / 1024;
                text!("结果超过 {most} KiB", "what it gives is over {most} KiB")
            }
            TemplateError::NotJson(error) => {
                text!("结果不是 JSON：{error}", "what it gives is not JSON: {error}")
            }
            TemplateError::NoObject(error) => text!("{error}", "{error}"),
        }
    }
}

impl Template {
    /// `codes`: what the filter `code` gives. `content_type`: what it gives. Values are written as JSON where that is JSON (with their quotes), escaped where it is
    /// XML, as they are elsewhere.
    ///
    /// # Errors
    /// `Broken` if it is no template.
    pub fn compile(
        source: String,
        content_type: &str,
        codes: &BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        let escape = escape(content_type);
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.add_filter("strftime", strftime);
        let codes = codes.clone();
        environment
            .add_filter("code", move |of: &str, otherwise: Option<String>| code(&codes, of, otherwise));
        environment.add_template_owned(NAME, source).map_err(TemplateError::Broken)?;
        Ok(Self { environment: Arc::new(environment), content_type: content_type.to_owned() })
    }

    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// `object`: the JSON object that would have been sent; its members are the template's variables.
    ///
    /// # Errors
    /// If it asks for what is not there, does not end in time or in length, or does not give JSON where it should.
    pub fn render(&self, object: &[u8]) -> Result<Vec<u8>, TemplateError> {
        let object: serde_json::Value = serde_json::from_slice(object).map_err(TemplateError::NoObject)?;
        let template = self.environment.get_template(NAME).map_err(TemplateError::Broken)?;
        let mut body = Bounded(Vec::new());
        let rendered = template.render_captured_to(Serde(&object), &mut body);
        match rendered.map(drop) {
            Err(error) if error.kind() == ErrorKind::WriteFailure => return Err(TemplateError::TooLong),
            Err(error) => return Err(TemplateError::Broken(error)),
            Ok(()) => {}
        }
        if escape(&self.content_type) == AutoEscape::Json {
            serde_json::from_slice::<serde::de::IgnoredAny>(&body.0).map_err(TemplateError::NotJson)?;
        }
        Ok(body.0)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

fn escape(content_type: &str) -> AutoEscape {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let ends = |with: &str| kind.ends_with(&format!("/{with}")) || kind.ends_with(&format!("+{with}"));
    match (ends("json"), ends("xml")) {
        (true, _) => AutoEscape::Json,
        (false, true) => AutoEscape::Html,
        (false, false) => AutoEscape::None,
    }
}

/// A time of the object in another form: `{{ time | strftime("%Y-%m-%d %H:%M:%S") }}`, in the site's own time.
fn strftime(time: &str, format: &str) -> Result<String, Error> {
    let unfit = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let parsed = BrokenDownTime::parse("%Y-%m-%dT%H:%M:%S%.f%:z", time).map_err(unfit)?;
    parsed.to_string(format).map_err(unfit)
}

/// The platform's own code: `{{ data.alarm.name | code }}`, or `| code("99")` where another code stands for all that it has none for.
fn code(codes: &BTreeMap<String, String>, of: &str, otherwise: Option<String>) -> Result<String, Error> {
    let known = codes.get(of).cloned().or(otherwise);
    known.ok_or_else(|| Error::new(ErrorKind::UndefinedError, format!("no code for {of} in `codes`")))
}

/// Takes no more than `LONGEST`.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::{Wants, envelope, sample};
    use jiff::tz::TimeZone;

    fn object() -> Vec<u8> {
        let wants = Wants { data: vec![crate::domain::DataClass::Operational], ..Wants::default() };
        envelope::body(
            &sample::sealed(sample::raised()),
            &"office".into(),
            &wants,
            &TimeZone::fixed(jiff::tz::offset(8)),
        )
    }

    fn rendered(source: &str, content_type: &str) -> Result<String, String> {
        let template =
            Template::compile(source.to_owned(), content_type, &codes()).map_err(|error| error.text().en)?;
        let body = template.render(&object()).map_err(|error| error.text().en)?;
        Ok(String::from_utf8(body).unwrap())
    }

    fn codes() -> BTreeMap<String, String> {
        BTreeMap::from([("passenger_trapped".to_owned(), "93".to_owned())])
    }

    #[test]
    fn a_platform_gets_its_own_words() {
        let facts = [
            (
                "application/json",
                r#"{"name": {{ data.device.name }}, "floor": {{ data.readings.floor.value }}}"#,
                r#"{"name": "3号楼1单元电梯", "floor": 7}"#,
            ),
            (
                "application/json;charset=utf-8",
                r#"{"t": {{ time | strftime("%Y-%m-%d %H:%M:%S") }}}"#,
                r#"{"t": "2026-11-23 14:03:11"}"#,
            ),
            ("application/xml", "<n>{{ '<' ~ data.device.id }}</n>", "<n>&lt;lift-3-1</n>"),
            (
                "application/x-www-form-urlencoded",
                "id={{ id }}&n={{ data.site.name | urlencode }}",
                "id=0b6f5a3e9c1d47288f00aa11bb22cc33&n=%E5%86%B6%E7%9F%BF%E8%B7%AF%E7%A4%BE%E5%8C%BA",
            ),
            ("text/plain", "{{ data.alarm.name | code }} {{ 'fire' | code('99') }}", "93 99"),
            ("text/plain", "{% if type == 'gatehouse.alarm.raised' %}1{% else %}0{% endif %}", "1"),
        ];
        for (content_type, source, expected) in facts {
            assert_eq!(rendered(source, content_type).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_it_cannot_do_is_said() {
        let json = "application/json";
        let long = "{% for a in range(9999) %}{{ type }}{{ type }}{% endfor %}";
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let facts = [
            (json, "{{ data.device.nmae }}", "line 1 uses what is not there"),
            (json, "\n{{ data.readings.last_card.value }}", "line 2 uses what is not there"),
            (json, r#"{"id": "{{ id }}"}"#, "not JSON"),
            (json, "{{ 'fire' | code }}", "no code for fire"),
            (json, "{% if %}", "line 1: "),
            (json, "{% include 'other' %}", "line 1"),
            ("text/plain", long, "over 256 KiB"),
            ("text/plain", endless, "too long"),
        ];
        for (content_type, source, expected) in facts {
            let said = rendered(source, content_type).unwrap_err();
            assert!(said.contains(expected), "{source}: {said}");
        }
    }
}
