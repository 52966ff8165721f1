//! What people write, checked as a whole before anything starts.

mod alarm_table;
mod brokers;
mod buses;
mod check;
mod console;
mod credit;
mod customs;
mod desk;
mod devices;
mod drill;
mod endpoints;
pub mod evidence;
pub mod file;
mod http_receiver;
pub mod line_time;
mod modems;
mod mqtt_receiver;
mod over_time;
mod overrides;
mod own;
mod port;
mod private;
mod repeat;
mod schedules;
#[cfg(test)]
mod schema;
mod secret;
mod site;
mod templates;
mod wording;
mod writings;

pub use check::{Checked, Counts, check, load, look};
pub use own::OwnProfiles;
pub use site::{Bus, BusLink, Endpoint, PrivateStore, Receiver, Site};

/// Where the packages put it.
pub const DEFAULT_PATH: &str = "/etc/gatehouse/gatehouse.toml";
/// The commented example.
pub const EXAMPLE: &str = include_str!("../../config/gatehouse.toml");
