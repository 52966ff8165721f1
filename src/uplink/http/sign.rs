//! Standard Webhooks 1.0: `v1,` HMAC-SHA256 or `v1a,` Ed25519 over `id.timestamp.body`.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::Sha256;

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";
/// While one key follows another, both sign.
const MOST_KEYS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error("read the secret: after `whsec_` or `whsk_` it must be base64")]
    NotBase64,
    #[error("read the secret: it is empty")]
    Empty,
    #[error(
        "read the secret: after `whsk_` it must be an Ed25519 key: a seed of 32 bytes, or that and its public key"
    )]
    NotEd25519,
    #[error("read the secret: it has more than {MOST_KEYS} keys")]
    TooMany,
}

/// The keys behind `webhook-signature`; more than one while they are changed.
#[derive(Clone)]
pub struct SigningKeys(Vec<SigningKey>);

#[derive(Clone)]
enum SigningKey {
    Shared { mac: Hmac<Sha256>, bytes: usize },
    Own(Arc<Ed25519KeyPair>),
}

impl SigningKeys {
    /// `secret`: a key a line.
    ///
    /// # Errors
    /// If a line is no key, or there is none, or there are too many.
    pub fn parse(secret: &str) -> Result<Self, SigningKeyError> {
        let lines = secret.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(SigningKey::parse).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(SigningKeyError::Empty),
            1..=MOST_KEYS => Ok(Self(keys)),
            _ => Err(SigningKeyError::TooMany),
        }
    }

    /// The header's value, a signature for each key. `timestamp`: whole seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures: Vec<String> = self.0.iter().map(|key| key.sign(id, timestamp, body)).collect();
        signatures.join(" ")
    }

    /// How many bytes the shortest shared key has.
    pub fn shortest(&self) -> Option<usize> {
        self.0.iter().filter_map(SigningKey::shared_bytes).min()
    }

    /// What receivers check Ed25519 signatures with, `whpk_…`.
    pub fn public_keys(&self) -> Vec<String> {
        self.0.iter().filter_map(SigningKey::public).collect()
    }
}

impl SigningKey {
    /// `whsec_<base64>` as Standard Webhooks writes it, `whsk_<base64>` for Ed25519, or any other text, whose bytes are then
    /// the shared key.
    fn parse(line: &str) -> Result<Self, SigningKeyError> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| SigningKeyError::NotBase64);
        if let Some(encoded) = line.strip_prefix(PRIVATE) {
            return own(&decode(encoded)?).ok_or(SigningKeyError::NotEd25519);
        }
        let key = match line.strip_prefix(SYMMETRIC) {
            Some(encoded) => decode(encoded)?,
            None => line.as_bytes().to_vec(),
        };
        if key.is_empty() {
            return Err(SigningKeyError::Empty);
        }
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(SigningKey::Shared { mac, bytes: key.len() })
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        match self {
            SigningKey::Shared { mac, .. } => {
                let mut mac = mac.clone();
                mac.update(head.as_bytes());
                mac.update(body);
                format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
            }
            SigningKey::Own(pair) => {
                let signature = pair.sign(&[head.as_bytes(), body].concat());
                format!("v1a,{}", BASE64_STANDARD.encode(signature))
            }
        }
    }

    fn shared_bytes(&self) -> Option<usize> {
        match self {
            SigningKey::Shared { bytes, .. } => Some(*bytes),
            SigningKey::Own(_) => None,
        }
    }

    fn public(&self) -> Option<String> {
        match self {
            SigningKey::Shared { .. } => None,
            SigningKey::Own(pair) => {
                Some(format!("{PUBLIC}{}", BASE64_STANDARD.encode(pair.public_key().as_ref())))
            }
        }
    }
}

/// A seed of 32 bytes, or a seed and the public key that must belong to it.
fn own(bytes: &[u8]) -> Option<SigningKey> {
    let pair = match bytes.len() {
        32 => Ed25519KeyPair::from_seed_unchecked(bytes),
        64 => Ed25519KeyPair::from_seed_and_public_key(&bytes[..32], &bytes[32..]),
        _ => return None,
    };
    Some(SigningKey::Own(Arc::new(pair.ok()?)))
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    /// The vector that the Standard Webhooks libraries publish.
    #[test]
    fn the_published_vector_is_met() {
        let key = SigningKeys::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
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
            let signed = SigningKeys::parse(secret).unwrap().sign("0b6f", 7, b"{}");
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
            ("\n \n", SigningKeyError::Empty),
            ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SigningKeyError::NotEd25519),
            ("a\nb\nc\nd\ne", SigningKeyError::TooMany),
        ];
        for (secret, error) in facts {
            assert_eq!(SigningKeys::parse(secret).err(), Some(error), "{secret}");
        }
    }

    /// RFC 8032 section 7.1, test 1: the key pair. That the signature verifies is seen with ring's other half, and by a
    /// receiver that is not ours in the stories.
    #[test]
    fn an_ed25519_key_signs_for_its_public_key() {
        use ring::signature::{ED25519, UnparsedPublicKey};
        let hex = |text: &str| {
            let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(digit).collect::<Vec<u8>>()
        };
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let whole = BASE64_STANDARD.encode([&seed[..], &public].concat());
        for secret in [format!("whsk_{}", BASE64_STANDARD.encode(&seed)), format!("whsk_{whole}")] {
            let keys = SigningKeys::parse(&secret).unwrap();
            assert_eq!(keys.public_keys(), [format!("whpk_{}", BASE64_STANDARD.encode(&public))]);
            let signed = keys.sign("0b6f", 7, b"{}");
            let signature = BASE64_STANDARD.decode(signed.strip_prefix("v1a,").unwrap()).unwrap();
            UnparsedPublicKey::new(&ED25519, &public).verify(b"0b6f.7.{}", &signature).unwrap();
        }
        let wrong = BASE64_STANDARD.encode([&seed[..], &seed].concat());
        assert_eq!(SigningKeys::parse(&format!("whsk_{wrong}")).err(), Some(SigningKeyError::NotEd25519));
    }

    #[test]
    fn two_keys_sign_both_while_one_follows_the_other() {
        let one = SigningKeys::parse("old").unwrap().sign("0b6f", 7, b"{}");
        let other = SigningKeys::parse("new").unwrap().sign("0b6f", 7, b"{}");
        assert_eq!(
            SigningKeys::parse("old\r\nnew\n").unwrap().sign("0b6f", 7, b"{}"),
            format!("{one} {other}")
        );
    }
}
