//! Letters whose bodies lie sealed: opened on their way out, nowhere else.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Bell, Endpoint, Refusal, Terms, Verdict};
use crate::{
    domain::{Hindrance, HindranceKind, Letter},
    store::privacy::{Privacy, is_sealed_body},
    text,
};

/// An endpoint that gets what is for it in clear.
#[derive(Debug)]
pub struct Opened<E> {
    pub inner: Arc<E>,
    pub privacy: Option<Arc<Privacy>>,
}

impl<E: Endpoint> Endpoint for Opened<E> {
    fn terms(&self) -> Terms {
        self.inner.terms()
    }

    async fn deliver(&self, letter: &Letter) -> Verdict {
        if !is_sealed_body(&letter.body) {
            return self.inner.deliver(letter).await;
        }
        match self.privacy.as_ref().and_then(|privacy| privacy.open_body(&letter.body)) {
            Some(body) => self.inner.deliver(&Letter { body: body.into(), ..letter.clone() }).await,
            None => Verdict::Refused {
                why: Hindrance::new(
                    HindranceKind::LetterRefused,
                    text!(
                        "这封信含个人信息，它的密钥已经不在了（过期，或换了密钥文件）",
                        "it holds data of persons, and the key it lies under is gone: its time is over, or the key file is another"
                    ),
                ),
                how: Refusal::Unreadable,
            },
        }
    }

    async fn attend(&self, bell: Bell, stop: CancellationToken) {
        self.inner.attend(bell, stop).await;
    }
}
