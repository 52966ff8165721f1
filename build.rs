//! Says when the program is built, and lists the shipped classes and profiles, so that the binary carries them: `device-profiles/**/*.toml`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const SHIPPED: &str = "device-profiles";
/// 2026-11-01: a machine that builds may have lost the time too.
const NOT_BEFORE: u64 = 1_793_491_200;
/// To the day, so that what is built on one day is the same; less a day: steps by an hour and machines that are a little behind are no
/// reason to believe nothing.
const DAY: u64 = 86_400;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rustc-env=GATEHOUSE_BUILT={}", built());
    println!("cargo:rerun-if-changed={SHIPPED}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    let mut list = String::from("&[\n");
    for file in toml_files(&root.join(SHIPPED))? {
        println!("cargo:rerun-if-changed={}", file.display());
        let name = file.strip_prefix(&root).expect("it was found under the root");
        list.push_str(&format!("    ({:?}, include_str!({file:?})),\n", name.display().to_string()));
    }
    list.push_str("]\n");
    fs::write(out.join("shipped.rs"), list)
}

/// The day before, in seconds since 1970. `SOURCE_DATE_EPOCH` as of <https://reproducible-builds.org/specs/source-date-epoch/>.
fn built() -> u64 {
    let named = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let day = named.unwrap_or_else(now) / DAY * DAY;
    day.saturating_sub(DAY).max(NOT_BEFORE)
}

/// Two levels deep, sorted; none if there is no such directory.
fn toml_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !dir.is_dir() {
        return Ok(files);
    }
    for class in fs::read_dir(dir)? {
        let class = class?.path();
        if class.is_dir() {
            println!("cargo:rerun-if-changed={}", class.display());
            for file in fs::read_dir(&class)? {
                files.push(file?.path());
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}
