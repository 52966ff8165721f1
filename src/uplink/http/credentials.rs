//! What shows who we are and whom we trust. It is read from files, and read again when these change: who puts a new secret
//! or certificate there need not restart anything.

use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::Text;

#[derive(Debug, Default)]
pub struct Credentials {
    /// Signs each request: a key a line, as Standard Webhooks writes them or as it is.
    pub secret: Option<SecretString>,
    /// PEM; given, no other authority is trusted.
    pub authorities: Option<Vec<u8>>,
    /// PEM, certificates and key: who we are, for mTLS.
    pub identity: Option<SecretSlice<u8>>,
    pub login: Option<Login>,
}

#[derive(Debug)]
pub enum Login {
    Bearer(SecretString),
    Basic { username: String, password: SecretString },
    Digest { username: String, password: SecretString },
}

/// Of which version credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version([u8; 32]);

impl Credentials {
    pub fn version(&self) -> Version {
        let mut sum = Sha256::new();
        let login = self.login.as_ref().map(|login| match login {
            Login::Bearer(secret) => secret,
            Login::Basic { password, .. } | Login::Digest { password, .. } => password,
        });
        let parts = [
            self.secret.as_ref().map(|secret| secret.expose_secret().as_bytes()),
            self.authorities.as_deref(),
            self.identity.as_ref().map(|pem| pem.expose_secret()),
            login.map(|secret| secret.expose_secret().as_bytes()),
        ];
        for part in parts {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            sum.update(length.to_le_bytes());
            sum.update(part.unwrap_or_default());
        }
        Version(sum.finalize().into())
    }
}

/// Reads them anew from where they were read. Blocks.
#[derive(Clone)]
pub struct Reread(Arc<dyn Fn() -> Result<Credentials, Text> + Send + Sync>);

impl Reread {
    pub fn by(read: impl Fn() -> Result<Credentials, Text> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// # Errors
    /// Why a file cannot be used.
    pub fn read(&self) -> Result<Credentials, Text> {
        (self.0)()
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_makes_another_version() {
        let basic = |password: &str| Login::Basic { username: "me".to_owned(), password: password.into() };
        let all = [
            Credentials::default(),
            Credentials { secret: Some("a".into()), ..Credentials::default() },
            Credentials { secret: Some("b".into()), ..Credentials::default() },
            Credentials { authorities: Some(b"a".to_vec()), ..Credentials::default() },
            Credentials { authorities: Some(Vec::new()), ..Credentials::default() },
            Credentials { identity: Some(b"a".to_vec().into()), ..Credentials::default() },
            Credentials { login: Some(basic("a")), ..Credentials::default() },
            Credentials { login: Some(basic("b")), ..Credentials::default() },
        ];
        for (n, one) in all.iter().enumerate() {
            for (m, other) in all.iter().enumerate() {
                assert_eq!(one.version() == other.version(), n == m, "{n} and {m}");
            }
        }
    }
}
