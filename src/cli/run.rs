//! `run`: the gateway itself, until told to stop.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{exit, site::SiteArgs};
use crate::{
    app, config,
    domain::{Lang, SystemClock},
    ops::signals::{self, Told},
};

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    site: SiteArgs,
}

impl RunArgs {
    /// Runs the gateway until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// If the stores cannot be opened or a part of the gateway ends by itself.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let (site, warnings) = match config::load(&self.site.config) {
            Ok(loaded) => loaded,
            Err(problems) => return Ok(super::site::refuse(&problems, lang)),
        };
        // Notes are for `check`; what is odd is told at each start.
        for warning in warnings.records().into_iter().filter(|record| record.severity != "note") {
            let (file, line, column) = (warning.file, warning.line, warning.column);
            warn!(file, line, column, "{}", warning.message.get(lang));
        }
        install_tls();
        let (field, rest) = (field_thread()?, rest_thread()?);
        let ended = field.block_on(async {
            let stop = CancellationToken::new();
            let told = tokio::spawn(watch_signals(stop.clone()));
            app::run(site, Arc::new(SystemClock::new()), rest.handle(), stop).await?;
            match told.await.context("hear the signal to stop")?? {
                Told::Terminate => Ok(exit::OK),
                Told::Interrupt => Ok(exit::INTERRUPTED),
            }
        });
        // A name server that does not answer must not hold up the end.
        for runtime in [field, rest] {
            runtime.shutdown_timeout(std::time::Duration::from_millis(100));
        }
        ended
    }
}

async fn watch_signals(stop: CancellationToken) -> std::io::Result<Told> {
    let told = signals::told_to_stop().await;
    stop.cancel();
    told
}

/// TLS stands on ring; the libraries take whichever provider the program chose.
pub fn install_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("A TLS provider was chosen before.");
    }
}

/// The buses and the pipeline share this one thread: what a bus heard is decided on without waking another, and nothing that is
/// delivered or shown can delay a poll.
fn field_thread() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("start the field's runtime")
}

/// The couriers, the door and all the rest.
fn rest_thread() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start the runtime")
}

/// For verbs that ask and show. Two workers: one may compute while the other keeps the lines going.
///
/// # Errors
/// If the threads cannot be made.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().context("start the runtime")
}
