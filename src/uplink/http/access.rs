//! How a request shows who sends it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};

use super::{
    credentials::Login,
    digest::{Asked, Challenge},
};
use crate::domain::EventId;

pub enum Access {
    Open,
    Bearer(SecretString),
    Basic { username: String, password: SecretString },
    Digest(DigestLogin),
}

/// A digest login, and the challenge that its server gave last: good for more than one request.
pub struct DigestLogin {
    username: String,
    password: SecretString,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    challenge: Challenge,
    used: u32,
}

impl Access {
    pub fn by(login: Option<Login>) -> Self {
        match login {
            None => Access::Open,
            Some(Login::Bearer(token)) => Access::Bearer(token),
            Some(Login::Basic { username, password }) => Access::Basic { username, password },
            Some(Login::Digest { username, password }) => {
                Access::Digest(DigestLogin { username, password, kept: Mutex::new(None) })
            }
        }
    }
}

impl DigestLogin {
    /// From here on, requests answer this challenge.
    pub fn keep(&self, challenge: Challenge) {
        *self.lock() = Some(Kept { challenge, used: 0 });
    }

    /// It led to nothing.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    /// The `authorization` header for one request more, if the server ever asked.
    pub fn answer(&self, uri: &str, body: &[u8]) -> Option<String> {
        let mut kept = self.lock();
        let Kept { challenge, used } = kept.as_mut()?;
        *used = used.saturating_add(1);
        let password = self.password.expose_secret();
        let asked = Asked { username: &self.username, password, method: "POST", uri, body };
        Some(challenge.answer(&asked, *used, &EventId::random().to_string()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(…)")
    }
}
