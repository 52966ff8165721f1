//! What a line carried: bytes as they came and went, each with its time. Read from the running gateway page by page.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BusId;

/// One page of a bus's tape is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapeWish {
    pub bus: BusId,
    /// Pieces before this one are known already.
    pub from: u64,
    /// Pieces from before this moment are not wanted.
    pub since: Option<Timestamp>,
}

/// Pieces in order, as many as fit one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapePage {
    pub pieces: Vec<Piece>,
    /// Where the next page begins; the tape's end, if nothing is in this one.
    pub next: u64,
    /// Pieces that were wanted and had been recorded over.
    pub lost: u64,
    /// The bus has a tape.
    pub known: bool,
}

/// Something that happened on a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub at: Timestamp,
    /// Since the box's boot, in nanoseconds.
    pub mono_ns: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "dir", rename_all = "snake_case")]
pub enum What {
    /// Bytes we sent.
    Out {
        #[serde(with = "hex")]
        hex: Vec<u8>,
    },
    /// Bytes that came, as much as one read gave.
    In {
        #[serde(with = "hex")]
        hex: Vec<u8>,
    },
    /// A message from a broker.
    Message {
        topic: String,
        #[serde(with = "hex")]
        hex: Vec<u8>,
        #[serde(default)]
        retained: bool,
    },
    /// The line was opened.
    Opened,
    /// The line was lost.
    Lost,
}

impl What {
    /// Bytes that were carried.
    pub fn len(&self) -> usize {
        match self {
            What::Out { hex } | What::In { hex } | What::Message { hex, .. } => hex.len(),
            What::Opened | What::Lost => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes as upper-case hex digits.
mod hex {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
        to.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let bytes = bytes.collect::<Option<Vec<u8>>>().filter(|_| odd.is_empty());
        bytes.ok_or_else(|| D::Error::custom("not hex digits in pairs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_one_flat_object() {
        let at = "2026-11-23T06:03:11.482Z".parse().unwrap();
        for (what, expected) in [
            (What::Out { hex: vec![1, 0xAB] }, r#""dir":"out","hex":"01AB""#),
            (What::Opened, r#""dir":"opened""#),
            (
                What::Message { topic: "a/b".into(), hex: b"1".to_vec(), retained: true },
                r#""dir":"message","topic":"a/b","hex":"31","retained":true"#,
            ),
        ] {
            let piece = Piece { at, mono_ns: 5, what };
            let written = serde_json::to_string(&piece).unwrap();
            assert!(written.contains(expected), "{written}");
            assert_eq!(serde_json::from_str::<Piece>(&written).unwrap(), piece);
        }
        for bad in ["0", "0x", "zz", "０1"] {
            let line = format!(r#"{{"at":"2026-11-23T06:03:11Z","mono_ns":1,"dir":"in","hex":"{bad}"}}"#);
            assert!(serde_json::from_str::<Piece>(&line).is_err(), "{bad}");
        }
    }
}
