//! Schedules: each with its devices, a command that all of them have, and a time of day.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};

use super::{
    desk::{Desk, Taken},
    file::{DayOfWeek, ScheduleTable, SiteTable},
};
use crate::{
    at,
    domain::{
        sun::{Coordinates, sun},
        timetable::{At, Schedule},
    },
    profile::Device,
    text,
};

/// Where the sun is lowest and highest: if it rises and sets on these, it does on all others.
const SOLSTICES: [(i16, i8, i8); 2] = [(2026, 6, 21), (2026, 12, 21)];

pub(super) fn coordinates(desk: &mut Desk<'_>, site: &SiteTable) -> Option<Coordinates> {
    let within = |desk: &mut Desk<'_>, key, degrees: f64, most: f64| {
        let good = (-most..=most).contains(&degrees);
        if !good {
            let told =
                text!("\"{key}\" 应在 -{most} 到 {most} 之间", "\"{key}\" is between -{most} and {most}");
            desk.error(at!["site", key], told);
        }
        good
    };
    match (site.latitude, site.longitude) {
        (Some(latitude), Some(longitude)) => {
            let good = within(desk, "latitude", latitude, 90.0) & within(desk, "longitude", longitude, 180.0);
            good.then_some(Coordinates { latitude, longitude })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let told = text!("latitude 和 longitude 要一起写", "`latitude` and `longitude` go together");
            let key = if site.latitude.is_some() { "latitude" } else { "longitude" };
            desk.error(at!["site", key], told);
            None
        }
    }
}

pub(super) fn schedules(
    desk: &mut Desk<'_>,
    written: &[ScheduleTable],
    devices: &[Device],
    site: Option<Coordinates>,
) -> Vec<Schedule> {
    let mut taken = Taken::new();
    let mut schedules = Vec::new();
    for (n, table) in written.iter().enumerate() {
        let path = at!["schedule", n, "id"];
        desk.kebab(path, &table.id);
        if let Some(line) = taken.before(table.id.clone(), desk.document.place(path)) {
            let id = &table.id;
            desk.error(
                path,
                text!("\"{id}\" 已在第 {line} 行用过", "\"{id}\" is taken already (line {line})"),
            );
        }
        sun_is_known(desk, n, table, site);
        let told = meant(desk, n, table, devices);
        let devices =
            told.into_iter().filter(|device| takes(desk, n, table, device)).map(|device| device.id.clone());
        schedules.push(Schedule {
            id: table.id.clone(),
            devices: devices.collect(),
            command: table.command.clone(),
            value: table.value.0.clone(),
            at: table.at,
            days: table.days.iter().map(|day| Weekday::from(*day)).collect(),
        });
    }
    schedules
}

fn sun_is_known(desk: &mut Desk<'_>, n: usize, table: &ScheduleTable, site: Option<Coordinates>) {
    let At::Sun { event, .. } = table.at else { return };
    let path = at!["schedule", n, "at"];
    let Some(site) = site else {
        let told = text!(
            "按太阳定时，要在 [site] 写 latitude 和 longitude",
            "the sun needs `latitude` and `longitude` in [site]"
        );
        desk.error(path, told);
        return;
    };
    let days = SOLSTICES.into_iter().filter_map(|(year, month, day)| Date::new(year, month, day).ok());
    if days.into_iter().any(|day| sun(event, site, day).is_none()) {
        let told = text!(
            "这里有些日子太阳不升或不落，那些日子不执行",
            "here the sun does not rise or set on some days: nothing is told on those"
        );
        desk.warning(path, told);
    }
}

/// The devices that are meant, whatever they can be told.
fn meant<'d>(desk: &mut Desk<'_>, n: usize, table: &ScheduleTable, devices: &'d [Device]) -> Vec<&'d Device> {
    let tagged = |device: &&Device| table.tags.iter().all(|(key, value)| device.tags.get(key) == Some(value));
    match (&table.device, &table.class) {
        (Some(id), None) => {
            let found = devices.iter().find(|device| device.id == *id);
            if found.is_none() {
                let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
                let told = text!("没有设备 \"{id}\"", "there is no device \"{id}\"");
                desk.dangling(at!["schedule", n, "device"], told, id, &ids);
            }
            found.into_iter().collect()
        }
        (None, Some(class)) => {
            let all: Vec<&Device> =
                devices.iter().filter(|device| device.profile.class.name == *class).filter(tagged).collect();
            if all.is_empty() {
                let classes: BTreeSet<&str> =
                    devices.iter().map(|device| device.profile.class.name.as_str()).collect();
                let classes: Vec<&str> = classes.into_iter().collect();
                let told =
                    text!("没有这样的 \"{class}\" 设备", "there is no such device of class \"{class}\"");
                desk.dangling(at!["schedule", n, "class"], told, class, &classes);
            }
            all
        }
        (Some(_), Some(_)) | (None, None) => {
            let told = text!("写 device 或 class，二者之一", "`device` or `class`, one of the two");
            desk.error(at!["schedule", n], told);
            Vec::new()
        }
    }
}

/// Whether `device` can be told so. What is wrong with a product is told once.
fn takes(desk: &mut Desk<'_>, n: usize, table: &ScheduleTable, device: &Device) -> bool {
    let profile = &device.profile;
    if profile.class.is_never_told() {
        let told = text!("电梯只读不写", "an elevator is never told anything");
        let key = if table.device.is_some() { "device" } else { "class" };
        desk.error(at!["schedule", n, key], told);
        return false;
    }
    let Some(command) = profile.command(&table.command) else {
        let (name, product) = (&table.command, &profile.id);
        let known: Vec<&str> = profile.commands.iter().map(|command| command.name.as_str()).collect();
        let told = text!("{product} 没有命令 \"{name}\"", "{product} has no command \"{name}\"");
        desk.dangling(at!["schedule", n, "command"], told, name, &known);
        return false;
    };
    if let Err(unfit) = command.setting(&table.value.0) {
        let (product, why) = (&profile.id, unfit.text());
        let (zh, en) = (why.zh, why.en);
        desk.error(at!["schedule", n, "value"], text!("{product}：{zh}", "{product}: {en}"));
        return false;
    }
    true
}

impl From<DayOfWeek> for Weekday {
    fn from(day: DayOfWeek) -> Weekday {
        match day {
            DayOfWeek::Mon => Weekday::Monday,
            DayOfWeek::Tue => Weekday::Tuesday,
            DayOfWeek::Wed => Weekday::Wednesday,
            DayOfWeek::Thu => Weekday::Thursday,
            DayOfWeek::Fri => Weekday::Friday,
            DayOfWeek::Sat => Weekday::Saturday,
            DayOfWeek::Sun => Weekday::Sunday,
        }
    }
}
