//! `gatehouse check --plan`: what each bus is asked, what that takes of its line, and what dead units would cost.

use std::io::{self, Write};

use comfy_table::{Table as Grid, presets::NOTHING};
use serde::Serialize;

use crate::{
    config::{
        Bus, BusLink, Site,
        line_time::{budgets, slowed},
    },
    domain::{Lang, Period, Table, units::about},
    fieldbus::{
        budget::{Budget, Dead, Fleet, Pace, Priced},
        plan::Ask,
    },
    profile::{FrameLength, Link},
    say,
};

/// One bus under `--json`.
#[derive(Serialize)]
struct BusRecord<'a> {
    bus: &'a str,
    kind: &'static str,
    line: String,
    units: usize,
    /// 1 = all of its time.
    utilisation: f64,
    cycle_ms: f64,
    room: Option<usize>,
    requests: Vec<RequestRecord>,
    dead: Vec<DeadRecord>,
}

#[derive(Serialize)]
struct RequestRecord {
    units: usize,
    profile: String,
    /// Of a block of registers or bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u16>,
    /// Of a declared frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    points: Vec<String>,
    every_ms: f64,
    /// What the line can do.
    achieved_ms: f64,
    urgent: bool,
    cost_ms: f64,
    silence_ms: f64,
    utilisation: f64,
}

#[derive(Serialize)]
struct DeadRecord {
    dead: usize,
    found_out_after_ms: f64,
    worst_cycle_ms: f64,
    utilisation: f64,
    probed_within_ms: f64,
}

/// The busiest bus and how busy it would be, for the summary; `None` if nobody is asked anything.
pub(super) fn busiest(site: &Site) -> Option<(&str, f64)> {
    let polled = budgets(site).into_iter().filter(|(_, budget)| budget.is_polled());
    let busy = polled.map(|(bus, budget)| (bus.id.as_str(), budget.utilisation()));
    busy.max_by(|one, other| one.1.total_cmp(&other.1))
}

pub(super) fn write_text(site: &Site, lang: Lang, out: &mut impl Write) -> io::Result<()> {
    for (bus, budget) in budgets(site) {
        write_bus(bus, &budget, lang, out)?;
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn write_json(site: &Site, out: &mut impl Write) -> io::Result<()> {
    for (bus, budget) in budgets(site) {
        serde_json::to_writer(&mut *out, &record(bus, &budget))?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_bus(bus: &Bus, budget: &Budget, lang: Lang, out: &mut impl Write) -> io::Result<()> {
    let (id, line, units) = (&bus.id, line(&bus.link), budget.units());
    if !budget.is_polled() {
        let told = say!(
            lang,
            "总线 {id} · {line} · {units} 台：设备自己上报，不用采集",
            "bus {id} · {line} · {units} units: they speak by themselves, nothing is asked"
        );
        return writeln!(out, "{told}");
    }
    writeln!(out, "{}", say!(lang, "总线 {id} · {line} · {units} 台", "bus {id} · {line} · {units} units"))?;
    let pace = budget.pace();
    writeln!(out, "{}", requests(budget, pace, lang).trim_fmt())?;
    let (cycle, busy) = (about(budget.cycle()), percent(budget.utilisation()));
    let sum = say!(
        lang,
        "  每轮 {cycle} · 总线占用率 {busy}",
        "  asked once each: {cycle} · bus utilisation {busy}"
    );
    writeln!(out, "{sum}{}", room(budget, lang))?;
    if let Some(pace) = pace {
        let told = slowed(budget, pace);
        writeln!(out, "  {}", told.get(lang))?;
    }
    deaths(budget).iter().try_for_each(|dead| writeln!(out, "  {}", told_dead(dead, units, lang)))
}

/// What each unit is asked, alike units folded.
fn requests(budget: &Budget, pace: Option<Pace>, lang: Lang) -> Grid {
    let mut grid = Grid::new();
    let mut header = vec![
        say!(lang, " 设备", " UNITS"),
        say!(lang, "读什么", "ASKED"),
        say!(lang, "采集周期", "EVERY"),
        say!(lang, "每次", "TAKES"),
        say!(lang, "占用", "BUSY"),
    ];
    if pace.is_some() {
        header.push(say!(lang, "实际约", "REALLY ABOUT"));
    }
    grid.load_style(NOTHING).set_header(header);
    for (fleet, priced) in priced(budget) {
        let (units, profile) = (fleet.units, &fleet.profile.id);
        let mut row = vec![
            format!(" {units} × {profile}"),
            asked(&priced.request.ask, &fleet.profile.link, lang),
            Period(priced.request.every).to_string(),
            cost(priced, &fleet.profile.link),
            percent(units as f64 * priced.share()),
        ];
        if let Some(pace) = pace {
            row.push(match pace.of(priced) {
                kept if kept == priced.request.every => Period(kept).to_string(),
                slower => about(slower),
            });
        }
        grid.add_row(row);
    }
    grid
}

fn priced(budget: &Budget) -> impl Iterator<Item = (&Fleet, &Priced)> {
    budget.fleets.iter().flat_map(|fleet| fleet.requests.iter().map(move |priced| (fleet, priced)))
}

/// On a network units do not compete for the line, so nothing is said there.
fn room(budget: &Budget, lang: Lang) -> String {
    match (budget.line.is_narrow(), budget.room()) {
        (false, _) => String::new(),
        (true, 0) => say!(lang, " · 不能再加设备", " · no room for more"),
        (true, more) => say!(lang, " · 可再加约 {more} 台", " · room for about {more} more like these"),
    }
}

/// One, a quarter and half of the units.
fn deaths(budget: &Budget) -> Vec<Dead> {
    let units = budget.units();
    let mut counts = vec![1, units.div_ceil(4), units.div_ceil(2)];
    counts.dedup();
    counts.retain(|dead| *dead < units);
    counts.into_iter().map(|dead| budget.with_dead(dead)).collect()
}

fn told_dead(dead: &Dead, of: usize, lang: Lang) -> String {
    let Dead { units, found_out_after, worst_cycle, utilisation, probed_within } = *dead;
    let (found, worst) = (about(found_out_after), about(worst_cycle));
    let (busy, within) = (percent(utilisation), about(probed_within));
    say!(
        lang,
        "{of} 台坏 {units} 台：判定离线前共占线 {found}（最长一轮 {worst}），之后占用率 {busy}，恢复后 {within} 内发现",
        "{units} of {of} dead: {found} of line time until they are known to be lost (longest round {worst}), then {busy} busy; \
         one that comes back is seen within {within}"
    )
}

fn asked(ask: &Ask, link: &Link, lang: Lang) -> String {
    match (ask, link) {
        (Ask::Block { table, first, count }, _) => {
            let table = table_word(*table, lang);
            match count {
                0 | 1 => format!("{table} 0x{first:04X}"),
                more => format!("{table} 0x{first:04X}–0x{:04X}", u32::from(*first) + u32::from(*more) - 1),
            }
        }
        (Ask::Frame { .. }, link) => frame_name(ask, link),
    }
}

/// Of an answer whose length is not known only what is read of it is counted.
fn cost(priced: &Priced, link: &Link) -> String {
    let cost = about(priced.cost);
    match link {
        Link::Serial(link) if !matches!(link.frame.length, FrameLength::Fixed(_)) => format!("≥ {cost}"),
        Link::Serial(_) | Link::Modbus(_) | Link::Dlt645(_) | Link::Mqtt(_) => cost,
    }
}

/// What the profile calls the request.
fn frame_name(ask: &Ask, link: &Link) -> String {
    match (ask, link) {
        (Ask::Frame { request }, Link::Serial(link)) => {
            link.requests.get(usize::from(*request)).map(|request| request.name.clone()).unwrap_or_default()
        }
        (Ask::Frame { request }, Link::Dlt645(link)) => {
            link.items.get(usize::from(*request)).map(|item| format!("{:08X}", item.id)).unwrap_or_default()
        }
        (
            Ask::Frame { .. } | Ask::Block { .. },
            Link::Serial(_) | Link::Modbus(_) | Link::Dlt645(_) | Link::Mqtt(_),
        ) => String::new(),
    }
}

fn table_word(table: Table, lang: Lang) -> String {
    match table {
        Table::Coil => say!(lang, "线圈", "coil"),
        Table::Discrete => say!(lang, "离散输入", "discrete input"),
        Table::Holding => say!(lang, "保持寄存器", "holding register"),
        Table::Input => say!(lang, "输入寄存器", "input register"),
    }
}

fn kind(link: &BusLink) -> &'static str {
    match link {
        BusLink::ModbusTcp(_) => "modbus_tcp",
        BusLink::ModbusRtu(_) => "modbus_rtu",
        BusLink::Serial(_) => "serial",
        BusLink::Mqtt { .. } => "mqtt",
        BusLink::Dlt645(_) => "dlt645",
        BusLink::Dlt645Tcp(_) => "dlt645_tcp",
        BusLink::ModbusRtuTcp(_) => "modbus_rtu_tcp",
        BusLink::ModbusAscii(_) => "modbus_ascii",
        BusLink::ModbusDtu(_) => "modbus_dtu",
    }
}

fn line(link: &BusLink) -> String {
    match link {
        BusLink::ModbusTcp(tcp) => format!("{}:{}", tcp.host, tcp.port),
        BusLink::ModbusRtuTcp(server) => {
            format!("{}:{} {} {}", server.host, server.port, server.baud, server.framing)
        }
        BusLink::ModbusDtu(modem) => format!("{} {}", modem.listen, modem.registration),
        BusLink::ModbusRtu(line) | BusLink::ModbusAscii(line) | BusLink::Serial(line) => {
            format!("{} {} {}", line.port.display(), line.baud, line.framing)
        }
        BusLink::Mqtt { broker, .. } => format!("{}:{}", broker.address.host, broker.address.port),
        BusLink::Dlt645(line) => format!("{} {} {}", line.port.display(), line.baud, line.framing),
        BusLink::Dlt645Tcp(tcp) => format!("{}:{}", tcp.host, tcp.port),
    }
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        small @ ..10.0 => format!("{small:.1}%"),
        more => format!("{more:.0}%"),
    }
}

fn record<'a>(bus: &'a Bus, budget: &Budget) -> BusRecord<'a> {
    let pace = budget.pace();
    let narrow = budget.is_polled() && budget.line.is_narrow();
    BusRecord {
        bus: &bus.id,
        kind: kind(&bus.link),
        line: line(&bus.link),
        units: budget.units(),
        utilisation: budget.utilisation(),
        cycle_ms: milliseconds(budget.cycle()),
        room: narrow.then(|| budget.room()),
        requests: priced(budget).map(|(fleet, priced)| request_record(fleet, priced, pace)).collect(),
        dead: if budget.is_polled() { deaths(budget).iter().map(dead_record).collect() } else { Vec::new() },
    }
}

fn request_record(fleet: &Fleet, priced: &Priced, pace: Option<Pace>) -> RequestRecord {
    let request = &priced.request;
    let name = |point: &crate::domain::PointIx| fleet.profile.points[usize::from(point.0)].name.to_string();
    let (table, first, count, frame) = match request.ask {
        Ask::Block { table, first, count } => (Some(table), Some(first), Some(count), None),
        Ask::Frame { .. } => (None, None, None, Some(frame_name(&request.ask, &fleet.profile.link))),
    };
    let achieved = pace.map_or(request.every, |pace| pace.of(priced));
    RequestRecord {
        units: fleet.units,
        profile: fleet.profile.id.to_string(),
        table,
        first,
        count,
        request: frame,
        points: request.points.iter().map(name).collect(),
        every_ms: milliseconds(request.every),
        achieved_ms: milliseconds(achieved),
        urgent: priced.urgent,
        cost_ms: milliseconds(priced.cost),
        silence_ms: milliseconds(priced.silence),
        utilisation: fleet.units as f64 * priced.share(),
    }
}

fn dead_record(dead: &Dead) -> DeadRecord {
    DeadRecord {
        dead: dead.units,
        found_out_after_ms: milliseconds(dead.found_out_after),
        worst_cycle_ms: milliseconds(dead.worst_cycle),
        utilisation: dead.utilisation,
        probed_within_ms: milliseconds(dead.probed_within),
    }
}

/// To the microsecond.
fn milliseconds(time: std::time::Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::config;

    const SITE: &str = "[site]\nid = 'yard'\n\
        [[bus]]\nid = 'lifts'\nmodbus_rtu = { port = '/dev/ttyS7', baud = 19200, framing = '8E1' }\n\
        [[bus]]\nid = 'gates'\nserial = { port = '/dev/ttyS8' }\n\
        [[bus]]\nid = 'broker'\nmqtt = { url = 'mqtt://127.0.0.1', client_id = 'yard' }\n\
        [[device]]\nrepeat = '1..4'\nid = 'lift-{n}'\nprofile = 'elevator/monarch-nice3000'\nbus = 'lifts'\nunit = '{n}'\n\
        [[device]]\nid = 'gate'\nprofile = 'access-gate/osdp-v2-reader'\nbus = 'gates'\naddress = '1'\n\
        [[device]]\nid = 'space'\nprofile = 'parking-sensor/bosch-tps110'\nbus = 'broker'\naddress = 'x'\n";

    fn site() -> Site {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("gatehouse.toml");
        std::fs::write(&file, SITE).unwrap();
        config::look(&file).expect("nothing is wrong with it")
    }

    #[test]
    fn each_bus_tells_what_it_is_asked_and_what_that_takes() {
        let said = |lang| {
            let mut out = Vec::new();
            write_text(&site(), lang, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let zh = said(Lang::Zh);
        for part in [
            "总线 lifts · /dev/ttyS7 19200 8E1 · 4 台\n",
            " 4 × elevator/monarch-nice3000  保持寄存器 0x1018–0x101D  1s ",
            "\n  每轮 ",
            " · 总线占用率 ",
            " · 可再加约 ",
            "\n  4 台坏 1 台：判定离线前共占线 ",
            "\n  4 台坏 2 台：",
            "总线 gates · /dev/ttyS8 9600 8N1 · 1 台\n",
            "  poll  ",
            "  ≥ ",
            "总线 broker · 127.0.0.1:1883 · 1 台：设备自己上报，不用采集\n",
        ] {
            assert!(zh.contains(part), "{part}:\n{zh}");
        }
        let en = said(Lang::En);
        for part in [
            "holding register 0x1018–0x101D",
            " · bus utilisation ",
            "1 of 4 dead: ",
            "they speak by themselves",
        ] {
            assert!(en.contains(part), "{part}:\n{en}");
        }
        assert_eq!(busiest(&site()).map(|(bus, _)| bus.to_owned()), Some("lifts".to_owned()));
    }

    #[test]
    fn under_json_each_bus_is_an_object_with_all_figures() {
        let mut out = Vec::new();
        write_json(&site(), &mut out).unwrap();
        let buses: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [lifts, gates, broker] = &buses[..] else { panic!("{buses:?}") };
        let sum: f64 =
            lifts["requests"].as_array().unwrap().iter().map(|r| r["utilisation"].as_f64().unwrap()).sum();
        assert!((sum - lifts["utilisation"].as_f64().unwrap()).abs() < 1e-9 && sum > 0.0, "{lifts}");
        let block = lifts["requests"].as_array().unwrap().iter().find(|r| r["first"] == 0x1018).unwrap();
        assert_eq!(
            (&block["count"], &block["every_ms"], &block["urgent"]),
            (&6.into(), &1000.0.into(), &true.into())
        );
        assert_eq!(lifts["dead"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&gates["requests"][0]["request"], &gates["dead"]),
            (&"poll".into(), &serde_json::json!([]))
        );
        assert_eq!((&broker["utilisation"], &broker["room"]), (&0.0.into(), &serde_json::Value::Null));
    }
}
