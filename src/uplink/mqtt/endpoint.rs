//! One letter published, one verdict: PUBACK, and where the endpoint says so the receiver's own receipt.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{AsyncClient, MqttOptions, PublishNotice, PublishOptions, QoS};
use tokio::{
    select,
    sync::{Notify, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    back::Commands,
    line::{Back, Standing, unconfirmed},
    receipts::Receipts,
    topic::{About, Template},
};
use crate::{
    domain::{ClassName, Clock, DeviceId, EndpointId, Hindrance, HindranceKind, Letter, Period, Text},
    mqtt::{Broker, SettingsError, connect, sieve::Mark},
    text,
    uplink::{Bell, Endpoint, Terms, Verdict, Word, readings_key},
};

/// Letters on their way at once: what a crash may double at most.
const WINDOW: usize = 8;
/// What is waited for, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A letter waits for a connection before it is put off; the bell rings when there is one.
    pub connection: Duration,
    /// A broker that does not confirm within this will not: a node of a cluster that was just killed took what waits with it. The
    /// connection is made anew.
    pub puback: Duration,
    pub receipt: Duration,
    /// Before the next connection, after one that stood: two clients of one name would else throw each other out all day.
    pub rest: Duration,
}

impl Patience {
    pub const USUAL: Self = Self {
        connection: Duration::from_secs(5),
        puback: Duration::from_secs(20),
        receipt: Duration::from_secs(60),
        rest: Duration::from_secs(5),
    };
}

/// A letter for a device that the site does not have any more.
const NO_CLASS: &str = "other";

/// `[endpoint.mqtt]` as checked: secrets resolved, files read, topics understood.
#[derive(Debug)]
pub struct Receiver {
    pub broker: Broker,
    pub topic: Template,
    /// The body in the receiver's own words; letters come with it.
    pub template: Option<crate::uplink::Template>,
    pub readings_topic: String,
    /// Where the receiver confirms letters itself.
    pub receipt_topic: Option<String>,
    pub receipt_within: Duration,
    pub ack_topic: Option<String>,
    pub commands: Option<(String, Commands)>,
}

pub struct MqttEndpoint {
    pub(super) id: EndpointId,
    pub(super) options: MqttOptions,
    site: String,
    topic: Template,
    readings_topic: String,
    pub(super) back: Back,
    /// Of the site's devices.
    pub(super) classes: HashMap<DeviceId, ClassName>,
    /// Where people's words go.
    pub(super) people: mpsc::Sender<Word>,
    pub(super) receipts: Receipts,
    pub(super) standing: watch::Sender<Standing>,
    /// The broker does not answer what was published.
    pub(super) distrusted: Notify,
    /// Somebody else seems to use our client id.
    pub(super) contested: Arc<AtomicBool>,
    pub(super) patience: Patience,
}

impl MqttEndpoint {
    /// `classes`: of the site's devices; what people at the endpoint ask goes to `people`.
    ///
    /// # Errors
    /// If the certificates cannot be used.
    pub fn new(
        id: EndpointId,
        receiver: Receiver,
        site: &str,
        classes: HashMap<DeviceId, ClassName>,
        people: mpsc::Sender<Word>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SettingsError> {
        let options = connect::options(&receiver.broker, Mark::random()?, clock)?;
        let back = Back {
            receipts: receiver.receipt_topic,
            acknowledgements: receiver.ack_topic,
            commands: receiver.commands,
        };
        Ok(Self {
            id,
            options,
            site: site.to_owned(),
            topic: receiver.topic,
            readings_topic: receiver.readings_topic,
            back,
            classes,
            people,
            receipts: Receipts::default(),
            standing: watch::Sender::new(Standing::Connecting),
            distrusted: Notify::new(),
            contested: Arc::default(),
            patience: Patience { receipt: receiver.receipt_within, ..Patience::USUAL },
        })
    }

    /// True while somebody else seems to use our client id.
    pub fn contested(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.contested)
    }

    fn topic(&self, letter: &Letter) -> String {
        if letter.key == readings_key() {
            return self.readings_topic.clone();
        }
        let class = self.classes.get(&letter.key.device).map_or(NO_CLASS, ClassName::as_str);
        let (device, alarm) = (letter.key.device.as_str(), letter.key.alarm.as_str());
        self.topic.fill(About { site: &self.site, class, device, alarm })
    }

    /// A connection that stands, or why there is none.
    async fn connection(&self) -> Result<(AsyncClient, u64), Hindrance> {
        let mut standing = self.standing.subscribe();
        let up = standing.wait_for(|standing| matches!(standing, Standing::Up { .. }));
        let found = match timeout(self.patience.connection, up).await {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(_)) | Err(_) => self.standing.borrow().clone(),
        };
        match found {
            Standing::Up { client, number } => Ok((client, number)),
            Standing::Down { why } => Err(why),
            Standing::Connecting => {
                let said = text!("还没有连上消息服务器", "there is no connection to the broker yet");
                Err(Hindrance::new(HindranceKind::Unreachable, said))
            }
        }
    }

    async fn publish(&self, letter: &Letter, (client, number): (AsyncClient, u64)) -> Result<(), Hindrance> {
        let body = Bytes::from_owner(Arc::clone(&letter.body));
        let options = PublishOptions::new(QoS::AtLeastOnce);
        match client.publish_tracked(self.topic(letter), body, options).await {
            Ok(notice) => self.confirmed(notice, number).await,
            Err(_over) => Err(self.over()),
        }
    }

    async fn confirmed(&self, notice: PublishNotice, number: u64) -> Result<(), Hindrance> {
        match timeout(self.patience.puback, notice.wait_completion_async()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_over)) => Err(self.over()),
            Err(_elapsed) => {
                let now = self.standing.borrow().clone();
                if matches!(now, Standing::Up { number: now, .. } if now == number) {
                    self.distrusted.notify_waiters();
                }
                Err(Hindrance::new(HindranceKind::NoReply, unconfirmed(self.patience.puback)))
            }
        }
    }

    /// The connection ended before the letter was confirmed.
    fn over(&self) -> Hindrance {
        match &*self.standing.borrow() {
            Standing::Down { why } => {
                let Text { zh, en } = &why.said;
                let said =
                    text!("确认之前连接断开：{zh}", "the connection ended before it was confirmed: {en}");
                Hindrance::new(why.kind, said)
            }
            Standing::Connecting | Standing::Up { .. } => {
                let said = text!("确认之前连接断开", "the connection ended before it was confirmed");
                Hindrance::new(HindranceKind::NoReply, said)
            }
        }
    }
}

impl Endpoint for MqttEndpoint {
    fn terms(&self) -> Terms {
        Terms { window: WINDOW, ..Terms::ONE_BY_ONE }
    }

    async fn deliver(&self, letter: &Letter) -> Verdict {
        let accepted = |said: &str| Verdict::Accepted { status: 0, said: said.to_owned() };
        let confirms = self.back.receipts.is_some();
        if confirms && self.receipts.had(&letter.event_id) {
            return accepted("the receiver's receipt, late");
        }
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(why) => return Verdict::TryAgain { why, after: None },
        };
        let mut receipt = self.receipts.expect(&letter.event_id);
        if let Err(why) = self.publish(letter, connection.clone()).await {
            return Verdict::TryAgain { why, after: None };
        }
        if !confirms {
            return accepted("PUBACK");
        }
        let number = connection.1;
        let mut standing = self.standing.subscribe();
        let over = async {
            let is_over = |now: &Standing| !matches!(now, Standing::Up { number: now, .. } if *now == number);
            // only whether: the guard that it gives must not live on
            drop(standing.wait_for(is_over).await);
        };
        select! {
            biased;
            () = receipt.came() => accepted("the receiver's receipt"),
            // a broker that forgets everything has forgotten it too; a receipt that still comes counts at the next turn
            () = over => Verdict::TryAgain { why: self.over(), after: None },
            () = sleep(self.patience.receipt) => {
                let limit = Period(self.patience.receipt);
                let said = text!(
                    "消息服务器已收下，但对方 {limit} 内没有回执",
                    "the broker has it, and the receiver does not confirm it within {limit}"
                );
                Verdict::TryAgain { why: Hindrance::new(HindranceKind::NoReply, said), after: None }
            }
        }
    }

    async fn attend(&self, bell: Bell, stop: CancellationToken) {
        self.keep_connected(&bell, &stop).await;
    }
}

impl fmt::Debug for MqttEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contested = self.contested.load(Relaxed);
        f.debug_struct("MqttEndpoint")
            .field("id", &self.id)
            .field("contested", &contested)
            .finish_non_exhaustive()
    }
}
