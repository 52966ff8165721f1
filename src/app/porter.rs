//! Takes questions from the door to whoever knows the answer.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Ended, lines::Lines};
use crate::{
    console::door::{Answer, Question, Visit},
    domain::{
        Clock,
        command::Command,
        inquiry::{Inquire, Inquired},
        status::Live,
    },
    fieldbus::BusGauge,
    pipeline::Asked,
    store::TelemetryStore,
    uplink::EndpointGauge,
};

/// So many exchanges on lines may be under way for people at once.
const INQUIRIES: usize = 8;

pub struct Porter {
    pub started_at: Timestamp,
    pub demo: bool,
    pub clock: Arc<dyn Clock>,
    pub pipeline: mpsc::Sender<Asked>,
    pub telemetry: TelemetryStore,
    pub buses: Vec<BusGauge>,
    pub lines: Arc<Lines>,
    pub endpoints: Vec<EndpointGauge>,
}

impl Porter {
    pub async fn run(self, mut visits: mpsc::Receiver<Visit>, stop: CancellationToken) -> Ended {
        let mut inquiries = JoinSet::new();
        loop {
            let (question, reply) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = inquiries.join_next() => continue,
                visit = visits.recv() => match visit {
                    Some(visit) => visit,
                    None => break,
                },
            };
            let answer = match question {
                Question::Command(command) => self.command(command).await,
                Question::Status => self.status().await,
                Question::Tape(wish) => Answer::Tape(self.lines.tape(&wish)),
                Question::Inquire(inquire) if inquiries.len() < INQUIRIES => {
                    // a line may be busy for seconds: others at the door do not wait for it
                    inquiries.spawn(answer_inquiry(Arc::clone(&self.lines), inquire, reply));
                    continue;
                }
                Question::Inquire(_) => Answer::Inquired(Inquired::Busy),
            };
            give(reply, answer);
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
        let Ok((devices, storage)) = devices.await else { return Answer::Stopping };
        Answer::Status(Box::new(Live {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            demo: self.demo,
            time_quality: self.clock.quality(),
            readings_lost: self.telemetry.dropped(),
            storage,
            devices,
            buses: self.buses.iter().map(BusGauge::read).collect(),
            endpoints: self.endpoints.iter().map(EndpointGauge::read).collect(),
        }))
    }
}

async fn answer_inquiry(lines: Arc<Lines>, inquire: Inquire, reply: oneshot::Sender<Answer>) {
    give(reply, Answer::Inquired(lines.inquire(inquire).await));
}

fn give(reply: oneshot::Sender<Answer>, answer: Answer) {
    reply.send(answer).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
}
