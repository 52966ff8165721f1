//! Takes questions from the door to whoever knows the answer.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Ended;
use crate::{
    console::door::{Answer, Question, Visit},
    domain::{Clock, command::Command, status::Live},
    fieldbus::BusGauge,
    pipeline::{Asked, Standing},
    store::TelemetryStore,
    uplink::EndpointGauge,
};

pub struct Porter {
    pub started_at: Timestamp,
    pub demo: bool,
    pub clock: Arc<dyn Clock>,
    pub pipeline: mpsc::Sender<Asked>,
    pub telemetry: TelemetryStore,
    pub buses: Vec<BusGauge>,
    pub endpoints: Vec<EndpointGauge>,
}

impl Porter {
    pub async fn run(self, mut visits: mpsc::Receiver<Visit>, stop: CancellationToken) -> Ended {
        loop {
            let (question, reply) = tokio::select! {
                () = stop.cancelled() => break,
                visit = visits.recv() => match visit {
                    Some(visit) => visit,
                    None => break,
                },
            };
            let answer = match question {
                Question::Command(command) => self.command(command).await,
                Question::Status => self.status().await,
            };
            reply.send(answer).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
        }
        Ok("porter")
    }

    async fn command(&self, command: Command) -> Answer {
        let (reply, outcome) = oneshot::channel();
        if self.pipeline.send(Asked::Command(command, reply)).await.is_err() {
            return Answer::Stopping;
        }
        outcome.await.map_or(Answer::Stopping, Answer::Outcome)
    }

    async fn status(&self) -> Answer {
        let (reply, devices) = oneshot::channel();
        if self.pipeline.send(Asked::Devices(reply)).await.is_err() {
            return Answer::Stopping;
        }
        let Ok(Standing { devices, storage, messages }) = devices.await else { return Answer::Stopping };
        let buses = self.buses.iter().map(|gauge| {
            let mut bus = gauge.read();
            if let (Some(known), Some(seen)) = (&mut bus.messages, messages.get(&bus.id)) {
                known.counts += *seen;
            }
            bus
        });
        Answer::Status(Box::new(Live {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            demo: self.demo,
            time_quality: self.clock.quality(),
            readings_lost: self.telemetry.dropped(),
            storage,
            devices,
            buses: buses.collect(),
            endpoints: self.endpoints.iter().map(EndpointGauge::read).collect(),
        }))
    }
}
