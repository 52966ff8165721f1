//! The key of the box: Ed25519, made at the first start, in a file that belongs to the gateway alone, or a systemd credential.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::store::{
    Pseudonyms,
    evidence::{hex, sha256},
};

const FILE: &str = "evidence.key";
const CREDENTIAL: &str = "evidence-key";

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("read the key of the evidence, {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("make the key of the evidence, {path}: {source}")]
    Unmade { path: PathBuf, source: io::Error },
    #[error("use the key of the evidence, {path}: it is not 32 bytes in base64")]
    NotAKey { path: PathBuf },
}

pub struct BoxKey {
    pair: Ed25519KeyPair,
    pseudonyms: Pseudonyms,
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxKey({})", self.id())
    }
}

impl BoxKey {
    /// The systemd credential `evidence-key` if there is one, else the file in the store's directory; made there if `make`.
    ///
    /// # Errors
    /// If it can neither be read nor made, or is none.
    pub fn find(dir: &Path, make: bool) -> Result<Self, KeyError> {
        let credential =
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(CREDENTIAL));
        let path = credential.filter(|path| path.exists()).unwrap_or_else(|| dir.join(FILE));
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(KeyError::NotAKey { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                Self::make(&path).map_err(|source| KeyError::Unmade { path, source })
            }
            Err(source) => Err(KeyError::Unreadable { path, source }),
        }
    }

    /// On the disk, name and all, before anything is signed with it. A file that a crash left half written is none: it is written
    /// beside its name first.
    fn make(path: &Path) -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let beside = path.with_extension("key.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        writeln!(file, "{}", BASE64.encode(seed))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Self::of_seed(&seed).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(text: &str) -> Option<Self> {
        Self::of_seed(&BASE64.decode(text.trim()).ok()?)
    }

    pub fn of_seed(seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self { pair, pseudonyms: Pseudonyms::under(seed) })
    }

    /// Base64.
    pub fn sign(&self, text: &str) -> String {
        BASE64.encode(self.pair.sign(text.as_bytes()))
    }

    /// 32 bytes, base64.
    pub fn public(&self) -> String {
        BASE64.encode(self.pair.public_key())
    }

    /// Names for cards, for a site that has no key of the store.
    pub fn pseudonyms(&self) -> Pseudonyms {
        self.pseudonyms.clone()
    }

    pub fn id(&self) -> String {
        hex(&sha256(self.pair.public_key().as_ref()))[..16].to_owned()
    }
}

/// The short name of a public key in base64; `None` if it is none.
pub fn key_id(public: &str) -> Option<String> {
    let bytes = BASE64.decode(public.trim()).ok().filter(|bytes| bytes.len() == 32)?;
    Some(hex(&sha256(&bytes))[..16].to_owned())
}

/// Whether `signature` is that of `public` over `text`, both base64.
pub(super) fn is_signed(text: &str, signature: &str, public: &str) -> bool {
    let (Ok(public), Ok(signature)) = (BASE64.decode(public), BASE64.decode(signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, public).verify(text.as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_for_the_gateway_alone_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let missing = BoxKey::find(dir.path(), false);
        assert!(matches!(missing, Err(KeyError::Unreadable { .. })), "{missing:?}");
        let key = BoxKey::find(dir.path(), true).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = BoxKey::find(dir.path(), true).unwrap();
        assert_eq!((again.public(), key_id(&key.public())), (key.public(), Some(key.id())));
        let signature = again.sign("岗亭");
        assert!(is_signed("岗亭", &signature, &key.public()));
        for (fact, text, signature, public) in [
            ("another text", "岗", &signature, &key.public()),
            ("no signature", "岗亭", &String::new(), &key.public()),
            ("no base64", "岗亭", &"?".to_owned(), &key.public()),
            ("another key", "岗亭", &signature, &BoxKey::of_seed(&[7; 32]).unwrap().public()),
        ] {
            assert!(!is_signed(text, signature, public), "{fact}");
        }
        fs::write(&path, "half a k").unwrap();
        assert!(
            matches!(BoxKey::find(dir.path(), true), Err(KeyError::NotAKey { .. })),
            "it is never overwritten"
        );
    }
}
