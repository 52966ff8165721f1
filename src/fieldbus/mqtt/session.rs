//! One connection to the broker, from CONNACK to its end: a task that keeps it alive, passes on what comes in, and
//! acknowledges what was committed.
//!
//! Each connection has a client of its own: an acknowledgement can only go where its message came from. They go out in the
//! order of arrival (MQTT 3.1.1, 4.6) and end with the first message that was not committed: what a broker sends again is
//! always the newest part of the story, whole and in order. An old message alone, after newer ones, would turn time back.

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    time::Duration,
};

use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, ManualAck, MqttOptions, Outgoing, Packet,
    PubAck, Publish, QoS, SubscribeFilterInput, SubscribeNotice, SubscribeNoticeError, SubscribeReasonCode,
};
use tokio::{
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
        watch,
    },
    time::{Sleep, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use crate::{
    mqtt::reason::{Reason, reason},
    text,
};

/// Messages that were handed on and are not committed: beyond this nothing more is read, and the broker has to wait.
pub const MOST_UNCOMMITTED: usize = 1000;
/// Messages read and not yet looked at; each may be a quarter of a MiB.
const MOST_UNREAD: usize = 16;
/// Filters in one SUBSCRIBE: some brokers take no more.
const FILTERS_AT_ONCE: usize = 8;
/// From looking up the name to CONNACK, TLS included.
const CONNECT_SECONDS: u64 = 10;
/// A message that the pipeline refused stays with the broker, and so do all behind it; a new connection asks for them
/// again after this.
pub const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What the session's task has to tell.
#[derive(Debug)]
pub enum News {
    Message(Publish),
    /// The connection is over; nothing comes after this. The messages were handed on, and it is not known yet what came of
    /// them: the broker will send them again.
    Over(Reason, Vec<Uncommitted>),
}

/// A message of QoS 1, to be acknowledged once all of its receipts have come.
#[derive(Debug)]
pub struct Uncommitted {
    packet_id: u16,
    /// Tells its content from another's.
    print: u64,
    receipts: Vec<oneshot::Receiver<()>>,
    refused: bool,
}

impl Uncommitted {
    pub fn new(publish: &Publish, receipts: Vec<oneshot::Receiver<()>>) -> Self {
        Self { packet_id: publish.pkid, print: print(publish), receipts, refused: false }
    }

    pub fn packet_id(&self) -> u16 {
        self.packet_id
    }

    /// Certain only for a message that was not acknowledged: until then no other has its packet id (MQTT 3.1.1, 2.3.1).
    pub fn comes_again_as(&self, publish: &Publish) -> bool {
        publish.dup && self.packet_id == publish.pkid && self.print == print(publish)
    }

    /// Whether one of those that it was handed to could not keep it, as far as is known now.
    pub fn is_refused(&mut self) -> bool {
        let refused = &mut self.refused;
        self.receipts.retain_mut(|receipt| match receipt.try_recv() {
            Ok(()) => false,
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => {
                *refused = true;
                false
            }
        });
        self.refused
    }
}

fn print(publish: &Publish) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&publish.topic, &publish.payload, publish.retain).hash(&mut hasher);
    hasher.finish()
}

/// What was handed on, in the order of arrival.
#[derive(Debug)]
pub struct Queue {
    waiting: mpsc::Receiver<Uncommitted>,
    /// It is its turn.
    first: Option<Uncommitted>,
    /// One was refused: it and all behind it are to come again as if they were new.
    broken: bool,
}

impl Queue {
    pub fn new(waiting: mpsc::Receiver<Uncommitted>) -> Self {
        Self { waiting, first: None, broken: false }
    }

    /// The next message, once it is known whether it is committed. Cancel-safe.
    async fn committed(&mut self) -> Option<(u16, bool)> {
        if self.first.is_none() {
            self.first = Some(self.waiting.recv().await?);
        }
        let first = self.first.as_mut()?;
        while let Some(receipt) = first.receipts.last_mut() {
            first.refused |= receipt.await.is_err();
            first.receipts.pop();
        }
        self.first.take().map(|first| (first.packet_id, !first.refused))
    }

    /// At the end of the connection.
    fn owed(mut self) -> Vec<Uncommitted> {
        let mut owed = Vec::from_iter(self.first);
        while let Ok(next) = self.waiting.try_recv() {
            owed.push(next);
        }
        if self.broken { Vec::new() } else { owed }
    }
}

/// A connection that stands.
#[derive(Debug)]
pub struct Session {
    pub news: mpsc::Receiver<News>,
    pub uncommitted: mpsc::Sender<Uncommitted>,
    /// The broker has kept the session since the last connection, and sends again what was not acknowledged.
    pub resumed: bool,
    task: AbortOnDropHandle<()>,
}

/// No session came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("connect to the broker: {0}")]
    Broker(#[from] ConnectionError),
    #[error("subscribe: {0}")]
    Subscribe(#[from] ClientError),
}

impl ConnectError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Broker(error) => reason(error),
            Self::Subscribe(error) => Reason::other(error),
        }
    }
}

impl Session {
    /// Connects and asks for `filters`, each time anew: a broker may have lost the session.
    ///
    /// # Errors
    /// If the broker is away, refuses us or does not answer.
    pub async fn open(options: MqttOptions, filters: &[String]) -> Result<Self, ConnectError> {
        let room = MOST_UNCOMMITTED + MOST_UNREAD + filters.len();
        let (client, mut wire) = AsyncClient::builder(options).capacity(room).build();
        wire.network_options.set_tcp_nodelay(true);
        wire.network_options.set_connection_timeout(CONNECT_SECONDS);
        let resumed = connected(&mut wire).await?;
        let mut asked = Vec::new();
        for chunk in filters.chunks(FILTERS_AT_ONCE) {
            let wanted = chunk.iter().map(|filter| SubscribeFilterInput::new(filter, QoS::AtLeastOnce));
            asked.push((chunk.to_vec(), client.try_subscribe_many_tracked(wanted)?));
        }
        let (told, news) = mpsc::channel(MOST_UNREAD);
        let (uncommitted, waiting) = mpsc::channel(MOST_UNCOMMITTED);
        let task = tokio::spawn(attend(wire, client, asked, Queue::new(waiting), told));
        Ok(Self { news, uncommitted, resumed, task: AbortOnDropHandle::new(task) })
    }

    /// Hears nothing more, but still acknowledges what is committed within `grace`, and takes leave. A message that the
    /// stop kept from being handed on counts as refused: nothing behind it is acknowledged.
    pub async fn finish(self, grace: Duration) {
        let Self { mut news, uncommitted, resumed: _, task } = self;
        news.close();
        drop(uncommitted);
        // what is late comes again at the next start: delivery is at least once
        if timeout(grace, task).await.is_err() {
            warn!("Messages stay unacknowledged; the broker will send them again.");
        }
    }
}

/// Whether the broker has our session.
async fn connected(wire: &mut EventLoop) -> Result<bool, ConnectionError> {
    loop {
        if let Event::Incoming(Packet::ConnAck(answer)) = wire.poll().await? {
            return Ok(answer.session_present);
        }
    }
}

async fn attend(
    wire: EventLoop,
    client: AsyncClient,
    asked: Vec<(Vec<String>, SubscribeNotice)>,
    mut queue: Queue,
    told: mpsc::Sender<News>,
) {
    let (acknowledged, sent) = watch::channel(0);
    let why = tokio::select! {
        why = pump(wire, &told, acknowledged) => why,
        why = acknowledge(&client, &mut queue, sent) => why,
        never = subscribed(asked) => match never {},
    };
    // nobody listens any more when the bus is stopping
    if told.send(News::Over(why, queue.owed())).await.is_err() {
        debug!("The connection ended while the bus was stopping.");
    }
}

/// Keeps the connection going and passes messages on. Ends with the reason when the connection does.
async fn pump(mut wire: EventLoop, told: &mpsc::Sender<News>, acknowledged: watch::Sender<u64>) -> Reason {
    loop {
        match wire.poll().await {
            // while the bus is stopping nobody takes it: unacknowledged, it comes again
            Ok(Event::Incoming(Packet::Publish(publish))) if !told.is_closed() => {
                if told.send(News::Message(publish)).await.is_err() {
                    debug!("A message came while the bus was stopping.");
                }
            }
            Ok(Event::Outgoing(Outgoing::PubAck(_))) => acknowledged.send_modify(|count| *count += 1),
            Ok(_) => {}
            Err(error) => return reason(&error),
        }
    }
}

/// Acknowledges in order of arrival what is committed, up to the first that was refused. Ends some time after that, so
/// that it and all behind it come again.
pub async fn acknowledge(client: &AsyncClient, queue: &mut Queue, mut sent: watch::Receiver<u64>) -> Reason {
    let mut ask_again = std::pin::pin!(None);
    let mut queued = 0;
    loop {
        let next = tokio::select! {
            next = queue.committed() => next,
            () = asked_again(ask_again.as_mut().as_pin_mut()) => {
                return Reason::of(text!(
                    "有消息没能保存：请消息服务器重发",
                    "some messages could not be stored: asking the broker for them again"
                ));
            }
        };
        match next {
            None => break,
            // committed or not, the broker keeps it: it must not be missing when those before it come again
            Some(_) if queue.broken => {}
            Some((_, false)) => {
                queue.broken = true;
                ask_again.set(Some(sleep(ASK_AGAIN)));
            }
            Some((packet_id, true)) => match client.try_manual_ack(ManualAck::PubAck(PubAck::new(packet_id)))
            {
                Ok(()) => queued += 1,
                Err(error) => return Reason::other(&error),
            },
        }
    }
    // the bus is stopping: what may be acknowledged goes out, then we take leave
    if sent.wait_for(|count| *count >= queued).await.is_ok()
        && let Err(error) = client.try_disconnect()
    {
        return Reason::other(&error);
    }
    std::future::pending().await
}

async fn asked_again(timer: Option<Pin<&mut Sleep>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

/// Tells of topics that the broker does not let us hear.
async fn subscribed(asked: Vec<(Vec<String>, SubscribeNotice)>) -> Infallible {
    for (filters, notice) in asked {
        match notice.wait_async().await {
            Ok(answer) => granted(&filters, &answer.return_codes),
            Err(SubscribeNoticeError::V4SubAckFailure(codes)) => granted(&filters, &codes),
            // the connection ended before the answer: the next one asks again
            Err(error) => debug!(%error, "A subscription was not answered."),
        }
    }
    std::future::pending().await
}

fn granted(filters: &[String], codes: &[SubscribeReasonCode]) {
    for (filter, code) in filters.iter().zip(codes) {
        match code {
            SubscribeReasonCode::Failure => {
                error!(?filter, "The broker refuses a subscription: nothing is heard.")
            }
            SubscribeReasonCode::Success(QoS::AtMostOnce) => {
                error!(?filter, "The broker grants QoS 0 only: what comes while we are away is lost.");
            }
            SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce) => {}
        }
    }
}
