//! The connection to an endpoint's broker: kept up, damped when it is thrown out, and heard for what comes back.
//!
//! Each connection has a client of its own. Nothing that was handed to an old one goes on by itself: the courier hears that
//! it is over and offers its letters again.

use std::{convert::Infallible, sync::atomic::Ordering::Relaxed, time::Duration};

use rumqttc::{
    AsyncClient, Event, EventLoop, Packet, Publish, QoS, SubscribeFilterInput, SubscribeNotice,
    SubscribeNoticeError, SubscribeReasonCode,
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    MqttEndpoint,
    back::{self, Commands, Unheard},
};
use crate::{
    domain::{
        EndpointId, Hindrance, HindranceKind, Period, Text,
        command::{Command, Outcome},
    },
    mqtt::reason::{Reason, reason},
    text,
    uplink::Bell,
};

/// From looking up the name to CONNACK, TLS included.
const CONNECT_SECONDS: u64 = 10;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(15);
/// A connection that the broker ends sooner than this was none to rely upon.
const STANDS: Duration = Duration::from_secs(60);
/// So many of those in a row, each made at the first attempt, are no coincidence.
const CONTESTED: u32 = 3;
/// Messages that came back and are not looked at yet.
const MOST_UNREAD: usize = 64;
/// Requests on their way into the connection: a window, subscriptions and acknowledgements.
const MOST_REQUESTS: usize = 128;

/// How the connection stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It is being made for the first time.
    Connecting,
    Up {
        client: AsyncClient,
        /// Which connection it is.
        number: u64,
    },
    Down {
        why: Hindrance,
    },
}

/// What comes back, and where.
#[derive(Debug, Default)]
pub struct Back {
    pub receipts: Option<String>,
    pub acknowledgements: Option<String>,
    pub commands: Option<(String, Commands)>,
}

impl Back {
    fn filters(&self) -> Vec<String> {
        let commands = self.commands.as_ref().map(|(topic, _)| topic);
        [self.receipts.as_ref(), self.acknowledgements.as_ref(), commands]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// How the last connections went.
#[derive(Debug, Default)]
struct Record {
    /// Attempts that failed since one succeeded.
    failed: u32,
    /// Connections in a row that were made at the first attempt and thrown out soon.
    thrown_out: u32,
}

enum Ended {
    /// It never stood.
    Never(Reason),
    /// It stood for this long.
    Stood(Reason, Duration),
    /// The broker did not answer what was published.
    Distrusted,
}

impl MqttEndpoint {
    /// Until `stop`.
    pub(super) async fn keep_connected(&self, bell: &Bell, stop: &CancellationToken) {
        let mut record = Record::default();
        let mut number = 0;
        while !stop.is_cancelled() {
            number += 1;
            let Some(ended) = self.connect(number, bell, stop).await else { break };
            let rest = record.note(&ended, self.patience.rest);
            self.tell(ended, &record);
            select! {
                () = sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One connection, from its beginning to its end; `None` at the stop.
    async fn connect(&self, number: u64, bell: &Bell, stop: &CancellationToken) -> Option<Ended> {
        let (client, mut wire) = AsyncClient::builder(self.options.clone()).capacity(MOST_REQUESTS).build();
        wire.network_options.set_tcp_nodelay(true);
        wire.network_options.set_connection_timeout(CONNECT_SECONDS);
        select! {
            connected = connected(&mut wire) => if let Err(why) = connected { return Some(Ended::Never(why)) },
            () = stop.cancelled() => return None,
        }
        let since = Instant::now();
        let notice = match self.subscribe(&client) {
            Ok(notice) => notice,
            Err(why) => return Some(Ended::Never(why)),
        };
        info!(endpoint = %self.id, "Connected to the endpoint's broker.");
        self.standing.send_replace(Standing::Up { client: client.clone(), number });
        bell.ring();
        let (tell, heard) = mpsc::channel(MOST_UNREAD);
        let ended = select! {
            why = self.pump(&mut wire, tell) => Some(Ended::Stood(why, since.elapsed())),
            () = self.distrusted.notified() => Some(Ended::Distrusted),
            () = stop.cancelled() => None,
            () = self.listen(&client, heard) => None,
            never = granted(&self.id, notice) => match never {},
        };
        if ended.is_none() {
            take_leave(&client, &mut wire).await;
        }
        ended
    }

    fn subscribe(&self, client: &AsyncClient) -> Result<Option<SubscribeNotice>, Reason> {
        let filters = self.back.filters();
        if filters.is_empty() {
            return Ok(None);
        }
        let wanted = filters.into_iter().map(|filter| SubscribeFilterInput::new(filter, QoS::AtLeastOnce));
        client.try_subscribe_many_tracked(wanted).map(Some).map_err(|error| Reason::other(&error))
    }

    /// Keeps the connection going. Ends with the reason when the connection does.
    async fn pump(&self, wire: &mut EventLoop, tell: mpsc::Sender<Publish>) -> Reason {
        loop {
            match wire.poll().await {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    // not acknowledged, it comes again; what comes with QoS 0 was never promised
                    if tell.try_send(publish).is_err() {
                        warn!(endpoint = %self.id, "More comes back from the endpoint than can be looked at.");
                    }
                }
                Ok(_) => {}
                Err(error) => return reason(&error),
            }
        }
    }

    /// Acts upon what comes back, one after the other; acknowledges it once what it led to is on the disk.
    async fn listen(&self, client: &AsyncClient, mut heard: mpsc::Receiver<Publish>) {
        while let Some(publish) = heard.recv().await {
            let done = self.act(&publish).await;
            if done && let Err(error) = client.ack(&publish).await {
                debug!(%error, "The connection ended before what came back was acknowledged.");
            }
        }
        // the pump says why
        std::future::pending().await
    }

    /// False if it has to come again.
    async fn act(&self, publish: &Publish) -> bool {
        let topic = String::from_utf8_lossy(&publish.topic);
        let is = |own: Option<&String>| own.is_some_and(|own| *own == topic);
        let commands = self.back.commands.as_ref();
        let word = if is(self.back.receipts.as_ref()) {
            match back::receipt(&publish.payload) {
                Ok(id) => {
                    self.receipts.came(id);
                    return true;
                }
                Err(why) => Err(why),
            }
        } else if publish.retain {
            // kept by the broker, so from nobody knows when: people's words count when they are said
            Err(Unheard::Kept)
        } else if is(self.back.acknowledgements.as_ref()) {
            back::acknowledgement(&publish.payload, &self.id)
        } else if let Some((_, allowed)) = commands.filter(|(own, _)| *own == topic) {
            match publish.dup {
                true => Err(Unheard::Again),
                false => back::order(&publish.payload, &self.id, allowed, &self.classes),
            }
        } else {
            return true;
        };
        match word {
            Ok(command) => self.ask(command).await,
            Err(why) => {
                warn!(endpoint = %self.id, %topic, "What came back is not acted upon: failed to {why}.");
                true
            }
        }
    }

    async fn ask(&self, command: Command) -> bool {
        let (reply, outcome) = oneshot::channel();
        if self.people.send((command, reply)).await.is_err() {
            return false;
        }
        match outcome.await {
            Ok(Outcome::NotStored { why }) => {
                warn!(endpoint = %self.id, why, "What came back could not be stored; it will come again.");
                false
            }
            Ok(outcome) => {
                info!(endpoint = %self.id, ?outcome, "Somebody at the endpoint asked for something.");
                true
            }
            Err(_stopping) => false,
        }
    }

    fn tell(&self, ended: Ended, record: &Record) {
        let why = match ended {
            Ended::Never(Reason { kind, text, .. }) | Ended::Stood(Reason { kind, text, .. }, _) => {
                Hindrance::new(kind, text)
            }
            Ended::Distrusted => Hindrance::new(HindranceKind::NoReply, unconfirmed(self.patience.puback)),
        };
        let told = match &*self.standing.borrow() {
            Standing::Down { why: known } => *known == why,
            Standing::Connecting | Standing::Up { .. } => false,
        };
        if !told {
            warn!(endpoint = %self.id, why = why.said.en, "No connection to the endpoint's broker.");
        }
        self.standing.send_replace(Standing::Down { why });
        let contested = record.thrown_out >= CONTESTED;
        let changed = self.contested.swap(contested, Relaxed) != contested;
        if changed && contested {
            error!(
                endpoint = %self.id,
                "The endpoint's broker throws us out again and again: somebody else may use the same client_id. The \
                 gateway holds back; give it a client_id of its own."
            );
        }
    }
}

/// Of a broker that does not answer what was published.
pub(super) fn unconfirmed(within: Duration) -> Text {
    let limit = Period(within);
    text!(
        "消息服务器 {limit} 内没有确认发布的消息：重新连接",
        "the broker does not confirm within {limit} what is published: the connection is made anew"
    )
}

impl Record {
    /// How long the broker is left alone now.
    fn note(&mut self, ended: &Ended, rest: Duration) -> Duration {
        match ended {
            Ended::Never(_) => {
                self.failed = self.failed.saturating_add(1);
                self.thrown_out = 0;
                let doubled = 1u32.checked_shl(self.failed - 1).unwrap_or(u32::MAX);
                FIRST_REST.saturating_mul(doubled).min(LONGEST_REST)
            }
            Ended::Stood(_, stood) => {
                let soon = self.failed == 0 && *stood < STANDS;
                self.thrown_out = if soon { self.thrown_out.saturating_add(1) } else { 0 };
                self.failed = 0;
                if self.thrown_out >= CONTESTED { LONGEST_REST } else { rest }
            }
            Ended::Distrusted => {
                (self.failed, self.thrown_out) = (0, 0);
                FIRST_REST
            }
        }
    }
}

async fn connected(wire: &mut EventLoop) -> Result<(), Reason> {
    loop {
        match wire.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(reason(&error)),
        }
    }
}

/// Tells of topics that the broker does not let us hear.
async fn granted(endpoint: &EndpointId, notice: Option<SubscribeNotice>) -> Infallible {
    if let Some(notice) = notice {
        let codes = match notice.wait_async().await {
            Ok(answer) => answer.return_codes,
            Err(SubscribeNoticeError::V4SubAckFailure(codes)) => codes,
            // the connection ended before the answer: the next one asks again
            Err(error) => {
                debug!(%error, "A subscription was not answered.");
                Vec::new()
            }
        };
        if codes.iter().any(|code| matches!(code, SubscribeReasonCode::Failure)) {
            error!(%endpoint, "The endpoint's broker refuses a subscription: receipts or acknowledgements are not heard.");
        }
    }
    std::future::pending().await
}

/// Lets what is acknowledged go out.
async fn take_leave(client: &AsyncClient, wire: &mut EventLoop) {
    if client.try_disconnect().is_err() {
        return;
    }
    let goodbye = async { while wire.poll().await.is_ok() {} };
    if timeout(Duration::from_millis(500), goodbye).await.is_err() {
        debug!("The endpoint's broker did not close the connection.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::mqtt::endpoint::Patience;

    #[test]
    fn who_is_thrown_out_again_and_again_holds_back_and_says_so() {
        let why = || Reason::of(text!("断开", "closed"));
        let soon = || Ended::Stood(why(), Duration::from_secs(1));
        let mut record = Record::default();
        let note = |record: &mut Record, ended: Ended| record.note(&ended, Patience::USUAL.rest).as_secs();
        let rests: Vec<u64> = (0..4).map(|_| note(&mut record, soon())).collect();
        assert_eq!(rests, [5, 5, 15, 15], "never sooner than 5 s");
        assert_eq!(record.thrown_out, 4);
        // a broker that is away in between is no rival
        assert_eq!(note(&mut record, Ended::Never(why())), 1);
        assert_eq!(note(&mut record, soon()), 5);
        assert_eq!(record.thrown_out, 0);
        assert_eq!(note(&mut record, Ended::Stood(why(), STANDS)), 5);
        let failing: Vec<u64> = (0..6).map(|_| note(&mut record, Ended::Never(why()))).collect();
        assert_eq!(failing, [1, 2, 4, 8, 15, 15]);
    }
}
