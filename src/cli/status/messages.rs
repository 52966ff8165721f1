//! Buses whose devices speak by messages: what they left out, and who speaks that nobody knows.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::super::alarms::local;
use crate::{
    domain::{
        BusId, Lang,
        status::{Live, MessageStatus, UnknownDevice},
    },
    say,
};

/// Unknown devices shown for each bus; `--json` has all.
const MOST_SHOWN: usize = 5;

pub(super) fn print(out: &mut impl Write, live: &Live, zone: &TimeZone, lang: Lang) -> io::Result<()> {
    for bus in &live.buses {
        if let Some(messages) = &bus.messages {
            print_trouble(out, &bus.id, messages, lang)?;
            print_counts(out, &bus.id, messages, lang)?;
            print_unknown(out, &bus.id, &messages.unknown_devices, zone, lang)?;
        }
    }
    Ok(())
}

fn print_trouble(out: &mut impl Write, bus: &BusId, messages: &MessageStatus, lang: Lang) -> io::Result<()> {
    let Some(why) = &messages.trouble else { return Ok(()) };
    let why = why.get(lang);
    writeln!(out, "{}", say!(lang, "✕ 总线 {bus} 中断：{why}", "✕ bus {bus} is down: {why}"))
}

/// Those that happened, in one line.
fn print_counts(out: &mut impl Write, bus: &BusId, messages: &MessageStatus, lang: Lang) -> io::Result<()> {
    let counts = &messages.counts;
    let words = [
        (counts.malformed, say!(lang, "无法解读", "unreadable")),
        (messages.oversize, say!(lang, "超长", "too long")),
        (counts.stale, say!(lang, "旧值", "old")),
        (counts.duplicates, say!(lang, "重复", "repeated")),
        (messages.unknown, say!(lang, "未知设备", "of unknown devices")),
    ];
    let happened = words.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = happened
        .map(|(count, word)| match lang {
            Lang::Zh => format!("{word} {count}"),
            Lang::En => format!("{count} {word}"),
        })
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let told = told.join(match lang {
        Lang::Zh => "，",
        Lang::En => ", ",
    });
    writeln!(
        out,
        "{}",
        say!(lang, "○ 总线 {bus} 启动以来的消息：{told}", "○ messages on bus {bus} since the start: {told}")
    )
}

/// With the lines that make a device of it; those heard last first.
fn print_unknown(
    out: &mut impl Write,
    bus: &BusId,
    devices: &[UnknownDevice],
    zone: &TimeZone,
    lang: Lang,
) -> io::Result<()> {
    let mut latest: Vec<_> = devices.iter().collect();
    latest.sort_by_key(|device| std::cmp::Reverse(device.last_heard));
    for device in latest.iter().take(MOST_SHOWN) {
        let UnknownDevice { address, topic, messages, .. } = device;
        let (first, last) = (local(device.first_heard, zone), local(device.last_heard, zone));
        let told = say!(
            lang,
            "? 未知设备 {address}（总线 {bus}，主题 {topic}）：{first} 至 {last} 共 {messages} 条消息。加入配置：",
            "? unknown device {address} (bus {bus}, topic {topic}): {messages} messages from {first} to {last}. To add it:"
        );
        writeln!(out, "{told}")?;
        write!(out, "{}", table(bus, device, lang))?;
    }
    match latest.len().saturating_sub(MOST_SHOWN) {
        0 => Ok(()),
        more => {
            let told = say!(
                lang,
                "… 还有 {more} 台未知设备（gatehouse status --json）",
                "… and {more} more unknown devices (gatehouse status --json)"
            );
            writeln!(out, "{told}")
        }
    }
}

/// The lines to paste. The first profile is written, the others stand beside it: their topics are the same.
fn table(bus: &BusId, device: &UnknownDevice, lang: Lang) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let (profile, others) = match device.profiles.split_first() {
        Some((first, others)) => (first.as_str(), others),
        None => ("", [].as_slice()),
    };
    let class = profile.split('/').next().unwrap_or_default();
    let id = kebab(&format!("{class}-{}", device.address));
    let or = match others {
        [] => String::new(),
        others => {
            let others = others.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
            say!(lang, "  # 或 {others}", "  # or {others}")
        }
    };
    format!(
        "    [[device]]\n    id      = {}\n    name    = {}\n    profile = {}{or}\n    bus     = {}\n    address = {}\n",
        text(&id),
        text(&device.address),
        text(profile),
        text(bus),
        text(&device.address),
    )
}

/// As ids are written: small letters, digits, single hyphens.
fn kebab(text: &str) -> String {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::status::MessageCounts;

    fn unknown(address: &str, profiles: &[&str], last: i64) -> UnknownDevice {
        UnknownDevice {
            address: address.to_owned(),
            profiles: profiles.iter().map(|id| (*id).into()).collect(),
            topic: format!("parking/{address}/up"),
            first_heard: Timestamp::UNIX_EPOCH,
            last_heard: Timestamp::from_second(last).unwrap(),
            messages: 3,
        }
    }

    fn shown(device: &UnknownDevice) -> String {
        table(&"broker".into(), device, Lang::En)
    }

    #[test]
    fn the_lines_to_paste_are_toml_whatever_the_address() {
        for (address, id) in [
            ("24E124", "parking-sensor-24e124"),
            ("bay 7_b", "parking-sensor-bay-7-b"),
            ("\"]\n[x", "parking-sensor-x"),
            ("车位", "parking-sensor"),
        ] {
            let pasted: toml::Table =
                shown(&unknown(address, &["parking-sensor/x", "parking-sensor/y"], 1)).parse().unwrap();
            let device = &pasted["device"][0];
            assert_eq!(device["address"].as_str(), Some(address));
            assert_eq!(device["id"].as_str(), Some(id));
            assert_eq!(device["profile"].as_str(), Some("parking-sensor/x"));
            assert_eq!(device["bus"].as_str(), Some("broker"));
        }
        assert!(shown(&unknown("7", &["a/x", "a/y"], 1)).contains("# or a/y"));
    }

    #[test]
    fn what_did_not_happen_is_not_told() {
        let lines = |messages: &MessageStatus, lang| {
            let mut out = Vec::new();
            print_counts(&mut out, &"broker".into(), messages, lang).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(lines(&MessageStatus::default(), Lang::En), "");
        let counts = MessageCounts { duplicates: 3, stale: 2, malformed: 0 };
        let messages = MessageStatus { counts, oversize: 1, ..MessageStatus::default() };
        assert_eq!(
            lines(&messages, Lang::En),
            "○ messages on bus broker since the start: 1 too long, 2 old, 3 repeated\n"
        );
        assert_eq!(lines(&messages, Lang::Zh), "○ 总线 broker 启动以来的消息：超长 1，旧值 2，重复 3\n");
    }

    #[test]
    fn it_stays_one_screen() {
        let devices: Vec<_> = (0..40).map(|n| unknown(&n.to_string(), &["a/x"], n)).collect();
        let mut out = Vec::new();
        print_unknown(&mut out, &"broker".into(), &devices, &TimeZone::UTC, Lang::En).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.matches("[[device]]").count(), MOST_SHOWN);
        assert!(out.starts_with("? unknown device 39 "), "heard last first: {out}");
        assert!(out.ends_with("… and 35 more unknown devices (gatehouse status --json)\n"));
    }
}
