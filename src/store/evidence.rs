//! The hash chain: over the stored bytes, each link over the one before.

use serde::Serialize;
use sha2::{Digest, Sha256, digest::consts::U32};
use sm3::Sm3;

use crate::domain::{Event, PutRight, Suite};

pub type Hash = [u8; 32];

/// An event with its stored bytes and its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    pub event: Event,
    /// The event as JSON, exactly as stored: what `hash` covers.
    pub record: Vec<u8>,
    pub hash: Hash,
    pub prev_hash: Hash,
    /// As its letters say it.
    pub durability: Durability,
    /// For its letters: by how much the clock was off, where that is known by now. The record stays as it was.
    pub put_right: Option<PutRight>,
}

/// Whether an event was on the disk when its letters were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    Committed,
    /// It could not be stored and goes all the same, from memory.
    Volatile,
}

impl Sealed {
    /// The same event, not on the disk.
    pub fn volatile(&self) -> Self {
        Self { durability: Durability::Volatile, ..self.clone() }
    }
}

/// hash = H(prev_hash ‖ record).
pub fn link(suite: Suite, prev_hash: &Hash, record: &[u8]) -> Hash {
    match suite {
        Suite::International => over::<Sha256>(&[prev_hash, record]),
        Suite::Guomi => over::<Sm3>(&[prev_hash, record]),
    }
}

pub fn digest(suite: Suite, bytes: &[u8]) -> Hash {
    match suite {
        Suite::International => over::<Sha256>(&[bytes]),
        Suite::Guomi => over::<Sm3>(&[bytes]),
    }
}

fn over<D: Digest<OutputSize = U32>>(parts: &[&[u8]]) -> Hash {
    let mut digest = D::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

/// By what `event.alg` says.
///
/// # Errors
/// Only if a value cannot be written as JSON, which the types exclude but for non-finite numbers.
pub fn seal(event: Event, prev_hash: Hash) -> Result<Sealed, serde_json::Error> {
    let record = to_record(&event)?;
    let hash = link(event.alg, &prev_hash, &record);
    Ok(Sealed { event, record, hash, prev_hash, durability: Durability::Committed, put_right: None })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None` unless it is 64 hex digits, as [`hex`] writes them.
pub fn unhex(text: &str) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect::<Option<Vec<u8>>>().filter(|_| odd.is_empty())?.try_into().ok()
}

fn to_record(event: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(event)
}
