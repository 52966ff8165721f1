//! The verbs over directories of one's own: what they print and what they end with.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ProfileArgs,
}

const CLASS: &str = "class = \"fan\"\n[[point]]\nname = \"speed\"\nkind = \"number\"\nunit = \"rpm\"\n\
    [[alarm]]\nname = \"stuck\"\npriority = \"low\"\nwhen = \"speed == 0.0\"\n";
const PROFILE: &str = "profile = \"fan/acme\"\nrevision = 1\nsource = \"made up\"\n[modbus]\n[[point]]\nname = \"speed\"\n\
    read = { table = \"input\", address = 3, type = \"u16\" }\n";
const CASES: &str = "[[case]]\nfact = \"turning\"\ninput = { 3 = 900 }\nwant = { speed = 900.0 }\nalarms = []\n\
    [[case]]\nfact = \"still\"\ninput = { 3 = 0 }\nwant = { speed = 0.0 }\nexact = true\nalarms = [\"stuck\"]\n";

const CODES: &str = "codes = \"fan/city\"\nsource = \"made up\"\nwithout = [\"comm_loss\"]\n[[code]]\ncode = \"7\"\nkind = \"fault\"\n\
    title = { zh = \"停转\", en = \"stuck\" }\nverified = \"one_source\"\nfor = [\"stuck\"]\n";

/// A directory with the class, and whatever else of it.
fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory for the test");
    fs::create_dir(dir.path().join("fan")).expect("a directory in it");
    for (name, text) in [("class.toml", CLASS)].iter().chain(files) {
        fs::write(dir.path().join("fan").join(name), text).expect("a file in it");
    }
    dir
}

/// Exit code and standard output; `DIR` in `line` is the directory.
fn run(dir: &TempDir, line: &str) -> (u8, String) {
    let root = dir.path().to_str().expect("a plain name");
    let words = line.split(' ').map(|word| word.replace("DIR", root));
    let args = Line::parse_from(["profile".to_owned()].into_iter().chain(words)).args;
    let mut out = Vec::new();
    let code = match args.verb {
        ProfileVerb::List(args) => list(&args, Lang::En, &mut out),
        ProfileVerb::Check(args) => check(&args, Lang::En, &mut out),
        ProfileVerb::Test(args) => test(&args, Lang::En, &mut anstream::StripStream::new(&mut out)),
    };
    (code.expect("it prints"), String::from_utf8(out).expect("it prints text"))
}

#[test]
fn what_the_verbs_say_and_end_with() {
    let good = dir(&[("acme.toml", PROFILE), ("acme.cases.toml", CASES)]);
    let wrong = dir(&[("acme.toml", PROFILE), ("acme.cases.toml", &CASES.replace("900.0", "901.0"))]);
    let broken = dir(&[("acme.toml", &PROFILE.replace("speed", "sped"))]);
    let bad_cases = dir(&[("acme.toml", PROFILE), ("acme.cases.toml", &CASES.replace("speed", "sped"))]);
    let alone = dir(&[("acme.toml", PROFILE)]);
    let codes = dir(&[("city.codes.toml", CODES)]);
    let bad_codes = dir(&[("city.codes.toml", &CODES.replace("for = [\"stuck", "for = [\"stuk"))]);
    for (fact, dir, line, code, expected) in [
        ("listed", &good, "list --profiles DIR", 0, "fan/acme"),
        ("listed as JSON", &good, "list --json --profiles DIR", 0, "\"protocol\":\"modbus\""),
        ("what is sound is listed beside what is not", &broken, "list --profiles DIR", 3, "elevator/"),
        ("an id is checked", &good, "check --profiles DIR fan/acme", 0, "fan/acme: 1 points, 2 cases"),
        ("a file is checked", &good, "check DIR/fan/acme.toml", 0, "fan/acme: 1 points, 2 cases"),
        ("a class is checked", &good, "check DIR/fan/class.toml", 0, ""),
        ("a list of codes is checked", &codes, "check DIR/fan/city.codes.toml", 0, ""),
        ("and none of a name that nobody has", &codes, "check DIR/fan/town.codes.toml", 4, ""),
        (
            "a code for nothing",
            &bad_codes,
            "check --json DIR/fan/city.codes.toml",
            3,
            "\\\"stuk\\\" is no alarm of the class",
        ),
        ("a broken file", &broken, "check --json DIR/fan/acme.toml", 3, "has no point \\\"sped\\\""),
        ("a broken id", &broken, "check --profiles DIR fan/acme", 3, ""),
        ("broken cases", &bad_cases, "check --json DIR/fan/acme.cases.toml", 3, "has no point \\\"sped\\\""),
        ("no such id", &good, "check --profiles DIR fan/acmee", 4, ""),
        ("cases that hold", &good, "test --profiles DIR fan/acme", 0, "2 cases: 2 passed, 0 failed"),
        (
            "a case that does not",
            &wrong,
            "test --profiles DIR fan/acme",
            9,
            "FAIL fan/acme  turning\n     speed: want 901, got 900",
        ),
        ("the others are told too", &wrong, "test DIR/fan/acme.toml", 9, "PASS fan/acme  still"),
        ("cases with mistakes", &bad_cases, "test --profiles DIR fan/acme", 3, "0 cases"),
        ("no cases", &alone, "test --profiles DIR fan/acme", 4, "0 cases"),
        ("no such directory", &good, "test --profiles DIR/none fan/acme", 3, "0 cases"),
    ] {
        let (ended, out) = run(dir, line);
        assert!(out.contains(expected), "{fact}: {out}");
        assert_eq!(ended, code, "{fact}: {out}");
    }
}

#[test]
fn a_directory_is_no_id_and_is_shown_its_option() {
    let good = dir(&[("acme.toml", PROFILE)]);
    let root = good.path().to_str().expect("a plain name");
    let said = unknown_words(root, &Library::shipped(&mut Problems::default()), Lang::En);
    assert!(said.contains("is a directory") && said.contains(&format!("--profiles {root}")), "{said}");
    assert_eq!(run(&good, "check DIR").0, 4);
}

#[test]
fn each_mistake_is_told_once() {
    let slip = dir(&[("acme.toml", &PROFILE.replace("revision = 1", "revision = = 1"))]);
    let cases =
        dir(&[("acme.toml", PROFILE), ("acme.cases.toml", &CASES.replace("exact = true", "exact = = true"))]);
    for (fact, dir) in [("a slip in a profile", &slip), ("a slip in its cases", &cases)] {
        for line in ["check --json --profiles DIR", "check --json --profiles DIR --profiles DIR"] {
            let (code, out) = run(dir, line);
            assert_eq!((code, out.lines().count()), (3, 1), "{fact}, {line}: {out}");
        }
    }
}

#[test]
fn a_file_of_the_site_replaces_the_shipped_one_and_its_cases() {
    let id = "street-light/epever-tracer";
    let own = tempfile::tempdir().expect("a directory for the test");
    fs::create_dir(own.path().join("street-light")).expect("a directory in it");
    let file = own.path().join("street-light/epever-tracer.toml");
    let text = "revision = 7\nsource = \"made up\"\n[modbus]\n[[point]]\nname = \"lamp_on\"\nread = { table = \"coil\", address = 2 }\n";
    fs::write(&file, format!("profile = \"{id}\"\n{text}")).expect("a file in it");
    let load = || Library::load(&[own.path().to_owned()], &mut Problems::default());
    let library = load();
    assert_eq!(library.profile(id).map(|profile| profile.revision), Some(7));
    assert!(library.cases(id).is_none(), "the shipped cases are not about this map");
    fs::write(&file, "profile = 3").expect("a file in it");
    let library = load();
    assert!(
        library.profile(id).is_none() && library.is_broken(id),
        "a broken replacement does not bring the old map back"
    );
    assert!(library.ids().count() > 5, "and disables only itself");
}
