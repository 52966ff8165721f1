//! The keys under which values of persons lie: made, known, and thrown away when their time is over.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Ended;
use crate::{
    config::PrivateStore,
    domain::{Clock, Period, TimeQuality},
    store::{
        EventStore, Pseudonyms,
        chain::BoxKey,
        privacy::{OuterKey, Privacy, Tended},
    },
};

/// One key an hour may be thrown away: a clock that jumps to 2038 does not erase everything at once.
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
                let mut keys = Self { store, privacy, keep, clock, shut: false, tended: false };
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
                Some(Self { store, privacy, keep, clock, shut: true, tended: true })
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
    async fn tend(&self, said: bool) -> bool {
        let quality = self.clock.quality();
        let believed = matches!(quality, TimeQuality::Synced | TimeQuality::Holdover);
        let now = believed.then(|| self.clock.now().wall);
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
        None => BoxKey::find(dir, false).ok().map(|key| key.pseudonyms()),
    }
}
