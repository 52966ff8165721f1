//! Windows on the store, and the one door by which people's commands enter.

pub mod door;
