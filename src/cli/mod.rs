//! What people type: one file a verb.

pub mod readings;
