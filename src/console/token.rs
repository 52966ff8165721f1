//! Named tokens with one role each: who may come in by the network, and as what.
//!
//! The file beside the store has their hashes only. A token is 256 random bits, which nobody can guess: one SHA-256 is enough, a slow
//! hash would only slow down its owner.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{domain::Text, text};

/// What every token begins with, so that one that strays into a file is found by those who search for secrets.
const PREFIX: &str = "gth_";
const RANDOM_BYTES: usize = 32;
/// Longest name, in characters: it stands in every record of what was done with the token.
const NAME_MAX: usize = 20;
const MOST: usize = 256;
/// So many that are gone are remembered.
const GONE: usize = 64;
const FILE: &str = "tokens.json";
/// Nobody who can write it but its owner is trusted with what it says.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const LONGEST: u64 = 256 * 1024;

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks. 查看
    Viewer,
    /// Takes alarms on, reports, shelves for up to four hours, closes. 值班/检查员
    Inspector,
    /// Takes devices out of service and tells them things, shelves longer, offers letters again, drills. 运维
    Operator,
    /// Whatever there is, values of persons among it. 管理
    Admin,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Inspector, Role::Operator, Role::Admin];

    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Inspector => "inspector",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Role::ALL.into_iter().find(|role| role.word() == text);
        known.ok_or("viewer, inspector, operator or admin")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub name: String,
    pub role: Role,
    #[serde(with = "hexadecimal")]
    sha256: [u8; 32],
    pub added_at: Timestamp,
    /// The account on this box.
    pub added_by: String,
}

/// A token that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    pub name: String,
    pub role: Role,
    pub removed_at: Timestamp,
    pub removed_by: String,
}

/// All of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    pub tokens: Vec<Token>,
    #[serde(default)]
    pub gone: Vec<Gone>,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("understand {path}: {why}")]
    Damaged { path: PathBuf, why: String },
    #[error("trust {path}: others than its owner can write it")]
    WritableByOthers { path: PathBuf },
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("find {0}: the gateway has never run here")]
    NoStore(PathBuf),
    #[error("write into {0} as this user")]
    NotPermitted(PathBuf),
    #[error("name a token {0:?}")]
    Name(String),
    #[error("make a second token {0:?}")]
    Taken(String),
    #[error("find token {0:?}")]
    NoSuchToken(String),
    #[error("keep more than {MOST} tokens")]
    TooMany,
}

impl TokenFault {
    pub fn text(&self) -> Text {
        match self {
            TokenFault::Read { path, source } => {
                let path = path.display();
                text!("读不了 {path}：{source}", "{path} cannot be read: {source}")
            }
            TokenFault::Damaged { path, why } => {
                let path = path.display();
                text!(
                    "{path} 看不懂（{why}）：所有令牌都不能用。修好它，或删掉后重新添加",
                    "{path} cannot be understood ({why}): no token is good. Correct it, or delete it and add them anew"
                )
            }
            TokenFault::WritableByOthers { path } => {
                let path = path.display();
                text!(
                    "{path} 能被别的用户改写，不可信：请 chmod 600 {path}",
                    "{path} can be written by other users and is not trusted: chmod 600 {path}"
                )
            }
            TokenFault::Write { path, source } => {
                let path = path.display();
                text!("写不了 {path}：{source}", "{path} cannot be written: {source}")
            }
            TokenFault::NoStore(dir) => {
                let dir = dir.display();
                text!(
                    "没有目录 {dir}：请先启动一次网关",
                    "there is no directory {dir}: start the gateway once"
                )
            }
            TokenFault::NotPermitted(dir) => {
                let dir = dir.display();
                text!(
                    "当前用户不能在 {dir} 里写：请用 root 或网关的用户运行（sudo gatehouse token …）",
                    "this user may not write into {dir}: run as root or as the gateway's own user (sudo gatehouse token …)"
                )
            }
            TokenFault::Name(name) => text!(
                "令牌名 {name:?} 不行：1 到 {NAME_MAX} 个字母、汉字、数字或 - _ .",
                "{name:?} is no token's name: 1 to {NAME_MAX} letters, digits, - _ ."
            ),
            TokenFault::Taken(name) => text!(
                "已有令牌 \"{name}\"：换个名字，或先 gatehouse token remove {name}",
                "there is a token \"{name}\": take another name, or first gatehouse token remove {name}"
            ),
            TokenFault::NoSuchToken(name) => text!(
                "没有令牌 \"{name}\"：请用 gatehouse token list 查看",
                "there is no token \"{name}\": see gatehouse token list"
            ),
            TokenFault::TooMany => {
                text!("最多 {MOST} 个令牌，请删掉不用的", "{MOST} tokens at most: remove some")
            }
        }
    }
}

impl Tokens {
    /// None if there is no file.
    ///
    /// # Errors
    /// If it cannot be read, understood or trusted.
    pub fn read(dir: &Path) -> Result<Self, TokenFault> {
        let path = dir.join(FILE);
        let told = |source| TokenFault::Read { path: path.clone(), source };
        let damaged = |why: String| TokenFault::Damaged { path: path.clone(), why };
        let about = match fs::metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(told(error)),
        };
        if about.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(TokenFault::WritableByOthers { path });
        }
        if about.len() > LONGEST {
            return Err(damaged(format!("{} bytes", about.len())));
        }
        let bytes = fs::read(&path).map_err(told)?;
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
    }

    /// Reads, changes and writes the file; two who do so at once do it one after the other.
    ///
    /// # Errors
    /// As [`Tokens::read`]; what `change` says; if it cannot be written.
    pub fn change<T>(
        dir: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, TokenFault>,
    ) -> Result<T, TokenFault> {
        let about = fs::metadata(dir).map_err(|_not_there| TokenFault::NoStore(dir.to_owned()))?;
        let me = rustix::process::geteuid().as_raw();
        // the gateway must be able to read what is written here
        if me != 0 && me != about.uid() {
            return Err(TokenFault::NotPermitted(dir.to_owned()));
        }
        let told = |source| TokenFault::Write { path: dir.join(FILE), source };
        let held = File::open(dir).map_err(told)?;
        held.lock().map_err(told)?;
        let mut tokens = Self::read(dir)?;
        let outcome = change(&mut tokens)?;
        tokens.write(dir, (about.uid(), about.gid())).map_err(told)?;
        held.sync_all().map_err(told)?;
        Ok(outcome)
    }

    fn write(&self, dir: &Path, (owner, group): (u32, u32)) -> io::Result<()> {
        let new = dir.join(format!("{FILE}.new"));
        match fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        if rustix::process::geteuid().is_root() {
            fchown(&file, Some(owner), Some(group))?;
        }
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(FILE))
    }

    /// The token itself: it is shown once and kept nowhere.
    ///
    /// # Errors
    /// If there is one of that name, or it is no name.
    pub fn add(&mut self, name: &str, role: Role, by: String, at: Timestamp) -> Result<String, TokenFault> {
        let plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
        if name.is_empty() || name.chars().count() > NAME_MAX || !name.chars().all(plain) {
            return Err(TokenFault::Name(name.to_owned()));
        }
        if self.tokens.iter().any(|token| token.name == name) {
            return Err(TokenFault::Taken(name.to_owned()));
        }
        if self.tokens.len() >= MOST {
            return Err(TokenFault::TooMany);
        }
        let mut bits = [0; RANDOM_BYTES];
        getrandom::fill(&mut bits).expect("the kernel gives random bits");
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits));
        let (name, sha256) = (name.to_owned(), Sha256::digest(&token).into());
        self.tokens.push(Token { name, role, sha256, added_at: at, added_by: by });
        Ok(token)
    }

    /// # Errors
    /// If there is none of that name.
    pub fn remove(&mut self, name: &str, by: String, at: Timestamp) -> Result<Role, TokenFault> {
        let place = self.tokens.iter().position(|token| token.name == name);
        let token = self.tokens.remove(place.ok_or_else(|| TokenFault::NoSuchToken(name.to_owned()))?);
        self.gone.push(Gone { name: token.name, role: token.role, removed_at: at, removed_by: by });
        let too_many = self.gone.len().saturating_sub(GONE);
        self.gone.drain(..too_many);
        Ok(token.role)
    }

    /// Whose token it is. How long that takes tells nothing of how much of it was right.
    pub fn whose(&self, presented: &str) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.sha256.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        found
    }
}

/// 32 bytes as 64 digits.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::store::evidence::{hex, unhex};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let digits = String::deserialize(d)?;
        unhex(&digits).ok_or_else(|| D::Error::custom("a SHA-256 has 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(tokens: &mut Tokens, name: &str, role: Role) -> Result<String, TokenFault> {
        tokens.add(name, role, "root".to_owned(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_token_is_known_again_by_its_hash_alone() {
        let dir = tempfile::tempdir().unwrap();
        let token = Tokens::change(dir.path(), |tokens| added(tokens, "duty-room", Role::Inspector)).unwrap();
        assert_eq!((token.len(), token.starts_with(PREFIX)), (PREFIX.len() + 43, true), "256 bits");
        let path = dir.path().join(FILE);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(!kept.contains(&token) && !kept.contains(&token[PREFIX.len()..]), "{kept}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let tokens = Tokens::read(dir.path()).unwrap();
        let whose = |presented: &str| tokens.whose(presented).map(|token| (token.name.as_str(), token.role));
        assert_eq!(whose(&token), Some(("duty-room", Role::Inspector)));
        for wrong in ["", &token[1..], &token.to_uppercase(), &format!("{token} ")] {
            assert_eq!(whose(wrong), None, "{wrong}");
        }
        let gone = |tokens: &mut Tokens| tokens.remove("duty-room", "root".to_owned(), Timestamp::UNIX_EPOCH);
        assert_eq!(Tokens::change(dir.path(), gone).unwrap(), Role::Inspector);
        let tokens = Tokens::read(dir.path()).unwrap();
        assert!(tokens.whose(&token).is_none() && tokens.gone[0].name == "duty-room");
        assert!(matches!(Tokens::change(dir.path(), gone), Err(TokenFault::NoSuchToken(_))));
    }

    #[test]
    fn a_name_is_short_plain_and_taken_once() {
        let mut tokens = Tokens::default();
        for (name, good) in [
            ("duty-room", true),
            ("张伟", true),
            ("duty-room", false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("a\n", false),
            ("x@y", false),
            ("123456789012345678901", false),
        ] {
            assert_eq!(added(&mut tokens, name, Role::Viewer).is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_or_that_is_broken_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        Tokens::change(dir.path(), |tokens| added(tokens, "a", Role::Admin)).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(Tokens::read(dir.path()), Err(TokenFault::WritableByOthers { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(Tokens::read(dir.path()), Err(TokenFault::Damaged { .. })), "{cut}");
        }
        let odd = String::from_utf8(whole).unwrap().replacen("sha256\": \"", "sha256\": \"é", 1);
        fs::write(&path, odd).unwrap();
        assert!(matches!(Tokens::read(dir.path()), Err(TokenFault::Damaged { .. })));
    }

    #[test]
    fn each_role_may_what_those_before_it_may() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.word().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
