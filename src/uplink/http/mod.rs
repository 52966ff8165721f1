//! Letters by HTTP: POST, signed as Standard Webhooks asks, accepted by the receiver's own rule.

mod accept;
mod access;
mod back;
pub mod config;
mod credentials;
mod digest;
mod dns;
pub mod endpoint;
mod fault;
#[cfg(test)]
mod peer;
mod renew;
mod reply;
mod sign;
#[cfg(test)]
mod test_certs;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use accept::Accept;
pub use back::Listening;
pub use credentials::{Credentials, Login, Reread};
pub use endpoint::{HttpEndpoint, HttpError, Receiver};
pub use sign::{SigningKeyError, SigningKeys};
