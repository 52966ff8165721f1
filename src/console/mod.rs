//! Windows on the store, and the doors by which people's commands enter.

pub mod api;
pub mod config;
pub mod door;
mod limit;
mod problem;
pub mod shapes;
pub mod tls;
pub mod token;
pub mod visitor;
