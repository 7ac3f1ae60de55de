//! The keywords of JSON Schema, and the values that they take.

use serde_json::{Value, json};

use crate::openapi::text::number;

/// Whether a keyword says which values are taken (and not only something for people).
pub(super) fn is_assertion(keyword: &str) -> bool {
    const OTHERS: [&str; 17] = [
        "type",
        "enum",
        "const",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "required",
    ];
    OTHERS.contains(&keyword) || is_nested(keyword)
}

/// Whether a keyword has schemas, or names of properties, in it.
pub(super) fn is_nested(keyword: &str) -> bool {
    const NESTED: [&str; 18] = [
        "properties",
        "patternProperties",
        "additionalProperties",
        "unevaluatedProperties",
        "unevaluatedItems",
        "propertyNames",
        "items",
        "prefixItems",
        "contains",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentSchemas",
        "dependentRequired",
    ];
    NESTED.contains(&keyword)
}

/// A type in the words of JSON Schema; what other languages call it is understood.
pub(super) fn json_type(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "string" | "str" | "text" | "date" | "datetime" | "date-time" | "uuid" | "file" | "binary" => "string",
        "integer" | "int" | "int32" | "int64" | "long" => "integer",
        "number" | "float" | "double" | "decimal" => "number",
        "boolean" | "bool" => "boolean",
        "array" | "list" => "array",
        "object" | "map" => "object",
        "null" => "null",
        _ => return None,
    })
}

/// A number that counts something.
pub(super) fn count(value: &Value) -> Option<u64> {
    let number = number(value)?;
    number.as_u64().or_else(|| {
        let double = number.as_f64()?;
        // Exact up to here; what is larger limits nothing.
        (double.fract() == 0.0 && (0.0..=9e15).contains(&double)).then_some(double as u64)
    })
}

/// A value as one of these types; none: it cannot be. YAML takes `1` or `yes` in a list of texts for something else.
pub(super) fn of_types(value: &Value, types: &[&str]) -> Option<Value> {
    let is_of = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => {
            value.as_number().is_some_and(|number| number.as_f64().is_some_and(|number| number.fract() == 0.0))
        }
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    };
    // A null among the values is for other readers; the types say whether it is taken.
    if types.is_empty() || types.iter().any(is_of) || value.is_null() {
        return Some(value.clone());
    }
    types.iter().find_map(|kind| match (*kind, value) {
        ("string", Value::Number(number)) => Some(json!(number.to_string())),
        ("string", Value::Bool(truth)) => Some(json!(truth.to_string())),
        ("number" | "integer", Value::String(text)) => {
            let number = number(value)?;
            (*kind == "number" || text.trim().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()))
                .then_some(Value::Number(number))
        }
        ("boolean", Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" => Some(json!(true)),
            "false" => Some(json!(false)),
            _ => None,
        },
        _ => None,
    })
}

/// Whether a pattern can be compiled as the check of values compiles it. Most are seen to be by their syntax; those that look
/// around, repeat what they found, or name Unicode's properties are tried.
pub(super) fn is_pattern(pattern: &str) -> bool {
    const LONGEST: usize = 2000;
    if pattern.len() > LONGEST {
        return false;
    }
    let is_plain = !pattern.contains("\\p") && !pattern.contains("\\P");
    is_plain && regex_syntax::ast::parse::Parser::new().parse(pattern).is_ok()
        || crate::schema::validator(&json!({ "pattern": pattern })).is_ok()
}
