//! Delivers what was kept, to those who may know it, until they have said that they have it.
//!
//! `router` and `envelope` make the letters (pure, inside the commit); one `courier` per endpoint carries them out.

mod backoff;
mod budget;
pub mod courier;
mod drill;
pub mod endpoint;
pub mod envelope;
pub mod http;
pub mod mqtt;
pub mod opened;
mod pace;
pub mod readings;
mod refusals;
pub mod router;
#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod spoken;
mod template;
pub mod upload;
pub mod wants;

pub use backoff::chance;
pub use courier::{Courier, CourierError, EndpointGauge, EndpointState};
pub use drill::{Drill, DrillTurns, Turns, turns};
pub use endpoint::{Bell, Endpoint, Refusal, Terms, Verdict, Word};
pub use readings::readings_key;
pub use router::{Router, own_device};
pub use template::{Template, TemplateError};
pub use wants::{Purpose, Wants};
