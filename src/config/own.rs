//! How the gateway reads its own parts: by shipped profiles, as it reads devices.

use std::sync::Arc;

use super::desk::Desk;
use crate::{
    at,
    profile::{Library, OWN_ALARMS, OWN_CLOCK, OWN_ENDPOINT, OWN_FLASH, OWN_LINE, OWN_STORE, Profile},
    text,
};

#[derive(Clone, Debug)]
pub struct OwnProfiles {
    pub line: Arc<Profile>,
    pub endpoint: Arc<Profile>,
    pub store: Arc<Profile>,
    /// Its alarms as a whole.
    pub alarms: Arc<Profile>,
    pub clock: Arc<Profile>,
    /// What it writes to its flash, where that has a budget.
    pub flash: Option<Arc<Profile>>,
}

/// `None`: one of the site's own folders has one with mistakes, and all of those are told.
pub(super) fn own(desk: &mut Desk<'_>, library: &Library, flash_has_budget: bool) -> Option<OwnProfiles> {
    let flash = flash_has_budget.then(|| sound(desk, library, OWN_FLASH));
    let [line, endpoint, store, alarms, clock] =
        [OWN_LINE, OWN_ENDPOINT, OWN_STORE, OWN_ALARMS, OWN_CLOCK].map(|id| sound(desk, library, id));
    let (line, endpoint, store, alarms, clock) = (line?, endpoint?, store?, alarms?, clock?);
    let flash = match flash {
        Some(flash) => Some(flash?),
        None => None,
    };
    Some(OwnProfiles { line, endpoint, store, alarms, clock, flash })
}

fn sound(desk: &mut Desk<'_>, library: &Library, id: &'static str) -> Option<Arc<Profile>> {
    let profile = library.profile(id);
    if profile.is_none() {
        let told = text!(
            "没有可用的模板 {id}，网关靠它监视自己",
            "there is no sound profile {id}, by which the gateway watches itself"
        );
        desk.error(at!["site"], told);
    }
    profile
}
