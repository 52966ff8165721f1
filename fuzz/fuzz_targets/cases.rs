//! Any text as the cases of a product.
#![no_main]

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use gatehouse::{
    document::{Document, Problems, Source},
    domain::Lang,
    profile::{Library, Profile, read_cases},
};
use libfuzzer_sys::fuzz_target;

static SHIPPED: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    let library = Library::shipped(&mut Problems::default());
    library.ids().filter_map(|id| library.profile(id)).collect()
});

fuzz_target!(|input: (u8, &str)| {
    let (which, text) = input;
    let profile = &SHIPPED[usize::from(which) % SHIPPED.len()];
    let mut problems = Problems::default();
    let source = Source { path: PathBuf::from("any.cases.toml"), text: text.to_owned() };
    if let Some(document) = Document::parse(Arc::new(source), &mut problems) {
        read_cases(&document, profile, &mut problems);
    }
    problems.drawn(Lang::Zh, false);
});
