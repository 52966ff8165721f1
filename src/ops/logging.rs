//! The log goes to standard error: fixed plain sentences, facts as fields. `GATEHOUSE_LOG` chooses what is heard.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt};

/// How a command talks about what it does: a service in full, a tool only about trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Service,
    Tool,
}

/// Sets up the log for the whole program; a second call changes nothing.
pub fn init(voice: Voice) {
    let default = match voice {
        // The MQTT libraries report each reconnect of their own; ours is the one report.
        Voice::Service => "info,rumqttc=error,rumqttd=error",
        Voice::Tool => "error,rumqttd=off",
    };
    let filter = EnvFilter::try_from_env("GATEHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = fmt().with_env_filter(filter).with_writer(stderr).with_ansi(colour).with_target(false);
    // Under systemd the journal stamps every line itself.
    let started = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
    if let Err(already) = started {
        tracing::debug!(%already, "The log was set up before.");
    }
}
