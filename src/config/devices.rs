//! Devices: repeats spread out, each with its profile, its bus and an address of its own there.

use std::sync::Arc;

use super::{
    buses::{BusKind, KnownBus},
    desk::{Desk, Taken},
    file::DeviceTable,
    repeat::{Range, fill},
};
use crate::{
    at,
    document::Step,
    domain::DeviceId,
    fieldbus::dlt645::Station,
    profile::{Address, Device, Library, Link, Profile, SerialLink},
    text,
};

/// More are more than one box polls.
const MOST_DEVICES: usize = 20_000;
/// Of all that is repeated, in bytes: no id, name, address and tags of one device are longer.
const LONGEST_TEXTS: usize = 4096;

/// How a device is reached on a line whose frames carry no address.
const ALONE: &str = "";

/// What all devices of a site must not share.
struct Shared {
    ids: Taken<String>,
    addresses: Taken<(String, String)>,
}

/// One `[[device]]` with what it refers to.
struct Entry<'a> {
    n: usize,
    table: &'a DeviceTable,
    profile: Arc<Profile>,
    kind: BusKind,
}

pub(super) fn devices(
    desk: &mut Desk<'_>,
    written: &[DeviceTable],
    buses: &[KnownBus],
    library: &Library,
) -> Vec<Device> {
    let mut shared = Shared { ids: Taken::new(), addresses: Taken::new() };
    let (mut devices, mut total) = (Vec::new(), 0);
    for (n, table) in written.iter().enumerate() {
        let range = Range::of(desk, n, table).filter(|_| short(desk, n, table));
        let profile = profile(desk, n, table, library);
        let kind = bus(desk, n, table, buses);
        let fits = profile.zip(kind).filter(|(profile, kind)| speaks(desk, n, table, profile, *kind, buses));
        let Some(range) = range else { continue };
        total += range.len();
        if total > MOST_DEVICES {
            let told = text!("设备总数超过 {MOST_DEVICES}", "there are more than {MOST_DEVICES} devices");
            desk.error(at!["device", n, "repeat"], told);
            return devices;
        }
        own_ids(desk, n, table, &range, &mut shared.ids);
        if let Some((profile, kind)) = fits {
            spread(desk, &Entry { n, table, profile, kind }, &range, &mut shared, &mut devices);
        }
    }
    devices
}

fn short(desk: &mut Desk<'_>, n: usize, table: &DeviceTable) -> bool {
    let tags: usize = table.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    let optional = [&table.name, &table.address].into_iter().flatten().map(String::len).sum::<usize>();
    let short = tags + optional + table.id.len() <= LONGEST_TEXTS;
    if !short {
        desk.error(at!["device", n], text!("这个设备的文字太长", "the texts of this device are too long"));
    }
    short
}

fn profile(desk: &mut Desk<'_>, n: usize, table: &DeviceTable, library: &Library) -> Option<Arc<Profile>> {
    let profile = library.profile(&table.profile);
    // a profile with mistakes of its own is told where they stand
    if profile.is_none() && !library.is_broken(&table.profile) {
        let id = &table.profile;
        let ids: Vec<&str> = library.ids().map(|id| id.as_str()).collect();
        let told = text!("没有型号 \"{id}\"", "there is no profile \"{id}\"");
        desk.dangling(at!["device", n, "profile"], told, id, &ids);
    }
    profile
}

fn bus(desk: &mut Desk<'_>, n: usize, table: &DeviceTable, buses: &[KnownBus]) -> Option<BusKind> {
    match buses.iter().find(|bus| bus.id == table.bus) {
        Some(bus) => bus.kind,
        None => {
            let id = &table.bus;
            let ids: Vec<&str> = buses.iter().map(|bus| bus.id.as_str()).collect();
            desk.dangling(
                at!["device", n, "bus"],
                text!("没有总线 \"{id}\"", "there is no bus \"{id}\""),
                id,
                &ids,
            );
            None
        }
    }
}

/// True if the product speaks what the bus carries.
fn speaks(
    desk: &mut Desk<'_>,
    n: usize,
    table: &DeviceTable,
    profile: &Profile,
    kind: BusKind,
    buses: &[KnownBus],
) -> bool {
    let carries = |kind: BusKind| match &profile.link {
        Link::Modbus(_) => kind.is_modbus(),
        Link::Serial(_) => kind == BusKind::Serial,
        Link::Mqtt(_) => kind == BusKind::Mqtt,
        Link::Dlt645(_) => kind.has_meters(),
    };
    if carries(kind) {
        return true;
    }
    let spoken = match &profile.link {
        Link::Modbus(_) => "modbus",
        Link::Serial(_) => "serial",
        Link::Mqtt(_) => "mqtt",
        Link::Dlt645(_) => "dlt645",
    };
    let (id, bus, kind) = (&table.profile, &table.bus, kind.word());
    let told = text!(
        "型号 \"{id}\" 说的是 {spoken}，总线 \"{bus}\" 是 {kind}",
        "profile \"{id}\" speaks {spoken}, bus \"{bus}\" is {kind}"
    );
    let fitting = buses.iter().filter(|bus| bus.kind.is_some_and(carries));
    let fitting: Vec<&str> = fitting.map(|bus| bus.id.as_str()).collect();
    desk.dangling(at!["device", n, "bus"], told, "", &fitting);
    false
}

/// Ids are told apart before anything else is known of the devices: one complaint for each table.
fn own_ids(desk: &mut Desk<'_>, n: usize, table: &DeviceTable, range: &Range, ids: &mut Taken<String>) {
    let path = at!["device", n, "id"];
    desk.kebab(path, &fill(&table.id, range.first()));
    if !table.id.contains("{n}") && range.len() > 1 {
        let told = text!(
            "repeat 下的 id 要有 {{n}}，否则都同名",
            "under repeat the id needs {{n}}, or all have one name"
        );
        desk.error(path, told);
        return;
    }
    for number in range.numbers() {
        let id = fill(&table.id, number);
        if let Some(line) = ids.before(id.clone(), desk.document.place(path)) {
            desk.error(
                path,
                text!(
                    "设备 \"{id}\" 重复（第 {line} 行已有）",
                    "device \"{id}\" is there twice (line {line})"
                ),
            );
            return;
        }
    }
}

/// One device for each number, until the first that cannot be.
fn spread(
    desk: &mut Desk<'_>,
    entry: &Entry<'_>,
    range: &Range,
    shared: &mut Shared,
    devices: &mut Vec<Device>,
) {
    let Entry { table, kind, profile, .. } = entry;
    for number in range.numbers() {
        let Some(address) = address(desk, entry, number) else { return };
        if !own_address(desk, entry, &address, shared) {
            return;
        }
        let id = fill(&table.id, number);
        let name = table.name.as_ref().map_or_else(|| id.clone(), |name| fill(name, number));
        let tags = table.tags.iter().map(|(key, value)| (key.clone(), fill(value, number)));
        devices.push(Device {
            id: DeviceId::from(id),
            name,
            profile: profile.clone(),
            bus: table.bus.clone(),
            medium: kind.medium(),
            address,
            tags: tags.collect(),
        });
    }
}

fn address(desk: &mut Desk<'_>, entry: &Entry<'_>, number: Option<u32>) -> Option<Address> {
    let Entry { n, table, kind, .. } = entry;
    let (wanted, unwanted, has_unwanted) = match kind.is_modbus() {
        true => ("unit", "address", table.address.is_some()),
        false => ("address", "unit", table.unit.is_some()),
    };
    if has_unwanted {
        let place = desk.document.key_place(at!["device", *n, unwanted]);
        let (bus, kind) = (&table.bus, kind.word());
        let told = text!(
            "总线 \"{bus}\" 是 {kind}：设备写 {wanted}，不写 {unwanted}",
            "bus \"{bus}\" is {kind}: its devices have `{wanted}`, not `{unwanted}`"
        );
        desk.problems.error(place, told);
        return None;
    }
    match kind {
        BusKind::ModbusTcp
        | BusKind::ModbusRtu
        | BusKind::ModbusRtuTcp
        | BusKind::ModbusAscii
        | BusKind::ModbusDtu => unit(desk, entry, number),
        BusKind::Serial => serial_address(desk, entry, number),
        BusKind::Mqtt => topic_address(desk, entry, number),
        BusKind::Dlt645 | BusKind::Dlt645Tcp => meter_address(desk, entry, number),
    }
}

/// 1 to 247 (Modbus Application Protocol 1.1b3, 4.1); over TCP also 0 and 255, which devices without units behind them
/// answer to (Modbus Messaging on TCP/IP 1.0b, 4.4.1.2).
fn unit(desk: &mut Desk<'_>, entry: &Entry<'_>, number: Option<u32>) -> Option<Address> {
    let Some(written) = &entry.table.unit else { return absent(desk, entry, "unit") };
    let path = at!["device", entry.n, "unit"];
    let unit = fill(&written.0, number);
    let tcp = entry.kind == BusKind::ModbusTcp;
    match unit.parse::<u8>() {
        Ok(unit) if (1..=247).contains(&unit) || (tcp && matches!(unit, 0 | 255)) => {
            Some(Address::Unit(unit))
        }
        Ok(_) | Err(_) => {
            let legal = if tcp { "1–247, 0, 255" } else { "1–247" };
            let told =
                text!("Modbus 站号 \"{unit}\" 不行：{legal}", "\"{unit}\" is no Modbus unit id: {legal}");
            desk.error(path, told);
            None
        }
    }
}

/// The byte that tells devices on one line apart, where the profile says that frames or requests carry one.
fn serial_address(desk: &mut Desk<'_>, entry: &Entry<'_>, number: Option<u32>) -> Option<Address> {
    let Link::Serial(link) = &entry.profile.link else { return None };
    let used = is_addressed(link);
    let Some(written) = &entry.table.address else {
        return if used { absent(desk, entry, "address") } else { Some(Address::Text(String::new())) };
    };
    let address = fill(written, number);
    if !used {
        return Some(Address::Text(address));
    }
    let mask = link.frame.address.map_or(u8::MAX, |(_, mask)| mask);
    if byte(&address).is_none_or(|byte| byte & mask != byte) {
        let path = at!["device", entry.n, "address"];
        let told = text!(
            "地址 \"{address}\" 不行：应为一个字节，最大 0x{mask:02X}",
            "\"{address}\" is no address here: one byte, 0x{mask:02X} at the most"
        );
        desk.error_with_help(path, told, text!("例如 \"5\" 或 \"0x05\"", "such as \"5\" or \"0x05\""));
        return None;
    }
    Some(Address::Text(address))
}

/// True if frames or requests carry an address.
fn is_addressed(link: &SerialLink) -> bool {
    let sent = link.requests.iter().any(|request| request.send.iter().any(Option::is_none));
    sent || link.frame.address.is_some()
}

fn topic_address(desk: &mut Desk<'_>, entry: &Entry<'_>, number: Option<u32>) -> Option<Address> {
    let Link::Mqtt(link) = &entry.profile.link else { return None };
    let Some(written) = &entry.table.address else {
        let used = link.topic.contains("{address}");
        return if used { absent(desk, entry, "address") } else { Some(Address::Text(String::new())) };
    };
    let address = fill(written, number);
    if address.is_empty() || address.contains(['+', '#', '\0']) {
        let told = text!(
            "地址 \"{address}\" 不能放进 MQTT 主题",
            "\"{address}\" cannot stand in an MQTT topic: it is empty or has +, # or NUL"
        );
        desk.error(at!["device", entry.n, "address"], told);
        return None;
    }
    Some(Address::Text(address))
}

/// The meter's number (通信地址), with the zeros that people leave out.
fn meter_address(desk: &mut Desk<'_>, entry: &Entry<'_>, number: Option<u32>) -> Option<Address> {
    let Some(written) = &entry.table.address else { return absent(desk, entry, "address") };
    let address = fill(written, number);
    match Station::of(&address).filter(|station| station.is_one_meter()) {
        Some(station) => Some(Address::Text(station.to_string())),
        None => {
            let told = text!(
                "表号 \"{address}\" 不行：1 到 12 位数字，不能全是 9（广播）",
                "\"{address}\" is no meter's number: 1 to 12 digits, not all of them 9 (that is everybody)"
            );
            let help =
                text!("照表上的写，例如 \"123456781012\"", "as printed on it, such as \"123456781012\"");
            desk.error_with_help(at!["device", entry.n, "address"], told, help);
            None
        }
    }
}

/// The key that a device of this bus needs is not there. Told at the bus it hangs on, which is why it needs it.
fn absent(desk: &mut Desk<'_>, entry: &Entry<'_>, key: &str) -> Option<Address> {
    let (bus, kind) = (&entry.table.bus, entry.kind.word());
    let told = text!(
        "总线 \"{bus}\" 是 {kind}：设备要写 {key}",
        "bus \"{bus}\" is {kind}: its devices need `{key}`"
    );
    desk.error(at!["device", entry.n, "bus"], told);
    None
}

/// True if nobody else is reached the same way: the unit, the serial byte, the topic.
fn own_address(desk: &mut Desk<'_>, entry: &Entry<'_>, address: &Address, shared: &mut Shared) -> bool {
    let (key, reached): (&str, String) = match (address, &entry.profile.link) {
        (Address::Unit(unit), _) => ("unit", unit.to_string()),
        (Address::Text(text), Link::Mqtt(link)) => ("address", link.topic.replace("{address}", text)),
        (Address::Text(_), Link::Serial(link)) if !is_addressed(link) => ("address", ALONE.to_owned()),
        (Address::Text(text), Link::Dlt645(_)) => ("address", text.clone()),
        (Address::Text(text), Link::Serial(_) | Link::Modbus(_)) => {
            ("address", byte(text).map_or_else(|| text.clone(), |byte| byte.to_string()))
        }
    };
    let path = [Step::from("device"), entry.n.into(), key.into()];
    let bus = &entry.table.bus;
    let place = desk.document.place(&path);
    let Some(line) = shared.addresses.before((bus.to_string(), reached.clone()), place) else { return true };
    if reached == ALONE {
        let told = text!(
            "总线 \"{bus}\" 上已有设备（第 {line} 行）：这种帧里没有地址，分不清两台",
            "bus \"{bus}\" has a device already (line {line}): nothing in these frames tells two apart"
        );
        desk.error(&path, told);
        return false;
    }
    let told = text!(
        "总线 \"{bus}\" 上的 {key} \"{reached}\" 已被占用（第 {line} 行）",
        "{key} \"{reached}\" on bus \"{bus}\" is taken already (line {line})"
    );
    desk.error(&path, told);
    false
}

/// Decimal or 0x hex.
fn byte(text: &str) -> Option<u8> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u8::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
