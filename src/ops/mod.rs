//! Living as a service: log, signals, and a watchdog that is fed by real progress.

pub mod logging;
pub mod signals;
pub mod watchdog;
