//! Ordinary life in the compound: cars travel, spaces fill and empty, people bring paper and show their cards.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Compound, SimError};

/// How often something may happen.
const TICK: Duration = Duration::from_millis(500);

/// Life goes on by itself in cars whose names are not in `left_alone`, and in the first device of each other class.
pub struct Life {
    compound: Arc<Compound>,
    left_alone: Vec<&'static str>,
    ticks: usize,
}

impl Life {
    /// # Errors
    /// If a device of the compound cannot say what it should.
    pub fn begin(compound: Arc<Compound>, left_alone: Vec<&'static str>) -> Result<Self, SimError> {
        let numbered = |class| (0u8..).zip(compound.of_class(class));
        for (n, (_, space)) in numbered("parking-sensor") {
            space.set("occupied", n % 3 != 0)?;
        }
        for (n, (_, light)) in numbered("street-light") {
            let n = f64::from(n);
            for (point, value) in [
                ("system_voltage", 12.0),
                ("battery_soc", 72.0 + n),
                ("battery_voltage", 13.2),
                ("battery_temperature", 11.0),
                ("controller_temperature", 19.0),
                ("panel_voltage", 18.4),
                ("panel_current", 3.1 + n / 10.0),
                ("panel_power", 57.0 + n),
            ] {
                light.set(point, value)?;
            }
            light.set("charge_state", "mppt")?;
        }
        for (n, (_, kiosk)) in numbered("recycling-kiosk") {
            kiosk.set("weight", 0.0)?;
            kiosk.set("scale_state", "stable")?;
            kiosk.set("fill_level", 30.0 + 10.0 * f64::from(n))?;
            kiosk.set("door_open", false)?;
            kiosk.set("temperature", 16.5)?;
            kiosk.set("smoke", false)?;
        }
        Ok(Self { compound, left_alone, ticks: 0 })
    }

    /// Goes on until told to stop.
    ///
    /// # Errors
    /// If a device cannot say what it should, or the radio is off.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SimError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => self.goes_on().await?,
            }
        }
    }

    async fn goes_on(&mut self) -> Result<(), SimError> {
        self.ticks += 1;
        self.cars().await?;
        // A car comes or goes every two seconds, each time at another space.
        if self.ticks.is_multiple_of(4) {
            self.parking().await?;
        }
        if self.ticks.is_multiple_of(9) {
            self.kiosk().await?;
        }
        if self.ticks.is_multiple_of(13) {
            self.gate()?;
        }
        Ok(())
    }

    async fn cars(&self) -> Result<(), SimError> {
        for (n, id) in self.compound.car_ids().enumerate() {
            let device = {
                let mut car = self.compound.car(id)?;
                if car.is_idle() && !self.left_alone.contains(&id.as_str()) {
                    car.call(1.0 + ((7 * self.ticks + 5 * n) % 17) as f64);
                }
                car.tick(TICK.as_secs_f64());
                Arc::clone(car.device())
            };
            self.compound.speak(&device).await?;
        }
        Ok(())
    }

    async fn parking(&self) -> Result<(), SimError> {
        let spaces: Vec<_> = self.compound.of_class("parking-sensor").collect();
        let round = self.ticks / 4;
        if let Some((_, space)) = spaces.get((round * 7) % spaces.len().max(1)) {
            space.set("occupied", (round / spaces.len()).is_multiple_of(2))?;
            self.compound.speak(space).await?;
        }
        Ok(())
    }

    /// Somebody brings paper to the first kiosk.
    async fn kiosk(&self) -> Result<(), SimError> {
        let Some((_, kiosk)) = self.compound.of_class("recycling-kiosk").next() else { return Ok(()) };
        let brought = self.ticks / 9;
        let kilograms = 0.5 + (brought % 8) as f64 / 4.0;
        kiosk.set("weight", kilograms)?;
        kiosk.set("scale_state", "stable")?;
        kiosk.set("delivery_weight", kilograms)?;
        kiosk.set("category", "paper")?;
        kiosk.set("transaction", format!("demo-{brought:06}").as_str())?;
        kiosk.set("credit_points", (kilograms * 2.0).floor())?;
        self.compound.speak(kiosk).await
    }

    /// Somebody comes in by the first gate.
    fn gate(&self) -> Result<(), SimError> {
        let Some((_, gate)) = self.compound.of_class("access-gate").next() else { return Ok(()) };
        gate.set("card_bits", 26.0)?;
        gate.set("card", format!("02468A{:02X}", self.ticks % 256).as_str())?;
        gate.happens("card");
        Ok(())
    }
}
