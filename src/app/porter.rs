//! Takes questions from the door to whoever knows the answer.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Ended, clock::Step, drills::Drills, lines::Lines, upward::WayOut};
use crate::{
    console::door::{Answer, Question, Visit},
    domain::{
        Clock,
        command::Command,
        inquiry::{Inquire, Inquired},
        status::{FlashStatus, Live},
    },
    fieldbus::BusGauge,
    pipeline::{Asked, Standing},
    store::TelemetryStore,
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
    pub drills: Arc<Drills>,
    /// When the clock was set last.
    pub step: watch::Receiver<Option<Step>>,
}

impl Porter {
    pub async fn run(self, mut visits: mpsc::Receiver<Visit>, stop: CancellationToken) -> Ended {
        // What may take its time: a device, a busy line. Others at the door do not wait for it.
        let mut underway = JoinSet::new();
        let inquiries = Arc::new(Semaphore::new(INQUIRIES));
        loop {
            let (question, reply) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = underway.join_next() => continue,
                visit = visits.recv() => match visit {
                    Some(visit) => visit,
                    None => break,
                },
            };
            match question {
                Question::Command(command) => {
                    underway.spawn(carry(self.pipeline.clone(), command, reply));
                }
                Question::Status => hand(reply, self.status().await),
                Question::Drill { endpoint, by } => {
                    let drills = Arc::clone(&self.drills);
                    underway.spawn(async move {
                        hand(reply, Answer::Drilled(drills.hold(&endpoint, by).await));
                    });
                }
                Question::Tape(wish) => hand(reply, Answer::Tape(self.lines.tape(&wish))),
                Question::Inquire(inquire) => match Arc::clone(&inquiries).try_acquire_owned() {
                    Ok(place) => {
                        underway.spawn(answer_inquiry(Arc::clone(&self.lines), inquire, reply, place));
                    }
                    Err(_full) => hand(reply, Answer::Inquired(Inquired::Busy)),
                },
            }
        }
        Ok("porter")
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
            clock_step: self.step.borrow().map(|step| step.seen_at(self.clock.now().mono)),
            readings_lost: self.telemetry.dropped(),
            storage,
            flash: flash(&self.telemetry),
            devices,
            buses: buses.collect(),
            endpoints: self.drills.ways.iter().map(WayOut::read).collect(),
        }))
    }
}

/// Nothing before the first look, and where the kernel does not count.
fn flash(telemetry: &TelemetryStore) -> Option<FlashStatus> {
    let flash = telemetry.flash();
    (flash.total > 0).then(|| FlashStatus {
        written_today: flash.today,
        written_per_day: flash.pace,
        budget_per_day: flash.per_day,
        years_left: flash.years_left(),
    })
}

async fn carry(pipeline: mpsc::Sender<Asked>, command: Command, to: oneshot::Sender<Answer>) {
    let (reply, outcome) = oneshot::channel();
    let answer = match pipeline.send(Asked::Command(command, reply)).await {
        Ok(()) => outcome.await.map_or(Answer::Stopping, Answer::Outcome),
        Err(_gone) => Answer::Stopping,
    };
    hand(to, answer);
}

async fn answer_inquiry(
    lines: Arc<Lines>,
    inquire: Inquire,
    reply: oneshot::Sender<Answer>,
    place: OwnedSemaphorePermit,
) {
    hand(reply, Answer::Inquired(lines.inquire(inquire).await));
    drop(place);
}

fn hand(to: oneshot::Sender<Answer>, answer: Answer) {
    to.send(answer).unwrap_or_else(|_| debug!("Nobody waits for the answer."));
}
