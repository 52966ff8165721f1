//! One alarm with a field of every data class, for this room's tests.

use crate::{
    domain::{
        Acknowledgement, AlarmFacts, AlarmState, DataClass, DeviceFacts, Event, Origin, Overlay, Priority,
        Quality, ReadingFact, SiteFacts, Suite, Text, TimeQuality, TransitionKind, Value,
    },
    store::evidence::{self, Sealed},
};

pub fn raised() -> Event {
    let reading = |value: Option<Value>, quality, data| ReadingFact {
        value,
        unit: String::new(),
        quality,
        at: "2026-11-23T06:03:11.25Z".parse().unwrap(),
        data,
        card: false,
    };
    let good = |value, data| reading(Some(value), Quality::Good, data);
    Event {
        id: "0b6f5a3e9c1d47288f00aa11bb22cc33".into(),
        seq: 5512,
        epoch: "9c1e77".into(),
        kind: TransitionKind::Raised,
        at: "2026-11-23T06:03:11.4829Z".parse().unwrap(),
        site: SiteFacts { id: "yekuang-road".into(), name: "冶矿路社区".into() },
        device: DeviceFacts {
            id: "lift-3-1".into(),
            name: "3号楼1单元电梯".into(),
            class: "elevator".into(),
            profile: "elevator/monarch-nice3000@1".into(),
            tags: [("building".to_owned(), "3".to_owned()), ("unit".to_owned(), "1".to_owned())].into(),
        },
        alarm: AlarmFacts {
            name: "passenger_trapped".into(),
            occurrence: "9c1e77-5512".into(),
            priority: Priority::Critical,
            state: AlarmState::ActiveUnacknowledged,
            title: Text::new("电梯困人", "passenger trapped"),
            origin: Origin::Reported,
            raised_at: "2026-11-23T06:03:11.4829Z".parse().unwrap(),
            returned_at: None,
            acknowledged: None,
            reason: None,
            overlay: Overlay::default(),
            done: None,
            withheld: false,
            announced: false,
            chattered: None,
            summarised: false,
        },
        readings: [
            ("camera_url".into(), good(Value::Text("rtsp://10.0.0.9".into()), DataClass::Security)),
            ("door".into(), good(Value::Text("closed".into()), DataClass::Operational)),
            ("floor".into(), good(Value::Number(7.0), DataClass::Operational)),
            ("heart_rate".into(), good(Value::Number(88.0), DataClass::Health)),
            ("last_card".into(), good(Value::Text("王芳".into()), DataClass::Personal)),
            ("load".into(), reading(None, Quality::CommFail, DataClass::Operational)),
            ("occupied".into(), good(Value::Flag(true), DataClass::Public)),
            ("speed".into(), reading(Some(Value::Number(0.1)), Quality::Stale, DataClass::Operational)),
        ]
        .into(),
        time_quality: TimeQuality::Synced,
        boot_id: "b1".into(),
        mono_ms: 1_000_000,
        demo: false,
        losses: Vec::new(),
        summary: Vec::new(),
        more: 0,
        credit: None,
        head: None,
        alg: Suite::default(),
    }
}

/// The same alarm, taken on by a person and over.
pub fn closed() -> Event {
    let mut event = raised();
    event.id = "ffee0011223344556677889900aabbcc".into();
    event.seq = 5530;
    event.kind = TransitionKind::Closed;
    event.at = "2026-11-23T06:10:00Z".parse().unwrap();
    event.alarm.state = AlarmState::Closed;
    event.alarm.returned_at = Some("2026-11-23T06:09:00Z".parse().unwrap());
    event.alarm.acknowledged = Some(Acknowledgement {
        by: "李强".into(),
        at: "2026-11-23T06:05:00Z".parse().unwrap(),
        note: Some("on my way".into()),
        from: "cli".into(),
    });
    event.readings.clear();
    event
}

pub fn sealed(event: Event) -> Sealed {
    evidence::seal(event, [0xab; 32]).unwrap()
}
