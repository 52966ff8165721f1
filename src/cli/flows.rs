//! `gatehouse check --flows`: what leaves this box, to whom and why, and what is withheld. By the rules that the router and
//! the envelope go by, over the devices that the site has.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    alarm::RuleBook,
    app::own,
    config::{Endpoint, Site},
    domain::{AlarmName, ClassName, DataClass, DeviceId, Lang, PointName, Priority, Text},
    profile::Device,
    say,
};

/// One endpoint; as it stands under `--json`.
#[derive(Serialize)]
struct Flow<'a> {
    endpoint: &'a str,
    purpose: &'static str,
    why: Text,
    /// Scheme, host and port.
    to: String,
    encrypted: bool,
    alarms: Vec<AlarmFlow>,
    /// What goes along with them.
    data: Vec<Field>,
    withheld: Vec<Field>,
    /// Who acknowledged an alarm, and the note.
    person: bool,
    tags: bool,
    readings: bool,
    /// Points that are given.
    credits: bool,
    /// What may come back.
    acknowledgements: Option<&'a str>,
    commands: Vec<String>,
    /// Data classes it gets and its purpose does not need.
    not_needed: Vec<DataClass>,
}

#[derive(Debug, PartialEq, Serialize)]
struct AlarmFlow {
    class: ClassName,
    alarm: AlarmName,
    title: Text,
    priority: Priority,
    devices: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Field {
    data: DataClass,
    class: ClassName,
    point: PointName,
    /// It goes to the service that keeps the points, and to nobody else.
    #[serde(skip)]
    card: bool,
}

pub(super) fn write_text(site: &Site, lang: Lang, out: &mut impl Write) -> io::Result<()> {
    if site.endpoints.is_empty() {
        let told = say!(lang, "没有上报目标：什么都不离开本机\n", "no endpoints: nothing leaves this box\n");
        return writeln!(out, "{told}");
    }
    for flow in flows(site) {
        write_flow(&flow, lang, out)?;
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn write_json(site: &Site, out: &mut impl Write) -> io::Result<()> {
    for flow in flows(site) {
        serde_json::to_writer(&mut *out, &flow)?;
        writeln!(out)?;
    }
    Ok(())
}

fn flows(site: &Site) -> Vec<Flow<'_>> {
    let own = own::all(site);
    let classes_on = own::classes(&site.buses, &site.devices);
    let devices: Vec<(&Device, BTreeSet<ClassName>)> =
        site.devices.iter().chain(&own).map(|device| (device, classes_of(device, &classes_on))).collect();
    site.endpoints.iter().map(|endpoint| flow(site, endpoint, &devices)).collect()
}

/// Its own, and for a line those of the devices on it, for the store those of all devices.
fn classes_of(
    device: &Device,
    classes_on: &std::collections::HashMap<DeviceId, BTreeSet<ClassName>>,
) -> BTreeSet<ClassName> {
    let own = device.profile.class.name.clone();
    classes_on.get(&device.id).into_iter().flatten().cloned().chain([own]).collect()
}

fn flow<'a>(site: &'a Site, endpoint: &'a Endpoint, devices: &[(&Device, BTreeSet<ClassName>)]) -> Flow<'a> {
    let wants = &endpoint.wants;
    let mut alarms: BTreeMap<(ClassName, Priority, AlarmName), (Text, usize)> = BTreeMap::new();
    let mut fields = BTreeSet::new();
    let mut book = RuleBook::new(&site.overrides);
    for (device, classes) in devices {
        // a rule that is not valid keeps the gateway from starting, and says so there
        let rules = book.of(&device.id, &device.profile).unwrap_or_default();
        let wanted = rules.on.iter().filter(|rule| {
            wants.is_alarm_wanted(rule.alarm.priority, classes.iter())
                || site.customs.escalation.calls(&endpoint.id, rule.alarm.priority)
        });
        let mut any = wants.readings && wants.classes.contains(&device.profile.class.name);
        for rule in wanted {
            any = true;
            let key = (device.profile.class.name.clone(), rule.alarm.priority, rule.alarm.name.clone());
            alarms.entry(key).or_insert_with(|| (rule.alarm.title.clone(), 0)).1 += 1;
        }
        if any {
            fields.extend(fields_of(device));
        }
    }
    let sees = |field: &Field| if field.card { wants.may_see_card() } else { wants.may_see(field.data) };
    let (data, withheld) = fields.into_iter().partition(sees);
    let alarms = alarms.into_iter().map(|((class, priority, alarm), (title, devices))| AlarmFlow {
        class,
        alarm,
        title,
        priority,
        devices,
    });
    let not_needed = DataClass::ALL.into_iter().filter(|data| wants.may_see(*data));
    Flow {
        endpoint: &endpoint.id,
        purpose: endpoint.purpose.word(),
        why: endpoint.purpose.title(),
        to: endpoint.receiver.place(),
        encrypted: endpoint.receiver.is_encrypted(),
        alarms: alarms.collect(),
        data,
        withheld,
        person: wants.may_see(DataClass::Personal),
        tags: wants.may_see(DataClass::Operational),
        readings: wants.readings,
        credits: wants.credits,
        acknowledgements: endpoint.receiver.ack_topic(),
        commands: endpoint.receiver.commands(),
        not_needed: not_needed.filter(|data| !endpoint.purpose.needs(*data)).collect(),
    }
}

fn fields_of(device: &Device) -> impl Iterator<Item = Field> {
    let class = &device.profile.class;
    device.profile.points.iter().map(|point| {
        let standard = &class.points[point.class_point];
        Field {
            data: standard.data,
            class: class.name.clone(),
            point: standard.name.clone(),
            card: standard.card,
        }
    })
}

fn write_flow(flow: &Flow<'_>, lang: Lang, out: &mut impl Write) -> io::Result<()> {
    let (id, why, to) = (flow.endpoint, flow.why.get(lang), &flow.to);
    let how = match flow.encrypted {
        true => say!(lang, "加密", "encrypted"),
        false => say!(lang, "不加密", "in clear text"),
    };
    writeln!(out, "{}", say!(lang, "{id} · {why} → {to}（{how}）", "{id} · {why} → {to} ({how})"))?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (label, what) in rows(flow, lang) {
        table.add_row([format!("  {label}"), what]);
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// What each line says: a label and what it is about.
fn rows(flow: &Flow<'_>, lang: Lang) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let nothing = || say!(lang, "无", "nothing");
    if flow.alarms.is_empty() {
        rows.push((say!(lang, "报警", "alarms"), nothing()));
    }
    for ((class, priority), alarms) in by_class(&flow.alarms) {
        let names: Vec<String> = alarms
            .iter()
            .map(|alarm| format!("{} {} ×{}", alarm.alarm, alarm.title.get(lang), alarm.devices))
            .collect();
        let priority = priority_word(priority, lang);
        rows.push((say!(lang, "报警 {class} {priority}", "alarms {class} {priority}"), names.join(", ")));
    }
    for (data, points) in by_data(&flow.data) {
        let (word, points) = (data.title().get(lang).to_owned(), points.join(", "));
        rows.push((say!(lang, "随同带出 {word}", "with it {word}"), points));
    }
    for (data, points) in by_data(&flow.withheld) {
        let (word, points) = (data.title().get(lang).to_owned(), points.join(", "));
        rows.push((say!(lang, "不送 {word}", "withheld {word}"), points));
    }
    let person = say!(lang, "确认人的姓名和备注", "name and note of who acknowledges");
    let tags = say!(lang, "设备标签", "the devices' tags");
    for (goes, what) in [(flow.person, person), (flow.tags, tags)] {
        rows.push((
            if goes { say!(lang, "随同带出", "with it") } else { say!(lang, "不送", "withheld") },
            what,
        ));
    }
    rows.push((
        say!(lang, "读数", "readings"),
        if flow.readings { say!(lang, "成批上传", "uploaded in batches") } else { nothing() },
    ));
    if flow.credits {
        rows.push((say!(lang, "积分", "credits"), say!(lang, "逐笔送出", "each, as it is given")));
    }
    if let Some(topic) = flow.acknowledgements {
        rows.push((
            say!(lang, "可以回传", "may come back"),
            say!(lang, "报警确认，{topic}", "acknowledgements, {topic}"),
        ));
    }
    if !flow.commands.is_empty() {
        let commands = flow.commands.join(", ");
        rows.push((
            say!(lang, "可以回传", "may come back"),
            say!(lang, "命令 {commands}", "commands {commands}"),
        ));
    }
    if !flow.not_needed.is_empty() {
        let words: Vec<String> =
            flow.not_needed.iter().map(|data| data.title().get(lang).to_owned()).collect();
        let words = words.join(", ");
        rows.push((
            say!(lang, "用途不需要", "beyond its purpose"),
            say!(lang, "{words}：请确认依据", "{words}: have a reason for it"),
        ));
    }
    rows
}

fn by_class(alarms: &[AlarmFlow]) -> Vec<((&ClassName, Priority), Vec<&AlarmFlow>)> {
    let mut groups: BTreeMap<(&ClassName, Priority), Vec<&AlarmFlow>> = BTreeMap::new();
    for alarm in alarms {
        groups.entry((&alarm.class, alarm.priority)).or_default().push(alarm);
    }
    groups.into_iter().collect()
}

fn by_data(fields: &[Field]) -> BTreeMap<DataClass, Vec<String>> {
    let mut groups: BTreeMap<DataClass, Vec<String>> = BTreeMap::new();
    for Field { data, class, point, .. } in fields {
        groups.entry(*data).or_default().push(format!("{class}/{point}"));
    }
    groups
}

fn priority_word(priority: Priority, lang: Lang) -> String {
    match priority {
        Priority::Critical => say!(lang, "危急", "critical"),
        Priority::High => say!(lang, "高", "high"),
        Priority::Medium => say!(lang, "中", "medium"),
        Priority::Low => say!(lang, "低", "low"),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::config;

    const SITE: &str = "[site]\nid = 'yard'\n\
        [[bus]]\nid = 'gates'\nserial = { port = '/dev/ttyS8' }\n\
        [[device]]\nid = 'gate'\nprofile = 'access-gate/osdp-v2-reader'\nbus = 'gates'\naddress = '1'\n\
        [[endpoint]]\nid = 'police'\npurpose = 'public-security'\n\
        http = { url = 'https://police.example:8443/api?key=1' }\n\
        wants = { classes = ['access-gate'], priorities = ['critical', 'high', 'medium', 'low'], data = ['security'] }\n\
        [[endpoint]]\nid = 'city'\npurpose = 'city-platform'\n\
        mqtt = { url = 'mqtt://city.example', client_id = 'yard', ack_topic = 'yard/acks' }\n\
        wants = { classes = ['access-gate'], priorities = ['critical'], data = ['operational', 'personal'], readings = true }\n\
        [[endpoint]]\nid = 'nobody'\npurpose = 'service'\nhttp = { url = 'http://127.0.0.1:9' }\n";

    fn site() -> Site {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("gatehouse.toml");
        std::fs::write(&file, SITE).unwrap();
        config::look(&file).expect("nothing is wrong with it")
    }

    #[test]
    fn each_endpoint_tells_what_goes_and_what_does_not() {
        let mut out = Vec::new();
        write_json(&site(), &mut out).unwrap();
        let flows: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [police, city, nobody] = &flows[..] else { panic!("{flows:?}") };
        assert_eq!(
            (&police["to"], &police["encrypted"]),
            (&"https://police.example:8443".into(), &true.into())
        );
        let points = |flow: &serde_json::Value, key: &str, data: &str| {
            let fields = flow[key].as_array().unwrap().iter().filter(|field| field["data"] == data);
            fields.map(|field| field["point"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let told = police["alarms"].as_array().unwrap();
        for class in ["access-gate", "gateway-store"] {
            assert!(told.iter().any(|alarm| alarm["class"] == class), "{class}: {police}");
        }
        assert!(!points(police, "data", "security").is_empty(), "{police}");
        assert!(points(police, "data", "personal").is_empty(), "{police}");
        assert!(points(police, "withheld", "personal").contains(&"card".to_owned()), "{police}");
        assert_eq!((&police["person"], &police["tags"]), (&false.into(), &false.into()));
        assert_eq!(police["not_needed"], serde_json::json!([]));
        assert_eq!((&city["to"], &city["encrypted"]), (&"mqtt://city.example:1883".into(), &false.into()));
        assert_eq!(city["acknowledgements"], "yard/acks");
        assert!(points(city, "data", "personal").contains(&"card".to_owned()), "by its readings: {city}");
        assert_eq!(city["not_needed"], serde_json::json!(["personal"]));
        for key in ["alarms", "data", "withheld"] {
            assert_eq!(nobody[key], serde_json::json!([]), "{key}");
        }
    }

    #[test]
    fn the_table_speaks_both_languages() {
        for (lang, parts) in [
            (Lang::Zh, ["police · 公安 → https://police.example:8443（加密）", "不送 个人", "用途不需要"]),
            (
                Lang::En,
                [
                    "city · city platform → mqtt://city.example:1883 (in clear text)",
                    "withheld personal",
                    "beyond its purpose",
                ],
            ),
        ] {
            let mut out = Vec::new();
            write_text(&site(), lang, &mut out).unwrap();
            let said = String::from_utf8(out).unwrap();
            parts.iter().for_each(|part| assert!(said.contains(part), "{part}:\n{said}"));
            assert!(!said.contains("key=1"), "a url's query may hold a secret:\n{said}");
        }
    }
}
