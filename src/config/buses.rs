//! Buses: which kind each is, and whether its line or address can be opened at all.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    Bus, BusLink,
    brokers::broker,
    desk::{Desk, Taken},
    file::BusTable,
    modems::Modems,
    port,
};
use crate::{
    at,
    document::Step,
    domain::{BusId, Medium},
    fieldbus::{
        modbus::config::RtuTcpSettings,
        serial::config::{Framing, Settings as SerialSettings, nearest_baud},
    },
    text,
};

/// What a bus is, as far as its devices must know; known even where its settings are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BusKind {
    ModbusTcp,
    ModbusRtu,
    ModbusRtuTcp,
    ModbusAscii,
    ModbusDtu,
    Serial,
    Mqtt,
    Dlt645,
    Dlt645Tcp,
}

impl BusKind {
    pub fn word(self) -> &'static str {
        match self {
            BusKind::ModbusTcp => "modbus_tcp",
            BusKind::ModbusRtu => "modbus_rtu",
            BusKind::ModbusRtuTcp => "modbus_rtu_tcp",
            BusKind::ModbusAscii => "modbus_ascii",
            BusKind::ModbusDtu => "modbus_dtu",
            BusKind::Serial => "serial",
            BusKind::Mqtt => "mqtt",
            BusKind::Dlt645 => "dlt645",
            BusKind::Dlt645Tcp => "dlt645_tcp",
        }
    }

    pub fn is_modbus(self) -> bool {
        match self {
            BusKind::ModbusTcp
            | BusKind::ModbusRtu
            | BusKind::ModbusRtuTcp
            | BusKind::ModbusAscii
            | BusKind::ModbusDtu => true,
            BusKind::Serial | BusKind::Mqtt | BusKind::Dlt645 | BusKind::Dlt645Tcp => false,
        }
    }

    /// What lies between the gateway and the devices of such a bus.
    pub fn medium(self) -> Medium {
        match self {
            BusKind::ModbusRtu | BusKind::ModbusAscii | BusKind::Serial | BusKind::Dlt645 => Medium::Serial,
            BusKind::ModbusRtuTcp | BusKind::Dlt645Tcp => Medium::SerialServer,
            BusKind::ModbusDtu => Medium::Modem,
            BusKind::ModbusTcp => Medium::Network,
            BusKind::Mqtt => Medium::Broker,
        }
    }

    pub fn has_meters(self) -> bool {
        matches!(self, BusKind::Dlt645 | BusKind::Dlt645Tcp)
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
    let mut modems = Modems::default();
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
            if let Some(modem) = link.modem() {
                modems.check(desk, n, modem);
            }
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
        (table.modbus_rtu_tcp.is_some(), BusKind::ModbusRtuTcp),
        (table.modbus_ascii.is_some(), BusKind::ModbusAscii),
        (table.modbus_dtu.is_some(), BusKind::ModbusDtu),
        (table.serial.is_some(), BusKind::Serial),
        (table.mqtt.is_some(), BusKind::Mqtt),
        (table.dlt645.is_some(), BusKind::Dlt645),
        (table.dlt645_tcp.is_some(), BusKind::Dlt645Tcp),
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
                    "下面写一张表：[bus.modbus_tcp]、[bus.modbus_rtu]、[bus.modbus_rtu_tcp]、[bus.modbus_ascii]、[bus.modbus_dtu]、[bus.serial]、[bus.mqtt]、[bus.dlt645] 或 [bus.dlt645_tcp]",
                    "a table below it does: [bus.modbus_tcp], [bus.modbus_rtu], [bus.modbus_rtu_tcp], [bus.modbus_ascii], [bus.modbus_dtu], [bus.serial], [bus.mqtt], [bus.dlt645] or [bus.dlt645_tcp]"
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
        host(desk, at!["bus", n, "modbus_tcp", "host"], &settings.host);
        return Some(BusLink::ModbusTcp(settings.clone()));
    }
    if let Some(settings) = &table.modbus_rtu {
        line(desk, n, "modbus_rtu", settings);
        eight_bits(desk, n, "modbus_rtu", settings.framing);
        return Some(BusLink::ModbusRtu(settings.clone()));
    }
    if let Some(settings) = &table.modbus_rtu_tcp {
        host(desk, at!["bus", n, "modbus_rtu_tcp", "host"], &settings.host);
        baud(desk, n, "modbus_rtu_tcp", settings.baud);
        eight_bits(desk, n, "modbus_rtu_tcp", settings.framing);
        return Some(BusLink::ModbusRtuTcp(settings.clone()));
    }
    if let Some(settings) = &table.modbus_ascii {
        line(desk, n, "modbus_ascii", &settings.line());
        return Some(BusLink::ModbusAscii(settings.line()));
    }
    if let Some(settings) = &table.modbus_dtu {
        baud(desk, n, "modbus_dtu", settings.baud);
        eight_bits(desk, n, "modbus_dtu", settings.framing);
        return Some(BusLink::ModbusDtu(settings.clone()));
    }
    if let Some(settings) = &table.dlt645 {
        line(desk, n, "dlt645", &settings.into());
        eight_bits(desk, n, "dlt645", settings.framing);
        return Some(BusLink::Dlt645(settings.clone()));
    }
    if let Some(settings) = &table.dlt645_tcp {
        host(desk, at!["bus", n, "dlt645_tcp", "host"], &settings.host);
        return Some(BusLink::Dlt645Tcp(settings.clone()));
    }
    if let Some(settings) = &table.serial {
        line(desk, n, "serial", settings);
        return Some(BusLink::Serial(settings.clone()));
    }
    let settings = table.mqtt.as_ref()?;
    let broker = broker(desk, ["bus".into(), n.into(), "mqtt".into()], &settings.into())?;
    Some(BusLink::Mqtt { broker, discover: settings.discover })
}

fn host(desk: &mut Desk<'_>, path: &[Step<'_>], host: &str) {
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
    if settings.rs485.is_some() && switches_by_itself(&settings.port) {
        let told = text!(
            "USB 转换器大多自己换向，驱动也不提供 RS-485 方向控制；打不开时请去掉 rs485",
            "USB adapters mostly switch direction by themselves and their drivers offer no control of it: leave rs485 out if the port does not open"
        );
        desk.warning(at!["bus", n, kind, "rs485"], told);
    }
    baud(desk, n, kind, settings.baud);
}

/// By the name that the kernel gave the port.
fn switches_by_itself(port: &Path) -> bool {
    let device = device(port);
    let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ["ttyUSB", "ttyACM"].iter().any(|usb| name.starts_with(usb))
}

/// What a name by id stands for, if it is plugged in.
fn device(port: &Path) -> PathBuf {
    fs::canonicalize(port).unwrap_or_else(|_not_there| port.to_owned())
}

fn baud(desk: &mut Desk<'_>, n: usize, kind: &str, baud: u32) {
    let nearest = nearest_baud(baud);
    if baud != nearest {
        let told = text!("{baud} 不是标准波特率", "{baud} is not a standard baud rate");
        let help = text!("最接近的是 {nearest}", "the nearest is {nearest}");
        desk.error_with_help(at!["bus", n, kind, "baud"], told, help);
    }
}

/// RTU frames are bytes (Modbus over Serial Line 1.02, 2.5.1): seven bits carry only ASCII mode. So are those of DL/T 645.
fn eight_bits(desk: &mut Desk<'_>, n: usize, kind: &str, framing: Framing) {
    if framing.data_bits == 8 {
        return;
    }
    let path = at!["bus", n, kind, "framing"];
    if kind == "dlt645" {
        desk.error(path, text!("DL/T 645 需要 8 个数据位", "DL/T 645 needs 8 data bits"));
    } else {
        let told = text!("Modbus RTU 需要 8 个数据位", "Modbus RTU needs 8 data bits");
        let help = text!("7 个数据位的是 [bus.modbus_ascii]", "seven of them are [bus.modbus_ascii]");
        desk.error_with_help(path, told, help);
    }
}

/// Two buses on one line would talk into each other's frames.
fn one_user(desk: &mut Desk<'_>, n: usize, kind: BusKind, link: &BusLink, lines: &mut Taken<String>) {
    let Some((key, line)) = line_of(link) else { return };
    let path = at!["bus", n, kind.word(), key];
    let Some(first) = lines.before(line.clone(), desk.document.place(path)) else { return };
    match link {
        BusLink::ModbusTcp(_) | BusLink::Dlt645Tcp(_) => {
            let told = text!(
                "{line} 已有总线在用（第 {first} 行）；不少设备只接受一个连接",
                "{line} has a bus already (line {first}); many devices take one connection only"
            );
            desk.warning(path, told);
        }
        BusLink::ModbusRtuTcp(_) => {
            let told = text!(
                "串口服务器 {line} 已有总线在用（第 {first} 行）：同一条线上的设备写在同一条总线上",
                "serial server {line} has a bus already (line {first}): the devices of one line are on one bus"
            );
            desk.error(path, told);
        }
        BusLink::ModbusRtu(_) | BusLink::ModbusAscii(_) | BusLink::Serial(_) | BusLink::Dlt645(_) => {
            let told = text!(
                "串口 {line} 已有总线在用（第 {first} 行）",
                "serial port {line} has a bus already (line {first})"
            );
            desk.error(path, told);
        }
        BusLink::Mqtt { .. } => {
            let told = text!(
                "同一个服务器上 client_id 已有总线在用（第 {first} 行），会互相踢下线",
                "this client_id is used on the same broker already (line {first}): each would throw the other out"
            );
            desk.error(path, told);
        }
        BusLink::ModbusDtu(_) => {}
    }
}

/// What a link occupies, and the key that says so; modems share their address.
fn line_of(link: &BusLink) -> Option<(&'static str, String)> {
    match link {
        BusLink::ModbusTcp(tcp) => Some(("host", format!("{}:{}", tcp.host, tcp.port))),
        BusLink::Dlt645Tcp(tcp) => Some(("host", format!("{}:{}", tcp.host, tcp.port))),
        BusLink::Dlt645(settings) => Some(("port", device(&settings.port).display().to_string())),
        BusLink::ModbusRtuTcp(RtuTcpSettings { host, port, .. }) => Some(("host", format!("{host}:{port}"))),
        BusLink::ModbusRtu(settings) | BusLink::ModbusAscii(settings) | BusLink::Serial(settings) => {
            Some(("port", device(&settings.port).display().to_string()))
        }
        BusLink::Mqtt { broker, .. } => {
            let address = &broker.address;
            Some(("client_id", format!("{}:{} as {}", address.host, address.port, broker.client_id)))
        }
        BusLink::ModbusDtu(_) => None,
    }
}
