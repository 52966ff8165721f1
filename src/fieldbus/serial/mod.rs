//! Serial lines with declared frames: asked and unasked.

mod checksum;
pub mod codec;
#[cfg(test)]
mod codec_tests;
pub mod config;
