//! The keys of the box: made at the first start, each in a file that belongs to the gateway alone, or a systemd credential.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::sm2::{self, Sm2Pair};
use crate::{
    domain::Suite,
    store::{
        Pseudonyms,
        evidence::{digest, hex},
    },
};

const ED25519_BYTES: usize = 32;

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("read the key of the evidence, {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("make the key of the evidence, {path}: {source}")]
    Unmade { path: PathBuf, source: io::Error },
    #[error("use the key of the evidence, {path}: it is not 32 bytes in base64")]
    NotAKey { path: PathBuf },
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Sm2(Sm2Pair),
}

pub struct BoxKey {
    pair: Pair,
    pseudonyms: Pseudonyms,
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxKey({})", self.id())
    }
}

/// The file in the store's directory, and the credential.
fn names(suite: Suite) -> (&'static str, &'static str) {
    match suite {
        Suite::International => ("evidence.key", "evidence-key"),
        Suite::Guomi => ("evidence-sm2.key", "evidence-sm2-key"),
    }
}

impl BoxKey {
    /// The systemd credential if there is one, else the file in the store's directory; made there if `make`.
    ///
    /// # Errors
    /// If it can neither be read nor made, or is none.
    pub fn find(dir: &Path, suite: Suite, make: bool) -> Result<Self, KeyError> {
        let (file, credential) = names(suite);
        let credential =
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(credential));
        let path = credential.filter(|path| path.exists()).unwrap_or_else(|| dir.join(file));
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(suite, &text).ok_or(KeyError::NotAKey { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                Self::make(suite, &path).map_err(|source| KeyError::Unmade { path, source })
            }
            Err(source) => Err(KeyError::Unreadable { path, source }),
        }
    }

    /// On the disk, name and all, before anything is signed with it. A file that a crash left half written is none: it is written
    /// beside its name first.
    fn make(suite: Suite, path: &Path) -> io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        // of all numbers one in 2³² is none of SM2's
        let key = Self::of_secret(suite, &secret).ok_or(io::ErrorKind::InvalidData)?;
        let beside = path.with_extension("key.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        writeln!(file, "{}", BASE64.encode(secret))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(key)
    }

    fn parse(suite: Suite, text: &str) -> Option<Self> {
        Self::of_secret(suite, &BASE64.decode(text.trim()).ok()?)
    }

    /// 32 bytes.
    pub fn of_secret(suite: Suite, secret: &[u8]) -> Option<Self> {
        let pair = match suite {
            Suite::International => Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(secret).ok()?),
            Suite::Guomi => Pair::Sm2(Sm2Pair::of_secret(secret)?),
        };
        Some(Self { pair, pseudonyms: Pseudonyms::under(secret) })
    }

    pub fn suite(&self) -> Suite {
        match self.pair {
            Pair::Ed25519(_) => Suite::International,
            Pair::Sm2(_) => Suite::Guomi,
        }
    }

    /// Base64. `None`: not with this key.
    pub fn sign(&self, text: &str) -> Option<String> {
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Pair::Sm2(pair) => pair.sign(text.as_bytes())?,
        };
        Some(BASE64.encode(signature))
    }

    fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Sm2(pair) => pair.public(),
        }
    }

    /// Base64: 32 bytes of Ed25519, or 65 of SM2.
    pub fn public(&self) -> String {
        BASE64.encode(self.public_bytes())
    }

    /// Names for cards, for a site that has no key of the store.
    pub fn pseudonyms(&self) -> Pseudonyms {
        self.pseudonyms.clone()
    }

    pub fn id(&self) -> String {
        id(self.suite(), &self.public_bytes())
    }
}

/// Those that the box has: one of each suite at most.
#[derive(Clone, Debug, Default)]
pub struct BoxKeys(Arc<[BoxKey]>);

impl FromIterator<BoxKey> for BoxKeys {
    fn from_iter<I: IntoIterator<Item = BoxKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl BoxKeys {
    pub fn of(&self, suite: Suite) -> Option<&BoxKey> {
        self.0.iter().find(|key| key.suite() == suite)
    }
}

fn id(suite: Suite, public: &[u8]) -> String {
    hex(&digest(suite, public))[..16].to_owned()
}

fn known(public: &str) -> Option<(Suite, Vec<u8>)> {
    let bytes = BASE64.decode(public.trim()).ok()?;
    match bytes.len() {
        ED25519_BYTES => Some((Suite::International, bytes)),
        _ => sm2::is_public(&bytes).then_some((Suite::Guomi, bytes)),
    }
}

/// Whose a public key in base64 is; `None` if it is none.
pub fn suite_of_key(public: &str) -> Option<Suite> {
    known(public).map(|(suite, _)| suite)
}

/// The short name of a public key in base64; `None` if it is none.
pub fn key_id(public: &str) -> Option<String> {
    known(public).map(|(suite, bytes)| id(suite, &bytes))
}

/// Whether `signature` is that of `public` over `text`, both base64.
pub(super) fn is_signed(suite: Suite, text: &str, signature: &str, public: &str) -> bool {
    let (Ok(public), Ok(signature)) = (BASE64.decode(public), BASE64.decode(signature)) else { return false };
    match suite {
        Suite::International => {
            UnparsedPublicKey::new(&ED25519, public).verify(text.as_bytes(), &signature).is_ok()
        }
        Suite::Guomi => sm2::is_signed(text.as_bytes(), &signature, &public),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_is_made_once_for_the_gateway_alone_and_found_again() {
        for suite in Suite::ALL {
            let dir = tempfile::tempdir().unwrap();
            let missing = BoxKey::find(dir.path(), suite, false);
            assert!(matches!(missing, Err(KeyError::Unreadable { .. })), "{missing:?}");
            let key = BoxKey::find(dir.path(), suite, true).unwrap();
            let path = dir.path().join(names(suite).0);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let again = BoxKey::find(dir.path(), suite, true).unwrap();
            assert_eq!((again.public(), key_id(&key.public())), (key.public(), Some(key.id())));
            assert_eq!((key.suite(), suite_of_key(&key.public())), (suite, Some(suite)));
            let signature = again.sign("岗亭").unwrap();
            assert!(is_signed(suite, "岗亭", &signature, &key.public()));
            let [other, another] = Suite::ALL.map(|of| BoxKey::of_secret(of, &[7; 32]).unwrap().public());
            for (fact, text, signature, public) in [
                ("another text", "岗", &signature, &key.public()),
                ("no signature", "岗亭", &String::new(), &key.public()),
                ("no base64", "岗亭", &"?".to_owned(), &key.public()),
                ("another key", "岗亭", &signature, &other),
                ("another's key", "岗亭", &signature, &another),
            ] {
                assert!(!is_signed(suite, text, signature, public), "{suite:?}: {fact}");
            }
            let secret = fs::read_to_string(&path).unwrap();
            assert!(!format!("{key:?}").contains(secret.trim()), "nobody prints it");
            fs::write(&path, "half a k").unwrap();
            let broken = BoxKey::find(dir.path(), suite, true);
            assert!(matches!(broken, Err(KeyError::NotAKey { .. })), "it is never overwritten");
        }
    }
}
