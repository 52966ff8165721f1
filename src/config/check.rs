//! A site file, from what is written to what is certain: every mistake at once, each at its place.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use jiff::tz::TimeZone;

use super::{
    Site,
    brokers::one_login_each,
    buses::{KnownBus, buses},
    console::console,
    credit::tariff,
    customs::customs,
    desk::Desk,
    devices::devices,
    endpoints::endpoints,
    file::{DeviceTable, RecordTable, SiteFile, SiteTable},
    line_time::line_time,
    overrides::{overrides, rules_off},
    own::own,
    private::private,
    schedules::{coordinates, schedules},
    secret::{Secrets, Vault},
    templates::Fleet,
    writings::writings,
};
use crate::{
    at,
    document::{Document, Problems},
    domain::Size,
    profile::Library,
    store::{self, Instead, TooLarge},
    text,
};

/// Less has no room for SQLite's own pages and log.
const LEAST_STORE: Size = Size(8 << 20);
/// The box has other things to do with its memory.
const MOST_TAPE: Size = Size(256 << 20);

/// What came of checking a site file.
#[derive(Debug)]
pub struct Checked {
    /// There if it can be run. What its lines are too slow for is among the problems all the same.
    pub site: Option<Site>,
    pub counts: Counts,
    pub problems: Problems,
}

/// How much of everything is in the file, right or wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub buses: usize,
    /// After repeats are spread out; those that are wrong are not among them.
    pub devices: usize,
    pub endpoints: usize,
}

/// The site in the file at `path` with the warnings it deserves.
///
/// # Errors
/// Everything that is wrong with it, with its profiles and with the files it names.
pub fn load(path: &Path) -> Result<(Site, Problems), Problems> {
    let Checked { site, problems, .. } = check(path);
    match site {
        Some(site) => Ok((site, problems)),
        None => Err(problems),
    }
}

/// The site in the file at `path` for those who only look at what the gateway did, or leave word for it: no secret and no
/// certificate that it names is opened, none is in the site, and its receivers trust nobody. Not to be run.
///
/// # Errors
/// Everything else that is wrong with it and with its profiles.
pub fn look(path: &Path) -> Result<Site, Problems> {
    let Checked { site, problems, .. } = check_over(path, Secrets::Named, Library::load);
    site.ok_or(problems)
}

/// As [`load`], told in full.
pub fn check(path: &Path) -> Checked {
    check_over(path, Secrets::Read, Library::load)
}

/// The same, over the profiles that `load` gives for the site's own folders.
fn check_over<L: Borrow<Library>>(
    path: &Path,
    secrets: Secrets,
    load: impl FnOnce(&[PathBuf], &mut Problems) -> L,
) -> Checked {
    let mut problems = Problems::default();
    let Some(document) = Document::load(path, &mut problems) else {
        return Checked { site: None, counts: Counts::default(), problems };
    };
    let Some(file) = document.read::<SiteFile>(&mut problems) else {
        return Checked { site: None, counts: Counts::default(), problems };
    };
    let vault = Vault::beside(directory_of(path), secrets);
    let mut desk = Desk { document: &document, problems: &mut problems, vault };
    let dirs = profile_dirs(&mut desk, &file.site);
    let library = load(&dirs, desk.problems);
    let (site, counts) = site(&mut desk, &file, library.borrow(), dirs);
    let site = site.filter(|_| !desk.problems.has_errors());
    if let Some(site) = &site {
        line_time(&mut desk, site);
        if secrets == Secrets::Read {
            leftovers(&mut desk, site);
        }
    }
    Checked { site, counts, problems }
}

/// Letters for an endpoint that the site does not name any more: they are kept, and somebody has to say what for.
fn leftovers(desk: &mut Desk<'_>, site: &Site) {
    // what cannot be looked at is for the verbs that look at it
    let Ok(deliveries) = store::Reader::open(&site.store.dir).and_then(|reader| reader.deliveries()) else {
        return;
    };
    for delivery in deliveries {
        let (id, letters) = (&delivery.endpoint, delivery.queued + delivery.set_aside);
        if letters == 0 || site.endpoints.iter().any(|endpoint| *endpoint.id == **id) {
            continue;
        }
        let told = text!(
            "还有 {letters} 条消息要送给 \"{id}\"，但配置里没有这个上报目标：消息保留着。把目标写回来，或用 gatehouse delivery discard {id} --as 姓名 放弃",
            "{letters} letters wait for \"{id}\", which is no endpoint of this site: they are kept. Put the endpoint back, or give them up: gatehouse delivery discard {id} --as NAME"
        );
        desk.warning(at!["site", "id"], told);
    }
}

fn site(
    desk: &mut Desk<'_>,
    file: &SiteFile,
    library: &Library,
    profile_dirs: Vec<PathBuf>,
) -> (Option<Site>, Counts) {
    desk.kebab(at!["site", "id"], &file.site.id);
    let timezone = timezone(desk, &file.site);
    let store = store(desk, file, timezone.as_ref());
    let private = private(desk, &file.store, &store.dir);
    let console = console(desk, &file.console);
    let tape_memory = tape_memory(desk, &file.record);
    let (buses, known) = buses(desk, &file.bus);
    let devices = devices(desk, &file.device, &known, library);
    idle(desk, &known, &file.device);
    let endpoints =
        endpoints(desk, &file.endpoint, &file.site.id, Fleet { profiles: library, devices: &devices });
    one_login_each(desk, file, (&buses, &endpoints));
    let overrides = overrides(desk, &file.alarm, &devices, library);
    rules_off(desk, &file.device, library);
    let customs = customs(desk, file);
    let tariff = tariff(desk, &file.credit);
    let coordinates = coordinates(desk, &file.site);
    let schedules = schedules(desk, &file.schedule, &devices, coordinates);
    let counts = Counts { buses: file.bus.len(), devices: devices.len(), endpoints: file.endpoint.len() };
    let writings = writings(file, &devices, library);
    let own = own(desk, library, file.store.flash_per_day.is_some());
    let site = timezone.zip(console).zip(own).map(|((timezone, console), own)| Site {
        id: file.site.id.clone(),
        name: file.site.name.clone().unwrap_or_else(|| file.site.id.clone()),
        timezone,
        demo: file.site.demo,
        store,
        private,
        console,
        buses,
        devices,
        endpoints,
        overrides,
        customs,
        tariff,
        coordinates,
        schedules,
        digest: desk.document.sha256(),
        own,
        tape_memory,
        writings,
        profile_dirs,
        dir: desk.vault.dir.clone(),
    });
    (site, counts)
}

/// A bus that nothing hangs on: opened for nothing, or a device was forgotten.
fn idle(desk: &mut Desk<'_>, buses: &[KnownBus], devices: &[DeviceTable]) {
    let used: HashSet<&str> = devices.iter().map(|device| device.bus.as_str()).collect();
    for (n, bus) in buses.iter().enumerate() {
        if bus.kind.is_some() && !used.contains(bus.id.as_str()) {
            let id = &bus.id;
            desk.warning(
                at!["bus", n, "id"],
                text!("总线 \"{id}\" 上没有设备", "bus \"{id}\" has no devices"),
            );
        }
    }
}

/// Absolute, so that it holds whatever directory the daemon stands in.
fn directory_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_no_current_directory| path.to_owned());
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn timezone(desk: &mut Desk<'_>, site: &SiteTable) -> Option<TimeZone> {
    let name = &site.timezone;
    let zone = TimeZone::get(name).ok();
    if zone.is_none() {
        let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
        let near = crate::document::nearest(name, zones.iter().map(String::as_str));
        let told = text!("没有时区 \"{name}\"", "there is no time zone \"{name}\"");
        let near = near.unwrap_or("Asia/Shanghai");
        desk.error_with_help(at!["site", "timezone"], told, text!("例如 \"{near}\"", "such as \"{near}\""));
    }
    zone
}

fn store(desk: &mut Desk<'_>, file: &SiteFile, timezone: Option<&TimeZone>) -> store::Settings {
    let table = &file.store;
    for (key, size) in [("events_max", table.events_max), ("telemetry_max", table.telemetry_max)] {
        if size < LEAST_STORE {
            let told = text!(
                "\"{key}\" 至少 {LEAST_STORE}，这里是 {size}",
                "\"{key}\" is {LEAST_STORE} at least, not {size}"
            );
            desk.error(at!["store", key], told);
        }
    }
    for (key, keep) in [
        ("telemetry_keep", table.telemetry_keep),
        ("hourly_keep", table.hourly_keep),
        ("daily_keep", table.daily_keep),
    ] {
        if keep.0.as_secs() < 3600 {
            desk.error(at!["store", key], text!("读数至少保留 1h", "readings are kept for 1h at least"));
        }
    }
    let settings = store::Settings {
        dir: desk.vault.dir.join(&table.dir),
        events_max: table.events_max,
        telemetry_max: table.telemetry_max,
        telemetry_keep: table.telemetry_keep,
        hourly_keep: table.hourly_keep,
        daily_keep: table.daily_keep,
        flash_per_day: table.flash_per_day,
        flash_endurance: table.flash_endurance,
        // Without one there is no site.
        timezone: timezone.cloned().unwrap_or(TimeZone::UTC),
        reserve: table.reserve,
        suite: file.evidence.algorithms.into(),
    };
    // Whoever only looks at a store is not told how large it may grow.
    if desk.vault.secrets == Secrets::Read {
        warn_of_size(desk, &settings);
    }
    settings
}

/// At this size the gateway would not start here; the site may be meant for another box.
fn warn_of_size(desk: &mut Desk<'_>, settings: &store::Settings) {
    let Some(TooLarge { dir, wanted, holds, reserve, ballast, instead }) = settings.too_large(LEAST_STORE)
    else {
        return;
    };
    let store::Settings { events_max, telemetry_max, .. } = settings;
    let (dir, [wanted, holds]) = (dir.display(), [wanted, holds].map(|size| size.0.div_ceil(1 << 20)));
    let [reserve, ballast] = [reserve, ballast].map(|size| size.0 >> 20);
    let told = text!(
        "存储上限放不进 {dir} 所在的分区：events_max {events_max} + telemetry_max {telemetry_max} + 日志 + 压舱文件 {ballast} MiB + 预留 {reserve} MiB = {wanted} MiB，\
         分区总共 {holds} MiB；在这台机器上网关不会启动",
        "the limits do not fit the partition of {dir}: events_max {events_max} + telemetry_max {telemetry_max} + logs + ballast {ballast} MiB + reserve {reserve} MiB \
         make {wanted} MiB, and it holds {holds} MiB; on this machine the gateway would not start"
    );
    let help = match instead {
        Some(Instead { events_max, telemetry_max }) => text!(
            "例如 events_max = \"{events_max}\"，telemetry_max = \"{telemetry_max}\"；或把 dir 换到更大的分区",
            "such as events_max = \"{events_max}\", telemetry_max = \"{telemetry_max}\"; or put `dir` on a larger partition"
        ),
        None => text!("把 dir 换到更大的分区", "put `dir` on a larger partition"),
    };
    desk.warning_with_help(at!["store", "telemetry_max"], told, help);
}

fn tape_memory(desk: &mut Desk<'_>, table: &RecordTable) -> Size {
    if table.memory > MOST_TAPE {
        let memory = table.memory;
        let told = text!(
            "录制最多用 {MOST_TAPE} 内存，这里是 {memory}",
            "recording may take {MOST_TAPE} of memory at most, not {memory}"
        );
        desk.error(at!["record", "memory"], told);
    }
    table.memory
}

fn profile_dirs(desk: &mut Desk<'_>, site: &SiteTable) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for (n, dir) in site.profile_dirs.iter().enumerate() {
        let dir = desk.vault.dir.join(dir);
        let told = match fs::metadata(&dir).map(|about| about.is_dir()) {
            Ok(true) => {
                dirs.push(dir);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let dir = dir.display();
                text!("当前用户无权读取目录 {dir}", "this user may not read directory {dir}")
            }
            Ok(false) | Err(_) => {
                let dir = dir.display();
                text!("没有目录 {dir}", "there is no directory {dir}")
            }
        };
        desk.error(at!["site", "profile_dirs", n], told);
    }
    dirs
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
