//! `status`: one screen about alarms, devices, buses, endpoints and the clock.

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{
    alarms::{local, priority_word, state_word},
    exit,
    site::SiteArgs,
};
use crate::{
    config::Site,
    console::door::{self, Answer, Question},
    domain::{
        AlarmState, Lang, TimeQuality,
        status::{LinkState, Live},
    },
    say,
    store::{AlarmFilter, AlarmRow, Delivery, Reader, StoreError},
};

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Exit 6 if an alarm is unacknowledged, 7 if an endpoint is failing / 用退出码表示状态
    #[arg(long)]
    exit_code: bool,
}

/// What can be known: the store's part always, the rest while the gateway runs.
struct Seen {
    alarms: Vec<AlarmRow>,
    deliveries: Vec<Delivery>,
    live: Option<Live>,
}

impl StatusArgs {
    /// # Errors
    /// If the store cannot be read or the answer cannot be printed.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        let site = match self.site.load(lang) {
            Ok(site) => site,
            Err(code) => return Ok(code),
        };
        let seen = look(&site)?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", record(&site, &seen))?;
        } else {
            print(&mut out, &site, &seen, lang)?;
        }
        Ok(if self.exit_code { code(&seen) } else { exit::OK })
    }
}

fn look(site: &Site) -> anyhow::Result<Seen> {
    let (alarms, deliveries) = match Reader::open(&site.store.dir) {
        Ok(reader) => (
            reader.alarms(&AlarmFilter::default()).context("read the alarms")?,
            reader.deliveries().context("read the deliveries")?,
        ),
        Err(StoreError::Missing { .. }) => (Vec::new(), Vec::new()),
        Err(error) => return Err(error).context("open the event store"),
    };
    let answer = super::run::runtime()?.block_on(door::visit(&site.store.dir, &Question::Status));
    let live = match answer {
        Ok(Answer::Status(live)) => Some(*live),
        Ok(Answer::Outcome(_) | Answer::NotUnderstood(_) | Answer::Busy | Answer::Stopping) | Err(_) => None,
    };
    Ok(Seen { alarms, deliveries, live })
}

fn unacknowledged(alarm: &AlarmRow) -> bool {
    match alarm.state {
        AlarmState::ActiveUnacknowledged | AlarmState::ReturnedUnacknowledged => true,
        AlarmState::ActiveAcknowledged | AlarmState::Closed => false,
    }
}

fn failing(seen: &Seen, endpoint: &str) -> Option<String> {
    let delivery = seen.deliveries.iter().find(|delivery| delivery.endpoint == endpoint);
    let live = seen.live.iter().flat_map(|live| &live.endpoints).find(|live| *live.id == *endpoint);
    match live {
        Some(live) => live.failing.as_ref().map(|failing| failing.why.clone()),
        None => delivery.and_then(|delivery| delivery.last_error.clone()),
    }
}

fn code(seen: &Seen) -> u8 {
    if seen.alarms.iter().any(unacknowledged) {
        return exit::UNACKNOWLEDGED;
    }
    let failing =
        seen.live.iter().flat_map(|live| &live.endpoints).any(|endpoint| endpoint.failing.is_some())
            || seen.deliveries.iter().any(|delivery| failing(seen, &delivery.endpoint).is_some());
    if failing { exit::ENDPOINT_FAILING } else { exit::OK }
}

fn record(site: &Site, seen: &Seen) -> serde_json::Value {
    let zone = &site.timezone;
    let queued = |id: &str| seen.deliveries.iter().find(|delivery| delivery.endpoint == id);
    json!({
        "site": { "id": site.id, "name": site.name },
        "running": seen.live.is_some(),
        "alarms": {
            "open": seen.alarms.len(),
            "unacknowledged": seen.alarms.iter().filter(|alarm| unacknowledged(alarm)).count(),
        },
        "endpoints": site.endpoints.iter().map(|endpoint| {
            let delivery = queued(&endpoint.id);
            json!({
                "id": endpoint.id,
                "queued": delivery.map_or(0, |delivery| delivery.queued),
                "delivered": delivery.map_or(0, |delivery| delivery.delivered),
                "set_aside": delivery.map_or(0, |delivery| delivery.set_aside),
                "oldest": delivery.and_then(|delivery| delivery.oldest).map(|at| local(at, zone)),
                "last_delivered": delivery.and_then(|delivery| delivery.last_delivered).map(|at| local(at, zone)),
                "failing": failing(seen, &endpoint.id),
            })
        }).collect::<Vec<_>>(),
        "devices": seen.live.as_ref().map(|live| &live.devices),
        "buses": seen.live.as_ref().map(|live| &live.buses),
        "time_quality": seen.live.as_ref().map(|live| live.time_quality),
        "readings_lost": seen.live.as_ref().map(|live| live.readings_lost),
        "version": env!("CARGO_PKG_VERSION"),
        "demo": site.demo,
    })
}

fn print(out: &mut impl Write, site: &Site, seen: &Seen, lang: Lang) -> io::Result<()> {
    let name = &site.name;
    match &seen.live {
        Some(live) => {
            let since = ago(live.started_at, lang);
            let devices = live.devices.len();
            let online = live.devices.iter().filter(|device| device.link == LinkState::Online).count();
            let clock = clock_word(live.time_quality, lang);
            writeln!(
                out,
                "{}",
                say!(
                    lang,
                    "{name} · 运行中，{since}启动 · 设备 {online}/{devices} 在线 · 时钟{clock}",
                    "{name} · running, started {since} · devices {online}/{devices} online · clock {clock}"
                )
            )?;
            if live.readings_lost > 0 {
                let lost = live.readings_lost;
                writeln!(
                    out,
                    "{}",
                    say!(
                        lang,
                        "✕ 磁盘跟不上：丢失 {lost} 行读数（报警不受影响）",
                        "✕ the disk does not keep up: {lost} rows of readings were lost (alarms are not affected)"
                    )
                )?;
            }
        }
        None => writeln!(
            out,
            "{}",
            say!(
                lang,
                "{name} · ✕ 网关没有运行（以下为已保存的内容）",
                "{name} · ✕ the gateway is not running (what follows is what was stored)"
            )
        )?,
    }
    print_alarms(out, seen, &site.timezone, lang)?;
    for device in seen.live.iter().flat_map(|live| &live.devices) {
        if device.link != LinkState::Online {
            let (id, bus) = (&device.id, &device.bus);
            let last = device
                .answered_at
                .map_or_else(|| say!(lang, "从未应答", "never answered"), |at| ago(at, lang));
            writeln!(
                out,
                "{}",
                say!(
                    lang,
                    "✕ 离线 {id}（总线 {bus}）最近应答：{last}。检查供电、接线、站号；网关继续重试。",
                    "✕ offline {id} (bus {bus}), last answer: {last}. Check power, wiring, address; the gateway keeps trying."
                )
            )?;
        }
    }
    for endpoint in &site.endpoints {
        print_endpoint(out, seen, &endpoint.id, lang)?;
    }
    Ok(())
}

fn print_alarms(out: &mut impl Write, seen: &Seen, zone: &TimeZone, lang: Lang) -> io::Result<()> {
    if seen.alarms.is_empty() {
        return writeln!(out, "{}", say!(lang, "● 没有未关闭的报警", "● no open alarms"));
    }
    for alarm in &seen.alarms {
        let (priority, state) = (priority_word(alarm.priority, lang), state_word(alarm.state, lang));
        let (title, device, id) = (alarm.title.get(lang), &alarm.device_name, &alarm.occurrence);
        let raised = local(alarm.raised_at, zone);
        writeln!(out, "{priority} · {title} · {device} · {state} · {raised} · {id}")?;
    }
    Ok(())
}

fn print_endpoint(out: &mut impl Write, seen: &Seen, id: &str, lang: Lang) -> io::Result<()> {
    let delivery = seen.deliveries.iter().find(|delivery| delivery.endpoint == id);
    let queued = delivery.map_or(0, |delivery| delivery.queued);
    let delivered = delivery.map_or(0, |delivery| delivery.delivered);
    match failing(seen, id) {
        Some(why) => {
            let next =
                delivery.and_then(|delivery| delivery.next_at).map_or_else(String::new, |at| until(at, lang));
            writeln!(
                out,
                "{}",
                say!(
                    lang,
                    "✕ 上报 {id}：失败，待发 {queued}（{why}）{next}",
                    "✕ endpoint {id}: failing, {queued} queued ({why}){next}"
                )
            )
        }
        None => writeln!(
            out,
            "{}",
            say!(
                lang,
                "● 上报 {id}：已送达 {delivered}，待发 {queued}",
                "● endpoint {id}: {delivered} delivered, {queued} queued"
            )
        ),
    }
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
