//! The JSON API: what the command line knows and does, for people who are elsewhere. HTTP/1.1 on `[console] listen`, a named token for
//! everything that says anything.
//!
//! It stands beside the pipeline, never in its way: what it asks goes down one bounded channel, and where that is full the caller
//! hears "busy".

mod admit;
mod alarms;
mod desk;
mod events;
mod far;
mod look;
mod openapi;
mod orders;
mod read;
mod route;
mod server;

pub use desk::{Ask, Desk, Place};
pub use route::router;
pub use server::serve;
