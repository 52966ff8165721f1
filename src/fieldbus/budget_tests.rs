use super::*;
use crate::{
    domain::Table,
    fieldbus::{
        fixtures::{modbus_link, product, registers, serial_link},
        serial::config::Settings,
    },
    profile::{ModbusLink, MqttLink},
};

/// At 10 000 baud and 8N1 a character takes 1 ms, a gap 3.5: a block of `n` registers with an answer at once 20 + 2n.
fn line() -> LineCost {
    let settings =
        Settings { port: "/dev/ttyS0".into(), baud: 10_000, framing: "8N1".parse().unwrap(), rs485: None };
    LineCost::serial(&settings).answering_after(Duration::ZERO)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// So many units with a register at each of these places; those of `urgent` alarms wait for.
fn budget(units: usize, points: &[(u16, u64)], urgent: &[u16]) -> Budget {
    let points: Vec<_> = points.iter().map(|&(address, every)| (address, ms(every))).collect();
    let profile = registers(modbus_link(), &points);
    let mut budget = of_line(line(), (0..units).map(|_| profile.clone()));
    for fleet in &mut budget.fleets {
        let mut requests = fleet.requests.to_vec();
        for priced in &mut requests {
            priced.urgent = priced.request.points.iter().any(|point| urgent.contains(&point.0));
        }
        fleet.requests = requests.into();
    }
    budget
}

fn of_line(line: LineCost, units: impl IntoIterator<Item = Arc<Profile>>) -> Budget {
    Budget::new(line, units, &mut Prices::default())
}

fn near(is: f64, want: f64) -> bool {
    (is - want).abs() < 1e-6
}

#[test]
fn a_line_is_as_busy_as_its_units_make_it() {
    let one = budget(1, &[(0, 500), (100, 2000)], &[]);
    assert!(near(one.utilisation(), 22.0 / 500.0 + 22.0 / 2000.0), "{}", one.utilisation());
    assert_eq!(one.cycle(), ms(44));
    let five = budget(5, &[(0, 500), (100, 2000)], &[]);
    assert!(near(five.utilisation(), 5.0 * one.utilisation()));
    assert_eq!((five.cycle(), five.units(), five.fleets.len()), (ms(220), 5, 1));
    assert_eq!((five.room(), five.pace()), (11, None), "0.055 each: sixteen are 0.88, seventeen 0.935");
}

#[test]
fn alike_units_are_folded_and_others_are_not() {
    let [profile, other] = [500, 1000].map(|every| registers(modbus_link(), &[(0, ms(every))]));
    let budget = of_line(line(), [profile.clone(), other, profile]);
    assert_eq!(budget.fleets.iter().map(|fleet| fleet.units).collect::<Vec<_>>(), [2, 1]);
    assert!(!budget.fleets[0].requests[0].urgent, "its class has no alarms");
}

#[test]
fn an_overloaded_line_slows_down_what_comes_most_often() {
    // each request takes 22 ms; achieved: milliseconds
    let paces = |budget: &Budget| -> Vec<u128> {
        let pace = budget.pace().expect("it is overloaded");
        let all = budget.fleets.iter().flat_map(|fleet| fleet.requests.iter());
        all.map(|priced| pace.of(priced).as_millis()).collect()
    };
    for (fact, units, points, urgent, want) in [
        ("all take turns", 50, vec![(0, 500)], vec![], vec![1100]),
        ("what comes seldom keeps its period", 20, vec![(0, 400), (100, 4400)], vec![], vec![488, 4400]),
        ("or not, when that alone is too much", 50, vec![(0, 500), (100, 550)], vec![], vec![2200, 2200]),
        ("alarms keep theirs", 20, vec![(0, 500), (100, 500)], vec![1], vec![500, 3666]),
        (
            "alarms alone are too much: one ninth is for the rest",
            50,
            vec![(0, 500), (100, 500)],
            vec![0],
            vec![1237, 9900],
        ),
        ("which does not want that much", 50, vec![(0, 500), (100, 11_000)], vec![0], vec![1222, 11_000]),
    ] {
        let mut is = paces(&budget(units, &points, &urgent));
        is.sort_unstable();
        assert!(is.iter().zip(&want).all(|(is, want)| is.abs_diff(*want) <= 1), "{fact}: {is:?}");
    }
    let budget = budget(50, &[(0, 500)], &[]);
    assert!(near(budget.utilisation(), 2.2));
    assert_eq!(budget.room(), 0);
}

#[test]
fn dead_units_cost_their_timeouts_once_and_a_twentieth_after_that() {
    // 22 ms of bytes and gaps: a silent try is 3.5 + 2 × (300 + 15)
    let silent = Duration::from_micros(633_500);
    let sixteen = budget(16, &[(0, 500)], &[]);
    assert_eq!(sixteen.fleets[0].requests[0].silence, silent);
    let four = sixteen.with_dead(4);
    assert!(near(four.utilisation, 12.0 * 0.044 + PROBE_SHARE), "{}", four.utilisation);
    assert_eq!(four.found_out_after, silent * 2 * 4, "a try and its retry");
    assert_eq!(four.worst_cycle, ms(22) * 12 + silent * 2 * 4);
    assert_eq!(four.probed_within, silent * 4 * 20);
    assert!(near(sixteen.with_dead(0).utilisation, 16.0 * 0.044), "nobody is probed");
    assert_eq!(sixteen.with_dead(99).units, 16, "no more than there are");
}

#[test]
fn the_dearest_units_are_taken_to_be_the_dead_ones() {
    let slow = registers(ModbusLink { timeout: ms(900), ..modbus_link() }, &[(0, ms(500))]);
    let quick = registers(modbus_link(), &[(0, ms(250))]);
    let dead = of_line(line(), [slow, quick]).with_dead(1);
    assert!(near(dead.utilisation, 0.088 + PROBE_SHARE), "the busier one lives on");
    assert_eq!(
        dead.found_out_after,
        Duration::from_micros(1_833_500) * 2,
        "the one with the longer timeout died"
    );
}

#[test]
fn a_unit_that_is_left_keeps_the_next_one_waiting() {
    // two blocks each second and one every two: a beat of each; a gap is 3.5 ms
    let product = |turnaround| {
        let link = ModbusLink { turnaround: ms(turnaround), ..modbus_link() };
        registers(link, &[(0, ms(1000)), (100, ms(1000)), (200, ms(2000))])
    };
    let slow = product(20);
    let quick = product(0);
    let utilisation = |slow_ones: usize, quick_ones: usize| {
        let units = std::iter::repeat_n(slow.clone(), slow_ones)
            .chain(std::iter::repeat_n(quick.clone(), quick_ones));
        of_line(line(), units).utilisation()
    };
    let (one_slow, one_quick) = (utilisation(1, 0), utilisation(0, 1));
    let one_wait = 1.5 * 0.0165;
    for (fact, slow_ones, quick_ones, waits) in [
        ("alike units wait for nobody else", 9, 0, 0.0),
        ("nor do these", 0, 9, 0.0),
        ("one of each: once a round", 1, 1, 1.0),
        ("each time that the slow one is left", 1, 9, 1.0),
        ("each time that the quick one is next", 9, 1, 1.0),
        ("or as often as one is left", 3, 5, 3.0),
    ] {
        let want = slow_ones as f64 * one_slow + quick_ones as f64 * one_quick + waits * one_wait;
        let is = utilisation(slow_ones, quick_ones);
        assert!(near(is, want), "{fact}: {is}, not {want}");
    }
    let network = of_line(LineCost::tcp(), [slow.clone(), quick.clone()]);
    let alone = |profile: &Arc<Profile>| of_line(LineCost::tcp(), [profile.clone()]).utilisation();
    assert!(near(network.utilisation(), alone(&slow) + alone(&quick)), "a network is no line to let go of");
}

#[test]
fn who_speaks_by_itself_takes_no_time() {
    let link = MqttLink { topic: String::new(), heartbeat: None };
    let profile = product(Link::Mqtt(link));
    let budget = of_line(LineCost::unasked(), [profile]);
    assert!(!budget.is_polled() && budget.utilisation() == 0.0 && budget.pace().is_none());
    assert_eq!((budget.room(), budget.cycle()), (0, Duration::ZERO));
    let serial = of_line(line(), [product(Link::Serial(serial_link(2, 1)))]);
    // no bytes of a request, 4 of a frame, two gaps of 4
    assert_eq!((serial.is_polled(), serial.cycle()), (true, ms(24)));
}

#[test]
fn what_is_read_is_what_the_bus_reads() {
    let profile = registers(modbus_link(), &[(0, ms(500)), (1, ms(500))]);
    let budget = of_line(line(), [profile.clone()]);
    let asked: Vec<_> = budget.fleets[0].requests.iter().map(|priced| priced.request.clone()).collect();
    assert_eq!(asked, plan::requests(&profile, &line()));
    assert_eq!(asked[0].ask, plan::Ask::Block { table: Table::Holding, first: 0, count: 2 });
}
