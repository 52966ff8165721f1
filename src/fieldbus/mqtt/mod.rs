//! Devices behind an MQTT broker: a bus that only listens.

pub mod codec;
pub mod config;
mod connect;
mod discover;
mod driver;
mod reason;
mod session;
mod sieve;
mod unknown;

#[cfg(test)]
mod broker;
#[cfg(test)]
mod broker_tests;
#[cfg(test)]
mod far_end_tests;
#[cfg(test)]
mod session_tests;

pub use connect::SettingsError;
pub use driver::{MqttDriver, SetupError, bus};
pub use unknown::Messages;
