//! Endpoints: who is told, what, by which login and which receipt rule; secrets and certificates read.

use std::{net::IpAddr, time::Duration};

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::Url;

use super::{
    Endpoint,
    desk::{CERTIFICATE, Desk, PRIVATE_KEY, Taken},
    file::EndpointTable,
    secret::Secrets,
};
use crate::{
    at,
    document::Step,
    domain::{SecretFile, Text},
    profile::Library,
    text,
    uplink::http::{
        Login, Receiver, SigningKey, SigningKeyError,
        config::{ReceiverUrlError, Settings},
    },
};

/// No exchange is given longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Standard Webhooks 1.0: 24 to 64 bytes.
const SHORTEST_KEY: usize = 24;

pub(super) fn endpoints(desk: &mut Desk<'_>, written: &[EndpointTable], library: &Library) -> Vec<Endpoint> {
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
        let receiver = match &table.http {
            Some(settings) => receiver(desk, n, settings),
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

fn receiver(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<Receiver> {
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
    if url.scheme() == "http" && !is_loopback(&url) {
        let told =
            text!("http:// 不加密：路上谁都能看", "http:// is not encrypted: anybody on the way can read it");
        desk.warning(&path("url"), told);
    }
    Some(Receiver {
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

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
