//! Endpoints: who is told, what, by which login and which receipt rule; secrets and certificates read.

use std::time::Duration;

use super::{
    Endpoint, Receiver,
    desk::{Desk, Taken},
    drill::drill,
    file::EndpointTable,
    http_receiver::http_receiver,
    mqtt_receiver::mqtt_receiver,
    templates::Fleet,
};
use crate::{
    at,
    domain::{DataClass, Text},
    profile::Library,
    text,
    uplink::Wants,
};

/// `site`: its id.
pub(super) fn endpoints(
    desk: &mut Desk<'_>,
    written: &[EndpointTable],
    site: &str,
    fleet: Fleet<'_>,
) -> Vec<Endpoint> {
    let mut ids = Taken::new();
    let mut endpoints = Vec::new();
    for (n, table) in written.iter().enumerate() {
        let (id, path) = (&table.id, at!["endpoint", n, "id"]);
        desk.kebab(path, id);
        if let Some(line) = ids.before(id.clone(), desk.document.place(path)) {
            let told = text!(
                "上报目标 \"{id}\" 重复（第 {line} 行已有）",
                "endpoint \"{id}\" is there twice (line {line})"
            );
            desk.error(path, told);
        }
        wants(desk, n, table, fleet.profiles);
        let drill = table.drill.as_ref().and_then(|table| drill(desk, n, table));
        let receiver = of_table(desk, n, table, (site, fleet));
        if let Some(receiver) = &receiver {
            clear_text(desk, n, table, receiver);
        }
        endpoints.extend(receiver.map(|receiver| Endpoint {
            id: id.clone(),
            purpose: table.purpose,
            wants: Wants { cards: table.purpose.keeps_cards(), ..table.wants.clone() },
            receiver,
            drill,
            upload_every: table.upload.every.into(),
        }));
    }
    endpoints
}

/// `site`: its id, which may stand in topics.
fn of_table(
    desk: &mut Desk<'_>,
    n: usize,
    table: &EndpointTable,
    (site, fleet): (&str, Fleet<'_>),
) -> Option<Receiver> {
    let (id, path) = (&table.id, at!["endpoint", n, "id"]);
    match (&table.http, &table.mqtt) {
        (Some(settings), None) => {
            http_receiver(desk, n, settings, (&table.wants, fleet)).map(Box::new).map(Receiver::Http)
        }
        (None, Some(settings)) => {
            mqtt_receiver(desk, n, settings, site, (&table.wants, fleet)).map(Box::new).map(Receiver::Mqtt)
        }
        (Some(_), Some(_)) => {
            let told = text!(
                "上报目标 \"{id}\" 既有 http 又有 mqtt：分成两个目标",
                "endpoint \"{id}\" has both http and mqtt: make two endpoints of it"
            );
            desk.error(path, told);
            None
        }
        (None, None) => {
            let told = text!(
                "上报目标 \"{id}\" 没有说明送到哪里",
                "endpoint \"{id}\" does not say where to deliver"
            );
            let help = text!(
                "下面写一张表：[endpoint.http] 或 [endpoint.mqtt]",
                "a table below it does: [endpoint.http] or [endpoint.mqtt]"
            );
            desk.error_with_help(path, told, help);
            None
        }
    }
}

/// Anybody on the way can read it; what is of persons deserves a warning of its own.
fn clear_text(desk: &mut Desk<'_>, n: usize, table: &EndpointTable, receiver: &Receiver) {
    if receiver.is_encrypted() || receiver.is_on_this_box() {
        return;
    }
    let (kind, bare, sound) = match receiver {
        Receiver::Http(_) => ("http", "http://", "https://"),
        Receiver::Mqtt(_) => ("mqtt", "mqtt://", "mqtts://"),
    };
    let told =
        text!("{bare} 不加密：路上谁都能看", "{bare} is not encrypted: anybody on the way can read it");
    desk.warning(at!["endpoint", n, kind, "url"], told);
    for (m, data) in table.wants.data.iter().enumerate().filter(|(_, data)| data.is_private()) {
        let Text { zh, en } = data.title();
        let told = text!(
            "{zh}信息会以明文离开本机：请改用 {sound}，或从 data 里去掉",
            "{en} data would leave this box in clear text: use {sound}, or take it out of `data`"
        );
        desk.warning(at!["endpoint", n, "wants", "data", m], told);
    }
}

/// As little as the purpose needs.
fn purpose(desk: &mut Desk<'_>, n: usize, table: &EndpointTable) {
    for (m, data) in table.wants.data.iter().enumerate().filter(|(_, data)| !table.purpose.needs(**data)) {
        let (Text { zh, en }, Text { zh: zh_why, en: en_why }) = (data.title(), table.purpose.title());
        let told = text!(
            "用途是{zh_why}，一般用不到{zh}信息：没有依据就去掉",
            "its purpose is {en_why}, which does not need {en} data: without a reason for it, take it out"
        );
        desk.warning(at!["endpoint", n, "wants", "data", m], told);
    }
}

/// Points are money: who is not there to keep or balance them gets none, whatever is written.
fn credits(desk: &mut Desk<'_>, n: usize, table: &EndpointTable) {
    if !table.wants.credits {
        return;
    }
    let (path, Text { zh, en }) = (at!["endpoint", n, "wants", "credits"], table.purpose.title());
    if !table.purpose.keeps_credits() {
        let told = text!(
            "用途是{zh}的目标不收积分；可以收的有 service、property、city-platform",
            "an endpoint whose purpose is {en} gets no credits; service, property and city-platform may"
        );
        desk.error(path, told);
    } else if table.purpose.keeps_cards() && !table.wants.data.contains(&DataClass::Personal) {
        let told = text!(
            "data 里没有 personal：收到的积分没有卡号，不知道记给谁",
            "`data` has no personal: credits come without a card, and nobody knows whose they are"
        );
        desk.warning(path, told);
    }
}

fn wants(desk: &mut Desk<'_>, n: usize, table: &EndpointTable, library: &Library) {
    let names: Vec<&str> = library.class_names().map(|name| name.as_str()).collect();
    for (m, class) in table.wants.classes.iter().enumerate() {
        if library.class(class).is_none() {
            let told = text!("没有设备类别 \"{class}\"", "there is no class \"{class}\"");
            desk.dangling(at!["endpoint", n, "wants", "classes", m], told, class, &names);
        }
    }
    let nothing_else = !table.wants.credits;
    if table.wants.classes.is_empty() || (table.wants.priorities.is_empty() && nothing_else) {
        let id = &table.id;
        let told = text!(
            "上报目标 \"{id}\" 什么也收不到：wants 要写 classes 和 priorities",
            "endpoint \"{id}\" receives nothing: its wants name no classes or no priorities"
        );
        desk.warning(at!["endpoint", n, "id"], told);
    }
    purpose(desk, n, table);
    credits(desk, n, table);
    let every: Duration = table.upload.every.into();
    if every < Duration::from_secs(1) || every > Duration::from_secs(86_400) {
        desk.error(at!["endpoint", n, "upload", "every"], text!("须在 1s 到 1d 之间", "it is from 1s to 1d"));
    }
}
