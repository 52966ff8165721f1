//! SM2 over SM3 (GM/T 0003.2), in the forms of GM/T 0009: the public key as a point of 65 bytes, the signature as DER.

use sm2::dsa::{
    Signature, SigningKey, VerifyingKey,
    signature::{Signer, Verifier},
};

/// GM/T 0009-2012, 10: who signs, where nothing else was agreed upon.
const SIGNER: &str = "1234567812345678";
/// Uncompressed, and no other form: one key has one text.
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;

/// Its nonce is the message's and the key's own (RFC 6979 with SM3): no bad random numbers give it away.
pub(super) struct Sm2Pair(SigningKey);

impl Sm2Pair {
    /// `None` unless it is 32 bytes, and a number below the curve's order.
    pub fn of_secret(secret: &[u8]) -> Option<Self> {
        SigningKey::from_slice(SIGNER, secret).ok().map(Self)
    }

    /// DER. `None`: not with this key.
    pub fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.try_sign(text).ok()?;
        Some(signature.to_der().as_bytes().to_vec())
    }

    pub fn public(&self) -> Vec<u8> {
        self.0.verifying_key().to_sec1_bytes().into_vec()
    }
}

fn key(public: &[u8]) -> Option<VerifyingKey> {
    let whole = public.len() == POINT_BYTES && public[0] == UNCOMPRESSED;
    VerifyingKey::from_sec1_bytes(SIGNER, public).ok().filter(|_| whole)
}

pub(super) fn is_public(public: &[u8]) -> bool {
    key(public).is_some()
}

pub(super) fn is_signed(text: &[u8], signature: &[u8], public: &[u8]) -> bool {
    let signature = Signature::from_der(signature).ok();
    key(public).zip(signature).is_some_and(|(key, signature)| key.verify(text, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Suite,
        store::evidence::{digest, hex, unhex},
    };

    /// GM/T 0004-2012, A.1 and A.2.
    #[test]
    fn sm3_is_that_of_the_standard() {
        for (text, sum) in [
            ("abc".to_owned(), "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
            ("abcd".repeat(16), "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
        ] {
            assert_eq!(hex(&digest(Suite::Guomi, text.as_bytes())), sum, "{text}");
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(64)
            .flat_map(|half| unhex(std::str::from_utf8(half).unwrap()).unwrap())
            .collect()
    }

    /// r and s as DER, by hand.
    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let number = |bytes: &[u8]| {
            let zero = (bytes[0] > 127).then_some(0);
            let body: Vec<u8> = zero.into_iter().chain(bytes.iter().copied()).collect();
            [vec![2, body.len() as u8], body].concat()
        };
        let body = [number(r), number(s)].concat();
        [vec![0x30, body.len() as u8], body].concat()
    }

    /// GM/T 0003.5-2012, A.2: "message digest", signed by the one with the default name on the recommended curve.
    const SECRET: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
    const POINT: &str = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
                         ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";
    const R: &str = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3";
    const S: &str = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";

    #[test]
    fn sm2_is_that_of_the_standard() {
        let public = [vec![UNCOMPRESSED], bytes(POINT)].concat();
        let pair = Sm2Pair::of_secret(&bytes(SECRET)).unwrap();
        assert_eq!(hex(&pair.public()), hex(&public));
        let signature = der(&bytes(R), &bytes(S));
        assert!(is_signed(b"message digest", &signature, &public));
        let own = pair.sign(b"message digest").unwrap();
        assert!(is_signed(b"message digest", &own, &public));
        let compressed = [vec![3], bytes(POINT)[..32].to_vec()].concat();
        for (fact, text, signature, public) in [
            ("another text", "message digesu", &signature, &public),
            ("r and s exchanged", "message digest", &der(&bytes(S), &bytes(R)), &public),
            ("not DER", "message digest", &bytes(R), &public),
            ("something behind it", "message digest", &[&signature[..], &[0]].concat(), &public),
            ("nothing", "message digest", &Vec::new(), &public),
            ("another form of the key", "message digest", &signature, &compressed),
            ("a point that is not on the curve", "message digest", &signature, &{
                let mut off = public.clone();
                off[64] ^= 1;
                off
            }),
        ] {
            assert!(!is_signed(text.as_bytes(), signature, public), "{fact}");
        }
    }

    #[test]
    fn what_is_no_secret_is_no_key() {
        let order = bytes("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123");
        for secret in [&[0; 32][..], &[7; 31], &[], &order, &[0xff; 32]] {
            assert!(Sm2Pair::of_secret(secret).is_none(), "{secret:?}");
        }
    }
}
