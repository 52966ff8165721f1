//! Who may import whom: the rooms' doors, held by reading the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room and the rooms it may use. `app` and `cli` may use all and are not listed.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("crash", &[]),
    ("domain", &[]),
    ("document", &["domain"]),
    ("profile", &["document", "domain"]),
    ("tls", &["domain"]),
    ("mqtt", &["tls", "domain"]),
    ("fieldbus", &["profile", "mqtt", "domain"]),
    ("alarm", &["profile", "domain"]),
    ("store", &["domain"]),
    ("pipeline", &["profile", "alarm", "store", "domain"]),
    ("uplink", &["store", "mqtt", "tls", "domain"]),
    ("console", &["store", "domain"]),
    ("sim", &["profile", "domain"]),
    ("ops", &[]),
    // Settings and checked forms of the rooms it writes for, nothing of their insides.
    ("config", &["document", "profile", "mqtt", "fieldbus", "alarm", "store", "uplink", "console", "domain"]),
];
const SEES_ALL: [&str; 4] = ["app", "cli", "lib", "main"];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with("tests") {
            // Tests may build what they need from anywhere.
        } else if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

fn room(src: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(src).expect("a file of src");
    let first = inside.components().next().expect("a file has a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a source names: every `crate::room` and each first name of a `use crate::{…}`.
fn names(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(std::mem::take(&mut word));
                    }
                    _ if depth == 0 => word.push(letter),
                    _ => {}
                }
            }
            found.insert(word);
        } else {
            found.insert(rest.to_owned());
        }
    }
    let first = |path: &String| {
        path.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    };
    found.iter().map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn no_room_uses_what_stands_to_its_right() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut visited = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in &files {
        let room = room(&src, file);
        if SEES_ALL.contains(&room.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(room.as_str()) else {
            wrong.push(format!("{}: room {room} is not in the table", file.display()));
            continue;
        };
        let text = fs::read_to_string(file).expect("a source is text");
        for used in names(&text) {
            let known = allowed.contains_key(used.as_str()) || SEES_ALL.contains(&used.as_str());
            if known && used != room && !may.contains(&used.as_str()) {
                wrong.push(format!("{}: {room} uses {used}", file.display()));
            }
        }
        visited.insert(room);
    }
    assert_eq!(visited.len(), ALLOWED.len(), "rooms visited: {visited:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_sources_finds_what_it_should() {
    let text = "use crate::{\n    alarm::{Change, Engine},\n    domain::Clock,\n};\n// crate::app\nlet x = crate::store::Row;";
    let found: Vec<String> = names(text).into_iter().collect();
    assert_eq!(found, ["alarm", "domain", "store"]);
}
