//! `<maker>-<model>.toml` → [`Profile`].

use std::{collections::BTreeMap, sync::Arc};

use super::{Check, class::titled};
use crate::{
    at,
    document::{Document, Problems, Step},
    domain::ClassName,
    profile::{Class, Link, Profile, decode::Decoder, product::Point, quick::Quick, schema::ProfileFile},
    text,
};

/// The profile that `document` describes, or `None` and what is wrong with it in `problems`. `classes` are those there
/// are; `None` stands for one whose own file has errors.
pub fn compile_profile(
    document: &Document,
    classes: &BTreeMap<ClassName, Option<Arc<Class>>>,
    problems: &mut Problems,
) -> Option<Profile> {
    let mut found = Problems::default();
    let profile = document.read::<ProfileFile>(&mut found).and_then(|file| {
        let mut check = Check { document, problems: &mut found };
        let class = check.class_of(at!["profile"], &file.profile, classes);
        check.profile(file, class?)
    });
    let sound = !found.has_errors();
    problems.extend(found);
    profile.filter(|_| sound)
}

impl Check<'_> {
    /// The class of what is called `id` at `path`: the part before its slash.
    pub(super) fn class_of(
        &mut self,
        path: &[Step<'_>],
        id: &str,
        classes: &BTreeMap<ClassName, Option<Arc<Class>>>,
    ) -> Option<Arc<Class>> {
        let name = id.split_once('/').map_or(id, |(class, _)| class);
        match classes.get(name) {
            Some(Some(class)) => Some(class.clone()),
            Some(None) => {
                let told = text!("类别 \"{name}\" 自己的文件有错", "the file of class \"{name}\" has errors");
                self.error(path, told);
                None
            }
            None => {
                let told = text!("没有类别 \"{name}\"", "there is no class \"{name}\"");
                self.unknown(path, told, name, classes.keys().map(|class| class.as_str()));
                None
            }
        }
    }

    fn profile(&mut self, file: ProfileFile, class: Arc<Class>) -> Option<Profile> {
        self.duplicates("point", file.point.iter().map(|point| point.name.as_str()));
        let found = self.link_and_points(&file, &class);
        let points = found.as_ref().map(|(_, _, points)| points.as_slice()).unwrap_or_default();
        let commands = self.commands(&file, &class, points);
        let (link, decoder, mut points) = found?;
        let credit = self.credit(&file, &class, &mut points);
        self.required_points(&points, &class);
        Some(Profile {
            title: titled(file.title, &file.profile),
            id: file.profile.into(),
            revision: file.revision,
            products: file.products,
            source: file.source,
            class,
            quick: Quick::of(&points),
            points,
            commands,
            link,
            decoder,
            credit,
        })
    }

    /// By the one protocol table that the file has.
    fn link_and_points(&mut self, file: &ProfileFile, class: &Class) -> Option<(Link, Decoder, Vec<Point>)> {
        const MOST_POINTS: usize = 1000;
        if file.point.is_empty() {
            self.error(at![], text!("一个测点也没有", "there is no point at all"));
        }
        if file.point.len() > MOST_POINTS {
            self.error(at!["point"], text!("最多 {MOST_POINTS} 个测点", "more than {MOST_POINTS} points"));
            return None;
        }
        let tables = [
            ("modbus", file.modbus.is_some()),
            ("mqtt", file.mqtt.is_some()),
            ("serial", file.serial.is_some()),
            ("dlt645", file.dlt645.is_some()),
        ];
        let written: Vec<&str> = tables.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect();
        if let [_, .., second] = written[..] {
            let told = text!(
                "[modbus]、[mqtt]、[serial]、[dlt645] 只能有一个",
                "only one of [modbus], [mqtt], [serial] and [dlt645]"
            );
            self.key_error(at![second], told);
            return None;
        }
        let points = &file.point;
        let modbus = file.modbus.as_ref().map(|table| self.modbus(table, points, class));
        let mqtt = file.mqtt.as_ref().map(|table| self.mqtt(table, points, class));
        let serial = file.serial.as_ref().map(|table| self.serial(table, points, class));
        let dlt645 = file.dlt645.as_ref().map(|table| self.dlt645(table, points, class));
        let found = modbus.or(mqtt).or(serial).or(dlt645);
        if found.is_none() {
            let told = text!(
                "缺少 [modbus]、[mqtt]、[serial] 或 [dlt645]：怎样与设备通信",
                "[modbus], [mqtt], [serial] or [dlt645] is missing: how the device is spoken to"
            );
            self.error(at![], told);
        }
        found
    }

    fn required_points(&mut self, points: &[Point], class: &Class) {
        let missing = class
            .points
            .iter()
            .filter(|of_class| of_class.required && !points.iter().any(|point| point.name == of_class.name));
        for point in missing {
            let name = &point.name;
            let told = text!(
                "缺少这个类别必备的测点 \"{name}\"",
                "the point \"{name}\", which every device of the class should have, is missing"
            );
            self.warning(at!["profile"], told);
        }
    }
}
