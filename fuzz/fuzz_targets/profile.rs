//! Any text as a profile, and as a class: mistakes are shown, none is fatal, and what is sound is sound in both languages.
#![no_main]

use gatehouse::{document::Problems, domain::Lang, profile::Library};
use libfuzzer_sys::fuzz_target;

const CLASS: &str = include_str!("../../device-profiles/street-light/class.toml");

fuzz_target!(|text: &str| {
    for files in [
        [("street-light/class.toml", CLASS), ("street-light/any-product.toml", text)],
        [("street-light/class.toml", text), ("street-light/any-product.toml", "")],
    ] {
        let mut problems = Problems::default();
        Library::of(&files, &mut problems);
        problems.lines(Lang::Zh);
        problems.drawn(Lang::En, false);
    }
});
