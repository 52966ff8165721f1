//! Every address there is: one table, from which both the router and its description are made, so that neither knows one that the other
//! does not, and none is without a role.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::header,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    admit::{Guard, around, guard},
    alarms::{self, AlarmsQuery},
    desk::Desk,
    events::{self, EventsQuery},
    far,
    look::{self, DeviceQuery, DevicesQuery},
    openapi, orders,
    read::BODY_MAX,
};
use crate::console::{problem::Problem, shapes, token::Role};

/// How something looks, as JSON Schema has it.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
}

/// One address and method.
pub struct Route {
    pub verb: Verb,
    pub path: &'static str,
    /// Its name for programs.
    pub id: &'static str,
    /// `None`: without a token.
    pub role: Option<Role>,
    pub zh: &'static str,
    pub en: &'static str,
    pub query: Option<Shape>,
    pub body: Option<Shape>,
    /// `None`: a document of another standard.
    pub answer: Option<Shape>,
    answered_by: MethodRouter<Arc<Desk>>,
}

impl Route {
    pub fn word(&self) -> &'static str {
        match self.verb {
            Verb::Get => "get",
            Verb::Post => "post",
        }
    }

    fn looks_for<T: JsonSchema>(self) -> Self {
        Self { query: Some(|schemas| schemas.root_schema_for::<T>()), ..self }
    }
}

fn looks<T: JsonSchema>(
    path: &'static str,
    id: &'static str,
    (zh, en): (&'static str, &'static str),
    answered_by: MethodRouter<Arc<Desk>>,
) -> Route {
    Route {
        verb: Verb::Get,
        path,
        id,
        role: Some(Role::Viewer),
        zh,
        en,
        query: None,
        body: None,
        answer: Some(|schemas| schemas.subschema_for::<T>()),
        answered_by,
    }
}

/// What is answered with something else than that it is done.
fn asks<B: JsonSchema, T: JsonSchema>(
    path: &'static str,
    id: &'static str,
    told: (&'static str, &'static str),
    answered_by: MethodRouter<Arc<Desk>>,
) -> Route {
    let answer: Option<Shape> = Some(|schemas| schemas.subschema_for::<T>());
    Route { answer, ..does::<B>(Role::Operator, path, id, told, answered_by) }
}

fn does<B: JsonSchema>(
    role: Role,
    path: &'static str,
    id: &'static str,
    (zh, en): (&'static str, &'static str),
    answered_by: MethodRouter<Arc<Desk>>,
) -> Route {
    Route {
        verb: Verb::Post,
        path,
        id,
        role: Some(role),
        zh,
        en,
        query: None,
        body: Some(|schemas| schemas.subschema_for::<B>()),
        answer: Some(|schemas| schemas.subschema_for::<orders::Done>()),
        answered_by,
    }
}

pub fn routes() -> Vec<Route> {
    let mut routes = windows();
    routes.extend(commands());
    routes
}

fn windows() -> Vec<Route> {
    vec![
        Route {
            role: None,
            ..looks::<look::Health>("/healthz", "health", ("在运行", "it runs"), get(look::health))
        },
        Route {
            answer: None,
            ..looks::<()>(
                "/api/v1/openapi.json",
                "openapi",
                ("这份说明", "this description"),
                get(description),
            )
        },
        looks::<look::Site>(
            "/api/v1/site",
            "site",
            ("站点与配置摘要", "the site, and what its configuration comes to"),
            get(look::site),
        ),
        looks::<look::Status>("/api/v1/status", "status", ("总览", "one look at it all"), get(look::status)),
        looks::<look::Devices>(
            "/api/v1/devices",
            "devices",
            ("设备和最新读数", "devices with their latest readings"),
            get(look::devices),
        )
        .looks_for::<DevicesQuery>(),
        looks::<shapes::Device>(
            "/api/v1/devices/{id}",
            "device",
            ("一台设备", "one device"),
            get(look::device),
        )
        .looks_for::<DeviceQuery>(),
        looks::<alarms::Alarms>(
            "/api/v1/alarms",
            "alarms",
            ("报警：当前的，或全部历史", "alarms that stand, or all there were"),
            get(alarms::alarms),
        )
        .looks_for::<AlarmsQuery>(),
        looks::<shapes::History>(
            "/api/v1/alarms/{id}",
            "alarm",
            ("一个报警的全过程", "one alarm, step by step"),
            get(alarms::alarm),
        ),
        looks::<events::Events>(
            "/api/v1/events",
            "events",
            ("等待新事件（长轮询）", "what happens: waits for the next event"),
            get(events::events),
        )
        .looks_for::<EventsQuery>(),
        looks::<look::Deliveries>(
            "/api/v1/delivery",
            "delivery",
            ("上报情况", "how deliveries stand"),
            get(look::deliveries),
        ),
    ]
}

fn commands() -> Vec<Route> {
    use Role::{Admin, Inspector, Operator};
    use orders::{CloseSaid, DiscardSaid, NoteSaid, OutSaid, RescueSaid, ShelveSaid, WordSaid};
    vec![
        does::<WordSaid>(
            Inspector,
            "/api/v1/alarms/{id}/acknowledge",
            "acknowledge",
            ("确认", "a person takes it on"),
            post(orders::acknowledge),
        ),
        does::<NoteSaid>(
            Inspector,
            "/api/v1/alarms/{id}/note",
            "note",
            ("备注", "a word left with it"),
            post(orders::note),
        ),
        does::<ShelveSaid>(
            Inspector,
            "/api/v1/alarms/{id}/shelve",
            "shelve",
            ("搁置", "not announced for a while"),
            post(orders::shelve),
        ),
        does::<WordSaid>(
            Inspector,
            "/api/v1/alarms/{id}/unshelve",
            "unshelve",
            ("取消搁置", "announced again"),
            post(orders::unshelve),
        ),
        does::<CloseSaid>(
            Inspector,
            "/api/v1/alarms/{id}/close",
            "close",
            ("关闭", "a person closes it and says why"),
            post(orders::close),
        ),
        does::<RescueSaid>(
            Inspector,
            "/api/v1/alarms/{id}/rescue",
            "rescue",
            ("救援：派遣、到场、解救", "help: dispatched, arrived, released"),
            post(orders::rescue),
        ),
        does::<OutSaid>(
            Operator,
            "/api/v1/alarms/{id}/out-of-service",
            "alarm_out_of_service",
            ("停用报警", "an alarm out of service"),
            post(orders::take_out),
        ),
        does::<WordSaid>(
            Operator,
            "/api/v1/alarms/{id}/in-service",
            "alarm_in_service",
            ("恢复使用报警", "an alarm back in service"),
            post(orders::put_back),
        ),
        does::<OutSaid>(
            Operator,
            "/api/v1/devices/{id}/out-of-service",
            "device_out_of_service",
            ("停用设备", "a device out of service"),
            post(orders::take_out),
        ),
        does::<WordSaid>(
            Operator,
            "/api/v1/devices/{id}/in-service",
            "device_in_service",
            ("恢复使用设备", "a device back in service"),
            post(orders::put_back),
        ),
        does::<WordSaid>(
            Operator,
            "/api/v1/delivery/{id}/retry",
            "retry",
            ("重新上报被搁下的消息", "letters that were set aside are offered again"),
            post(orders::retry),
        ),
        does::<DiscardSaid>(
            Admin,
            "/api/v1/delivery/{id}/discard",
            "discard",
            ("放弃送往已撤销目标的消息", "letters for an endpoint that is gone are given up"),
            post(orders::discard),
        ),
        asks::<WordSaid, far::DrillTaken>(
            "/api/v1/delivery/{id}/drill",
            "drill",
            ("演练：真的发一条消息", "a drill: a letter is really sent"),
            post(far::drill),
        ),
        asks::<far::OperateSaid, far::Operated>(
            "/api/v1/devices/{id}/command",
            "command",
            ("给设备下一条命令", "a device is told something, once"),
            post(far::operate),
        ),
    ]
}

/// All of it, behind its guards.
pub fn router(desk: Arc<Desk>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let Route { path, role, ref answered_by, .. } = route;
        let answered_by = answered_by.clone();
        let guarded = match role {
            None => answered_by,
            Some(needs) => {
                let asked = format!("{} {path}", route.word().to_uppercase()).into();
                let state = Guard { desk: Arc::clone(&desk), needs, asked };
                answered_by.layer(from_fn_with_state(state, guard))
            }
        };
        router = router.route(path, guarded);
    }
    router
        .fallback(|| async { Problem::nothing_there() })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(Arc::clone(&desk), around))
        .with_state(desk)
}

async fn description(State(desk): State<Arc<Desk>>) -> Response {
    let document = openapi::document(&routes(), &desk.place.site.name);
    ([(header::CONTENT_TYPE, "application/vnd.oai.openapi+json;version=3.1")], document.to_string())
        .into_response()
}
