//! Letters by HTTP: POST, signed as Standard Webhooks asks, accepted by the receiver's own rule.

mod accept;
pub mod config;
mod dns;
pub mod endpoint;
mod fault;
#[cfg(test)]
mod peer;
mod reply;
mod sign;
#[cfg(test)]
mod test_certs;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use accept::Accept;
pub use endpoint::{HttpEndpoint, HttpError, Login, Receiver};
pub use sign::{SigningKey, SigningKeyError};
