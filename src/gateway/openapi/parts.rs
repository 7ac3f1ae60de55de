//! What descriptions are made of.

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::protocol::api::ApiErrorBody;

pub(super) fn operation(
    tag: &str,
    summary: &str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Value,
) -> Value {
    let mut operation = json!({"tags": [tag], "summary": summary});
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(schema) = body {
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation["responses"] = responses;
    operation
}

pub(super) fn answer(description: &str, schema: Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

/// A stream of server-sent events: each with its name and, as JSON in a text, its data.
pub(super) fn events(kinds: &[(&str, Value)]) -> Value {
    let event = |(name, data): &(&str, Value)| {
        json!({"type": "object", "required": ["event", "data"], "properties": {
            "event": {"const": name},
            "id": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data}}})
    };
    json!({"text/event-stream": {"schema": {"oneOf": kinds.iter().map(event).collect::<Vec<_>>()}}})
}

pub(super) fn problem(description: &str) -> Value {
    answer(description, reference::<ApiErrorBody>())
}

/// The schema of a type of the interface; `super::schemas` lists them all.
pub(super) fn reference<T: JsonSchema>() -> Value {
    named(&T::schema_name())
}

pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
}

pub(super) fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

pub(super) fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}
