//! `[endpoint.http]` as written.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::{Period, SecretFile};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HttpReceiver")]
pub struct Settings {
    /// `https://…` or `http://…`, without a user or password in it.
    pub url: String,
    /// Signs each request (Standard Webhooks): `whsec_<base64>`, `whsk_<base64>` for Ed25519, or the key as it is; a key a line,
    /// two while one follows the other.
    pub secret: Option<SecretFile>,
    /// Authorities that may vouch for the receiver; given, no others are trusted.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for mutual TLS: both or neither.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// One of the three logins, or none.
    pub bearer: Option<SecretFile>,
    pub basic: Option<LoginSettings>,
    pub digest: Option<LoginSettings>,
    /// The body in the receiver's own words: a file with a template over the object that would be sent.
    pub template: Option<PathBuf>,
    /// A platform's list of codes, `class/list`, for the template's filter `code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_table: Option<String>,
    /// The platform's own codes, besides that list or over it: by the name of an alarm, or `point.word` of a choice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, String>,
    /// What the template gives; `application/json` if left out.
    pub content_type: Option<String>,
    #[serde(default)]
    pub accept: AcceptSettings,
    /// Where in its reply a person acknowledges the alarm, as a JSON pointer (RFC 6901) to `{ "as": …, "note": … }`. None: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_reply: Option<String>,
    /// For the whole exchange.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginSettings {
    pub username: String,
    pub password: SecretFile,
}

/// The receipt rule: which replies mean "we have it".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptSettings {
    /// HTTP statuses that mean success; none named: every 2xx.
    #[serde(default)]
    #[schemars(inner(range(min = 200, max = 599)))]
    pub status: Vec<u16>,
    /// A CEL expression over the members of the reply's JSON object, e.g. `code == 0`.
    pub body: Option<String>,
}

/// Standard Webhooks asks for 15 to 30 s at the most; an alarm wants an answer sooner.
fn default_timeout() -> Period {
    Period(Duration::from_secs(10))
}

/// Why a receiver's URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverUrlError {
    #[error("read it as a URL")]
    NotAUrl,
    #[error("use a scheme other than http or https")]
    Scheme,
    #[error("use a user or password in it")]
    Login,
}

impl Settings {
    /// # Errors
    /// If `url` is not `http[s]://host…`, or has a user or password in it.
    pub fn address(&self) -> Result<Url, ReceiverUrlError> {
        let url = Url::parse(&self.url).map_err(|_unread| ReceiverUrlError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ReceiverUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ReceiverUrlError::Login);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiver_urls() {
        for (url, fault) in [
            ("https://inspection.example/api/alarms", None),
            ("http://127.0.0.1:9000", None),
            ("http://[::1]:9000/x?y=z", None),
            ("ftp://inspection.example/", Some(ReceiverUrlError::Scheme)),
            ("inspection.example/api", Some(ReceiverUrlError::NotAUrl)),
            ("https://", Some(ReceiverUrlError::NotAUrl)),
            ("", Some(ReceiverUrlError::NotAUrl)),
            ("https://me:pw@inspection.example/", Some(ReceiverUrlError::Login)),
        ] {
            let settings: Settings = toml::from_str(&format!("url = '{url}'")).unwrap();
            assert_eq!(settings.address().err(), fault, "{url}");
        }
    }
}
