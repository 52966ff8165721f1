//! Lists the shipped classes and profiles, so that the binary carries them: `device-profiles/**/*.toml`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const SHIPPED: &str = "device-profiles";

fn main() -> io::Result<()> {
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
