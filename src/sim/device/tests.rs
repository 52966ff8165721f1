use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{Kind, PointIx, Raw, Sample},
    profile::Library,
};

fn shipped() -> Library {
    Library::shipped(&mut Default::default())
}

fn device(library: &Library, id: &str) -> SimDevice {
    let profile = library.profile(id).unwrap_or_else(|| panic!("{id} is shipped"));
    let address = match profile.link {
        Link::Modbus(_) => Address::Unit(1),
        Link::Serial(_) | Link::Mqtt(_) | Link::Dlt645(_) => Address::Text("5".to_owned()),
    };
    let device = SimDevice::new(profile, address);
    // Texts that count from their end, or end in a fixed way, need something to stand in.
    match id {
        "recycling-kiosk/mt-sics" => device.with_frame("weight", b"S S      0.00 kg\r\n"),
        "recycling-kiosk/st-gs-18byte" => device.with_frame("weight", b"ST,GS,+    0.0kg\r\n"),
        _ => device,
    }
}

/// What the gateway reads of `point` right now, through the profile's own decoder.
fn read(device: &SimDevice, point: PointIx) -> Option<Sample> {
    let profile = device.profile();
    let raw = match &profile.points[usize::from(point.0)].read {
        Read::Modbus { table: table @ (Table::Coil | Table::Discrete), address, span } => {
            Raw::Bits { table: *table, first: *address, bits: device.bits(*table, *address, *span)? }
        }
        Read::Modbus { table, address, span } => Raw::Registers {
            table: *table,
            first: *address,
            words: device.registers(*table, *address, *span)?,
        },
        Read::Serial { frame } => {
            Raw::Frame { frame: *frame, bytes: Bytes::from(device.held().frames.get(frame)?.clone()) }
        }
        Read::Mqtt => {
            let (_, payload) = device.message("2026-11-23T06:00:00Z".parse().unwrap()).unwrap();
            Raw::Payload { bytes: Bytes::from(payload), retained: false }
        }
        Read::Reckoned => return None,
    };
    profile.decode(&raw, &[point]).samples.into_iter().next().map(|(_, sample)| sample)
}

/// Values a point of this kind might have, from chance.
fn candidates(device: &SimDevice, point: PointIx, chance: f64, letters: &str) -> Vec<Value> {
    let class = device.profile().class_point(point);
    match class.kind {
        Kind::Flag => vec![true.into(), false.into()],
        Kind::Choice => class.values.iter().map(|word| Value::Text(word.clone())).collect(),
        Kind::Text => vec![letters.into(), letters.get(..8).unwrap_or(letters).into()],
        Kind::Number => {
            [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0].map(|most| Value::Number(chance * most)).to_vec()
        }
    }
}

/// decode(encode(v)) = v for every point of every shipped profile, whatever the other points say.
#[test]
fn what_is_set_is_what_is_read() {
    let library = shipped();
    let devices: Vec<SimDevice> = library.ids().map(|id| device(&library, id)).collect();
    proptest!(ProptestConfig::with_cases(64), |(chance in 0.11f64..1.0, letters in "[0-9A-F]{16}")| {
        let mut points = 0;
        for device in &devices {
            let reckoned = |point: &PointIx| device.profile().class_point(*point).reckoned;
            for point in device.profile().all_points().filter(|point| !reckoned(point)) {
                let said = candidates(device, point, chance, &letters).into_iter().filter(|value| is_read_back(device, point, value));
                prop_assert!(said.count() > 0, "{} {point:?} could say nothing at all", device.profile().id);
                points += 1;
            }
        }
        prop_assert!(points > 100, "only {points} points were visited");
    });
}

/// False if the device cannot say `value`; panics if it says something else.
fn is_read_back(device: &SimDevice, point: PointIx, value: &Value) -> bool {
    let (id, name) = (&device.profile().id, &device.profile().points[usize::from(point.0)].name);
    if device.set(name, value.clone()).is_err() {
        return false;
    }
    let value_read = || read(device, point).and_then(|sample| sample.value().cloned());
    let first = value_read().unwrap_or_else(|| panic!("{id} {name} = {value:?} is not read"));
    // A number becomes the nearest that the wire can hold; that one is held exactly.
    device.set(name, first.clone()).unwrap_or_else(|error| panic!("{id} {name} twice: {error}"));
    match (&first, value_read()) {
        (Value::Number(first), Some(Value::Number(again))) => {
            assert!((first - again).abs() <= first.abs() * 1e-12, "{id} {name}: {first}, then {again}");
        }
        (_, again) => assert_eq!((Some(&first), &first), (again.as_ref(), value), "{id} {name}"),
    }
    true
}

#[test]
fn points_of_one_register_leave_each_other_alone() {
    let library = shipped();
    let light = device(&library, "street-light/renogy-rover");
    light.set("charge_state", "mppt").unwrap();
    light.set("dimming", 60.0).unwrap();
    light.set("lamp_on", true).unwrap();
    assert_eq!(light.registers(Table::Holding, 0x0120, 1), Some(vec![0xBC02]));
    light.set("lamp_on", false).unwrap();
    assert_eq!(light.registers(Table::Holding, 0x0120, 1), Some(vec![0x3C02]));
}

#[test]
fn what_a_device_cannot_say_is_refused() {
    let library = shipped();
    let lift = device(&library, "elevator/monarch-nice3000");
    let facts = [
        ("a floor its controller does not serve", "floor", Value::Number(49.0)),
        ("a door that is half open", "door", "half".into()),
        ("a word for a number", "floor", "seven".into()),
        ("a point of another product", "occupied", true.into()),
    ];
    for (fact, point, value) in facts {
        assert!(lift.set(point, value).is_err(), "{fact}");
    }
    assert_eq!(lift.registers(Table::Holding, 0x2000, 4), None, "registers it does not have");
    assert_eq!(lift.registers(Table::Holding, 0x1013, 2), None, "between its own, none of its own");
    assert_eq!(lift.registers(Table::Holding, 0x1012, 2), Some(vec![0, 0]), "one of its own and a gap");
}

#[test]
fn a_reader_answers_as_the_captured_one() {
    let library = shipped();
    let profile = library.profile("access-gate/osdp-v2-reader").unwrap();
    let reader = SimDevice::new(profile, Address::Text("0x65".to_owned()))
        .with_frame("poll", &[0x53, 0x80, 0, 0, 4, 0x40])
        .with_frame("local_status", &[0x53, 0x80, 0, 0, 4, 0x48, 0, 0])
        .with_frame("card", &[0x53, 0x80, 0, 0, 4, 0x50, 0, 1]);
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ");
    let reply = |request| reader.reply(request).map(hex).unwrap();
    reader.set("tamper", true).unwrap();
    assert_eq!(reply(1), "53 E5 0A 00 04 48 01 00 A2 48", "LSTATR, cover opened");
    assert_eq!(reply(0), "53 E5 08 00 04 40 D2 96", "ACK");
    reader.set("card_bits", 26.0).unwrap();
    reader.set("card", "02468AC0").unwrap();
    reader.happens("card");
    assert_eq!(reply(1), "53 E5 0A 00 04 48 01 00 A2 48", "a card answers polls only");
    assert_eq!(reply(0), "53 E5 10 00 04 50 00 01 1A 00 02 46 8A C0 E8 55", "RAW");
    assert_eq!(reply(0), "53 E5 08 00 04 40 D2 96", "once");
}
