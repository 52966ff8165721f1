//! Secrets and certificates that change under a running gateway.

use std::time::Duration;

use tokio::{
    select,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    credentials::{Credentials, Reread, Version},
    endpoint::HttpEndpoint,
};
use crate::{domain::Text, text, uplink::Bell};

/// How soon a new file counts. Their content is compared: a time stamp may be that of the old one.
const LOOK: Duration = Duration::from_secs(10);

/// Looks at the files until `stop`; what changed counts from the next attempt on, and the courier is told to make one.
/// What cannot be used is said once, and the old stays in use.
pub async fn watch(
    endpoint: &HttpEndpoint,
    reread: &Reread,
    mut version: Version,
    bell: &Bell,
    stop: &CancellationToken,
) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        let outcome = match read(reread).await {
            Ok(credentials) if credentials.version() == version => continue,
            Ok(credentials) => {
                version = credentials.version();
                endpoint.equip(credentials)
            }
            Err(why) => Err(why),
        };
        match outcome {
            Ok(()) => {
                info!(receiver = ?endpoint, "New secrets or certificates are in use.");
                told = None;
                bell.ring();
            }
            Err(why) if told.as_ref() == Some(&why) => {}
            Err(why) => {
                error!(
                    receiver = ?endpoint, why = why.en,
                    "A secret or certificate cannot be used; the old one stays in use until this is corrected."
                );
                told = Some(why);
            }
        }
    }
}

async fn read(reread: &Reread) -> Result<Credentials, Text> {
    let reread = reread.clone();
    match tokio::task::spawn_blocking(move || reread.read()).await {
        Ok(read) => read,
        Err(broken) => Err(text!("读取时出错：{broken}", "reading broke off: {broken}")),
    }
}
