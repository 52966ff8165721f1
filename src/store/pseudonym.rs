//! A name for a card that stands for it wherever the card itself is nobody's business: the same at one site for as long as its key is.

use std::fmt;

use ring::hmac::{HMAC_SHA256, Key, sign};

use super::evidence::hex;

/// What the key is derived for.
const DERIVED: &[u8] = b"gatehouse pseudonym 1";
/// 128 bits: no two cards of a site share one.
const BYTES: usize = 16;

/// HMAC-SHA256 under a key of the site. Whoever has the key can try out all cards there may be, so it lies where the store's key does.
#[derive(Clone)]
pub struct Pseudonyms(Key);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    /// Under a key derived from one of the site's keys.
    pub(super) fn under(key: &[u8]) -> Self {
        Self(Key::new(HMAC_SHA256, sign(&Key::new(HMAC_SHA256, key), DERIVED).as_ref()))
    }

    /// In hexadecimal.
    pub fn of(&self, card: &str) -> String {
        hex(&sign(&self.0, card.as_bytes()).as_ref()[..BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_one_name_at_a_site_and_another_at_the_next() {
        let [here, there] = [[1; 32], [2; 32]].map(|key| Pseudonyms::under(&key));
        let name = here.of("02468AC0");
        assert_eq!((name.len(), &name), (32, &Pseudonyms::under(&[1; 32]).of("02468AC0")));
        assert!(name != there.of("02468AC0") && name != here.of("02468AC1"));
        assert!(!name.to_uppercase().contains("02468AC0"));
    }
}
