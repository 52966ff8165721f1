//! A value to read on with where the written one is wrong or missing, so that one mistake does not hide the others.

use serde_json::Value as Json;

/// The smallest legal value of `schema`; `None` if it is not plain to see.
pub(super) fn stand_in(root: &Json, schema: &Json, depth: usize) -> Option<toml::Value> {
    const MAX_DEPTH: usize = 16;
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(target) = super::shape::referred(root, schema) {
        return stand_in(root, target, depth + 1);
    }
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(word.into());
    }
    let listed = |key| schema.get(key).and_then(Json::as_array);
    if let Some(word) = listed("enum").or_else(|| listed("examples")).and_then(|all| all.first()) {
        return toml::Value::try_from(word).ok();
    }
    if let Some(choices) = listed("anyOf").or_else(|| listed("oneOf")) {
        return choices.iter().find_map(|choice| stand_in(root, choice, depth + 1));
    }
    match super::shape::types(schema).first().copied() {
        Some("string") if schema.get("pattern").is_none() => Some("".into()),
        Some("integer") => Some(schema.get("minimum").and_then(Json::as_i64).unwrap_or(0).into()),
        Some("number") => Some(schema.get("minimum").and_then(Json::as_f64).unwrap_or(0.0).into()),
        Some("boolean") => Some(false.into()),
        Some("array") if schema.get("minItems").is_none() => Some(toml::Value::Array(Vec::new())),
        Some("object") => table(root, schema, depth),
        _ => None,
    }
}

fn table(root: &Json, schema: &Json, depth: usize) -> Option<toml::Value> {
    let required = schema.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    required
        .iter()
        .filter_map(Json::as_str)
        .map(|key| {
            let schema = schema.get("properties")?.get(key)?;
            Some((key.to_owned(), stand_in(root, schema, depth + 1)?))
        })
        .collect::<Option<toml::Table>>()
        .map(toml::Value::Table)
}
