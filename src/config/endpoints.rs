//! Endpoints: who is told, what, by which login and which receipt rule; secrets and certificates read.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    Endpoint, Receiver,
    desk::{CERTIFICATE, Desk, PRIVATE_KEY, Taken},
    drill::drill,
    file::EndpointTable,
    mqtt_receiver::mqtt_receiver,
    secret::Secrets,
};
use crate::{
    at,
    document::Step,
    domain::{SecretFile, Text},
    profile::Library,
    text,
    uplink::http::{
        self, Login, SigningKey, SigningKeyError,
        config::{ReceiverUrlError, Settings},
    },
};

/// No exchange is given longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Standard Webhooks 1.0: 24 to 64 bytes.
const SHORTEST_KEY: usize = 24;

/// `site`: its id.
pub(super) fn endpoints(
    desk: &mut Desk<'_>,
    written: &[EndpointTable],
    site: &str,
    library: &Library,
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
        wants(desk, n, table, library);
        let drill = table.drill.as_ref().and_then(|table| drill(desk, n, table));
        let receiver = of_table(desk, n, table, (site, library));
        if let Some(receiver) = &receiver {
            clear_text(desk, n, table, receiver);
        }
        endpoints.extend(receiver.map(|receiver| Endpoint {
            id: id.clone(),
            purpose: table.purpose,
            wants: table.wants.clone(),
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
    (site, library): (&str, &Library),
) -> Option<Receiver> {
    let (id, path) = (&table.id, at!["endpoint", n, "id"]);
    match (&table.http, &table.mqtt) {
        (Some(settings), None) => receiver(desk, n, settings).map(Box::new).map(Receiver::Http),
        (None, Some(settings)) => {
            mqtt_receiver(desk, n, settings, (site, library)).map(Box::new).map(Receiver::Mqtt)
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
    purpose(desk, n, table);
    let every: Duration = table.upload.every.into();
    if every < Duration::from_secs(1) || every > Duration::from_secs(86_400) {
        desk.error(at!["endpoint", n, "upload", "every"], text!("须在 1s 到 1d 之间", "it is from 1s to 1d"));
    }
}

fn receiver(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<http::Receiver> {
    let path = |key| at_key(n, key);
    let secret = settings.secret.as_ref().and_then(|secret| signing_key(desk, &path("secret"), secret));
    let authorities = authorities(desk, n, settings);
    let identity = identity(desk, n, settings);
    let login = login(desk, n, settings);
    if let Err(why) = settings.accept.compile() {
        let path = at!["endpoint", n, "http", "accept", "body"];
        desk.error(
            path,
            text!("回执规则不是 CEL 表达式：{why}", "the receipt rule is not a CEL expression: {why}"),
        );
    }
    timeout(desk, &path("timeout"), settings.timeout.into());
    let url = match settings.address() {
        Ok(url) => url,
        Err(fault) => {
            let help = text!(
                "例如 \"https://inspection.example/alarms\"",
                "such as \"https://inspection.example/alarms\""
            );
            desk.error_with_help(&path("url"), wrong_url(fault), help);
            return None;
        }
    };
    Some(http::Receiver {
        url,
        secret,
        authorities,
        identity,
        login,
        accept: settings.accept.clone(),
        timeout: settings.timeout.into(),
    })
}

fn at_key(n: usize, key: &'static str) -> [Step<'static>; 4] {
    ["endpoint".into(), n.into(), "http".into(), key.into()]
}

/// PEM; none at all where secrets are only named, so that a site that was only looked at trusts nobody.
fn authorities(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<Vec<u8>> {
    let file = settings.ca_file.as_ref();
    let pem = file.and_then(|file| desk.pem(&at_key(n, "ca_file"), file, CERTIFICATE));
    match desk.vault.secrets {
        Secrets::Read => pem.map(|pem| pem.expose_secret().to_vec()),
        Secrets::Named => Some(Vec::new()),
    }
}

fn signing_key(desk: &mut Desk<'_>, path: &[Step<'_>], secret: &SecretFile) -> Option<SecretString> {
    let secret = desk.secret(path, secret)?;
    if let Err(fault) = SigningKey::parse(secret.expose_secret()) {
        let told = match fault {
            SigningKeyError::NotBase64 => {
                text!("whsec_ 后面不是 Base64", "what follows whsec_ is not Base64")
            }
            SigningKeyError::Empty => text!("密钥是空的", "the secret is empty"),
        };
        desk.error(path, told);
        return None;
    }
    let length = key_bytes(secret.expose_secret().trim());
    if length < SHORTEST_KEY {
        let told = text!(
            "签名密钥只有 {length} 字节，至少应有 {SHORTEST_KEY}",
            "the signing key has {length} bytes; it should have {SHORTEST_KEY} at least"
        );
        desk.warning(path, told);
    }
    Some(secret)
}

/// How long the key is that a sound secret gives: four letters of Base64 are three bytes.
fn key_bytes(secret: &str) -> usize {
    match secret.strip_prefix("whsec_") {
        Some(coded) => coded.trim_end_matches('=').len() * 3 / 4,
        None => secret.len(),
    }
}

fn identity(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<SecretSlice<u8>> {
    match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = desk.pem(&at_key(n, "cert_file"), certificate, CERTIFICATE);
            let key = desk.pem(&at_key(n, "key_file"), key, PRIVATE_KEY);
            let (certificate, key) = certificate.zip(key)?;
            Some([certificate.expose_secret(), b"\n", key.expose_secret()].concat().into())
        }
        (Some(_), None) => {
            desk.error(
                &at_key(n, "cert_file"),
                text!("cert_file 需要 key_file", "cert_file needs key_file beside it"),
            );
            None
        }
        (None, Some(_)) => {
            desk.error(
                &at_key(n, "key_file"),
                text!("key_file 需要 cert_file", "key_file needs cert_file beside it"),
            );
            None
        }
        (None, None) => None,
    }
}

fn login(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<Login> {
    let there = [
        ("bearer", settings.bearer.is_some()),
        ("basic", settings.basic.is_some()),
        ("digest", settings.digest.is_some()),
    ];
    let there: Vec<&'static str> =
        there.into_iter().filter(|(_, there)| *there).map(|(key, _)| key).collect();
    if let [first, second, ..] = there[..] {
        let place = desk.document.key_place(&at_key(n, second));
        desk.problems
            .error(place, text!("只能有一种登录：已有 {first}", "there is one login: {first} is it already"));
    }
    if settings.digest.is_some() {
        let place = desk.document.key_place(&at_key(n, "digest"));
        desk.problems
            .error(place, text!("这个版本不支持 Digest 登录", "Digest login is not in this version"));
    }
    if let Some(token) = &settings.bearer {
        return desk.secret(&at_key(n, "bearer"), token).map(Login::Bearer);
    }
    let basic = settings.basic.as_ref()?;
    let path = at!["endpoint", n, "http", "basic", "password"];
    let password = desk.secret(path, &basic.password)?;
    Some(Login::Basic { username: basic.username.clone(), password })
}

fn timeout(desk: &mut Desk<'_>, path: &[Step<'_>], timeout: Duration) {
    if timeout.is_zero() {
        desk.error(path, text!("超时不能为 0", "a timeout of 0 lets nothing through"));
    } else if timeout > LONGEST_TIMEOUT {
        desk.warning(path, text!("超时最多按 20s 算", "no exchange is given more than 20s"));
    }
}

fn wrong_url(fault: ReceiverUrlError) -> Text {
    match fault {
        ReceiverUrlError::NotAUrl => text!("这不是网址", "this is not a URL"),
        ReceiverUrlError::Scheme => {
            text!("应以 https:// 或 http:// 开头", "the scheme is https:// or http://")
        }
        ReceiverUrlError::Login => {
            text!("网址里不写用户名和密码，用 basic", "no user and password in a URL: they go into `basic`")
        }
    }
}
