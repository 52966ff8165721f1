//! The lines of the running gateway, as an installer's tools may use them: one read-only exchange at a time, and what was recorded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use crate::{
    domain::{
        BusId, DeviceId, Diagnosis, Failure, Garble, Medium, Raw, Table,
        inquiry::{Inquire, Inquired, Wanted, Whom},
        tape::{TapePage, TapeWish},
    },
    fieldbus::{Counter, Inquiry, driver::AskFault, plan::Ask, record::Tape},
    profile::{Address, Device, Dialect, Link, ModbusLink},
};

/// A line that finds no time for an inquiry within this is busy; less than whoever stands at the door waits.
const PATIENCE: Duration = Duration::from_secs(8);
/// Modbus Application Protocol V1.1b3, 6.3 and 6.1: in one question. More would hold up the line for an answer that cannot come.
const MOST_REGISTERS: u16 = 125;
const MOST_BITS: u16 = 2000;

/// One bus: where it is asked, and what it carried.
pub struct OneLine {
    pub counter: Counter,
    pub tape: Arc<Tape>,
}

pub struct Lines {
    buses: HashMap<BusId, OneLine>,
    devices: HashMap<DeviceId, (BusId, Address, Link)>,
    media: HashMap<BusId, Medium>,
}

impl Lines {
    pub fn new(buses: HashMap<BusId, OneLine>, devices: &[Device]) -> Self {
        let known = |device: &Device| {
            let link = device.profile.link.clone();
            (device.id.clone(), (device.bus.clone(), device.address.clone(), link))
        };
        let media = devices.iter().map(|device| (device.bus.clone(), device.medium)).collect();
        Self { buses, devices: devices.iter().map(known).collect(), media }
    }

    /// Makes one exchange, as soon as the line has time for it.
    pub async fn inquire(&self, inquire: Inquire) -> Inquired {
        let Some((bus, unit, link)) = self.whom(inquire.whom) else { return Inquired::Unknown };
        let Some(line) = self.buses.get(&bus) else { return Inquired::Unknown };
        let ask = match inquire.wanted {
            Wanted::Block { table, first, count } => Ask::Block { table, first, count },
            Wanted::Frame { request } => Ask::Frame { request },
        };
        if !fits_a_question(&ask) {
            return Inquired::Garbled(Garble::Unaskable.diagnosis());
        }
        let said_by = link.clone();
        let medium = self.media.get(&bus).copied().unwrap_or_default();
        let (reply, answer) = oneshot::channel();
        match line.counter.inquiries.try_send(Inquiry { unit, link, ask, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => return Inquired::Busy,
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => told(answer, &said_by, medium),
            // the bus ended, or has no time: it sees that nobody waits any more
            Ok(Err(_)) | Err(_) => Inquired::Busy,
        }
    }

    pub fn tape(&self, wish: &TapeWish) -> TapePage {
        self.buses.get(&wish.bus).map(|line| line.tape.page(wish.from, wish.since)).unwrap_or_default()
    }

    fn whom(&self, whom: Whom) -> Option<(BusId, Address, Link)> {
        match whom {
            Whom::Device(id) => self.devices.get(&id).cloned(),
            Whom::Unit { bus, unit, timeout_ms } => {
                let link = plain_modbus(Whom::patience(timeout_ms));
                Some((bus, Address::Unit(unit), Link::Modbus(link)))
            }
        }
    }
}

/// Modbus without any product's peculiarities.
pub fn plain_modbus(timeout: Duration) -> ModbusLink {
    ModbusLink {
        dialect: Dialect::Standard,
        max_registers: MOST_REGISTERS,
        max_gap: 0,
        align: 1,
        timeout,
        retries: 0,
        turnaround: Duration::ZERO,
        pipeline: 1,
    }
}

fn fits_a_question(ask: &Ask) -> bool {
    match *ask {
        Ask::Block { table, first, count } => {
            let most = match table {
                Table::Holding | Table::Input => MOST_REGISTERS,
                Table::Coil | Table::Discrete => MOST_BITS,
            };
            (1..=most).contains(&count) && u32::from(first) + u32::from(count) <= 1 << 16
        }
        Ask::Frame { .. } => true,
    }
}

fn told(answer: Result<Raw, AskFault>, link: &Link, medium: Medium) -> Inquired {
    let diagnosis =
        |fault: &AskFault| link.diagnose(&Failure::from(fault), medium).unwrap_or_else(Diagnosis::unasked);
    match answer {
        Ok(Raw::Registers { words, .. }) => Inquired::Words(words),
        Ok(Raw::Bits { bits, .. }) => Inquired::Bits(bits),
        Ok(Raw::Frame { bytes, .. } | Raw::Payload { bytes, .. }) => Inquired::Frame(bytes.to_vec()),
        Err(fault @ AskFault::Silent { waited }) => {
            Inquired::Silent { waited_ms: waited.as_millis() as u64, told: diagnosis(&fault) }
        }
        Err(fault @ AskFault::Refused { code }) => Inquired::Refused { code, told: diagnosis(&fault) },
        Err(fault @ AskFault::Garbled { .. }) => Inquired::Garbled(diagnosis(&fault)),
        Err(fault @ AskFault::LineDown(_)) => Inquired::LineDown(diagnosis(&fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_no_frame_holds_never_reaches_the_line() {
        for (table, first, count, fits) in [
            (Table::Holding, 0, 1, true),
            (Table::Holding, 65_411, 125, true),
            (Table::Holding, 65_412, 125, false),
            (Table::Input, 0, 126, false),
            (Table::Input, 0, u16::MAX, false),
            (Table::Coil, 0, 2000, true),
            (Table::Discrete, 0, 2001, false),
            (Table::Coil, u16::MAX, 2, false),
            (Table::Holding, 7, 0, false),
        ] {
            assert_eq!(
                fits_a_question(&Ask::Block { table, first, count }),
                fits,
                "{table:?} {first}+{count}"
            );
        }
        assert!(fits_a_question(&Ask::Frame { request: 3 }));
    }
}
