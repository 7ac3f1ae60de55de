//! JSON Schemas in a workflow's file.

use std::sync::Arc;

use serde_json::Value;

use super::CompiledSchema;
use crate::yaml::FieldReader;

/// A JSON Schema that compiles.
pub fn schema(field: &FieldReader<'_>) -> Option<Arc<CompiledSchema>> {
    if !field.is_map() {
        return field.is_not("a JSON Schema, which is a map");
    }
    let json = field.json();
    match crate::schema::validator(&json) {
        Ok(validator) => Some(Arc::new(CompiledSchema { json, validator })),
        Err(crate::schema::Error::TooLarge(why)) => {
            field.note(why);
            None
        }
        Err(crate::schema::Error::Invalid(error)) => {
            let mut place = field.node;
            let mut path = field.path.clone();
            for part in error.instance_path().to_string().split('/').skip(1) {
                let inner =
                    part.parse::<usize>().ok().and_then(|index| place.items().get(index)).or_else(|| place.get(part));
                let Some(inner) = inner else { break };
                place = inner;
                path = format!("{path}.{part}");
            }
            let inner = FieldReader { node: place, path, review: field.review };
            inner.note(format!("this is not a JSON Schema: {error}"));
            None
        }
    }
}

/// The properties of a schema that are passwords, at any depth.
pub fn passwords_in(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in properties {
        if property.get("format").is_some_and(|format| format == "password")
            || property.get("writeOnly").is_some_and(|only| only == true)
        {
            found.push(name.clone());
        }
        found.extend(passwords_in(property));
    }
    found
}
