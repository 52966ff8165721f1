//! Endpoints: who is told, what, by which login and which receipt rule; secrets and certificates read.

use super::{
    Endpoint,
    desk::{Desk, Taken},
    file::EndpointTable,
    http_receiver::http_receiver,
    templates::Fleet,
};
use crate::{at, profile::Library, text};

pub(super) fn endpoints(desk: &mut Desk<'_>, written: &[EndpointTable], fleet: Fleet<'_>) -> Vec<Endpoint> {
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
        wants(desk, n, table, fleet.library);
        let receiver = match &table.http {
            Some(settings) => http_receiver(desk, n, settings, (&table.wants, fleet)),
            None => {
                let told = text!(
                    "上报目标 \"{id}\" 没有说明送到哪里",
                    "endpoint \"{id}\" does not say where to deliver"
                );
                desk.error_with_help(
                    path,
                    told,
                    text!("下面写一张表：[endpoint.http]", "a table below it does: [endpoint.http]"),
                );
                None
            }
        };
        endpoints.extend(receiver.map(|http| Endpoint {
            id: id.clone(),
            purpose: table.purpose,
            wants: table.wants.clone(),
            http,
        }));
    }
    endpoints
}

fn wants(desk: &mut Desk<'_>, n: usize, table: &EndpointTable, library: &Library) {
    let names: Vec<&str> = library.class_names().map(|name| name.as_str()).collect();
    for (m, class) in table.wants.classes.iter().enumerate() {
        if library.class(class).is_none() {
            let told = text!("没有设备类别 \"{class}\"", "there is no class \"{class}\"");
            desk.dangling(at!["endpoint", n, "wants", "classes", m], told, class, &names);
        }
    }
    if table.wants.classes.is_empty() || table.wants.priorities.is_empty() {
        let id = &table.id;
        let told = text!(
            "上报目标 \"{id}\" 什么也收不到：wants 要写 classes 和 priorities",
            "endpoint \"{id}\" receives nothing: its wants name no classes or no priorities"
        );
        desk.warning(at!["endpoint", n, "id"], told);
    }
    if table.wants.readings {
        let told = text!("这个版本还不上传读数", "readings are not uploaded in this version");
        desk.warning(at!["endpoint", n, "wants", "readings"], told);
    }
}
