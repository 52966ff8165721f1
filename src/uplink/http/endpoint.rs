//! One POST, one verdict: never redirected, never proxied, over within the limit, whatever the other side does.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Client, Identity, RequestBuilder, Response,
    header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    redirect::Policy,
};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Accept, SigningKeyError, SigningKeys,
    access::Access,
    back::Listening,
    config::AcceptSettings,
    credentials::{Credentials, Reread, Version},
    digest::Challenge,
    dns::Resolver,
    fault, renew,
    reply::Reply,
};
use crate::{
    domain::{Clock, Hindrance, HindranceKind, Letter, Period, Text, expression::BadExpression},
    text,
    tls::{self, TlsError},
    uplink::{Bell, Endpoint, Template, Verdict},
};

/// No exchange takes longer, whatever `timeout` says.
pub const LONGEST_EXCHANGE: Duration = Duration::from_secs(20);
/// No more of a reply is read.
const LONGEST_REPLY: usize = 64 * 1024;
/// Routers on the way forget an idle connection sooner or later; a letter sent into it would wait for nothing.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));
/// As reqwest offers them.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// `[endpoint.http]` as checked: secrets resolved, files read.
#[derive(Debug)]
pub struct Receiver {
    /// `http` or `https`.
    pub url: Url,
    pub credentials: Credentials,
    /// How to read them again; none for a receiver that keeps what it has.
    pub reread: Option<Reread>,
    pub accept: AcceptSettings,
    /// The body in its own words, for whoever writes the letters.
    pub template: Option<Template>,
    /// Where in its reply people acknowledge.
    pub ack_reply: Option<String>,
    /// For the whole exchange; at most `LONGEST_EXCHANGE` counts.
    pub timeout: Duration,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Secret(#[from] SigningKeyError),
    #[error("trust ca_file, or be who cert_file says: {0}")]
    Pinned(#[source] TlsError),
    #[error("read the identity in cert_file and key_file: {0}")]
    Identity(#[source] reqwest::Error),
    #[error("set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

pub struct HttpEndpoint {
    url: Url,
    /// Path and query, as a request names it.
    uri: String,
    /// Or why there is none.
    equipment: RwLock<Result<Arc<Equipment>, Text>>,
    version: Version,
    reread: Option<Reread>,
    accept: Accept,
    limit: Duration,
    clock: Arc<dyn Clock>,
    listening: Option<Listening>,
}

/// What credentials give: made anew when they change.
pub(super) struct Equipment {
    client: Client,
    keys: Option<SigningKeys>,
    access: Access,
}

impl HttpEndpoint {
    /// Credentials that cannot be used keep letters waiting until they can; see `attend`.
    ///
    /// # Errors
    /// If the receipt rule is no expression.
    ///
    /// # Panics
    /// If no rustls provider was installed before.
    pub fn new(receiver: Receiver, clock: Arc<dyn Clock>) -> Result<Self, BadExpression> {
        let Receiver { url, credentials, reread, accept, timeout, template: _, ack_reply: _ } = receiver;
        let version = credentials.version();
        let uri = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        let equipment = RwLock::new(equip(&url, credentials, &clock));
        let (accept, limit) = (accept.compile()?, timeout.min(LONGEST_EXCHANGE));
        Ok(Self { url, uri, equipment, version, reread, accept, limit, clock, listening: None })
    }

    /// What people say in its replies is heard from here on.
    pub fn listening(self, listening: Option<Listening>) -> Self {
        Self { listening, ..self }
    }

    /// Accepted, once what a person says in the reply is on disk too.
    async fn heard(&self, letter: &Letter, reply: &Reply, verdict: Verdict) -> Verdict {
        match (&verdict, &self.listening) {
            (Verdict::Accepted { .. }, Some(listening)) if reply.whole => {
                if listening.hear(letter, &reply.body).await {
                    return verdict;
                }
                let said = text!(
                    "应答里的确认没有存下，消息会再发",
                    "the acknowledgement in its reply could not be stored: it is sent again"
                );
                Verdict::TryAgain { why: Hindrance::new(HindranceKind::NoReceipt, said), after: None }
            }
            (Verdict::Accepted { .. } | Verdict::TryAgain { .. } | Verdict::Refused { .. }, _) => verdict,
        }
    }

    /// From here on these credentials count.
    ///
    /// # Errors
    /// If they cannot be used; the old ones stay in use.
    pub(super) fn equip(&self, credentials: Credentials) -> Result<(), Text> {
        let fresh = equip(&self.url, credentials, &self.clock)?;
        *self.equipment.write().unwrap_or_else(PoisonError::into_inner) = Ok(fresh);
        Ok(())
    }

    fn equipment(&self) -> Result<Arc<Equipment>, Text> {
        self.equipment.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn request(&self, equipment: &Equipment, letter: &Letter) -> RequestBuilder {
        let timestamp = self.clock.now().wall.as_second();
        let request = equipment
            .client
            .post(self.url.clone())
            .header("content-type", letter.content_type.as_deref().unwrap_or(CLOUD_EVENT))
            .header("idempotency-key", &letter.event_id)
            .header("webhook-id", &letter.event_id)
            .header("webhook-timestamp", timestamp)
            .header("gatehouse-attempt", letter.attempts.saturating_add(1))
            .body(Bytes::from_owner(letter.body.clone()));
        match &equipment.keys {
            Some(keys) => {
                request.header("webhook-signature", keys.sign(&letter.event_id, timestamp, &letter.body))
            }
            None => request,
        }
    }

    /// Once, and once more to answer a challenge.
    async fn exchange(&self, equipment: &Equipment, letter: &Letter) -> reqwest::Result<Response> {
        let request = self.request(equipment, letter);
        let login = match &equipment.access {
            Access::Open => return request.send().await,
            Access::Bearer(token) => return request.bearer_auth(token.expose_secret()).send().await,
            Access::Basic { username, password } => {
                return request.basic_auth(username, Some(password.expose_secret())).send().await;
            }
            Access::Digest(login) => login,
        };
        let answered = |request: RequestBuilder| match login.answer(&self.uri, &letter.body) {
            Some(answer) => request.header(AUTHORIZATION, answer),
            None => request,
        };
        let response = answered(request).send().await?;
        // a nonce that is too old, or that nobody there remembers, is as good as none
        let Some(challenge) = challenge(&response) else { return Ok(response) };
        login.keep(challenge);
        let response = answered(self.request(equipment, letter)).send().await?;
        if response.status() == reqwest::StatusCode::UNAUTHORIZED {
            login.forget();
        }
        Ok(response)
    }
}

impl Endpoint for HttpEndpoint {
    async fn deliver(&self, letter: &Letter) -> Verdict {
        let deadline = Instant::now() + self.limit;
        let equipment = match self.equipment() {
            Ok(equipment) => equipment,
            Err(said) => {
                let why = Hindrance::new(HindranceKind::Unusable, said);
                return Verdict::TryAgain { why, after: None };
            }
        };
        match timeout_at(deadline, self.exchange(&equipment, letter)).await {
            Ok(Ok(response)) => {
                let reply = read(response, deadline).await;
                let verdict = reply.verdict(&self.accept, self.clock.now().wall);
                self.heard(letter, &reply, verdict).await
            }
            Ok(Err(error)) => fault::verdict(&error),
            Err(_elapsed) => {
                let limit = Period(self.limit);
                let said = text!("{limit} 内没有应答", "no reply within {limit}");
                Verdict::TryAgain { why: Hindrance::new(HindranceKind::NoReply, said), after: None }
            }
        }
    }

    async fn attend(&self, bell: Bell, stop: CancellationToken) {
        match &self.reread {
            Some(reread) => renew::watch(self, reread, self.version, &bell, &stop).await,
            None => stop.cancelled().await,
        }
    }
}

impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEndpoint").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

fn equip(url: &Url, credentials: Credentials, clock: &Arc<dyn Clock>) -> Result<Arc<Equipment>, Text> {
    let unusable = |error: HttpError| text!("密钥或证书不能用：{error}", "failed to {error}");
    let client = client(url, &credentials, clock).map_err(unusable)?;
    let keys = credentials.secret.as_ref().map(|secret| SigningKeys::parse(secret.expose_secret()));
    let keys = keys.transpose().map_err(|error| unusable(error.into()))?;
    Ok(Arc::new(Equipment { client, keys, access: Access::by(credentials.login) }))
}

/// The challenge of a 401 that can be answered.
fn challenge(response: &Response) -> Option<Challenge> {
    if response.status() != reqwest::StatusCode::UNAUTHORIZED {
        return None;
    }
    let headers = response.headers().get_all(WWW_AUTHENTICATE).into_iter();
    // a realm may be Chinese
    Challenge::choose(headers.map(|header| String::from_utf8_lossy(header.as_bytes())))
}

/// One connection, kept for a while; nothing is followed, proxied or repeated behind our back.
fn client(url: &Url, credentials: &Credentials, clock: &Arc<dyn Clock>) -> Result<Client, HttpError> {
    let mut client = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .dns_resolver(Resolver)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_CONNECTION);
    let identity = credentials.identity.as_ref().map(|pem| pem.expose_secret());
    match (&credentials.authorities, identity) {
        (Some(authorities), identity) => {
            let identity = identity.map(|pem| tls::Identity { certificates: pem, key: pem });
            let mut pinned = tls::pinned(authorities, identity, clock).map_err(HttpError::Pinned)?;
            pinned.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
            client = client.tls_backend_preconfigured(pinned);
        }
        (None, identity) => {
            if url.scheme() == "http" {
                // nothing to trust: a box without a trust store can still talk plain HTTP
                client = client.tls_certs_only([]);
            }
            if let Some(pem) = identity {
                client = client.identity(Identity::from_pem(pem).map_err(HttpError::Identity)?);
            }
        }
    }
    client.build().map_err(HttpError::Client)
}

/// What came until the deadline, the limit or the end, whichever is first.
async fn read(mut response: Response, deadline: Instant) -> Reply {
    crash_point!("http.replied");
    let header = |name| response.headers().get(name).and_then(|text| text.to_str().ok()).map(str::to_owned);
    let mut reply = Reply {
        status: response.status().as_u16(),
        retry_after: header(RETRY_AFTER),
        body: Vec::new(),
        whole: false,
    };
    // late or broken off: what came before still counts, as a part
    while let Ok(Ok(piece)) = timeout_at(deadline, response.chunk()).await {
        let Some(piece) = piece else {
            reply.whole = true;
            break;
        };
        let room = LONGEST_REPLY - reply.body.len();
        reply.body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            break;
        }
    }
    reply
}
