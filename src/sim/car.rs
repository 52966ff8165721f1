//! An elevator car that travels, opens its door, takes people in and can get stuck; its points follow.

use std::sync::Arc;

use tracing::debug;

use super::SimDevice;
use crate::domain::Value;

/// Floors per second: 1.75 m/s at 2.9 m a floor.
const SPEED: f64 = RATED / STOREY;
const RATED: f64 = 1.75;
const STOREY: f64 = 2.9;
/// How long the door stays open, in seconds.
const DWELL: f64 = 2.0;
/// Two people, in percent of the rated load.
const PEOPLE: f64 = 15.0;

/// Heights are in floors: 7.4 is between the 7th and the 8th.
#[derive(Debug)]
pub struct Car {
    device: Arc<SimDevice>,
    height: f64,
    calls: Vec<f64>,
    /// Where it will get stuck on its way.
    jam: Option<f64>,
    stuck: bool,
    fault: f64,
    people: bool,
    /// Seconds the door still stays open.
    open: f64,
    moving: f64,
}

impl Car {
    pub fn new(device: Arc<SimDevice>, floor: f64) -> Self {
        let car = Self {
            device,
            height: floor,
            calls: Vec::new(),
            jam: None,
            stuck: false,
            fault: 0.0,
            people: false,
            open: 0.0,
            moving: 0.0,
        };
        car.tell();
        car
    }

    pub fn device(&self) -> &Arc<SimDevice> {
        &self.device
    }

    /// Nobody wants it anywhere.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && !self.stuck && self.open <= 0.0
    }

    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// People get in and want to go to `floor`.
    pub fn call(&mut self, floor: f64) {
        self.people = true;
        self.calls.push(floor);
        self.open = 0.0;
    }

    /// On its way it will stop at `height` and not go on; its controller then shows `fault` (0: none).
    pub fn jam_at(&mut self, height: f64, fault: f64) {
        self.jam = Some(height);
        self.fault = fault;
    }

    /// Stands at `floor` with its door closed, as if it had come there empty.
    pub fn stand_at(&mut self, floor: f64) {
        self.height = floor;
        self.calls.clear();
        self.open = 0.0;
        self.stuck = false;
        self.jam = None;
        self.people = false;
    }

    /// It stops where it is, with `fault` on its controller and nobody inside.
    pub fn break_down(&mut self, fault: f64) {
        self.stuck = true;
        self.fault = fault;
        self.people = false;
        self.moving = 0.0;
    }

    /// It goes on to the nearest floor, opens, and everybody gets out.
    pub fn free(&mut self) {
        self.stuck = false;
        self.jam = None;
        self.fault = 0.0;
        self.calls = vec![self.height.ceil()];
    }

    /// `seconds` pass.
    pub fn tick(&mut self, seconds: f64) {
        self.moving = 0.0;
        if self.open > 0.0 {
            self.open -= seconds;
            self.people = false;
        } else if let (Some(&target), false) = (self.calls.first(), self.stuck) {
            self.travel(target, seconds);
        }
        self.tell();
    }

    fn travel(&mut self, target: f64, seconds: f64) {
        let step = (target - self.height).clamp(-SPEED * seconds, SPEED * seconds);
        let next = self.height + step;
        let passed = self.jam.filter(|jam| (self.height - jam) * (next - jam) <= 0.0);
        if let Some(jam) = passed {
            self.height = jam;
            self.stuck = true;
            return;
        }
        self.height = next;
        if self.height == target {
            self.calls.remove(0);
            self.open = DWELL;
        } else {
            self.moving = RATED.copysign(step);
        }
    }

    fn tell(&self) {
        let level = self.moving == 0.0 && self.height.fract() == 0.0;
        let direction = if self.moving > 0.0 { "up" } else { "down" };
        let faulty = self.stuck && self.fault != 0.0;
        let points: [(&str, Value); 11] = [
            ("floor", self.height.floor().into()),
            ("position", ((self.height - 1.0) * STOREY).into()),
            ("rated_speed", RATED.into()),
            ("direction", if self.moving == 0.0 { "none" } else { direction }.into()),
            ("door", if self.open > 0.0 { "open" } else { "closed" }.into()),
            ("door_zone", level.into()),
            ("mode", if faulty { "fault" } else { "normal" }.into()),
            ("occupied", self.people.into()),
            ("load", if self.people { PEOPLE } else { 0.0 }.into()),
            ("bus_voltage", 540.0.into()),
            ("fault_code", if faulty { self.fault } else { 0.0 }.into()),
        ];
        for (point, value) in points {
            self.say(point, value);
        }
        // Some count downwards as minus, some only say how fast.
        if self.device.set("speed", self.moving).is_err() {
            self.say("speed", self.moving.abs().into());
        }
    }

    /// Products differ in what they tell.
    fn say(&self, point: &str, value: Value) {
        if self.device.has(point)
            && let Err(error) = self.device.set(point, value)
        {
            debug!(%error, "A simulated car keeps something to itself.");
        }
    }
}
