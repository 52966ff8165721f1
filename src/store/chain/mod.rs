//! The one chain: every event, receipt, act of a person, start, change of the clock and capture of raw frames is a row of it,
//! hashed over the row before, and its end is signed now and then, by SHA-256 and Ed25519 or by SM3 and SM2. What one row says cannot be changed, taken away or moved
//! without that being seen; what was signed and delivered cannot be taken back.

mod append;
mod fact;
mod key;
mod notary;
mod show;
mod sm2;
mod time;
mod verify;
mod walk;

pub(super) use self::append::{adopt, append, append_base, begin, clear, receipt, retire};
pub(super) use self::notary::{LatestHead, Notary, Pen};
pub(super) use self::time::{clock_sets, newest};
pub use self::{
    fact::{Capture, Configuration, Fact, FileDigest, Gap, ReceiptFact, Record, SaidDigest, Why, Writing},
    key::{BoxKey, BoxKeys, KeyError, key_id, suite_of_key},
    notary::{ClockBox, Witness},
    show::PublicKey,
    verify::{Broken, Place, Verified, signed_at},
    walk::{Content, Fault, Keys, Row, Step, Walk, handed_over},
};
