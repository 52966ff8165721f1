//! How a broker is reached, whoever talks to it: address and login, TLS, the sieve in between, and why there is no connection.

mod broker;
pub mod connect;
#[cfg(test)]
pub mod mosquitto;
pub mod reason;
pub mod sieve;

pub use broker::{Broker, BrokerAddress, BrokerUrlError, ClientIdentity};
pub use connect::SettingsError;
