use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::domain::{Escalation, Hold, Mono, Rescue};
use crate::uplink::sample::{closed, raised, sealed};

fn seeing(data: &[DataClass]) -> Wants {
    Wants { data: data.to_vec(), ..Wants::default() }
}

fn shanghai() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(8))
}

fn text(event: crate::domain::Event, data: &[DataClass]) -> String {
    String::from_utf8(body(&sealed(event), &"office".into(), &seeing(data), &shanghai())).unwrap()
}

/// Held against formats.md section 4 key by key: a change here is a change of what leaves the box.
const RAISED: &str = r#"{"specversion":"1.0","id":"0b6f5a3e9c1d47288f00aa11bb22cc33","source":"/gatehouse/yekuang-road","type":"gatehouse.alarm.raised","#;

#[test]
fn a_raise_is_written_as_the_contract_says() {
    let hash = hex(&sealed(raised()).hash);
    let expected = [
        RAISED,
        r#""subject":"lift-3-1/passenger_trapped","time":"2026-11-23T14:03:11.482+08:00","#,
        r#""datacontenttype":"application/json","gatehouseseq":5512,"gatehouseepoch":"9c1e77","#,
        r#""data":{"site":{"id":"yekuang-road","name":"冶矿路社区"},"#,
        r#""device":{"id":"lift-3-1","name":"3号楼1单元电梯","class":"elevator","#,
        r#""profile":"elevator/monarch-nice3000@1","tags":{"building":"3","unit":"1"}},"#,
        r#""alarm":{"name":"passenger_trapped","occurrence":"9c1e77-5512","priority":"critical","#,
        r#""state":"active_unacknowledged","title":{"zh":"电梯困人","en":"passenger trapped"},"#,
        r#""origin":"reported","raised_at":"2026-11-23T14:03:11.482+08:00"},"#,
        r#""readings":{"#,
        r#""door":{"value":"closed","unit":"","quality":"good","at":"2026-11-23T14:03:11.250+08:00"},"#,
        r#""floor":{"value":7,"unit":"","quality":"good","at":"2026-11-23T14:03:11.250+08:00"},"#,
        r#""load":{"value":null,"unit":"","quality":"comm_fail","at":"2026-11-23T14:03:11.250+08:00"},"#,
        r#""speed":{"value":0.1,"unit":"","quality":"stale","at":"2026-11-23T14:03:11.250+08:00"}},"#,
        r#""time_quality":"synced","durability":"committed","demo":false,"#,
        r#""evidence":{"seq":5512,"hash":""#,
        &hash,
        r#"","prev_hash":"abababababababababababababababababababababababababababababababab"}}}"#,
    ]
    .concat();
    assert_eq!(text(raised(), &[DataClass::Operational]), expected);
}

#[test]
fn the_same_event_gives_the_same_bytes() {
    assert_eq!(text(raised(), &[DataClass::Health]), text(raised(), &[DataClass::Health]));
}

/// What an endpoint finds under `data`.
fn data(event: crate::domain::Event, seen: &[DataClass]) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(&text(event, seen)).unwrap()["data"].take()
}

#[test]
fn a_field_of_another_data_class_is_not_there_at_all() {
    let facts: [(DataClass, &[&str]); 5] = [
        (DataClass::Public, &["occupied"]),
        (DataClass::Operational, &["door", "floor", "load", "speed"]),
        (DataClass::Security, &["camera_url"]),
        (DataClass::Personal, &["last_card"]),
        (DataClass::Health, &["heart_rate"]),
    ];
    for (class, expected) in facts {
        let data = data(raised(), &[class]);
        let seen = data["readings"].as_object().unwrap().keys().collect::<Vec<_>>();
        assert_eq!(seen, expected, "{class:?}");
        assert_eq!(data["device"].get("tags").is_some(), class == DataClass::Operational, "{class:?}");
    }
    let nothing = text(raised(), &[]);
    for secret in ["rtsp", "王芳", "heart", "building", "closed"] {
        assert!(!nothing.contains(secret), "{secret} in {nothing}");
    }
}

#[test]
fn the_person_in_an_acknowledgement_is_personal() {
    let at = "2026-11-23T14:05:00.000+08:00";
    let plain = data(closed(), &[DataClass::Operational]);
    assert_eq!(
        plain["alarm"]["acknowledged"],
        serde_json::json!({ "at": at, "from": "cli", "vouched_by": "local_command_line" })
    );
    assert_eq!(plain["alarm"]["returned_at"], "2026-11-23T14:09:00.000+08:00");
    let person = data(closed(), &[DataClass::Personal]);
    let expected = serde_json::json!({ "by": "李强", "at": at, "note": "on my way", "from": "cli", "vouched_by": "local_command_line" });
    assert_eq!(person["alarm"]["acknowledged"], expected);
}

#[test]
fn numbers_lose_nothing() {
    let facts = [
        (7.0, "7"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (-12.5, "-12.5"),
        (9_007_199_254_740_993.0, "9007199254740992"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
    ];
    for (number, expected) in facts {
        let mut written = serde_json::Serializer::new(Vec::new());
        write_value(Some(&Value::Number(number)), &mut written).unwrap();
        let written = String::from_utf8(written.into_inner()).unwrap();
        assert_eq!(written.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{number}");
        assert_eq!(written, expected, "{number}");
    }
}

#[test]
fn times_carry_the_offset_of_the_day() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let wants = seeing(&[]);
    let view = View {
        event: &raised(),
        put_right: None,
        endpoint: &"office".into(),
        wants: &wants,
        timezone: &berlin,
    };
    let facts = [
        ("2026-07-01T12:00:00Z", "2026-07-01T14:00:00.000+02:00"),
        ("2026-12-01T12:00:00.9999Z", "2026-12-01T13:00:00.999+01:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T01:00:00.000+01:00"),
    ];
    for (at, expected) in facts {
        assert_eq!(view.time(at.parse().unwrap()), expected, "{at}");
    }
    let utc = View {
        event: &raised(),
        put_right: None,
        endpoint: &"office".into(),
        wants: &wants,
        timezone: &TimeZone::UTC,
    };
    assert_eq!(utc.time("2026-12-01T12:00:00Z".parse().unwrap()), "2026-12-01T12:00:00.000+00:00");
}

fn word(by: &str, note: &str) -> Acknowledgement {
    let at = "2026-11-23T06:04:00Z".parse().unwrap();
    Acknowledgement { by: by.to_owned(), at, note: Some(note.to_owned()), from: "cli".to_owned() }
}

/// The alarm without what every alarm has, as one endpoint finds it.
fn over(event: crate::domain::Event, seen: &[DataClass]) -> serde_json::Value {
    let mut alarm = data(event, seen)["alarm"].take();
    for key in ["name", "occurrence", "priority", "title", "origin", "raised_at"] {
        assert!(alarm.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    alarm
}

#[test]
fn what_lies_over_an_alarm_is_told_with_its_reason_and_without_names() {
    let boot = || Mono(Duration::from_secs(100));
    let hold =
        Hold::begun(word("张伟", "误报"), "9c1e77-5512".into(), Duration::from_secs(7200), boot(), "b1");
    let mut shelved = raised();
    shelved.kind = TransitionKind::Shelved;
    shelved.alarm.overlay.shelf = Some(Box::new(hold));
    shelved.alarm.done = Some(word("张伟", "误报"));
    let (at, until) = ("2026-11-23T14:04:00.000+08:00", "2026-11-23T16:04:00.000+08:00");
    assert!(text(shelved.clone(), &[]).contains(r#""type":"gatehouse.alarm.shelved""#));
    let expected = serde_json::json!({
        "state": "active_unacknowledged", "overlays": ["shelved"],
        "shelved": { "until": until, "at": at, "reason": "误报", "from": "cli" },
        "done": { "at": at, "from": "cli", "vouched_by": "local_command_line" },
    });
    assert_eq!(over(shelved.clone(), &[DataClass::Operational]), expected);
    let person = over(shelved, &[DataClass::Personal]);
    assert_eq!((&person["shelved"]["by"], &person["done"]["note"]), (&"张伟".into(), &"误报".into()));
    assert_eq!(person["shelved"].get("reason"), None, "a reason is operational");
}

#[test]
fn what_was_held_back_from_its_beginning_is_raised_when_that_ends() {
    let mut event = raised();
    event.kind = TransitionKind::Unshelved;
    assert!(text(event.clone(), &[]).contains(r#""type":"gatehouse.alarm.unshelved""#), "they know of it");
    event.alarm.announced = true;
    assert!(text(event, &[]).contains(r#""type":"gatehouse.alarm.raised""#), "they do not");
}

#[test]
fn a_summary_is_grouped_by_what_explains_it_and_shows_what_is_wanted() {
    let one = |device: &str, alarm: &str, priority, cause: Option<&str>| crate::domain::Summarised {
        key: crate::domain::AlarmKey { device: device.into(), alarm: alarm.into() },
        class: if alarm == "door_fault" { "elevator" } else { "street-light" }.into(),
        title: crate::domain::Text::new("标题", "title"),
        priority,
        occurrence: format!("o-{device}").into(),
        state: crate::domain::AlarmState::ActiveUnacknowledged,
        kind: TransitionKind::Raised,
        steps: 1,
        first_seq: 1,
        last_seq: 1,
        at: raised().at,
        cause: cause.map(|line| crate::domain::AlarmKey { device: line.into(), alarm: "bus_down".into() }),
    };
    use crate::domain::Priority::{High, Low, Medium};
    let mut event = raised();
    event.kind = TransitionKind::Summary;
    event.summary = vec![
        one("lift-1", "door_fault", Medium, None),
        one("lamp-1", "comm_loss", Low, Some("bus:lan")),
        one("lamp-2", "comm_loss", Low, Some("bus:lan")),
        one("lamp-3", "comm_loss", Low, None),
        one("lamp-4", "load_short", High, None),
    ];
    let wants = Wants {
        classes: vec!["street-light".into()],
        priorities: vec![High, Medium, Low],
        ..Wants::default()
    };
    let bytes = body(&sealed(event), &"office".into(), &wants, &TimeZone::UTC);
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&body["type"], body["data"].get("alarm")), (&"gatehouse.summary".into(), None));
    let summary = &body["data"]["summary"];
    let groups: Vec<_> = summary["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            (
                group["cause"].as_str(),
                group["name"].as_str().unwrap(),
                group["alarms"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(summary["count"], 4, "the lift is not wanted");
    assert_eq!(
        groups,
        [(None, "load_short", 1), (None, "comm_loss", 1), (Some("bus:lan/bus_down"), "comm_loss", 2)]
    );
}

#[test]
fn an_escalation_and_a_rescue_say_how_far_they_are() {
    let mut event = raised();
    event.kind = TransitionKind::Escalated;
    let endpoints = vec!["duty".into()];
    let escalation = Escalation { step: 2, waiting: None, endpoints, contact: Some("李娜 138".to_owned()) };
    event.alarm.overlay.escalation = Some(Box::new(escalation));
    let mut rescue = Rescue::begun(Duration::from_secs(1800), Mono(Duration::from_secs(5)), "b1");
    rescue.note(crate::domain::RescueStep::Dispatched, word("王芳", "两人"));
    rescue.passing.credited = Duration::from_secs(301);
    event.alarm.overlay.rescue = Some(Box::new(rescue));
    let expected = serde_json::json!({
        "state": "active_unacknowledged", "escalation": { "step": 2 },
        "rescue": { "said": "dispatched", "limit": "30m", "elapsed_s": 301,
                    "dispatched": { "at": "2026-11-23T14:04:00.000+08:00", "from": "cli", "vouched_by": "local_command_line" } },
    });
    assert_eq!(over(event.clone(), &[DataClass::Operational]), expected, "no endpoint's name, no person's");
    let person = over(event, &[DataClass::Personal]);
    assert_eq!(person["escalation"]["contact"], "李娜 138");
    assert_eq!(person["rescue"]["dispatched"]["by"], "王芳");
}

#[test]
fn a_body_whose_clock_was_set_since_has_both_times() {
    let mut event = raised();
    (event.time_quality, event.mono_ms) = (crate::domain::TimeQuality::Unset, 60_000);
    let shift = jiff::SignedDuration::from_hours(72);
    let at: jiff::Timestamp = event.at + shift + Duration::from_secs(600);
    let set = crate::domain::ClockSet {
        boot: event.boot_id.clone(),
        mono_ms: 660_000,
        at,
        quality: crate::domain::TimeQuality::Synced,
    };
    let mut sealed = sealed(event);
    let told = |sealed: &Sealed| -> serde_json::Value {
        let body = body(sealed, &"office".into(), &seeing(&[DataClass::Operational]), &shanghai());
        serde_json::from_slice(&body).unwrap()
    };
    let before = told(&sealed);
    assert_eq!(
        (&before["data"]["time_quality"], before["data"].get("time_corrected")),
        (&"unset".into(), None)
    );
    sealed.put_right = crate::domain::PutRight::of(&sealed.event, &[set]);
    let mut after = told(&sealed);
    assert_eq!(after["time"], "2026-11-26T14:03:11.482+08:00");
    let data = after["data"].take();
    assert_eq!(data["alarm"]["raised_at"], "2026-11-26T14:03:11.482+08:00");
    assert_eq!(data["readings"]["floor"]["at"], "2026-11-26T14:03:11.250+08:00");
    assert_eq!(data["time_quality"], "synced");
    let expected = serde_json::json!({
        "stamped": "2026-11-23T14:03:11.482+08:00", "stamped_quality": "unset", "shift_ms": 259_200_000
    });
    assert_eq!(data["time_corrected"], expected);
    assert_eq!(data["evidence"], before["data"]["evidence"], "the evidence is what it was");
    assert_eq!(after["id"], before["id"]);
}

#[test]
fn the_card_is_for_the_service_alone_and_a_pseudonym_for_everyone_else() {
    use crate::domain::credit::Credit;
    let credit = Credit {
        transaction: "20261123-000117".into(),
        category: Some("paper".into()),
        weight_g: 12_350,
        points: Some(2470),
        card: Some("02468AC0".into()),
        card_pseudonym: Some("5f0c".into()),
        total_g: Some(8_123_400),
        at: "2026-11-23T06:03:11Z".parse().unwrap(),
    };
    let mut event = raised();
    event.kind = TransitionKind::Credit;
    event.credit = Some(Box::new(credit));
    event.readings.get_mut("last_card").unwrap().card = true;
    let shown = |event: &crate::domain::Event, cards, data: &[DataClass]| {
        let wants = Wants { cards, credits: true, ..seeing(data) };
        let body = body(&sealed(event.clone()), &"office".into(), &wants, &shanghai());
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    let public =
        r#""category":"paper","total_g":8123400,"weight_g":12350,"at":"2026-11-23T14:03:11.000+08:00""#;
    let pseudonym = format!(r#"{{{public},"card_pseudonym":"5f0c"}}"#);
    let personal = r#""transaction":"20261123-000117","points":24.7"#;
    for (fact, cards, data, expected) in [
        (
            "service",
            true,
            &[DataClass::Personal][..],
            format!(r#"{{{public},{personal},"card":"02468AC0"}}"#),
        ),
        ("service without personal", true, &[DataClass::Operational], pseudonym.clone()),
        (
            "property",
            false,
            &[DataClass::Personal],
            format!(r#"{{{public},{personal},"card_pseudonym":"5f0c"}}"#),
        ),
        ("property without personal", false, &[DataClass::Operational], pseudonym),
    ] {
        let body = shown(&event, cards, data);
        let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(body["data"]["credit"], expected, "{fact}");
        assert_eq!(
            (&body["type"], body["data"].get("alarm")),
            (&"gatehouse.kiosk.credit".into(), None),
            "{fact}"
        );
    }
    event.credit = None;
    event.kind = TransitionKind::Raised;
    for (cards, seen) in [(true, true), (false, false)] {
        let body = shown(&event, cards, &[DataClass::Personal]);
        assert_eq!(body["data"]["readings"].get("last_card").is_some(), seen, "in an alarm's readings");
    }
}
