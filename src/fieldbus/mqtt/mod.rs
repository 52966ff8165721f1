//! Devices behind an MQTT broker: a bus that only listens.

pub mod codec;
mod sieve;
