//! Brokers, whoever talks to them: address, login and certificates, read and checked.

use std::path::Path;

use secrecy::ExposeSecret;

use super::{
    Bus, BusLink, Endpoint, Receiver,
    desk::{CERTIFICATE, Desk, PRIVATE_KEY, Taken},
    file::SiteFile,
};
use crate::{
    at,
    document::Step,
    domain::{SecretFile, Text},
    fieldbus,
    mqtt::{Broker, BrokerAddress, BrokerUrlError, ClientIdentity},
    text, uplink,
};

/// A broker as a bus or an endpoint writes it.
pub(super) struct Written<'a> {
    pub url: &'a str,
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub password: Option<&'a SecretFile>,
    pub ca_file: Option<&'a Path>,
    pub cert_file: Option<&'a Path>,
    pub key_file: Option<&'a Path>,
}

impl<'a> From<&'a uplink::mqtt::config::Settings> for Written<'a> {
    fn from(settings: &'a uplink::mqtt::config::Settings) -> Self {
        Self {
            url: &settings.url,
            client_id: &settings.client_id,
            username: settings.username.as_deref(),
            password: settings.password.as_ref(),
            ca_file: settings.ca_file.as_deref(),
            cert_file: settings.cert_file.as_deref(),
            key_file: settings.key_file.as_deref(),
        }
    }
}

impl<'a> From<&'a fieldbus::mqtt::config::Settings> for Written<'a> {
    fn from(settings: &'a fieldbus::mqtt::config::Settings) -> Self {
        Self {
            url: &settings.url,
            client_id: &settings.client_id,
            username: settings.username.as_deref(),
            password: settings.password.as_ref(),
            ca_file: settings.ca_file.as_deref(),
            cert_file: settings.cert_file.as_deref(),
            key_file: settings.key_file.as_deref(),
        }
    }
}

/// What is wrong is told at the keys of the table `at`.
pub(super) fn broker(desk: &mut Desk<'_>, at: [Step<'static>; 3], written: &Written<'_>) -> Option<Broker> {
    let at_key = |key: &'static str| {
        let [list, number, table] = at;
        [list, number, table, key.into()]
    };
    if written.client_id.is_empty() {
        desk.error(&at_key("client_id"), text!("client_id 不能为空", "client_id must not be empty"));
    }
    if written.password.is_some() && written.username.is_none() {
        let told =
            text!("有密码没有用户名：MQTT 不允许", "a password without a username: MQTT has no such login");
        desk.error(&at_key("password"), told);
    }
    let password = written.password.and_then(|secret| desk.secret(&at_key("password"), secret));
    let authorities = written.ca_file.and_then(|file| desk.pem(&at_key("ca_file"), file, CERTIFICATE));
    let identity = match (written.cert_file, written.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = desk.pem(&at_key("cert_file"), certificate, CERTIFICATE);
            let key = desk.pem(&at_key("key_file"), key, PRIVATE_KEY);
            let pair = certificate.zip(key);
            pair.map(|(pem, key)| ClientIdentity { certificates: pem.expose_secret().to_vec(), key })
        }
        (Some(_), None) => {
            desk.error(
                &at_key("cert_file"),
                text!("cert_file 需要 key_file", "cert_file needs key_file beside it"),
            );
            None
        }
        (None, Some(_)) => {
            desk.error(
                &at_key("key_file"),
                text!("key_file 需要 cert_file", "key_file needs cert_file beside it"),
            );
            None
        }
        (None, None) => None,
    };
    let address = match BrokerAddress::of(written.url) {
        Ok(address) => address,
        Err(fault) => {
            let help = text!("例如 \"mqtt://127.0.0.1:1883\"", "such as \"mqtt://127.0.0.1:1883\"");
            desk.error_with_help(&at_key("url"), wrong_url(fault), help);
            return None;
        }
    };
    if !address.tls && (written.ca_file.is_some() || written.cert_file.is_some()) {
        let told = text!(
            "mqtt:// 不加密，证书用不上；要加密请写 mqtts://",
            "mqtt:// is not encrypted and uses no certificates: mqtts:// is and does"
        );
        desk.warning(&at_key("url"), told);
    }
    Some(Broker {
        address,
        client_id: written.client_id.to_owned(),
        username: written.username.map(str::to_owned),
        password,
        authorities: authorities.map(|pem| pem.expose_secret().to_vec()),
        identity,
    })
}

fn wrong_url(fault: BrokerUrlError) -> Text {
    match fault {
        BrokerUrlError::NotAUrl => text!("这不是网址", "this is not a URL"),
        BrokerUrlError::Scheme => text!("应以 mqtt:// 或 mqtts:// 开头", "the scheme is mqtt:// or mqtts://"),
        BrokerUrlError::NoHost => text!("缺少主机", "there is no host in it"),
        BrokerUrlError::Extra => {
            text!(
                "只能有主机和端口；用户名和密码另写",
                "host and port only: username and password stand apart"
            )
        }
    }
}

/// Two that log in to one broker by one name throw each other out, for ever: no endpoint may do so to a bus or another
/// endpoint. (Of two buses the second is told among the buses.)
pub(super) fn one_login_each(
    desk: &mut Desk<'_>,
    file: &SiteFile,
    (buses, endpoints): (&[Bus], &[Endpoint]),
) {
    let on_buses = buses.iter().filter_map(|bus| {
        let BusLink::Mqtt { broker, .. } = &bus.link else { return None };
        Some(("bus", file.bus.iter().position(|written| written.id == bus.id)?, broker))
    });
    let on_endpoints = endpoints.iter().filter_map(|endpoint| {
        let Receiver::Mqtt(receiver) = &endpoint.receiver else { return None };
        Some((
            "endpoint",
            file.endpoint.iter().position(|written| written.id == endpoint.id)?,
            &receiver.broker,
        ))
    });
    let mut logins = Taken::new();
    for (table, n, broker) in on_buses.chain(on_endpoints) {
        let BrokerAddress { host, port, .. } = &broker.address;
        let (login, path) =
            (format!("{host}:{port} as {}", broker.client_id), at![table, n, "mqtt", "client_id"]);
        if let Some(first) = logins.before(login, desk.document.place(path))
            && table == "endpoint"
        {
            let told = text!(
                "同一个服务器上 client_id 已在用（第 {first} 行），会互相踢下线",
                "this client_id is used on the same broker already (line {first}): each would throw the other out"
            );
            desk.error(path, told);
        }
    }
}
