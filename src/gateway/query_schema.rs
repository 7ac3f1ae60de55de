//! What may stand after the question mark of a path, as a schema, which is described and checked, and in words.

use schemars::JsonSchema;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value};

/// What may stand after a question mark: an object, each parameter a field of it.
pub fn query_schema<Q: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.contract = Contract::Deserialize;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<Q>().to_value();
    for field in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        *field = without_null(field.take());
    }
    schema
}

/// What a parameter takes, in words, by its schema; none: any text.
pub fn taken(schema: &Value) -> Option<String> {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        return Some(format!("one of {}", values.join(", ")));
    }
    let alternatives: Vec<&str> =
        schema["oneOf"].as_array().into_iter().flatten().filter_map(|one| one["const"].as_str()).collect();
    if !alternatives.is_empty() {
        return Some(format!("one of {}", alternatives.join(", ")));
    }
    let bound = match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (_, Some(most)) => format!(" of at most {most}"),
        (Some(0), None) => " of 0 or more".to_owned(),
        _ => String::new(),
    };
    match schema["type"].as_str()? {
        "integer" => Some(format!("a whole number{bound}")),
        "number" => Some(format!("a number{bound}")),
        "boolean" => Some("true or false".to_owned()),
        _ if schema["format"] == "date-time" => Some("a moment, like 2026-11-30T09:00:00Z".to_owned()),
        _ => None,
    }
}

/// A schema without null: what is not said is left out.
pub fn without_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema["type"].as_array() {
        let kinds: Vec<&Value> = kinds.iter().filter(|kind| *kind != "null").collect();
        if let [kind] = kinds[..] {
            schema["type"] = kind.clone();
        }
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    let alternatives = schema["anyOf"].as_array().cloned().unwrap_or_default();
    let alternatives: Vec<Value> = alternatives.into_iter().filter(|one| one["type"] != "null").collect();
    if let ([Value::Object(alternative)], Some(fields)) = (&alternatives[..], schema.as_object_mut()) {
        fields.shift_remove("anyOf");
        fields.extend(alternative.clone());
    }
    schema
}
