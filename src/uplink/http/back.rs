//! What a person at the receiver says in its reply to a letter: an acknowledgement, where the site expects one.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    domain::{
        EndpointId, Letter, OccurrenceId,
        command::{Command, Outcome},
    },
    uplink::Word,
};

/// What a reply says is on disk by then, or the letter goes again: a store that takes its time holds up no letters of other alarms.
const STORED_WITHIN: Duration = Duration::from_secs(10);

/// Where in a reply somebody acknowledges, and where that goes.
#[derive(Debug)]
pub struct Listening {
    pub endpoint: EndpointId,
    /// RFC 6901: an object with `as`, and `note` and `id` where there are any.
    pub pointer: String,
    pub people: mpsc::Sender<Word>,
}

/// Why what a reply says of a person is not acted upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    #[error("read it: {0}")]
    Unreadable(String),
    #[error("know which alarm it means: the letter has a form of its own, so the reply must name its `id`")]
    WhichAlarm,
}

#[derive(Deserialize)]
struct Acknowledge {
    /// The letter's own alarm if it is left out.
    id: Option<String>,
    #[serde(rename = "as")]
    by: String,
    note: Option<String>,
}

impl Listening {
    /// Hands on what a reply says. False: it could not be stored, so the letter must go again to be answered again.
    pub async fn hear(&self, letter: &Letter, reply: &[u8]) -> bool {
        let command = match self.acknowledgement(letter, reply) {
            Ok(None) => return true,
            Ok(Some(command)) => command,
            Err(why) => {
                warn!(endpoint = %self.endpoint, event = letter.event_id, "A word in a reply is not acted upon: failed to {why}.");
                return true;
            }
        };
        match timeout(STORED_WITHIN, self.ask(command)).await {
            Ok(Some(Outcome::NotStored { why })) => {
                warn!(endpoint = %self.endpoint, why, "An acknowledgement in a reply could not be stored; the letter goes again.");
                false
            }
            Ok(Some(outcome)) => {
                info!(endpoint = %self.endpoint, ?outcome, "Somebody at the endpoint acknowledged in its reply.");
                true
            }
            Ok(None) => false,
            // it may be stored all the same: said again, it is a note
            Err(_late) => {
                warn!(endpoint = %self.endpoint, event = letter.event_id, "An acknowledgement in a reply is not stored in time; the letter goes again.");
                false
            }
        }
    }

    /// `None`: the gateway is stopping.
    async fn ask(&self, command: Command) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.people.send((command, answer)).await.ok()?;
        outcome.await.ok()
    }

    /// A person's word on an alarm, if there is one; the endpoint vouches for who it is.
    fn acknowledgement(&self, letter: &Letter, reply: &[u8]) -> Result<Option<Command>, Unheard> {
        // most replies are a bare receipt, in whatever form
        let Ok(reply) = serde_json::from_slice::<Value>(reply) else { return Ok(None) };
        let Some(word) = reply.pointer(&self.pointer).filter(|word| !word.is_null()) else { return Ok(None) };
        let Acknowledge { id, by, note } =
            Acknowledge::deserialize(word).map_err(|why| Unheard::Unreadable(why.to_string()))?;
        let alarm = id.or_else(|| occurrence(letter)).ok_or(Unheard::WhichAlarm)?;
        let command = Command::Acknowledge {
            alarm: OccurrenceId::from(alarm),
            by,
            note,
            from: format!("http:{}", self.endpoint),
        };
        match command.fault() {
            None => Ok(Some(command)),
            Some(fault) => Err(Unheard::Unreadable(fault.en)),
        }
    }
}

/// As the letter itself names it: what is open now under the same name may be another.
fn occurrence(letter: &Letter) -> Option<String> {
    let body: Value = serde_json::from_slice(&letter.body).ok()?;
    body.pointer("/data/alarm/occurrence").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{AlarmKey, Priority};

    fn letter(body: &str) -> Letter {
        Letter {
            row: 1,
            endpoint: "city".into(),
            event_id: "0b6f".to_owned(),
            seq: 7,
            key: AlarmKey { device: "lift-1".into(), alarm: "passenger_trapped".into() },
            priority: Priority::Critical,
            attempts: 0,
            body: Arc::from(body.as_bytes()),
            content_type: None,
            provisional: false,
        }
    }

    fn listening() -> (Listening, mpsc::Receiver<Word>) {
        let (people, words) = mpsc::channel(1);
        (Listening { endpoint: "city".into(), pointer: "/data/ack".to_owned(), people }, words)
    }

    const OURS: &str = r#"{"data":{"alarm":{"occurrence":"9c1e-12"}}}"#;

    #[test]
    fn a_reply_acknowledges_the_letters_own_alarm_and_the_endpoint_vouches_for_it() {
        let (listening, _words) = listening();
        let heard = |letter_body: &str, reply: &str| {
            listening.acknowledgement(&letter(letter_body), reply.as_bytes())
        };
        let expected = |alarm: &str, note: Option<&str>| {
            Ok(Some(Command::Acknowledge {
                alarm: alarm.into(),
                by: "张伟".to_owned(),
                note: note.map(str::to_owned),
                from: "http:city".to_owned(),
            }))
        };
        let full = r#"{"code":0,"data":{"ack":{"as":"张伟","note":"已派人"}}}"#;
        assert_eq!(heard(OURS, full), expected("9c1e-12", Some("已派人")));
        let named = r#"{"data":{"ack":{"as":"张伟","id":"9c1e-7","more":1}}}"#;
        assert_eq!(heard(OURS, named), expected("9c1e-7", None));
        assert_eq!(heard("<alarm/>", named), expected("9c1e-7", None));
        assert_eq!(heard("<alarm/>", full), Err(Unheard::WhichAlarm));
        for receipt in ["", "ok", "{", r#"{"code":0}"#, r#"{"data":{"ack":null}}"#, "[]"] {
            assert_eq!(heard(OURS, receipt), Ok(None), "{receipt}");
        }
        for odd in
            [r#"{"data":{"ack":true}}"#, r#"{"data":{"ack":{"as":""}}}"#, r#"{"data":{"ack":{"as":7}}}"#]
        {
            assert!(matches!(heard(OURS, odd), Err(Unheard::Unreadable(_))), "{odd}");
        }
    }

    #[tokio::test]
    async fn a_letter_is_settled_only_once_what_came_back_is_on_disk() {
        for (outcome, settled) in [
            (Some(Outcome::NoSuchAlarm { alarm: "9c1e-12".into() }), true),
            (Some(Outcome::NotStored { why: "disk full".to_owned() }), false),
            (None, false),
        ] {
            let (listening, mut words) = listening();
            let answered = tokio::spawn(async move {
                let (_, reply) = words.recv().await.unwrap();
                if let Some(outcome) = outcome {
                    reply.send(outcome).unwrap();
                }
            });
            let reply = r#"{"data":{"ack":{"as":"张伟"}}}"#;
            assert_eq!(listening.hear(&letter(OURS), reply.as_bytes()).await, settled);
            answered.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_holds_up_no_letter_for_long() {
        let (listening, mut words) = listening();
        let reply = r#"{"data":{"ack":{"as":"张伟"}}}"#;
        let begun = tokio::time::Instant::now();
        // taken in, and never answered
        assert!(!listening.hear(&letter(OURS), reply.as_bytes()).await, "nobody knows that it is on disk");
        assert_eq!(begun.elapsed(), STORED_WITHIN);
        // the door itself is full
        assert!(!listening.hear(&letter(OURS), reply.as_bytes()).await);
        assert_eq!(begun.elapsed(), STORED_WITHIN * 2);
        let (kept, _reply) = words.recv().await.unwrap();
        assert!(matches!(kept, Command::Acknowledge { by, .. } if by == "张伟"));
        assert!(words.try_recv().is_err(), "the second was never handed over");
    }
}
