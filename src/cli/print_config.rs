//! `gatehouse print-config`: the site file with every default filled in; secrets by the names of their files only.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::exit;
use crate::{
    config::{DEFAULT_PATH, EXAMPLE, file::SiteFile},
    document::{Document, Problems},
    domain::Lang,
    say,
};

#[derive(Clone, Debug, clap::Args)]
pub struct PrintConfigArgs {
    /// The site file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// The commented example instead of a site's own file
    #[arg(long)]
    pub defaults: bool,
}

impl PrintConfigArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        Ok(run(&self, lang, &mut io::stdout().lock(), &mut io::stderr().lock())?)
    }
}

/// Returns the exit code: 0, or 3 if the file cannot be read; why goes to `talk`. What is written is not checked here.
///
/// # Errors
/// If `out` or `talk` cannot be written.
pub fn run(
    args: &PrintConfigArgs,
    lang: Lang,
    out: &mut impl Write,
    talk: &mut impl Write,
) -> io::Result<u8> {
    if args.defaults {
        out.write_all(EXAMPLE.as_bytes())?;
        return Ok(exit::OK);
    }
    let mut problems = Problems::default();
    let document = Document::load(&args.config, &mut problems);
    let file = document.and_then(|document| document.read::<SiteFile>(&mut problems));
    match file.filter(|_| !problems.has_errors()) {
        Some(file) => {
            out.write_all(toml::to_string_pretty(&file).map_err(io::Error::other)?.as_bytes())?;
            Ok(exit::OK)
        }
        None => {
            let advice = say!(lang, "完整的检查：gatehouse check", "for the whole check: gatehouse check");
            writeln!(talk, "{}{advice}", problems.lines(lang))?;
            Ok(exit::INVALID)
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn printed(text: &str, defaults: bool) -> (u8, String, String) {
        let dir = TempDir::new().unwrap();
        let config = dir.path().join("gatehouse.toml");
        std::fs::write(&config, text).unwrap();
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let code = run(&PrintConfigArgs { config, defaults }, Lang::En, &mut out, &mut talk).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }

    #[test]
    fn defaults_are_filled_in_and_what_is_printed_can_be_read_again() {
        let (code, out, talk) = printed(EXAMPLE, false);
        assert_eq!((code, talk.as_str()), (0, ""));
        for expected in [
            "telemetry_keep = \"90d\"",
            "framing = \"8N1\"",
            "file = \"inspection-secret\"",
            "repeat = \"1..40\"",
        ] {
            assert!(out.contains(expected), "{expected}:\n{out}");
        }
        assert_eq!(printed(&out, false), (0, out.clone(), String::new()));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told() {
        let (code, out, talk) = printed("[site]\n", false);
        assert_eq!((code, out.as_str()), (3, ""));
        assert!(talk.contains("gatehouse.toml:1:1: error: \"id\" is missing"), "{talk}");
    }

    #[test]
    fn the_example_comes_with_its_comments() {
        assert_eq!(printed("", true), (0, EXAMPLE.to_owned(), String::new()));
    }
}
