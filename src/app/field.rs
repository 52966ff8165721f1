//! The buses: each a task of its own, with what is told and asked of it and what it carried.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Ended, dial_in, lines::OneLine};
use crate::{
    config::{Bus, BusLink},
    domain::{BusId, Clock, DeviceIx, EventId, Heard},
    fieldbus::{
        self, BusDevice, BusGauge, BusParts,
        modbus::{self, Receptions},
        record::Tape,
    },
    profile::Device,
};

/// What all buses share.
pub struct Field<'a> {
    pub devices: &'a [Device],
    pub sender: &'a mpsc::Sender<Heard>,
    pub clock: &'a Arc<dyn Clock>,
}

impl Field<'_> {
    /// One task a bus; gives back their gauges, and where each is told and asked. Of `tape_memory` bytes each gets an equal share.
    pub fn spawn(
        &self,
        tasks: &mut JoinSet<Ended>,
        buses: Vec<Bus>,
        tape_memory: u64,
        polling: &CancellationToken,
    ) -> (Vec<BusGauge>, HashMap<BusId, OneLine>) {
        let share = usize::try_from(tape_memory).unwrap_or(usize::MAX) / buses.len().max(1);
        let receptions = dial_in::receptions(tasks, &buses, polling);
        let (mut gauges, mut lines) = (Vec::new(), HashMap::new());
        for bus in buses {
            let (counter, inbox) = fieldbus::counter();
            let tape = Arc::new(Tape::new(share, Arc::clone(self.clock)));
            lines.insert(bus.id.clone(), OneLine { counter, tape: Arc::clone(&tape) });
            let parts = BusParts {
                id: bus.id.clone(),
                devices: devices_of(&bus.id, self.devices, false),
                own: devices_of(&bus.id, self.devices, true).pop(),
                sender: self.sender.clone(),
                clock: Arc::clone(self.clock),
                counters: Arc::default(),
                inbox,
                tape,
                // Compounds must not reconnect in step after a power cut.
                seed: u64::from_ne_bytes(
                    EventId::random().0[..8].try_into().expect("eight of sixteen bytes"),
                ),
            };
            gauges.push(BusGauge { bus: bus.id, counters: Arc::clone(&parts.counters) });
            tasks.spawn(poll(bus.link, parts, Arc::clone(&receptions), polling.clone()));
        }
        (gauges, lines)
    }
}

async fn poll(link: BusLink, parts: BusParts, modems: Arc<Receptions>, stop: CancellationToken) -> Ended {
    let id = parts.id.clone();
    match link {
        BusLink::ModbusTcp(settings) => modbus::tcp_bus(settings, parts).run(stop).await?,
        BusLink::ModbusRtu(settings) => modbus::rtu_bus(settings, parts).run(stop).await?,
        BusLink::ModbusRtuTcp(settings) => modbus::rtu_tcp_bus(settings, parts).run(stop).await?,
        BusLink::ModbusAscii(settings) => modbus::ascii_bus(settings, parts).run(stop).await?,
        BusLink::ModbusDtu(settings) => modbus::dtu_bus(settings, &modems, parts).run(stop).await?,
        BusLink::Serial(settings) => match fieldbus::serial::bus(parts, &settings) {
            Ok(bus) => bus.run(stop).await?,
            Err(error) => stay_away(&id, &error, &stop).await,
        },
        BusLink::Dlt645(settings) => fieldbus::dlt645::line_bus(&settings, parts).run(stop).await?,
        BusLink::Dlt645Tcp(settings) => fieldbus::dlt645::tcp_bus(settings, parts).run(stop).await?,
        BusLink::Mqtt { broker, discover } => match fieldbus::mqtt::bus(parts, &broker, discover) {
            Ok(bus) => bus.run(stop).await?,
            Err(error) => stay_away(&id, &error, &stop).await,
        },
    }
    Ok("bus")
}

/// A bus that cannot be set up costs its own devices, nobody else.
async fn stay_away(bus: &BusId, error: &(dyn std::error::Error + Sync), stop: &CancellationToken) {
    error!(%bus, %error, "This bus cannot be used; its devices are not read.");
    stop.cancelled().await;
}

/// The devices on a line, or `own`: the line itself.
fn devices_of(bus: &BusId, devices: &[Device], own: bool) -> Vec<BusDevice> {
    let numbered = devices.iter().enumerate();
    let numbered = numbered.filter(|(_, device)| device.bus == *bus && device.is_own_line() == own);
    let known = numbered.map(|(ix, device)| BusDevice {
        ix: DeviceIx(ix as u32),
        id: device.id.clone(),
        address: device.address.clone(),
        medium: device.medium,
        profile: Arc::clone(&device.profile),
    });
    known.collect()
}
