//! Parameters, of workflows and of tools: their schema, and what it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::CompiledSchema;
use super::json_schema::{passwords_in, schema};
use crate::yaml::FieldReader;

/// The schema of parameters.
pub fn params(field: &FieldReader<'_>) -> Option<Arc<CompiledSchema>> {
    let schema = schema(field)?;
    let object = [
        "type",
        "properties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "required",
        "additionalProperties",
        "patternProperties",
    ];
    let is_schema =
        schema.json.as_object().is_some_and(|map| map.is_empty() || object.iter().any(|key| map.contains_key(*key)));
    if !is_schema {
        let hint = "params is a JSON Schema: { type: object, properties: { topic: { type: string } } }";
        field.note_with_hint("this does not describe an object", hint);
        return None;
    }
    if schema.json.get("type").is_some_and(|kind| kind != "object") {
        field.note("the parameters are an object: `type: object`");
        return None;
    }
    // They stand in the log as they were given, and a password never may.
    for name in passwords_in(&schema.json) {
        field.note_with_hint(
            format!("the parameter {name:?} is a password, and parameters are stored in clear"),
            "ask for it in a step, with `text_input` and `password: true`",
        );
    }
    Some(schema)
}

/// The names of the parameters, if the schema lists them all.
pub fn declared_params(given: bool, schema: Option<&CompiledSchema>) -> Option<BTreeSet<String>> {
    let Some(schema) = schema else {
        // Without `params` there are none; after a mistake in them nobody knows.
        return if given { None } else { Some(BTreeSet::new()) };
    };
    let open = ["$ref", "allOf", "anyOf", "oneOf", "patternProperties", "if"];
    let map = schema.json.as_object()?;
    if open.iter().any(|key| map.contains_key(*key))
        || map.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false))
    {
        return None;
    }
    map.get("properties").and_then(Value::as_object).map(|properties| properties.keys().cloned().collect())
}

/// What a tool without parameters tells models (`docs/reference/ag2-semantics.md`, section 5).
pub fn no_params() -> Option<Arc<CompiledSchema>> {
    let json = serde_json::json!({"type": "object", "properties": {}, "required": []});
    let validator = crate::schema::validator(&json).ok()?;
    Some(Arc::new(CompiledSchema { json, validator }))
}
