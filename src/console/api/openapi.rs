//! The description of the API (OpenAPI 3.1), made from the table that the router is made from.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::route::{Route, Verb};
use crate::console::{problem::Details, token::Role};

const SCHEMAS: &str = "/components/schemas";

pub fn document(routes: &[Route], site: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut shapes = Shapes {
        said: settings.clone().into_generator(),
        answered: settings.for_serialize().into_generator(),
    };
    let problem = shapes.answered.subschema_for::<Details>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let described = operation(route, &problem, &mut shapes);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.word()] = described;
    }
    let definitions = shapes.definitions();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse",
            "version": "1",
            "description": format!("岗亭网关 / the gateway of {site}. `id` of an alarm: its number, or `device/alarm` with the slash as %2F."),
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// What callers may leave out, and what answers leave out, are two things.
struct Shapes {
    said: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Shapes {
    /// Those that both know are words, which look the same either way.
    fn definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.said.take_definitions(true);
        definitions.extend(self.answered.take_definitions(true));
        definitions
    }
}

fn operation(route: &Route, problem: &schemars::Schema, shapes: &mut Shapes) -> Value {
    let answer = match route.answer {
        Some(shape) => json!({ "application/json": { "schema": shape(&mut shapes.answered) } }),
        None => json!({ "application/vnd.oai.openapi+json;version=3.1": { "schema": { "type": "object" } } }),
    };
    let refused = json!({ "application/problem+json": { "schema": problem } });
    let mut operation = json!({
        "operationId": route.id,
        "summary": format!("{} / {}", route.zh, route.en),
        "responses": {
            "200": { "description": "OK", "content": answer },
            "default": { "description": "没有做，或没有 / not done, or not there", "content": refused },
        },
    });
    match route.role {
        Some(role) => {
            let roles: Vec<&str> = Role::ALL.into_iter().filter(|may| *may >= role).map(Role::word).collect();
            operation["x-roles"] = json!(roles);
        }
        None => operation["security"] = json!([]),
    }
    let mut parameters = Vec::new();
    if route.path.contains("{id}") {
        parameters
            .push(json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    if let Some(shape) = route.query {
        parameters.extend(queried(shape(&mut shapes.said).as_value()));
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if let (Verb::Post, Some(shape)) = (route.verb, route.body) {
        let content = json!({ "application/json": { "schema": shape(&mut shapes.said) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// Each property of a query's shape is a parameter.
fn queried(shape: &Value) -> Vec<Value> {
    let Some(properties) = shape["properties"].as_object() else { return Vec::new() };
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let described = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({ "name": name, "in": "query", "required": false, "schema": schema });
        if let Some(described) = described {
            parameter["description"] = described;
        }
        parameter
    };
    properties.iter().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::console::api::route::routes;

    #[test]
    fn every_address_is_described_once_and_says_who_may() {
        let routes = routes();
        let document = document(&routes, "冶矿路社区");
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (word, operation) in operations.as_object().unwrap() {
                described.insert((path.clone(), word.clone()));
                let open = operation["security"] == json!([]);
                assert_eq!(open, path == "/healthz", "{path}");
                assert_eq!(operation["x-roles"].is_array(), !open, "{path}");
            }
        }
        let table: BTreeSet<_> =
            routes.iter().map(|route| (route.path.to_owned(), route.word().to_owned())).collect();
        assert_eq!((described.len(), described), (routes.len(), table));
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1) {
            let target = reference.split('"').next().unwrap().trim_start_matches('#');
            assert!(document.pointer(target).is_some(), "{target}");
        }
    }
}
