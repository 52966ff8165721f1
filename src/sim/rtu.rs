//! Simulated devices on an RS-485 line: Modbus RTU on a pty, with the NICE3000+ controllers' own way of answering.

use std::io;

use crc::{CRC_16_MODBUS, Crc};
use tokio_util::sync::CancellationToken;

use super::{Pty, SimDevice, modbus::Units};
use crate::{
    domain::Table,
    profile::{Dialect, Link},
};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
/// Every request that reads: unit, function, first, count, CRC (Modbus Application Protocol 1.1b3, 6.1–6.4).
const REQUEST: usize = 8;
/// The vendor's app never asks a NICE3000+ for more.
const NICE3000_MOST: u16 = 10;

/// What a device says instead of values: a Modbus exception, or the NICE3000+ error word in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// 01 (2)
    Function,
    /// 02 (4)
    Address,
    /// 03 (5)
    Count,
}

/// Answers on the line until told to stop. Units that do not exist stay silent, as on a real line.
///
/// # Errors
/// If the line is gone.
pub async fn serve_rtu(line: &mut Pty, units: &Units, stop: CancellationToken) -> io::Result<()> {
    let mut heard = Vec::new();
    let mut chunk = [0; 256];
    loop {
        let count = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = line.read(&mut chunk) => read?,
        };
        heard.extend_from_slice(&chunk[..count]);
        for reply in answers(&mut heard, units) {
            line.write(&reply).await?;
        }
    }
}

/// The replies to the whole requests in `heard`; what may still become one stays in it.
fn answers(heard: &mut Vec<u8>, units: &Units) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    let mut done = 0;
    while let Some(request) = heard.get(done..done + REQUEST) {
        if CRC.checksum(request) != 0 {
            done += 1; // noise, or a request of another length: the next one is found by its CRC
            continue;
        }
        let word = |at| u16::from_be_bytes([request[at], request[at + 1]]);
        if let Some(device) = units.get(request[0]) {
            replies.push(reply(device, request[0], request[1], word(2), word(4)));
        }
        done += REQUEST;
    }
    heard.drain(..done);
    replies
}

fn reply(device: &SimDevice, unit: u8, function: u8, first: u16, count: u16) -> Vec<u8> {
    let dialect = match &device.profile().link {
        Link::Modbus(link) => link.dialect,
        Link::Serial(_) | Link::Mqtt(_) | Link::Dlt645(_) => Dialect::Standard,
    };
    let mut frame = vec![unit, function];
    match (values(device, dialect, function, first, count), dialect) {
        (Ok(values), Dialect::Standard) => {
            frame.push(values.len() as u8);
            frame.extend(values);
        }
        (Ok(values), Dialect::Nice3000) => {
            frame.extend((values.len() as u16).to_be_bytes());
            frame.extend(values);
        }
        (Err(why), Dialect::Standard) => {
            frame[1] |= 0x80;
            frame.push(match why {
                Refusal::Function => 1,
                Refusal::Address => 2,
                Refusal::Count => 3,
            });
        }
        // As if register 0x8001, which holds the error, had been asked for.
        (Err(why), Dialect::Nice3000) => frame.extend(match why {
            Refusal::Function => [0x80, 0x01, 0, 2],
            Refusal::Address => [0x80, 0x01, 0, 4],
            Refusal::Count => [0x80, 0x01, 0, 5],
        }),
    }
    let crc = CRC.checksum(&frame);
    frame.extend(crc.to_le_bytes());
    frame
}

fn values(
    device: &SimDevice,
    dialect: Dialect,
    function: u8,
    first: u16,
    count: u16,
) -> Result<Vec<u8>, Refusal> {
    let (table, most) = match function {
        1 => (Table::Coil, 2000),
        2 => (Table::Discrete, 2000),
        3 => (Table::Holding, 125),
        4 => (Table::Input, 125),
        _ => return Err(Refusal::Function),
    };
    let most = match dialect {
        Dialect::Standard => most,
        Dialect::Nice3000 => NICE3000_MOST,
    };
    if !(1..=most).contains(&count) {
        return Err(Refusal::Count);
    }
    if matches!(table, Table::Coil | Table::Discrete) {
        let bits = device.bits(table, first, count).ok_or(Refusal::Address)?;
        let byte = |eight: &[bool]| eight.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::from(*bit));
        return Ok(bits.chunks(8).map(byte).collect());
    }
    let words = device.registers(table, first, count).ok_or(Refusal::Address)?;
    Ok(words.into_iter().flat_map(u16::to_be_bytes).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::profile::{Address, Library};

    fn units() -> Units {
        let library = Library::shipped(&mut Default::default());
        let unit = |unit, id: &str| {
            let profile = library.profile(id).unwrap();
            (unit, Arc::new(SimDevice::new(profile, Address::Unit(unit))))
        };
        let lift = unit(1, "elevator/monarch-nice3000");
        lift.1.set("floor", 7.0).unwrap();
        lift.1.set("fault_kind", "safety_circuit").unwrap();
        let light = unit(2, "street-light/renogy-rover");
        light.1.set("battery_voltage", 12.3).unwrap();
        Units::new([lift, light])
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// A request or reply with its CRC at its end.
    fn sealed(hex: &str) -> Vec<u8> {
        let mut frame = bytes(hex);
        let crc = CRC.checksum(&frame);
        frame.extend(crc.to_le_bytes());
        frame
    }

    #[test]
    fn answers_as_the_vendors_captured_and_documented_ones() {
        let units = units();
        for (fact, request, reply) in [
            ("NICE3000+, captured: floor 7", "01 03 10 18 00 01 00 CD", "01 03 00 02 00 07 A5 C8"),
            ("NICE3000+, captured: fault E41", "01 03 80 00 00 01 AD CA", "01 03 00 02 00 29 25 D4"),
        ] {
            assert_eq!(answers(&mut bytes(request), &units), [bytes(reply)], "{fact}");
        }
        let documented = sealed("02 03 02 00 7B");
        assert_eq!(answers(&mut sealed("02 03 01 01 00 01"), &units), [documented], "Renogy, 12.3 V");
        assert!(answers(&mut sealed("09 03 01 01 00 01"), &units).is_empty(), "nobody has unit 9");
    }

    #[test]
    fn refusals_in_each_dialect() {
        let units = units();
        for (fact, request, reply) in [
            ("NICE3000+, 11 registers", "01 03 10 18 00 0B", "01 03 80 01 00 05"),
            ("NICE3000+, a register it does not have", "01 03 20 00 00 01", "01 03 80 01 00 04"),
            ("NICE3000+, a write", "01 06 10 18 00 01", "01 06 80 01 00 02"),
            ("standard, a register it does not have", "02 03 20 00 00 01", "02 83 02"),
            ("standard, 126 registers", "02 03 01 00 00 7E", "02 83 03"),
            ("standard, a write", "02 06 01 00 00 01", "02 86 01"),
        ] {
            assert_eq!(answers(&mut sealed(request), &units), [sealed(reply)], "{fact}");
        }
    }

    #[test]
    fn a_request_is_found_in_noise_and_in_pieces() {
        let units = units();
        let mut heard = bytes("00 FF 01");
        heard.extend(&sealed("01 03 10 18 00 01")[..5]);
        assert_eq!(answers(&mut heard, &units), [[0; 0]; 0], "not yet whole");
        heard.extend(&sealed("01 03 10 18 00 01")[5..]);
        assert_eq!(answers(&mut heard, &units), [sealed("01 03 00 02 00 07")]);
        assert!(heard.is_empty(), "nothing is left over");
    }
}
