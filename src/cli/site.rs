//! What every verb that needs a site does first: find its file, check it, say what is wrong.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::Args;
use rustix::{fs::access, io::Errno};

use super::exit;
use crate::{
    config::{self, DEFAULT_PATH, Site},
    document::Problems,
    domain::Lang,
    say,
    store::StoreError,
};

#[derive(Clone, Debug, Args)]
pub struct SiteArgs {
    /// The site file / 配置文件
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

impl SiteArgs {
    /// The site for a verb that looks at what the gateway did: its secrets stay closed. Else the exit code, after every
    /// mistake was told on standard error.
    pub fn look(&self, lang: Lang) -> Result<Site, u8> {
        if access(&self.config, rustix::fs::Access::READ_OK) == Err(Errno::ACCESS) {
            let file = self.config.display();
            eprintln!(
                "{}",
                say!(
                    lang,
                    "错误：当前用户无权读取 {file}：请用 gatehouse 组的用户运行",
                    "error: this user may not read {file}: run as a member of group gatehouse"
                )
            );
            return Err(exit::NOT_PERMITTED);
        }
        config::look(&self.config).map_err(|problems| refuse(&problems, lang))
    }
}

pub fn refuse(problems: &Problems, lang: Lang) -> u8 {
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    eprint!("{}", if terminal { problems.drawn(lang, colour) } else { problems.lines(lang) });
    exit::INVALID
}

/// What was opened, if anything was ever stored there; that nothing was is said on standard error, and is no failure.
///
/// # Errors
/// Every other trouble with the store.
pub fn if_stored<R>(opened: Result<R, StoreError>, lang: Lang) -> Result<Option<R>, StoreError> {
    match opened {
        Ok(reader) => Ok(Some(reader)),
        Err(missing @ StoreError::Missing { .. }) => {
            eprintln!("{}", missing.text().get(lang));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
