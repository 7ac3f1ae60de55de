//! Values of expressions as JSON and as text.

use minijinja::Value;
use minijinja::value::ValueKind;
use serde_json::{Map, Number};

use super::bounds::RoomLeft;
use super::exact_number::{exact, seen_number};

/// A JSON value as templates and expressions see it.
pub fn seen(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => seen_number(number),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(seen).collect(),
        serde_json::Value::Object(map) => seen_map(map),
    }
}

/// A JSON object as templates and expressions see it.
pub fn seen_map(map: &Map<String, serde_json::Value>) -> Value {
    Value::from_pairs(map.iter().map(|(key, value)| (key.clone(), seen(value))))
}

/// A value as JSON; an undefined one has none, and one that is too large or too deep is refused.
pub fn json(value: &Value) -> Result<serde_json::Value, String> {
    json_within(value, 0, &mut RoomLeft::new())
}

fn json_within(value: &Value, depth: usize, room: &mut RoomLeft) -> Result<serde_json::Value, String> {
    room.take(value.as_str().map_or(0, str::len), depth)?;
    if let Some(number) = exact(value) {
        return Ok(serde_json::Value::Number(number.clone()));
    }
    Ok(match value.kind() {
        ValueKind::None => serde_json::Value::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => serde_json::Value::Number(number(value)?),
        ValueKind::String => value.as_str().unwrap_or_default().into(),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            serde_json::Value::Array(items.map(|item| json_within(&item, depth + 1, room)).collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|error| error.to_string())? {
                let item = value.get_item(&key).map_err(|error| error.to_string())?;
                let key = text(&key)?;
                room.take(key.len(), depth)?;
                map.insert(key, json_within(&item, depth + 1, room)?);
            }
            serde_json::Value::Object(map)
        }
        ValueKind::Undefined => return Err("a part of the value is not defined".to_owned()),
        kind => return Err(format!("the value is a {kind}, which JSON does not have")),
    })
}

fn number(value: &Value) -> Result<Number, String> {
    let too_large = || format!("{value} is no number that JSON has");
    if value.is_integer() {
        let whole = i128::try_from(value.clone()).map_err(|_| too_large())?;
        return Number::from_i128(whole).ok_or_else(too_large);
    }
    f64::try_from(value.clone()).ok().and_then(Number::from_f64).ok_or_else(too_large)
}

/// A value as it is put into a text: a text as it is, anything else as JSON.
pub fn text(value: &Value) -> Result<String, String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => json(value).map(|json| json.to_string()),
    }
}

/// What a value is, for messages: `text "9"`, `number 18`, `a list`.
pub fn described(value: &Value) -> String {
    if let Some(number) = exact(value) {
        return format!("number {number}");
    }
    match value.kind() {
        ValueKind::Undefined => "undefined".to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => format!("number {value}"),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let cut: String = text.chars().take(40).collect();
            if cut.len() < text.len() {
                format!("text \"{}…\"", cut.escape_debug())
            } else {
                format!("text {text:?}")
            }
        }
        ValueKind::Seq | ValueKind::Iterable => "a list".to_owned(),
        ValueKind::Map => "a map".to_owned(),
        kind => format!("a {kind}"),
    }
}
