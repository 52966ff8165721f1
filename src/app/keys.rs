//! The keys under which values of persons lie: made, known, and thrown away when their time is over.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Ended;
use crate::{
    config::PrivateStore,
    domain::{Clock, Period, Stamp, Suite},
    store::{
        EventStore, Pseudonyms,
        chain::BoxKey,
        privacy::{OuterKey, Privacy, Tended},
    },
};

/// One key an hour may be thrown away: a box whose clock stands in 2038 when it starts does not erase everything at once. While it
/// runs the calendar goes no faster than time does.
const TEND_EVERY: Duration = Duration::from_secs(3600);
/// While the store cannot be used: until then there may be no key to seal under.
const TEND_AGAIN: Duration = Duration::from_secs(10);

pub struct Keys {
    pub store: EventStore,
    pub privacy: Arc<Privacy>,
    pub keep: Period,
    pub clock: Arc<dyn Clock>,
    /// There is no outer key to be had.
    shut: bool,
    /// The keys could be looked after, the last time.
    tended: bool,
    /// What day it was then.
    calendar: Option<Stamp>,
}

impl Keys {
    /// `None` if the site asks for none. If the key cannot be had, values of persons are not stored at all.
    pub async fn open(
        private: Option<&PrivateStore>,
        store: &EventStore,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let PrivateStore { key_file, keep, may_be_made } = private?;
        let found = if *may_be_made { OuterKey::load_or_make(key_file) } else { OuterKey::load(key_file) };
        let (store, clock, keep) = (store.clone(), Arc::clone(clock), *keep);
        match found {
            Ok(outer) => {
                let privacy = Arc::new(Privacy::new(outer));
                let mut keys =
                    Self { store, privacy, keep, clock, shut: false, tended: false, calendar: None };
                keys.tended = keys.tend(false).await;
                Some(keys)
            }
            Err(why) => {
                let file = key_file.display();
                error!(
                    %file, %why,
                    "The key of the store cannot be had: values of persons are not stored, everything else is. Make the file \
                     (32 bytes in base64, owned by gatehouse, 0600) and start anew."
                );
                let privacy = Arc::new(Privacy::shut());
                Some(Self { store, privacy, keep, clock, shut: true, tended: true, calendar: None })
            }
        }
    }

    /// Until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Ended {
        loop {
            select! {
                () = stop.cancelled() => return Ok("keys"),
                () = sleep(if self.tended { TEND_EVERY } else { TEND_AGAIN }) => {}
            }
            if !self.shut {
                self.tended = self.tend(!self.tended).await;
            }
        }
    }

    /// Whether they could be. `said`: that they cannot be was said already.
    async fn tend(&mut self, said: bool) -> bool {
        let now = self.clock.quality().is_believed().then(|| self.clock.now());
        let now = now.map(|now| {
            let at = no_faster(self.calendar, now);
            self.calendar = Some(Stamp { wall: at, ..now });
            at
        });
        match self.store.tend_private_keys(&self.privacy, now, self.keep).await {
            Ok(Tended { thrown_away, lost }) => {
                if thrown_away > 0 {
                    info!(thrown_away, "Values of persons whose time is over cannot be read any more.");
                }
                if lost > 0 {
                    warn!(
                        lost,
                        "Values of persons lie under another key file: they cannot be read with this one."
                    );
                }
            }
            // whoever needs the store for more than this says what it means
            Err(error) => {
                if !said {
                    warn!(
                        %error,
                        "The keys cannot be looked after; values of persons are sealed under the last one, if there is one."
                    );
                }
                return false;
            }
        }
        true
    }
}

/// Names for cards: under the key of the store, or under the gateway's own where the site has none.
pub(super) fn pseudonyms(privacy: Option<&Privacy>, dir: &Path) -> Option<Pseudonyms> {
    match privacy {
        Some(privacy) => privacy.pseudonyms(),
        None => BoxKey::find(dir, Suite::International, false).ok().map(|key| key.pseudonyms()),
    }
}

/// The wall clock's present, but no later than it was `before` and the time that passed since.
fn no_faster(before: Option<Stamp>, now: Stamp) -> Timestamp {
    let Some(before) = before else { return now.wall };
    let passed = before.wall.checked_add(now.mono.since(before.mono)).unwrap_or(now.wall);
    now.wall.min(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Mono;

    #[test]
    fn a_clock_that_leaps_ahead_takes_no_days_away() {
        let at = |wall: &str, hour: u64| Stamp {
            mono: Mono(Duration::from_secs(hour * 3600)),
            wall: wall.parse().unwrap(),
        };
        let told = |before, now| no_faster(before, now).to_string();
        let noon = at("2026-11-26T12:00:00Z", 1);
        assert_eq!(told(None, noon), "2026-11-26T12:00:00Z");
        assert_eq!(told(Some(noon), at("2026-11-26T13:00:00Z", 2)), "2026-11-26T13:00:00Z");
        assert_eq!(told(Some(noon), at("2038-01-19T13:00:00Z", 2)), "2026-11-26T13:00:00Z", "an hour passed");
        assert_eq!(told(Some(noon), at("2026-11-25T13:00:00Z", 2)), "2026-11-25T13:00:00Z", "put back");
    }
}
