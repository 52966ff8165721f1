//! What came with a request, read or refused in words.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{console::problem::Problem, text};

/// Longest body accepted: a note is 500 characters.
pub const BODY_MAX: usize = 16 * 1024;
/// A body that takes longer is not meant.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// A command's body. Only JSON, which no web page can send across sites without asking first.
pub struct Said<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::not_json());
        }
        let bytes = match timeout(BODY_WITHIN, Bytes::from_request(request, state)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(refused)) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(Problem::too_large(BODY_MAX));
            }
            Ok(Err(_broken_off)) => {
                return Err(Problem::bad(text!("请求体没有发完", "the request's body broke off")));
            }
            Err(_late) => return Err(Problem::too_slow()),
        };
        serde_json::from_slice(&bytes).map(Said).map_err(|why| {
            Problem::bad(text!("请求体看不懂：{why}", "the request's body is not understood: {why}"))
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = named.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// What stands after `?`.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Asked(asked)),
            Err(why) => {
                let why = why.body_text();
                Err(Problem::bad(text!("参数看不懂：{why}", "the query is not understood: {why}")))
            }
        }
    }
}

/// The name in the path, percent-decoded.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) if !name.chars().any(char::is_control) && name.len() <= 256 => Ok(Named(name)),
            Ok(_) | Err(_) => Err(Problem::bad(text!("地址里的编号不对", "the address names nothing"))),
        }
    }
}
