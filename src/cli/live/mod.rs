//! What the installer's tools share: where a line is, how it is asked, and what an exchange came to.

mod aim;
mod line;
mod numbers;
pub mod trial;

pub use aim::{Aim, LineArgs, Member, Place, Told, site_if_any};
pub use line::{LiveLine, NoAnswer, Why, refused};
pub use numbers::{manual, register};
