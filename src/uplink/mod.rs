//! Delivers what was kept, to those who may know it, until they have said that they have it.

pub mod http;
pub mod wants;

pub use wants::{Purpose, Wants};
