//! What every request passes first: the host it names, its token, its role.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;
use tracing::debug;

use super::desk::Desk;
use crate::console::{problem::Problem, token::Role};

/// No answer takes longer: a wait for events is 25 s at most.
const LONGEST: Duration = Duration::from_secs(40);
/// Nothing here is a page, nothing is to be kept or guessed at.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Around everything: a host of ours, an answer in time, the headers.
pub async fn around(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let mut response = match is_ours(request.headers(), &desk.hosts) {
        false => Problem::misdirected().into_response(),
        true => match timeout(LONGEST, next.run(request)).await {
            Ok(response) => response,
            Err(_late) => Problem::unsure().into_response(),
        },
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A page of somebody else's, whose name was made to point here (DNS rebinding), names its own host: only names that are ours are
/// answered, and addresses, which cannot be made to point elsewhere.
fn is_ours(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut named = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    if host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What a route asks of its callers.
#[derive(Clone)]
pub struct Guard {
    pub desk: Arc<Desk>,
    pub needs: Role,
    /// `GET /api/v1/alarms/{id}`: what was asked, without what it was asked about.
    pub asked: Arc<str>,
}

/// Before a route: a token of its role.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Guard { desk, needs, asked } = guard;
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    let address = caller(request.headers(), peer, &desk.proxies);
    let tokens = Arc::clone(&desk.tokens.borrow());
    let at = desk.clock.now();
    let admitted = desk.gate.admit(&tokens, presented(request.headers()), address, needs, at.mono);
    match admitted {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err((problem, turned)) => {
            debug!(%address, asked = &*asked, ?turned, "A caller was turned away.");
            if let Some(turned) = turned
                && let Some(entry) = desk.gate.record(turned, address, &asked, at)
            {
                desk.on_record(entry);
            }
            problem.into_response()
        }
    }
}

/// For whom a proxy of ours asks: from the right, the first address that is none of our proxies. What stands left of it anybody may have
/// written; and of who is no proxy of ours the header says nothing.
fn caller(headers: &HeaderMap, peer: IpAddr, proxies: &[IpAddr]) -> IpAddr {
    if !proxies.contains(&peer) {
        return peer;
    }
    let lines = headers.get_all(FORWARDED_FOR).into_iter().map(|line| line.to_str().unwrap_or_default());
    let named: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    for word in named.into_iter().rev() {
        let address = word.parse::<IpAddr>().or_else(|_| word.parse::<SocketAddr>().map(|with| with.ip()));
        match address.map(|address| address.to_canonical()) {
            Ok(address) if proxies.contains(&address) => {}
            Ok(address) => return address,
            Err(_no_address) => return peer,
        }
    }
    peer
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_and_addresses_are_answered() {
        let hosts = ["gatehouse.example.cn".to_owned()];
        for (host, ours) in [
            ("127.0.0.1:8480", true),
            ("192.168.1.2", true),
            ("[::1]:8480", true),
            ("[::1]", true),
            ("localhost", true),
            ("LOCALHOST:8480", true),
            ("gatehouse.example.cn:443", true),
            ("gatehouse.example.cn.", false),
            ("evil.example", false),
            ("evil.example:8480", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(!is_ours(&headers, &hosts), "no host at all");
            headers.append(header::HOST, host.parse().unwrap());
            assert_eq!(is_ours(&headers, &hosts), ours, "{host}");
            headers.append(header::HOST, HeaderValue::from_static("localhost"));
            assert!(!is_ours(&headers, &hosts), "two of them");
        }
    }

    #[test]
    fn a_token_is_presented_as_rfc_6750_has_it() {
        for (value, token) in [
            ("Bearer gth_x", Some("gth_x")),
            ("bearer  gth_x ", Some("gth_x")),
            ("Basic gth_x", None),
            ("gth_x", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(presented(&headers), token, "{value:?}");
        }
    }

    #[test]
    fn only_a_proxy_of_ours_says_for_whom_it_asks() {
        let proxies = ["127.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let facts: [(&str, &[&str], &str); 11] = [
            ("192.168.1.9", &["1.2.3.4"], "192.168.1.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["192.168.1.9"], "192.168.1.9"),
            // what the caller itself wrote stands left of what the proxy wrote
            ("127.0.0.1", &["1.2.3.4, 192.168.1.9"], "192.168.1.9"),
            ("127.0.0.1", &["1.2.3.4", "192.168.1.9"], "192.168.1.9"),
            ("127.0.0.1", &["192.168.1.9, 10.0.0.2"], "192.168.1.9"),
            ("127.0.0.1", &["10.0.0.2"], "127.0.0.1"),
            ("127.0.0.1", &["192.168.1.9:5123"], "192.168.1.9"),
            ("127.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("127.0.0.1", &["1.2.3.4, unknown"], "127.0.0.1"),
            ("127.0.0.1", &["::ffff:192.168.1.9"], "192.168.1.9"),
        ];
        for (peer, lines, expected) in facts {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            let found = caller(&headers, peer.parse().unwrap(), &proxies);
            assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
        }
        let odd = HeaderMap::from_iter([(
            FORWARDED_FOR.parse().unwrap(),
            HeaderValue::from_bytes(&[0xff]).unwrap(),
        )]);
        assert_eq!(caller(&odd, proxies[0], &proxies), proxies[0]);
    }
}
