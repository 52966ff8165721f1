//! `[endpoint.mqtt]`: broker, topics, receipts, and what may come back.

use std::time::Duration;

use super::{brokers::broker, desk::Desk, templates::Fleet, wording::Wording};
use crate::{
    at,
    document::Step,
    domain::ClassName,
    profile::Library,
    text,
    uplink::{
        Wants,
        mqtt::{
            Commands, Place, Receiver, Template,
            config::{Receipt, Settings},
        },
    },
};

/// A letter holds its place in the window meanwhile.
const LONGEST_RECEIPT: Duration = Duration::from_secs(600);

/// `site`: its id, which may stand in topics. `wants`: what the endpoint is told, for a body template to be tried on.
pub(super) fn mqtt_receiver(
    desk: &mut Desk<'_>,
    n: usize,
    settings: &Settings,
    site: &str,
    (wants, fleet): (&Wants, Fleet<'_>),
) -> Option<Receiver> {
    let table = || ["endpoint".into(), n.into(), "mqtt".into()];
    let key = |key: &'static str| at_key(n, key);
    let broker = broker(desk, table(), &settings.into());
    let wording = Wording {
        table: "mqtt",
        template: settings.template.as_ref(),
        content_type: settings.content_type.as_deref(),
        code_table: settings.code_table.as_deref(),
        codes: &settings.codes,
    };
    let body = wording.checked(desk, n, (wants, fleet));
    let topic = template(desk, &key("topic"), &settings.topic, &Place::ALL);
    let mut own = |name: &'static str, text: &str| {
        let path = key(name);
        template(desk, &path, text, &[Place::Site]).map(|topic| topic.for_site(site))
    };
    let readings_topic = own("readings_topic", &settings.readings_topic);
    let receipt_topic = match &settings.receipt {
        Receipt::Puback => Some(None),
        Receipt::Topic(topic) => own("receipt", topic).map(Some),
    };
    let ack_topic = settings.ack_topic.as_ref().map(|topic| own("ack_topic", topic));
    let command_topic = settings.command_topic.as_ref().map(|topic| own("command_topic", topic));
    let commands = commands(desk, n, settings, fleet.profiles);
    if command_topic.is_none() && !settings.commands.is_empty() {
        desk.error(
            &key("commands"),
            text!("有 commands 就要写 command_topic", "commands need a command_topic to come in by"),
        );
    }
    apart(desk, n, settings);
    let within: Duration = settings.receipt_within.into();
    if within < Duration::from_secs(1) || within > LONGEST_RECEIPT {
        desk.error(&key("receipt_within"), text!("须在 1s 到 10m 之间", "it is from 1s to 10m"));
    }
    let command_topic = command_topic.map_or(Some(None), |topic| topic.map(Some))?;
    Some(Receiver {
        broker: broker?,
        topic: topic?,
        template: body,
        readings_topic: readings_topic?,
        receipt_topic: receipt_topic?,
        receipt_within: settings.receipt_within.into(),
        ack_topic: ack_topic.map_or(Some(None), |topic| topic.map(Some))?,
        commands: command_topic.map(|topic| (topic, commands)),
    })
}

fn at_key(n: usize, key: &'static str) -> [Step<'static>; 4] {
    ["endpoint".into(), n.into(), "mqtt".into(), key.into()]
}

fn template(desk: &mut Desk<'_>, path: &[Step<'_>], text: &str, places: &[Place]) -> Option<Template> {
    Template::parse(text, places).map_err(|fault| desk.error(path, fault.words(places))).ok()
}

/// What comes back is told apart by its topic.
fn apart(desk: &mut Desk<'_>, n: usize, settings: &Settings) {
    let receipt = match &settings.receipt {
        Receipt::Puback => None,
        Receipt::Topic(topic) => Some(topic),
    };
    let topics = [
        ("receipt", receipt),
        ("ack_topic", settings.ack_topic.as_ref()),
        ("command_topic", settings.command_topic.as_ref()),
    ];
    for (m, (key, topic)) in topics.iter().enumerate() {
        let same = topics[..m].iter().find(|(_, before)| before.is_some() && before == topic);
        if let Some((first, _)) = same {
            let told = text!("与 {first} 是同一个主题", "this is the topic of {first} already");
            desk.error(&at_key(n, key), told);
        }
    }
}

fn commands(desk: &mut Desk<'_>, n: usize, settings: &Settings, library: &Library) -> Commands {
    let mut allowed = Vec::new();
    for (m, written) in settings.commands.iter().enumerate() {
        let path = at!["endpoint", n, "mqtt", "commands", m];
        let Some((class, command)) = written.split_once('/') else {
            let told = text!(
                "应写成 \"类别/命令\"，例如 \"street-light/set_dimming\"",
                "it is written \"class/command\", such as \"street-light/set_dimming\""
            );
            desk.error(path, told);
            continue;
        };
        let names: Vec<&str> = library.class_names().map(ClassName::as_str).collect();
        let Some(known) = library.class(class) else {
            let told = text!("没有设备类别 \"{class}\"", "there is no class \"{class}\"");
            desk.dangling(path, told, class, &names);
            continue;
        };
        if known.is_never_told() {
            let told = text!(
                "\"{class}\" 只读不写，不接受任何命令",
                "\"{class}\" is never written to: nobody commands it"
            );
            desk.error(path, told);
            continue;
        }
        allowed.push((class.into(), command.into()));
    }
    Commands(allowed)
}
