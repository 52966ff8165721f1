//! What profiles promise, as tables of facts.

mod any_bytes;
mod commands;
mod credit;
mod frames;
mod items;
mod messages;
mod mistakes;
mod registers;

use std::sync::Arc;

use super::{Library, Profile};
use crate::{
    document::Problems,
    domain::{Lang, PointIx, Raw},
};

/// One point of each kind: `n` number, `f` flag, `c` choice (a, b), `t` text, and a second number `m`.
const CLASS: &str = r#"
class = "bench"
[[point]]
name = "n"
kind = "number"
[[point]]
name = "m"
kind = "number"
[[point]]
name = "f"
kind = "flag"
[[point]]
name = "c"
kind = "choice"
values = ["a", "b"]
[[point]]
name = "t"
kind = "text"
"#;

const HEAD: &str = "profile = \"bench/x\"\nrevision = 1\nsource = \"made up\"\n";

/// A profile of the bench class with `text` behind its head, or the mistakes in it.
fn compiled(text: &str) -> Result<Arc<Profile>, String> {
    let mut problems = Problems::default();
    let profile = format!("{HEAD}{text}");
    let library = Library::of(&[("bench/class.toml", CLASS), ("bench/x.toml", &profile)], &mut problems);
    library.profile("bench/x").ok_or_else(|| problems.lines(Lang::En))
}

fn profile(text: &str) -> Arc<Profile> {
    compiled(text).unwrap_or_else(|mistakes| panic!("{mistakes}\nin\n{text}"))
}

/// What `raw` says of each point, as `name=value`, blanks between.
fn said(profile: &Profile, raw: &Raw) -> String {
    let about: Vec<PointIx> = profile.all_points().collect();
    let decoded = profile.decode(raw, &about);
    let samples = decoded.samples.iter();
    let said = samples
        .map(|(ix, sample)| format!("{}={}", profile.points[usize::from(ix.0)].name, super::shown(sample)));
    said.collect::<Vec<_>>().join(" ")
}
