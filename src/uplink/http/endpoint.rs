//! One POST, one verdict: never redirected, never proxied, over within the limit, whatever the other side does.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Certificate, Client, Identity, RequestBuilder, Response, header::RETRY_AFTER, redirect::Policy,
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    Accept, SigningKey, SigningKeyError, config::AcceptSettings, dns::Resolver, fault, reply::Reply,
};
use crate::{
    domain::{Clock, Hindrance, HindranceKind, Letter, Period, expression::BadExpression},
    text,
    uplink::{Endpoint, Verdict},
};

/// No exchange takes longer, whatever `timeout` says.
pub const LONGEST_EXCHANGE: Duration = Duration::from_secs(20);
/// No more of a reply is read.
const LONGEST_REPLY: usize = 64 * 1024;
/// Routers on the way forget an idle connection sooner or later; a letter sent into it would wait for nothing.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));

/// `[endpoint.http]` as checked: secrets resolved, files read.
#[derive(Debug)]
pub struct Receiver {
    /// `http` or `https`.
    pub url: Url,
    /// Signs each request: `whsec_<base64>` or the key as it is.
    pub secret: Option<SecretString>,
    /// PEM; given, no other authority is trusted.
    pub authorities: Option<Vec<u8>>,
    /// PEM, certificates and key: who we are, for mTLS.
    pub identity: Option<SecretSlice<u8>>,
    pub login: Option<Login>,
    pub accept: AcceptSettings,
    /// For the whole exchange; at most `LONGEST_EXCHANGE` counts.
    pub timeout: Duration,
}

#[derive(Debug)]
pub enum Login {
    Bearer(SecretString),
    Basic { username: String, password: SecretString },
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Secret(#[from] SigningKeyError),
    #[error("read the receipt rule: {0}")]
    Rule(#[from] BadExpression),
    #[error("read the authorities in ca_file: {0}")]
    Authorities(#[source] reqwest::Error),
    #[error("read the identity in cert_file and key_file: {0}")]
    Identity(#[source] reqwest::Error),
    #[error("set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

pub struct HttpEndpoint {
    client: Client,
    url: Url,
    key: Option<SigningKey>,
    login: Option<Login>,
    accept: Accept,
    limit: Duration,
    clock: Arc<dyn Clock>,
}

impl HttpEndpoint {
    /// # Errors
    /// If secret, receipt rule, certificates or key cannot be used, or the box has no trust store and needs one.
    ///
    /// # Panics
    /// If no rustls provider was installed before.
    pub fn new(receiver: Receiver, clock: Arc<dyn Clock>) -> Result<Self, HttpError> {
        let client = client(&receiver)?;
        let key =
            receiver.secret.as_ref().map(|secret| SigningKey::parse(secret.expose_secret())).transpose()?;
        let accept = receiver.accept.compile()?;
        let limit = receiver.timeout.min(LONGEST_EXCHANGE);
        Ok(Self { client, url: receiver.url, key, login: receiver.login, accept, limit, clock })
    }

    fn request(&self, letter: &Letter) -> RequestBuilder {
        let timestamp = self.clock.now().wall.as_second();
        let mut request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/cloudevents+json")
            .header("idempotency-key", &letter.event_id)
            .header("webhook-id", &letter.event_id)
            .header("webhook-timestamp", timestamp)
            .header("gatehouse-attempt", letter.attempts.saturating_add(1))
            .body(Bytes::from_owner(letter.body.clone()));
        if let Some(key) = &self.key {
            request =
                request.header("webhook-signature", key.sign(&letter.event_id, timestamp, &letter.body));
        }
        match &self.login {
            None => request,
            Some(Login::Bearer(token)) => request.bearer_auth(token.expose_secret()),
            Some(Login::Basic { username, password }) => {
                request.basic_auth(username, Some(password.expose_secret()))
            }
        }
    }
}

impl Endpoint for HttpEndpoint {
    async fn deliver(&self, letter: &Letter) -> Verdict {
        let deadline = Instant::now() + self.limit;
        match timeout_at(deadline, self.request(letter).send()).await {
            Ok(Ok(response)) => read(response, deadline).await.verdict(&self.accept, self.clock.now().wall),
            Ok(Err(error)) => fault::verdict(&error),
            Err(_elapsed) => {
                let limit = Period(self.limit);
                let said = text!("{limit} 内没有应答", "no reply within {limit}");
                Verdict::TryAgain { why: Hindrance::new(HindranceKind::NoReply, said), after: None }
            }
        }
    }
}

impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEndpoint").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// One connection, kept for a while; nothing is followed, proxied or repeated behind our back.
fn client(receiver: &Receiver) -> Result<Client, HttpError> {
    let mut client = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .dns_resolver(Resolver)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_CONNECTION);
    if let Some(pem) = &receiver.authorities {
        client = client.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(HttpError::Authorities)?);
    } else if receiver.url.scheme() == "http" {
        // nothing to trust: a box without a trust store can still talk plain HTTP
        client = client.tls_certs_only([]);
    }
    if let Some(pem) = &receiver.identity {
        client = client.identity(Identity::from_pem(pem.expose_secret()).map_err(HttpError::Identity)?);
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
