//! What is in force, as texts that evidence can show.

use std::collections::BTreeMap;

use super::file::SiteFile;
use crate::{
    profile::{Device, Library},
    store::Writing,
};

/// The site file with every default, then the profiles of its devices. Secrets stand in it by the names of their files only.
pub(super) fn writings(file: &SiteFile, devices: &[Device], library: &Library) -> Vec<Writing> {
    // a file that was read can be written
    let body = toml::to_string_pretty(file).unwrap_or_default();
    let site = Writing { name: "gatehouse.toml".to_owned(), body };
    let used: BTreeMap<_, _> =
        devices.iter().map(|device| (&device.profile.id, device.profile.revision)).collect();
    let profiles = used.into_iter().filter_map(|(id, revision)| {
        let source = library.source(id.as_str())?;
        Some(Writing { name: format!("{id}@{revision}"), body: source.text.clone() })
    });
    std::iter::once(site).chain(profiles).collect()
}
