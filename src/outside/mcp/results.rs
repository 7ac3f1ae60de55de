//! What a server gives as the result of a call, as a value that models can read.

use serde_json::Value;

use crate::bounds::{OUTSIDE, check_value, cut_off};
use crate::outside::secrets::Secrets;
use crate::outside::toolset::ToolsetError;

/// The longest text of an error that models and people get to see, in bytes.
const LONGEST_ERROR: usize = 4 << 10;

/// The value of a finished call.
pub(super) fn value_of(result: &Value, max_result: u64, secrets: &Secrets) -> Result<Value, ToolsetError> {
    let structured = Some(&result["structuredContent"]).filter(|value| !value.is_null());
    // What is more than a value may be is the text of it, cut off where results are.
    let as_text = structured.filter(|value| check_value(value, &OUTSIDE).is_err()).map(Value::to_string);
    let text = || content_text(result["content"].as_array().map_or(&[], Vec::as_slice));
    if result["isError"].as_bool() == Some(true) {
        let said = match (text(), structured) {
            (text, Some(value)) if text.is_empty() => value.to_string(),
            (text, None) if text.is_empty() => "the tool failed, and says no more".to_owned(),
            (text, _) => text,
        };
        return Err(ToolsetError::Failed(error_text(&said, secrets)));
    }
    if let Some(text) = as_text {
        return Ok(within(Value::String(secrets.hidden(&text)), max_result));
    }
    Ok(match structured {
        Some(value) => within(secrets.hidden_in(value.clone()), max_result),
        None => match text() {
            text if text.is_empty() => Value::Null,
            text => within(Value::String(secrets.hidden(&text)), max_result),
        },
    })
}

/// Words of a server for models and people: without secrets, and not too many.
pub(super) fn error_text(said: &str, secrets: &Secrets) -> String {
    let said = secrets.hidden(said.trim());
    match said.len() > LONGEST_ERROR {
        true => cut_off(&said, LONGEST_ERROR),
        false => said,
    }
}

/// A value, or the beginning of it as a text.
fn within(value: Value, max_result: u64) -> Value {
    let most = usize::try_from(max_result).unwrap_or(usize::MAX);
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.len() > most {
        true => cut_off(&text, most).into(),
        false => value,
    }
}

/// All that a result holds, as one text.
fn content_text(content: &[Value]) -> String {
    let texts: Vec<String> = content.iter().map(block_text).collect();
    texts.join("\n")
}

fn block_text(block: &Value) -> String {
    let of = |name: &str| block[name].as_str().unwrap_or_default();
    match of("type") {
        "text" => of("text").to_owned(),
        kind @ ("image" | "audio") => attachment(if kind == "image" { "an image" } else { "a sound" }, block, "data"),
        "resource" => {
            let resource = &block["resource"];
            match resource["text"].as_str() {
                Some(text) => text.to_owned(),
                None => attachment(&format!("the resource {}", shown(resource, "uri")), resource, "blob"),
            }
        }
        "resource_link" => match block["title"].as_str().or(block["name"].as_str()) {
            Some(name) => format!("{name}: {}", of("uri")),
            None => of("uri").to_owned(),
        },
        other => format!("[something of the kind {other:?}, which is not shown]"),
    }
}

/// A sentence in the place of bytes: `[an image: image/png, 1234 bytes]`.
fn attachment(what: &str, block: &Value, data: &str) -> String {
    let letters = block[data].as_str().unwrap_or_default();
    let padding = letters.bytes().rev().take_while(|byte| *byte == b'=').count();
    let size = (letters.len() - padding) * 3 / 4;
    format!("[{what}: {}, {size} bytes]", shown(block, "mimeType"))
}

fn shown<'v>(block: &'v Value, name: &str) -> &'v str {
    block[name].as_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::config::SecretConfig;

    #[test]
    fn a_result_is_what_is_in_it() {
        let secret = SecretConfig::only_hidden(Some("sesame-0815".into()));
        let secrets = Secrets::new(BTreeMap::from([("key".to_owned(), secret)]));
        let read = |result: Value| value_of(&result, 40, &secrets);
        let text = |text: &str| json!({"type": "text", "text": text});
        for (result, value) in [
            (json!({"content": [text("a"), text("b")]}), json!("a\nb")),
            (json!({"content": [text("1")], "structuredContent": {"n": 1}}), json!({"n": 1})),
            (json!({"content": [text("1")], "structuredContent": null}), json!("1")),
            (json!({"content": []}), json!(null)),
            (json!({}), json!(null)),
            (
                json!({"content": [{"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}]}),
                json!("[an image: image/png, 5 bytes]"),
            ),
            (json!({"content": [{"type": "resource", "resource": {"uri": "x:1", "text": "whole"}}]}), json!("whole")),
            (json!({"content": [{"type": "resource_link", "uri": "x:1", "name": "One"}]}), json!("One: x:1")),
            (json!({"structuredContent": {"k": "sesame-0815"}}), json!({"k": "[secret key]"})),
            (
                json!({"content": [text(&"ü".repeat(30))]}),
                json!(format!("{}… [cut off after 40 bytes]", "ü".repeat(20))),
            ),
            (
                json!({"structuredContent": {"k": "x".repeat(5 << 20)}}),
                json!(format!("{{\"k\":\"{}… [cut off after 40 bytes]", "x".repeat(34))),
            ),
        ] {
            assert_eq!(read(result).unwrap(), value);
        }
        let failed = |result: Value| read(result).unwrap_err().to_string();
        assert_eq!(failed(json!({"isError": true, "content": [text("no, sesame-0815")]})), "no, [secret key]");
        assert_eq!(failed(json!({"isError": true})), "the tool failed, and says no more");
        assert_eq!(failed(json!({"isError": true, "structuredContent": {"a": 1}})), "{\"a\":1}");
    }
}
