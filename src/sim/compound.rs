//! The compound: every device of a site, simulated behind the line that the site's gateway will open.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Broker, Car, Pty, Radio, SimDevice, SimError, Units, captured::furnish, radio, serve_rtu, serve_serial,
    serve_tcp,
};
use crate::{
    domain::{BusId, Clock, DeviceId},
    profile::{Address, Device, Link},
};

/// The device's end of one bus.
#[derive(Debug)]
pub enum Line {
    /// Modbus RTU.
    Rtu(Pty),
    /// Frames of the profiles' own, or DL/T 645.
    Serial(Pty),
    /// Modbus TCP.
    Tcp(TcpListener),
    Mqtt(Broker),
}

/// Every simulated device, and the radio of those that speak by themselves.
pub struct Compound {
    devices: BTreeMap<DeviceId, Arc<SimDevice>>,
    cars: BTreeMap<DeviceId, Mutex<Car>>,
    radio: Option<Radio>,
    clock: Arc<dyn Clock>,
    /// Runs as long as somebody holds it.
    _broker: Option<Broker>,
}

/// What a simulated line's task ends with.
pub type Served = io::Result<()>;

impl Compound {
    /// Puts each of `devices` behind the line of its bus and answers there, in tasks of `tasks`, until `stop`. A device
    /// whose bus has no line stays silent.
    pub fn serve(
        devices: &[Device],
        lines: Vec<(BusId, Line)>,
        clock: Arc<dyn Clock>,
        tasks: &mut JoinSet<Served>,
        stop: &CancellationToken,
    ) -> Self {
        let simulated = |device: &Device| {
            let bare = SimDevice::new(Arc::clone(&device.profile), device.address.clone());
            let address = match &device.address {
                Address::Unit(unit) => unit.to_string(),
                Address::Text(text) => text.clone(),
            };
            Arc::new(furnish(bare, &address))
        };
        let all: BTreeMap<DeviceId, Arc<SimDevice>> =
            devices.iter().map(|device| (device.id.clone(), simulated(device))).collect();
        let is_car = |device: &&Device| device.profile.class.name.as_str() == "elevator";
        let car =
            |device: &Device| (device.id.clone(), Mutex::new(Car::new(Arc::clone(&all[&device.id]), 1.0)));
        let mut compound = Self {
            cars: devices.iter().filter(is_car).map(car).collect(),
            devices: all,
            radio: None,
            clock,
            _broker: None,
        };
        for (bus, line) in lines {
            let here: Vec<&Device> = devices.iter().filter(|device| device.bus == bus).collect();
            compound.answer(line, &here, tasks, stop.clone());
        }
        compound
    }

    fn answer(&mut self, line: Line, here: &[&Device], tasks: &mut JoinSet<Served>, stop: CancellationToken) {
        let simulated = |device: &&&Device| Arc::clone(&self.devices[&device.id]);
        let unit = |device: &&Device| match device.address {
            Address::Unit(unit) => Some((unit, Arc::clone(&self.devices[&device.id]))),
            Address::Text(_) => None,
        };
        let units = || Units::new(here.iter().filter_map(unit));
        match line {
            Line::Rtu(mut pty) => {
                let units = units();
                tasks.spawn(async move { serve_rtu(&mut pty, &units, stop).await });
            }
            Line::Serial(mut pty) => {
                let devices: Vec<Arc<SimDevice>> = here.iter().map(|device| simulated(&device)).collect();
                tasks.spawn(async move { serve_serial(&mut pty, &devices, stop).await });
            }
            Line::Tcp(listener) => {
                tasks.spawn(serve_tcp(listener, units(), stop));
            }
            Line::Mqtt(broker) => {
                let (radio, link) = radio(broker.address());
                self.radio = Some(radio);
                self._broker = Some(broker);
                tasks.spawn(async move {
                    link.keep(stop).await;
                    Ok(())
                });
            }
        }
    }

    /// # Errors
    /// If the compound has no such device.
    pub fn device(&self, id: &str) -> Result<&Arc<SimDevice>, SimError> {
        self.devices.get(id).ok_or_else(|| SimError::NoSuchDevice { device: id.to_owned() })
    }

    /// # Errors
    /// If the compound has no such elevator.
    pub fn car(&self, id: &str) -> Result<MutexGuard<'_, Car>, SimError> {
        let car = self.cars.get(id).ok_or_else(|| SimError::NoSuchDevice { device: id.to_owned() })?;
        Ok(car.lock().expect("no one panics driving a car"))
    }

    pub fn car_ids(&self) -> impl Iterator<Item = &DeviceId> {
        self.cars.keys()
    }

    /// Devices of one class, in the order of their names.
    pub fn of_class<'a>(
        &'a self,
        class: &'a str,
    ) -> impl Iterator<Item = (&'a DeviceId, &'a Arc<SimDevice>)> {
        self.devices.iter().filter(move |(_, device)| device.profile().class.name.as_str() == class)
    }

    /// Those that speak by themselves.
    pub fn speakers(&self) -> impl Iterator<Item = (&DeviceId, &Arc<SimDevice>)> {
        self.devices.iter().filter(|(_, device)| matches!(device.profile().link, Link::Mqtt(_)))
    }

    /// The device says what it has to say now; one that is only asked says nothing.
    ///
    /// # Errors
    /// If the radio is off.
    pub async fn speak(&self, device: &SimDevice) -> Result<(), SimError> {
        match (&self.radio, &device.profile().link) {
            (Some(radio), Link::Mqtt(_)) => radio.send(device, self.clock.now().wall).await,
            (Some(_) | None, Link::Mqtt(_) | Link::Modbus(_) | Link::Serial(_) | Link::Dlt645(_)) => Ok(()),
        }
    }
}
