//! Serial lines with declared frames: asked and unasked.

#[cfg(test)]
mod bus_tests;
mod checksum;
pub mod codec;
#[cfg(test)]
mod codec_tests;
pub mod config;
mod debts;
mod driver;
pub(super) mod members;
mod wire;
#[cfg(test)]
mod wire_tests;

pub use driver::{SerialDriver, bus};
pub use members::SetupError;
