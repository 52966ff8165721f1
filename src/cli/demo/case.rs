//! One occurrence of one alarm, followed at a receiver: each step must come, once, in order, signed, and as the store has it.

use std::time::Duration;

use serde_json::Value as Json;

use super::stage::Stage;
use crate::{
    domain::{
        OccurrenceId, Text,
        command::{Command, Outcome},
    },
    sim::Delivery,
    text,
};

/// From a step's commit to its receipt: what a delivery may take on a busy machine.
pub const DELIVERY: Duration = Duration::from_secs(10);

pub struct Case<'a> {
    stage: &'a Stage,
    office: &'static str,
    subject: String,
    occurrence: String,
    /// In the order in which they came.
    steps: Vec<&'static str>,
}

impl<'a> Case<'a> {
    /// Waits for the raise of `device`/`alarm` at `office`, other than those that `before` has.
    ///
    /// # Errors
    /// [`super::stage::Missed`] if it does not come within `patience`, or does not say that it is a demo.
    pub async fn raised(
        stage: &'a Stage,
        office: &'static str,
        subject: String,
        before: &[Delivery],
        patience: Duration,
    ) -> anyhow::Result<(Self, Delivery)> {
        let step = text!("{subject} 的触发送达 {office}", "{office} is told that {subject} was raised");
        let is_new = |one: &Delivery| before.iter().all(|known| known.id != one.id);
        let wanted = |one: &Delivery| {
            one.office == office
                && one.subject == subject
                && one.kind == "gatehouse.alarm.raised"
                && is_new(one)
        };
        let Some(delivery) = stage.inspector.delivery(patience, wanted).await else {
            return Err(late(stage, step, patience).await);
        };
        let occurrence = delivery.occurrence.clone();
        let case = Self { stage, office, subject, occurrence, steps: vec!["raised"] };
        case.says_demo(&delivery, step).await?;
        Ok((case, delivery))
    }

    /// Waits for the next step of the same occurrence.
    ///
    /// # Errors
    /// As [`Case::raised`].
    pub async fn next(&mut self, kind: &'static str, patience: Duration) -> anyhow::Result<Delivery> {
        let (office, subject, occurrence) = (self.office, &self.subject, &self.occurrence);
        let step = text!("{subject} 的 {kind} 送达 {office}", "{office} is told that {subject} was {kind}");
        let whole = format!("gatehouse.alarm.{kind}");
        let wanted =
            |one: &Delivery| one.office == office && one.occurrence == *occurrence && one.kind == whole;
        let Some(delivery) = self.stage.inspector.delivery(patience, wanted).await else {
            return Err(late(self.stage, step, patience).await);
        };
        self.says_demo(&delivery, step).await?;
        self.steps.push(kind);
        Ok(delivery)
    }

    /// A person takes it on; for a latching alarm that has returned this closes it.
    ///
    /// # Errors
    /// [`super::stage::Missed`] if the gateway does not store it.
    pub async fn acknowledge(&self, by: &str, note: &str) -> anyhow::Result<()> {
        let alarm = OccurrenceId::from(self.occurrence.as_str());
        let command = Command::Acknowledge {
            alarm,
            by: by.to_owned(),
            note: Some(note.to_owned()),
            from: "demo".to_owned(),
        };
        let outcome = self.stage.command(command).await?;
        if matches!(outcome, Some(Outcome::Acknowledged { .. })) {
            return Ok(());
        }
        let step = text!("{by} 的确认入库", "the acknowledgement of {by} is stored");
        let why = text!("网关回答 {outcome:?}", "the gateway answered {outcome:?}");
        Err(self.stage.missed(step, why).await.into())
    }

    /// Holds what the office got against what the store has: the same events, in the same order, and a chain that is whole.
    /// Gives the number of events in the chain.
    ///
    /// # Errors
    /// [`super::stage::Missed`] where they differ.
    pub async fn agrees_with_the_store(&self) -> anyhow::Result<u64> {
        let step = text!("送达的与本机事件库一致", "what was delivered is what the store has");
        let deliveries = self.stage.inspector.deliveries();
        let got: Vec<&Delivery> = deliveries
            .iter()
            .filter(|one| one.office == self.office && one.occurrence == self.occurrence)
            .collect();
        let kinds: Vec<&str> = got.iter().filter_map(|one| one.kind.rsplit('.').next()).collect();
        if kinds != self.steps {
            let steps = &self.steps;
            let why =
                text!("收到的顺序是 {kinds:?}，应为 {steps:?}", "it came as {kinds:?}, not as {steps:?}");
            return Err(self.stage.missed(step, why).await.into());
        }
        let occurrence = self.occurrence.clone();
        let (stored, chain) = self
            .stage
            .look(move |reader| {
                let mut events = reader.events(0, u64::from(u32::MAX))?;
                events.retain(|sealed| sealed.event.alarm.occurrence.as_str() == occurrence);
                Ok((events, reader.verify_chain()?))
            })
            .await?;
        let on_disk: Vec<(&str, u64, bool)> =
            stored.iter().map(|one| (one.event.id.as_str(), one.event.seq, one.event.demo)).collect();
        let delivered: Vec<(&str, u64, bool)> =
            got.iter().map(|one| (one.id.as_str(), one.seq, true)).collect();
        if on_disk != delivered {
            let why = text!(
                "库中是 {on_disk:?}，送达 {delivered:?}",
                "the store has {on_disk:?}, delivered were {delivered:?}"
            );
            return Err(self.stage.missed(step, why).await.into());
        }
        match chain {
            Ok(verified) => Ok(verified.events),
            Err(broken) => {
                let (zh, en) = (&broken.why.zh, &broken.why.en);
                let place = broken.place.text();
                let (zh_at, en_at) = (place.zh, place.en);
                let why = text!("{zh_at}处链断：{zh}", "the chain breaks at {en_at}: {en}");
                Err(self.stage.missed(step, why).await.into())
            }
        }
    }

    async fn says_demo(&self, delivery: &Delivery, step: Text) -> anyhow::Result<()> {
        if delivery.event.pointer("/data/demo") == Some(&Json::Bool(true)) {
            return Ok(());
        }
        let why = text!("事件没有标明是演示", "the event does not say that it is a demo");
        Err(self.stage.missed(step, why).await.into())
    }
}

async fn late(stage: &Stage, step: Text, patience: Duration) -> anyhow::Error {
    let seconds = patience.as_secs();
    stage.missed(step, text!("{seconds} 秒内没有收到", "it did not come within {seconds} s")).await.into()
}
