//! What people type: one file a verb. Data on stdout, talk on stderr.

pub mod delivery;
