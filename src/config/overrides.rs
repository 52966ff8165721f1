//! What a site changes of its classes' alarms, and which rules its devices cannot hold.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    alarm_table::AlarmTable,
    desk::{Desk, Taken},
    file::DeviceTable,
    over_time::{as_change, over_time},
};
use crate::{
    alarm::Override,
    at,
    domain::ProfileId,
    profile::{Class, ClassAlarm, Device, Library, Profile},
    text,
};

/// A person waits behind a matter of life: a rule that waits longer is as good as switched off.
const LONGEST_ON_DELAY: Duration = Duration::from_secs(600);

pub(super) fn overrides(
    desk: &mut Desk<'_>,
    written: &[AlarmTable],
    devices: &[Device],
    library: &Library,
) -> Vec<Override> {
    let classes: HashMap<&str, &Arc<Class>> =
        devices.iter().map(|device| (device.id.as_str(), &device.profile.class)).collect();
    let mut taken = Taken::new();
    for (n, table) in written.iter().enumerate() {
        let Some(class) = class(desk, n, table, &classes, library) else { continue };
        let name = &table.name;
        let path = at!["alarm", n, "name"];
        match class.alarms.iter().find(|alarm| alarm.name == *name) {
            Some(alarm) => allowed(desk, n, table, alarm),
            None => {
                let names: Vec<&str> = class.alarms.iter().map(|alarm| alarm.name.as_str()).collect();
                let class = &class.name;
                let told = text!(
                    "类别 \"{class}\" 没有报警 \"{name}\"",
                    "class \"{class}\" has no alarm \"{name}\""
                );
                desk.dangling(path, told, name, &names);
            }
        }
        let key = (table.class.clone(), table.device.clone(), name.clone());
        if let Some(line) = taken.before(key, desk.document.place(path)) {
            desk.error(
                path,
                text!("已改过一次（第 {line} 行）", "this alarm is overridden already (line {line})"),
            );
        }
    }
    written.iter().map(as_override).collect()
}

/// The class whose alarm is meant, by its name or by a device's.
fn class(
    desk: &mut Desk<'_>,
    n: usize,
    table: &AlarmTable,
    devices: &HashMap<&str, &Arc<Class>>,
    library: &Library,
) -> Option<Arc<Class>> {
    match (&table.class, &table.device) {
        (Some(name), None) => of_class(desk, n, name, library),
        (None, Some(id)) => of_device(desk, n, id, devices),
        (Some(name), Some(id)) => {
            // one of them goes; a wrong name in either is worth knowing before one chooses
            of_class(desk, n, name, library);
            of_device(desk, n, id, devices);
            let place = desk.document.key_place(at!["alarm", n, "device"]);
            let told =
                text!("class 和 device 只能写一个", "an override is for a class or for a device, not both");
            desk.problems.error(place, told);
            None
        }
        (None, None) => {
            let told = text!("要写 class 或 device", "`class` or `device` says whose alarm it is");
            desk.error(at!["alarm", n, "name"], told);
            None
        }
    }
}

fn of_class(desk: &mut Desk<'_>, n: usize, name: &str, library: &Library) -> Option<Arc<Class>> {
    let class = library.class(name);
    if class.is_none() {
        let names: Vec<&str> = library.class_names().map(|name| name.as_str()).collect();
        let told = text!("没有设备类别 \"{name}\"", "there is no class \"{name}\"");
        desk.dangling(at!["alarm", n, "class"], told, name, &names);
    }
    class
}

fn of_device(
    desk: &mut Desk<'_>,
    n: usize,
    id: &str,
    devices: &HashMap<&str, &Arc<Class>>,
) -> Option<Arc<Class>> {
    let class = devices.get(id).map(|class| Arc::clone(class));
    if class.is_none() {
        let ids: Vec<&str> = devices.keys().copied().collect();
        let told = text!("没有设备 \"{id}\"", "there is no device \"{id}\"");
        desk.dangling(at!["alarm", n, "device"], told, id, &ids);
    }
    class
}

fn allowed(desk: &mut Desk<'_>, n: usize, table: &AlarmTable, alarm: &ClassAlarm) {
    let name = &table.name;
    if alarm.life_safety && table.enabled == Some(false) {
        let told = text!(
            "\"{name}\" 关系人身安全，不能关闭",
            "\"{name}\" is a matter of life and cannot be switched off"
        );
        desk.error(at!["alarm", n, "enabled"], told);
    }
    if alarm.life_safety && alarm.latching && table.latching == Some(false) {
        let told = text!(
            "\"{name}\" 关系人身安全，必须由人关闭",
            "\"{name}\" is a matter of life: a person must close it"
        );
        desk.error(at!["alarm", n, "latching"], told);
    }
    if alarm.life_safety {
        as_urgent(desk, n, table, alarm);
    }
    let AlarmTable {
        class: _,
        device: _,
        name: _,
        on_delay,
        off_delay,
        priority,
        latching,
        enabled,
        rescue_within,
        count,
        rate,
        stuck,
    } = table;
    rescue(desk, n, table, alarm);
    over_time(desk, n, table, alarm);
    let none = on_delay.is_none()
        && off_delay.is_none()
        && priority.is_none()
        && latching.is_none()
        && enabled.is_none()
        && rescue_within.is_none()
        && count.is_none()
        && rate.is_none()
        && stuck.is_none();
    if none {
        desk.warning(at!["alarm", n, "name"], text!("这一条什么也没改", "this override changes nothing"));
    }
}

/// An alarm of life can be switched off by a number as well as by `enabled`.
fn as_urgent(desk: &mut Desk<'_>, n: usize, table: &AlarmTable, alarm: &ClassAlarm) {
    let name = &table.name;
    if table.on_delay.is_some_and(|delay| Duration::from(delay) > LONGEST_ON_DELAY) {
        let told = text!(
            "\"{name}\" 关系人身安全，on_delay 不能超过 10m",
            "\"{name}\" is a matter of life: its on_delay may not be over 10m"
        );
        desk.error(at!["alarm", n, "on_delay"], told);
    }
    if table.priority.is_some_and(|priority| priority > alarm.priority) {
        let told = text!(
            "\"{name}\" 关系人身安全，这里的优先级低于类别所定",
            "\"{name}\" is a matter of life, and this priority is below its class's"
        );
        desk.warning(at!["alarm", n, "priority"], told);
    }
}

fn rescue(desk: &mut Desk<'_>, n: usize, table: &AlarmTable, alarm: &ClassAlarm) {
    let Some(within) = table.rescue_within else { return };
    let name = &table.name;
    let path = at!["alarm", n, "rescue_within"];
    if alarm.rescue_within.is_none() {
        let told = text!("\"{name}\" 没有救援计时", "\"{name}\" has no rescue clock");
        desk.error(path, told);
    } else if within.0.is_zero() || within.0 > Duration::from_secs(86_400) {
        desk.error(path, text!("须大于 0，不超过 1d", "it is more than 0 and 1d at most"));
    }
}

fn as_override(table: &AlarmTable) -> Override {
    Override {
        device: table.device.clone(),
        class: table.class.clone(),
        name: table.name.clone(),
        on_delay: table.on_delay.map(Into::into),
        off_delay: table.off_delay.map(Into::into),
        priority: table.priority,
        latching: table.latching,
        enabled: table.enabled,
        rescue_within: table.rescue_within.map(Into::into),
        over_time: as_change(table),
    }
}

/// A note for each profile that lacks points which alarms of its class speak of: those alarms are off there.
pub(super) fn rules_off(desk: &mut Desk<'_>, written: &[DeviceTable], library: &Library) {
    let mut seen: BTreeSet<&ProfileId> = BTreeSet::new();
    for (n, table) in written.iter().enumerate() {
        let Some(profile) = library.profile(&table.profile).filter(|_| seen.insert(&table.profile)) else {
            continue;
        };
        let off: Vec<String> = profile.class.alarms.iter().filter_map(|alarm| off(&profile, alarm)).collect();
        if !off.is_empty() {
            let (id, off) = (&profile.id, off.join(", "));
            let place = desk.document.place(at!["device", n, "profile"]);
            let told = text!(
                "型号 {id} 缺少测点，这些报警不启用：{off}",
                "profile {id} lacks points, so these alarms are off: {off}"
            );
            desk.problems.note(place, told);
        }
    }
}

/// `alarm (point, point)` if the profile lacks points that the rule speaks of. An expression that cannot be read is the
/// class's mistake and told there.
fn off(profile: &Profile, alarm: &ClassAlarm) -> Option<String> {
    let has = |name: &String| profile.points.iter().any(|point| point.name.as_str() == name);
    let of_class = |name: &String| profile.class.points.iter().any(|point| point.name.as_str() == name);
    let lacking: Vec<String> =
        alarm.points_named().into_iter().filter(|name| of_class(name) && !has(name)).collect();
    let name = &alarm.name;
    (!lacking.is_empty()).then(|| format!("{name} ({})", lacking.join(", ")))
}
