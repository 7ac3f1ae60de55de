//! Parameters of a run from the command line (`--param k=v`): JSON where the workflow's schema wants more than a text.

use serde_json::{Map, Value};

use crate::bounds::{OUTSIDE, UNAMBIGUOUS, check, read};

/// Reads `name=value` pairs against the schema of a workflow's parameters. The gateway checks them; here a text is only
/// turned into what the schema asks for.
pub fn params(typed: &[String], schema: Option<&Value>) -> Result<Map<String, Value>, String> {
    let mut params = Map::new();
    for typed in typed {
        let Some((name, value)) = typed.split_once('=') else {
            return Err(format!("--param {typed:?}: it must be NAME=VALUE"));
        };
        let wanted = schema.and_then(|schema| schema.get("properties")?.get(name));
        let value = value_for(value, wanted).map_err(|why| format!("--param {name}: {why}"))?;
        if params.insert(name.to_owned(), value).is_some() {
            return Err(format!("--param {name} is given twice"));
        }
    }
    Ok(params)
}

/// The value that a text stands for: JSON if it is what `schema` wants, else the text. The error says what is wrong with
/// such JSON.
pub(super) fn value_for(text: &str, schema: Option<&Value>) -> Result<Value, String> {
    let as_text = || Value::String(text.to_owned());
    let Some(schema) = schema else { return Ok(as_text()) };
    match read::<Value>(text.as_bytes(), &OUTSIDE) {
        // Whoever wants a text gets "42" as the text that it is.
        Ok(value) if !value.is_string() && wants(schema, &value) => {
            check(text.as_bytes(), &UNAMBIGUOUS).map_err(|exceeded| exceeded.to_string())?;
            Ok(value)
        }
        _ => Ok(as_text()),
    }
}

/// Whether a schema's types allow for this value; one that names none allows for nothing but a text.
fn wants(schema: &Value, value: &Value) -> bool {
    let names = |name: &str| match (name, value) {
        ("integer", Value::Number(number)) => is_integer(number.as_str()),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("array", Value::Array(_)) => true,
        ("object", Value::Object(_)) | ("null", Value::Null) => true,
        _ => false,
    };
    let of_type = match &schema["type"] {
        Value::String(name) => names(name),
        Value::Array(all) => all.iter().filter_map(Value::as_str).any(names),
        _ => false,
    };
    let listed = |key: &str| schema[key].as_array().is_some_and(|values| values.contains(value));
    let either =
        |key: &str| schema[key].as_array().is_some_and(|schemas| schemas.iter().any(|schema| wants(schema, value)));
    of_type || listed("enum") || schema.get("const") == Some(value) || either("anyOf") || either("oneOf")
}

/// Whether the text of a JSON number stands for an integer, as JSON Schema counts: `1.0` and `1e3` do. A floating-point number
/// would round the digits away that decide it.
fn is_integer(number: &str) -> bool {
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let zeros_at_end = digits.len() - digits.trim_end_matches('0').len();
    let is_zero = zeros_at_end == digits.len();
    let places = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let exponent = exponent.parse::<i64>().ok();
    is_zero || exponent.is_some_and(|exponent| exponent.saturating_add(places(zeros_at_end)) >= places(fraction.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_number_is_one_however_it_is_written_and_keeps_its_digits() {
        let schema = json!({"properties": {"count": {"type": "integer"}}});
        let of = |number: &str| params(&[format!("count={number}")], Some(&schema)).unwrap()["count"].to_string();
        for whole in [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "1.0",
            "-20.00",
            "12345678901234567890.0",
            "1e+3",
            "1.25e+2",
            "1200e-2",
            "0e-5",
            "0.0",
        ] {
            assert_eq!(of(whole), whole);
        }
        for (written, passed_on) in [("1e3", "1e+3"), ("1E3", "1e+3"), (" 7 ", "7")] {
            assert_eq!(of(written), passed_on, "the sign of an exponent is written");
        }
        let fractions = ["1.5", "12345678901234567890.5", "1.25e1", "1205e-2", "1e-1", "0.10"];
        for text in fractions.into_iter().chain(["1e999", "01", "1.", "0x1F", "1_000"]) {
            assert_eq!(of(text), format!("\"{text}\""), "the gateway says what is wrong with it");
        }
    }

    #[test]
    fn a_parameter_is_what_the_schema_wants_if_it_can_be() {
        let schema = json!({"properties": {
            "text": {"type": "string"}, "count": {"type": "integer"}, "rate": {"type": ["number", "null"]},
            "flag": {"type": "boolean"}, "list": {"type": "array"}, "map": {"type": "object"},
            "level": {"enum": [1, "2"]}, "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "any": {}}});
        let of = |typed: &str| {
            let params = params(&[typed.to_owned()], Some(&schema)).unwrap();
            params.into_iter().next().unwrap().1
        };
        for (typed, wanted) in [
            ("text=42", json!("42")),
            ("text=a=b", json!("a=b")),
            ("count=42", json!(42)),
            ("count=4.5", json!("4.5")),
            ("count=many", json!("many")),
            ("either=1.5", json!("1.5")),
            ("rate=0.5", json!(0.5)),
            ("rate=null", json!(null)),
            ("flag=true", json!(true)),
            ("list=[1, \"a\"]", json!([1, "a"])),
            ("map={\"a\": 1}", json!({"a": 1})),
            ("level=1", json!(1)),
            ("level=2", json!("2")),
            ("either=7", json!(7)),
            ("any=7", json!("7")),
            ("unknown=7", json!("7")),
            ("text=", json!("")),
        ] {
            assert_eq!(of(typed), wanted, "{typed}");
        }
        let twice = params(&["map={\"m\": {\"a\": 1, \"a\": 2}}".to_owned()], Some(&schema)).unwrap_err();
        assert_eq!(twice, "--param map: m: the key \"a\" stands twice in one object");
        assert!(params(&["text={\"a\": 1, \"a\": 2}".to_owned()], Some(&schema)).is_ok());
        assert!(params(&["text".to_owned()], None).is_err());
        assert!(params(&["a=1".to_owned(), "a=2".to_owned()], None).is_err());
    }
}
