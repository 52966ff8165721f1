//! `token`: who may use the API, and as what. The running gateway knows within a second.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use jiff::Timestamp;
use serde_json::json;

use super::{alarms::local, exit, site::SiteArgs};
use crate::{
    config::Site,
    console::token::{Role, TokenFault, Tokens},
    domain::Lang,
    say,
};

#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
enum TokenVerb {
    /// Make one; it is shown once / 添加，令牌只显示一次
    Add(AddArgs),
    /// Which there are / 列出
    List(ListArgs),
    /// It is good no more / 删除，立即失效
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Whose it is: stands in the record of all that is done with it / 名称，写进每条记录
    name: String,
    /// What it may do: viewer, inspector, operator, admin / 角色：查看、值班、运维、管理
    #[arg(long, value_name = "ROLE")]
    role: Role,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// As `token list` shows it / 名称
    name: String,
    #[command(flatten)]
    site: SiteArgs,
}

impl TokenArgs {
    /// # Errors
    /// If the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let config = match &self.verb {
            TokenVerb::Add(args) => &args.site,
            TokenVerb::List(args) => &args.site,
            TokenVerb::Remove(args) => &args.site,
        };
        let site = match config.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let done = match self.verb {
            TokenVerb::Add(args) => add(&site, &args, lang),
            TokenVerb::List(args) => list(&site, args.json, lang)?,
            TokenVerb::Remove(args) => remove(&site, &args.name, lang),
        };
        Ok(done.unwrap_or_else(|fault| {
            eprintln!("{}", fault.text().get(lang));
            code(&fault)
        }))
    }
}

fn code(fault: &TokenFault) -> u8 {
    match fault {
        TokenFault::Name(_) | TokenFault::Taken(_) | TokenFault::TooMany => exit::USAGE,
        TokenFault::NoSuchToken(_) => exit::NOTHING_FOUND,
        TokenFault::NotPermitted(_) => exit::NOT_PERMITTED,
        TokenFault::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            exit::NOT_PERMITTED
        }
        TokenFault::Read { .. }
        | TokenFault::Damaged { .. }
        | TokenFault::WritableByOthers { .. }
        | TokenFault::Write { .. }
        | TokenFault::NoStore(_) => exit::UNEXPECTED,
    }
}

/// The token goes to standard output, alone; what to do with it is talk.
fn add(site: &Site, args: &AddArgs, lang: Lang) -> Result<u8, TokenFault> {
    let (name, role, by) = (&args.name, args.role, account());
    let token = Tokens::change(&site.store.dir, |tokens| tokens.add(name, role, by, Timestamp::now()))?;
    println!("{token}");
    let address = site.console.listen;
    let scheme = if site.console.tls.is_some() { "https" } else { "http" };
    eprintln!(
        "{}",
        say!(
            lang,
            "✓ 令牌 {name}（{role}），只显示这一次。试一下：curl -H \"Authorization: Bearer 令牌\" {scheme}://{address}/api/v1/status",
            "✓ token {name} ({role}), shown this once. Try it: curl -H \"Authorization: Bearer TOKEN\" {scheme}://{address}/api/v1/status"
        )
    );
    Ok(exit::OK)
}

fn remove(site: &Site, name: &str, lang: Lang) -> Result<u8, TokenFault> {
    let by = account();
    let role = Tokens::change(&site.store.dir, |tokens| tokens.remove(name, by, Timestamp::now()))?;
    println!("{}", say!(lang, "✓ 令牌 {name}（{role}）已失效", "✓ token {name} ({role}) is good no more"));
    Ok(exit::OK)
}

fn list(site: &Site, as_json: bool, lang: Lang) -> io::Result<Result<u8, TokenFault>> {
    let tokens = match Tokens::read(&site.store.dir) {
        Ok(tokens) => tokens.tokens,
        Err(fault) => return Ok(Err(fault)),
    };
    let (zone, mut out) = (&site.timezone, io::stdout().lock());
    if as_json {
        for token in &tokens {
            let added_at = local(token.added_at, zone);
            let record = json!({
                "name": token.name, "role": token.role, "added_at": added_at, "added_by": token.added_by,
            });
            writeln!(out, "{record}")?;
        }
    } else if tokens.is_empty() {
        let nothing = say!(
            lang,
            "没有令牌，API 没有打开。添加：gatehouse token add 名称 --role inspector",
            "No tokens: the API is not open. Add one: gatehouse token add NAME --role inspector"
        );
        writeln!(out, "{nothing}")?;
    } else {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(match lang {
            Lang::Zh => ["名称", "角色", "添加时间", "添加人"],
            Lang::En => ["name", "role", "added", "by"],
        });
        for token in tokens {
            let at = local(token.added_at, zone);
            table.add_row([token.name, token.role.to_string(), at, token.added_by]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(Ok(exit::OK))
}

/// The account on this box that does it; behind `sudo`, whose it was.
fn account() -> String {
    let named = |variable| std::env::var(variable).ok().filter(|name: &String| !name.trim().is_empty());
    let name = named("SUDO_USER").or_else(|| named("USER"));
    let name = name.unwrap_or_else(|| format!("uid {}", rustix::process::geteuid().as_raw()));
    name.chars().filter(|letter| !letter.is_control()).take(64).collect()
}
