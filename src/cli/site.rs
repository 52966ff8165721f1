//! What every verb that needs a site does first: find its file, check it, say what is wrong.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::Args;

use super::exit;
use crate::{
    config::{self, DEFAULT_PATH, Site},
    document::Problems,
    domain::Lang,
};

#[derive(Clone, Debug, Args)]
pub struct SiteArgs {
    /// The site file / 配置文件
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

impl SiteArgs {
    /// The checked site; or the exit code, after every mistake was told on standard error.
    pub fn load(&self, lang: Lang) -> Result<Site, u8> {
        match config::load(&self.config) {
            Ok((site, _warnings)) => Ok(site),
            Err(problems) => Err(refuse(&problems, lang)),
        }
    }
}

pub fn refuse(problems: &Problems, lang: Lang) -> u8 {
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    eprint!("{}", if terminal { problems.drawn(lang, colour) } else { problems.lines(lang) });
    exit::INVALID
}
