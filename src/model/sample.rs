//! Makes up a value that fits a JSON Schema well enough for a look: what the mock answers when a form is asked for.

use serde_json::{Map, Value, json};

/// How deep it goes; deeper, and in schemas that hold themselves, there is null.
const DEEPEST_SAMPLE: usize = 8;

/// A value that fits the schema.
pub(super) fn sample(schema: &Value) -> Value {
    sample_in(schema, schema, DEEPEST_SAMPLE)
}

fn sample_in(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else { return Value::Null };
    if let Some(value) = ["const", "default"].iter().find_map(|key| schema.get(key)) {
        return value.clone();
    }
    if let Some(value) = ["enum", "examples"].iter().find_map(|key| schema.get(key)?.get(0)) {
        return value.clone();
    }
    let referred = schema.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.strip_prefix('#')?));
    let chosen = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(key)?.get(0));
    if let Some(other) = referred.or(chosen) {
        return sample_in(other, root, deeper);
    }
    let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind));
    let least = |fallback: i64| schema.get("minimum").cloned().unwrap_or(json!(fallback));
    match kind.and_then(Value::as_str) {
        Some("string") => json!("mock"),
        Some("integer" | "number") => least(1),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            Value::Array(schema.get("items").map(|items| sample_in(items, root, deeper)).into_iter().collect())
        }
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let filled =
                properties.into_iter().flatten().map(|(key, schema)| (key.clone(), sample_in(schema, root, deeper)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}, "color": {"enum": ["red", "blue"]},
                "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "required": ["name", "age", "color", "steps", "note"], "additionalProperties": false,
            "$defs": {"Step": {"type": "object", "properties": {"done": {"type": "boolean"}, "x": {"type": ["number", "null"]}}}},
        });
        let made = sample(&schema);
        assert_eq!(
            made,
            json!({"name": "mock", "age": 18, "color": "red", "steps": [{"done": true, "x": 1}], "note": "mock"})
        );
        assert!(jsonschema::is_valid(&schema, &made));
    }

    #[test]
    fn a_schema_that_holds_itself_comes_to_an_end() {
        let schema = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        assert!(sample(&schema).to_string().len() < 1000);
    }
}
