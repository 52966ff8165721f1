//! Standard Webhooks 1.0: `v1,` HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error("read the secret: after `whsec_` it must be base64")]
    NotBase64,
    #[error("read the secret: it is empty")]
    Empty,
}

/// The key behind `webhook-signature`.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// `secret`: `whsec_<base64>` as Standard Webhooks writes it, or any other text, whose bytes are then the key.
    ///
    /// # Errors
    /// If nothing is left, or what follows `whsec_` is not base64.
    pub fn parse(secret: &str) -> Result<Self, SigningKeyError> {
        let key = match secret.trim().strip_prefix(PREFIX) {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| SigningKeyError::NotBase64)?,
            None => secret.trim().as_bytes().to_vec(),
        };
        if key.is_empty() {
            return Err(SigningKeyError::Empty);
        }
        Ok(Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length")))
    }

    /// The header's value. `timestamp`: whole seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    /// The vector that the Standard Webhooks libraries publish.
    #[test]
    fn the_published_vector_is_met() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// RFC 2104 by hand, over SHA-256.
    fn hmac_by_hand(key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut block = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
        block.resize(64, 0);
        let pad = |byte: u8| block.iter().map(|k| k ^ byte).collect::<Vec<_>>();
        let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
        Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
    }

    #[test]
    fn any_other_text_is_the_key_itself() {
        let long = "长".repeat(40);
        for secret in ["plain text", long.as_str()] {
            let signed = SigningKey::parse(secret).unwrap().sign("0b6f", 7, b"{}");
            let expected = BASE64_STANDARD.encode(hmac_by_hand(secret.as_bytes(), b"0b6f.7.{}"));
            assert_eq!(signed, format!("v1,{expected}"), "{secret}");
        }
    }

    #[test]
    fn what_gives_no_key_is_refused() {
        let facts = [
            ("whsec_***", SigningKeyError::NotBase64),
            ("whsec_", SigningKeyError::Empty),
            ("", SigningKeyError::Empty),
        ];
        for (secret, error) in facts {
            assert_eq!(SigningKey::parse(secret).err(), Some(error), "{secret}");
        }
    }
}
