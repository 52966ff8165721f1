//! Why a request came to nothing: RFC 9457 problem details, with the sentence and the way out in both languages.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::token::Role;
use crate::{domain::Text, text};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Details>);

/// `type` tells programs what it is, `text` and `todo` tell people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Details {
    /// `urn:gatehouse:problem:<kind>`
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    #[schemars(with = "u16")]
    status: StatusCode,
    /// `text` in English, for whoever knows only the RFC's members.
    detail: String,
    /// What is wrong.
    text: Text,
    /// What can be done about it.
    todo: Text,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &'static str, text: Text, todo: Text) -> Self {
        let kind = format!("urn:gatehouse:problem:{kind}");
        let detail = text.en.clone();
        Self(Box::new(Details { kind, title, status, detail, text, todo, retry_after: None }))
    }

    fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub fn misdirected() -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown-host",
            "Unknown host name",
            text!("请求的主机名不是这台网关的", "the request names a host that is not this gateway"),
            text!(
                "用 IP 地址访问，或把这个主机名写进 [console] hosts",
                "ask by IP address, or put the name into hosts of [console]"
            ),
        )
    }

    /// Whether there was a wrong token or none is the same to whoever has none.
    pub fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "no-valid-token",
            "No valid token",
            text!("没有有效的令牌", "there is no valid token in the request"),
            text!(
                "请求头写 Authorization: Bearer 令牌；没有令牌就请管理员运行 gatehouse token add",
                "send Authorization: Bearer TOKEN; who has none asks an administrator to run gatehouse token add"
            ),
        )
    }

    pub fn too_many_requests(wait: Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests",
            text!("请求太频繁", "there were too many requests"),
            text!("{seconds} 秒后再试", "try again in {seconds} s"),
        )
        .after(wait)
    }

    pub fn role(has: Role, needs: Role) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "role",
            "Not permitted",
            text!("角色 {has} 不能这样做，需要 {needs}", "role {has} may not do this: it takes {needs}"),
            text!("换用 {needs} 角色的令牌", "use a token of role {needs}"),
        )
    }

    pub fn shelved_too_long(hours: u64) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "role",
            "Not permitted",
            text!("值班人员最多搁置 {hours} 小时", "an inspector may shelve for {hours} h at most"),
            text!("缩短时间，或由运维人员搁置", "make it shorter, or let an operator do it"),
        )
    }

    pub fn nothing_there() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-route",
            "Nothing here",
            text!("没有这个地址", "there is nothing at this address"),
            text!("地址都列在 /api/v1/openapi.json", "all addresses are in /api/v1/openapi.json"),
        )
    }

    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "Method not allowed",
            text!("这个地址不接受这种方法", "this address does not take that method"),
            text!("方法都列在 /api/v1/openapi.json", "all methods are in /api/v1/openapi.json"),
        )
    }

    pub fn no_such(what: Text, todo: Text) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", what, todo)
    }

    pub fn no_such_alarm(id: &str) -> Self {
        Self::no_such(
            text!("没有报警 {id}", "there is no alarm {id}"),
            text!("编号见 GET /api/v1/alarms", "numbers are in GET /api/v1/alarms"),
        )
    }

    pub fn no_such_device(id: &str) -> Self {
        Self::no_such(
            text!("没有设备 {id}", "there is no device {id}"),
            text!("编号见 GET /api/v1/devices", "ids are in GET /api/v1/devices"),
        )
    }

    pub fn bad(text: Text) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "not-understood",
            "Not understood",
            text,
            text!("格式见 /api/v1/openapi.json", "what is expected is in /api/v1/openapi.json"),
        )
    }

    pub fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "Not JSON",
            text!("请求体须是 JSON", "the request's body must be JSON"),
            text!("请求头写 content-type: application/json", "send content-type: application/json"),
        )
    }

    pub fn too_large(most: usize) -> Self {
        let kib = most / 1024;
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "Too large",
            text!("请求体超过 {kib} KiB", "the request's body is over {kib} KiB"),
            text!("没有命令有这么长", "no command is that long"),
        )
    }

    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "Too slow",
            text!("请求没有按时发完", "the request did not come in time"),
            text!("检查网络后再发", "check the network and send it again"),
        )
    }

    /// The alarm stands otherwise, or its class forbids it.
    pub fn turned_down(why: Text) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "turned-down",
            "Turned down",
            why,
            text!("先看报警现在的状态", "look at how the alarm stands now"),
        )
    }

    /// A device or an endpoint was not told, or said no.
    pub fn not_done(why: Text) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not-done",
            "Not done",
            why,
            text!("排除原因后再发", "send it again once the cause is gone"),
        )
    }

    pub fn never_told(why: Text) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "never-told",
            "Never told",
            why,
            text!("到现场由有资格的人操作", "somebody qualified does it on site"),
        )
    }

    /// It was sent, and may have been done.
    pub fn nobody_knows(why: Text) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "unsure",
            "Outcome unknown",
            why,
            text!(
                "先看设备现在的读数，再决定是否重发",
                "look at what the device shows now before sending it again"
            ),
        )
    }

    /// The endpoint did not take what was sent to it.
    pub fn hindered(why: Text, todo: Text) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "hindered", "Not taken", why, todo)
    }

    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Busy",
            text!("网关正忙，什么都没有做", "the gateway is busy: nothing was done"),
            text!("1 秒后再试", "try again in 1 s"),
        )
        .after(Duration::from_secs(1))
    }

    pub fn stopping() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "Stopping",
            text!("网关正在停止", "the gateway is stopping"),
            text!("稍后再试", "try again later"),
        )
        .after(Duration::from_secs(5))
    }

    pub fn unsure() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "unsure",
            "Outcome unknown",
            text!("没等到结果：可能做了，也可能没做", "no outcome in time: it may have been done, or not"),
            text!("看报警的状态；没有做就再发一次", "look at the alarm; if it was not done, send it again"),
        )
    }

    pub fn not_stored(why: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-stored",
            "Not stored",
            text!("没有做成：未能保存（{why}）", "not done: it could not be stored ({why})"),
            text!(
                "稍后再试；磁盘的情况见 GET /api/v1/status",
                "try again; GET /api/v1/status tells of the disk"
            ),
        )
    }

    pub fn unreadable(why: &Text) -> Self {
        let (zh, en) = (&why.zh, &why.en);
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "Store cannot be read",
            text!("读不了存储：{zh}", "the store cannot be read: {en}"),
            text!("在机器上运行 gatehouse status", "run gatehouse status on the box"),
        )
    }

    pub fn unexpected() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unexpected",
            "Unexpected",
            text!("网关内部出错", "something unexpected happened in the gateway"),
            text!("请看网关的日志", "see the gateway's log"),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.0.status, self.0.retry_after);
        let mut response = (status, Json(*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gatehouse\""));
        }
        if let Some(wait) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        response
    }
}
