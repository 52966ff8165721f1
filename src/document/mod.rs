//! A TOML file with its places: parsed, held against the shape of its type, and able to say where each mistake stands.
//!
//! Under config and profile alike. The shape is the JSON Schema that the serde type itself gives, so the checker, the
//! editors' schemas and the reader can never disagree.

mod problem;

pub use problem::{Place, Problem, Problems, Severity};
