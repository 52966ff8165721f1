use super::*;
use crate::{
    domain::Table,
    fieldbus::fixtures::{modbus_link, serial_link},
    profile::{Checksum, ChecksumKind, Dialect, ModbusLink, SerialLink},
};

fn line(baud: u32, framing: &str) -> LineCost {
    LineCost::serial(&Settings {
        port: "/dev/ttyS0".into(),
        baud,
        framing: framing.parse().unwrap(),
        rs485: None,
    })
}

fn registers(count: u16) -> Ask {
    Ask::Block { table: Table::Holding, first: 0, count }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Eleven bits a character, an answer after 5 ms (after 0 ms): milliseconds an exchange, registers a second (and with 0 ms).
#[test]
fn a_line_is_as_fast_as_its_bytes() {
    let rows = [
        (9_600, 10, 50.8, 197, 218),
        (9_600, 50, 142.5, 351, 364),
        (9_600, 125, 314.4, 398, 404),
        (19_200, 10, 27.9, 358, 436),
        (19_200, 50, 73.8, 678, 727),
        (19_200, 125, 159.7, 783, 808),
        (115_200, 10, 11.7, 858, 1_504),
        (115_200, 50, 19.3, 2_592, 3_499),
        (115_200, 125, 33.6, 3_719, 4_369),
    ];
    let link = Link::Modbus(modbus_link());
    for (baud, count, cycle, per_second, at_once) in rows {
        let cost = line(baud, "8E1").answering_after(Duration::from_millis(5));
        let exchange = cost.exchange(&registers(count), &link);
        assert!((ms(exchange) - cycle).abs() <= 0.06, "{baud} baud, {count}: {} ms", ms(exchange));
        let rate = |exchange: Duration| (f64::from(count) / exchange.as_secs_f64()).round() as i32;
        assert!((rate(exchange) - per_second).abs() <= 1, "{baud} baud, {count}: {}", rate(exchange));
        let without = cost.answering_after(Duration::ZERO).exchange(&registers(count), &link);
        assert!((rate(without) - at_once).abs() <= 1, "{baud} baud, {count}: {}", rate(without));
    }
}

#[test]
fn every_part_of_an_exchange_is_counted_once() {
    // at 10 000 baud and 8N1 a character takes 1 ms, so a gap takes 3.5
    let cost = line(10_000, "8N1").answering_after(Duration::from_millis(2));
    let link = |turnaround, dialect| {
        let turnaround = Duration::from_millis(turnaround);
        Link::Modbus(ModbusLink { turnaround, dialect, ..modbus_link() })
    };
    let bits = Ask::Block { table: Table::Coil, first: 0, count: 9 };
    for (fact, ask, turnaround, dialect, exchange, silence) in [
        ("8 + 7 bytes", registers(1), 0, Dialect::Standard, 15.0 + 3.5 + 2.0 + 3.5, 3.5 + 2.0 * 315.0),
        ("a longer turnaround takes the gap's place", registers(1), 20, Dialect::Standard, 40.5, 650.0),
        ("a shorter one is no more than the gap", registers(1), 3, Dialect::Standard, 24.0, 633.5),
        ("a byte more in each reply", registers(1), 0, Dialect::Nice3000, 25.0, 635.5),
        ("nine bits are two bytes", bits, 0, Dialect::Standard, 24.0, 633.5),
    ] {
        let link = link(turnaround, dialect);
        assert_eq!(
            (ms(cost.exchange(&ask, &link)), ms(cost.silence(&ask, &link))),
            (exchange, silence),
            "{fact}"
        );
    }
}

#[test]
fn declared_frames_cost_their_request_and_what_is_read_of_the_reply() {
    let cost = line(10_000, "8N1").answering_after(Duration::from_millis(2));
    let mut serial = serial_link(1, 0);
    serial.requests[0].send = vec![Some(2), None, Some(3)];
    let ask = Ask::Frame { request: 0 };
    let costs = |serial: &SerialLink| {
        let link = Link::Serial(serial.clone());
        (ms(cost.exchange(&ask, &link)), ms(cost.silence(&ask, &link)))
    };
    assert_eq!(costs(&serial), (3.0 + 4.0 + 4.0 + 2.0 + 4.0, 4.0 + 3.0 + 300.0 + 300.0));
    serial.frame.checksum =
        Some(Checksum { kind: ChecksumKind::Crc16Modbus, from: 0, to: -2, little: true, hex: false });
    assert_eq!(costs(&serial).0, 19.0, "the checksum of the request is sent too");
    serial.requests[0].reply = 40;
    assert_eq!(costs(&serial).0, 55.0);
    serial.timeout = Duration::from_millis(10);
    assert_eq!(costs(&serial).1, 4.0 + 5.0 + 10.0 + 50.0, "a line is listened to for a while");
}

#[test]
fn over_a_network_an_exchange_is_a_round_trip() {
    let link = Link::Modbus(ModbusLink { turnaround: Duration::from_millis(3), ..modbus_link() });
    let cost = LineCost::tcp();
    assert_eq!(cost.exchange(&registers(1), &link), Duration::from_nanos(5_000_000 + 23 * 800 + 3_000_000));
    assert!(cost.exchange(&registers(125), &link) < Duration::from_millis(9));
    assert_eq!(cost.silence(&registers(1), &link), Duration::from_millis(305));
}

#[test]
fn what_cannot_be_asked_costs_nothing() {
    let cost = line(9600, "8N1");
    let serial = Link::Serial(serial_link(1, 0));
    for (ask, link) in [(registers(1), &serial), (Ask::Frame { request: 7 }, &serial)] {
        assert_eq!((cost.exchange(&ask, link), cost.silence(&ask, link)), (Duration::ZERO, Duration::ZERO));
    }
    let link = Link::Modbus(modbus_link());
    assert_eq!(LineCost::unasked().exchange(&registers(1), &link), Duration::ZERO);
    assert!(line(9600, "8N1").is_narrow() && !LineCost::tcp().is_narrow());
}
