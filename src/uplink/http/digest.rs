//! Digest login, RFC 7616 (and what RFC 2617 left): the answer to a challenge, kept and counted for the requests after it.
//! Challenges are read as the field writes them: single quotes, missing algorithm, several in one header. Pure.

use std::collections::HashMap;

use md5::Md5;
use sha2::{Digest, Sha256};

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// `-sess`: the nonces are part of the key.
    session: bool,
    /// As it was written, to be given back as it was.
    algorithm_word: Option<String>,
    qop: Qop,
    userhash: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    /// Before RFC 2617: nothing is counted.
    None,
    Auth,
    AuthInt,
}

/// Who we are, and what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub username: &'a str,
    pub password: &'a str,
    pub method: &'a str,
    /// Path and query.
    pub uri: &'a str,
    pub body: &'a [u8],
}

impl Challenge {
    /// The one of several `www-authenticate` headers that we can answer: SHA-256 before MD5, else the first. None: there is
    /// no digest challenge that we know.
    pub fn choose<S: AsRef<str>>(headers: impl Iterator<Item = S>) -> Option<Challenge> {
        let known: Vec<Challenge> =
            headers.flat_map(|header| challenges(header.as_ref())).filter_map(Challenge::read).collect();
        let strong = known.iter().find(|challenge| challenge.algorithm == Algorithm::Sha256);
        strong.or(known.first()).cloned()
    }

    fn read(mut keys: HashMap<String, String>) -> Option<Challenge> {
        let algorithm_word = keys.remove("algorithm").filter(|word| !word.is_empty());
        let word = algorithm_word.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = word.strip_suffix("-SESS").map_or((&*word, false), |name| (name, true));
        let algorithm = match name {
            "MD5" => Algorithm::Md5,
            "SHA-256" => Algorithm::Sha256,
            _ => return None,
        };
        let offered = keys.remove("qop");
        let offers = |qop: &str| {
            let offered = offered.as_deref().unwrap_or_default();
            offered.split(',').any(|word| word.trim().eq_ignore_ascii_case(qop))
        };
        let qop = match (offers("auth"), offers("auth-int")) {
            (true, _) => Qop::Auth,
            (false, true) => Qop::AuthInt,
            (false, false) if offered.as_deref().is_none_or(|text| text.trim().is_empty()) => Qop::None,
            (false, false) => return None,
        };
        Some(Challenge {
            realm: keys.remove("realm")?,
            nonce: keys.remove("nonce")?,
            opaque: keys.remove("opaque"),
            algorithm,
            session,
            algorithm_word,
            qop,
            userhash: keys.remove("userhash").is_some_and(|text| text.eq_ignore_ascii_case("true")),
        })
    }

    /// The `authorization` header. `count`: how often this nonce was used, this time included; `cnonce`: our own.
    pub fn answer(&self, asked: &Asked<'_>, count: u32, cnonce: &str) -> String {
        let Asked { username, password, method, uri, body } = *asked;
        let hash = |text: String| self.hash(text.as_bytes());
        let (realm, nonce) = (&self.realm, &self.nonce);
        let who = hash(format!("{username}:{realm}:{password}"));
        let who = if self.session { hash(format!("{who}:{nonce}:{cnonce}")) } else { who };
        let what = match self.qop {
            Qop::AuthInt => hash(format!("{method}:{uri}:{}", self.hash(body))),
            Qop::None | Qop::Auth => hash(format!("{method}:{uri}")),
        };
        let qop = match self.qop {
            Qop::None => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
        };
        let response = match qop {
            None => hash(format!("{who}:{nonce}:{what}")),
            Some(qop) => hash(format!("{who}:{nonce}:{count:08x}:{cnonce}:{qop}:{what}")),
        };
        let name = if self.userhash { hash(format!("{username}:{realm}")) } else { username.to_owned() };
        let mut fields = vec![
            format!("username={}", quoted(&name)),
            format!("realm={}", quoted(realm)),
            format!("nonce={}", quoted(nonce)),
            format!("uri={}", quoted(uri)),
            format!("response=\"{response}\""),
        ];
        fields.extend(self.algorithm_word.as_ref().map(|word| format!("algorithm={word}")));
        fields.extend(self.opaque.as_ref().map(|opaque| format!("opaque={}", quoted(opaque))));
        if let Some(qop) = qop {
            fields.push(format!("qop={qop}, nc={count:08x}, cnonce={}", quoted(cnonce)));
        } else if self.session {
            fields.push(format!("cnonce={}", quoted(cnonce)));
        }
        fields.extend(self.userhash.then(|| "userhash=true".to_owned()));
        format!("Digest {}", fields.join(", "))
    }

    fn hash(&self, bytes: &[u8]) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(bytes)),
            Algorithm::Sha256 => hex(&Sha256::digest(bytes)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The digest challenges in one header, each as its parameters, names in lower case.
fn challenges(header: &str) -> Vec<HashMap<String, String>> {
    let mut found: Vec<(bool, HashMap<String, String>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() && after.is_empty() {
            break;
        }
        match after.trim_start().strip_prefix('=') {
            // a parameter of the scheme before it
            Some(value) if !word.is_empty() => {
                let (value, after) = take_value(value.trim_start());
                if let Some((_, keys)) = found.last_mut() {
                    keys.entry(word.to_ascii_lowercase()).or_insert(value);
                }
                rest = after;
            }
            Some(stray) => rest = stray,
            None => {
                found.push((word.eq_ignore_ascii_case("digest"), HashMap::new()));
                rest = after;
            }
        }
    }
    found.into_iter().filter_map(|(digest, keys)| digest.then_some(keys)).collect()
}

/// A value in double or single quotes, or up to the next comma or blank; and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in text.char_indices().skip(1) {
        match (escaped, letter) {
            (false, '\\') => escaped = true,
            (false, letter) if letter == quote => return (value, &text[at + 1..]),
            _ => {
                value.push(letter);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn asked<'a>(username: &'a str, password: &'a str, method: &'a str, uri: &'a str) -> Asked<'a> {
        Asked { username, password, method, uri, body: b"" }
    }

    /// RFC 7616 section 3.9.1.
    #[test]
    fn the_published_examples_are_met() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let header = format!(
                r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{nonce}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#
            );
            let challenge = Challenge::choose([&*header].into_iter()).unwrap();
            let asked = asked("Mufasa", "Circle of Life", "GET", "/dir/index.html");
            let answer = challenge.answer(&asked, 1, CNONCE);
            assert!(answer.contains(&format!("response=\"{response}\"")), "{algorithm}: {answer}");
            assert!(answer.contains("nc=00000001") && answer.contains("qop=auth,"), "{answer}");
        }
    }

    /// As the platforms of GA/T 1400 ask: single quotes, no algorithm, no opaque.
    #[test]
    fn a_challenge_in_the_dialect_of_the_field_is_answered() {
        let header = "Digest realm='myrealm',qop='auth',nonce='dmktZGlnZXN0OjQzNTQyNzI3Nzg='";
        let challenge = Challenge::choose([header].into_iter()).unwrap();
        let asked = asked("admin", "Admin@123", "POST", "/VIID/System/Register");
        let answer = challenge.answer(&asked, 1, "0a4f113b");
        assert!(answer.contains("response=\"abbe5043d93773f2da3cd450c7b3ed40\""), "{answer}");
        assert!(!answer.contains("algorithm="), "nothing that was not asked for: {answer}");
    }

    #[test]
    fn of_several_challenges_the_strongest_that_is_known_is_chosen() {
        let md5 = r#"Digest realm="a", nonce="1", algorithm=MD5, qop="auth""#;
        let sha = r#"Digest realm="a", nonce="2", algorithm=SHA-256, qop="auth", stale=TRUE"#;
        let odd = r#"Digest realm="a", nonce="3", algorithm=SHA-512-256, qop="auth""#;
        let one_line = format!(r#"Basic realm="a, Digest", {md5}, {sha}"#);
        let chosen = |headers: &[&str]| Challenge::choose(headers.iter()).map(|found| found.nonce);
        assert_eq!(chosen(&[odd, md5, sha]).as_deref(), Some("2"));
        assert_eq!(chosen(&[odd, "Negotiate", md5]).as_deref(), Some("1"));
        assert_eq!(chosen(&[&one_line]).as_deref(), Some("2"));
        assert_eq!(chosen(&[odd]), None);
        assert_eq!(chosen(&["Basic realm=\"nonce=1\"", "Digest realm=\"a\""]), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_harm(header in "[ -~]{0,200}", wild in ".{0,60}") {
            for header in [header, wild.clone(), format!("Digest {wild}"), format!("Digest nonce={wild}, realm=\"")] {
                let found = challenges(&header);
                prop_assert!(found.len() <= header.len());
                if let Some(challenge) = Challenge::choose([&*header].into_iter()) {
                    let answer = challenge.answer(&asked("a", "b", "POST", "/"), 1, "c");
                    prop_assert!(answer.starts_with("Digest "));
                }
            }
        }
    }
}
