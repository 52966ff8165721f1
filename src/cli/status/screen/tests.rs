use std::fs;

use super::*;
use crate::{
    config,
    domain::{AlarmState, Called, Medium, Priority, Text},
    store::AlarmRow,
    text,
};

const SITE: &str = "
[site]
id = 'yard'
[[bus]]
id = 'lifts'
modbus_rtu = { port = '/dev/ttyS9', baud = 9600, framing = '8N1' }
[[bus]]
id = 'broker'
mqtt = { url = 'mqtt://127.0.0.1:1883', client_id = 'c' }
[[endpoint]]
id = 'property'
purpose = 'property'
http = { url = 'http://127.0.0.1:1/', secret = { file = 'not-there' } }
wants = { classes = ['elevator'], priorities = ['critical'] }
";

fn devices(prefix: &str, bus: &str, link: LinkState, count: usize) -> Vec<DeviceStatus> {
    let device = |n| DeviceStatus {
        id: format!("{prefix}-{n}").into(),
        name: String::new(),
        class: "elevator".into(),
        profile: "elevator/x".to_owned(),
        bus: bus.into(),
        link,
        answered_at: None,
        diagnosis: (link == LinkState::Lost).then(|| match bus {
            "broker" => Diagnosis::silent(Medium::Broker, Called::Topic),
            _ => Diagnosis::silent(Medium::Serial, Called::UnitId),
        }),
    };
    (1..=count).map(device).collect()
}

fn running(devices: Vec<DeviceStatus>) -> Gateway {
    Gateway::Runs(Box::new(Live {
        version: String::new(),
        started_at: Timestamp::now(),
        demo: false,
        time_quality: TimeQuality::Synced,
        clock_step: None,
        readings_lost: 0,
        storage: None,
        flash: None,
        devices,
        buses: Vec::new(),
        endpoints: Vec::new(),
    }))
}

fn alarms(count: usize) -> Vec<AlarmRow> {
    let alarm = |n| AlarmRow {
        occurrence: format!("o-{n}"),
        device: "lift-1".to_owned(),
        device_name: "1号电梯".to_owned(),
        alarm: "passenger_trapped".to_owned(),
        title: Text::new("电梯困人", "passenger trapped"),
        priority: Priority::Critical,
        state: AlarmState::ActiveUnacknowledged,
        raised_at: "2026-11-23T06:03:11Z".parse().unwrap(),
        returned_at: None,
        acknowledged: None,
        reason: None,
        overlay: crate::domain::Overlay::default(),
        demo: false,
    };
    (0..count).map(alarm).collect()
}

/// The screen's lines, without the gateway's own.
fn shown(gateway: Gateway, alarms: Vec<AlarmRow>, lang: Lang) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gatehouse.toml");
    fs::write(&file, SITE).unwrap();
    let site = config::look(&file).unwrap();
    let mut out = Vec::new();
    print(
        &mut out,
        &site,
        &Seen { alarms, deliveries: Vec::new(), key: None, books: Vec::new(), gateway },
        lang,
    )
    .unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn who_was_lost_is_named_and_who_was_not_heard_yet_is_counted() {
    let gateway = || {
        let lost = devices("lift", "lifts", LinkState::Lost, 1);
        let silent = devices("space", "broker", LinkState::Unknown, 40);
        running([lost, devices("car", "broker", LinkState::Lost, 1), silent].concat())
    };
    assert_eq!(
        shown(gateway(), Vec::new(), Lang::Zh)[1..],
        [
            "● 没有未关闭的报警",
            "✕ 离线 lift-1（总线 lifts），最近应答：从未应答。线上没有任何应答；供电 → A/B 对调 → 选错串口 → 收发方向（RTS） → 站号",
            "✕ 离线 car-1（总线 broker），最近应答：从未应答。没有收到它的消息；供电 → 信号 → 消息服务器 → 主题",
            "○ 40 台设备启动后尚未上报",
            "● 上报目标 property：已送达 0，待发 0",
        ]
    );
    let lines = shown(gateway(), Vec::new(), Lang::En);
    assert!(lines[0].contains("devices 0/42 online"), "{}", lines[0]);
    assert_eq!(lines[4], "○ 40 devices not heard since the start");
}

#[test]
fn however_much_is_wrong_it_is_one_screen() {
    let lines = shown(running(devices("lift", "lifts", LinkState::Lost, 300)), alarms(300), Lang::En);
    assert_eq!(lines.len(), 1 + 21 + 21 + 1, "{lines:#?}");
    assert_eq!(lines[21], "… and 280 more alarms (gatehouse alarms list)");
    assert_eq!(lines[42], "… and 280 more offline");
}

#[test]
fn alarms_that_cannot_be_stored_are_told_first() {
    let Gateway::Runs(mut live) = running(Vec::new()) else { panic!("it runs") };
    live.storage = Some("no room".to_owned());
    let lines = shown(Gateway::Runs(live), Vec::new(), Lang::Zh);
    assert_eq!(lines[1], "✕ 报警无法保存（no room）：网关继续重试，请检查磁盘");
}

#[test]
fn a_clock_that_proves_nothing_is_told_first_and_so_is_a_step() {
    let told = |time_quality, clock_step, lang| {
        let Gateway::Runs(live) = running(Vec::new()) else { panic!("it runs") };
        let live = Live { time_quality, clock_step, ..*live };
        let lines = shown(Gateway::Runs(Box::new(live)), Vec::new(), lang);
        lines.into_iter().skip(1).take_while(|line| !line.starts_with('●')).collect::<Vec<_>>()
    };
    let unset = told(TimeQuality::Unset, None, Lang::Zh);
    assert!(unset.len() == 1 && unset[0].starts_with("✕ 时钟未设定"), "{unset:?}");
    let unset = told(TimeQuality::Unset, None, Lang::En);
    assert!(unset.len() == 1 && unset[0].starts_with("✕ the clock is not set"), "{unset:?}");
    assert!(told(TimeQuality::Restored, None, Lang::Zh)[0].starts_with("⚠ 时钟恢复自上次停机"));
    assert!(told(TimeQuality::Synced, None, Lang::Zh).is_empty());
    let step = |by_ms| Some(ClockStep { by_ms, ago_s: 180 });
    assert_eq!(told(TimeQuality::Holdover, step(-3_600_000), Lang::Zh), ["○ 时钟在 3m前被拨回 1h"]);
    assert_eq!(
        told(TimeQuality::Synced, step(86_400_000), Lang::En),
        ["○ the clock was put forward by 1d, 3m ago"]
    );
}

#[test]
fn a_gateway_that_does_not_answer_is_not_one_that_does_not_run() {
    let mute = || Gateway::Mute(text!("等不到回答", "no answer came in time"));
    for (gateway, lang, expected) in [
        (mute(), Lang::Zh, "网关没有应答（等不到回答）"),
        (mute(), Lang::En, "the gateway does not answer (no answer came in time;"),
        (Gateway::Rests, Lang::Zh, "网关没有运行"),
        (Gateway::Rests, Lang::En, "the gateway is not running"),
    ] {
        let lines = shown(gateway, Vec::new(), lang);
        assert!(lines[0].contains(expected), "{}", lines[0]);
    }
}

#[test]
fn what_goes_to_the_flash_is_told_with_its_budget_and_the_years_left() {
    const MIB: u64 = 1 << 20;
    let plain = FlashStatus {
        written_today: 312 * MIB,
        written_per_day: None,
        budget_per_day: None,
        years_left: None,
    };
    let budget = FlashStatus { budget_per_day: Some(500 * MIB), ..plain };
    let beyond = FlashStatus {
        written_today: 501 * MIB,
        written_per_day: Some(1.5 * MIB as f64),
        years_left: Some(12.34),
        ..budget
    };
    for (flash, en, zh) in [
        (plain, "○ flash: 312.0 MiB written today", "○ 闪存：今天写入 312.0 MiB"),
        (
            budget,
            "○ flash: 312.0 MiB written today (the budget is 500.0 MiB a day)",
            "○ 闪存：今天写入 312.0 MiB（每天预算 500.0 MiB）",
        ),
        (
            beyond,
            "⚠ flash: 501.0 MiB written today (the budget is 500.0 MiB a day); 1.5 MiB a day lately; at this pace it lasts 12.3 years",
            "⚠ 闪存：今天写入 501.0 MiB（每天预算 500.0 MiB）；近来每天 1.5 MiB；照此可用 12.3 年",
        ),
    ] {
        for (lang, line) in [(Lang::En, en), (Lang::Zh, zh)] {
            let Gateway::Runs(mut live) = running(Vec::new()) else { panic!("it runs") };
            live.flash = Some(flash);
            assert_eq!(shown(Gateway::Runs(live), Vec::new(), lang)[1], line);
        }
    }
}
