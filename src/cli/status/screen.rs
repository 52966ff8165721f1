//! The screen of `status`: the gateway, its alarms, its devices, its endpoints, in that order.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};

use super::{Gateway, Seen, failing, messages, trouble};
use crate::{
    cli::{
        alarms::{local, overlay_words, priority_word, shown_state},
        credits::books,
    },
    config::{BusLink, Site},
    domain::{
        Diagnosis, HindranceKind, Lang, Period, TimeQuality,
        status::{ClockStep, DeviceStatus, FlashStatus, LinkState, Live},
    },
    say,
    store::Delivery,
};

/// More alarms or devices in trouble than this are summed up: it is one screen.
const MOST_LINES: usize = 20;

pub(super) fn print(out: &mut impl Write, site: &Site, seen: &Seen, lang: Lang) -> io::Result<()> {
    print_gateway(out, &site.name, &seen.gateway, lang)?;
    print_alarms(out, seen, &site.timezone, lang)?;
    if let Some(live) = seen.live() {
        print_devices(out, site, live, lang)?;
        messages::print(out, live, &site.timezone, lang)?;
    }
    print_books(out, seen, lang)?;
    site.endpoints.iter().try_for_each(|endpoint| print_endpoint(out, seen, &endpoint.id, lang))
}

/// Of devices that give points: only what somebody has to look at.
fn print_books(out: &mut impl Write, seen: &Seen, lang: Lang) -> io::Result<()> {
    const ODD: &str = "⚠ ";
    for (device, account) in &seen.books {
        let lines = books(account, lang);
        for odd in lines.iter().filter_map(|line| line.strip_prefix(ODD)) {
            writeln!(out, "{ODD}{device} · {odd}")?;
        }
    }
    Ok(())
}

fn print_gateway(out: &mut impl Write, name: &str, gateway: &Gateway, lang: Lang) -> io::Result<()> {
    let live = match gateway {
        Gateway::Runs(live) => live,
        Gateway::Rests => {
            let told = say!(
                lang,
                "{name} · ✕ 网关没有运行（以下为已保存的内容）",
                "{name} · ✕ the gateway is not running (what follows is what was stored)"
            );
            return writeln!(out, "{told}");
        }
        Gateway::Mute(why) => {
            let why = why.get(lang);
            let told = say!(
                lang,
                "{name} · ✕ 网关没有应答（{why}）（以下为已保存的内容）",
                "{name} · ✕ the gateway does not answer ({why}; what follows is what was stored)"
            );
            return writeln!(out, "{told}");
        }
    };
    let since = ago(live.started_at, lang);
    let devices = live.devices.len();
    let online = live.devices.iter().filter(|device| device.link == LinkState::Online).count();
    let clock = clock_word(live.time_quality, lang);
    let told = say!(
        lang,
        "{name} · 运行中，{since}启动 · 设备 {online}/{devices} 在线 · 时钟{clock}",
        "{name} · running, started {since} · devices {online}/{devices} online · clock {clock}"
    );
    writeln!(out, "{told}")?;
    print_clock(out, live, lang)?;
    if let Some(why) = &live.storage {
        let told = say!(
            lang,
            "✕ 报警无法保存（{why}）：网关继续重试，请检查磁盘",
            "✕ alarms cannot be stored ({why}): the gateway keeps trying; look at the disk"
        );
        writeln!(out, "{told}")?;
    }
    if live.readings_lost > 0 {
        let lost = live.readings_lost;
        let told = say!(
            lang,
            "✕ 磁盘跟不上：丢失 {lost} 行读数（报警不受影响）",
            "✕ the disk does not keep up: {lost} rows of readings were lost (alarms are not affected)"
        );
        writeln!(out, "{told}")?;
    }
    live.flash.map_or(Ok(()), |flash| print_flash(out, &flash, lang))
}

/// Times that prove nothing, and times that may come twice or lack.
fn print_clock(out: &mut impl Write, live: &Live, lang: Lang) -> io::Result<()> {
    let doubt = match live.time_quality {
        TimeQuality::Unset => Some(say!(
            lang,
            "✕ 时钟未设定（早于本机已有的记录）：报警照常发送，但时间不能作为证据 → 接通校时（NTP），或由管理员设定时间",
            "✕ the clock is not set (it stands before what is stored): alarms go all the same, their times prove nothing → let it reach a time server (NTP), or set it"
        )),
        TimeQuality::Restored => Some(say!(
            lang,
            "⚠ 时钟恢复自上次停机时刻，慢了断电的那段时间 → 接通校时（NTP），或加装时钟电池",
            "⚠ the clock goes on from where it stood at the last end, late by as long as the box was off → let it reach a time server (NTP), or add a clock battery"
        )),
        TimeQuality::Synced | TimeQuality::Holdover => None,
    };
    if let Some(doubt) = doubt {
        writeln!(out, "{doubt}")?;
    }
    let Some(ClockStep { by_ms, ago_s }) = live.clock_step else { return Ok(()) };
    let by = Period(Duration::from_secs(by_ms.unsigned_abs().div_ceil(1000)));
    let ago = Period(Duration::from_secs(ago_s));
    let told = match by_ms < 0 {
        true => say!(lang, "○ 时钟在 {ago}前被拨回 {by}", "○ the clock was put back by {by}, {ago} ago"),
        false => say!(lang, "○ 时钟在 {ago}前被拨快 {by}", "○ the clock was put forward by {by}, {ago} ago"),
    };
    writeln!(out, "{told}")
}

/// How much a day, how much is allowed, how long that goes well.
fn print_flash(out: &mut impl Write, flash: &FlashStatus, lang: Lang) -> io::Result<()> {
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    let sign = if flash.beyond_budget() { "⚠" } else { "○" };
    let today = mib(flash.written_today as f64);
    let mut told = say!(lang, "{sign} 闪存：今天写入 {today}", "{sign} flash: {today} written today");
    if let Some(budget) = flash.budget_per_day.map(|budget| mib(budget as f64)) {
        told += &say!(lang, "（每天预算 {budget}）", " (the budget is {budget} a day)");
    }
    if let Some(pace) = flash.written_per_day.map(mib) {
        told += &say!(lang, "；近来每天 {pace}", "; {pace} a day lately");
    }
    if let Some(years) = flash.years_left {
        told += &say!(lang, "；照此可用 {years:.1} 年", "; at this pace it lasts {years:.1} years");
    }
    writeln!(out, "{told}")
}

fn print_alarms(out: &mut impl Write, seen: &Seen, zone: &TimeZone, lang: Lang) -> io::Result<()> {
    if seen.alarms.is_empty() {
        return writeln!(out, "{}", say!(lang, "● 没有未关闭的报警", "● no open alarms"));
    }
    for alarm in seen.alarms.iter().take(MOST_LINES) {
        let (priority, state) =
            (priority_word(alarm.priority, lang), shown_state(alarm.state, &alarm.overlay, lang));
        let (title, device, id) = (alarm.title.get(lang), &alarm.device_name, &alarm.occurrence);
        let raised = local(alarm.raised_at, zone);
        let over = overlay_words(&alarm.overlay, zone, lang);
        let over = over.iter().fold(String::new(), |line, word| line + " · " + word);
        writeln!(out, "{priority} · {title} · {device} · {state}{over} · {raised} · {id}")?;
    }
    match seen.alarms.len().saturating_sub(MOST_LINES) {
        0 => Ok(()),
        more => {
            let told = say!(
                lang,
                "… 还有 {more} 条报警（gatehouse alarms list）",
                "… and {more} more alarms (gatehouse alarms list)"
            );
            writeln!(out, "{told}")
        }
    }
}

/// Those that were lost, one by one; those that have not had their turn to speak yet, as a number.
fn print_devices(out: &mut impl Write, site: &Site, live: &Live, lang: Lang) -> io::Result<()> {
    let links: HashMap<&str, &BusLink> = site.buses.iter().map(|bus| (bus.id.as_str(), &bus.link)).collect();
    print_buses(out, &links, live, lang)?;
    let alone = |device: &&DeviceStatus| !line_is_down(device);
    let those = |link: LinkState| live.devices.iter().filter(move |device| device.link == link).filter(alone);
    for device in those(LinkState::Lost).take(MOST_LINES) {
        writeln!(out, "{}", offline(device, lang))?;
    }
    let more = those(LinkState::Lost).count().saturating_sub(MOST_LINES);
    if more > 0 {
        writeln!(out, "{}", say!(lang, "… 还有 {more} 台离线", "… and {more} more offline"))?;
    }
    for device in those(LinkState::Online).filter(|device| device.diagnosis.is_some()).take(MOST_LINES) {
        let (id, bus) = (&device.id, &device.bus);
        let told = device.diagnosis.as_ref().map_or_else(String::new, |told| told.line(lang));
        writeln!(out, "{}", say!(lang, "⚠ {id}（总线 {bus}）：{told}", "⚠ {id} (bus {bus}): {told}"))?;
    }
    match those(LinkState::Unknown).count() {
        0 => Ok(()),
        1 => writeln!(
            out,
            "{}",
            say!(lang, "○ 1 台设备启动后尚未上报", "○ 1 device not heard since the start")
        ),
        count => {
            let told =
                say!(lang, "○ {count} 台设备启动后尚未上报", "○ {count} devices not heard since the start");
            writeln!(out, "{told}")
        }
    }
}

/// A line that does not work is one trouble, not one for each of its devices.
fn print_buses(
    out: &mut impl Write,
    links: &HashMap<&str, &BusLink>,
    live: &Live,
    lang: Lang,
) -> io::Result<()> {
    for bus in &live.buses {
        let id = &bus.id;
        let mut hit = live.devices.iter().filter(|device| device.bus == *id && line_is_down(device));
        if let Some(told) = hit.next().and_then(|device| device.diagnosis.as_ref()) {
            let (told, devices) = (told.line(lang), hit.count() + 1);
            let line = say!(
                lang,
                "✕ 总线 {id}（{devices} 台设备）：{told}",
                "✕ bus {id} ({devices} devices): {told}"
            );
            writeln!(out, "{line}")?;
        }
        if bus.strangers > 0 && links.get(id.as_str()).copied().is_some_and(is_serial) {
            let (count, told) = (bus.strangers, Diagnosis::unasked().line(lang));
            writeln!(
                out,
                "{}",
                say!(lang, "○ 总线 {id}（{count} 次）：{told}", "○ bus {id} ({count} times): {told}")
            )?;
        }
    }
    Ok(())
}

fn is_serial(link: &BusLink) -> bool {
    matches!(link, BusLink::ModbusRtu(_) | BusLink::ModbusAscii(_) | BusLink::Serial(_) | BusLink::Dlt645(_))
}

/// Not the device is silent but its line is down.
fn line_is_down(device: &DeviceStatus) -> bool {
    device.diagnosis.as_ref().is_some_and(Diagnosis::is_of_the_line)
}

fn offline(device: &DeviceStatus, lang: Lang) -> String {
    let (id, bus) = (&device.id, &device.bus);
    let last = device.answered_at.map_or_else(|| say!(lang, "从未应答", "never heard"), |at| ago(at, lang));
    let told = device.diagnosis.as_ref().map_or_else(String::new, |told| told.line(lang));
    say!(
        lang,
        "✕ 离线 {id}（总线 {bus}），最近应答：{last}。{told}",
        "✕ offline {id} (bus {bus}), last heard: {last}. {told}"
    )
}

fn print_endpoint(out: &mut impl Write, seen: &Seen, id: &str, lang: Lang) -> io::Result<()> {
    let delivery = seen.deliveries.iter().find(|delivery| delivery.endpoint == id);
    let delivered = delivery.map_or(0, |delivery| delivery.delivered);
    let waiting = waiting(delivery, lang);
    match failing(seen, id, lang) {
        Some(why) => {
            let next =
                delivery.and_then(|delivery| delivery.next_at).map_or_else(String::new, |at| until(at, lang));
            let told = say!(
                lang,
                "✕ 上报目标 {id}：失败，{waiting}（{why}）{next}",
                "✕ endpoint {id}: failing, {waiting} ({why}){next}"
            );
            writeln!(out, "{told}")?;
            match trouble(seen, id).and_then(|word| HindranceKind::of(&word)) {
                Some(kind) => writeln!(out, "  {}: {}", kind.title().get(lang), kind.advice().get(lang)),
                None => Ok(()),
            }
        }
        None => {
            let told = say!(
                lang,
                "● 上报目标 {id}：已送达 {delivered}，{waiting}",
                "● endpoint {id}: {delivered} delivered, {waiting}"
            );
            writeln!(out, "{told}")
        }
    }
}

/// What waits: how much of it is critical, and what was set aside.
fn waiting(delivery: Option<&Delivery>, lang: Lang) -> String {
    let (queued, critical, aside) =
        delivery.map_or((0, 0, 0), |delivery| (delivery.queued, delivery.critical, delivery.set_aside));
    let critical = match critical {
        0 => String::new(),
        _ => say!(lang, "（其中紧急 {critical}）", " ({critical} critical)"),
    };
    let aside = match aside {
        0 => String::new(),
        _ => say!(lang, "，被拒收搁置 {aside}（delivery show）", ", {aside} set aside (delivery show)"),
    };
    say!(lang, "待发 {queued}{critical}{aside}", "{queued} queued{critical}{aside}")
}

fn clock_word(quality: TimeQuality, lang: Lang) -> String {
    match quality {
        TimeQuality::Synced => say!(lang, "已对时", "synchronised"),
        TimeQuality::Holdover => say!(lang, "未确认对时", "not confirmed"),
        TimeQuality::Restored => say!(lang, "恢复自上次记录", "restored"),
        TimeQuality::Unset => say!(lang, "未设置", "not set"),
    }
}

fn ago(at: Timestamp, lang: Lang) -> String {
    let seconds = Timestamp::now().duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => say!(lang, "{seconds} 秒前", "{seconds} s ago"),
        120..7200 => {
            let minutes = seconds / 60;
            say!(lang, "{minutes} 分钟前", "{minutes} min ago")
        }
        _ => {
            let hours = seconds / 3600;
            say!(lang, "{hours} 小时前", "{hours} h ago")
        }
    }
}

fn until(at: Timestamp, lang: Lang) -> String {
    let seconds = at.duration_since(Timestamp::now()).as_secs().max(0);
    say!(lang, "，{seconds} 秒后重试", ", next try in {seconds} s")
}

#[cfg(test)]
mod tests;
