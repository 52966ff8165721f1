//! What is put right, and by how much.

use super::*;
use crate::uplink::sample::raised;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn unset(wall: &str, mono_ms: u64) -> Event {
    let time_quality = TimeQuality::Unset;
    Event { at: at(wall), mono_ms, time_quality, boot_id: "4fa1c2d3-77".to_owned(), ..raised() }
}

fn set(boot: &str, mono_ms: u64, wall: &str, quality: TimeQuality) -> ClockSet {
    ClockSet { boot: boot.to_owned(), mono_ms, at: at(wall), quality }
}

#[test]
fn the_time_since_boot_says_when_it_really_was() {
    use TimeQuality::*;
    let by = |sets: &[ClockSet]| {
        let put = PutRight::of(&unset("1970-01-01T00:01:00Z", 60_000), sets)?;
        Some((put.time(at("1970-01-01T00:01:00Z")).to_string(), put.quality))
    };
    let right = |time: &str, quality| Some((time.to_owned(), quality));
    let ours = "4fa1c2d3";
    assert_eq!(by(&[]), None, "nobody set it");
    let ten = set(ours, 660_000, "2026-11-26T08:10:00Z", Synced);
    assert_eq!(by(std::slice::from_ref(&ten)), right("2026-11-26T08:00:00Z", Synced));
    assert_eq!(by(&[set("77777777", 660_000, "2026-11-26T08:10:00Z", Synced)]), None, "another boot");
    assert_eq!(by(&[set("", 660_000, "2026-11-26T08:10:00Z", Synced)]), None, "nobody knows which");
    assert_eq!(by(&[set(ours, 59_000, "2026-11-26T08:10:00Z", Synced)]), None, "before it");
    assert_eq!(by(&[set(ours, 61_000, "1970-01-01T00:02:00Z", Unset)]), None, "moved, and not right");
    let by_hand = set(ours, 120_000, "2026-11-26T09:01:00Z", Holdover);
    let again = set(ours, 180_000, "2026-11-26T08:32:00Z", Holdover);
    assert_eq!(by(&[by_hand.clone(), again.clone()]), right("2026-11-26T08:30:00Z", Holdover));
    assert_eq!(by(&[by_hand, ten, again]), right("2026-11-26T08:00:00Z", Synced), "compared is better");
    let good = Event { time_quality: Holdover, ..unset("1970-01-01T00:01:00Z", 60_000) };
    assert_eq!(PutRight::of(&good, &[set(ours, 61_000, "2026-11-26T08:10:00Z", Synced)]), None);
}

#[test]
fn what_another_clock_gave_stays() {
    let set = set("4fa1c2d3", 600_000, "2026-11-26T08:10:00Z", TimeQuality::Synced);
    let put = PutRight::of(&unset("2026-11-20T12:01:00Z", 60_000), &[set]).unwrap();
    for (fact, time, right) in [
        ("when it was", "2026-11-20T12:01:00Z", "2026-11-26T08:01:00Z"),
        ("a reading before it", "2026-11-20T12:00:30Z", "2026-11-26T08:00:30Z"),
        ("raised before the boot", "2026-11-20T11:59:59Z", "2026-11-20T11:59:59Z"),
        (
            "raised by a right clock, after the wrong one's present",
            "2026-11-26T07:00:00Z",
            "2026-11-26T07:00:00Z",
        ),
        ("a shelf that ends in an hour", "2026-11-20T13:01:00Z", "2026-11-26T09:01:00Z"),
    ] {
        assert_eq!(put.time(at(time)), at(right), "{fact}");
    }
    assert_eq!(put.time(Timestamp::MAX), Timestamp::MAX);
}
