//! What the contract has and this version does not do: said at the check, never passed over in silence.

use super::http::config::Settings;
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
}
