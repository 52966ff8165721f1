//! `events`: what happened, as evidence: whether it was changed since, and whose signature says so.

mod verify;

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    exit,
    site::{SiteArgs, if_stored},
};
use crate::{domain::Lang, say, store::Reader};

#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(subcommand)]
    verb: EventsVerb,
}

#[derive(Debug, Subcommand)]
enum EventsVerb {
    /// Whether anything was changed, taken away or moved since / 校验证据链
    Verify(verify::VerifyArgs),
    /// The public key of this box, to be kept where nobody of the compound can change it / 本机公钥
    Key(KeyArgs),
}

#[derive(Debug, Args)]
struct KeyArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl EventsArgs {
    /// # Errors
    /// If the store or the bundle cannot be read, or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        match self.verb {
            EventsVerb::Verify(args) => args.run(lang),
            EventsVerb::Key(args) => args.run(lang),
        }
    }
}

impl KeyArgs {
    fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let Some(reader) = if_stored(Reader::open(&site.store.dir), lang)? else {
            return Ok(exit::NOTHING_FOUND);
        };
        let Some(key) = reader.public_key()? else {
            eprintln!(
                "{}",
                say!(
                    lang,
                    "还没有签名：网关启动后即会签名。若一直没有，请看日志中关于 evidence.key 的错误。",
                    "nothing was signed yet: the gateway signs once it starts. If it never does, its log says why (evidence.key)."
                )
            );
            return Ok(exit::NOTHING_FOUND);
        };
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(
                out,
                "{}",
                json!({ "id": key.id, "public": key.public, "algorithm": key.suite.signature().to_lowercase() })
            )?,
            false => writeln!(out, "{}", key.public)?,
        }
        Ok(exit::OK)
    }
}
