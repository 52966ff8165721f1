//! `delivery test`: a drill to an endpoint, and what came of it. The running gateway sends it, over the connection and with the
//! secrets that its letters use; where none runs, this program does.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::printable;
use crate::{
    app::drill_at_rest,
    cli::{
        exit,
        run::{install_tls, runtime},
        site::{SiteArgs, refuse},
    },
    config,
    console::door::{self, Answer, Question},
    domain::{EndpointId, Lang, SystemClock, drill::Drilled},
    say,
};

/// Longer than the longest exchange, the answer to a challenge and a wait for a session included.
const PATIENCE: Duration = Duration::from_secs(75);

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Who practises; stands in the letter / 演练人
    #[arg(long = "as", value_name = "NAME", default_value = "gatehouse delivery test")]
    by: String,
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl TestArgs {
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.look(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let endpoint = EndpointId::from(self.endpoint.as_str());
        let question = Question::Drill { endpoint: endpoint.clone(), by: self.by.clone() };
        let answer = runtime()?.block_on(door::visit_for(&site.store.dir, &question, PATIENCE));
        let drilled = match answer {
            Ok(Answer::Drilled(drilled)) => drilled,
            Ok(Answer::NotUnderstood(why)) => {
                return Err(anyhow::anyhow!(why)).context("be understood by the running gateway");
            }
            Ok(Answer::Busy | Answer::Stopping) => {
                return Err(anyhow::anyhow!("ask a busy gateway: try again"));
            }
            Ok(Answer::Outcome(_) | Answer::Status(_) | Answer::Inquired(_) | Answer::Tape(_)) => {
                return Err(anyhow::anyhow!("get the answer to another question"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                let site = match config::load(&self.site.config) {
                    Ok((site, _)) => site,
                    Err(problems) => return Ok(refuse(&problems, lang)),
                };
                install_tls();
                runtime()?.block_on(drill_at_rest(site, Arc::new(SystemClock::new()), &endpoint, self.by))
            }
            Err(error) => return Err(error).context("reach the running gateway"),
        };
        let (told, code) = told(&self.endpoint, &drilled, lang);
        match (self.json, code) {
            (true, _) => println!("{}", record(&self.endpoint, &drilled)),
            (false, exit::OK) => println!("{told}"),
            (false, _) => eprintln!("{told}"),
        }
        Ok(code)
    }
}

fn record(endpoint: &str, drilled: &Drilled) -> serde_json::Value {
    match drilled {
        Drilled::Accepted { event, status, said } => {
            json!({ "endpoint": endpoint, "accepted": true, "event": event, "status": status, "said": said })
        }
        Drilled::Hindered { event, why } => {
            json!({ "endpoint": endpoint, "accepted": false, "event": event, "trouble": why.kind, "why": why.said })
        }
        Drilled::NoWords { why } => {
            json!({ "endpoint": endpoint, "accepted": false, "trouble": "no_words", "why": why })
        }
        Drilled::NoSuchEndpoint => {
            json!({ "endpoint": endpoint, "accepted": false, "trouble": "no_such_endpoint" })
        }
    }
}

fn told(endpoint: &str, drilled: &Drilled, lang: Lang) -> (String, u8) {
    match drilled {
        Drilled::Accepted { event, status, said } => {
            let said = printable(said);
            let told = say!(
                lang,
                "✓ {endpoint} 收到演练 {event}，应答 {status}：{said}",
                "✓ {endpoint} took the drill {event} and answered {status}: {said}"
            );
            (told, exit::OK)
        }
        Drilled::Hindered { event, why } => {
            let (title, advice, said) = (why.kind.title(), why.kind.advice(), printable(why.said.get(lang)));
            let (title, advice) = (title.get(lang), advice.get(lang));
            let told = say!(
                lang,
                "✕ {endpoint} 没有收到演练 {event}：{title}（{said}）。{advice}",
                "✕ {endpoint} did not take the drill {event}: {title} ({said}). What to do: {advice}"
            );
            (told, exit::ENDPOINT_FAILING)
        }
        Drilled::NoWords { why } => {
            let why = why.get(lang);
            let told = say!(
                lang,
                "✕ 没有发出：{endpoint} 的模板说不了演练（{why}）。在模板里处理 type == \"gatehouse.drill\"。",
                "✕ nothing was sent: the template of {endpoint} cannot tell of a drill ({why}). Have it handle type == \"gatehouse.drill\"."
            );
            (told, exit::INVALID)
        }
        Drilled::NoSuchEndpoint => {
            let told = say!(
                lang,
                "没有上报目标 {endpoint}。见 gatehouse delivery list。",
                "there is no endpoint {endpoint}; see gatehouse delivery list."
            );
            (told, exit::NOTHING_FOUND)
        }
    }
}
