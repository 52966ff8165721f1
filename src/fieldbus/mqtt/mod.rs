//! Devices behind an MQTT broker: a bus that only listens.

pub mod codec;
pub mod config;
mod connect;
mod driver;
mod session;
mod sieve;

#[cfg(test)]
mod broker;
#[cfg(test)]
mod broker_tests;
#[cfg(test)]
mod session_tests;

pub use connect::SettingsError;
pub use driver::{MqttDriver, SetupError, bus};
