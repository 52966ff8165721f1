//! What the gateway brings to its evidence: its clock, its keys, what is in force.

use std::{path::Path, sync::Arc};

use tracing::{debug, error, info};

use crate::{
    domain::{Clock, Suite},
    store::{
        Settings, Writing,
        chain::{BoxKey, BoxKeys, ClockBox, Witness},
    },
};

/// `starts`: the gateway runs from now on, and makes its key if there is none.
pub(super) fn witness(
    store: &Settings,
    writings: Vec<Writing>,
    clock: &Arc<dyn Clock>,
    starts: bool,
) -> Witness {
    let keys = Suite::ALL.into_iter().filter_map(|suite| key(&store.dir, suite, store.suite, starts));
    Witness {
        clock: ClockBox(Arc::clone(clock)),
        zone: store.timezone.clone(),
        keys: keys.collect::<BoxKeys>(),
        suite: store.suite,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        writings,
        starts,
    }
}

fn key(dir: &Path, suite: Suite, wanted: Suite, starts: bool) -> Option<BoxKey> {
    // names for cards stand on the first one, whatever signs
    let make = starts && (suite == wanted || suite == Suite::International);
    match BoxKey::find(dir, suite, make) {
        Ok(key) => {
            if starts && suite == wanted {
                info!(key = key.id(), alg = suite.word(), "The evidence is signed with this key.");
            }
            Some(key)
        }
        Err(error) if starts && suite == wanted => {
            error!(%error, alg = suite.word(), "The evidence is not signed with this key: nobody outside can tell whether all of it was changed. Alarms go on.");
            None
        }
        // a key that the site has no use for; or one command by somebody else than the gateway: the next start signs it
        Err(error) => {
            debug!(%error, alg = suite.word(), "This key is not there.");
            None
        }
    }
}
