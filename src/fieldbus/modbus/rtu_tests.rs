//! On real ptys: what the operating system does when a port is there, busy, gone and back.

use std::{os::unix::fs::symlink, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};
use tokio_serial::{SerialPort, SerialStream};

use super::*;
use crate::{
    domain::{Raw, Table},
    fieldbus::{
        driver::{AskFault, Driver, Line, Unasked},
        fixtures::{self, modbus_link, registers},
        modbus::codec::Question,
        plan::Ask,
    },
    profile::{Address, Dialect, Link, ModbusLink},
};

/// A slave on a new pty that answers every read with its register's address; the pty goes when the slave is aborted.
fn slave_at(path: &Path) -> JoinHandle<()> {
    let (mut master, terminal) = SerialStream::pair().unwrap();
    let name = terminal.name().unwrap();
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
    symlink(name, path).unwrap();
    tokio::spawn(async move {
        // held open, or the master reads an error until somebody opens the other end
        let _terminal = terminal;
        let mut request = [0; 8];
        while master.read_exact(&mut request).await.is_ok() {
            let Question { unit, first, count, .. } = Question::decode(&request, Dialect::Standard).unwrap();
            let mut body = vec![unit, 3, 2 * count as u8];
            (0..count).for_each(|n| body.extend((first + n).to_be_bytes()));
            let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(&body).to_le_bytes();
            master.write_all(&[&body[..], &crc].concat()).await.unwrap();
        }
    })
}

fn settings(path: &Path, framing: &str) -> RtuSettings {
    RtuSettings { port: path.to_owned(), baud: 115_200, framing: framing.parse().unwrap(), rs485: None }
}

fn rtu(settings: RtuSettings) -> RtuDriver {
    RtuDriver::over(SerialLine { settings })
}

/// The machine that runs the tests may be busy.
fn patient() -> ModbusLink {
    ModbusLink { timeout: std::time::Duration::from_secs(3), ..modbus_link() }
}

async fn read(driver: &mut RtuDriver, first: u16) -> Result<Raw, AskFault> {
    let ask = Ask::Block { table: Table::Holding, first, count: 2 };
    driver.ask(&Address::Unit(1), &Link::Modbus(patient()), &ask).await
}

fn values(first: u16) -> Raw {
    Raw::Registers { table: Table::Holding, first, words: vec![first, first + 1] }
}

/// How many descriptors of terminals this process holds.
fn open_terminals() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with("/dev/pts")).count()
}

#[tokio::test]
async fn every_framing_opens_a_pty_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let slave = slave_at(&path);
    // the slave's own end locks nothing out: it was opened by the pair, not by path
    for framing in ["8N1", "8E1", "8O1", "8N2", "7E1"] {
        let mut driver = rtu(settings(&path, framing));
        match driver.connect().await {
            Ok(line) => assert_eq!(line, Line::Opened, "{framing}"),
            Err(fault) => panic!("{framing}: {fault}"),
        }
        assert_eq!(driver.connect().await, Ok(Line::Kept), "{framing}");
        if framing.starts_with('8') {
            assert_eq!(read(&mut driver, 7).await, Ok(values(7)), "{framing}");
        }
        let mut second = rtu(settings(&path, framing));
        assert!(second.connect().await.is_err(), "{framing}: the port is ours");
    }
    slave.abort();
}

#[tokio::test]
async fn an_unplugged_port_is_closed_at_once_and_found_again_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("by-id");
    let mut driver = rtu(settings(&path, "8N1"));
    assert!(driver.connect().await.is_err(), "not plugged in yet");
    let before = open_terminals();
    for round in 0..100 {
        let slave = slave_at(&path);
        driver.connect().await.unwrap();
        assert_eq!(read(&mut driver, round).await, Ok(values(round)), "round {round}");
        slave.abort();
        assert!(slave.await.unwrap_err().is_cancelled());
        let fault = read(&mut driver, round).await.unwrap_err();
        assert!(matches!(fault, AskFault::LineDown(LineFault::Gone { .. })), "round {round}: {fault}");
        driver.close();
    }
    // other tests of this process hold a few terminals of their own at the same time
    assert!(open_terminals() < before + 10, "descriptors are left behind");
}

#[tokio::test]
async fn a_port_that_goes_while_nobody_is_asked_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let slave = slave_at(&path);
    let mut driver = rtu(settings(&path, "8N1"));
    driver.connect().await.unwrap();
    slave.abort();
    assert!(matches!(driver.hear().await, Unasked::Gone(LineFault::Gone { .. })));
}

#[tokio::test]
async fn a_bus_of_this_kind_hands_on_what_the_slave_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let slave = slave_at(&path);
    let product = registers(patient(), &[(7, std::time::Duration::from_millis(50))]);
    let (mut parts, mut heard) = fixtures::parts(&[("5", product)]);
    parts.devices[0].address = Address::Unit(5);
    let stop = tokio_util::sync::CancellationToken::new();
    let bus = tokio::spawn(rtu_bus(settings(&path, "8N1"), parts).run(stop.clone()));
    for _ in 0..3 {
        let want = Raw::Registers { table: Table::Holding, first: 7, words: vec![7] };
        assert_eq!(fixtures::next(&mut heard).await.outcome, Ok(want));
    }
    stop.cancel();
    bus.await.unwrap().unwrap();
    slave.abort();
}
