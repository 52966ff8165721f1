//! What people decide about letters that do not go: offered again, or given up. Both stand in the audit with who did it.

use tokio::sync::oneshot;
use tracing::debug;

use super::Pipeline;
use crate::{
    domain::{EndpointId, command::Outcome},
    store::{AuditEntry, StoreError, Wanted},
};

impl Pipeline {
    pub(super) async fn retry(
        &mut self,
        endpoint: EndpointId,
        letter: Option<i64>,
        by: String,
        from: String,
    ) -> Result<Outcome, StoreError> {
        let object = match letter {
            Some(number) => format!("{endpoint} letter {number}"),
            None => endpoint.to_string(),
        };
        let wanted = Wanted { endpoint: endpoint.clone(), number: letter };
        let audit = self.decision("delivery retry", object, by, from, String::new());
        let letters = self.events.retry(wanted, audit).await?;
        self.wake.iter().for_each(|courier| courier.notify_one());
        Ok(Outcome::Retried { endpoint, letters })
    }

    pub(super) async fn discard(
        &mut self,
        endpoint: EndpointId,
        by: String,
        note: Option<String>,
        from: String,
    ) -> Result<Outcome, StoreError> {
        let said = note.map_or_else(String::new, |note| format!(": {note}"));
        let audit = self.decision("delivery discard", endpoint.to_string(), by, from, said);
        let gone = self.events.discard(endpoint.clone(), audit).await?;
        Ok(Outcome::Discarded { endpoint, letters: gone.map_or(0, |gone| gone.letters) })
    }

    pub(super) fn decision(
        &self,
        action: &'static str,
        object: String,
        who: String,
        from: String,
        outcome: String,
    ) -> AuditEntry {
        AuditEntry { at: self.clock.now().wall, who, from, action, object, outcome }
    }

    /// What passes is waited out, anything else ends the gateway. Whoever asked may have gone.
    pub(super) fn hand_over(
        &mut self,
        outcome: Result<Outcome, StoreError>,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<(), StoreError> {
        let (outcome, ended) = match outcome {
            Ok(outcome) => (outcome, Ok(())),
            Err(error) => {
                self.note_storage(Some(&error));
                let told = Outcome::NotStored { why: error.to_string() };
                (told, self.survive(error))
            }
        };
        reply.send(outcome).unwrap_or_else(|unheard| debug!(?unheard, "Nobody waits for the answer."));
        ended
    }
}
