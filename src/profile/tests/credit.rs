//! What a message of a kiosk says of a delivery; and what is wrong with a class or a product that should.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::{
    domain::{
        Medium,
        credit::{Claim, Refused},
    },
    profile::{Address, Device},
};

fn kiosk() -> Device {
    let library = Library::shipped(&mut Problems::default());
    Device {
        id: "kiosk-1".into(),
        name: String::new(),
        profile: library.profile("recycling-kiosk/gatehouse-kiosk").expect("it is shipped"),
        bus: "broker".into(),
        medium: Medium::Broker,
        address: Address::Text("1".to_owned()),
        tags: BTreeMap::new(),
    }
}

fn claim(device: &Device, payload: &str) -> Claim {
    let raw = Raw::Payload { bytes: Bytes::from(payload.to_owned()), retained: false };
    let about: Vec<PointIx> = device.profile.all_points().collect();
    let samples = device.profile.decode(&raw, &about).samples;
    let plan = device.profile.credit.as_ref().expect("its class gives points");
    plan.claim(("yard", device), &samples, jiff::Timestamp::UNIX_EPOCH, false)
}

#[test]
fn only_what_one_message_says_for_certain_is_credited() {
    let device = kiosk();
    let weighed = |rest: &str| {
        claim(&device, &format!(r#"{{"transaction":"t1",{rest}}}"#)).delivery.map(|d| d.weight_g)
    };
    for (fact, rest, expected) in [
        ("at rest", r#""scale":"stable","delivered_kg":12.35"#, Ok(12_350)),
        ("to the gram", r#""scale":"stable","delivered_kg":0.0014"#, Ok(1)),
        ("in motion", r#""scale":"unstable","delivered_kg":12.35"#, Err(Refused::Unstable)),
        ("too much", r#""scale":"overload","delivered_kg":12.35"#, Err(Refused::Overload)),
        ("below zero", r#""scale":"underload","delivered_kg":12.35"#, Err(Refused::Underload)),
        ("nothing said of the scale", r#""delivered_kg":12.35"#, Err(Refused::Unstable)),
        ("an unknown word", r#""scale":"fine","delivered_kg":12.35"#, Err(Refused::Unstable)),
        ("zero", r#""scale":"stable","delivered_kg":0"#, Err(Refused::NothingWeighed)),
        ("less than half a gram", r#""scale":"stable","delivered_kg":0.0004"#, Err(Refused::NothingWeighed)),
        ("negative", r#""scale":"stable","delivered_kg":-3.5"#, Err(Refused::NothingWeighed)),
        ("out of range", r#""scale":"stable","delivered_kg":2001"#, Err(Refused::NoWeight)),
        ("failed", r#""scale":"stable","delivered_kg":null"#, Err(Refused::NoWeight)),
        (
            "what lies on the pan is not what was brought",
            r#""scale":"stable","weight_kg":12.35"#,
            Err(Refused::NoWeight),
        ),
    ] {
        assert_eq!(weighed(rest), Some(expected), "{fact}");
    }
    for nothing in
        ["{}", r#"{"transaction":null,"scale":"stable","delivered_kg":1}"#, r#"{"transaction":" "}"#]
    {
        assert_eq!(claim(&device, nothing).delivery, None, "{nothing}");
    }
    let unreadable = claim(&device, r#"{"transaction":[7],"scale":"stable","delivered_kg":1}"#);
    assert_eq!(unreadable.delivery.map(|delivery| delivery.weight_g), Some(Err(Refused::NoNumber)));
    let whole = claim(
        &device,
        r#"{"transaction":" t1 ","scale":"stable","delivered_kg":1,"points":24.5,"card":"02468AC0","category":"纸","total_kg":8123.4}"#,
    );
    let delivery = whole.delivery.expect("it is one");
    assert_eq!(
        (delivery.transaction.as_str(), delivery.points, whole.total_g),
        ("t1", Some(2450), Some(8_123_400))
    );
    assert_eq!((delivery.card.as_deref(), delivery.category.as_deref()), (Some("02468AC0"), Some("纸")));
    let long = format!(r#"{{"transaction":"{}","scale":"stable","delivered_kg":1}}"#, "纸".repeat(999));
    assert!(claim(&device, &long).delivery.expect("it is one").transaction.len() <= 128);
}

#[test]
fn what_the_gateway_reckons_no_product_says() {
    let device = kiosk();
    let points = &device.profile.points;
    let reckoned = ["credits_refused", "counted_weight", "credited_weight", "totals_difference"];
    for name in reckoned {
        assert!(points.iter().any(|point| point.name.as_str() == name), "{name} is there");
    }
    let class = r#"
class = "bench"
[credit]
transaction = "t"
weight = "w"
scale = "s"
category = "t"
points = "n"
card = "t"
total = "w"
refused = "n"
counted = "w2"
credited = "w2"
difference = "w2"
"#;
    let points = |scale: &str, unit: &str| {
        format!(
            r#"
[[point]]
name = "t"
kind = "text"
[[point]]
name = "n"
kind = "number"
[[point]]
name = "w"
kind = "number"
unit = "{unit}"
[[point]]
name = "w2"
kind = "number"
unit = "kg"
[[point]]
name = "s"
kind = "choice"
values = ["{scale}", "unstable"]
"#
        )
    };
    let mistakes = |class: &str, profile: &str| {
        let mut problems = Problems::default();
        let profile = format!("{HEAD}[mqtt]\ntopic = \"x/{{address}}\"\npayload = \"json\"\n{profile}");
        Library::of(&[("bench/class.toml", class), ("bench/x.toml", &profile)], &mut problems);
        problems.lines(Lang::En)
    };
    let t = "[[point]]\nname = \"t\"\nread = { pointer = \"/t\", type = \"string\" }\n";
    let w2 = "[[point]]\nname = \"w2\"\nread = { pointer = \"/w\", type = \"f64\" }\n";
    for (fact, class, profile, expected) in [
        ("right", format!("{class}{}", points("stable", "kg")), t.to_owned(), None),
        (
            "a scale without rest",
            format!("{class}{}", points("calm", "kg")),
            t.to_owned(),
            Some("with the word \"stable\""),
        ),
        ("pounds", format!("{class}{}", points("stable", "lb")), t.to_owned(), Some("it is a number in kg")),
        (
            "an unknown point",
            format!("{}{}", class.replace("scale = \"s\"", "scale = \"z\""), points("stable", "kg")),
            t.to_owned(),
            Some("there is no point \"z\""),
        ),
        (
            "reckoned by hand",
            format!("{class}{}", points("stable", "kg")),
            format!("{t}{w2}"),
            Some("\"w2\" is reckoned by the gateway"),
        ),
        (
            "a counter of nothing",
            format!("{class}{}", points("stable", "kg")),
            format!("{t}[credit]\ntotal_wraps_at = 1000.0\n"),
            Some("nothing is credited"),
        ),
    ] {
        let told = mistakes(&class, &profile);
        match expected {
            None => assert_eq!(told, "", "{fact}"),
            Some(expected) => assert!(told.contains(expected), "{fact}: {told}"),
        }
    }
}
