//! Readings in as few bytes as they have news in them, exact to the bit. Pure: no file, no SQL.
//!
//! A row ([`batch`]) goes first into the *tail*, where all devices stand together as they came ([`tail`], [`chain`]: each row as the difference
//! to the device's row before), and minutes later into a *block* of its own device ([`block`]: one column of times, one column a
//! point). Both write a column the same way ([`column`]): whole numbers ([`cell`]), their steps by a code that follows how large steps
//! have been ([`bits`]). What that leaves no general compressor makes smaller, so there is none.
//!
//! Decoding is total: any bytes are read or refused, within [`SAMPLES_MAX`].

pub mod batch;
mod bits;
pub mod block;
mod cell;
pub mod chain;
mod column;
pub mod tail;
pub(super) mod tally;
#[cfg(test)]
mod tests;

pub use cell::Cell;
pub use column::Column;

use super::samples::Unreadable;

/// Of these layouts; in `series.codec`.
pub(super) const CODEC: i64 = 2;
/// So many samples of a block or section are believed, whatever it says.
pub const SAMPLES_MAX: usize = 1 << 20;
