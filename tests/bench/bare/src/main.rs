//! What the gateway is measured against: tokio-modbus in a bare loop, one connection a port, decoding nothing and storing nothing.
//!
//! `bare_modbus REGISTERS UNITS PORT…` asks units 1 to UNITS of each port on loopback in turn, until it is ended.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio_modbus::{
    Slave,
    client::{Reader, tcp},
    slave::SlaveContext,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u16>());
    let mut next = || numbers.next().context("name REGISTERS UNITS PORT…")?.context("a number");
    let (registers, units) = (next()?, u8::try_from(next()?)?);
    let mut loops = JoinSet::new();
    for port in numbers {
        loops.spawn(ask(port?, units, registers));
    }
    match loops.join_next().await {
        Some(ended) => ended?,
        None => bail!("name at least one port"),
    }
}

async fn ask(port: u16, units: u8, registers: u16) -> anyhow::Result<()> {
    let mut line = tcp::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    loop {
        for unit in 1..=units {
            line.set_slave(Slave(unit));
            let words = line.read_holding_registers(0, registers).await??;
            if words.len() != usize::from(registers) {
                bail!("{} registers instead of {registers}", words.len());
            }
        }
    }
}
