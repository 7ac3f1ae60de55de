//! From the schema that arguments are checked against to the one that a model is offered. They differ in two things: what a
//! model must not know of (read-only properties) is refused by the check and left out here; and a `multipleOf` of fractions,
//! which servers of models and their readers of JSON work out in different ways, is said in words.

use serde_json::{Map, Number, Value};

/// The schema for a model.
pub(in crate::openapi) fn published(schema: &Value) -> Value {
    let mut shown = schema.clone();
    walk(&mut shown, &publish);
    shown
}

/// The schema without its patterns, of which a regular expression may be too large.
pub(in crate::openapi) fn without_patterns(schema: &Value) -> Value {
    let mut shown = schema.clone();
    walk(&mut shown, &|map| {
        map.shift_remove("pattern");
        map.shift_remove("patternProperties");
    });
    shown
}

fn publish(map: &mut Map<String, Value>) {
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.retain(|_, schema| *schema != Value::Bool(false));
    }
    if !map.get("multipleOf").and_then(Value::as_number).is_some_and(is_fraction) {
        return;
    }
    let step = map.shift_remove("multipleOf").unwrap_or_default();
    let words = format!("A multiple of {step}.");
    let text = match map.get("description").and_then(Value::as_str) {
        Some(text) => format!("{text} {words}"),
        None => words,
    };
    map.insert("description".to_owned(), Value::String(text));
}

/// Changes a schema and all that are in it, and nothing that only looks like one (a value of `enum`).
fn walk(schema: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "dependentSchemas" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(|schema| walk(schema, change));
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|schema| walk(schema, change));
            }
            (
                "items"
                | "contains"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "unevaluatedItems"
                | "propertyNames"
                | "not"
                | "if"
                | "then"
                | "else",
                schema,
            ) => walk(schema, change),
            _ => {}
        }
    }
    change(map);
}

/// Whether a number is not a whole one.
pub(super) fn is_fraction(number: &Number) -> bool {
    number.as_f64().is_none_or(|number| number.fract() != 0.0)
}
