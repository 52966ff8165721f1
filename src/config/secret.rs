//! Files that a site file names: secrets and certificates. What is in them is never shown.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::{domain::Text, text};

/// No secret or certificate bundle that anyone has is longer.
const MAX_BYTES: u64 = 1 << 20;
/// Group and others, reading.
const READABLE_BY_OTHERS: u32 = 0o044;

/// What is done with the files that a site file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// They are read: the gateway cannot run without them.
    Read,
    /// Only their names are judged. Whoever just looks may neither read them nor needs them: credentials exist only inside
    /// the service, and the files are its own.
    Named,
}

/// Where named files are looked for, in this order.
#[derive(Clone, Debug)]
pub(super) struct Vault {
    /// `$CREDENTIALS_DIRECTORY`, as systemd sets it.
    pub credentials: Option<PathBuf>,
    /// The site file's directory.
    pub dir: PathBuf,
    pub secrets: Secrets,
}

/// A file's bytes, and what to warn of.
pub(super) struct Kept {
    pub bytes: SecretSlice<u8>,
    /// Others on this box can read it.
    pub open_to_others: bool,
}

impl Vault {
    pub fn beside(dir: PathBuf, secrets: Secrets) -> Self {
        Self { credentials: env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from), dir, secrets }
    }

    /// Absolute paths as they are; others in the credentials directory if they are there, else beside the site file.
    pub fn find(&self, file: &Path) -> PathBuf {
        // one that may not be seen is there: reading it says why it cannot be had
        let there = |path: &PathBuf| path.try_exists().unwrap_or(true);
        let credential = self.credentials.as_ref().map(|dir| dir.join(file)).filter(there);
        credential.unwrap_or_else(|| self.dir.join(file))
    }

    /// # Errors
    /// A sentence saying why the file cannot be read.
    pub fn read(&self, file: &Path) -> Result<Kept, Text> {
        let path = self.find(file);
        let told = |error: io::Error| unreadable(&path, &error);
        let about = fs::metadata(&path).map_err(told)?;
        if !about.is_file() {
            let path = path.display();
            return Err(text!("{path} 不是普通文件", "{path} is not a regular file"));
        }
        if about.len() > MAX_BYTES {
            let path = path.display();
            return Err(text!("文件 {path} 超过 1 MiB", "{path} is over 1 MiB"));
        }
        let bytes = SecretSlice::from(fs::read(&path).map_err(told)?);
        Ok(Kept { bytes, open_to_others: about.permissions().mode() & READABLE_BY_OTHERS != 0 })
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Text {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => text!(
            "当前用户无权读取 {path}：请用网关的用户运行（sudo -u gatehouse）",
            "this user may not read {path}: run as the gateway's own user (sudo -u gatehouse)"
        ),
        _ => text!("读不了文件 {path}：{error}", "{path} cannot be read: {error}"),
    }
}

impl Kept {
    /// As text, without the line end that editors leave.
    ///
    /// # Errors
    /// If it is empty or not UTF-8.
    pub fn secret(&self) -> Result<SecretString, Text> {
        let bytes = self.bytes.expose_secret();
        let text = str::from_utf8(bytes)
            .map_err(|_not_text| text!("密钥文件不是 UTF-8 文本", "the secret's file is not UTF-8 text"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(text!("密钥文件是空的", "the secret's file is empty")),
            secret => Ok(SecretString::from(secret)),
        }
    }

    /// True if there is a PEM block whose label ends with `label`.
    pub fn has_pem(&self, label: &str) -> bool {
        let ending = format!("{label}-----");
        let text = String::from_utf8_lossy(self.bytes.expose_secret());
        text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&ending))
    }
}
