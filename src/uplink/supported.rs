//! What the contract has and this version does not do: said at the check, never passed over in silence.

use super::{Wants, http::config::Settings};
use crate::{domain::Text, text};

impl Settings {
    /// Why this version cannot serve these settings; `None` if it can.
    pub fn unsupported(&self) -> Option<Text> {
        self.digest.as_ref().map(|_| {
            text!(
                "本版本尚不支持 digest 登录，请使用 bearer、basic 或客户端证书",
                "digest login is not in this version; use bearer, basic or a client certificate"
            )
        })
    }
}

impl Wants {
    /// What of this the endpoint will not get from this version; `None` if it gets all of it.
    pub fn unsupported(&self) -> Option<Text> {
        self.readings.then(|| {
            text!(
                "本版本尚不转发读数（readings = true），只投递报警",
                "readings are not forwarded in this version (readings = true), only alarms are"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_refused_in_both_languages() {
        let settings =
            |login: &str| toml::from_str::<Settings>(&format!("url = 'http://a/'\n{login}")).unwrap();
        let login = |kind| format!("{kind} = {{ username = 'me', password = {{ file = 'pw' }} }}");
        let said = settings(&login("digest")).unsupported().unwrap();
        assert!(said.zh.contains("digest") && said.en.contains("digest"));
        assert_eq!(settings(&login("basic")).unsupported(), None);
        assert_eq!(settings("").unsupported(), None);
    }

    #[test]
    fn readings_are_said_not_to_go() {
        assert!(Wants { readings: true, ..Wants::default() }.unsupported().is_some());
        assert_eq!(Wants::default().unsupported(), None);
    }
}
