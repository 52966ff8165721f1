//! What the gateway brings to its evidence: its clock, its key, what is in force.

use std::{path::Path, sync::Arc};

use jiff::tz::TimeZone;
use tracing::{debug, error, info};

use crate::{
    domain::Clock,
    store::{
        Writing,
        chain::{BoxKey, ClockBox, Witness},
    },
};

/// `starts`: the gateway runs from now on, and makes its key if there is none.
pub(super) fn witness(
    dir: &Path,
    zone: &TimeZone,
    writings: Vec<Writing>,
    clock: &Arc<dyn Clock>,
    starts: bool,
) -> Witness {
    let key = match BoxKey::find(dir, starts) {
        Ok(key) => {
            if starts {
                info!(key = key.id(), "The evidence is signed with this key.");
            }
            Some(Arc::new(key))
        }
        Err(error) if starts => {
            error!(%error, "The evidence is not signed: nobody outside can tell whether all of it was changed. Alarms go on.");
            None
        }
        // one command by somebody else than the gateway: the next start signs it
        Err(error) => {
            debug!(%error, "What is done is signed at the next start.");
            None
        }
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Witness { clock: ClockBox(Arc::clone(clock)), zone: zone.clone(), key, version, writings, starts }
}
