//! What the story stands on: the compound, the receivers, the door and the store, and how to wait for something to be seen.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::teller::Teller;
use crate::{
    config::Site,
    console::door::{self, Answer, Question},
    domain::{
        Text, Value,
        command::{Command, Outcome},
        status::{LinkState, Live},
    },
    sim::{Compound, Inspector},
    store::{AlarmFilter, Reader, StoreError, TelemetryReader},
    text,
};

/// How often the story looks whether something happened.
const LOOK: Duration = Duration::from_millis(200);

pub struct Stage {
    pub tell: Teller,
    pub compound: Arc<Compound>,
    pub inspector: Inspector,
    store: PathBuf,
    began: Timestamp,
    told: AtomicBool,
}

/// A step of the story that did not happen in time, or not as it should.
#[derive(Debug, thiserror::Error)]
#[error("see it happen: {}", step.en)]
pub struct Missed {
    pub step: Text,
    pub why: Text,
    /// What was there instead, a line each.
    pub seen: Vec<String>,
}

impl Stage {
    pub fn new(
        site: &Site,
        tell: Teller,
        compound: Arc<Compound>,
        inspector: Inspector,
        began: Timestamp,
    ) -> Self {
        let store = site.store.dir.clone();
        Self { tell, compound, inspector, store, began, told: AtomicBool::new(false) }
    }

    /// Whether the whole story was told.
    pub fn is_told(&self) -> bool {
        self.told.load(Relaxed)
    }

    pub fn end(&self) {
        self.told.store(true, Relaxed);
    }

    /// Tries until there is something to see; after `patience` the step is missed.
    ///
    /// # Errors
    /// [`Missed`]; what `look` fails with.
    pub async fn until<T>(
        &self,
        patience: Duration,
        step: Text,
        mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + patience;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() >= until {
                let seconds = patience.as_secs();
                let why = text!("{seconds} 秒内没有看到", "it was not seen within {seconds} s");
                return Err(self.missed(step, why).await.into());
            }
            sleep(LOOK).await;
        }
    }

    /// The step is missed: with what can be seen from here now.
    pub async fn missed(&self, step: Text, why: Text) -> Missed {
        let seen = self.sights().await.unwrap_or_else(|error| vec![format!("{error:#}")]);
        Missed { step, why, seen }
    }

    async fn sights(&self) -> anyhow::Result<Vec<String>> {
        let deliveries = self.inspector.deliveries();
        let latest = deliveries.iter().rev().take(4).rev();
        let mut seen: Vec<String> =
            latest.map(|one| format!("{} {} {} #{}", one.office, one.kind, one.subject, one.seq)).collect();
        seen.push(format!("receivers: {} events, {} refused", deliveries.len(), self.inspector.refused()));
        if let Some(live) = self.live().await? {
            let silent = live.devices.iter().filter(|device| device.link != LinkState::Online);
            let silent: Vec<&str> = silent.map(|device| device.id.as_str()).take(5).collect();
            seen.push(format!("devices not online: {silent:?}"));
            let failing = live.endpoints.iter().filter_map(|endpoint| endpoint.failing.as_ref());
            seen.extend(failing.map(|failing| format!("delivery fails: {}", failing.why.said.en)));
            let alarms = self.look(|reader| reader.alarms(&AlarmFilter::default())).await?.rows;
            seen.extend(
                alarms.iter().map(|row| format!("alarm {}/{} is {:?}", row.device, row.alarm, row.state)),
            );
        } else {
            seen.push("the gateway does not answer at its door".to_owned());
        }
        Ok(seen)
    }

    /// What the running gateway says of itself; `None` while it is not there yet.
    pub async fn live(&self) -> anyhow::Result<Option<Live>> {
        match door::visit(&self.store, &Question::Status).await {
            Ok(Answer::Status(live)) => Ok(Some(*live)),
            Ok(
                Answer::Outcome(_)
                | Answer::Inquired(_)
                | Answer::Tape(_)
                | Answer::NotUnderstood(_)
                | Answer::Busy
                | Answer::Stopping,
            ) => Ok(None),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("ask the gateway how it is"),
        }
    }

    /// Gives the gateway a command, at the door that people's commands come in by.
    pub async fn command(&self, command: Command) -> anyhow::Result<Option<Outcome>> {
        let answer = door::visit(&self.store, &Question::Command(command)).await;
        match answer.context("go to the gateway's door")? {
            Answer::Outcome(outcome) => Ok(Some(outcome)),
            Answer::Status(_)
            | Answer::Inquired(_)
            | Answer::Tape(_)
            | Answer::NotUnderstood(_)
            | Answer::Busy
            | Answer::Stopping => Ok(None),
        }
    }

    /// A look at the events that are on disk.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let store = self.store.clone();
        let looked = spawn_blocking(move || look(&Reader::open(&store)?)).await;
        looked.context("look at the store")?.context("look at the store")
    }

    /// The last value on disk of `point`, of each of `devices`.
    pub async fn latest(
        &self,
        devices: Vec<String>,
        point: &'static str,
    ) -> anyhow::Result<Vec<Option<Value>>> {
        let mut latest = Vec::with_capacity(devices.len());
        for device in devices {
            latest.push(self.values(device, point, self.began).await?.pop().map(|(_, value)| value));
        }
        Ok(latest)
    }

    /// The values on disk of `point` of `device` since `from`, oldest first.
    pub async fn values(
        &self,
        device: String,
        point: &'static str,
        from: Timestamp,
    ) -> anyhow::Result<Vec<(Timestamp, Value)>> {
        let store = self.store.clone();
        let look = move || {
            let reader = TelemetryReader::open(&store)?;
            let mut values = Vec::new();
            for reading in reader.readings(&device, Some(point), from, Timestamp::MAX)? {
                let reading = reading?;
                values.extend(reading.value.map(|value| (reading.at, value)));
            }
            Ok::<_, StoreError>(values)
        };
        spawn_blocking(look).await.context("look at the readings")?.context("look at the readings")
    }
}
