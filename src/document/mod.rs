//! A TOML file with its places: parsed, held against the shape of its type, and able to say where each mistake stands.
//!
//! Under config and profile alike. The shape is the JSON Schema that the serde type itself gives, so the checker, the
//! editors' schemas and the reader can never disagree.

mod file;
mod nearest;
mod problem;
mod render;
mod shape;
mod stand_in;
mod syntax;
mod tree;
mod words;

pub use file::{Document, Step};
pub use nearest::nearest;
pub use problem::{Place, Problem, Problems, Severity, Source};
pub use render::ProblemRecord;
pub use words::meant;
