//! Any text as a site's file: mistakes are shown, none is fatal.
#![no_main]

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{Arc, LazyLock},
};

use gatehouse::{
    config::{self, file::SiteFile},
    document::{Document, Problems, Source},
    domain::Lang,
};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| env::temp_dir().join(format!("gatehouse-fuzz-{}.toml", process::id())));

fuzz_target!(|text: &str| {
    let mut problems = Problems::default();
    let source = Source { path: PathBuf::from("any.toml"), text: text.to_owned() };
    let file = Document::parse(Arc::new(source), &mut problems)
        .and_then(|document| document.read::<SiteFile>(&mut problems));
    problems.drawn(Lang::En, false);
    // what stands in a whole site is looked at only where there is one: that reads every shipped profile
    if file.is_none() || problems.has_errors() {
        return;
    }
    // its profile folders would be read from wherever the text says
    if text.contains("profile_dirs") {
        return;
    }
    fs::write(&*FILE, text).expect("the file for temporary things takes a file");
    match config::look(&FILE) {
        Ok(_) => {}
        Err(problems) => drop(problems.drawn(Lang::Zh, false)),
    }
});
