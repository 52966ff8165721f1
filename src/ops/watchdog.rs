//! Tells the service manager that the gateway is alive: only while the pipeline really comes around.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

/// Says READY, then feeds the watchdog as often as the service manager asks, as long as `rounds` goes on.
pub async fn run(rounds: impl Fn() -> u64, stop: CancellationToken) {
    say(&[NotifyState::Ready]);
    let limit = sd_notify::watchdog_enabled();
    let mut tick = interval(limit.map_or(Duration::from_secs(60), |limit| limit / 3));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {
                let rounds = rounds();
                if seen == Some(rounds) {
                    error!(rounds, "The pipeline does not come around; the watchdog is not fed.");
                } else if limit.is_some() {
                    say(&[NotifyState::Watchdog]);
                }
                seen = Some(rounds);
            }
        }
    }
    say(&[NotifyState::Stopping]);
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "No service manager to talk to.");
    }
}
