//! Devices behind an MQTT broker: a bus that only listens.

pub mod codec;
pub mod config;
mod discover;
mod driver;
mod session;
mod unknown;

#[cfg(test)]
mod broker_tests;
#[cfg(test)]
mod far_end_tests;
#[cfg(test)]
mod session_tests;

pub use driver::{MqttDriver, SetupError, bus};
pub use unknown::Messages;
