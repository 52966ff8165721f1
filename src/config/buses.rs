//! Buses: which kind each is, and whether its line or address can be opened at all.

use std::{fs, net::IpAddr};

use secrecy::ExposeSecret;

use super::{
    Bus, BusLink,
    desk::{CERTIFICATE, Desk, PRIVATE_KEY, Taken},
    file::BusTable,
    port,
};
use crate::{
    at,
    document::Step,
    domain::BusId,
    fieldbus::{
        modbus::config::{RtuSettings, TcpSettings},
        mqtt::config::{Broker, BrokerUrlError, ClientIdentity, Settings as MqttSettings},
        serial::config::Settings as SerialSettings,
    },
    text,
};

/// What a bus is, as far as its devices must know; known even where its settings are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BusKind {
    ModbusTcp,
    ModbusRtu,
    Serial,
    Mqtt,
}

impl BusKind {
    pub fn word(self) -> &'static str {
        match self {
            BusKind::ModbusTcp => "modbus_tcp",
            BusKind::ModbusRtu => "modbus_rtu",
            BusKind::Serial => "serial",
            BusKind::Mqtt => "mqtt",
        }
    }

    pub fn is_modbus(self) -> bool {
        matches!(self, BusKind::ModbusTcp | BusKind::ModbusRtu)
    }
}

/// A bus by its name, for the devices that hang on it. `kind` is unknown where none or several were written.
pub(super) struct KnownBus {
    pub id: BusId,
    pub kind: Option<BusKind>,
}

/// The buses that can be opened, and all that have a name.
pub(super) fn buses(desk: &mut Desk<'_>, written: &[BusTable]) -> (Vec<Bus>, Vec<KnownBus>) {
    let mut ids = Taken::new();
    let mut lines = Taken::new();
    let (mut buses, mut known) = (Vec::new(), Vec::new());
    for (n, table) in written.iter().enumerate() {
        let at_id = at!["bus", n, "id"];
        desk.kebab(at_id, &table.id);
        if let Some(line) = ids.before(table.id.clone(), desk.document.place(at_id)) {
            let id = &table.id;
            desk.error(
                at_id,
                text!("总线 \"{id}\" 重复（第 {line} 行已有）", "bus \"{id}\" is there twice (line {line})"),
            );
        }
        let kind = kind(desk, n, table);
        known.push(KnownBus { id: table.id.clone(), kind });
        let link = link(desk, n, table);
        if let (Some(link), Some(kind)) = (link, kind) {
            one_user(desk, n, kind, &link, &mut lines);
            buses.push(Bus { id: table.id.clone(), link });
        }
    }
    (buses, known)
}

fn kind(desk: &mut Desk<'_>, n: usize, table: &BusTable) -> Option<BusKind> {
    let there = [
        (table.modbus_tcp.is_some(), BusKind::ModbusTcp),
        (table.modbus_rtu.is_some(), BusKind::ModbusRtu),
        (table.serial.is_some(), BusKind::Serial),
        (table.mqtt.is_some(), BusKind::Mqtt),
    ];
    let kinds: Vec<BusKind> = there.into_iter().filter(|(there, _)| *there).map(|(_, kind)| kind).collect();
    match kinds[..] {
        [only] => Some(only),
        [] => {
            let id = &table.id;
            desk.error_with_help(
                at!["bus", n, "id"],
                text!("总线 \"{id}\" 没有说明是哪一种", "bus \"{id}\" does not say of which kind it is"),
                text!(
                    "下面写一张表：[bus.modbus_tcp]、[bus.modbus_rtu]、[bus.serial] 或 [bus.mqtt]",
                    "a table below it does: [bus.modbus_tcp], [bus.modbus_rtu], [bus.serial] or [bus.mqtt]"
                ),
            );
            None
        }
        [first, second, ..] => {
            let (first, second) = (first.word(), second.word());
            let place = desk.document.key_place(at!["bus", n, second]);
            desk.problems.error(
                place,
                text!(
                    "一条总线只能是一种：已有 {first}",
                    "a bus is of one kind: this one is {first} already"
                ),
            );
            None
        }
    }
}

fn link(desk: &mut Desk<'_>, n: usize, table: &BusTable) -> Option<BusLink> {
    if let Some(settings) = &table.modbus_tcp {
        host(desk, at!["bus", n, "modbus_tcp", "host"], settings);
        return Some(BusLink::ModbusTcp(settings.clone()));
    }
    if let Some(settings) = &table.modbus_rtu {
        line(desk, n, "modbus_rtu", settings);
        eight_bits(desk, n, settings);
        return Some(BusLink::ModbusRtu(settings.clone()));
    }
    if let Some(settings) = &table.serial {
        line(desk, n, "serial", settings);
        return Some(BusLink::Serial(settings.clone()));
    }
    table.mqtt.as_ref().and_then(|settings| broker(desk, n, settings)).map(BusLink::Mqtt)
}

fn host(desk: &mut Desk<'_>, path: &[Step<'_>], settings: &TcpSettings) {
    let host = settings.host.as_str();
    let told =
        text!("\"{host}\" 不是主机名或 IP 地址", "\"{host}\" is neither a host name nor an IP address");
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let numbers_only = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_name = host.split('.').all(label) && !numbers_only;
    match host.rsplit_once(':') {
        _ if host.parse::<IpAddr>().is_ok() || is_name => {}
        Some((name, port)) if port.parse::<u16>().is_ok() => {
            let help = text!(
                "端口另写：host = \"{name}\"、port = {port}",
                "the port stands apart: host = \"{name}\", port = {port}"
            );
            desk.error_with_help(path, told, help);
        }
        Some(_) | None => desk.error(path, told),
    }
}

fn line(desk: &mut Desk<'_>, n: usize, kind: &str, settings: &SerialSettings) {
    if !settings.port.is_absolute() {
        let port = settings.port.display();
        let told =
            text!("串口要写完整路径：\"{port}\"", "a serial port is named by its whole path, not \"{port}\"");
        let help = text!("例如 \"/dev/ttyS3\"", "such as \"/dev/ttyS3\"");
        desk.error_with_help(at!["bus", n, kind, "port"], told, help);
    } else if let Some(flaw) = port::flaw(&settings.port) {
        desk.warning(at!["bus", n, kind, "port"], flaw);
    }
    if !settings.baud_is_standard() {
        let (baud, nearest) = (settings.baud, settings.nearest_baud());
        let told = text!("{baud} 不是标准波特率", "{baud} is not a standard baud rate");
        let help = text!("最接近的是 {nearest}", "the nearest is {nearest}");
        desk.error_with_help(at!["bus", n, kind, "baud"], told, help);
    }
}

/// RTU frames are bytes (Modbus over Serial Line 1.02, 2.5.1): seven bits carry only ASCII mode.
fn eight_bits(desk: &mut Desk<'_>, n: usize, settings: &RtuSettings) {
    if settings.framing.data_bits != 8 {
        let told = text!("Modbus RTU 需要 8 个数据位", "Modbus RTU needs 8 data bits");
        desk.error(at!["bus", n, "modbus_rtu", "framing"], told);
    }
}

fn broker(desk: &mut Desk<'_>, n: usize, settings: &MqttSettings) -> Option<Broker> {
    let at_key = |key| ["bus".into(), n.into(), "mqtt".into(), Step::Key(key)];
    if settings.client_id.is_empty() {
        desk.error(&at_key("client_id"), text!("client_id 不能为空", "client_id must not be empty"));
    }
    if settings.password.is_some() && settings.username.is_none() {
        let told =
            text!("有密码没有用户名：MQTT 不允许", "a password without a username: MQTT has no such login");
        desk.error(&at_key("password"), told);
    }
    let password = settings.password.as_ref().and_then(|secret| desk.secret(&at_key("password"), secret));
    let authorities =
        settings.ca_file.as_ref().and_then(|file| desk.pem(&at_key("ca_file"), file, CERTIFICATE));
    let identity = match (&settings.cert_file, &settings.key_file) {
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
    let address = match settings.address() {
        Ok(address) => address,
        Err(fault) => {
            let help = text!("例如 \"mqtt://127.0.0.1:1883\"", "such as \"mqtt://127.0.0.1:1883\"");
            desk.error_with_help(&at_key("url"), wrong_url(fault), help);
            return None;
        }
    };
    if !address.tls && (settings.ca_file.is_some() || settings.cert_file.is_some()) {
        let told = text!(
            "mqtt:// 不加密，证书用不上；要加密请写 mqtts://",
            "mqtt:// is not encrypted and uses no certificates: mqtts:// is and does"
        );
        desk.warning(&at_key("url"), told);
    }
    Some(Broker {
        address,
        client_id: settings.client_id.clone(),
        username: settings.username.clone(),
        password,
        authorities: authorities.map(|pem| pem.expose_secret().to_vec()),
        identity,
        discover: settings.discover,
    })
}

fn wrong_url(fault: BrokerUrlError) -> crate::domain::Text {
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

/// Two buses on one line would talk into each other's frames.
fn one_user(desk: &mut Desk<'_>, n: usize, kind: BusKind, link: &BusLink, lines: &mut Taken<String>) {
    let (key, line) = match link {
        BusLink::ModbusTcp(tcp) => ("host", format!("{}:{}", tcp.host, tcp.port)),
        BusLink::ModbusRtu(settings) | BusLink::Serial(settings) => {
            let port = fs::canonicalize(&settings.port).unwrap_or_else(|_not_there| settings.port.clone());
            ("port", port.display().to_string())
        }
        BusLink::Mqtt(broker) => {
            let address = &broker.address;
            ("client_id", format!("{}:{} as {}", address.host, address.port, broker.client_id))
        }
    };
    let path = at!["bus", n, kind.word(), key];
    let Some(first) = lines.before(line.clone(), desk.document.place(path)) else { return };
    match kind {
        BusKind::ModbusTcp => {
            let told = text!(
                "{line} 已有总线在用（第 {first} 行）；不少设备只接受一个连接",
                "{line} has a bus already (line {first}); many devices take one connection only"
            );
            desk.warning(path, told);
        }
        BusKind::ModbusRtu | BusKind::Serial => {
            let told = text!(
                "串口 {line} 已有总线在用（第 {first} 行）",
                "serial port {line} has a bus already (line {first})"
            );
            desk.error(path, told);
        }
        BusKind::Mqtt => {
            let told = text!(
                "同一个服务器上 client_id 已有总线在用（第 {first} 行），会互相踢下线",
                "this client_id is used on the same broker already (line {first}): each would throw the other out"
            );
            desk.error(path, told);
        }
    }
}
