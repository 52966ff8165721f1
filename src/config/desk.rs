//! What every check has at hand: the file with its places, the list of mistakes, the vault.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    path::Path,
};

use secrecy::{SecretSlice, SecretString};

use super::secret::{Kept, Secrets, Vault};
use crate::{
    document::{Document, Place, Problems, Step, meant},
    domain::{SecretFile, Text},
    text,
};

pub(super) struct Desk<'a> {
    pub document: &'a Document,
    pub problems: &'a mut Problems,
    pub vault: Vault,
}

/// What was named already, and where.
pub(super) struct Taken<K>(HashMap<K, Place>);

impl<K: Hash + Eq> Taken<K> {
    pub fn new() -> Self {
        Self(HashMap::new())
    }

    /// The line where `key` was taken before; without one it is taken now.
    pub fn before(&mut self, key: K, place: Place) -> Option<usize> {
        match self.0.entry(key) {
            Entry::Occupied(first) => Some(first.get().line()),
            Entry::Vacant(free) => {
                free.insert(place);
                None
            }
        }
    }
}

impl Desk<'_> {
    pub fn error(&mut self, path: &[Step<'_>], message: Text) {
        self.problems.error(self.document.place(path), message);
    }

    pub fn error_with_help(&mut self, path: &[Step<'_>], message: Text, help: Text) {
        self.problems.error_with_help(self.document.place(path), message, help);
    }

    pub fn warning(&mut self, path: &[Step<'_>], message: Text) {
        self.problems.warning(self.document.place(path), message);
    }

    pub fn warning_with_help(&mut self, path: &[Step<'_>], message: Text, help: Text) {
        self.problems.warning_with_help(self.document.place(path), message, help);
    }

    /// `word` names nothing that there is: an error with the nearest of the `legal` ones.
    pub fn dangling(&mut self, path: &[Step<'_>], message: Text, word: &str, legal: &[&str]) {
        match meant(word, legal) {
            Some(help) => self.error_with_help(path, message, help),
            None => self.error(path, message),
        }
    }

    pub fn kebab(&mut self, path: &[Step<'_>], id: &str) {
        const LONGEST: usize = 64;
        let kebab = as_kebab(id);
        if id.len() > LONGEST {
            self.error(path, text!("标识超过 {LONGEST} 个字符", "the id is over {LONGEST} letters long"));
        } else if id != kebab || id.is_empty() {
            let told = text!(
                "标识 \"{id}\" 只能用小写字母、数字和连字符",
                "the id \"{id}\" may have lower-case letters, digits and single hyphens only"
            );
            match kebab.is_empty() {
                true => self.error(path, told),
                false => self.error_with_help(path, told, text!("例如 \"{kebab}\"", "such as \"{kebab}\"")),
            }
        }
    }

    /// The secret in a file; what is wrong with it is told at `path`. None too where secrets are only named.
    pub fn secret(&mut self, path: &[Step<'_>], secret: &SecretFile) -> Option<SecretString> {
        let kept = self.kept(path, &secret.file)?;
        self.warn_if_open(path, &kept);
        kept.secret().map_err(|why| self.error(path, why)).ok()
    }

    /// A PEM file that has a block `label`. None too where secrets are only named.
    pub fn pem(&mut self, path: &[Step<'_>], file: &Path, label: &str) -> Option<SecretSlice<u8>> {
        let kept = self.kept(path, file)?;
        if !kept.has_pem(label) {
            let file = file.display();
            self.error(
                path,
                text!("{file} 里没有 PEM 格式的 {label}", "{file} holds no {label} in PEM form"),
            );
            return None;
        }
        if label == PRIVATE_KEY {
            self.warn_if_open(path, &kept);
        }
        Some(kept.bytes)
    }

    fn kept(&mut self, path: &[Step<'_>], file: &Path) -> Option<Kept> {
        if file.file_name().is_none() {
            let file = file.display();
            self.error(path, text!("\"{file}\" 不是文件名", "\"{file}\" names no file"));
            return None;
        }
        match self.vault.secrets {
            Secrets::Read => self.vault.read(file).map_err(|why| self.error(path, why)).ok(),
            Secrets::Named => None,
        }
    }

    fn warn_if_open(&mut self, path: &[Step<'_>], kept: &Kept) {
        if kept.open_to_others {
            let told = text!(
                "这台机器上的其他用户能读这个密钥文件，请改为 0600",
                "other users of this box can read this secret's file; make it 0600"
            );
            self.warning(path, told);
        }
    }
}

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";

/// `text` with what may not stand in an id turned into hyphens.
fn as_kebab(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::as_kebab;

    #[test]
    fn ids_are_kebab_case() {
        for (written, kebab) in
            [("lift-3-1", "lift-3-1"), ("Lift_3 1", "lift-3-1"), ("-a--b-", "a-b"), ("电梯", ""), ("", "")]
        {
            assert_eq!(as_kebab(written), kebab, "{written}");
        }
    }
}
