//! Electricity meters that speak DL/T 645-2007, on an RS-485 line or behind a serial server: read only.

pub mod codec;
#[cfg(test)]
mod codec_tests;
pub mod config;
mod driver;
#[cfg(test)]
mod driver_tests;
mod station;
#[cfg(test)]
mod truth_tests;
mod wire;
#[cfg(test)]
mod wire_tests;

pub use driver::{Dlt645Driver, line_bus, tcp_bus};
pub use station::Station;
