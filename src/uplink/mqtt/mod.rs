//! Letters by MQTT: published with QoS 1, delivered on PUBACK or, where the endpoint says so, when the receiver itself confirms.
//!
//! The outbox is the truth, the library's own queue is never relied upon: each connection has a client of its own, and what
//! was not confirmed over it goes again over the next.

mod back;
pub mod config;
mod endpoint;
mod line;
mod receipts;
#[cfg(test)]
mod tests;
mod topic;

pub use back::Commands;
pub use endpoint::{MqttEndpoint, Receiver};
pub use topic::{BadTopic, Place, Template};
